//! The matrix: which platform supports guest clusters how far, with what.
//!
//! The data lies in TOML files, compiled in and read when first needed: a check reads the sheets of the
//! platforms that the definition names, and those of the facts it cites.

mod bibliography;
mod levels;
mod permit;
mod place;
mod range;
mod sheet;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use cluster::PlatformKind;

pub use bibliography::{Bibliography, Publication};
pub(crate) use levels::levels;
pub(crate) use permit::{agents, storage};
pub(crate) use place::place;
pub use place::{Placement, Setting};
pub use range::{OsRange, VersionRange, distribution};
pub use sheet::{
    Agents, Fact, Firm, ManagerCondition, ManagerRange, Note, OsCondition, Reservations, Row,
    Sheet, StorageKinds, VersionCondition,
};

use crate::edition::Edition;
use crate::level::{Confidence, Level};

/// The matrix of one edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    edition: Edition,
}

/// A data file, read when first needed.
struct File {
    edition: Edition,
    /// Which platform it is about. None: all.
    platform: Option<PlatformKind>,
    /// How the keys of its facts begin.
    prefixes: &'static [&'static str],
    text: &'static str,
    sheet: OnceLock<Sheet>,
}

impl File {
    const fn new(
        edition: Edition,
        platform: Option<PlatformKind>,
        prefixes: &'static [&'static str],
        text: &'static str,
    ) -> Self {
        Self {
            edition,
            platform,
            prefixes,
            text,
            sheet: OnceLock::new(),
        }
    }

    fn sheet(&self) -> &Sheet {
        self.sheet.get_or_init(|| {
            toml::from_str(self.text).expect("the data is compiled in, and a test reads it")
        })
    }
}

macro_rules! file {
    ($edition:ident, $name:literal) => {
        file!($edition, $name, None, &[])
    };
    ($edition:ident, $name:literal, $platform:expr, $prefixes:expr) => {
        File::new(
            Edition::$edition,
            $platform,
            $prefixes,
            include_str!(concat!("../../data/", $name, ".toml")),
        )
    };
}

static FILES: [File; 20] = [
    file!(Document, "document/xen", Some(PlatformKind::Xen), &[]),
    file!(Document, "document/kvm-rhel5", Some(PlatformKind::Kvm), &[]),
    file!(Document, "document/kvm-rhel6", Some(PlatformKind::Kvm), &[]),
    file!(Document, "document/rhev", Some(PlatformKind::Rhev), &[]),
    file!(Document, "document/vmware", Some(PlatformKind::Vmware), &[]),
    file!(
        Document,
        "document/hyper-v",
        Some(PlatformKind::HyperV),
        &[]
    ),
    file!(Document, "document/common"),
    file!(Today, "today/kvm", Some(PlatformKind::Kvm), &["kvm"]),
    file!(Today, "today/xen", Some(PlatformKind::Xen), &["xen"]),
    file!(Today, "today/rhv", Some(PlatformKind::Rhev), &["ovirt"]),
    file!(Today, "today/vmware", Some(PlatformKind::Vmware), &["vmw"]),
    file!(Today, "today/hyper-v", Some(PlatformKind::HyperV), &["hv"]),
    file!(
        Today,
        "today/kubevirt",
        Some(PlatformKind::Kubevirt),
        &["kv"]
    ),
    file!(
        Today,
        "today/nutanix",
        Some(PlatformKind::Nutanix),
        &["ahv"]
    ),
    file!(
        Today,
        "today/proxmox",
        Some(PlatformKind::Proxmox),
        &["pve"]
    ),
    file!(Today, "today/azure", Some(PlatformKind::Azure), &["az"]),
    file!(Today, "today/aws", Some(PlatformKind::Aws), &["aws"]),
    file!(
        Today,
        "today/common",
        None,
        &["rhel", "suse", "ubuntu", "debian", "cs", "fa", "cl"]
    ),
    file!(Today, "today/storage-targets", None, &["pr"]),
    file!(Today, "today/history", None, &["hist"]),
];

