//! How `picket` ends: its exit codes. They are an interface; scripts rely on them.
//!
//! "Did not recover", "recovered without proof" and "could not be tried" are different outcomes.

use std::process::ExitCode;

/// What was asked for was done. For a drill: the failed node was fenced, with evidence, and the
/// service answered from a survivor.
pub const SUCCESS: u8 = 0;

/// Something failed that none of the other codes describes; the message says what.
pub const FAILED: u8 = 1;

/// The command line is wrong. Nothing was done.
pub const USAGE: u8 = 2;

/// The definition is wrong, or does not describe what the command needs. Nothing was done.
pub const DEFINITION: u8 = 3;

/// The machine lacks something the command needs: root, memory, a program. Nothing was changed.
pub const UNFIT: u8 = 4;

/// There is no such lab, it is at work elsewhere, or one is up that was made for something else.
pub const STATE: u8 = 5;

/// Drill: the service did not answer from a survivor within the time allowed.
pub const NOT_RECOVERED: u8 = 10;

/// Drill: the service answers from a survivor, but nothing proves that the failed node was switched
/// off. Two nodes may be running the service: the drill has failed.
pub const NOT_PROVEN: u8 = 11;

/// Drill of shared storage: records that had been acknowledged are gone, or the file system is damaged.
pub const DATA_LOST: u8 = 12;

/// Drill of shared storage: a survivor wrote on, but whether records are gone could not be found out.
pub const NOT_KNOWN: u8 = 13;

/// Check: data can be lost, or a service stay down although nodes are healthy.
pub const UNSAFE: u8 = 20;

/// Check: not supported.
pub const UNSUPPORTED: u8 = 21;

/// Check: nobody who was asked says that it is supported, or nobody knows.
pub const UNVERIFIED: u8 = 22;

/// Check: a technology preview, for trial and without support.
pub const PREVIEW: u8 = 23;

/// Check with `--strict`: supported, and there are warnings.
pub const WARNINGS: u8 = 24;

/// Apply: a machine could not be reached, or nothing is known about it. Nothing was changed.
pub const NOT_REACHED: u8 = 30;

/// Apply: a machine is not ready, refused, or belongs to another cluster. Nothing was changed.
pub const NOT_READY: u8 = 31;

/// Apply: what changes needs a restart of the running cluster, which was not allowed. Nothing was changed.
pub const NEEDS_RESTART: u8 = 32;

/// Apply: a step failed before anything took effect; every machine has its former files.
pub const ROLLED_BACK: u8 = 33;

/// Apply: a step failed, or its outcome is unknown, after something had been changed. Applying again goes
/// on from there.
pub const INCOMPLETE: u8 = 34;

/// Apply: everything is in its place, but the cluster was not healthy in time, or is not where nothing was
/// to be done.
pub const UNHEALTHY: u8 = 35;

/// Apply, placement enforce: the plan was shown and declined. Nothing was changed.
pub const DECLINED: u8 = 36;

/// Apply: everything is in its place and nothing has failed, but something that is defined does not run,
/// or on fewer nodes, because an administrator said so: a node in standby, a ban. The result names it.
pub const HELD: u8 = 37;

/// Render with `--check`: a tool found fault with what was rendered. Nothing was written.
pub const REJECTED: u8 = 40;

/// Render with `--check`: no tool found fault, and one that should have looked is not on this machine or
/// could not be used: what it would have said is not known. All else was done.
pub const UNCHECKED: u8 = 41;

/// Status: the cluster has quorum, and something in it is not as it should be, or could not be seen.
pub const DEGRADED: u8 = 50;

/// Status: no node that answered is in a partition that is known to have quorum, or the cluster is not
/// running on any of them.
pub const NO_QUORUM: u8 = 51;

/// Status: no node told anything about the cluster. Whether it works is not known.
pub const UNREACHABLE: u8 = 52;

/// Status: two partitions of the cluster claim quorum at the same time.
pub const SPLIT: u8 = 53;

/// Storage probe: the disk is in use, or holds something. Nothing was touched.
pub const IN_USE: u8 = 60;

/// Storage probe: something on the disk could not be put back as it was; the report says what.
pub const LEFT_BEHIND: u8 = 61;

/// Placement: two members share a host.
pub const SHARED_HOST: u8 = 70;

/// Placement: whether members share a host is not known.
pub const PLACES_UNKNOWN: u8 = 71;

/// Placement: no two members share a host at present, and something about it is not as it should be:
/// nothing keeps them apart, say.
pub const NOT_KEPT_APART: u8 = 72;

/// Placement enforce: no two members share a host, and some step failed, was left to people, or takes
/// effect at a guest's next start only.
pub const NOT_ENFORCED: u8 = 73;

/// Discover: a node is not the guest that the definition means, or two nodes have one UUID: fencing would
/// switch the wrong guest.
pub const OTHER_GUEST: u8 = 80;

/// Discover: who a guest is could not be found out.
pub const NOT_IDENTIFIED: u8 = 81;

