//! What a probe found out. Its field names are an interface: the result is kept in files, and read by other programs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of [`Report`] as a file.
pub const VERSION: u32 = 1;

/// How much a requirement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Without it `fence_scsi` fails, or a fenced node writes.
    Required,
    /// Without it something is slower, vaguer or works less often. No data are at risk.
    Advised,
}

/// Whether a requirement is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was seen.
    Met,
    /// The opposite was seen, or the device says that it cannot.
    Broken,
    /// It was tried, or asked for, and remains open.
    Unknown,
    /// It was not tried.
    NotTried,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "yes",
            Self::Broken => "NO",
            Self::Unknown => "not known",
            Self::NotTried => "not tried",
        })
    }
}

/// A requirement of `fence_scsi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// What it is called in files.
    pub id: &'static str,
    /// What is needed.
    pub title: &'static str,
    /// How much it counts.
    pub need: Need,
    /// What happens without it.
    pub otherwise: &'static str,
}

/// Declares the requirements, and the list of them.
macro_rules! requirements {
    ($($constant:ident: $id:literal, $need:ident, $title:literal, $otherwise:literal;)*) => {
        $(
            #[doc = $title]
            pub const $constant: Requirement = Requirement {
                id: $id,
                title: $title,
                need: Need::$need,
                otherwise: $otherwise,
            };
        )*

        /// All of them, in the order in which they are shown.
        pub const REQUIREMENTS: &[Requirement] = &[$($constant,)*];
    };
}

requirements! {
    READ_KEYS: "read-keys", Required, "keys and reservation can be read",
        "nobody can see who is registered";
    REGISTER: "register", Required, "two initiators register (REGISTER AND IGNORE EXISTING KEY)",
        "nodes cannot be unfenced";
    RESERVE: "reserve", Required, "RESERVE: Write Exclusive, registrants only",
        "nothing keeps unregistered nodes from writing";
    REGISTRANT_WRITES: "registrant-writes", Required, "every registered initiator writes",
        "nodes that are not fenced cannot work";
    PREEMPT_AND_ABORT: "preempt-and-abort", Required, "PREEMPT AND ABORT takes away the victim's registration",
        "fencing fails, or leaves the victim's queued writes alive";
    FENCED_WRITES: "fenced-writes", Required, "no write of a fenced initiator reaches the medium",
        "a fenced node goes on destroying data";
    IN_FLIGHT: "in-flight", Required, "no write in flight reaches the medium after PREEMPT AND ABORT has returned",
        "a write of a fenced node overwrites what the survivor wrote after the fencing";
    LATE_DATA: "late-data", Required, "data that the victim sends late are not written",
        "a node that comes back from a pause overwrites what the survivor wrote meanwhile";
    FENCE_BACK: "fence-back", Required, "a fenced initiator can neither fence back nor lift the reservation",
        "a fenced node takes the storage away from the survivor";
    RESET: "reset", Required, "a logical unit reset leaves registrations and reservation",
        "a fenced node lifts its fencing with a reset";
    LOGOUT: "logout", Required, "a registration outlives logout and a new login",
        "a node whose connection breaks for a moment can no longer write, although it was not fenced";
    APTPL: "aptpl", Required, "registrations can be kept over a loss of power (APTPL)",
        "when the target restarts, every fenced node may write again";
    APTPL_KEPT: "aptpl-kept", Advised, "registrations and reservation were there after a restart of the target",
        "what it says of itself does not hold";
    SILENT_VICTIM: "silent-victim", Advised, "PREEMPT AND ABORT does not wait for a victim that says nothing",
        "fencing a node that hangs takes long";
    FENCED_READS: "fenced-reads", Advised, "a fenced initiator may read, also keys",
        "a node cannot see that it was fenced";
    SYNCHRONIZE: "fenced-synchronize", Advised, "SYNCHRONIZE CACHE of a fenced initiator is refused",
        "harmless, but not as the standard has it";
    NO_DUPLICATES: "no-duplicates", Advised, "registering again leaves one registration",
        "stale registrations of the same key stay behind";
    FULL_STATUS: "full-status", Advised, "READ FULL STATUS tells which initiator has which key",
        "whether this very path is registered cannot be seen";
    ATTENTION: "attention", Advised, "the victim is told (unit attention REGISTRATIONS PREEMPTED)",
        "a node is not told that it was fenced";
    OLD_RESERVE: "old-reserve", Advised, "RESERVE(6) of a fenced initiator is refused",
        "a fenced node can lock the survivor out";
}

