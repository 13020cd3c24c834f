use scsi::pr::{OutAction, OutParameters, OutRequest, ReservationType};

use super::*;

#[test]
fn unfenced_nodes_may_write_and_nobody_else() {
    let world = World::new(3, 2, 2);
    for number in [1, 2] {
        let (result, output, _) = said(world.node(number), Action::On);
        assert_eq!(
            (result, output.as_str()),
            (Ok(Exit::OK), "Success: Powered ON\n")
        );
        assert_eq!(world.node(number).store.key().unwrap(), key(number));
        let mut devices = world.node(number).store.devices().unwrap();
        devices.sort();
        assert_eq!(devices, ["/dev/lun0", "/dev/lun1"]);
    }
    let writable: Vec<usize> = world.machines.iter().map(Machine::writable).collect();
    assert_eq!(writable, [4, 4, 0], "two disks, two paths each");
    for lun in &world.luns {
        let kind = lun.lock().reservations.held().map(|held| held.kind);
        assert_eq!(kind, Some(ReservationType::WriteExclusiveRegistrantsOnly));
    }
}

#[test]
fn a_fenced_node_writes_nothing_and_its_writes_in_flight_are_aborted() {
    let world = World::unfenced(3, 2, 2);
    let (result, output, log) = said(world.node(1), Action::Off(key(2)));
    assert_eq!(
        (result, output.as_str()),
        (Ok(Exit::OK), "Success: Powered OFF\n")
    );
    assert!(log.contains("I/O cut off, node still running"), "{log}");
    let writable: Vec<usize> = world.machines.iter().map(Machine::writable).collect();
    assert_eq!(writable, [4, 0, 4]);
    for lun in &world.luns {
        assert_eq!(
            lun.lock().aborted,
            [world.node(2).nexus(0), world.node(2).nexus(1)]
        );
    }
    let (result, output, _) = said(world.node(3), Action::Off(key(2)));
    assert_eq!(
        (result, output.as_str()),
        (Ok(Exit::OK), "Success: Already OFF\n")
    );
    // Unfenced again, it is a node like the others.
    world.node(2).run(Action::On).unwrap();
    assert_eq!(world.node(2).writable(), 4);
}

/// The holder of the reservation is fenced: the reservation passes to who fences it.
#[test]
fn the_holder_can_be_fenced() {
    let world = World::unfenced(2, 1, 1);
    world.off(2, 1).unwrap();
    assert_eq!((world.node(1).writable(), world.node(2).writable()), (0, 1));
    assert!(
        world.luns[0]
            .lock()
            .reservations
            .holds(&world.node(2).nexus(0))
    );
}

#[test]
fn a_fenced_node_cannot_fence_back() {
    let world = World::unfenced(3, 2, 1);
    world.off(1, 2).unwrap();
    let before: Vec<_> = world
        .luns
        .iter()
        .map(|lun| lun.lock().reservations.clone())
        .collect();
    for victim in [1, 3] {
        let failure = world.off(2, victim).unwrap_err();
        assert!(failure.message.contains("has been fenced"), "{failure}");
        assert!(failure.message.contains("2 of 2 devices"), "{failure}");
    }
    let after: Vec<_> = world
        .luns
        .iter()
        .map(|lun| lun.lock().reservations.clone())
        .collect();
    assert_eq!(before, after, "nothing was changed");
}

#[test]
fn a_node_that_was_never_unfenced_or_means_itself_is_refused() {
    let world = World::unfenced(2, 1, 1);
    let failure = world.off(1, 1).unwrap_err();
    assert!(failure.message.contains("cannot fence itself"), "{failure}");
    world.node(1).store.forget();
    let failure = world.off(1, 2).unwrap_err();
    assert!(failure.message.contains("not been unfenced"), "{failure}");
    assert_eq!(world.node(2).writable(), 1);
}

#[test]
fn unfencing_twice_changes_nothing() {
    let world = World::unfenced(2, 2, 4);
    assert_eq!(
        world.registrations(),
        [8, 8],
        "one for each path of each node"
    );
    let before = world.luns[0].lock().reservations.clone();
    world.node(1).run(Action::On).unwrap();
    let after = world.luns[0].lock().reservations.clone();
    assert_eq!(before.registrations(), after.registrations());
    assert_eq!(before.held(), after.held());
    // Its own writes were never at risk: nothing was preempted.
    let orders = &world.luns[0].lock().orders;
    assert!(
        orders
            .iter()
            .all(|(_, action, _)| *action != OutAction::Preempt),
        "{orders:?}"
    );
}

