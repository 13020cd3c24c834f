//! The probe finds each fault, and none where there is none.

use std::time::Duration;

use disk::probe::report::{self, Outcome, Report, Requirement, Verdict};
use disk::probe::{Event, ProbeOptions, Probed, Trouble, Watcher, probe};
use scsi::Opcode;

use crate::target::{Fault, Target};

/// Agrees to everything, and may end the probe at a step.
#[derive(Default)]
struct Watch {
    end_at: Option<&'static str>,
    over: bool,
    declines: bool,
    /// What happens elsewhere at the beginning of a step.
    meanwhile: Option<(&'static str, Meanwhile)>,
}

type Meanwhile = Box<dyn FnOnce()>;

impl Watcher for Watch {
    fn event(&mut self, event: Event) {
        self.over |=
            matches!((&event, self.end_at), (Event::Trying(step), Some(end)) if *step == end);
        let due =
            matches!((&event, &self.meanwhile), (Event::Trying(step), Some((at, _))) if step == at);
        if due && let Some((_, what)) = self.meanwhile.take() {
            what();
        }
    }

    fn cancelled(&self) -> bool {
        self.over
    }

    fn consent(&mut self, _: &report::Identity, _: &str) -> bool {
        !self.declines
    }

    fn restart_target(&mut self) -> Option<Result<(), String>> {
        None
    }
}

fn options() -> ProbeOptions {
    ProbeOptions {
        destructive: true,
        despite_registrations: false,
        despite_data: false,
        initiators: ["iqn.2026-11.org.example:a", "iqn.2026-11.org.example:slow"]
            .map(str::to_owned),
        timeout: Duration::from_secs(10),
        restart_timeout: Duration::from_secs(10),
    }
}

fn run(target: &Target, options: &ProbeOptions, watch: &mut Watch) -> Result<Probed, Trouble> {
    probe(&target.url().parse().unwrap(), options, watch)
}

/// What the disk held before, so that it can be seen whether it is put back.
fn fill(target: &Target) -> Vec<u8> {
    let mut state = target.state();
    // No signature anywhere: these bytes are none.
    state
        .medium
        .chunks_mut(512)
        .enumerate()
        .for_each(|(at, block)| block.fill(at.to_le_bytes()[0] | 0x80));
    state.medium.clone()
}

#[track_caller]
fn unchanged(target: &Target, before: &[u8], probed: &Probed) {
    assert!(
        probed.report.left_behind.is_empty(),
        "{:?}",
        probed.report.left_behind
    );
    let state = target.state();
    assert!(state.medium == before, "the medium was not put back");
    assert!(state.unit.reservations().registrations().is_empty());
}

#[track_caller]
fn probed(fault: Fault) -> Probed {
    let target = Target::with(fault);
    let before = fill(&target);
    let probed = run(&target, &options(), &mut Watch::default()).unwrap();
    assert!(probed.ended.is_none(), "{:?}", probed.ended);
    unchanged(&target, &before, &probed);
    probed
}

#[test]
fn a_target_that_keeps_to_the_rules_is_safe() {
    let report = probed(Fault::None).report;
    assert_eq!(report.verdict, Verdict::Safe, "{:#?}", report.reasons);
    let open: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Met)
        .collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0].id, report::APTPL_KEPT.id);
    for write in report
        .writes
        .iter()
        .filter(|write| !write.command.starts_with("SYNC"))
    {
        let supported = write.command != "WRITE ATOMIC(16)";
        assert_eq!(write.registered_changed, supported, "{write:?}");
        assert_eq!(write.fenced, report::Answer::Conflict, "{write:?}");
    }
}

/// The fault breaks this requirement, and only this one of those required.
#[track_caller]
fn breaks(fault: Fault, requirement: Requirement) -> Report {
    let report = probed(fault).report;
    assert_eq!(report.verdict, Verdict::Unsafe);
    let broken: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.need == report::Need::Required && check.outcome == Outcome::Broken)
        .map(|check| check.id.as_str())
        .collect();
    assert_eq!(broken, [requirement.id], "{:#?}", report.reasons);
    report
}

