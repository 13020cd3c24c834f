//! One disk under several names.

use scsi::pr::OutAction;

use super::super::known;
use super::super::state::Store;
use super::*;

/// Machines whose disks have more names: for each the disk, and the path that the name leads to.
fn world(machines: u64, luns: usize, more: &[(usize, usize)]) -> World {
    let mut world = World::new(machines, luns, 1);
    for machine in &mut world.machines {
        machine.more = more.to_vec();
    }
    world
}

fn may_write(machine: &Machine, lun: usize, path: usize) -> bool {
    let nexus = machine.nexus(path);
    let inner = machine.luns[lun].lock();
    inner.reservations.permits(&nexus, scsi::pr::Access::Writes)
        && inner.reservations.key_of(&nexus).is_some()
}

fn count(world: &World, lun: usize, action: OutAction) -> usize {
    let inner = world.luns[lun].lock();
    inner
        .orders
        .iter()
        .filter(|(_, sent, _)| *sent == action)
        .count()
}

/// Two paths of one disk, each named, without multipath: neither registration is the other's leftover.
#[test]
fn each_name_of_a_disk_is_registered_and_stays_so() {
    for tells_port in [true, false] {
        let mut world = world(2, 1, &[(0, 1), (0, 2)]);
        for machine in &mut world.machines {
            machine.tells_port = tells_port;
        }
        for _ in 0..3 {
            for number in [1, 2] {
                assert_eq!(world.node(number).run(Action::On), Ok(Exit::OK));
            }
        }
        for machine in &world.machines {
            assert!((0..3).all(|path| may_write(machine, 0, path)));
            assert_eq!(
                machine.store.devices().unwrap(),
                ["/dev/lun0", "/dev/more0", "/dev/more1"]
            );
        }
        assert_eq!(world.registrations(), [6]);
        assert_eq!(count(&world, 0, OutAction::Preempt), 0);
        assert_eq!(world.off(1, 2), Ok(Exit::OK));
        assert!((0..3).all(|path| !may_write(world.node(2), 0, path)));
        assert!((0..3).all(|path| may_write(world.node(1), 0, path)));
        assert_eq!(world.node(1).run(Action::Status(key(2))), Ok(Exit::OFF));
        assert_eq!(world.node(1).run(Action::Monitor), Ok(Exit::OK));
    }
}

/// A symbolic link, say: it is registered and preempted once.
#[test]
fn two_names_of_one_path_are_one_device() {
    let world = world(2, 1, &[(0, 0)]);
    for machine in &world.machines {
        machine.run(Action::On).unwrap();
    }
    assert_eq!(world.registrations(), [2]);
    assert_eq!(count(&world, 0, OutAction::RegisterAndIgnoreExistingKey), 2);
    let (off, _, log) = said(world.node(1), Action::Off(key(2)));
    assert_eq!(off, Ok(Exit::OK));
    assert!(log.contains("every device (1)"), "{log}");
    assert_eq!(count(&world, 0, OutAction::PreemptAndAbort), 1);
}

/// Registrations of before a restart are removed, and none of today's.
#[test]
fn leftovers_are_told_from_what_another_name_has_registered() {
    let mut world = world(2, 1, &[(0, 1)]);
    world.node(1).run(Action::On).unwrap();
    world.machines[0].reboot(true);
    assert_eq!(world.node(1).run(Action::On), Ok(Exit::OK));
    assert_eq!(world.registrations(), [2]);
    assert!((0..2).all(|path| may_write(world.node(1), 0, path)));
}

/// Targets that give every machine's first disk the same designator: none of them may be left out.
#[test]
fn two_disks_that_call_themselves_the_same_are_two() {
    let world = world(2, 2, &[]);
    for lun in &world.luns {
        lun.lock().naa = Some(0x3000_0000_0000_0001);
    }
    for machine in &world.machines {
        assert_eq!(machine.run(Action::On), Ok(Exit::OK));
        assert_eq!(machine.writable(), 2);
    }
    for lun in &world.luns {
        assert!(lun.lock().reservations.held().is_some(), "not reserved");
    }
    assert_eq!(world.off(1, 2), Ok(Exit::OK));
    assert_eq!(world.node(2).writable(), 0);
    assert_eq!(count(&world, 0, OutAction::PreemptAndAbort), 1);
    assert_eq!(count(&world, 1, OutAction::PreemptAndAbort), 1);
}

/// On one of two disks of the same name another node has this node's key: it is found there.
#[test]
fn a_collision_of_keys_is_found_on_either_of_two_disks_of_one_name() {
    for foreign in [0, 1] {
        let mut world = world(2, 2, &[]);
        for lun in &world.luns {
            lun.lock().naa = Some(0x3000_0000_0000_0001);
        }
        world.machines[1].key = key(1);
        world.machines[1].luns = vec![world.luns[foreign].clone()];
        world.node(2).run(Action::On).unwrap();
        let failure = world.node(1).run(Action::On).unwrap_err();
        assert!(
            failure.message.contains("belongs to another node"),
            "{foreign}: {failure}"
        );
    }
}

/// The only device of a second shared group is lost to LVM, and not to those who write to it.
#[test]
fn a_device_that_is_remembered_is_asked_although_lvm_lists_it_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| {
        let path = directory.path().join(name);
        std::fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_owned()
    });
    let store = Store::at(&directory.path().join("cluster"));
    let printed = format!("  wz--ns:{a}\n");
    let names = |action| {
        let devices = known(&printed, action, &store);
        devices.map(|all| all.into_iter().map(|one| one.name).collect::<Vec<_>>())
    };
    assert_eq!(
        names("status"),
        Ok(vec![a.clone()]),
        "nothing is remembered"
    );
    for name in [&a, &b] {
        store.add_device(name).unwrap();
    }
    for action in ["off", "status", "monitor"] {
        assert_eq!(names(action), Ok(vec![a.clone(), b.clone()]), "{action}");
    }
    assert_eq!(names("on"), Ok(vec![a]));
    std::fs::remove_file(&b).unwrap();
    for action in ["off", "status", "monitor"] {
        let failure = names(action).unwrap_err();
        assert!(failure.message.contains(&b), "{action}: {failure}");
    }
}