/// After a restart with other initiator session ids the old registration is still listed: it must not pass for the new one.
#[test]
fn a_registration_from_before_a_restart_is_no_registration() {
    for tells_port in [false, true] {
        let mut world = World::unfenced(2, 1, 2);
        world.machines[0].tells_port = tells_port;
        world.machines[0].reboot(true);
        assert_eq!(world.node(1).writable(), 0);
        world.node(1).run(Action::On).unwrap();
        assert_eq!(world.node(1).writable(), 2);
        assert_eq!(world.registrations(), [4], "what was left of it is gone");
        assert_eq!(world.node(2).writable(), 2);
        assert_eq!(world.off(2, 1), Ok(Exit::OK));
        assert!(!world.node(1).may_write());
    }
}

/// The same without READ FULL STATUS: the leftovers stay, and are fenced with the rest.
#[test]
fn leftovers_that_nobody_can_tell_apart_are_left_and_warned_about() {
    let mut world = World::unfenced(2, 1, 2);
    world.luns[0].lock().no_full_status = true;
    world.machines[0].reboot(true);
    let (result, _, log) = said(world.node(1), Action::On);
    assert_eq!(result, Ok(Exit::OK));
    assert!(
        log.contains("by this node before a restart, or by another"),
        "{log}"
    );
    assert_eq!(world.registrations(), [6]);
    world.off(2, 1).unwrap();
    assert!(!world.node(1).may_write());
    assert_eq!(world.registrations(), [2]);
}

/// One of two sessions was made anew. Its old registration can only be removed together with that of the path that is in use,
/// or by giving that one another key for a while, under which nobody would look for it to fence this node. So it stays: the
/// path in use loses nothing at any moment, and whoever fences this node removes all of them.
#[test]
fn a_session_that_is_renewed_leaves_a_registration_and_costs_no_path_its_access() {
    for at in 0..24 {
        let mut world = World::unfenced(2, 1, 2);
        world.machines[0].renewed = Some(1);
        let (lun, in_use) = (world.luns[0].clone(), world.node(1).nexus(0));
        world.luns[0].before(at, move || {
            let inner = lun.lock();
            assert!(
                inner
                    .reservations
                    .permits(&in_use, scsi::pr::Access::Writes)
            );
            assert_eq!(inner.reservations.key_of(&in_use), Some(key(1)));
        });
        assert_eq!(world.node(1).run(Action::On), Ok(Exit::OK));
        world.luns[0].undisturbed();
        assert_eq!(world.node(1).writable(), 2);
        assert_eq!(world.registrations(), [5]);
        world.off(2, 1).unwrap();
        assert_eq!(world.registrations(), [2]);
        assert!(!world.node(1).may_write());
    }
}

/// Ports of Fibre Channel have names that say nothing of the machine: what is registered already is told, and not refused.
#[test]
fn over_fibre_channel_the_ports_are_named() {
    let mut world = World::unfenced(2, 1, 2);
    world.luns[0].lock().fibre = true;
    world.machines[0].reboot(true);
    let (result, _, log) = said(world.node(1), Action::On);
    assert_eq!(result, Ok(Exit::OK));
    let port = "over Fibre Channel port 0x2131800000000000, Fibre Channel port 0x2131800000000001";
    assert!(log.contains(port), "{log}");
    assert_eq!(world.node(1).writable(), 2);
    world.off(2, 1).unwrap();
    assert!(!world.node(1).may_write());
}

#[test]
fn a_key_that_another_node_has_is_refused() {
    for (tells_port, tells_name) in [(true, true), (false, true), (false, false)] {
        let mut world = World::unfenced(2, 2, 2);
        world.machines.push(Machine {
            name: "iqn.2026-11.example:intruder".to_owned(),
            tells_port,
            tells_name,
            ..world.machines[0].clone()
        });
        world.machines[2].store = world.machines[1].store.clone();
        let failure = world.node(3).run(Action::On).unwrap_err();
        assert!(
            failure.message.contains("iqn.2026-11.example:node1"),
            "{failure}"
        );
        assert!(failure.message.contains("another node"), "{failure}");
        assert_eq!(
            world.registrations(),
            [4, 4],
            "its own registrations were withdrawn"
        );
        assert_eq!((world.node(1).writable(), world.node(3).writable()), (4, 0));
    }
}

