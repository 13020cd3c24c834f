//! The configuration is read again: all of it counts or nothing does, and who is not concerned notices nothing.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disk::initiator::{ChapCredentials, Payload, Session, SessionOptions, TaskEnd};
use iscsi::login::{Credentials, Secret};
use iscsi::pdu::Lun;
use scsi::pr::OutAction;
use scsi::{AdditionalSense, Status};
use target::config::{Config, InitiatorOptions, TargetOptions};
use target::server::{ReloadError, Reloaded};

use crate::harness::{
    BLOCK, Door, Fixture, Initiator, LUN, OpensAtEnd, TARGET, a_while, config, key, lun, options,
    reserve_out, soon, write10,
};

const OTHER: &str = "iqn.2026-11.org.example:other";

fn number(lun: u8) -> Lun {
    Lun([0, lun, 0, 0, 0, 0, 0, 0])
}

/// What the server runs with, changed.
fn changed(fixture: &Fixture, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config(fixture.directory.path());
    change(&mut config);
    config
}

fn reload(fixture: &Fixture, change: impl FnOnce(&mut Config)) -> Result<Reloaded, ReloadError> {
    fixture.server.admin().change_to(changed(fixture, change))
}

fn refusal(fixture: &Fixture, change: impl FnOnce(&mut Config)) -> String {
    reload(fixture, change).unwrap_err().to_string()
}

fn other_target(fixture: &Fixture, file: &str) -> TargetOptions {
    let mut target = config(fixture.directory.path()).targets.remove(0);
    target.name = OTHER.parse().unwrap();
    target.luns = vec![lun(0, fixture.directory.path().join(file))];
    target
}

fn at_other(fixture: &Fixture, who: &str) -> SessionOptions {
    SessionOptions {
        target: OTHER.to_owned(),
        ..options(fixture.address(), who)
    }
}

fn is_alive(node: &mut Initiator) -> bool {
    node.0.ping(soon()).is_ok()
}

#[test]
fn what_has_not_changed_is_left_alone() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut node = fixture.connect("node");
    let _opens = OpensAtEnd(&door);
    door.shut();
    let data = Payload::Out(vec![7; BLOCK]);
    let write = write10(0, BLOCK, true);
    let task = node.0.submit(LUN, &write, data, soon()).unwrap();
    node.0.flush(soon()).unwrap();
    door.await_crowd(1);
    assert_eq!(reload(&fixture, |_| {}).unwrap(), Reloaded::default());
    // Much comes beside it, while its write is at the medium.
    let other = other_target(&fixture, "other.img");
    let reloaded = reload(&fixture, |config| {
        config.targets.push(other);
        config.listen.push("127.0.0.1:0,2".parse().unwrap());
    });
    let reloaded = reloaded.unwrap();
    assert_eq!(reloaded.done.len(), 3, "{reloaded:?}");
    assert_eq!(reloaded.trouble, Vec::<String>::new());
    door.open();
    match node.0.wait(task, soon()).unwrap() {
        Some(TaskEnd::Completed(done, _)) => assert_eq!(done.status, Status::GOOD),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        node.settle(),
        [],
        "news of something that does not concern it"
    );
    // What is new is there.
    let mut at_second = at_other(&fixture, "node");
    at_second.port = fixture.server.portals()[1].port();
    let mut second = Initiator::connect(fixture.address(), &at_second).unwrap();
    assert_eq!(second.write(0, &[1; BLOCK]), Status::GOOD);
}

#[test]
fn all_of_it_counts_or_nothing() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    let (good, mut bad) = (
        other_target(&fixture, "other.img"),
        lun(9, "/none/x".into()),
    );
    bad.disk.store.size = None;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let said = refusal(&fixture, |config| {
        config.targets.push(good);
        config.targets[0].luns.push(bad);
        config.targets[0].initiators.clear();
        config.listen = vec![format!("{taken},1").parse().unwrap()];
        config.timeouts.stop = Duration::from_secs(9);
    });
    for part in ["/none/x", &taken.to_string(), "`timeouts` cannot change"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(Session::connect(&at_other(&fixture, "node"), soon()).is_err());
    assert!(is_alive(&mut node));
    assert_eq!(node.settle(), []);
    assert!(fixture.connect("another").write(0, &[1; BLOCK]) == Status::GOOD);
    assert_eq!(fixture.server.admin().targets()[0].units.len(), 1);
    // The disk that had been opened for it is free.
    let good = other_target(&fixture, "other.img");
    reload(&fixture, |config| config.targets.push(good)).unwrap();
}

