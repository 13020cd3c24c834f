//! From single observations to the course of a failure and the time each stage took.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// A step on the way from the fault to the recovered service, in the order of a usual recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Milestone {
    /// The fault was injected. By definition at 0.
    Fault,
    /// The first request of a client that was not answered was sent.
    ServiceLost,
    /// A survivor wrote its last record to shared storage before it got the failed node's lock.
    WritesPaused,
    /// A survivor's Corosync declared the token lost.
    MembershipLost,
    /// The survivors agreed on a membership without the failed node.
    NewMembership,
    /// Pacemaker decided to fence the failed node.
    FencingRequested,
    /// The fencing agent was started, any delay the definition asks for being over.
    FenceCallStarted,
    /// The failed node was seen to be off, by something which can know.
    PowerOffConfirmed,
    /// The disks were seen to refuse whatever the failed node sends, by what serves them.
    CutOffConfirmed,
    /// The fencing agent returned success.
    FenceCallReturned,
    /// The service's last resource was started on a survivor.
    ServiceStarted,
    /// A client was answered by a survivor.
    ServiceAnswering,
    /// A survivor got a lock of the shared file system that the failed node had held.
    LockPassedOn,
    /// A survivor wrote to shared storage again.
    WritesResumed,
}

impl Milestone {
    /// The step as a phrase for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::ServiceLost => "service lost",
            Self::WritesPaused => "writes paused",
            Self::LockPassedOn => "lock passed on",
            Self::WritesResumed => "writes resumed",
            Self::MembershipLost => "membership lost",
            Self::NewMembership => "new membership",
            Self::FencingRequested => "fencing requested",
            Self::FenceCallStarted => "fence call started",
            Self::PowerOffConfirmed => "power-off confirmed",
            Self::CutOffConfirmed => "cut-off confirmed",
            Self::FenceCallReturned => "fence call returned",
            Self::ServiceStarted => "service started",
            Self::ServiceAnswering => "service answering",
        }
    }
}

/// Something that happened, on this machine's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// What happened.
    pub milestone: Milestone,
    /// How long after the fault.
    pub after: SignedDuration,
    /// Who saw it: `client`, `fence_virtd`, `picket-target`, or `NODE corosync`, `NODE pacemaker`.
    pub source: String,
    /// The details, for people.
    pub detail: String,
}

/// A step of a timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What happened.
    pub milestone: Milestone,
    /// Seconds after the fault.
    pub seconds: f64,
    /// Who saw it.
    pub source: String,
    /// The details, for people.
    pub detail: String,
}

/// What proves that the failed node was switched off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PowerOff {
    /// How: `destroyed`, `killed`, ….
    pub means: String,
    /// Who looked.
    pub by: String,
    /// What was seen.
    pub state: String,
    /// When the answer came.
    pub at: Timestamp,
    /// Seconds the daemon took, from its first question to the last answer.
    pub seconds: f64,
}

/// What proves that the failed node was cut off from its disks. It may be running still.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutOff {
    /// The keys under which it had been registered.
    pub keys: Vec<String>,
    /// The disks at which it was.
    pub disks: Vec<String>,
    /// The reservation that keeps it out.
    pub reservation: String,
    /// The key that holds it, and whose that is.
    pub holder: String,
    /// Who says so.
    pub by: String,
    /// When that was seen: at most a tenth of a second after it was so.
    pub at: Timestamp,
}

impl CutOff {
    /// It as a phrase for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{} registered no more at {}: {} held by {}; I/O cut off, node still running",
            self.keys.join(", "),
            self.disks.join(", "),
            self.reservation,
            self.holder
        )
    }
}

