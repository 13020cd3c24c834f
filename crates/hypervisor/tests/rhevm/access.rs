//! Logging in, sessions, who may see what.

use hypervisor::rhevm::{Rhevm, Settings, Version};
use hypervisor::{ErrorKind, Hypervisor as _, Managed as _};
use zeroize::Zeroizing;

use crate::{World, fails, named, soon};

/// I30: a login that is refused is an error, whatever was asked.
#[test]
fn a_wrong_password_is_said_to_be_wrong_and_tried_once() {
    for engine in ["3.6", "4.5"] {
        let world = World::new(&format!("--engine {engine}"));
        let wrong = Settings {
            password: Zeroizing::new("hunter2".to_owned()),
            ..world.settings("admin@internal")
        };
        let rhevm = Rhevm::new(Settings {
            version: if engine == "3.6" {
                Version::V3
            } else {
                Version::V4
            },
            ..wrong
        });
        fails(
            rhevm.list(soon()),
            ErrorKind::Refused,
            "refused the login: `admin@internal`",
        );
        assert_eq!(
            world.log().len(),
            1,
            "a second try would lock the account earlier: {:?}",
            world.log()
        );
        fails(rhevm.health(soon()), ErrorKind::Refused, "check user name");
        let error = rhevm
            .observe(&named("node1"), soon())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        fails(
            world.as_user("somebody").list(soon()),
            ErrorKind::Refused,
            "admin@internal)",
        );
    }
}

/// I19: one session for everything, ended at the end.
#[test]
fn one_session_serves_all_calls_and_is_ended() {
    for words in ["", "--no-sso", "--engine 3.6"] {
        let world = World::new(words);
        let rhevm = world.admin();
        for _ in 0..5 {
            rhevm.observe(&named("node1"), soon()).unwrap();
            rhevm.health(soon()).unwrap();
        }
        assert_eq!(world.sessions(), (1, 1, 0), "{words}");
        rhevm.log_out(soon()).unwrap();
        assert_eq!(world.sessions(), (0, 1, 1), "{words}");
        rhevm.observe(&named("node1"), soon()).unwrap();
        drop(rhevm);
        assert_eq!(world.sessions(), (0, 2, 2), "{words}");
    }
}

#[test]
fn threads_share_one_session() {
    let world = World::new("--guests 40");
    let rhevm = world.admin();
    std::thread::scope(|scope| {
        for number in 1..=40 {
            let rhevm = &rhevm;
            scope.spawn(move || {
                let seen = rhevm
                    .observe(&named(&format!("node{number}")), soon())
                    .unwrap();
                assert_eq!(seen.guest.name, format!("node{number}"));
            });
        }
    });
    assert_eq!(world.sessions(), (1, 1, 0));
    assert!(
        world.server.connections() <= 8,
        "{}",
        world.server.connections()
    );
}

/// An engine that was restarted has forgotten everybody: once more in, and the order is given once.
#[test]
fn a_session_that_expires_at_any_request_is_renewed() {
    for words in ["", "--no-sso"] {
        for at in 1..=4 {
            let world = World::new(words);
            let rhevm = world.admin();
            rhevm.observe(&named("node1"), soon()).unwrap();
            world.faults(&format!("path=/api/vms nth={at} do=is:expire"));
            rhevm
                .power_off(&named("node1"), soon())
                .unwrap_or_else(|error| panic!("{words} {at}: {error}"));
            assert_eq!(world.guest("node1").stops, 1, "{words} {at}");
        }
        // An engine that never takes its own sessions is not asked for ever.
        let world = World::new(words);
        world.faults("path=/api/vms count=* do=is:expire");
        fails(
            world.admin().observe(&named("node1"), soon()),
            ErrorKind::Refused,
            "login",
        );
        assert!(world.log().len() < 8, "{:?}", world.log());
    }
}

#[test]
fn a_session_is_kept_for_the_next_run_when_told_so() {
    for words in ["", "--engine 3.6"] {
        let world = World::new(words);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sessions/one");
        let settings = Settings {
            session_file: Some(file.clone()),
            ..world.settings("admin@internal")
        };
        for _ in 0..4 {
            let rhevm = Rhevm::new(settings.clone());
            rhevm.observe(&named("node1"), soon()).unwrap();
            rhevm.log_out(soon()).unwrap();
            assert_eq!(rhevm.remarks(), Vec::<String>::new());
        }
        assert_eq!(world.sessions(), (1, 1, 0), "{words}");
        // What the engine has forgotten is replaced.
        world.engine.state().sessions.expire();
        Rhevm::new(settings.clone())
            .observe(&named("node1"), soon())
            .unwrap();
        Rhevm::new(settings.clone())
            .observe(&named("node1"), soon())
            .unwrap();
        assert_eq!(world.sessions(), (1, 2, 0), "{words}");
        let held = std::fs::read_to_string(&file).unwrap();
        assert!(
            !held.contains("secret") || !held.contains("password"),
            "{held}"
        );

        // Where it cannot be kept, it is ended, and that is said.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let rhevm = Rhevm::new(settings.clone());
        rhevm.observe(&named("node1"), soon()).unwrap();
        assert!(
            rhevm
                .remarks()
                .iter()
                .any(|text| text.contains("cannot be kept")),
            "{words}"
        );
        drop(rhevm);
        assert_eq!(world.sessions(), (1, 3, 1), "{words}");
    }
}

/// A session from the file may be as old as the one in memory: neither is the last word.
#[test]
fn two_old_sessions_are_followed_by_a_new_one() {
    let world = World::new("");
    let dir = tempfile::tempdir().unwrap();
    let kept = |name: &str| Settings {
        session_file: Some(dir.path().join(name)),
        ..world.settings("admin@internal")
    };
    let (first, second) = (Rhevm::new(kept("one")), Rhevm::new(kept("two")));
    first.health(soon()).unwrap();
    // Taken up from the file, as by another run.
    let again = Rhevm::new(kept("one"));
    again.health(soon()).unwrap();
    second.health(soon()).unwrap();
    std::fs::rename(dir.path().join("two"), dir.path().join("one")).unwrap();
    assert_eq!(world.sessions(), (2, 2, 0));
    world.engine.state().sessions.expire();
    again.health(soon()).unwrap();
    assert_eq!(world.sessions(), (1, 3, 0));
}

#[test]
fn too_many_sessions_are_said_to_be_too_many() {
    let world = World::new("--session-limit 1");
    let first = world.admin();
    first.health(soon()).unwrap();
    fails(
        world.admin().health(soon()),
        ErrorKind::Refused,
        "maximum number of sessions",
    );
    first.health(soon()).unwrap();
    drop(first);
    world.admin().health(soon()).unwrap();
}

#[test]
fn a_plain_user_fences_what_it_may_and_nothing_else() {
    let world = World::new("--guest elsewhere,cluster=cluster2");
    let rhevm = world.as_user("fence@internal");
    rhevm.power_off(&named("node1"), soon()).unwrap();
    fails(
        rhevm.power_off(&named("elsewhere"), soon()),
        ErrorKind::NoSuchGuest,
        "no guest",
    );
    let rhevm = world.as_user("viewer@internal");
    rhevm.observe(&named("node2"), soon()).unwrap();
    fails(
        rhevm.power_off(&named("node2"), soon()),
        ErrorKind::Refused,
        "grant the user a role",
    );
    assert_eq!(world.guest("node2").stops, 0);
    let unfiltered = Rhevm::new(Settings {
        filter: false,
        ..world.settings("fence@internal")
    });
    fails(
        unfiltered.observe(&named("node1"), soon()),
        ErrorKind::Refused,
        "may not do this",
    );
}
