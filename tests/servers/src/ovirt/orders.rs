//! What can be ordered of a guest (facts, sections 3.5 and 3.6).

use std::time::{Duration, Instant};

use super::body::Action;
use super::world::{Guest, World};

/// Why an order is refused: status and detail.
pub type Refusal = (u16, String);

fn refuse<T>(detail: &str) -> Result<T, Refusal> {
    Err((409, format!("[{detail}]")))
}

/// Carries out `order` on the guest with this id.
///
/// # Errors
/// When the guest's state does not allow it.
pub fn carry_out(world: &mut World, id: &str, order: &str, action: &Action) -> Result<(), Refusal> {
    let (now, step) = (Instant::now(), world.transition);
    let Some(guest) = world.guest(id).cloned() else {
        return Err((404, String::new()));
    };
    if guest.is(&["image_locked"]) && order != "detach" {
        return refuse(&format!(
            "Cannot {order} VM. The VM's disks are locked. Please try again in a few minutes."
        ));
    }
    match order {
        "start" => start(world, &guest, action),
        "migrate" => migrate(world, &guest, action),
        "cancelmigration" if !guest.is(&["migrating"]) => {
            refuse("Cannot cancel migration. VM is not migrating.")
        }
        "detach" => Ok(()),
        "stop" | "shutdown" | "reboot" | "reset" if guest.backup && action.force != Some(true) => {
            refuse(&format!(
                "Cannot {order} VM. The VM is during a backup operation."
            ))
        }
        _ => {
            let Some(guest) = world.guest_mut(id) else {
                return Err((404, String::new()));
            };
            simple(guest, order, action, now, step)
        }
    }
}

fn simple(
    guest: &mut Guest,
    order: &str,
    action: &Action,
    now: Instant,
    step: Duration,
) -> Result<(), Refusal> {
    let host = guest.host.clone();
    match order {
        "stop" => {
            if guest.is(&["down"]) {
                return Ok(());
            }
            if guest.is(&["saving_state", "restoring_state"]) {
                return refuse("Cannot stop VM. VM is saving or restoring its state.");
            }
            // A guest whose host does not answer is running for some purposes, and not for this one.
            if !guest.is(&["suspended"]) && (!guest.runs() || guest.is(&["unknown"])) {
                return refuse("Cannot stop VM. VM is not running.");
            }
            guest.stops += 1;
            guest.reason = action.reason.clone().unwrap_or_default();
            guest.coming.clear();
            if guest.is(&["suspended"]) {
                guest.become_at(now + step, "down", None);
            } else {
                guest.become_now("powering_down", host);
                guest.become_at(now + step, "down", None);
            }
            Ok(())
        }
        "shutdown" if guest.is(&["up"]) => {
            guest.become_now("powering_down", host);
            guest.become_at(now + step * 4, "down", None);
            Ok(())
        }
        "reboot" | "reset" if guest.is(&["up"]) => {
            guest.become_now("reboot_in_progress", host.clone());
            guest.become_at(now + step, "up", host);
            Ok(())
        }
        "suspend" if guest.is(&["up"]) => {
            guest.become_now("saving_state", host);
            guest.become_at(now + step, "suspended", None);
            Ok(())
        }
        "cancelmigration" => {
            let from = guest.host.clone();
            guest.become_now("up", from);
            Ok(())
        }
        _ => refuse(&format!("Cannot {order} VM. VM is not running.")),
    }
}

fn start(world: &mut World, guest: &Guest, action: &Action) -> Result<(), Refusal> {
    if !guest.is(&["down", "suspended", "paused"]) {
        return refuse("Cannot run VM. VM is running.");
    }
    let mut wanted = guest.clone();
    if let Some(next) = wanted.next_run.take() {
        wanted.placement = next;
    }
    if let Some(host) = &action.host {
        let Some(host) = world.host(host) else {
            return Err((404, String::new()));
        };
        wanted.placement.affinity = "pinned".to_owned();
        wanted.placement.hosts = vec![host.id.clone()];
    }
    let Some(host) = world.schedule(&wanted) else {
        return refuse(
            "Cannot run VM. There is no host that satisfies current scheduling constraints. See below for details:",
        );
    };
    let (now, step) = (Instant::now(), world.transition);
    let resumes = guest.is(&["suspended"]);
    let Some(guest) = world.guest_mut(&guest.id) else {
        return Err((404, String::new()));
    };
    guest.starts += 1;
    if let Some(next) = guest.next_run.take() {
        guest.placement = next;
    }
    let first = if resumes {
        "restoring_state"
    } else {
        "wait_for_launch"
    };
    guest.become_now(first, Some(host.clone()));
    guest.become_at(now + step / 2, "powering_up", Some(host.clone()));
    guest.become_at(now + step, "up", Some(host));
    Ok(())
}

fn migrate(world: &mut World, guest: &Guest, action: &Action) -> Result<(), Refusal> {
    if !guest.is(&["up", "powering_up", "paused"]) {
        return refuse("Cannot migrate VM. VM is not running.");
    }
    match guest.placement.affinity.as_str() {
        "pinned" => return refuse("Cannot migrate VM. VM is pinned to Host."),
        "user_migratable" if action.force != Some(true) => {
            return refuse(
                "Cannot migrate VM. VM is non migratable and user did not specify the force-migration flag",
            );
        }
        _ => {}
    }
    let to = match &action.host {
        Some(name) => match world.host(name) {
            Some(host) => Some(host.clone()),
            None => return Err((404, String::new())),
        },
        None => {
            let others = |host: &&super::world::Host| {
                guest.host.as_deref() != Some(&host.id) && host.status == "up"
            };
            world.hosts.iter().find(others).cloned()
        }
    };
    let Some(to) = to.filter(|host| host.status == "up" && host.cluster == guest.cluster) else {
        return refuse(
            "Cannot migrate VM. There is no host that satisfies current scheduling constraints.",
        );
    };
    if guest.host.as_deref() == Some(&to.id) {
        return refuse("Cannot migrate VM. VM is already running on the destination host.");
    }
    if world.is_kept_from(guest, &to.id) {
        return refuse(
            "Cannot migrate VM. The host did not satisfy internal filter VmAffinityGroups.",
        );
    }
    let (now, step) = (Instant::now(), world.transition);
    let Some(guest) = world.guest_mut(&guest.id) else {
        return Err((404, String::new()));
    };
    let from = guest.host.clone();
    guest.become_now("migrating", from);
    guest.become_at(now + step, "up", Some(to.id));
    Ok(())
}