#[test]
fn each_kind_of_write_that_gets_through_is_found() {
    const THESE: &[Opcode] = &[
        Opcode::WRITE_6,
        Opcode::WRITE_12,
        Opcode::WRITE_AND_VERIFY_16,
        Opcode::WRITE_SAME_10,
        Opcode::UNMAP,
        Opcode::COMPARE_AND_WRITE,
        Opcode::ORWRITE_16,
        Opcode::SYNCHRONIZE_CACHE_10,
    ];
    let report = breaks(Fault::Executes(THESE), report::FENCED_WRITES);
    let through: Vec<_> = report
        .writes
        .iter()
        .filter(|write| write.fenced == report::Answer::Good)
        .collect();
    // WRITE SAME(10) comes with and without UNMAP.
    assert_eq!(through.len(), THESE.len() + 1, "{through:#?}");
    for write in through {
        let changes = !write.command.starts_with("SYNC");
        assert_eq!(write.fenced_changed, Some(changes), "{write:?}");
    }
    assert_eq!(
        report.check(report::SYNCHRONIZE).unwrap().outcome,
        Outcome::Broken
    );
}

#[test]
fn writes_that_land_after_the_answer_are_found() {
    let report = probed(Fault::DoesNotDrain).report;
    assert_eq!(report.verdict, Verdict::Unsafe);
    let check = report.check(report::IN_FLIGHT).unwrap();
    assert_eq!(check.outcome, Outcome::Broken, "{check:?}");
}

#[test]
fn data_that_are_taken_late_are_found() {
    breaks(Fault::TakesLateData, report::LATE_DATA);
}

#[test]
fn a_fencing_that_waits_for_the_victim_is_slow_and_not_unsafe() {
    let target = Target::with(Fault::WaitsForData);
    let before = fill(&target);
    let options = ProbeOptions {
        timeout: Duration::from_secs(2),
        ..options()
    };
    let probed = run(&target, &options, &mut Watch::default()).unwrap();
    let report = &probed.report;
    assert_eq!(report.verdict, Verdict::Safe, "{:#?}", report.reasons);
    assert_eq!(
        report.check(report::SILENT_VICTIM).unwrap().outcome,
        Outcome::Broken
    );
    unchanged(&target, &before, &probed);
}

#[test]
fn a_preempt_that_does_nothing_is_found() {
    let report = probed(Fault::PreemptsNothing).report;
    assert_eq!(report.verdict, Verdict::Unsafe);
    let check = report.check(report::PREEMPT_AND_ABORT).unwrap();
    assert_eq!(check.outcome, Outcome::Broken);
}

#[test]
fn fencing_back_is_found() {
    breaks(Fault::TakesAnybodysWord, report::FENCE_BACK);
}

#[test]
fn a_reset_that_lifts_the_reservation_is_found() {
    breaks(Fault::ResetClears, report::RESET);
}

#[test]
fn a_registration_that_ends_with_its_session_is_found() {
    breaks(Fault::ForgetsOnLogout, report::LOGOUT);
}

#[test]
fn what_a_disk_says_of_itself_is_not_enough() {
    let target = Target::with(Fault::None);
    let before = fill(&target);
    let options = ProbeOptions {
        destructive: false,
        ..options()
    };
    let probed = run(&target, &options, &mut Watch::default()).unwrap();
    assert_eq!(probed.report.verdict, Verdict::CannotKnow);
    assert_eq!(probed.report.mode, report::Mode::Inferred);
    unchanged(&target, &before, &probed);
    assert_eq!(
        target
            .state()
            .unit
            .reservations()
            .data(scsi::pr::InAction::ReadKeys)
            .unwrap()[..4],
        [0; 4]
    );
}

#[test]
fn a_disk_that_holds_something_is_left_alone() {
    let target = Target::with(Fault::None);
    target.state().medium[0x438..0x43A].copy_from_slice(&[0x53, 0xEF]);
    let before = target.state().medium.clone();
    let refused = run(&target, &options(), &mut Watch::default()).unwrap_err();
    assert!(
        matches!(&refused, Trouble::InUse(why) if why.contains("ext4")),
        "{refused}"
    );
    assert!(target.state().medium == before);
    let options = ProbeOptions {
        despite_data: true,
        ..options()
    };
    let probed = run(&target, &options, &mut Watch::default()).unwrap();
    assert_eq!(probed.report.verdict, Verdict::Safe);
    unchanged(&target, &before, &probed);
}

#[test]
fn a_disk_that_somebody_uses_is_left_alone() {
    let target = Target::with(Fault::None);
    let other = disk::OpenOptions {
        initiator: Some("iqn.2026-11.org.example:node".to_owned()),
        ..disk::OpenOptions::default()
    };
    let soon = deadline::Deadline::after(Duration::from_secs(5));
    let mut node = disk::open(&target.url().parse().unwrap(), &other, soon).unwrap();
    let key = scsi::pr::Key::new(0x6e31);
    disk::pr::Reservations::of(&mut *node)
        .register_ignoring(key, false, soon)
        .unwrap();
    let refused = run(&target, &options(), &mut Watch::default()).unwrap_err();
    assert!(
        matches!(&refused, Trouble::InUse(why) if why.contains("0x6e31")),
        "{refused}"
    );
    assert_eq!(target.state().unit.reservations().registrations().len(), 1);
}