/// How long each stage took, in seconds. A stage whose ends were not both seen is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stages {
    /// Fault → new membership: Corosync's token and consensus timeouts.
    pub membership: Option<f64>,
    /// New membership → fencing agent started: Pacemaker's decision and any fencing delay.
    pub pacemaker: Option<f64>,
    /// Fencing agent started → it returned.
    pub fence_call: Option<f64>,
    /// Fencing agent returned → a client was answered: Pacemaker starts the service.
    pub start: Option<f64>,
    /// Fault → a client was answered.
    pub total: Option<f64>,
}

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Fenced with evidence, and the service answers from a survivor.
    Recovered,
    /// The service answers from a survivor. That the failed node is off is the fencing agent's word
    /// only: the C daemon keeps no evidence.
    RecoveredUnproven,
    /// The service answers from a survivor, or one writes to shared storage, but the daemon that should
    /// have it has no evidence that the failed node was switched off by then.
    NotProven,
    /// The service did not answer from a survivor in time, or none wrote to shared storage again.
    NotRecovered,
    /// Records that had been acknowledged are gone, nodes read different ones, or the file system is damaged.
    DataLost,
    /// A survivor wrote to shared storage again, with evidence of the power-off; but a node's file could not
    /// be read, or the file system not be checked. Whether anything is lost is not known.
    NotKnown,
}

/// The result of one drill. The names of its fields are an interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// The node that failed.
    pub victim: String,
    /// What was done to it.
    pub fault: lab::Fault,
    /// The node that answered in the end.
    pub survivor: Option<String>,
    /// Whose fencing programs were used.
    pub stack: lab::Stack,
    /// When the fault was injected.
    pub at: Timestamp,
    /// What happened, in order.
    pub timeline: Vec<Step>,
    /// How long each stage took.
    pub stages: Stages,
    /// The proof of the power-off.
    pub power_off: Option<PowerOff>,
    /// The proof of the cut-off, where nodes are fenced at their storage.
    pub cut_off: Option<CutOff>,
    /// How far the survivors' clocks may be off in the timeline, in seconds.
    pub clock_uncertainty: f64,
    /// How many processes of this machine ran or waited to run when the fault was injected, on average
    /// over a minute: figures of a busy machine are not comparable.
    pub load: Option<f64>,
    /// What could not be found out, and why.
    pub gaps: Vec<String>,
}

/// The earliest mark of each milestone, in the order of time.
///
/// Several survivors report the same thing; the first report counts. Marks from before the fault are
/// left out, but for half a second: the guests' clocks are not exact.
#[must_use]
pub fn steps(marks: Vec<Mark>) -> Vec<Step> {
    let tolerance = SignedDuration::from_millis(-500);
    let mut first: BTreeMap<Milestone, Mark> = BTreeMap::new();
    for mark in marks.into_iter().filter(|mark| mark.after >= tolerance) {
        match first.get(&mark.milestone) {
            Some(known) if known.after <= mark.after => {}
            _ => {
                first.insert(mark.milestone, mark);
            }
        }
    }
    let mut steps: Vec<Step> = first
        .into_values()
        .map(|mark| Step {
            milestone: mark.milestone,
            seconds: seconds(mark.after),
            source: mark.source,
            detail: mark.detail,
        })
        .collect();
    steps.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    steps
}

/// How long each stage took, from the steps of a timeline.
#[must_use]
pub fn stages(steps: &[Step]) -> Stages {
    let at = |milestone| {
        steps
            .iter()
            .find(|step| step.milestone == milestone)
            .map(|step| step.seconds)
    };
    let between = |from, to| Some(round(at(to)? - at(from)?));
    Stages {
        membership: at(Milestone::NewMembership),
        pacemaker: between(Milestone::NewMembership, Milestone::FenceCallStarted),
        fence_call: between(Milestone::FenceCallStarted, Milestone::FenceCallReturned),
        start: between(Milestone::FenceCallReturned, Milestone::ServiceAnswering),
        total: at(Milestone::ServiceAnswering),
    }
}

