//! Which row of the matrix fits which guests, and what that says of the level of support.

use std::borrow::Cow;

use cluster::{Definition, Manager, Node, Os, PlatformKind};

use super::Matrix;
use super::range::os_name;
use super::sheet::{ManagerCondition, OsCondition, Row, Sheet, VersionCondition};
use crate::edition::Edition;

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
pub(super) enum Met {
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
pub(super) enum Fit {
    /// This row.
    Row(&'static Sheet, &'static Row),
    /// One of these rows would, if the definition said what it leaves out.
    Open(Vec<&'static Row>),
    /// None.
    None,
}

/// The first row that fits; or may fit, seen what the definition says. Rows of the platform come before
/// those of all platforms.
pub(super) fn fit(definition: &Definition, edition: Edition, setting: &Setting<'_>) -> Fit {
    let mut open = Vec::new();
    for (sheet, row) in rows(edition, setting.platform) {
        let answers = conditions(definition, setting, row);
        if answers.contains(&Met::No) {
            continue;
        }
        if answers.contains(&Met::Unknown) {
            open.push(row);
        } else if open.is_empty() {
            return Fit::Row(sheet, row);
        } else {
            break;
        }
    }
    if open.is_empty() {
        Fit::None
    } else {
        Fit::Open(open)
    }
}

/// The rows that may concern a platform. An edition that does not know the platform has none.
pub(super) fn rows(
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
pub(super) fn conditions(definition: &Definition, setting: &Setting<'_>, row: &Row) -> [Met; 4] {
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
