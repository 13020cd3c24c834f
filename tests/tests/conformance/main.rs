//! One named test for each unsafe answer of the C programs that Picket gives safely.
//!
//! The numbers are those of the project's lists of defects: I… of the incumbents, W… of the wire
//! protocol's weaknesses. Each test runs its case against Picket, which must pass, and against the C
//! program, which must show the defect: where it no longer does, the peer was repaired, and the case
//! has to be looked at again. Defects that were found by reading and cannot be provoked from outside
//! say so in their test.

mod abuse;
mod agents;
mod answers;
mod waiting;

use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Config, Daemon, Route},
    guests,
    process::Ran,
    rig::Rig,
};

/// A rig with a daemon of `subject` for `vm1` and `vm2`.
fn world(subject: Subject, route: Route) -> (Rig, Daemon) {
    let rig = Rig::new();
    let uri = rig.hypervisor("node.xml", &guests::pair());
    let daemon = Daemon::start(&rig, subject, &Config::new(&rig, route, &uri));
    (rig, daemon)
}

/// Runs the part of a test that Picket must pass, unless only the peer was asked for.
fn picket(check: impl FnOnce()) {
    if Subject::all().contains(&Subject::Ours) {
        check();
    }
}

/// Runs the part of a test that shows the peer's defect, unless only Picket was asked for.
fn peer(check: impl FnOnce()) {
    if Subject::all().contains(&Subject::C) {
        check();
    }
}

/// Runs both parts at the same time, because they take a while.
fn side_by_side(ours: impl FnOnce() + Send, c: impl FnOnce()) {
    std::thread::scope(|scope| {
        let ours = scope.spawn(|| picket(ours));
        peer(c);
        ours.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// The C agent's status of a guest: it is the daemon that is looked at.
fn status(rig: &Rig, route: Route, plug: &str) -> Ran {
    Call::over(rig, Subject::C, route).act(rig, "status", Some(plug))
}

/// Fails unless the peer shows its defect.
#[track_caller]
fn shows(defect: &str, shown: bool, seen: &dyn std::fmt::Debug) {
    assert!(
        shown,
        "the C peer no longer {defect}: it was repaired, look at this case again ({seen:?})"
    );
}
