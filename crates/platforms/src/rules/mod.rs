//! The rules that no single row of the matrix expresses, one file for each subject.
//!
//! A rule is a function over the definition that adds reasons; it never looks at other rules' reasons.
//! What a reason rests on is the number of a statement, the key of a fact, or this project's own
//! judgement where no text decides. What rests on a fact that nobody confirmed never weighs as
//! "unsupported": then nobody knows.

mod agents;
mod daemon;
mod evidence;
mod fencing;
mod filesystems;
mod guests;
mod migration;
mod placement;
mod quorum;
mod reservations;
mod sbd;
mod storage;
mod timers;
mod view;
mod vmware;

use cluster::Version;

use crate::edition::Edition;
use crate::matrix::Matrix;
use crate::rule::Rule;
use crate::source::Source;
use crate::verdict::{Reason, Severity};

/// All rules, in the order in which they are applied.
pub const RULES: &[Rule] = &[
    fencing::EVERYWHERE,
    fencing::FITS_NODE,
    fencing::TARGET,
    fencing::LEVELS,
    fencing::ACTION,
    evidence::SWITCHES,
    evidence::PLUGS,
    evidence::REACH,
    agents::COMMUNITY,
    agents::S27,
    agents::S37,
    agents::CURATED,
    agents::SOAP,
    daemon::XVMD,
    daemon::S17,
    daemon::MISSING,
    daemon::S19,
    daemon::S20,
    daemon::S21,
    daemon::S52,
    daemon::PROGRAM,
    daemon::GROUPS,
    daemon::HOSTS,
    reservations::S30,
    reservations::S50,
    reservations::S51,
    reservations::S53,
    reservations::SCOPE,
    reservations::REBOOT,
    reservations::MULTIPATH,
    guests::HOMOGENEOUS,
    guests::BARE_METAL,
    guests::WATCHDOG,
    guests::RESILIENT,
    placement::S29,
    placement::ONE_HOST,
    placement::SEEN,
    placement::ANTI_AFFINITY,
    placement::MAJORITY,
    placement::HYPERVISORS,
    migration::MEMBERS,
    migration::RESERVATIONS,
    migration::SNAPSHOTS,
    quorum::SIZE,
    quorum::SINGLE,
    quorum::TWO,
    quorum::EVEN,
    quorum::DEVICE,
    quorum::HOSTS,
    timers::TOKEN,
    timers::CLOUD,
    timers::CONSENSUS,
    timers::FENCING,
    timers::LINKS,
    timers::UDPU,
    timers::MAC,
    sbd::DISKLESS,
    sbd::WATCHDOG,
    sbd::SOFTDOG,
    sbd::DISKS,
    sbd::TIMES,
    sbd::RELEASE,
    storage::IMAGE,
    storage::DRBD,
    storage::PLATFORM,
    storage::PATHS,
    storage::OUTSIDE,
    storage::CLOUD,
    filesystems::GFS2,
    filesystems::MIRROR,
    filesystems::REACH,
    vmware::STANDALONE,
    vmware::RESERVATIONS,
    vmware::MULTI_WRITER,
    vmware::NEIGHBOURS,
];

/// Both editions.
const ALWAYS: &[Edition] = &Edition::ALL;
/// The requirement document's edition only.
const DOCUMENT: &[Edition] = &[Edition::Document];
/// Today's edition only.
const TODAY: &[Edition] = &[Edition::Today];

/// A reason that rests on a statement or a fact. Where nobody confirmed the fact, "unsupported" becomes
/// "unverified": then nobody knows.
fn reason(
    rule: &'static str,
    severity: Severity,
    basis: &str,
    message: impl Into<String>,
) -> Reason {
    let source = Source::cited(basis);
    let known = source.confidence.is_evidence();
    let severity = match severity {
        Severity::Unsupported if !known => Severity::Unverified,
        other => other,
    };
    Reason::new(rule, severity, message, source)
}

/// A reason that rests on this project's own judgement: `why` says what it follows from.
fn judged(rule: &'static str, severity: Severity, why: &str, message: impl Into<String>) -> Reason {
    Reason::new(rule, severity, message, Source::judgement(rule, why))
}

/// A number that a fact gives.
fn number(key: &str, name: &str) -> Option<u32> {
    Matrix::fact(key)?.number(name)
}

/// A version that a fact gives.
fn version(key: &str, name: &str) -> Option<&'static Version> {
    Matrix::fact(key)?.version(name)
}

/// The place of a part of the definition: `TABLE.NAME`.
fn place(table: &str, name: impl std::fmt::Display) -> String {
    format!("{table}.{name}")
}

/// Several names in one sentence.
fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