/// A cluster begins to use the disk while it is probed: its registration is its own.
#[test]
fn who_registers_meanwhile_keeps_its_registration() {
    let target = Target::with(Fault::None);
    let before = fill(&target);
    let url = target.url().parse().unwrap();
    let key = scsi::pr::Key::new(0x6e31);
    let mut watch = Watch {
        meanwhile: Some((
            "resetting",
            Box::new(move || {
                let other = disk::OpenOptions {
                    initiator: Some("iqn.2026-11.org.example:node".to_owned()),
                    ..disk::OpenOptions::default()
                };
                let soon = deadline::Deadline::after(Duration::from_secs(5));
                let mut node = disk::open(&url, &other, soon).unwrap();
                disk::pr::Reservations::of(&mut *node)
                    .register_ignoring(key, false, soon)
                    .unwrap();
            }),
        )),
        ..Watch::default()
    };
    let probed = run(&target, &options(), &mut watch).unwrap();
    assert!(
        matches!(&probed.ended, Some(Trouble::InUse(why)) if why.contains("0x6e31")),
        "{:?}",
        probed.ended
    );
    let left = &probed.report.left_behind;
    assert!(left.is_empty(), "{left:?}");
    assert_ne!(probed.report.verdict, Verdict::Safe);
    let state = target.state();
    let keys: Vec<_> = state
        .unit
        .reservations()
        .registrations()
        .iter()
        .map(|one| Some(one.key))
        .collect();
    assert_eq!(keys, [key]);
    assert!(state.medium == before, "the medium was not put back");
}

/// A target may give each initiator a disk of its own: the second one's is nobody's scratch disk.
#[test]
fn two_initiators_that_see_two_disks_change_neither() {
    let target = Target::with(Fault::TwoDisks);
    let before = fill(&target);
    let refused = run(&target, &options(), &mut Watch::default()).unwrap_err();
    assert!(
        matches!(&refused, Trouble::Unfit(why) if why.contains("do not see the same disk")),
        "{refused}"
    );
    assert!(target.state().medium == before);
}

/// The same with disks that have no names: what tells them apart is that one does not show the other's registrations.
#[test]
fn an_initiator_that_does_not_see_the_registrations_writes_nothing() {
    let report = probed(Fault::HidesKeys).report;
    let check = report.check(report::REGISTER).unwrap();
    assert_eq!(check.outcome, Outcome::Broken, "{check:?}");
    assert!(report.writes.is_empty(), "{:?}", report.writes);
    assert_eq!(
        report.check(report::REGISTRANT_WRITES).unwrap().outcome,
        Outcome::Unknown
    );
}

/// Nothing can be late of a write that was refused at once.
#[test]
fn a_write_that_was_never_begun_says_nothing_of_late_data() {
    let report = probed(Fault::RefusesLarge).report;
    let check = report.check(report::LATE_DATA).unwrap();
    assert_eq!(check.outcome, Outcome::Unknown, "{check:?}");
    assert_eq!(report.verdict, Verdict::CannotKnow, "{:#?}", report.reasons);
}

/// What is no reservation conflict may be over with the next command.
#[test]
fn a_fenced_write_that_is_refused_for_another_reason_is_no_proof() {
    let report = probed(Fault::OtherReason).report;
    let check = report.check(report::FENCED_WRITES).unwrap();
    assert_eq!(check.outcome, Outcome::Unknown, "{check:?}");
    assert_eq!(report.verdict, Verdict::CannotKnow, "{:#?}", report.reasons);
}

#[test]
fn who_declines_or_cancels_finds_the_disk_as_it_was() {
    let target = Target::with(Fault::None);
    let before = fill(&target);
    let mut no = Watch {
        declines: true,
        ..Watch::default()
    };
    assert!(matches!(
        run(&target, &options(), &mut no),
        Err(Trouble::Declined)
    ));
    assert!(target.state().medium == before);
    for step in [
        "fencing",
        "fencing with writes in flight",
        "logging out and in",
    ] {
        let mut watch = Watch {
            end_at: Some(step),
            ..Watch::default()
        };
        let probed = run(&target, &options(), &mut watch).unwrap();
        assert!(
            matches!(probed.ended, Some(Trouble::Cancelled)),
            "{step}: {:?}",
            probed.ended
        );
        assert_ne!(probed.report.verdict, Verdict::Safe);
        unchanged(&target, &before, &probed);
    }
}