impl Matrix {
    /// The matrix of an edition. Costs nothing: data is read when it is first asked for.
    #[must_use]
    pub const fn load(edition: Edition) -> Self {
        Self { edition }
    }

    /// Which edition it is.
    #[must_use]
    pub const fn edition(self) -> Edition {
        self.edition
    }

    /// The sheets about one platform, without those about all platforms. Empty: the edition does not
    /// know the platform.
    pub fn sheets(self, platform: PlatformKind) -> impl Iterator<Item = &'static Sheet> {
        self.files()
            .filter(move |file| file.platform == Some(platform))
            .map(File::sheet)
    }

    /// The sheets about all platforms.
    pub fn common(self) -> impl Iterator<Item = &'static Sheet> {
        self.files()
            .filter(|file| file.platform.is_none())
            .map(File::sheet)
    }

    /// Whether the edition says anything about a platform.
    #[must_use]
    pub fn knows(self, platform: PlatformKind) -> bool {
        self.files().any(|file| file.platform == Some(platform))
    }

    /// The row of that id, with its sheet.
    #[must_use]
    pub fn row(self, id: &str) -> Option<(&'static Sheet, &'static Row)> {
        self.files().map(File::sheet).find_map(|sheet| {
            let row = sheet.rows.iter().find(|row| row.id == id)?;
            Some((sheet, row))
        })
    }

    /// The fact of that key. Facts belong to no edition: the document's rows may cite what became of
    /// them.
    #[must_use]
    pub fn fact(key: &str) -> Option<&'static Fact> {
        let (prefix, _) = key.split_once('.')?;
        FILES
            .iter()
            .filter(|file| file.prefixes.contains(&prefix))
            .find_map(|file| file.sheet().facts.iter().find(|fact| fact.key == key))
    }

    /// All facts.
    pub fn facts() -> impl Iterator<Item = &'static Fact> {
        FILES.iter().flat_map(|file| &file.sheet().facts)
    }

    fn files(self) -> impl Iterator<Item = &'static File> {
        FILES
            .iter()
            .filter(move |file| file.edition == self.edition)
    }
}

/// How sure a citation is: a statement, `KEY`, or `KEY#firm` for the surer part of a fact. What cannot
/// be resolved is not sure at all.
pub(crate) fn confidence(citation: &str) -> Confidence {
    if crate::source::Source::is_statement(citation) {
        return Confidence::Verified;
    }
    let (key, firm) = citation
        .strip_suffix("#firm")
        .map_or((citation, false), |key| (key, true));
    Matrix::fact(key).map_or(Confidence::NotFound, |fact| match (&fact.firm, firm) {
        (Some(part), true) => part.confidence,
        (None, true) => Confidence::NotFound,
        (_, false) => fact.confidence,
    })
}

/// The least sure of several citations; the first of them if they are equally sure.
pub(crate) fn weakest(citations: &[String]) -> Option<&str> {
    let mut weakest: Option<(&str, Confidence)> = None;
    for citation in citations {
        let sure = confidence(citation);
        if weakest.is_none_or(|(_, least)| sure > least) {
            weakest = Some((citation, sure));
        }
    }
    weakest.map(|(citation, _)| citation)
}

/// What a level amounts to that rests on something so sure: nothing is supported without evidence.
pub(crate) const fn effective(level: Level, confidence: Confidence) -> Level {
    if confidence.is_evidence() {
        level
    } else {
        Level::Unverified
    }
}

impl Row {
    /// How far it is supported, seen how sure its sources are.
    #[must_use]
    pub fn effective_level(&self) -> Level {
        let sure = weakest(&self.sources).map_or(Confidence::NotFound, confidence);
        effective(self.level, sure)
    }

    /// How sure its sources are: as the least sure of them.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        weakest(&self.sources).map_or(Confidence::NotFound, confidence)
    }
}