#[test]
fn what_cannot_change_while_it_is_served_is_refused_with_the_reason() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    let disk = |config: &mut Config| {
        let disk = &mut config.targets[0].luns[0].disk;
        disk.write_cache = false;
    };
    let said = refusal(&fixture, disk);
    assert!(said.contains("disk.img cannot change while"), "{said}");
    let moved = other_target(&fixture, "disk.img");
    let said = refusal(&fixture, |config| config.targets = vec![moved]);
    assert!(
        said.contains(&format!("is served by target {TARGET}")),
        "{said}"
    );
    for (key, change) in [
        (
            "state",
            (|config| config.state = "/elsewhere".into()) as fn(&mut Config),
        ),
        ("control", |config| {
            config.control = Some("/elsewhere".into());
        }),
        ("metrics", |config| {
            config.metrics = Some("127.0.0.1:1".parse().unwrap());
        }),
        ("limits", |config| config.limits.commands = 1),
    ] {
        let said = refusal(&fixture, change);
        assert!(said.contains(&format!("`{key}` cannot change")), "{said}");
    }
    assert!(is_alive(&mut node));
    let said = fixture.server.admin().reload().unwrap_err().to_string();
    assert!(said.contains("without a configuration file"), "{said}");
}

/// Its sessions would be of another target port from one moment to the next.
#[test]
fn a_portal_does_not_change_its_group() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let at = |group| vec![format!("{address},{group}").parse().unwrap()];
    let fixture = Fixture::with(|config| config.listen = at(1), None);
    let said = refusal(&fixture, |config| config.listen = at(2));
    assert!(said.contains("portal group 1 to 2"), "{said}");
    reload(&fixture, |_| {}).unwrap();
    reload(&fixture, |config| config.listen = at(2)).unwrap();
    assert_eq!(fixture.server.portals(), [address]);
}

#[test]
fn a_disk_keeps_everything_under_another_number() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let mut node = fixture.connect("node");
    node.register(7, false);
    let _opens = OpensAtEnd(&door);
    door.shut();
    let data = Payload::Out(vec![7; BLOCK]);
    let write = write10(0, BLOCK, true);
    let task = node.0.submit(LUN, &write, data, soon()).unwrap();
    node.0.flush(soon()).unwrap();
    door.await_crowd(1);
    let fresh = lun(0, fixture.directory.path().join("fresh.img"));
    let reloaded = reload(&fixture, |config| {
        config.targets[0].luns[0].number = 5;
        config.targets[0].luns.push(fresh);
    });
    assert!(
        reloaded
            .unwrap()
            .done
            .iter()
            .any(|line| line.contains("LUN 0 is LUN 5 now")),
    );
    door.open();
    match node.0.wait(task, soon()).unwrap() {
        Some(TaskEnd::Completed(done, _)) => assert_eq!(done.status, Status::GOOD),
        other => panic!("{other:?}"),
    }
    // Not even APTPL was needed: it is the same logical unit.
    let registrations = |at: usize| {
        let targets = fixture.server.admin().targets();
        let unit = &targets[0].units[at];
        (
            unit.lun,
            unit.reservations.as_ref().unwrap().registrations.len(),
        )
    };
    assert_eq!((registrations(0), registrations(1)), ((0, 0), (5, 1)));
    while node.run_on(number(5), &[0; 6], Payload::None).0.status != Status::GOOD {}
    let (done, _) = node.run_on(
        number(5),
        &write10(1, BLOCK, false),
        Payload::Out(vec![8; BLOCK]),
    );
    assert_eq!(done.status, Status::GOOD);
    assert_eq!(
        fixture.medium()[..2 * BLOCK],
        [[7; BLOCK], [8; BLOCK]].concat()
    );
}

