//! The nodes of a definition: each is asked over ssh who it is, the platform whether it knows that guest, and the definition
//! what it says of it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use cluster::{Definition, Node};
use deadline::Deadline;
use deploy::{Command, Machine, OpenSsh, Role, SshSettings, Transport as _};
use hypervisor::placement::{Placement, Whereabouts};
use hypervisor::{Error as PlatformError, GuestRef};
use observe::question::{Answers, Question};
use serde::Serialize;

use super::here::{DMI, HYPERVISOR, POOL};
use super::identity::{Facts, Identity, Text, identify};

/// The files that are asked for: the tag of the answer, and where they are.
const FILES: [(&str, &str, &str); 7] = [
    ("sys_vendor", DMI, "sys_vendor"),
    ("product_name", DMI, "product_name"),
    ("product_uuid", DMI, "product_uuid"),
    ("product_serial", DMI, "product_serial"),
    ("chassis_asset_tag", DMI, "chassis_asset_tag"),
    ("hypervisor_type", HYPERVISOR, "type"),
    ("hypervisor_uuid", HYPERVISOR, "uuid"),
];

/// What the platform said of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(super) enum Known {
    /// It was not asked.
    NotAsked {
        /// Why.
        why: String,
    },
    /// It knows the guest.
    Guest {
        /// Its name there.
        name: String,
        /// Its UUID there.
        uuid: String,
        /// Where it runs.
        host: Option<String>,
    },
    /// It knows no such guest.
    NoSuchGuest,
    /// It could not say.
    Unknown {
        /// Why.
        why: String,
    },
}

/// How what was found and what the definition says go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Match {
    /// The definition means this guest.
    Same,
    /// The definition gives no UUID, and the platform was not asked for the name that it gives.
    NotSaid,
    /// The definition means another guest: fencing this node would switch that one.
    Other,
    /// Who it is was not found out.
    Unknown,
}

impl Match {
    /// Whether nothing speaks against what was found.
    pub(super) const fn is_right(self) -> bool {
        matches!(self, Self::Same | Self::NotSaid)
    }
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Found {
    pub(super) node: String,
    /// Why it gave no answer.
    pub(super) unanswered: Option<String>,
    pub(super) identity: Option<Identity>,
    pub(super) known: Known,
    #[serde(rename = "match")]
    pub(super) agreement: Match,
    /// In words.
    pub(super) message: String,
}

impl Found {
    /// The UUID that the platform knows it by, as far as that is certain.
    pub(super) fn uuid(&self) -> Option<String> {
        if let Known::Guest { uuid, .. } = &self.known {
            return Some(uuid.clone());
        }
        let sure = self.identity.as_ref()?.candidates.first()?;
        sure.is_sure.then(|| sure.uuid.to_string())
    }

    /// What the platform calls it.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.known {
            Known::Guest { name, .. } => Some(name),
            _ => self.identity.as_ref()?.name.as_deref(),
        }
    }
}

/// How machines are reached.
pub(super) struct Ssh {
    transport: OpenSsh,
}

impl Ssh {
    pub(super) fn new(config: Option<&Path>) -> std::io::Result<Self> {
        let transport = OpenSsh::new(SshSettings {
            config: config.map(PathBuf::from),
            ..SshSettings::default()
        })?;
        Ok(Self { transport })
    }

    /// Asks every guest of the definition at the same time, one round trip each.
    pub(super) fn ask(
        &self,
        definition: &Definition,
        limit: Duration,
    ) -> HashMap<String, Result<Facts, String>> {
        let deadline = Deadline::after(limit);
        let script = question(limit).script();
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for node in definition.guest_nodes() {
                let (sender, script) = (sender.clone(), script.as_str());
                scope.spawn(move || {
                    let answer = self.ask_one(node, script, deadline);
                    // The receiver lives until the scope ends.
                    let _ = sender.send((node.name.to_string(), answer));
                });
            }
        });
        drop(sender);
        receiver.into_iter().collect()
    }

    fn ask_one(&self, node: &Node, script: &str, deadline: Deadline) -> Result<Facts, String> {
        let destination = node
            .destination()
            .parse()
            .map_err(|error: deploy::BadDestination| error.to_string())?;
        let machine = Machine::new(node.name.as_str(), Role::Node, destination);
        let output = self
            .transport
            .run(&machine, &Command::script(script), deadline)
            .map_err(|error| error.to_string())?;
        facts(&Answers::parse(&output.stdout))
    }
}