/// Its unfencing was refused, and it knows its key all the same: with it, it neither fences nor is registered.
#[test]
fn a_node_with_another_ones_key_does_not_fence_with_it() {
    for tells_port in [true, false] {
        let mut world = World::unfenced(2, 2, 2);
        world.machines.push(Machine {
            name: "iqn.2026-11.example:intruder".to_owned(),
            tells_port,
            tells_name: tells_port,
            ..world.machines[0].clone()
        });
        let failure = world.off(3, 2).unwrap_err();
        assert!(failure.message.contains("another initiator"), "{failure}");
        let writable: Vec<usize> = world.machines.iter().map(Machine::writable).collect();
        assert_eq!(writable, [4, 4, 0]);
    }
}

/// A fenced node that is unfenced without a reboot still has what it wanted to write.
#[test]
fn unfencing_without_a_reboot_after_a_fencing_is_warned_about() {
    let mut world = World::unfenced(2, 1, 1);
    let (_, _, log) = said(world.node(2), Action::On);
    assert!(!log.contains("has not rebooted"), "{log}");
    world.off(1, 2).unwrap();
    let (result, _, log) = said(world.node(2), Action::On);
    assert_eq!(result, Ok(Exit::OK));
    assert!(log.contains("has not rebooted"), "{log}");
    world.off(1, 2).unwrap();
    world.machines[1].reboot(false);
    let (result, _, log) = said(world.node(2), Action::On);
    assert_eq!(result, Ok(Exit::OK));
    assert!(!log.contains("has not rebooted"), "{log}");
}

/// Sessions may go by another initiator name than the machine's: what is registered over the paths themselves is its own.
#[test]
fn other_names_of_the_machine_itself_are_no_collision() {
    let mut world = World::unfenced(2, 1, 2);
    world.machines[0].claims = Some("iqn.2026-11.example:other-name".to_owned());
    assert_eq!(world.node(1).run(Action::On), Ok(Exit::OK));
    // A restart on top: leftovers with the name under which one path is registered still.
    world.machines[0].reboot(true);
    let half = Machine {
        paths: 1,
        ..world.machines[0].clone()
    };
    let claims = Machine {
        claims: None,
        ..half
    };
    assert_eq!(claims.run(Action::On), Ok(Exit::OK));
    assert_eq!(world.node(1).run(Action::On), Ok(Exit::OK));
    assert_eq!(world.node(1).writable(), 2);
}

/// Removing leftovers takes a node's registrations away for a moment: never while it may be writing.
#[test]
fn leftovers_stay_while_a_path_is_in_use() {
    let mut world = World::unfenced(2, 1, 2);
    world.machines[0].reboot(true);
    let half = Machine {
        paths: 1,
        ..world.machines[0].clone()
    };
    world.luns[0].lock().no_full_status = true;
    half.run(Action::On).unwrap();
    world.luns[0].lock().no_full_status = false;
    assert_eq!(world.node(1).run(Action::On), Ok(Exit::OK));
    assert_eq!(world.node(1).writable(), 2);
    assert_eq!(
        world.registrations(),
        [6],
        "two of either node, and two left over"
    );
    let orders = world.luns[0].lock().orders.clone();
    let preempts = orders
        .iter()
        .any(|(_, action, _)| *action == OutAction::Preempt);
    assert!(!preempts, "{orders:?}");
}

/// The other node with the same key registers one more path at any moment: its name does not pass for this node's.
#[test]
fn a_collision_is_seen_whatever_the_other_node_does_meanwhile() {
    for at in 0..8 {
        let mut world = World::unfenced(1, 1, 1);
        let other = Machine {
            paths: 2,
            ..world.machines[0].clone()
        };
        world.machines.push(Machine {
            name: "iqn.2026-11.example:intruder".to_owned(),
            tells_name: false,
            ..world.machines[0].clone()
        });
        world.machines[1].store =
            super::super::state::Store::at(&world._directory.path().join("other/cluster"));
        world.luns[0].before(at, move || {
            // It may see the collision itself.
            let _ = other.run(Action::On);
        });
        let failed = world.node(2).run(Action::On).is_err();
        // A key that the device cannot tell the owner of is warned about; it is not taken for one's own.
        let preempted = world.luns[0]
            .lock()
            .orders
            .iter()
            .any(|(_, action, _)| *action == OutAction::Preempt);
        assert!(!preempted, "at {at}");
        assert_eq!(world.node(1).writable(), 1, "at {at}");
        assert!(failed || at > 0, "at {at}");
    }
}