#[test]
fn a_disk_that_is_gone_is_closed_and_its_target_goes_on() {
    let fixture = Fixture::start();
    let second = lun(1, fixture.directory.path().join("second.img"));
    reload(&fixture, |config| {
        config.targets[0].luns.push(second.clone());
    })
    .unwrap();
    let mut node = fixture.connect("node");
    while node.run_on(number(1), &[0; 6], Payload::None).0.status != Status::GOOD {}
    let reloaded = reload(&fixture, |_| {}).unwrap();
    assert_eq!(reloaded.done.len(), 1, "{reloaded:?}");
    let (gone, _) = node.run_on(number(1), &[0; 6], Payload::None);
    assert_eq!(gone.status, Status::CHECK_CONDITION);
    let told: Vec<_> = node.settle().iter().map(|sense| sense.additional).collect();
    assert_eq!(told, [AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED]);
    assert_eq!(node.write(0, &[1; BLOCK]), Status::GOOD);
    // It can be served again at once, elsewhere.
    let mut other = other_target(&fixture, "second.img");
    other.luns[0].number = 3;
    reload(&fixture, |config| config.targets.push(other)).unwrap();
}

fn account(user: &str) -> Credentials {
    Credentials {
        name: user.to_owned(),
        secret: Secret::new(b"a secret of some length".to_vec()).unwrap(),
    }
}

#[test]
fn who_has_lost_its_place_goes_and_nobody_else() {
    let fixture = Fixture::start();
    let entry = |name: &str, account| InitiatorOptions {
        name: format!("iqn.2026-11.org.example:{name}").parse().unwrap(),
        account,
    };
    let base = |config: &mut Config| {
        config.targets[0].initiators = vec![entry("stays", None), entry("goes", None)];
        config.listen.push("127.0.0.1:0,2".parse().unwrap());
    };
    let other = other_target(&fixture, "other.img");
    reload(&fixture, |config| {
        base(config);
        config.targets.push(other);
    })
    .unwrap();
    let mut stays = fixture.connect("stays");
    let mut goes = fixture.connect("goes");
    let mut second = Initiator::connect(fixture.address(), &at_other(&fixture, "stays")).unwrap();
    let mut through_second = options(fixture.address(), "stays");
    through_second.port = fixture.server.portals()[1].port();
    let mut through_second = Initiator::connect(fixture.address(), &through_second).unwrap();

    // An initiator, a target, a portal.
    reload(&fixture, |config| {
        base(config);
        config.targets[0].initiators.pop();
    })
    .unwrap();
    assert!(!is_alive(&mut goes) && !is_alive(&mut second));
    assert!(is_alive(&mut stays) && is_alive(&mut through_second));
    assert!(Session::connect(&options(fixture.address(), "goes"), soon()).is_err());
    let portal = fixture.server.portals()[1];
    reload(&fixture, |config| {
        base(config);
        config.targets[0].initiators.pop();
        config.listen.pop();
    })
    .unwrap();
    assert!(!is_alive(&mut through_second));
    assert!(
        TcpStream::connect(portal).is_err(),
        "{portal} is listened on"
    );
    assert_eq!(stays.write(0, &[1; BLOCK]), Status::GOOD);

    // Who has proved nothing, where a proof is asked for from now on; who has proved who it is stays.
    let asks = |config: &mut Config| {
        config.targets[0].initiators = vec![entry("stays", Some(account("user")))];
    };
    reload(&fixture, asks).unwrap();
    assert!(!is_alive(&mut stays));
    let credentials = ChapCredentials {
        ours: account("user"),
        target: None,
    };
    let proved = crate::harness::with_secret(options(fixture.address(), "stays"), credentials);
    let mut proved = Initiator::connect(fixture.address(), &proved).unwrap();
    assert_eq!(reload(&fixture, asks).unwrap(), Reloaded::default());
    let mutual = |config: &mut Config| {
        asks(config);
        config.targets[0].own = Some(account("target"));
    };
    assert_eq!(reload(&fixture, mutual).unwrap().done.len(), 1);
    assert!(is_alive(&mut proved));
    // The same user with another secret: whoever knew the old one goes.
    let another = |config: &mut Config| {
        let mut user = account("user");
        user.secret = Secret::new(b"another secret of some length".to_vec()).unwrap();
        config.targets[0].initiators = vec![entry("stays", Some(user))];
    };
    assert_eq!(reload(&fixture, another).unwrap().done.len(), 1);
    assert!(!is_alive(&mut proved));
}

