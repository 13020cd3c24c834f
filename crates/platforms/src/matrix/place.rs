//! Which row of the matrix fits which guests, and what that says of the level of support.

use std::borrow::Cow;

use cluster::{Definition, Manager, Node, Os, PlatformKind};

use super::range::{either, os_name};
use super::sheet::{ManagerCondition, OsCondition, Row, Sheet, VersionCondition};
use super::{Matrix, weakest};
use crate::edition::Edition;
use crate::level::{Confidence, Level};
use crate::rule::Facts;
use crate::source::Source;
use crate::verdict::{Reason, Severity};

/// Guests of one kind on hosts of one kind.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setting<'a> {
    /// What the hosts are.
    pub platform: PlatformKind,
    /// What the hosts run, where the definition says so.
    pub host_os: Option<&'a Os>,
    /// Where in the definition that stands or should stand.
    pub host_subject: Cow<'static, str>,
    /// What the guests run, where the definition says so.
    pub guest_os: Option<&'a Os>,
    /// Where in the definition that stands or should stand.
    pub guest_subject: Cow<'static, str>,
    /// The guests.
    pub nodes: Vec<&'a Node>,
}

/// A setting, and the row of the matrix that fits it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Placement<'a> {
    /// Which guests on which hosts.
    pub setting: Setting<'a>,
    /// The row with its sheet. None: no row fits, or whether one does cannot be known.
    pub row: Option<(&'static Sheet, &'static Row)>,
}

/// Whether a condition is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Yes,
    No,
    /// The definition does not say.
    Unknown,
}

impl Met {
    const fn of(answer: bool) -> Self {
        if answer { Self::Yes } else { Self::No }
    }
}

impl Setting<'_> {
    /// The guests for people: "RHEL 6.1 guests".
    #[must_use]
    pub fn guests(&self) -> String {
        self.guest_os.map_or_else(
            || "guests of an unknown operating system".to_owned(),
            |os| format!("{} guests", os_name(os)),
        )
    }

    /// The hosts for people: "RHEL 6.1 KVM hosts".
    #[must_use]
    pub fn hosts(&self) -> String {
        let platform = platform_name(self.platform);
        self.host_os.map_or_else(
            || platform.to_owned(),
            |os| format!("{} {platform} hosts", os_name(os)),
        )
    }
}

/// The platform's name for people.
pub(crate) const fn platform_name(platform: PlatformKind) -> &'static str {
    match platform {
        PlatformKind::Kvm => "KVM",
        PlatformKind::Xen => "Xen",
        PlatformKind::Rhev => "RHEV",
        PlatformKind::Vmware => "VMware",
        PlatformKind::HyperV => "Hyper-V",
        PlatformKind::Kubevirt => "KubeVirt",
        PlatformKind::Nutanix => "Nutanix AHV",
        PlatformKind::Proxmox => "Proxmox VE",
        PlatformKind::Azure => "Azure",
        PlatformKind::Aws => "AWS",
        other => other.as_str(),
    }
}

/// Groups the guests of a definition by what they and their hosts run, and finds the row of each group.
/// A guest without a host of its own may run on any host, so it belongs to a group for each kind of host.
pub(crate) fn place(definition: &Definition, edition: Edition) -> Vec<Placement<'_>> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    for node in definition.guest_nodes() {
        for (platform, host_os, host_subject) in hosts_of(definition, node) {
            let guest_os = definition.guest_os(node);
            let guest_subject: Cow<'static, str> = match &node.os {
                Some(_) => format!("node.{}.os", node.name).into(),
                None => "guests.os".into(),
            };
            let known = settings.iter_mut().find(|setting| {
                setting.platform == platform
                    && setting.host_os == host_os
                    && setting.guest_os == guest_os
            });
            match known {
                Some(setting) => setting.nodes.push(node),
                None => settings.push(Setting {
                    platform,
                    host_os,
                    host_subject,
                    guest_os,
                    guest_subject,
                    nodes: vec![node],
                }),
            }
        }
    }
    settings
        .into_iter()
        .map(|setting| {
            let row = match fit(definition, edition, &setting) {
                Fit::Row(sheet, row) => Some((sheet, row)),
                Fit::Open(_) | Fit::None => None,
            };
            Placement { setting, row }
        })
        .collect()
}

type HostKind<'a> = (PlatformKind, Option<&'a Os>, Cow<'static, str>);