#[test]
fn a_path_that_cannot_be_registered_fails_the_action() {
    let world = World::new(1, 2, 2);
    world.luns[1]
        .lock()
        .dead
        .push((world.node(1).name.clone(), 1));
    let failure = world.node(1).run(Action::On).unwrap_err();
    assert!(failure.message.contains("/dev/lun1/1"), "{failure}");
    assert!(failure.message.contains("1 of 2 devices"), "{failure}");
}

#[test]
fn a_target_without_preempt_and_abort_is_refused() {
    let world = World::unfenced(2, 2, 1);
    world.luns[0].lock().no_abort = true;
    let failure = world.off(1, 2).unwrap_err();
    assert!(
        failure.message.contains("does not know PREEMPT AND ABORT"),
        "{failure}"
    );
    let orders = world.luns[0].lock().orders.clone();
    assert!(
        orders
            .iter()
            .all(|(_, action, _)| *action != OutAction::Preempt),
        "no way around it: {orders:?}"
    );
    assert_eq!(
        world.node(2).writable(),
        1,
        "cut off from the other device, not from this one"
    );
}

#[test]
fn another_type_of_reservation_is_refused() {
    let world = World::unfenced(1, 1, 1);
    let nexus = world.node(1).nexus(0);
    let mut inner = world.luns[0].lock();
    let around = scsi::pr::Surroundings {
        ports: &[],
        known: &[],
        room: 9,
    };
    for (action, kind) in [
        (
            OutAction::Release,
            ReservationType::WriteExclusiveRegistrantsOnly,
        ),
        (OutAction::Reserve, ReservationType::WriteExclusive),
    ] {
        let request = OutRequest {
            action,
            kind: Some(kind),
            length: 24,
        };
        let (next, _) = inner
            .reservations
            .out(
                &nexus,
                &request,
                &OutParameters::keys(Some(key(1)), None),
                &around,
            )
            .unwrap();
        inner.reservations = next;
    }
    drop(inner);
    for action in [Action::On, Action::Monitor, Action::Status(key(9))] {
        assert!(world.node(1).run(action).is_err(), "{action:?}");
    }
}

/// Without a reservation anybody may write, whatever is registered.
#[test]
fn an_absent_key_on_a_device_that_is_not_reserved_is_not_off() {
    let world = World::unfenced(2, 1, 1);
    release(&world, 1);
    let (result, output, log) = said(world.node(1), Action::Status(key(9)));
    assert_eq!((result, output.as_str()), (Ok(Exit::OK), "Status: ON\n"));
    assert!(log.contains("not reserved"), "{log}");
    let failure = world.node(1).run(Action::Off(key(9))).unwrap_err();
    assert!(failure.message.contains("It is reserved now"), "{failure}");
    assert_eq!(world.node(1).run(Action::Off(key(9))), Ok(Exit::OK));
    // A registered victim: reserved first, so that nothing gets in between.
    release(&world, 1);
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
    assert_eq!((world.node(1).writable(), world.node(2).writable()), (1, 0));
}

/// In the scheme `id`: the key of a position that nobody has any more may be the victim's.
#[test]
fn a_key_that_is_nobodys_today_stops_everything() {
    let mut world = World::unfenced(3, 2, 1);
    world.machines[0].known = Some(vec![key(1), key(2)]);
    for action in [
        Action::Off(key(2)),
        Action::Off(key(9)),
        Action::Status(key(9)),
    ] {
        let failure = world.node(1).run(action).unwrap_err();
        assert_eq!(failure.kind, fence_agent::FailureKind::CannotKnow);
        assert!(
            failure
                .message
                .contains("key 3 is registered, which is no node's"),
            "{failure}"
        );
    }
    assert_eq!(
        world.registrations(),
        [3, 3],
        "nobody was cut off on a guess"
    );
    world.machines[0].known = Some(vec![key(1), key(2), key(3)]);
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
}

