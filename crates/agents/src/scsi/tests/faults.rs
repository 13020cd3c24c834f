use std::sync::Arc;
use std::time::Instant;

use scsi::Status;
use scsi::pr::OutAction;

use super::memory::Fault;
use super::*;

/// Every single command of every action, hit by every fault: the result is right or a failure, never a wrong success.
#[test]
fn a_fault_at_any_command_never_makes_a_wrong_success() {
    let (mut successes, mut failures) = (0, 0);
    let lost = [
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::NotSent,
        Fault::Attention,
    ];
    for fault in lost.into_iter().chain(Fault::ABORTED).chain(Fault::BUSY) {
        for paths in [1, 2] {
            for at in 0..24 {
                let world = World::new(2, 1, paths);
                let strike = |at| {
                    let mut faults = vec![Fault::None; at];
                    faults.push(fault);
                    world.luns[0].lock().faults = faults.into();
                };
                world.node(2).run(Action::On).unwrap();
                strike(at);
                let on = world.node(1).run(Action::On).is_ok();
                if on {
                    assert_eq!(world.node(1).writable(), paths, "{fault:?} at {at}");
                }
                world.luns[0].lock().faults.clear();
                world.node(1).run(Action::On).unwrap();
                strike(at);
                let off = world.off(1, 2).is_ok();
                if off {
                    assert!(!world.node(2).may_write(), "{fault:?} at {at}");
                }
                assert_eq!(
                    world.node(1).writable(),
                    paths,
                    "{fault:?} at {at}: the survivor goes on"
                );
                successes += usize::from(on) + usize::from(off);
                failures += usize::from(!on) + usize::from(!off);
            }
        }
    }
    // One fault is survived: the keys are read again, and decide.
    assert_eq!(failures, 0, "{successes} successes");
}

#[test]
fn a_lost_answer_is_followed_by_another_command_in_turn() {
    let world = World::unfenced(2, 1, 1);
    world.luns[0].lock().orders.clear();
    actions::lose_abort(&world, 1);
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
    let orders: Vec<_> = world.luns[0]
        .lock()
        .orders
        .iter()
        .map(|(_, action, status)| (*action, *status))
        .collect();
    let wanted =
        [OutAction::PreemptAndAbort, OutAction::Register].map(|action| (action, Status::GOOD));
    assert_eq!(orders, wanted);
}

#[test]
fn a_lost_answer_and_then_silence_is_no_success() {
    let world = World::unfenced(2, 1, 1);
    let reads = [
        Fault::None,
        Fault::None,
        Fault::LostAfter,
        Fault::None,
        Fault::None,
    ];
    world.luns[0].lock().faults = reads.into_iter().chain([Fault::LostBefore; 8]).collect();
    let failure = world.off(1, 2).unwrap_err();
    assert_eq!(failure.kind, fence_agent::FailureKind::CannotKnow);
    assert!(failure.message.contains("writes in flight"), "{failure}");
}

#[test]
fn many_unit_attentions_are_only_news() {
    let world = World::unfenced(2, 1, 1);
    world.luns[0].lock().faults = vec![Fault::Attention; 8].into();
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
}

/// A device that has no room for a command for a while has not said no.
#[test]
fn a_device_that_is_busy_is_asked_again() {
    let busy: Vec<Fault> = Fault::BUSY.into_iter().cycle().take(7).collect();
    for action in [Action::On, Action::Off(key(2)), Action::Monitor] {
        let world = World::unfenced(2, 1, 1);
        world.luns[0].lock().faults = busy.clone().into();
        assert_eq!(world.node(1).run(action), Ok(Exit::OK), "{action:?}");
    }
    let world = World::unfenced(2, 1, 1);
    world.luns[0].lock().faults = vec![Fault::Attention; 12].into();
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
}

