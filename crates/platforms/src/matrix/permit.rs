//! Which agents may fence the guests of a row, and on which storage their data may lie.

use cluster::{Definition, Os, PlatformKind, Storage, StorageKind};

use super::levels::{aged, severity, unlisted};
use super::place::{Placement, platform_name};
use super::range::either;
use super::sheet::{Agents, Row, Sheet, StorageKinds};
use super::{Matrix, OsRange};
use crate::edition::Edition;
use crate::level::Level;
use crate::rule::Facts;
use crate::source::Source;
use crate::verdict::{Reason, Severity};

/// What a list grants is for some guests, or for all.
fn is_for(guests: &[OsRange], os: Option<&Os>) -> bool {
    guests.is_empty() || os.is_some_and(|os| guests.iter().any(|range| range.contains(os)))
}

/// A row with what holds for it besides: its sheet, and the sheets of all platforms.
struct Lists<'a> {
    edition: Edition,
    sheet: &'static Sheet,
    /// None: no row is known to fit, and the lists of the platform hold all the same.
    row: Option<&'static Row>,
    os: Option<&'a Os>,
}

impl<'a> Lists<'a> {
    /// The document's lists belong to its rows. Today's belong to the platform, so that they are known
    /// even where no row names the guests.
    fn of(facts: &Facts<'a>, placement: &Placement<'a>) -> Option<Self> {
        let own = Matrix::load(facts.edition)
            .sheets(placement.setting.platform)
            .next();
        let (sheet, row) = match (placement.row, facts.edition) {
            // A row of all platforms leaves the lists to the sheet of the platform.
            (Some((sheet, row)), _) => match sheet.platform {
                Some(_) => (sheet, Some(row)),
                None => (own?, Some(row)),
            },
            (None, Edition::Document) => return None,
            (None, Edition::Today) => (own?, None),
        };
        Some(Self {
            edition: facts.edition,
            sheet,
            row,
            os: placement.setting.guest_os,
        })
    }

    fn agents(&self) -> impl Iterator<Item = &'static Agents> {
        let common = Matrix::load(self.edition).common();
        let of_row = self.row.into_iter().flat_map(|row| &row.agents);
        of_row
            .chain(&self.sheet.agents)
            .chain(common.flat_map(|sheet| &sheet.agents))
    }

    fn storage(&self) -> impl Iterator<Item = &'static StorageKinds> {
        let common = Matrix::load(self.edition).common();
        let of_row = self.row.into_iter().flat_map(|row| &row.storage);
        of_row
            .chain(&self.sheet.storage)
            .chain(common.flat_map(|sheet| &sheet.storage))
    }

    /// What closes the list of agents for these guests: what the row says; else, in the document, the
    /// first of its entries that is for them; else what the sheet says.
    fn agents_rule(&self) -> &'static str {
        let of_entries = |row: &'static Row| {
            let own = row
                .agents
                .iter()
                .find(|entry| is_for(&entry.guests, self.os));
            own.filter(|_| self.edition == Edition::Document)
                .map(|entry| entry.source.as_str())
        };
        self.row
            .and_then(|row| row.agents_rule.as_deref().or_else(|| of_entries(row)))
            .or(self.sheet.agents_rule.as_deref())
            .unwrap_or_else(|| self.edition.list_rule())
    }

    fn agents_remedy(&self) -> Option<&'static str> {
        self.row
            .and_then(|row| row.agents_remedy.as_deref())
            .or(self.sheet.agents_remedy.as_deref())
    }

    fn storage_rule(&self) -> &'static str {
        self.row
            .and_then(|row| row.storage_rule.as_deref())
            .or(self.sheet.storage_rule.as_deref())
            .unwrap_or_else(|| self.edition.list_rule())
    }

    fn agents_for_them(&self) -> impl Iterator<Item = &'static str> {
        let os = self.os;
        self.agents()
            .filter(move |entry| is_for(&entry.guests, os) && entry.level == Level::Supported)
            .flat_map(|entry| entry.names.iter().map(String::as_str))
    }

    fn storage_for_them(&self) -> impl Iterator<Item = StorageKind> {
        let os = self.os;
        self.storage()
            .filter(move |entry| is_for(&entry.guests, os) && entry.level == Level::Supported)
            .flat_map(|entry| entry.kinds.iter().copied())
    }
}

/// Whether the agents that fence guests are among those of the guests' row.
pub(crate) fn agents(facts: &Facts<'_>, reasons: &mut Vec<Reason>) {
    for placement in facts.placements {
        let Some(lists) = Lists::of(facts, placement) else {
            continue;
        };
        for (agent, subject) in agents_used(facts.definition, placement) {
            reasons.extend(agent_reasons(facts, placement, &lists, agent, &subject));
        }
    }
}