/// The verdict. `has_word` says that the fencing agent itself reported success.
#[must_use]
pub fn verdict(stack: lab::Stack, answered: bool, proven: bool, has_word: bool) -> Verdict {
    match (answered, proven, stack) {
        (false, ..) => Verdict::NotRecovered,
        (true, true, _) => Verdict::Recovered,
        (true, false, lab::Stack::C) if has_word => Verdict::RecoveredUnproven,
        (true, false, _) => Verdict::NotProven,
    }
}

/// The medians of several reports' stages; of an even number, the mean of the middle two.
#[must_use]
pub fn medians(reports: &[Report]) -> Stages {
    let of = |stage: fn(&Stages) -> Option<f64>| {
        median(
            reports
                .iter()
                .filter_map(|report| stage(&report.stages))
                .collect(),
        )
    };
    Stages {
        membership: of(|stages| stages.membership),
        pacemaker: of(|stages| stages.pacemaker),
        fence_call: of(|stages| stages.fence_call),
        start: of(|stages| stages.start),
        total: of(|stages| stages.total),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(round(f64::midpoint(lower, upper)))
}

/// Seconds to the millisecond: what the sources can know.
pub(crate) fn seconds(span: SignedDuration) -> f64 {
    round(span.as_secs_f64())
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(milestone: Milestone, millis: i64, source: &str) -> Mark {
        Mark {
            milestone,
            after: SignedDuration::from_millis(millis),
            source: source.into(),
            detail: String::new(),
        }
    }

    fn recovery() -> Vec<Mark> {
        vec![
            mark(Milestone::ServiceAnswering, 13_000, "client"),
            mark(Milestone::Fault, 0, "lab"),
            mark(Milestone::NewMembership, 11_004, "n3 corosync"),
            mark(Milestone::NewMembership, 11_000, "n2 corosync"),
            mark(Milestone::FenceCallStarted, 12_000, "n2 pacemaker"),
            mark(Milestone::FenceCallReturned, 12_300, "n2 pacemaker"),
            mark(Milestone::ServiceLost, -20, "client"),
            mark(Milestone::FencingRequested, -60_000, "n2 pacemaker"),
        ]
    }

    #[test]
    fn the_first_report_counts_and_old_ones_do_not() {
        let steps = steps(recovery());
        let order: Vec<_> = steps.iter().map(|step| step.milestone).collect();
        assert_eq!(
            order,
            [
                Milestone::ServiceLost,
                Milestone::Fault,
                Milestone::NewMembership,
                Milestone::FenceCallStarted,
                Milestone::FenceCallReturned,
                Milestone::ServiceAnswering,
            ]
        );
        assert_eq!(steps[2].source, "n2 corosync");
    }

    #[test]
    fn stages_add_up_to_the_total() {
        let stages = stages(&steps(recovery()));
        assert_eq!(stages.membership, Some(11.0));
        assert_eq!(stages.pacemaker, Some(1.0));
        assert_eq!(stages.fence_call, Some(0.3));
        assert_eq!(stages.start, Some(0.7));
        assert_eq!(stages.total, Some(13.0));
    }

    #[test]
    fn a_stage_with_an_unseen_end_is_absent() {
        let stages = stages(&steps(vec![mark(
            Milestone::NewMembership,
            9_000,
            "n2 corosync",
        )]));
        assert_eq!((stages.membership, stages.pacemaker), (Some(9.0), None));
        assert_eq!((stages.fence_call, stages.total), (None, None));
    }

    #[test]
    fn recovery_without_evidence_is_no_success() {
        use lab::Stack::{C, Picket};
        assert_eq!(verdict(Picket, true, true, true), Verdict::Recovered);
        assert_eq!(verdict(Picket, true, false, true), Verdict::NotProven);
        assert_eq!(verdict(C, true, false, true), Verdict::RecoveredUnproven);
        assert_eq!(verdict(C, true, false, false), Verdict::NotProven);
        for stack in [Picket, C] {
            assert_eq!(verdict(stack, false, true, true), Verdict::NotRecovered);
        }
    }

    #[test]
    fn medians_of_odd_and_even() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