/// Ended by SIGINT or SIGTERM; what had been started has been taken down.
pub const CANCELLED: u8 = 130;

/// `lab exec`: the command could not be run, or nothing is known about it. As with ssh(1), so that it
/// cannot be taken for most commands' own status.
pub const EXEC_FAILED: u8 = 255;

/// Every code with its meaning, for help and man pages.
pub const TABLE: &[(u8, &str)] = &[
    (
        SUCCESS,
        "done; for a drill: fenced with evidence, and recovered",
    ),
    (FAILED, "failed; the message says why"),
    (USAGE, "the command line is wrong"),
    (
        DEFINITION,
        "the definition is wrong, or lacks what the command needs",
    ),
    (UNFIT, "this machine lacks something; nothing was changed"),
    (
        STATE,
        "no such lab, or it is busy, or it was made for something else",
    ),
    (
        NOT_RECOVERED,
        "drill: the service did not answer from a survivor in time",
    ),
    (
        NOT_PROVEN,
        "drill: recovered, but without evidence that the node was fenced",
    ),
    (
        DATA_LOST,
        "drill: acknowledged records are gone, or the file system is damaged",
    ),
    (
        NOT_KNOWN,
        "drill: whether acknowledged records are gone could not be found out",
    ),
    (UNSAFE, "check, storage probe: unsafe, data can be lost"),
    (UNSUPPORTED, "check: not supported"),
    (
        UNVERIFIED,
        "check, storage probe: whether it is supported, or safe, is not known",
    ),
    (PREVIEW, "check: a technology preview"),
    (WARNINGS, "check --strict: supported, with warnings"),
    (
        NOT_REACHED,
        "apply, storage probe: a machine could not be reached; nothing was changed",
    ),
    (
        NOT_READY,
        "apply: a machine is not ready or another cluster's; nothing was changed",
    ),
    (
        NEEDS_RESTART,
        "apply: needs a restart that was not allowed; nothing was changed",
    ),
    (
        ROLLED_BACK,
        "apply: failed; every machine has its former files",
    ),
    (
        INCOMPLETE,
        "apply: failed half-way, or unknown; applying again goes on",
    ),
    (
        UNHEALTHY,
        "apply: all is in its place, but the cluster is not healthy",
    ),
    (DECLINED, "the plan was declined; nothing was changed"),
    (
        HELD,
        "apply: done, but an administrator keeps something from running",
    ),
    (
        REJECTED,
        "render --check: a tool found fault; nothing was written",
    ),
    (
        UNCHECKED,
        "render --check: rendered, but a tool that should have looked could not",
    ),
    (
        DEGRADED,
        "status: works, but something is wrong or could not be seen",
    ),
    (NO_QUORUM, "status: no node that answered has quorum"),
    (
        UNREACHABLE,
        "status: no node told anything about the cluster",
    ),
    (SPLIT, "status: two partitions claim quorum"),
    (
        IN_USE,
        "storage probe: the disk is in use or holds something; nothing was touched",
    ),
    (
        LEFT_BEHIND,
        "storage probe: something could not be put back as it was",
    ),
    (SHARED_HOST, "placement: two members share a host"),
    (
        PLACES_UNKNOWN,
        "placement: whether members share a host is not known",
    ),
    (
        NOT_KEPT_APART,
        "placement: apart at present, but not as it should be",
    ),
    (
        NOT_ENFORCED,
        "placement enforce: apart, but not every step was done",
    ),
    (
        OTHER_GUEST,
        "discover: a node is not the guest that the definition means",
    ),
    (
        NOT_IDENTIFIED,
        "discover: who a guest is could not be found out",
    ),
    (CANCELLED, "cancelled by SIGINT or SIGTERM"),
    (
        EXEC_FAILED,
        "lab exec: the command could not be run, or how it ended is unknown",
    ),
];

/// The code for an error of the lab.
#[must_use]
pub const fn of_lab(kind: lab::Kind) -> u8 {
    match kind {
        lab::Kind::Usage => USAGE,
        lab::Kind::Precondition => UNFIT,
        lab::Kind::Busy | lab::Kind::State => STATE,
        lab::Kind::Cancelled => CANCELLED,
        _ => FAILED,
    }
}

/// The code for what a check amounts to, if that is not accepted.
#[must_use]
pub const fn of_outcome(outcome: platforms::Outcome) -> u8 {
    match outcome {
        platforms::Outcome::Supported => SUCCESS,
        platforms::Outcome::SupportedWithWarnings => WARNINGS,
        platforms::Outcome::TechnologyPreview => PREVIEW,
        platforms::Outcome::Unverified => UNVERIFIED,
        platforms::Outcome::Unsupported => UNSUPPORTED,
        // What is new here is treated as the worst.
        _ => UNSAFE,
    }
}

/// As the operating system takes it.
#[must_use]
pub fn code(number: u8) -> ExitCode {
    ExitCode::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once() {
        let mut codes: Vec<u8> = TABLE.iter().map(|(code, _)| *code).collect();
        assert!(codes.is_sorted());
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
    }
}