fn question(limit: Duration) -> Question {
    let asked = FILES
        .iter()
        .fold(Question::new(limit), |question, (tag, dir, file)| {
            question.with(tag, &["cat", &format!("/{dir}/{file}")])
        });
    asked.with("pool", &["base64", &format!("/{POOL}")])
}

fn facts(answers: &Answers) -> Result<Facts, String> {
    if !answers.is_complete {
        return Err("its answer is not complete".to_owned());
    }
    let text = |tag: &str| match answers.of(tag) {
        Some(said) if said.status == Some(0) => Text::of(&said.stdout),
        Some(said) if said.stderr.contains("No such file") => Text::Absent,
        Some(said) => Text::Closed(said.trouble()),
        None => Text::Absent,
    };
    let pool = answers.of("pool").filter(|said| said.status == Some(0));
    let pool = pool.and_then(|said| {
        let digits: String = said.stdout.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD
            .decode(digits)
            .ok()
    });
    Ok(Facts {
        sys_vendor: text("sys_vendor"),
        product_name: text("product_name"),
        product_uuid: text("product_uuid"),
        product_serial: text("product_serial"),
        chassis_asset_tag: text("chassis_asset_tag"),
        hypervisor_type: text("hypervisor_type"),
        hypervisor_uuid: text("hypervisor_uuid"),
        pool,
        cid: None,
    })
}

/// Who can be asked about guests, or why nobody can.
pub(super) type Platform<'a> = Result<&'a dyn Placement, String>;

/// Puts together what is known of each guest of the definition.
pub(super) fn compare(
    definition: &Definition,
    mut answers: HashMap<String, Result<Facts, String>>,
    platform: &Platform<'_>,
    limit: Duration,
) -> Vec<Found> {
    let mut all = Vec::new();
    for node in definition.guest_nodes() {
        let answer = answers
            .remove(node.name.as_str())
            .unwrap_or_else(|| Err("it was not asked".to_owned()));
        all.push(match answer {
            Ok(facts) => {
                let identity = identify(&facts);
                of_node(definition, node, identity, platform, Deadline::after(limit))
            }
            Err(why) => Found {
                node: node.name.to_string(),
                message: format!("gave no answer: {why}"),
                unanswered: Some(why),
                identity: None,
                known: Known::NotAsked {
                    why: "there is nobody to ask for".to_owned(),
                },
                agreement: Match::Unknown,
            },
        });
    }
    twins(&mut all);
    all
}

fn of_node(
    definition: &Definition,
    node: &Node,
    identity: Identity,
    platform: &Platform<'_>,
    deadline: Deadline,
) -> Found {
    let known = match platform {
        Ok(platform) => ask_platform(*platform, &identity, deadline),
        Err(why) => Known::NotAsked { why: why.clone() },
    };
    let (agreement, message) = agree(definition, node, &identity, &known);
    Found {
        node: node.name.to_string(),
        unanswered: None,
        identity: Some(identity),
        known,
        agreement,
        message,
    }
}

/// Asks for each candidate until one is known.
fn ask_platform(platform: &dyn Placement, identity: &Identity, deadline: Deadline) -> Known {
    if identity.candidates.is_empty() {
        return Known::NotAsked {
            why: "the guest does not know its UUID there".to_owned(),
        };
    }
    for candidate in &identity.candidates {
        match platform.whereabouts(&GuestRef::Uuid(candidate.uuid), deadline) {
            Ok(Whereabouts { guest, host, .. }) => {
                return Known::Guest {
                    name: guest.name,
                    uuid: guest.uuid.to_string(),
                    host: host.map(|host| host.name),
                };
            }
            Err(PlatformError::NoSuchGuest { .. }) => {}
            Err(error) => {
                return Known::Unknown {
                    why: error.to_string(),
                };
            }
        }
    }
    Known::NoSuchGuest
}