/// The node was unfenced before `key_value` was changed: today's key is not registered, and it may write all the same.
#[test]
fn a_node_with_the_key_of_another_scheme_is_cut_off_as_well() {
    let mut world = World::unfenced(3, 2, 1);
    world.machines[0].also = vec![key(2), key(3)];
    assert_eq!(world.node(1).run(Action::Status(key(9))), Ok(Exit::OK));
    assert_eq!(world.node(1).run(Action::Off(key(9))), Ok(Exit::OK));
    assert_eq!((world.node(2).writable(), world.node(3).writable()), (0, 0));
    world.machines[0].also = vec![key(1)];
    let failure = world.node(1).run(Action::Off(key(9))).unwrap_err();
    assert!(failure.message.contains("cannot fence itself"), "{failure}");
}

#[test]
fn a_key_that_would_be_another_today_fails_the_monitor() {
    let mut world = World::unfenced(2, 1, 1);
    world.machines[0].key = key(2);
    let failure = world.node(1).run(Action::Monitor).unwrap_err();
    assert!(failure.message.contains("has changed"), "{failure}");
}

/// Gives up the reservation that node `number` holds.
fn release(world: &World, number: usize) {
    let machine = world.node(number);
    let mut path = machine_path(machine);
    let mut reservations = disk::pr::Reservations::of(path.as_mut());
    let limit = deadline::Deadline::after(Duration::from_secs(9));
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    reservations.release(machine.key, kind, limit).unwrap();
    assert!(world.luns[0].lock().reservations.held().is_none());
}

fn machine_path(machine: &Machine) -> Box<dyn disk::ScsiDevice> {
    use super::super::reach::Reach as _;
    let path = "/dev/lun0/0".parse().unwrap();
    machine
        .open(
            &path,
            false,
            deadline::Deadline::after(Duration::from_secs(9)),
        )
        .unwrap()
}

#[test]
fn status_and_monitor() {
    let mut world = World::unfenced(2, 2, 1);
    let status = |world: &World, number| {
        let (result, output, _) = said(world.node(1), Action::Status(key(number)));
        (result.map(Exit::code), output)
    };
    assert_eq!(status(&world, 2), (Ok(0), "Status: ON\n".to_owned()));
    assert_eq!(status(&world, 3), (Ok(2), "Status: OFF\n".to_owned()));
    assert_eq!(world.node(2).run(Action::Monitor), Ok(Exit::OK));
    world.off(1, 2).unwrap();
    assert_eq!(status(&world, 2), (Ok(2), "Status: OFF\n".to_owned()));
    let failure = world.node(2).run(Action::Monitor).unwrap_err();
    assert!(failure.message.contains("has been fenced"), "{failure}");

    // A node whose sessions have got new ids is registered by name only.
    world.machines[0].tells_port = true;
    world.machines[0].boots += 1;
    let failure = world.node(1).run(Action::Monitor).unwrap_err();
    assert!(failure.message.contains("not over path"), "{failure}");
    world.machines[0].store.forget();
    let failure = world.node(1).run(Action::Monitor).unwrap_err();
    assert!(failure.message.contains("not been unfenced"), "{failure}");
}

#[test]
fn aptpl_is_asked_for_kept_and_missed_aloud() {
    let mut world = World::new(2, 1, 1);
    world.machines[0].aptpl = true;
    world.machines[1].aptpl = true;
    world.luns[0].lock().no_aptpl = true;
    let failure = world.node(1).run(Action::On).unwrap_err();
    assert!(failure.message.contains("APTPL"), "{failure}");
    world.luns[0].lock().no_aptpl = false;
    world.node(1).run(Action::On).unwrap();
    world.node(2).run(Action::On).unwrap();
    // By hand, without the option, and with a lost answer so that something is registered by the way.
    world.machines[0].aptpl = false;
    lose_abort(&world, 1);
    world.off(1, 2).unwrap();
    assert!(world.luns[0].lock().reservations.aptpl());
}

/// The answer to the next PREEMPT AND ABORT of `by` is lost: it comes after the keys and the reservation were read.
pub(super) fn lose_abort(world: &World, luns: usize) {
    use super::memory::Fault;
    for lun in &world.luns[..luns] {
        lun.lock().faults = [Fault::None, Fault::None, Fault::LostAfter].into();
    }
}