#[test]
fn a_device_that_stays_busy_costs_the_deadline_and_is_no_answer() {
    let world = World::unfenced(2, 1, 1);
    world.luns[0]
        .lock()
        .busy
        .push((world.node(1).name.clone(), 0));
    for action in [Action::Off(key(2)), Action::Status(key(2)), Action::On] {
        let mut around = Memory::new(Duration::from_millis(700));
        let start = Instant::now();
        let failure = world.node(1).act(action, &mut around).unwrap_err();
        assert_eq!(
            failure.kind,
            fence_agent::FailureKind::TimedOut,
            "{failure}"
        );
        assert!(failure.message.contains("busy"), "{failure}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    assert!(world.node(2).may_write());
}

#[test]
fn a_path_over_which_the_device_is_busy_is_gone_around() {
    let world = World::unfenced(2, 1, 2);
    world.luns[0]
        .lock()
        .busy
        .push((world.node(1).name.clone(), 0));
    let mut around = Memory::new(Duration::from_secs(3));
    let off = world.node(1).act(Action::Off(key(2)), &mut around);
    assert_eq!(off, Ok(Exit::OK));
    assert!(!world.node(2).may_write());
}

#[test]
fn one_device_that_fails_fails_the_action_and_the_others_are_cut_off() {
    let world = World::unfenced(2, 3, 1);
    world.luns[1]
        .lock()
        .dead
        .push((world.node(1).name.clone(), 0));
    let failure = world.off(1, 2).unwrap_err();
    assert!(failure.message.contains("1 of 3 devices"), "{failure}");
    assert_eq!(world.node(2).writable(), 1);
    assert!(
        world.node(1).run(Action::Status(key(2))).is_err(),
        "unknown is not off"
    );
}

#[test]
fn a_dead_path_is_gone_around() {
    let world = World::unfenced(2, 1, 3);
    for path in [0, 1] {
        world.luns[0]
            .lock()
            .dead
            .push((world.node(1).name.clone(), path));
    }
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
    assert!(!world.node(2).may_write());
    assert_eq!(
        world.node(1).run(Action::Monitor),
        Ok(Exit::OK),
        "two paths less are worth a warning"
    );
}

/// Three devices swallow commands. All are waited for at the same time, and no longer than the deadline.
#[test]
fn silent_devices_cost_one_deadline_and_not_three() {
    let world = World::unfenced(2, 4, 1);
    for lun in &world.luns[..3] {
        lun.lock().hung.push((world.node(1).name.clone(), 0));
    }
    let mut around = Memory::new(Duration::from_millis(600));
    let start = Instant::now();
    let failure = world
        .node(1)
        .act(Action::Off(key(2)), &mut around)
        .unwrap_err();
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    assert!(failure.message.contains("3 of 4 devices"), "{failure}");
    assert_eq!(
        world.node(2).writable(),
        3,
        "cut off from the one that answers"
    );
}

/// A hung path is given up in time to use the other one.
#[test]
fn a_hung_path_leaves_time_for_the_other() {
    let world = World::unfenced(2, 1, 2);
    world.luns[0]
        .lock()
        .hung
        .push((world.node(1).name.clone(), 0));
    let mut around = Memory::new(Duration::from_secs(6));
    assert_eq!(
        world.node(1).act(Action::Off(key(2)), &mut around),
        Ok(Exit::OK)
    );
}

/// A survivor whose session got another id, for instance after its network was down.
#[test]
fn a_survivor_with_a_new_session_fences_by_its_key_that_is_still_listed() {
    let mut world = World::unfenced(2, 2, 2);
    world.machines[0].boots += 1;
    let (result, _, log) = said(world.node(1), Action::Off(key(2)));
    assert_eq!(result, Ok(Exit::OK));
    assert!(log.contains("registered now"), "{log}");
    assert!(!world.node(2).may_write());
}

/// The same, and it is fenced in the very moment in which it registers: it must not stay registered.
#[test]
fn a_survivor_with_a_new_session_that_is_fenced_meanwhile_does_not_come_back() {
    let mut fenced = 0;
    for at in 0..16 {
        let mut world = World::unfenced(3, 1, 1);
        world.machines[0].boots += 1;
        let other = Arc::new(world.machines[2].clone());
        world.luns[0].before(at, move || {
            other.run(Action::Off(key(1))).unwrap();
        });
        let result = world.off(1, 2);
        if world.luns[0]
            .lock()
            .orders
            .iter()
            .any(|(nexus, action, _)| {
                *action == OutAction::PreemptAndAbort && *nexus == world.node(3).nexus(0)
            })
        {
            fenced += 1;
            assert!(!world.node(1).may_write(), "at {at}: {result:?}");
        }
        if result.is_ok() {
            assert!(!world.node(2).may_write(), "at {at}");
        }
    }
    assert!(fenced > 5, "{fenced}: the moment was hit");
}

/// Two nodes fence each other, the one at any moment of the other's action: at most one says so.
#[test]
fn of_two_that_fence_each_other_one_survives_at_most() {
    for luns in [1, 2] {
        for at in 0..12 {
            let world = World::unfenced(2, luns, 1);
            let second = Arc::new(std::sync::Mutex::new(None));
            let (other, result) = (world.machines[1].clone(), Arc::clone(&second));
            world.luns[0].before(at, move || {
                *result.lock().unwrap() = Some(other.run(Action::Off(key(1))).is_ok());
            });
            let first = world.off(1, 2).is_ok();
            let second = second.lock().unwrap().take();
            assert!(!(first && second == Some(true)), "{luns} disks, at {at}");
            assert!(
                !(first && world.node(2).may_write()),
                "{luns} disks, at {at}"
            );
            assert!(
                !(second == Some(true) && world.node(1).may_write()),
                "{luns} disks, at {at}"
            );
        }
    }
}

/// A node is fenced at any moment of its unfencing: either all of it comes after the fencing, or it stays out. Never is a
/// part of it registered by what was left to do.
#[test]
fn a_node_that_is_fenced_while_it_is_unfenced_is_out_or_in_as_a_whole() {
    let (mut out, mut within) = (0, 0);
    for before in [World::new, World::unfenced] {
        for at in 0..20 {
            let world = before(2, 1, 3);
            world.node(1).run(Action::On).unwrap();
            let other = world.machines[0].clone();
            world.luns[0].before(at, move || {
                other.run(Action::Off(key(2))).unwrap();
            });
            let on = world.node(2).run(Action::On);
            match world.node(2).writable() {
                0 => {
                    out += 1;
                    let text = on.unwrap_err().message;
                    assert!(
                        text.contains("fenced this one meanwhile"),
                        "at {at}: {text}"
                    );
                }
                3 => {
                    within += 1;
                    assert_eq!(on, Ok(Exit::OK), "at {at}");
                }
                some => panic!("at {at}: {some} of 3 paths are registered, and on said {on:?}"),
            }
        }
    }
    assert!(out > 10 && within > 2, "{out} out, {within} in");
}

/// Another node's PREEMPT AND ABORT may still be waiting for writes in flight when the key is gone already.
#[test]
fn a_key_that_is_gone_already_is_followed_by_a_command_in_turn() {
    let world = World::unfenced(3, 1, 1);
    world.off(3, 2).unwrap();
    world.luns[0].lock().orders.clear();
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
    let orders: Vec<_> = world.luns[0].lock().orders.clone();
    let actions: Vec<_> = orders
        .iter()
        .map(|(_, action, status)| (*action, *status))
        .collect();
    assert_eq!(actions, [(OutAction::Register, Status::GOOD)]);
    // Nobody answers it: nothing is said.
    world.luns[0].lock().faults = [Fault::None; 3]
        .into_iter()
        .chain([Fault::LostBefore; 8])
        .collect();
    let failure = world.off(1, 2).unwrap_err();
    assert_eq!(failure.kind, fence_agent::FailureKind::CannotKnow);
}

/// What the device has in force must be known before anything is registered, which sets it anew for everybody.
#[test]
fn a_device_that_does_not_say_what_is_in_force_keeps_it() {
    let mut lost = 0;
    for at in 0..12 {
        for fenced_before in [false, true] {
            let mut world = World::new(3, 1, 1);
            for machine in &mut world.machines {
                machine.aptpl = true;
                machine.run(Action::On).unwrap();
                machine.aptpl = false;
            }
            if fenced_before {
                let by = Machine {
                    aptpl: true,
                    ..world.node(3).clone()
                };
                by.run(Action::Off(key(2))).unwrap();
            }
            let reads = vec![Fault::None; at].into_iter();
            let mut faults: Vec<_> = reads.chain([Fault::LostBefore; 2]).collect();
            if !fenced_before {
                // The answer to PREEMPT AND ABORT, after keys and reservation.
                faults.resize(faults.len().max(3), Fault::None);
                faults[2] = Fault::LostAfter;
            }
            world.luns[0].lock().faults = faults.into();
            lost += usize::from(world.off(1, 2).is_err());
            let aptpl = world.luns[0].lock().reservations.aptpl();
            assert!(aptpl, "at {at}, fenced before: {fenced_before}");
        }
    }
    assert!(lost > 1, "{lost}: the moment was hit");
}

/// The registration is made, its answer lost, and the node fenced before it can ask: it must not be registered again.
#[test]
fn a_node_that_is_fenced_behind_a_lost_answer_stays_out() {
    let mut hit = 0;
    for paths in [1, 2] {
        for at in 0..16 {
            let world = World::new(2, 1, paths);
            world.node(1).run(Action::On).unwrap();
            let mut faults = vec![Fault::None; at];
            faults.push(Fault::LostAfter);
            world.luns[0].lock().faults = faults.into();
            let (other, victim) = (world.machines[0].clone(), world.machines[1].clone());
            let within = Arc::new(std::sync::Mutex::new(false));
            let noted = Arc::clone(&within);
            world.luns[0].before(at + 1, move || {
                *noted.lock().unwrap() = victim.writable() > 0;
                other.run(Action::Off(key(2))).unwrap();
            });
            let on = world.node(2).run(Action::On);
            if *within.lock().unwrap() {
                hit += 1;
                assert!(on.is_err(), "{paths} paths, at {at}");
                assert!(!world.node(2).may_write(), "{paths} paths, at {at}");
            }
        }
    }
    assert!(hit > 8, "{hit}: the moment was hit");
}

/// The same without a fencing: other nodes that are unfenced at that moment cost nobody whose answers arrive anything, and where
/// the answer to the first registration is lost there is no wrong success.
#[test]
fn nodes_that_are_unfenced_at_the_same_time_do_not_disturb_each_other() {
    for before in [World::new, World::unfenced] {
        for paths in [1, 2] {
            for at in 0..20 {
                let mut world = before(3, 1, paths);
                world.machines[1].boots += 1;
                let others = world.machines.clone();
                world.luns[0].before(at, move || {
                    for other in [0, 2] {
                        others[other].run(Action::On).unwrap();
                    }
                });
                assert_eq!(world.node(2).run(Action::On), Ok(Exit::OK), "at {at}");
                assert_eq!(world.node(2).writable(), paths);
            }
        }
    }
}

/// Of a node that has leftovers of earlier sessions, and is fenced at any moment from its first registration on.
#[test]
fn a_node_with_leftovers_that_is_fenced_is_not_registered_again() {
    for holder in [1, 2] {
        let mut hit = 0;
        for paths in [1, 2] {
            for at in 0..24 {
                let mut world = World::new(2, 1, paths);
                for number in [holder, 3 - holder] {
                    world.node(number).run(Action::On).unwrap();
                }
                world.machines[1].boots += 1;
                let other = world.machines[0].clone();
                let (lun, nexus) = (world.luns[0].clone(), world.node(2).nexus(0));
                let begun = Arc::new(std::sync::Mutex::new(false));
                let noted = Arc::clone(&begun);
                world.luns[0].before(at, move || {
                    let orders = lun.lock().orders.clone();
                    *noted.lock().unwrap() = orders.iter().any(|(from, action, _)| {
                        *from == nexus && *action == OutAction::RegisterAndIgnoreExistingKey
                    });
                    other.run(Action::Off(key(2))).unwrap();
                });
                let on = world.node(2).run(Action::On);
                world.luns[0].undisturbed();
                if *begun.lock().unwrap() {
                    hit += 1;
                    let place = format!("holder {holder}, {paths} paths, at {at}");
                    assert!(on.is_err(), "{place}");
                    assert!(!world.node(2).may_write(), "{place}");
                }
            }
        }
        assert!(hit > 4, "holder {holder}, {hit}: the moment was hit");
    }
}