/// A requirement, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// [`Requirement::id`]
    pub id: String,
    /// [`Requirement::title`]
    pub title: String,
    /// How much it counts.
    pub need: Need,
    /// Whether it is met.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
}

/// How a device answered a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "text")]
pub enum Answer {
    /// GOOD.
    Good,
    /// RESERVATION CONFLICT.
    Conflict,
    /// The command, or this form of it, is not known.
    Unsupported(String),
    /// Refused for another reason.
    Refused(String),
    /// No answer.
    None(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("GOOD"),
            Self::Conflict => f.write_str("conflict"),
            Self::Unsupported(_) => f.write_str("not supported"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::None(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// One kind of write, tried by a registered initiator and by a fenced one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteTried {
    /// The command.
    pub command: String,
    /// How it answered a registered initiator.
    pub registered: Answer,
    /// Whether the medium had changed after that.
    pub registered_changed: bool,
    /// How it answered a fenced one.
    pub fenced: Answer,
    /// Whether the medium had changed after that; `None`: it could not be read back.
    pub fenced_changed: Option<bool>,
}

/// Which disk it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Vendor, product and revision.
    pub product: String,
    /// Unit serial number.
    pub serial: Option<String>,
    /// Designator of the logical unit.
    pub designator: Option<String>,
    /// Blocks.
    pub blocks: u64,
    /// Length of a block in bytes.
    pub block_length: u32,
    /// Whether it is thinly provisioned.
    pub thin: bool,
}

/// How it was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By two initiators that did it.
    Exercised,
    /// By what the device says of itself.
    Inferred,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// `fence_scsi` can rely on it: everything required was seen.
    Safe,
    /// Something required remains open.
    CannotKnow,
    /// Something required is missing.
    Unsafe,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Safe => "safe",
            Self::Unsafe => "UNSAFE",
            Self::CannotKnow => "cannot know",
        })
    }
}

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`]
    pub version: u32,
    /// The device, as it was given, without secrets.
    pub device: String,
    /// Which disk it is.
    pub identity: Identity,
    /// How it was found out.
    pub mode: Mode,
    /// The names of the initiators.
    pub initiators: Vec<String>,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why: for each requirement that is not met or open, what was seen and what it means.
    pub reasons: Vec<String>,
    /// What would be better otherwise.
    pub remarks: Vec<String>,
    /// Every requirement.
    pub checks: Vec<Check>,
    /// Every kind of write.
    pub writes: Vec<WriteTried>,
    /// Commands that write and were not tried, because nobody could undo them.
    pub untried: Vec<String>,
    /// What could not be put back as it was.
    pub left_behind: Vec<String>,
}

impl Report {
    /// A report in which nothing has been tried.
    #[must_use]
    pub fn new(device: String, mode: Mode) -> Self {
        let checks = REQUIREMENTS.iter().map(|requirement| Check {
            id: requirement.id.to_owned(),
            title: requirement.title.to_owned(),
            need: requirement.need,
            outcome: Outcome::NotTried,
            seen: String::new(),
        });
        Self {
            version: VERSION,
            device,
            identity: Identity::default(),
            mode,
            initiators: Vec::new(),
            verdict: Verdict::CannotKnow,
            reasons: Vec::new(),
            remarks: Vec::new(),
            checks: checks.collect(),
            writes: Vec::new(),
            untried: Vec::new(),
            left_behind: Vec::new(),
        }
    }

    /// The check of `requirement`.
    #[must_use]
    pub fn check(&self, requirement: Requirement) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == requirement.id)
    }

    /// Notes what became of `requirement`. What is broken stays broken, and what is open stays open unless it is broken.
    pub fn note(&mut self, requirement: Requirement, outcome: Outcome, seen: impl Into<String>) {
        let found = self
            .checks
            .iter_mut()
            .find(|check| check.id == requirement.id);
        let Some(check) = found else { return };
        let weight = |outcome| match outcome {
            Outcome::NotTried => 0,
            Outcome::Met => 1,
            Outcome::Unknown => 2,
            Outcome::Broken => 3,
        };
        if weight(outcome) >= weight(check.outcome) {
            check.outcome = outcome;
            check.seen = seen.into();
        }
    }

    /// Draws the verdict from the checks.
    pub fn judge(&mut self) {
        self.reasons.clear();
        self.remarks.clear();
        self.verdict = Verdict::Safe;
        // By the requirements, not by the checks: what a file leaves out was not tried.
        for requirement in REQUIREMENTS {
            let (title, otherwise) = (requirement.title, requirement.otherwise);
            let check = self.checks.iter().find(|check| check.id == requirement.id);
            let outcome = check.map_or(Outcome::NotTried, |check| check.outcome);
            let seen = check.map_or("", |check| check.seen.as_str());
            let open = match outcome {
                Outcome::Met => continue,
                Outcome::Broken => format!("{title}: no: {seen}; so {otherwise}"),
                Outcome::Unknown => format!("{title}: not known: {seen}"),
                Outcome::NotTried => format!("{title}: not tried"),
            };
            match (requirement.need, outcome) {
                (Need::Advised, _) => self.remarks.push(open),
                (Need::Required, outcome) => {
                    self.reasons.push(open);
                    let verdict = if outcome == Outcome::Broken {
                        Verdict::Unsafe
                    } else {
                        Verdict::CannotKnow
                    };
                    self.verdict = self.verdict.max(verdict);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_different_and_every_requirement_is_in_the_report() {
        let report = Report::new("d".into(), Mode::Exercised);
        let mut ids: Vec<&str> = REQUIREMENTS.iter().map(|one| one.id).collect();
        assert_eq!(report.checks.len(), ids.len());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(report.checks.len(), ids.len());
    }

    fn judged(outcomes: &[(Requirement, Outcome)]) -> Report {
        let mut report = Report::new("d".into(), Mode::Exercised);
        for requirement in REQUIREMENTS {
            report.note(*requirement, Outcome::Met, "seen");
        }
        for (requirement, outcome) in outcomes {
            report.note(*requirement, *outcome, "because");
        }
        report.judge();
        report
    }

    #[test]
    fn only_what_was_seen_in_full_is_safe() {
        assert_eq!(judged(&[]).verdict, Verdict::Safe);
        assert_eq!(
            judged(&[(ATTENTION, Outcome::Broken)]).verdict,
            Verdict::Safe
        );
        assert_eq!(
            judged(&[(RESET, Outcome::Unknown)]).verdict,
            Verdict::CannotKnow
        );
        let both = judged(&[(RESET, Outcome::Unknown), (IN_FLIGHT, Outcome::Broken)]);
        assert_eq!(both.verdict, Verdict::Unsafe);
        assert_eq!(both.reasons.len(), 2);
        let mut fresh = Report::new("d".into(), Mode::Inferred);
        fresh.judge();
        assert_eq!(fresh.verdict, Verdict::CannotKnow);
    }

    /// A file may say anything: checks left out, in another order, or called advised.
    #[test]
    fn what_a_report_leaves_out_was_not_tried() {
        let mut report = judged(&[]);
        report.checks.retain(|check| check.id != IN_FLIGHT.id);
        report.judge();
        assert_eq!(report.verdict, Verdict::CannotKnow);
        report.checks.clear();
        report.judge();
        assert_eq!(report.verdict, Verdict::CannotKnow);
        let mut report = judged(&[(FENCED_WRITES, Outcome::Broken)]);
        report.checks.reverse();
        for check in &mut report.checks {
            check.need = Need::Advised;
        }
        report.judge();
        assert_eq!(report.verdict, Verdict::Unsafe);
        assert!(report.reasons[0].contains(FENCED_WRITES.otherwise));
    }

    #[test]
    fn what_is_broken_stays_broken() {
        let mut report = Report::new("d".into(), Mode::Exercised);
        report.note(RESET, Outcome::Broken, "first");
        report.note(RESET, Outcome::Met, "second");
        let check = report.check(RESET).unwrap();
        assert_eq!(
            (check.outcome, check.seen.as_str()),
            (Outcome::Broken, "first")
        );
    }
}
