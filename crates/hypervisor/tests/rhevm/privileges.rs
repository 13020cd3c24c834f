//! Whether the login may stop guests, without stopping one.

use hypervisor::{ErrorKind, Managed as _};

use crate::{World, fails, named, soon};

const USERS: &str = "--user two@internal:secret:UserVmManager@node2 --user one@internal:secret:UserVmManager@node1 --user reader@internal:secret:UserRole@node1:UserVmManager@template";

#[test]
fn the_privilege_is_proved_and_nothing_is_stopped() {
    for engine in ["4.1", "4.5"] {
        let world = World::new(&format!("--engine {engine} {USERS}"));
        for user in ["admin", "fence", "one"] {
            let rhevm = world.as_user(&format!("{user}@internal"));
            rhevm
                .may_switch(Some(&named("node1")), soon())
                .unwrap_or_else(|error| panic!("{engine} {user}: {error}"));
            rhevm
                .may_switch(None, soon())
                .unwrap_or_else(|error| panic!("{engine} {user}: {error}"));
        }
        // Whose only guest is not the engine's first.
        let two = world.as_user("two@internal");
        two.may_switch(None, soon())
            .unwrap_or_else(|error| panic!("{engine}: {error}"));
        for user in ["viewer", "reader"] {
            let rhevm = world.as_user(&format!("{user}@internal"));
            fails(
                rhevm.may_switch(Some(&named("node1")), soon()),
                ErrorKind::Refused,
                "no role there with the permit stop_vm",
            );
            fails(
                rhevm.may_switch(None, soon()),
                ErrorKind::Refused,
                "UserVmManager",
            );
        }
        let rhevm = world.as_user("nobody@internal");
        fails(
            rhevm.may_switch(None, soon()),
            ErrorKind::Refused,
            "sees no guest at all",
        );
        fails(
            rhevm.may_switch(Some(&named("node1")), soon()),
            ErrorKind::NoSuchGuest,
            "no guest",
        );
        let one = world.as_user("one@internal");
        fails(
            one.may_switch(Some(&named("node2")), soon()),
            ErrorKind::NoSuchGuest,
            "no guest",
        );
        assert_eq!(world.asked("/stop"), 0);
    }
}

/// Membership in a group counts where the engine tells, and is not guessed where it does not.
#[test]
fn what_comes_by_a_group() {
    let world = World::new("--engine 4.5");
    let member = world.as_user("member@internal");
    member.may_switch(Some(&named("node1")), soon()).unwrap();
    member.may_switch(None, soon()).unwrap();

    let world = World::new("--engine 4.1");
    let member = world.as_user("member@internal");
    fails(
        member.may_switch(Some(&named("node1")), soon()),
        ErrorKind::CannotKnow,
        "who belongs to it",
    );
}

#[test]
fn what_the_engine_does_not_show_is_not_guessed() {
    let world = World::new("");
    world.faults("path=/permissions count=* do=status:404");
    fails(
        world.as_user("fence@internal").may_switch(None, soon()),
        ErrorKind::CannotKnow,
        "cannot be told without stopping it",
    );
    world.faults("path=/permits count=* do=is:refused");
    fails(
        world.as_user("fence@internal").may_switch(None, soon()),
        ErrorKind::CannotKnow,
        "does not show",
    );
    world.faults("path=/permits count=* do=status:500");
    fails(
        world.as_user("fence@internal").may_switch(None, soon()),
        ErrorKind::Unreachable,
        "inside the engine",
    );
}

/// An engine that does not say who is logged in is asked more, and may hide more.
#[test]
fn what_an_old_engine_does_not_show_is_not_guessed() {
    for (fault, kind) in [
        (
            "path=/permissions count=* do=status:404",
            ErrorKind::CannotKnow,
        ),
        ("path=/permits count=* do=is:refused", ErrorKind::CannotKnow),
        ("path=/users/ count=* do=status:404", ErrorKind::CannotKnow),
        ("path=/users/ count=* do=status:500", ErrorKind::Unreachable),
    ] {
        let world = World::new("--engine 4.1");
        world.faults(fault);
        let told = world
            .as_user("fence@internal")
            .may_switch(Some(&named("node1")), soon());
        assert_eq!(told.map_err(|error| error.kind()), Err(kind), "{fault}");
    }
}