/// The agents that fence guests of a placement, each with the place of the first device that uses it.
fn agents_used<'a>(
    definition: &'a Definition,
    placement: &Placement<'a>,
) -> Vec<(&'a str, String)> {
    let mut used: Vec<(&str, String)> = Vec::new();
    let devices = placement
        .setting
        .nodes
        .iter()
        .flat_map(|node| definition.levels_of(node))
        .flatten();
    for device in devices {
        let subject = format!("fence.{}", device.name);
        if !used.iter().any(|(_, known)| *known == subject) {
            used.push((device.agent.as_str(), subject));
        }
    }
    if definition.options.sbd.is_some() {
        used.push(("fence_sbd", "options.sbd".to_owned()));
    }
    used
}

fn agent_reasons(
    facts: &Facts<'_>,
    placement: &Placement<'_>,
    lists: &Lists<'_>,
    agent: &str,
    subject: &str,
) -> Vec<Reason> {
    let granted = lists.agents().find(|entry| {
        entry.names.iter().any(|name| name == agent) && is_for(&entry.guests, lists.os)
    });
    let Some(entry) = granted else {
        return vec![agent_not_listed(placement, lists, agent).about(subject.to_owned())];
    };
    let guests = placement.setting.guests();
    let platform = platform_name(placement.setting.platform);
    let mut reasons = vec![
        granted_reason(
            &entry.source,
            entry.level,
            format!("{agent} may fence {guests} on {platform}"),
            format!("nothing that was read supports {agent} for {guests} on {platform}"),
            entry.condition.as_deref(),
            entry.remedy.as_deref(),
        )
        .about(subject.to_owned()),
    ];
    let manager = facts.definition.platform.manager.as_ref();
    let managed = manager.is_some_and(|manager| entry.managers.contains(&manager.kind));
    if let (false, false, Some(source)) =
        (entry.managers.is_empty(), managed, &entry.managers_source)
    {
        let cited = Source::cited(source);
        reasons.push(
            Reason::new(
                source.clone(),
                severity(Level::Unsupported, cited.confidence),
                format!(
                    "{agent} works through {}, which does not manage these hosts",
                    either(&entry.managers)
                ),
                cited,
            )
            .about(subject.to_owned())
            .remedy(format!(
                "set `manager` in [platform] to {}, or use another agent",
                either(&entry.managers)
            )),
        );
    }
    reasons
}

/// A reason for something that a list names: what it grants, or that it grants nothing.
fn granted_reason(
    citation: &str,
    level: Level,
    granted: String,
    not_granted: String,
    condition: Option<&str>,
    remedy: Option<&str>,
) -> Reason {
    let source = Source::cited(citation);
    let severity = severity(level, source.confidence);
    let mut message = if severity <= Severity::Preview {
        granted
    } else {
        not_granted
    };
    if let Some(condition) = condition {
        message.push_str(": ");
        message.push_str(condition);
    }
    let rule = source.id.clone();
    let mut reason = Reason::new(rule, severity, message, source);
    reason.remedy = remedy
        .filter(|_| severity > Severity::Note)
        .map(str::to_owned)
        .or_else(|| aged(level, reason.source.confidence));
    reason
}

fn agent_not_listed(placement: &Placement<'_>, lists: &Lists<'_>, agent: &str) -> Reason {
    let setting = &placement.setting;
    let rule = lists.agents_rule();
    let guests = setting.guests();
    let platform = platform_name(setting.platform);
    let remedy = lists.agents_remedy().map_or_else(
        || format!("use {}", either(lists.agents_for_them())),
        str::to_owned,
    );
    let elsewhere = other_platform(lists.edition, setting.platform, agent)
        .filter(|_| lists.edition == Edition::Today);
    if let Some((other, entry)) = elsewhere {
        let why =
            format!("an agent that asks what runs the guests of {other} cannot ask {platform}");
        let source = Source::concluded(&entry.source, &why);
        let message = format!("{agent} switches guests of {other}, not of {platform}");
        let severity = severity(Level::Unsupported, source.confidence);
        return Reason::new(rule, severity, message, source).remedy(remedy);
    }
    let message = match lists.edition {
        Edition::Document => {
            format!("{agent} is not among the agents that may fence {guests} on {platform}")
        }
        Edition::Today => {
            format!("no source that was read names {agent} for {guests} on {platform}")
        }
    };
    let source = Source::cited(rule);
    Reason::new(rule, unlisted(lists.edition), message, source).remedy(remedy)
}

/// The other platform whose own agent this is, and what says so. What works through libvirt is no other platform's where
/// libvirt is. Asked only of agents that the guests' own platform does not list, since it reads all
/// sheets.
fn other_platform(
    edition: Edition,
    own: PlatformKind,
    agent: &str,
) -> Option<(&'static str, &'static Agents)> {
    let matrix = Matrix::load(edition);
    let naming = |sheet: &'static Sheet| {
        let names = |entry: &&Agents| entry.names.iter().any(|name| name == agent);
        sheet.agents.iter().find(names)
    };
    if matrix.common().any(|sheet| naming(sheet).is_some()) {
        return None;
    }
    PlatformKind::ALL
        .into_iter()
        .filter(|other| !(own.has_libvirt() && other.has_libvirt()))
        .find_map(|other| {
            let entry = matrix.sheets(other).find_map(naming)?;
            Some((platform_name(other), entry))
        })
}

