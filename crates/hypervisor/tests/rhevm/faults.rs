//! What goes wrong on the way and inside the engine.

use std::time::{Duration, Instant};

use hypervisor::rhevm::{Rhevm, Settings};
use hypervisor::{ErrorKind, Hypervisor as _, Means};

use crate::{World, fails, in_vain, named, soon};

#[test]
fn answers_that_are_none() {
    for (fault, kind, words) in [
        ("do=status:400", ErrorKind::Refused, "HTTP 400"),
        ("do=is:refused", ErrorKind::Refused, "grant the user a role"),
        ("do=status:404", ErrorKind::Unreachable, "api_path"),
        ("do=status:407", ErrorKind::Unreachable, "proxy"),
        ("do=status:500", ErrorKind::Unreachable, "inside the engine"),
        (
            "do=is:broken",
            ErrorKind::Unreachable,
            "Internal Engine Error",
        ),
        ("do=is:starting", ErrorKind::Unreachable, "ovirt-engine"),
        (
            "do=is:page",
            ErrorKind::Unreachable,
            "titled \"welcome to the proxy\"",
        ),
        (
            "do=is:login",
            ErrorKind::Unreachable,
            "https://portal.example/login",
        ),
        ("do=body:", ErrorKind::Unreachable, "not whole XML"),
        ("do=body:<vms><vm", ErrorKind::Unreachable, "not whole XML"),
        (
            "do=body:<hosts/>",
            ErrorKind::Unreachable,
            "`hosts` where `vms`",
        ),
        (
            "do=body:<vms><vm%20id='1'><name>node1</name></vm></vms>",
            ErrorKind::Unreachable,
            "no usable id",
        ),
        ("do=is:no-id", ErrorKind::Unreachable, "no usable id"),
        ("do=is:no-name", ErrorKind::Unreachable, "no usable name"),
        ("do=truncate:400", ErrorKind::Unreachable, ""),
        ("do=close", ErrorKind::Unreachable, "closed"),
        ("do=reset", ErrorKind::Unreachable, ""),
        ("do=raw:SSH-2.0-OpenSSH%0D%0A", ErrorKind::Unreachable, ""),
    ] {
        let world = World::new("");
        world.faults(&format!("path=vms count=* {fault}"));
        fails(world.admin().observe(&named("node1"), soon()), kind, words);
    }
}

/// What happens to the order itself is settled by looking, whatever the answer was.
#[test]
fn an_order_whose_answer_is_lost_is_looked_after() {
    for fault in [
        "close",
        "reset",
        "truncate:10",
        "status:500",
        "status:502",
        "is:broken",
    ] {
        let world = World::new("");
        // Carried out, and then the answer suffers.
        world.faults(&format!("path=/stop when=after do={fault}"));
        let rhevm = Rhevm::new(Settings {
            request_limit: Some(Duration::from_secs(1)),
            ..world.settings("admin@internal")
        });
        if fault.starts_with("is:") {
            fails(
                rhevm.power_off(&named("node1"), in_vain()),
                ErrorKind::CannotKnow,
                "told to stop it, and then",
            );
            continue;
        }
        let off = rhevm
            .power_off(&named("node1"), soon())
            .unwrap_or_else(|error| panic!("{fault}: {error}"));
        let means = if fault.starts_with("truncate") {
            Means::Destroyed
        } else {
            Means::WentOff
        };
        assert!(
            [means, Means::WentOff].contains(&off.evidence.means),
            "{fault}: {:?}",
            off.evidence.means
        );
        assert_eq!(world.guest("node1").stops, 1, "{fault}");
    }
}

/// I13: nothing is waited for past the deadline, and an order that hangs may still have been carried out.
#[test]
fn an_engine_that_hangs_costs_no_more_than_the_deadline() {
    for (path, kind) in [
        ("sso", ErrorKind::Unreachable),
        ("search", ErrorKind::Unreachable),
        ("/stop", ErrorKind::CannotKnow),
    ] {
        let world = World::new("");
        world.faults(&format!("path={path} count=* do=hang"));
        let begun = Instant::now();
        fails(
            world.admin().power_off(&named("node1"), in_vain()),
            kind,
            "",
        );
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{path}: {:?}",
            begun.elapsed()
        );
    }
    // One order that hangs is given up after the limit of a request, and the guest is looked at on another connection.
    let world = World::new("");
    world.faults("path=/stop when=after do=hang");
    let rhevm = Rhevm::new(Settings {
        request_limit: Some(Duration::from_secs(1)),
        ..world.settings("admin@internal")
    });
    let off = rhevm.power_off(&named("node1"), soon()).unwrap();
    assert_eq!(off.evidence.means, Means::WentOff);
}

/// Looks that fail in between are repeated.
#[test]
fn a_look_that_fails_is_not_the_end() {
    for fault in ["status:503", "close", "is:page", "truncate:50"] {
        let world = World::new("");
        let rhevm = world.admin();
        let id = rhevm.observe(&named("node1"), soon()).unwrap().guest.uuid;
        world.faults(&format!("method=GET path=/vms/{id} count=3 do={fault}"));
        rhevm
            .power_off(&named("node1"), soon())
            .unwrap_or_else(|error| panic!("{fault}: {error}"));
    }
}

#[test]
fn a_guest_that_vanishes_is_not_off() {
    for at in [1, 2] {
        let world = World::new("");
        let rhevm = world.admin();
        let id = rhevm.observe(&named("node1"), soon()).unwrap().guest.uuid;
        world.faults(&format!("path=/vms/{id} nth={at} do=is:deleted"));
        let error = rhevm.power_off(&named("node1"), soon()).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(
            error.to_string().contains("know") || error.to_string().contains("no guest"),
            "{error}"
        );
    }
}

#[test]
fn a_guest_that_moves_meanwhile_is_stopped() {
    let world = World::new("--transition 200");
    let rhevm = world.admin();
    let id = rhevm.observe(&named("node1"), soon()).unwrap().guest.uuid;
    world.faults(&format!("path=/vms/{id}/stop do=is:migrates"));
    rhevm.power_off(&named("node1"), soon()).unwrap();
    assert_eq!(world.guest("node1").status.as_deref(), Some("down"));
}

#[test]
fn nobody_there_and_the_wrong_path() {
    let world = World::new("--api-path /api --engine 3.6");
    fails(
        world.admin().observe(&named("node1"), soon()),
        ErrorKind::Unreachable,
        "up to RHEV-M 3.0",
    );
    fails(
        world
            .admin()
            .observe(&named("6e0de000-0000-4000-8000-000000000009"), soon()),
        ErrorKind::Unreachable,
        "api_path",
    );
    let right = Rhevm::new(Settings {
        api_path: "/api/".to_owned(),
        ..world.settings("admin@internal")
    });
    right.observe(&named("node1"), soon()).unwrap();

    let mut settings = world.settings("admin@internal");
    drop(right);
    settings.endpoint.port = 1;
    fails(
        Rhevm::new(settings).health(soon()),
        ErrorKind::Unreachable,
        "",
    );
}