/// What the hosts are on which a guest may run.
fn hosts_of<'a>(definition: &'a Definition, node: &'a Node) -> Vec<HostKind<'a>> {
    let of_host = |host: &'a cluster::Host| -> HostKind<'a> {
        let subject: Cow<'static, str> = match &host.os {
            Some(_) => format!("host.{}.os", host.name).into(),
            None => "platform.os".into(),
        };
        (
            definition.host_kind(host),
            definition.host_os(host),
            subject,
        )
    };
    if let Some(host) = definition.host_of(node) {
        return vec![of_host(host)];
    }
    let mut kinds: Vec<HostKind<'a>> = Vec::new();
    for host in &definition.hosts {
        let kind = of_host(host);
        if !kinds
            .iter()
            .any(|known| known.0 == kind.0 && known.1 == kind.1)
        {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        let platform = &definition.platform;
        kinds.push((platform.kind, platform.os.as_ref(), "platform.os".into()));
    }
    kinds
}

/// What fits a setting.
enum Fit {
    /// This row.
    Row(&'static Sheet, &'static Row),
    /// This row would, if the definition said what it leaves out.
    Open(&'static Row),
    /// None.
    None,
}

/// The first row that fits; or may fit, seen what the definition says. Rows of the platform come before
/// those of all platforms.
fn fit(definition: &Definition, edition: Edition, setting: &Setting<'_>) -> Fit {
    for (sheet, row) in rows(edition, setting.platform) {
        let answers = conditions(definition, setting, row);
        if answers.contains(&Met::No) {
            continue;
        }
        return if answers.contains(&Met::Unknown) {
            Fit::Open(row)
        } else {
            Fit::Row(sheet, row)
        };
    }
    Fit::None
}

/// The rows that may concern a platform. An edition that does not know the platform has none.
fn rows(
    edition: Edition,
    platform: PlatformKind,
) -> impl Iterator<Item = (&'static Sheet, &'static Row)> {
    let matrix = Matrix::load(edition);
    let common = matrix.common().filter(move |_| matrix.knows(platform));
    matrix
        .sheets(platform)
        .chain(common)
        .flat_map(|sheet| sheet.rows.iter().map(move |row| (sheet, row)))
}

/// Hosts, product, manager, guests: whether a row's conditions on them are met.
fn conditions(definition: &Definition, setting: &Setting<'_>, row: &Row) -> [Met; 4] {
    [
        row.hosts
            .as_ref()
            .map_or(Met::Yes, |hosts| hosts.met(setting.host_os)),
        row.product.as_ref().map_or(Met::Yes, |product| {
            product.met(definition, setting.platform)
        }),
        row.manager.as_ref().map_or(Met::Yes, |manager| {
            manager.met(definition.platform.manager.as_ref())
        }),
        row.guests.met(setting.guest_os),
    ]
}

impl OsCondition {
    fn met(&self, os: Option<&Os>) -> Met {
        os.map_or(Met::Unknown, |os| {
            Met::of(self.any.iter().any(|range| range.contains(os)))
        })
    }
}

impl VersionCondition {
    /// The version in the definition is that of its own platform; of others nothing is known.
    fn met(&self, definition: &Definition, platform: PlatformKind) -> Met {
        let version = definition.platform.version.as_ref();
        match version.filter(|_| definition.platform.kind == platform) {
            Some(version) => Met::of(self.any.iter().any(|range| range.contains(version))),
            None => Met::Unknown,
        }
    }