/// What devices that have guests switched on the platform call the node; without any, what the definition does.
fn plugs<'a>(definition: &'a Definition, node: &'a Node) -> BTreeSet<&'a str> {
    let devices = definition.levels_of(node).into_iter().flatten();
    let plugs: BTreeSet<&str> = devices
        .filter(|device| device.asks_platform())
        .map(|device| definition.plug_of(device, node))
        .collect();
    if plugs.is_empty() {
        return BTreeSet::from([node.plug()]);
    }
    plugs
}

/// Whether a plug is another guest's name or UUID. A path tells neither.
fn is_another(plug: &str, name: &str, uuid: &str) -> bool {
    match GuestRef::parse(plug) {
        GuestRef::Uuid(plug) => plug.to_string() != uuid,
        GuestRef::Name(plug) => !plug.contains('/') && plug != name,
    }
}

fn agree(
    definition: &Definition,
    node: &Node,
    identity: &Identity,
    known: &Known,
) -> (Match, String) {
    let said = node.uuid.map(|uuid| uuid.to_string());
    let is_said = |uuid: &str| said.as_deref().is_none_or(|said| said == uuid);
    match known {
        Known::Guest { name, uuid, .. } => {
            let plugs = plugs(definition, node);
            let mut others = plugs.iter().filter(|plug| is_another(plug, name, uuid));
            let other = others.next();
            // Where the definition gives the UUID it decides, unless a device has a plug of its own.
            let own = other.filter(|plug| said.is_none() || **plug != node.plug());
            if !is_said(uuid) || own.is_some() {
                let meant = match own {
                    Some(plug) => (*plug).to_owned(),
                    None => said.unwrap_or_default(),
                };
                let message = format!(
                    "is the guest {name} ({uuid}); the definition means {meant}, so fencing it would switch another guest"
                );
                return (Match::Other, message);
            }
            let message = if let Some(plug) = other {
                format!("is the guest {name} ({uuid}), which the definition calls {plug}")
            } else {
                format!("is the guest {name} ({uuid}), as the definition says")
            };
            (Match::Same, message)
        }
        Known::NoSuchGuest => (
            Match::Unknown,
            "the platform of the definition knows no guest of its UUID: it runs elsewhere"
                .to_owned(),
        ),
        Known::Unknown { why } => (
            Match::Unknown,
            format!("the platform cannot say which guest it is: {why}"),
        ),
        Known::NotAsked { why } => not_asked(identity, said, why),
    }
}

/// What the guest says of itself is all there is.
fn not_asked(identity: &Identity, said: Option<String>, why: &str) -> (Match, String) {
    let candidates = || identity.candidates.iter();
    match (candidates().next(), said) {
        (None, _) => {
            let why = identity.notes.first().map_or(why, String::as_str);
            (Match::Unknown, format!("who it is cannot be told: {why}"))
        }
        (Some(first), None) => (
            Match::NotSaid,
            format!(
                "has the UUID {}; the platform was not asked: {why}",
                first.uuid
            ),
        ),
        (Some(first), Some(said)) => {
            if candidates().any(|candidate| candidate.uuid.to_string() == said) {
                (
                    Match::Same,
                    format!("has the UUID {said}, as the definition says"),
                )
            } else if candidates().any(|candidate| !candidate.is_sure) {
                (
                    Match::Unknown,
                    format!(
                        "may have the UUID {}; the definition says {said}",
                        first.uuid
                    ),
                )
            } else {
                let message = format!(
                    "has the UUID {}; the definition says {said}, so fencing it would switch another guest",
                    first.uuid
                );
                (Match::Other, message)
            }
        }
    }
}

/// Two nodes of one UUID: clones whose firmware was not given another, or one machine under two names.
fn twins(all: &mut [Found]) {
    let uuids: Vec<Option<String>> = all.iter().map(Found::uuid).collect();
    for at in 0..all.len() {
        let same =
            |other: &usize| *other != at && uuids[at].is_some() && uuids[*other] == uuids[at];
        if let Some(other) = (0..all.len()).find(same) {
            let message = format!(
                "has the same UUID as {}: whoever fences one of them may switch the other",
                all[other].node
            );
            all[at].agreement = Match::Other;
            all[at].message = message;
        }
    }
}

#[cfg(test)]
mod tests;
