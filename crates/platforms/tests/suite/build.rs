//! Definitions for tests: a base for each platform, changed value by value.

use cluster::Definition;
use platforms::{Edition, Reason, Severity, Verdict};
use toml::{Table, Value};

/// The text of a definition, as a table that can be changed.
#[derive(Debug, Clone)]
pub(crate) struct Cluster(Table);

/// A definition from its text.
pub(crate) fn cluster(text: &str) -> Cluster {
    Cluster(text.parse().expect("the test's own TOML"))
}

impl Cluster {
    /// Changes values, each as `path = value`, one a line. A list of tables is entered by name:
    /// `node.n1.os = 'rhel 6.1'`.
    pub(crate) fn set(mut self, changes: &str) -> Self {
        for change in changes
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (path, value) = change.split_once(" = ").expect("`path = value`");
            let value: Table = format!("value = {value}")
                .parse()
                .expect("the test's own TOML");
            let (parent, key) = path.rsplit_once('.').expect("a path");
            self.table(parent)
                .insert(key.to_owned(), value["value"].clone());
        }
        self
    }

    /// Takes tables or values away.
    pub(crate) fn without(mut self, paths: &[&str]) -> Self {
        for path in paths {
            match path.rsplit_once('.') {
                None => drop(self.0.remove(*path)),
                Some((parent, key)) => match self.0.get_mut(parent) {
                    Some(Value::Array(list)) => {
                        list.retain(|item| item["name"].as_str() != Some(key));
                    }
                    _ => drop(self.table(parent).remove(key)),
                },
            }
        }
        self
    }

    /// Adds tables; items of lists are appended.
    pub(crate) fn add(mut self, text: &str) -> Self {
        let more: Table = text.parse().expect("the test's own TOML");
        for (key, value) in more {
            match (self.0.get_mut(&key), value) {
                (Some(Value::Array(list)), Value::Array(items)) => list.extend(items),
                (_, value) => drop(self.0.insert(key, value)),
            }
        }
        self
    }

    fn table(&mut self, path: &str) -> &mut Table {
        let mut parts = path.split('.');
        let first = parts.next().expect("a path");
        let mut at = self
            .0
            .entry(first)
            .or_insert_with(|| Value::Table(Table::new()));
        for part in parts {
            at = match at {
                Value::Array(list) => list
                    .iter_mut()
                    .find(|item| item["name"].as_str() == Some(part))
                    .unwrap_or_else(|| panic!("no `{part}` in `{first}`")),
                Value::Table(table) => table
                    .entry(part)
                    .or_insert_with(|| Value::Table(Table::new())),
                _ => panic!("`{path}` is no table"),
            };
        }
        at.as_table_mut()
            .unwrap_or_else(|| panic!("`{path}` is no table"))
    }

    pub(crate) fn text(&self) -> String {
        toml::to_string(&self.0).expect("a table")
    }

    pub(crate) fn definition(&self) -> Definition {
        Definition::parse("test.toml", &self.text()).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn check(&self, edition: Edition) -> Verdict {
        platforms::check(&self.definition(), edition)
    }

    /// The verdict of the requirement document's edition.
    pub(crate) fn then(&self) -> Verdict {
        self.check(Edition::Document)
    }
}

/// The heaviest reason of that name: by its rule, or by what it rests on.
pub(crate) fn heaviest<'v>(verdict: &'v Verdict, id: &str) -> Option<&'v Reason> {
    verdict
        .reasons
        .iter()
        .filter(|reason| reason.rule.as_str() == id || reason.source.id == id)
        .max_by_key(|reason| reason.severity)
}

/// The weight of what a rule or statement says.
pub(crate) fn weight(verdict: &Verdict, id: &str) -> Option<Severity> {
    heaviest(verdict, id).map(|reason| reason.severity)
}

/// Whether a rule or statement speaks against a definition.
pub(crate) fn objects(verdict: &Verdict, id: &str) -> bool {
    weight(verdict, id).is_some_and(|severity| severity > Severity::Preview)
}

/// That the statement speaks against the first definition, and not against the second, both measured
/// against the requirement document.
#[track_caller]
pub(crate) fn forbids(id: &str, violating: &Cluster, obeying: &Cluster) {
    let verdict = violating.then();
    assert!(
        objects(&verdict, id),
        "{id} is silent: {:#?}",
        verdict.reasons
    );
    allows(id, obeying);
}

/// That the statement does not speak against the definition.
#[track_caller]
pub(crate) fn allows(id: &str, obeying: &Cluster) {
    let verdict = obeying.then();
    assert!(
        !objects(&verdict, id),
        "{id} objects: {:#?}",
        verdict.reasons
    );
}

/// That the statement speaks for the definition: it is cited, and not against it.
#[track_caller]
pub(crate) fn grants(id: &str, accepted: &Cluster) {
    let verdict = accepted.then();
    let said = weight(&verdict, id);
    assert!(
        said.is_some_and(|severity| severity <= Severity::Preview),
        "{id} says {said:?}: {:#?}",
        verdict.reasons
    );
}

