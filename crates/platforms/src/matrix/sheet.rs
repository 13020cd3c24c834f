//! The data as it is written in the files under `data/`: one sheet a file.
//!
//! Unknown keys, versions that are no versions and words outside the definition's own vocabulary are
//! errors; a test reads every sheet.

use std::collections::BTreeMap;

use cluster::{ManagerKind, PlatformKind, StorageKind, Version};
use serde::Deserialize;

use super::range::{OsRange, VersionRange};
use crate::level::{Confidence, Level};

/// What one data file says: about one platform, or about all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Sheet {
    /// Which platform. None: every platform.
    pub platform: Option<PlatformKind>,
    /// The platform's name for people.
    pub title: String,
    /// What closes the list of agents where a row has no statement of its own for that.
    pub agents_rule: Option<String>,
    /// What to do about an agent that is not in the list.
    pub agents_remedy: Option<String>,
    /// What closes the list of storage kinds where a row has no statement of its own for that.
    pub storage_rule: Option<String>,
    /// The rows. The first that fits a guest is the one that counts.
    #[serde(rename = "row", default)]
    pub rows: Vec<Row>,
    /// Agents that may be used in every row of this platform.
    #[serde(rename = "agent", default)]
    pub agents: Vec<Agents>,
    /// Storage that may be used in every row of this platform.
    #[serde(rename = "storage", default)]
    pub storage: Vec<StorageKinds>,
    /// What is known besides, for rules and readers.
    #[serde(rename = "fact", default)]
    pub facts: Vec<Fact>,
}

/// How far guest clusters of certain guests on certain hosts are supported.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Row {
    /// Its id, by which reasons name it: in the document's edition the number of a statement.
    pub id: String,
    /// Hosts and guests in a few words.
    pub title: String,
    /// How far.
    pub level: Level,
    /// What is the case, in our words.
    pub statement: String,
    /// What says so; the least sure of them decides how sure the row is.
    pub sources: Vec<String>,
    /// What the hosts must run.
    pub hosts: Option<OsCondition>,
    /// Which version of the product the hosts must run.
    pub product: Option<VersionCondition>,
    /// What must manage the hosts.
    pub manager: Option<ManagerCondition>,
    /// What the guests must run.
    pub guests: OsCondition,
    /// What demands that all guests are of one kind, if anything does.
    pub homogeneous: Option<String>,
    /// What permits bare-metal nodes beside guests, if anything does.
    pub bare_metal: Option<String>,
    /// What closes the list of agents. None: the sheet's.
    pub agents_rule: Option<String>,
    /// Agents that may be used besides those of the sheet.
    #[serde(default)]
    pub agents: Vec<Agents>,
    /// What to do about an agent that is not in the list. None: the list itself is given.
    pub agents_remedy: Option<String>,
    /// What closes the list of storage kinds. None: the sheet's.
    pub storage_rule: Option<String>,
    /// Storage that may be used besides that of the sheet.
    #[serde(default)]
    pub storage: Vec<StorageKinds>,
    /// Further statements that one should know.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// Facts on what later became of it.
    #[serde(default)]
    pub later: Vec<String>,
}

/// A condition on an operating system: any of the ranges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OsCondition {
    /// What states it.
    pub source: String,
    /// Which.
    pub any: Vec<OsRange>,
}

/// A condition on the version of a product: any of the ranges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VersionCondition {
    /// What states it.
    pub source: String,
    /// Which.
    pub any: Vec<VersionRange>,
}

/// A condition on what manages the hosts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ManagerCondition {
    /// What states it.
    pub source: String,
    /// Whether the hosts may also be managed by nothing.
    pub none: bool,
    /// Which managers.
    pub any: Vec<ManagerRange>,
}

/// A manager and its versions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ManagerRange {
    /// Which product.
    pub kind: ManagerKind,
    /// The first version. None: any.
    pub from: Option<Version>,
}

/// Agents that may fence guests, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Agents {
    /// The agents' programs.
    pub names: Vec<String>,
    /// What says so.
    pub source: String,
    /// Which guests. Empty: all.
    #[serde(default)]
    pub guests: Vec<OsRange>,
    /// The managers it needs one of. Empty: none.
    #[serde(default)]
    pub managers: Vec<ManagerKind>,
    /// What says that it needs a manager.
    pub managers_source: Option<String>,
    /// How far. Default: it may be used.
    #[serde(default)]
    pub level: Level,
    /// Under which condition.
    pub condition: Option<String>,
    /// What to use instead.
    pub remedy: Option<String>,
}

/// Kinds of shared storage that may be used, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StorageKinds {
    /// The kinds.
    pub kinds: Vec<StorageKind>,
    /// What says so.
    pub source: String,
    /// Which guests. Empty: all.
    #[serde(default)]
    pub guests: Vec<OsRange>,
    /// Which version of the product the hosts must run.
    pub product: Option<VersionCondition>,
    /// How far. Default: it may be used.
    #[serde(default)]
    pub level: Level,
    /// Under which condition.
    pub condition: Option<String>,
    /// What to use instead.
    pub remedy: Option<String>,
    /// Whether persistent reservations of the guests reach the storage. None: the storage decides.
    pub reservations: Option<Reservations>,
}

/// Whether persistent reservations of the guests reach a storage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Reservations {
    /// How far.
    pub level: Level,
    /// What says so.
    pub source: String,
    /// Under which condition.
    pub condition: Option<String>,
}

/// A statement that one should know about a row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Note {
    /// What says so.
    pub source: String,
    /// What it says, in our words.
    pub text: String,
}

/// Something that is known of a platform, a vendor or a product today.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fact {
    /// By what it is cited.
    pub key: String,
    /// What it is about.
    pub statement: String,
    /// What is said of it.
    pub value: Option<String>,
    /// Under which condition, or how to read it.
    pub condition: Option<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// A part of it that is surer, cited as `KEY#firm`.
    pub firm: Option<Firm>,
    /// Where it was read: ids in [`super::Bibliography`].
    pub sources: Vec<String>,
    /// Its numbers, for rules.
    #[serde(default)]
    pub numbers: BTreeMap<String, u32>,
    /// Its versions, for rules.
    #[serde(default)]
    pub versions: BTreeMap<String, Version>,
}

/// The surer part of a fact.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Firm {
    /// Which part.
    pub what: String,
    /// How sure it is.
    pub confidence: Confidence,
}

impl Fact {
    /// What it says, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.value {
            Some(value) => format!("{}: {value}", self.statement),
            None => self.statement.clone(),
        }
    }

    /// One of its numbers.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// One of its versions.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.get(name)
    }
}