    /// Whether the hosts of a definition run such a version; `None` if the definition does not say.
    pub(crate) fn holds(&self, definition: &Definition, platform: PlatformKind) -> Option<bool> {
        match self.met(definition, platform) {
            Met::Yes => Some(true),
            Met::No => Some(false),
            Met::Unknown => None,
        }
    }
}

impl ManagerCondition {
    fn met(&self, manager: Option<&Manager>) -> Met {
        let Some(manager) = manager else {
            return Met::of(self.none);
        };
        let Some(range) = self.any.iter().find(|range| range.kind == manager.kind) else {
            return Met::No;
        };
        match (&range.from, &manager.version) {
            (None, _) => Met::Yes,
            (Some(from), Some(version)) => Met::of(version.at_least(from)),
            (Some(_), None) => Met::Unknown,
        }
    }
}

/// Says how far the platform of every group of guests is supported, and if it is not, what would be.
pub(crate) fn levels(facts: &Facts<'_>, reasons: &mut Vec<Reason>) {
    for placement in facts.placements {
        let setting = &placement.setting;
        if !Matrix::load(facts.edition).knows(setting.platform) {
            reasons.push(unknown_platform(facts.edition, setting));
            continue;
        }
        match fit(facts.definition, facts.edition, setting) {
            Fit::Row(_, row) => supported(setting, row, reasons),
            Fit::Open(row) => open(facts.definition, setting, row, reasons),
            Fit::None => misfit(facts, setting, reasons),
        }
    }
}

/// What a row says that fits.
fn supported(setting: &Setting<'_>, row: &Row, reasons: &mut Vec<Reason>) {
    let source = Source::cited(weakest(&row.sources).unwrap_or(&row.id));
    let severity = severity(row.level, source.confidence);
    let mut reason =
        Reason::new(row.id.clone(), severity, row.statement.clone(), source).about("platform");
    reason.remedy = aged(row.level, reason.source.confidence);
    reasons.push(reason);
    let doubt = setting.guest_os.and_then(|os| {
        let range = row.guests.any.iter().find(|range| range.contains(os))?;
        range.doubt.as_ref()
    });
    if let Some(doubt) = doubt {
        let sure = row.guests.any.iter().filter(|range| range.doubt.is_none());
        reasons.push(
            Reason::new(
                row.guests.source.clone(),
                Severity::Unverified,
                doubt.clone(),
                Source::cited(&row.guests.source),
            )
            .about(setting.guest_subject.clone())
            .remedy(format!("guests of {}", either(sure))),
        );
    }
    for note in &row.notes {
        reasons.push(Reason::new(
            note.source.clone(),
            Severity::Note,
            note.text.clone(),
            Source::cited(&note.source),
        ));
    }
    for key in &row.later {
        if let Some(fact) = Matrix::fact(key) {
            let message = format!("later editions of the document: {}", fact.line());
            reasons.push(Reason::new(
                key.clone(),
                Severity::Note,
                message,
                Source::cited(key),
            ));
        }
    }
}

/// How heavily something of a level weighs, seen how sure that is.
pub(super) const fn severity(level: Level, confidence: Confidence) -> Severity {
    match (super::effective(level, confidence), confidence) {
        (Level::Supported, Confidence::VerifiedOld) => Severity::Warning,
        (Level::Supported, _) => Severity::Note,
        (Level::TechnologyPreview, _) => Severity::Preview,
        (Level::Unverified, _) => Severity::Unverified,
        (Level::Planned | Level::Unsupported, _) => Severity::Unsupported,
    }
}

/// What to do about something that only an old copy of a source grants.
pub(super) fn aged(level: Level, confidence: Confidence) -> Option<String> {
    let granted = matches!(level, Level::Supported | Level::TechnologyPreview);
    (granted && confidence == Confidence::VerifiedOld).then(|| {
        "ask the vendor: the copy of the source that was read is old, undated or second-hand"
            .to_owned()
    })
}

/// How heavily it weighs that a list does not name something. The document's lists are complete; today's
/// are what was found.
pub(super) const fn unlisted(edition: Edition) -> Severity {
    match edition {
        Edition::Document => Severity::Unsupported,
        Edition::Today => Severity::Unverified,
    }
}

fn unknown_platform(edition: Edition, setting: &Setting<'_>) -> Reason {
    let known = PlatformKind::ALL
        .into_iter()
        .filter(|platform| Matrix::load(edition).knows(*platform))
        .map(platform_name);
    Reason::new(
        edition.list_rule(),
        unlisted(edition),
        format!(
            "{} is not in the list of platforms on which guest clusters are supported",
            platform_name(setting.platform)
        ),
        edition.list_source(),
    )
    .about("platform")
    .remedy(format!("hosts of {}", either(known)))
}

impl Edition {
    /// The rule that what is in no list is not supported (document), or not known to be (today).
    pub(crate) const fn list_rule(self) -> &'static str {
        match self {
            Self::Document => "S02",
            Self::Today => "unlisted",
        }
    }

    /// What that rule rests on.
    pub(crate) fn list_source(self) -> Source {
        match self {
            Self::Document => Source::statement("S02"),
            Self::Today => Source::nothing_found(),
        }
    }
}