/// Two pinned guests on two hosts: what every platform's base has in common.
fn base(platform: &str, guests: &str, fence: &str) -> Cluster {
    cluster(&format!(
        "[cluster]\nname = 'web'\n\
         [platform]\n{platform}\n\
         [guests]\nos = '{guests}'\nwatchdog = 'none'\n\
         [options]\ntoken = '5s'\n\
         [fencing]\naction = 'reboot'\n\
         [[host]]\nname = 'h1'\n[[host]]\nname = 'h2'\n\
         [[node]]\nname = 'n1'\naddress = '10.9.0.1'\nhost = 'h1'\npinned = true\n\
         [[node]]\nname = 'n2'\naddress = '10.9.0.2'\nhost = 'h2'\npinned = true\n\
         [[fence]]\nname = 'main'\n{fence}\n"
    ))
}

/// RHEL 5.5 guests on RHEL 5.5 Xen hosts that form a cluster, fenced by fence_xvm.
pub(crate) fn xen5() -> Cluster {
    base(
        "kind = 'xen'\nos = 'rhel 5.5'\nhost_cluster = true",
        "rhel 5.5",
        "agent = 'fence_xvm'",
    )
    .set("fence_virtd.program = 'fence_xvmd'\nfence_virtd.mode = 'cluster'")
}

/// The same on RHEL 5.5 KVM hosts.
pub(crate) fn kvm5() -> Cluster {
    xen5().set("platform.kind = 'kvm'")
}

/// RHEL 6.1 guests on RHEL 6.1 KVM hosts, fenced by fence_virt.
pub(crate) fn kvm6() -> Cluster {
    base(
        "kind = 'kvm'\nos = 'rhel 6.1'",
        "rhel 6.1",
        "agent = 'fence_virt'",
    )
    .set("fence_virtd.program = 'fence_virtd'\nfence_virtd.mode = 'standalone'")
}

/// RHEL 5.6 guests under RHEV-M, fenced by fence_rhev.
pub(crate) fn rhev() -> Cluster {
    base(
        "kind = 'rhev'\nversion = '2.2'\nmanager = { kind = 'rhev-m', address = 'rhevm.example.org' }",
        "rhel 5.6",
        "agent = 'fence_rhev'\noptions = { ip = 'rhevm.example.org' }",
    )
}

/// RHEL 6.0 guests on standalone ESX 4.0 hosts, fenced by fence_vmware.
pub(crate) fn esx() -> Cluster {
    base(
        "kind = 'vmware'\nversion = '4.0'",
        "rhel 6.0",
        "agent = 'fence_vmware'\noptions = { ip = 'esx.example.org' }",
    )
}

/// RHEL 6.0 guests on Hyper-V, fenced by fence_scsi on iSCSI storage.
pub(crate) fn hyper_v() -> Cluster {
    base(
        "kind = 'hyper-v'\nversion = '2008 R2'",
        "rhel 6.0",
        "agent = 'fence_scsi'",
    )
    .add(ISCSI)
}

/// The platforms that the requirement document names, by the statement of their level.
pub(crate) fn all_of_the_document() -> [(&'static str, Cluster); 6] {
    [
        ("S03", xen5()),
        ("S07", kvm5()),
        ("S12", kvm6()),
        ("S24", rhev()),
        ("S35", esx()),
        ("S47", hyper_v()),
    ]
}

/// An iSCSI storage on a target that does what fence_scsi needs.
pub(crate) const ISCSI: &str = "[[storage]]\nname = 'shared'\nkind = 'iscsi'\n\
    target = 'iqn.2026-11.org.example:shared'\nportals = ['10.9.0.30:3260']\nserver = 'array'\n\
    persistent_reservations = true\npreempt_and_abort = true\ndevice = '/dev/disk/by-id/scsi-shared'\n";

/// Fencing by fence_scsi on iSCSI storage in place of what the base has.
pub(crate) fn by_scsi(cluster: Cluster) -> Cluster {
    let cluster = cluster.without(&["fence", "fence_virtd", "storage"]);
    cluster
        .add(ISCSI)
        .add("[[fence]]\nname = 'main'\nagent = 'fence_scsi'\n")
}

/// One more storage, of that kind.
pub(crate) fn storage(kind: &str) -> String {
    format!(
        "[[storage]]\nname = 'native'\nkind = '{kind}'\npath = '/dev/vg/native'\ndevice = '/dev/disk/by-id/native'\n"
    )
}

/// A bare-metal node with a device that can fence it.
pub(crate) const MACHINE: &str = "[[node]]\nname = 'm1'\naddress = '10.9.0.9'\nkind = 'bare-metal'\nwatchdog = 'wdat'\n\
    [[fence]]\nname = 'ipmi'\nagent = 'fence_ipmilan'\nnodes = ['m1']\noptions = { ip = '10.9.1.9' }\n";