/// The old session of the same initiator port has a write at the medium, and the new one waits for its end, after it has proved
/// who it is. Meanwhile its account is removed, and another one stays.
#[test]
fn who_is_removed_while_it_logs_in_does_not_get_in() {
    let door = Arc::new(Door::default());
    let fixture = Fixture::gated(&door);
    let with = |users: &[&str]| {
        let entry = |user: &&str| InitiatorOptions {
            name: "iqn.2026-11.org.example:node".parse().unwrap(),
            account: Some(account(user)),
        };
        let initiators: Vec<_> = users.iter().map(entry).collect();
        move |config: &mut Config| config.targets[0].initiators = initiators
    };
    reload(&fixture, with(&["goes", "stays"])).unwrap();
    let credentials = |user| ChapCredentials {
        ours: account(user),
        target: None,
    };
    let proved =
        |user| crate::harness::with_secret(options(fixture.address(), "node"), credentials(user));
    let mut old = Initiator::connect(fixture.address(), &proved("stays")).unwrap();
    let _opens = OpensAtEnd(&door);
    door.shut();
    let data = Payload::Out(vec![7; BLOCK]);
    old.0
        .submit(LUN, &write10(0, BLOCK, true), data, soon())
        .unwrap();
    old.0.flush(soon()).unwrap();
    door.await_crowd(1);
    std::thread::scope(|scope| {
        let goes = scope.spawn(|| Session::connect(&proved("goes"), soon()).is_ok());
        std::thread::sleep(a_while().remaining());
        let reloaded = reload(&fixture, with(&["stays"])).unwrap();
        assert_eq!(reloaded.trouble, Vec::<String>::new());
        door.open();
        assert!(!goes.join().unwrap(), "it was let in");
    });
    assert!(fixture.server.admin().sessions().is_empty());
    assert!(Session::connect(&proved("stays"), soon()).is_ok());
}

/// A disk that is being removed belongs to no target any more, and is not closed yet.
#[test]
fn a_stop_waits_for_a_disk_that_is_being_closed() {
    let door = Arc::new(Door::default());
    let directory = tempfile::tempdir().unwrap();
    let second = lun(1, directory.path().join("second.img"));
    let add = |config: &mut Config| config.targets[0].luns.push(second);
    let fixture = Fixture::with_journals(add, &door, directory);
    let mut node = fixture.connect("node");
    while node.run_on(number(1), &[0; 6], Payload::None).0.status != Status::GOOD {}
    let _opens = OpensAtEnd(&door);
    door.shut();
    let keys = (None, Some(key(7)));
    let (cdb, list) = reserve_out(OutAction::RegisterAndIgnoreExistingKey, keys, true);
    node.0
        .submit(number(1), &cdb, Payload::Out(list), soon())
        .unwrap();
    node.0.flush(soon()).unwrap();
    door.await_crowd(1);
    let removed = changed(&fixture, |_| {});
    let Fixture { server, directory } = fixture;
    let (admin, over) = (server.admin(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            admin.change_to(removed).unwrap();
            over.store(true, Ordering::SeqCst);
        });
        while server.admin().targets()[0].units.len() > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        node.0.end("enough");
        scope.spawn(|| {
            std::thread::sleep(3 * a_while().remaining());
            door.open();
        });
        let stopped = server.stop();
        assert!(
            stopped.is_err() || over.load(Ordering::SeqCst),
            "{stopped:?} while a disk was being closed"
        );
    });
    drop(directory);
}

#[test]
fn who_may_look_for_targets_changes() {
    let fixture = Fixture::start();
    let reloaded = reload(&fixture, |config| {
        config.discovery = vec![account("finder")];
    })
    .unwrap();
    assert_eq!(reloaded.done, ["who may look for targets"]);
    assert_eq!(reload(&fixture, |_| {}).unwrap().done.len(), 1);
}