/// What the definition would have to say so that it can be known whether a row fits.
fn open(definition: &Definition, setting: &Setting<'_>, row: &Row, reasons: &mut Vec<Reason>) {
    let [hosts, product, manager, guests] = conditions(definition, setting, row);
    let mut ask = |source: &str, what: &str, subject: &str, remedy: String| {
        reasons.push(
            Reason::new(
                source.to_owned(),
                Severity::Unverified,
                format!(
                    "the definition does not say {what}, so whether guest clusters are supported there cannot be known"
                ),
                Source::cited(source),
            )
            .about(subject.to_owned())
            .remedy(remedy),
        );
    };
    if let (Met::Unknown, Some(condition)) = (hosts, &row.hosts) {
        let wanted = either(&condition.any);
        ask(
            &condition.source,
            "what the hosts run",
            "platform",
            format!("set `os` in [platform]; {} wants {wanted}", row.id),
        );
    }
    if let (Met::Unknown, Some(condition)) = (product, &row.product) {
        let wanted = either(&condition.any);
        let platform = platform_name(setting.platform);
        ask(
            &condition.source,
            &format!("which version of {platform} the hosts run"),
            "platform",
            format!("set `version` in [platform]; {} wants {wanted}", row.id),
        );
    }
    if let (Met::Unknown, Some(condition)) = (manager, &row.manager) {
        let wanted = managers(condition);
        ask(
            &condition.source,
            "which version manages the hosts",
            "platform.manager",
            format!(
                "set `version` in the manager of [platform]; {} wants {wanted}",
                row.id
            ),
        );
    }
    if guests == Met::Unknown {
        let wanted = either(&row.guests.any);
        ask(
            &row.guests.source,
            "what the guests run",
            "guests",
            format!("set `os` in [guests]; {} wants {wanted}", row.id),
        );
    }
}

fn managers(condition: &ManagerCondition) -> String {
    let named = condition.any.iter().map(|range| match &range.from {
        Some(from) => format!("{} {from} or newer", range.kind),
        None => range.kind.to_string(),
    });
    either(named.chain(condition.none.then(|| "no manager".to_owned())))
}

/// What is wrong where no row fits: the guests, if there is a row for such hosts; else the hosts, and
/// the guests too if no row at all has such.
fn misfit(facts: &Facts<'_>, setting: &Setting<'_>, reasons: &mut Vec<Reason>) {
    let definition = facts.definition;
    let candidates: Vec<_> = rows(facts.edition, setting.platform)
        .map(|(_, row)| (row, conditions(definition, setting, row)))
        .collect();
    let host_misses =
        |answers: &[Met; 4]| answers[..3].iter().filter(|met| **met == Met::No).count();
    let least = candidates
        .iter()
        .map(|(_, answers)| host_misses(answers))
        .min();
    let nearest: Vec<_> = candidates
        .iter()
        .filter(|(_, answers)| Some(host_misses(answers)) == least)
        .collect();
    if least != Some(0) {
        let suits_guests = |answers: &[Met; 4]| answers[3] != Met::No;
        let any_suits = nearest.iter().any(|(_, answers)| suits_guests(answers));
        let rows: Vec<&Row> = nearest
            .iter()
            .filter(|(_, answers)| !any_suits || suits_guests(answers))
            .map(|(row, _)| *row)
            .collect();
        reasons.extend(wrong_hosts(facts, setting, &rows));
    }
    if nearest.iter().all(|(_, answers)| answers[3] == Met::No) {
        let rows: Vec<&Row> = nearest.iter().map(|(row, _)| *row).collect();
        reasons.push(wrong_guests(facts, setting, &rows));
    }
}