/// Whether the shared storage is of a kind in the guests' row, and lets reservations through where an
/// agent needs them.
pub(crate) fn storage(facts: &Facts<'_>, reasons: &mut Vec<Reason>) {
    for placement in facts.placements {
        let Some(lists) = Lists::of(facts, placement) else {
            continue;
        };
        for storage in facts.definition.shared_storage() {
            let members = facts.definition.nodes_of(storage);
            let concerns =
                |name: &cluster::NodeName| members.iter().any(|member| member.name == *name);
            if placement
                .setting
                .nodes
                .iter()
                .any(|node| concerns(&node.name))
            {
                reasons.extend(storage_reasons(facts, placement, &lists, storage));
            }
        }
    }
}

fn storage_reasons(
    facts: &Facts<'_>,
    placement: &Placement<'_>,
    lists: &Lists<'_>,
    storage: &Storage,
) -> Vec<Reason> {
    let setting = &placement.setting;
    let kind = storage.kind;
    let platform = platform_name(setting.platform);
    let subject = format!("storage.{}", storage.name);
    let meets = |entry: &StorageKinds| {
        entry
            .product
            .as_ref()
            .is_none_or(|product| product.holds(facts.definition, setting.platform) == Some(true))
    };
    let mut named = lists
        .storage()
        .filter(|entry| entry.kinds.contains(&kind) && is_for(&entry.guests, lists.os))
        .peekable();
    let first = named.peek().copied();
    let granted = named.find(|entry| meets(entry)).or(first);
    let Some(entry) = granted else {
        return vec![storage_not_listed(placement, lists, kind).about(subject)];
    };
    let guests = setting.guests();
    let mut reasons = vec![
        granted_reason(
            &entry.source,
            entry.level,
            format!("{guests} on {platform} may share {kind} storage"),
            format!(
                "nothing that was read supports {kind} storage shared by {guests} on {platform}"
            ),
            entry.condition.as_deref(),
            entry.remedy.as_deref(),
        )
        .about(subject.clone()),
    ];
    if let Some(product) = &entry.product
        && product.holds(facts.definition, setting.platform) != Some(true)
    {
        let wanted = either(&product.any);
        let source = Source::cited(&product.source);
        reasons.push(
            Reason::new(
                source.id.clone(),
                unlisted(facts.edition),
                format!("{kind} storage needs {platform} {wanted}, which the definition does not say the hosts are"),
                source,
            )
            .about("platform.version")
            .remedy(format!("hosts of {platform} {wanted}")),
        );
    }
    reasons.extend(
        reservation_reason(facts, placement, storage, entry).map(|reason| reason.about(subject)),
    );
    reasons
}

fn storage_not_listed(placement: &Placement<'_>, lists: &Lists<'_>, kind: StorageKind) -> Reason {
    let rule = lists.storage_rule();
    let guests = placement.setting.guests();
    let platform = platform_name(placement.setting.platform);
    let message = match lists.edition {
        Edition::Document => {
            format!("{kind} storage is not among what {guests} on {platform} may share")
        }
        Edition::Today => {
            format!("no source that was read names {kind} storage for {guests} on {platform}")
        }
    };
    Reason::new(rule, unlisted(lists.edition), message, Source::cited(rule))
        .remedy(format!("share {}", either(lists.storage_for_them())))
}

/// Whether the reservations of an agent reach the storage through the platform. A note is not given:
/// the agent's own rules say what else it needs.
fn reservation_reason(
    facts: &Facts<'_>,
    placement: &Placement<'_>,
    storage: &Storage,
    entry: &StorageKinds,
) -> Option<Reason> {
    let reservations = entry.reservations.as_ref()?;
    let device = placement
        .setting
        .nodes
        .iter()
        .flat_map(|node| facts.definition.levels_of(node))
        .flatten()
        .find(|device| {
            let own = facts.definition.storage_of(device);
            own.iter().any(|used| used.name == storage.name)
        })?;
    let source = Source::cited(&reservations.source);
    let severity = severity(reservations.level, source.confidence);
    if severity == Severity::Note {
        return None;
    }
    let (agent, kind) = (&device.agent, storage.kind);
    let mut message = match severity {
        Severity::Warning => format!("the reservations of {agent} pass through {kind} storage"),
        Severity::Unsupported => {
            format!("{kind} storage does not let the reservations of {agent} through")
        }
        _ => format!(
            "nothing that was read says that {kind} storage lets all that {agent} needs through"
        ),
    };
    if let Some(condition) = &reservations.condition {
        message.push_str(": ");
        message.push_str(condition);
    }
    let reason = Reason::new(source.id.clone(), severity, message, source);
    Some(match severity {
        Severity::Warning => {
            let remedy = aged(reservations.level, reason.source.confidence);
            Reason { remedy, ..reason }
        }
        _ => reason.remedy("put the shared data on an iSCSI target that does persistent reservations with preempt and abort, or use another agent"),
    })
}
