//! Every fault: whatever happens, a guest that runs is never called off.

use std::{process::Command, time::Duration};

use picket_tests::process::{PATIENCE, Process, wait_for};
use rustix::process::Signal;

use crate::{PASSWORD, VM1, World, ended, within};

const LIST: &str = "op=Enumerate:Msvm_ComputerSystem";
const ORDER: &str = "op=RequestStateChange:Msvm_ComputerSystem";
const JOB: &str = "op=Get:Msvm_ConcreteJob";

/// Questions that fail for good.
#[test]
fn a_question_without_an_answer_is_an_error() {
    for (what, words) in [
        ("is:denied", "may not do this"),
        ("is:empty", "may not do this"),
        ("is:error", "Generic failure"),
        ("is:truncated", "no XML"),
        ("is:unrelated", "another request"),
        ("is:plain", "not encrypted"),
        ("is:tampered", "not authentic"),
        ("is:without:EnabledState", "EnabledState is missing"),
        ("is:without:Name", "Name is missing"),
        ("status:500", "HTTP 500"),
        ("status:503", "busy"),
        ("status:403", "may not do this"),
        ("status:404", "/wsman"),
        ("status:407", "proxy"),
        ("status:302", "proxy"),
        ("body:%3Chtml%3Elogin%3C/html%3E", "not encrypted"),
        ("truncate:90", "closed the connection"),
        ("close", "closed the connection"),
        ("hang", "no answer within"),
    ] {
        let world = World::alone();
        world.fault(&format!("{LIST} count=* do={what}"));
        for action in ["status", "off", "reboot", "monitor"] {
            let ran = world.agent(&["--shell-timeout", "2", "-o", action, "-n", "vm1"]);
            ended(&ran, 1, "", words);
            within(&ran, Duration::from_secs(12));
        }
        ended(
            &world.agent(&["--shell-timeout", "2", "-o", "list"]),
            1,
            "",
            words,
        );
        assert_eq!(world.truth(VM1), (2, 0, 0), "{what}");
    }
}

/// Faults in the middle of an operation that do not prevent it.
#[test]
fn an_operation_survives_what_it_can() {
    for lines in [
        format!("{LIST} nth=3 do=is:401"),
        format!("{ORDER} do=is:401"),
        format!("{JOB} do=is:401"),
        format!("{LIST} nth=4 do=close"),
        format!("{ORDER} do=close when=after"),
        format!("{ORDER} do=reset when=after"),
        format!("{ORDER} do=is:truncated"),
        format!("{ORDER} count=2 do=is:return:32775"),
        format!("{ORDER} do=is:failed"),
        format!("{ORDER} do=is:vanished"),
        format!("{JOB} count=* do=is:error"),
        format!("{LIST} nth=2 do=status:503"),
        format!("{LIST} nth=2 do=is:timeout"),
        "count=* do=is:fragment".to_owned(),
        "count=* do=is:prefixes".to_owned(),
        "count=* do=is:value-first".to_owned(),
    ] {
        let world = World::alone();
        world.fault(&lines);
        ended(
            &world.agent(&["-o", "off", "-n", "vm1"]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        assert_eq!(world.truth(VM1), (3, 0, 1), "{lines}");
    }
}

#[test]
fn an_order_that_is_not_carried_out_fails_with_the_reason() {
    for (what, words) in [
        ("is:return:32769", "32769"),
        ("is:return:32778", "out of memory"),
        ("is:denied", "Hyper-V Administrators"),
        ("is:failed", "worker process did not respond"),
        ("is:stuck", "is running"),
    ] {
        let world = World::alone();
        world.fault(&format!("{ORDER} count=* do={what}"));
        let ran = world.agent(&["--power-timeout", "3", "-o", "off", "-n", "vm1"]);
        ended(&ran, 1, "", words);
        within(&ran, Duration::from_secs(12));
        assert_eq!(world.truth(VM1), (2, 0, 0), "{what}");
    }
}

#[test]
fn a_slow_job_is_waited_for() {
    let world = World::alone();
    world.tell("behave stop 3000");
    ended(
        &world.agent(&["-o", "off", "-n", "vm1"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
}

#[test]
fn a_guest_that_is_deleted_meanwhile_is_not_off() {
    let world = World::alone();
    world.tell("behave stop 60000");
    let mut command = world.command();
    command.args(["-l", "CORP\\ann", "-p", PASSWORD, "-o", "off", "-n", "vm1"]);
    let agent = Process::start(&mut command, None, world.dir.path());
    wait_for("the order", PATIENCE, || {
        (world.truth(VM1).0 == 4).then_some(())
    });
    world.tell(&format!("delete {VM1}"));
    let ran = agent.finish(PATIENCE);
    ended(&ran, 1, "", "not confirmed");
}

/// The run's deadline holds when Pacemaker calls and lifts all others, and SIGTERM ends it early.
#[test]
fn deadlines_and_signals_end_a_run() {
    let world = World::alone();
    world.fault(&format!("{LIST} count=* do=hang"));
    let mut command = world.command();
    command.env("PCMK_service", "pacemaker-fenced");
    command.args(["-l", "CORP\\ann", "-p", PASSWORD, "-o", "off", "-n", "vm1"]);
    let start = |command: &mut Command| Process::start(command, None, world.dir.path());
    let (patient, told) = (start(&mut command), start(&mut command));
    std::thread::sleep(Duration::from_secs(1));
    told.signal(Signal::TERM);
    let ran = told.finish(Duration::from_secs(10));
    ended(&ran, 1, "", "SIGTERM");
    within(&ran, Duration::from_secs(5));
    let ran = patient.finish(Duration::from_secs(60));
    ended(&ran, 1, "", "no answer within");
    within(&ran, Duration::from_secs(55));
}

#[test]
fn answers_that_never_end_are_cut_off() {
    let world = World::alone();
    world.fault(&format!("{LIST} count=* do=trickle:20"));
    let ran = world.agent(&["--shell-timeout", "2", "-o", "status", "-n", "vm1"]);
    ended(&ran, 1, "", "no answer within");
    within(&ran, Duration::from_secs(6));
}