/// The rows' common source, or that of the one for the same major version, or the rule of the list.
fn cited_by<'r>(
    facts: &Facts<'_>,
    rows: &[&'r Row],
    source: impl Fn(&'r Row) -> Option<&'r str>,
    same_major: impl Fn(&'r Row) -> bool,
) -> (String, Source) {
    let mut sources: Vec<&str> = rows.iter().filter_map(|row| source(row)).collect();
    sources.dedup();
    let nearest = rows
        .iter()
        .filter(|row| same_major(row))
        .find_map(|row| source(row));
    match (sources.as_slice(), nearest, facts.edition) {
        ([only], _, Edition::Document) => ((*only).to_owned(), Source::cited(only)),
        (_, Some(nearest), Edition::Document) => (nearest.to_owned(), Source::cited(nearest)),
        (_, _, edition) => (edition.list_rule().to_owned(), edition.list_source()),
    }
}

fn same_major(condition: Option<&OsCondition>, os: Option<&Os>) -> bool {
    os.zip(condition).is_some_and(|(os, condition)| {
        condition.any.iter().any(|range| {
            os.is(&range.os)
                && range
                    .from
                    .as_ref()
                    .is_some_and(|from| from.major() == os.version.major())
        })
    })
}

fn wrong_hosts(facts: &Facts<'_>, setting: &Setting<'_>, rows: &[&Row]) -> Vec<Reason> {
    let definition = facts.definition;
    let mut reasons = Vec::new();
    let severity = unlisted(facts.edition);
    let platform = platform_name(setting.platform);
    let wrong = |aspect: usize| {
        rows.iter()
            .all(|row| conditions(definition, setting, row)[aspect] == Met::No)
    };
    if wrong(0) {
        let (rule, source) = cited_by(
            facts,
            rows,
            |row| row.hosts.as_ref().map(|hosts| hosts.source.as_str()),
            |row| same_major(row.hosts.as_ref(), setting.host_os),
        );
        let wanted = rows
            .iter()
            .filter_map(|row| row.hosts.as_ref())
            .flat_map(|hosts| &hosts.any);
        reasons.push(
            Reason::new(
                rule,
                severity,
                format!(
                    "guest clusters on {} are not in the list of what is supported",
                    setting.hosts()
                ),
                source,
            )
            .about(setting.host_subject.clone())
            .remedy(format!("hosts of {}", either(wanted))),
        );
    }
    if wrong(1) {
        let version = definition
            .platform
            .version
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let (rule, source) = cited_by(
            facts,
            rows,
            |row| row.product.as_ref().map(|product| product.source.as_str()),
            |_| false,
        );
        let wanted = rows
            .iter()
            .filter_map(|row| row.product.as_ref())
            .flat_map(|product| &product.any);
        reasons.push(
            Reason::new(
                rule,
                severity,
                format!("guest clusters on {platform} {version} are not in the list of what is supported"),
                source,
            )
            .about("platform.version")
            .remedy(format!("hosts of {platform} {}", either(wanted))),
        );
    }
    if wrong(2) {
        reasons.push(wrong_manager(facts, rows));
    }
    reasons
}

fn wrong_manager(facts: &Facts<'_>, rows: &[&Row]) -> Reason {
    let manager = facts.definition.platform.manager.as_ref();
    let names_it = |row: &Row| {
        row.manager
            .as_ref()
            .zip(manager)
            .is_some_and(|(condition, manager)| {
                condition.any.iter().any(|range| range.kind == manager.kind)
            })
    };
    let (rule, source) = cited_by(
        facts,
        rows,
        |row| row.manager.as_ref().map(|manager| manager.source.as_str()),
        names_it,
    );
    let given = manager.map_or_else(
        || "hosts without a manager".to_owned(),
        |manager| match &manager.version {
            Some(version) => format!("hosts managed by {} {version}", manager.kind),
            None => format!("hosts managed by {}", manager.kind),
        },
    );
    let wanted = rows
        .iter()
        .filter_map(|row| row.manager.as_ref())
        .map(managers);
    Reason::new(
        rule,
        unlisted(facts.edition),
        format!("guest clusters on {given} are not in the list of what is supported"),
        source,
    )
    .about("platform.manager")
    .remedy(format!("hosts managed by {}", either(wanted)))
}

fn wrong_guests(facts: &Facts<'_>, setting: &Setting<'_>, rows: &[&Row]) -> Reason {
    let (rule, source) = cited_by(
        facts,
        rows,
        |row| Some(row.guests.source.as_str()),
        |row| same_major(Some(&row.guests), setting.guest_os),
    );
    let wanted = rows
        .iter()
        .flat_map(|row| &row.guests.any)
        .filter(|range| range.doubt.is_none());
    Reason::new(
        rule,
        unlisted(facts.edition),
        format!(
            "clusters of {} on {} are not in the list of what is supported",
            setting.guests(),
            setting.hosts()
        ),
        source,
    )
    .about(setting.guest_subject.clone())
    .remedy(format!("guests of {}", either(wanted)))
}
