//! What the matrix makes of definitions, on both sides of the edges of its rows.

use cluster::{Definition, PlatformKind};

use super::super::*;
use crate::check;
use crate::source::Source;
use crate::verdict::{Outcome, Reason, Severity, Verdict};

/// A cluster of two guests.
struct Cluster<'a> {
    platform: &'a str,
    guests: &'a str,
    agent: &'a str,
    storage: Option<&'a str>,
}

impl Cluster<'_> {
    fn definition(&self) -> Definition {
        let storage = self.storage.map_or_else(String::new, |kind| {
            let iscsi = if kind == "iscsi" {
                "target = 'iqn.2026-01.example:s'\nportals = ['192.0.2.30:3260']\n"
            } else {
                ""
            };
            format!("[[storage]]\nname = 'shared'\nkind = '{kind}'\n{iscsi}device = '/dev/disk/by-id/x'\n")
        });
        let text = format!(
            "[cluster]\nname = 'c'\n[platform]\n{}\n[guests]\n{}\n\
             [[node]]\nname = 'n1'\naddress = '192.0.2.1'\n[[node]]\nname = 'n2'\naddress = '192.0.2.2'\n\
             [[fence]]\nname = 'f'\nagent = '{}'\n{storage}",
            self.platform, self.guests, self.agent
        );
        Definition::parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// What the matrix says, without the rules.
    fn reasons(&self, edition: Edition) -> Vec<Reason> {
        let definition = self.definition();
        let placements = place(&definition, edition);
        let facts = crate::rule::Facts {
            definition: &definition,
            edition,
            placements: &placements,
            live: None,
        };
        let mut reasons = Vec::new();
        levels(&facts, &mut reasons);
        agents(&facts, &mut reasons);
        storage(&facts, &mut reasons);
        Verdict::of(edition, reasons).reasons
    }

    /// The heaviest severity, and the rules that weigh so.
    fn worst(&self, edition: Edition) -> (Severity, Vec<String>) {
        let reasons = self.reasons(edition);
        let worst = reasons[0].severity;
        let rules = reasons.iter().filter(|reason| reason.severity == worst);
        (worst, rules.map(|reason| reason.rule.to_string()).collect())
    }
}

fn document(
    platform: &str,
    guests: &str,
    agent: &str,
    storage: Option<&str>,
) -> (Severity, String) {
    let guests = format!("os = '{guests}'");
    let cluster = Cluster {
        platform,
        guests: &guests,
        agent,
        storage,
    };
    let (severity, rules) = cluster.worst(Edition::Document);
    (severity, rules.join(" "))
}

const XEN: &str = "kind = 'xen'\nos = 'rhel 5.3'";
const KVM5: &str = "kind = 'kvm'\nos = 'rhel 5.4'";
const KVM6: &str = "kind = 'kvm'\nos = 'rhel 6.0'";
const RHEV: &str = "kind = 'rhev'\nmanager = { kind = 'rhev-m', version = '2.2' }";
const ESX: &str = "kind = 'vmware'\nversion = '4.0'";
const VCENTER: &str =
    "kind = 'vmware'\nversion = '4.1'\nmanager = { kind = 'vcenter', version = '4.0' }";
const HYPER_V: &str = "kind = 'hyper-v'\nversion = '2008 R2'";

/// Platform, guests, agent, storage; the heaviest severity, and the rules that weigh so.
type Case<'a> = (
    &'a str,
    &'a str,
    &'a str,
    Option<&'a str>,
    Severity,
    &'a str,
);

/// Every row of the document, on both sides of its edges.
#[test]
fn the_document_is_followed_to_the_letter() {
    use Severity::{Note, Preview, Unsupported, Unverified};
    let cases: &[Case<'_>] = &[
        // S03 to S06
        (
            XEN,
            "rhel 5.3",
            "fence_xvm",
            Some("xen-block"),
            Note,
            "S03 hist.xen5 S04 S06",
        ),
        (
            XEN,
            "rhel 5.11",
            "fence_scsi",
            Some("iscsi"),
            Note,
            "S03 hist.xen5 S04 S06",
        ),
        (XEN, "rhel 5.2", "fence_xvm", None, Unsupported, "S03"),
        (XEN, "rhel 6.0", "fence_xvm", None, Unverified, "S03"),
        (XEN, "debian 12", "fence_xvm", None, Unsupported, "S03"),
        (
            "kind = 'xen'\nos = 'rhel 5.2'",
            "rhel 5.3",
            "fence_xvm",
            None,
            Unsupported,
            "S03",
        ),
        (XEN, "rhel 5.3", "fence_virt", None, Unsupported, "S04"),
        (
            XEN,
            "rhel 5.3",
            "fence_xvm",
            Some("qcow2-image"),
            Unsupported,
            "S06",
        ),
        (
            "kind = 'xen'",
            "rhel 5.3",
            "fence_xvm",
            None,
            Unverified,
            "S03",
        ),
        // S07 to S11
        (
            KVM5,
            "rhel 5.4",
            "fence_xvm",
            Some("raw-image"),
            Preview,
            "S07",
        ),
        (KVM5, "rhel 5.3", "fence_xvm", None, Unsupported, "S07"),
        (KVM5, "rhel 6.0", "fence_xvm", None, Unverified, "S07"),
        (
            "kind = 'kvm'\nos = 'rhel 5.3'",
            "rhel 5.4",
            "fence_xvm",
            None,
            Unsupported,
            "S07",
        ),
        (KVM5, "rhel 5.4", "fence_virt", None, Unsupported, "S08"),
        (
            KVM5,
            "rhel 5.4",
            "fence_xvm",
            Some("qcow2-image"),
            Unsupported,
            "S10",
        ),
        // S12 to S23
        (
            KVM6,
            "rhel 6.0",
            "fence_virt",
            Some("host-block"),
            Preview,
            "S12",
        ),
        (KVM6, "rhel 5.5", "fence_xvm", Some("iscsi"), Preview, "S12"),
        (KVM6, "rhel 5.4", "fence_xvm", None, Unsupported, "S12"),
        (KVM6, "rhel 7.0", "fence_virt", None, Unsupported, "S12"),
        (KVM6, "rhel 6.1", "fence_xvm", None, Unsupported, "S16"),
        (KVM6, "rhel 5.5", "fence_virt", None, Unsupported, "S15"),
        (
            KVM6,
            "rhel 6.1",
            "fence_scsi",
            Some("iscsi"),
            Preview,
            "S12",
        ),
        (
            KVM6,
            "rhel 6.1",
            "fence_virt",
            Some("shared-vhdx"),
            Unsupported,
            "S22",
        ),
        (
            "kind = 'kvm'\nos = 'debian 12'",
            "rhel 6.0",
            "fence_virt",
            None,
            Unsupported,
            "S02",
        ),
        // S24 to S31
        (RHEV, "rhel 6.0", "fence_rhev", None, Unsupported, "S24"),
        (RHEV, "rhel 5.6", "fence_rhevm", None, Unsupported, "S24"),
        (RHEV, "rhel 5.5", "fence_rhev", None, Unsupported, "S24 S27"),
        (
            RHEV,
            "rhel 5.5",
            "fence_scsi",
            Some("iscsi"),
            Unsupported,
            "S24",
        ),
        (
            RHEV,
            "rhel 6.0",
            "fence_scsi",
            Some("direct-lun"),
            Unsupported,
            "S24 S30",
        ),
        // S32 to S43
        (
            ESX,
            "rhel 5.4",
            "fence_vmware",
            Some("rdm-physical"),
            Preview,
            "S35",
        ),
        (ESX, "rhel 5.3", "fence_vmware", None, Unsupported, "S32"),
        (
            VCENTER,
            "rhel 6.0",
            "fence_scsi",
            Some("iscsi"),
            Preview,
            "S36",
        ),
        (
            VCENTER,
            "rhel 6.0",
            "fence_vmware_soap",
            None,
            Unsupported,
            "S40",
        ),
        (
            ESX,
            "rhel 6.0",
            "fence_vmware",
            Some("multi-writer-vmdk"),
            Unsupported,
            "S39",
        ),
        (
            "kind = 'vmware'\nversion = '3.5'",
            "rhel 6.0",
            "fence_vmware",
            None,
            Unsupported,
            "S42",
        ),
        (
            "kind = 'vmware'",
            "rhel 6.0",
            "fence_vmware",
            None,
            Unverified,
            "S42",
        ),
        (
            "kind = 'vmware'\nversion = '4.0'\nmanager = { kind = 'virtual-center', version = '2.5' }",
            "rhel 6.0",
            "fence_vmware",
            None,
            Unsupported,
            "S43",
        ),
        // S44 to S47
        (
            HYPER_V,
            "rhel 5.3",
            "fence_scsi",
            Some("iscsi"),
            Unsupported,
            "S47",
        ),
        (
            HYPER_V,
            "rhel 6.0",
            "fence_hyperv",
            None,
            Unsupported,
            "S47 S44",
        ),
        (HYPER_V, "rhel 5.2", "fence_scsi", None, Unsupported, "S44"),
        (
            HYPER_V,
            "rhel 6.0",
            "fence_scsi",
            Some("vhd-set"),
            Unsupported,
            "S47 S46",
        ),
        // S02
        (
            "kind = 'proxmox'",
            "rhel 6.0",
            "fence_pve",
            None,
            Unsupported,
            "S02",
        ),
    ];
    for &(platform, guests, agent, storage, severity, rules) in cases {
        let found = document(platform, guests, agent, storage);
        let case = format!("{platform}, {guests}, {agent}, {storage:?}");
        assert_eq!(found, (severity, rules.to_owned()), "{case}");
    }
}

/// S49: fence_scsi and iSCSI stand in for what the platform has itself, on every one of them.
#[test]
fn fence_scsi_with_iscsi_is_granted_everywhere() {
    for platform in [XEN, KVM5, KVM6, RHEV, ESX, VCENTER, HYPER_V] {
        let cluster = Cluster {
            platform,
            guests: "os = 'rhel 5.6'",
            agent: "fence_scsi",
            storage: Some("iscsi"),
        };
        for reason in cluster.reasons(Edition::Document) {
            let about = reason.subject.as_deref().unwrap_or_default();
            if about.starts_with("fence.") || about.starts_with("storage.") {
                assert_eq!(reason.severity, Severity::Note, "{platform}: {reason:?}");
            }
        }
    }
}

#[test]
fn what_is_not_verified_is_never_supported() {
    for platform in PlatformKind::ALL {
        for guests in [
            "rhel 9.4",
            "rhel 10.0",
            "sles 15",
            "debian 12",
            "ubuntu 24.04",
            "centos 7",
            "windows 2022",
        ] {
            let text = format!("kind = '{platform}'");
            let guests_line = format!("os = '{guests}'");
            let cluster = Cluster {
                platform: &text,
                guests: &guests_line,
                agent: "fence_sbd",
                storage: None,
            };
            let verdict = Verdict::of(Edition::Today, cluster.reasons(Edition::Today));
            let azure = platform == PlatformKind::Azure && guests == "rhel 9.4";
            let expected = if azure {
                Outcome::Supported
            } else {
                Outcome::Unverified
            };
            assert_eq!(
                verdict.outcome, expected,
                "{platform} {guests}: {:#?}",
                verdict.reasons
            );
        }
    }
}

#[test]
fn today_says_how_sure_it_is() {
    let vmware = |version: &str, guests: &'static str, agent: &'static str, storage| {
        let platform = format!(
            "kind = 'vmware'\nversion = '{version}'\nmanager = {{ kind = 'vcenter', version = '7.0' }}"
        );
        let guests = format!("os = '{guests}'");
        let cluster = Cluster {
            platform: &platform,
            guests: &guests,
            agent,
            storage,
        };
        let (severity, rules) = cluster.worst(Edition::Today);
        (severity, rules.join(" "))
    };
    let cases = [
        // Supported by the old copy of a list.
        (
            ("7.0u3", "rhel 8.6", "fence_vmware_soap", None),
            (Severity::Warning, "vmware.rhel"),
        ),
        (
            ("8.0", "rhel 8.6", "fence_vmware_soap", None),
            (Severity::Unverified, "vmware.rhel-8"),
        ),
        (
            ("7.0u3", "rhel 10.0", "fence_vmware_soap", None),
            (Severity::Unverified, "vmware.rhel-10"),
        ),
        // Reservations pass a physical mapping, and no other disk.
        (
            ("7.0u3", "rhel 8.6", "fence_scsi", Some("rdm-physical")),
            (Severity::Warning, "vmware.rhel"),
        ),
        (
            ("7.0u3", "rhel 8.6", "fence_scsi", Some("rdm-virtual")),
            (Severity::Unsupported, "vmw.bc-disk"),
        ),
        (
            ("7.0u3", "rhel 8.6", "fence_scsi", Some("multi-writer-vmdk")),
            (Severity::Unverified, "vmw.mw-pr"),
        ),
        // VMware's own table names guests and releases.
        (
            ("7.0u2", "rhel 8.6", "fence_scsi", Some("rdm-physical")),
            (Severity::Unverified, "vmw.bc-matrix"),
        ),
        // Another platform's agent.
        (
            ("7.0u3", "rhel 8.6", "fence_xvm", None),
            (Severity::Unsupported, "vmw.fence"),
        ),
        // Nobody's agent.
        (
            ("7.0u3", "rhel 8.6", "fence_other", None),
            (Severity::Unverified, "vmw.fence"),
        ),
    ];
    for ((version, guests, agent, storage), (severity, rules)) in cases {
        let found = vmware(version, guests, agent, storage);
        assert_eq!(
            found,
            (severity, rules.to_owned()),
            "{version} {guests} {agent} {storage:?}"
        );
    }
}

#[test]
fn ubuntu_tests_some_agents_only() {
    let cluster = |platform, agent| Cluster {
        platform,
        guests: "os = 'ubuntu 24.04'",
        agent,
        storage: None,
    };
    let ubuntu = "kind = 'kvm'\nos = 'ubuntu 24.04'";
    let worst = |platform, agent| cluster(platform, agent).worst(Edition::Today).0;
    assert_eq!(worst(ubuntu, "fence_virsh"), Severity::Note);
    assert_eq!(worst(ubuntu, "fence_xvm"), Severity::Unverified);
    assert_eq!(
        worst("kind = 'kvm'\nos = 'debian 12'", "fence_virsh"),
        Severity::Unverified
    );
    assert_eq!(worst("kind = 'kvm'", "fence_virsh"), Severity::Unverified);
}

#[test]
fn the_lists_of_today_hold_for_guests_that_no_row_names() {
    let cluster = Cluster {
        platform: "kind = 'rhev'\nversion = '4.5'",
        guests: "os = 'alma 9.4'",
        agent: "fence_xvm",
        storage: Some("qcow2-image"),
    };
    let reasons = cluster.reasons(Edition::Today);
    let rules: Vec<&str> = reasons.iter().map(|reason| reason.rule.as_str()).collect();
    assert_eq!(rules, ["ovirt.fence", "unlisted", "kvm.share"]);
    assert_eq!(reasons[0].severity, Severity::Unsupported);
}

#[test]
fn libvirt_is_the_same_under_kvm_and_xen() {
    let severity = |platform| {
        let cluster = Cluster {
            platform,
            guests: "os = 'debian 12'",
            agent: "fence_xvm",
            storage: None,
        };
        cluster.worst(Edition::Today).0
    };
    assert_eq!(severity("kind = 'xen'"), Severity::Unverified);
    assert_eq!(severity("kind = 'proxmox'"), Severity::Unsupported);
}

#[test]
fn an_agent_may_need_a_manager() {
    let rest = |platform| {
        let cluster = Cluster {
            platform,
            guests: "os = 'rhel 8.6'",
            agent: "fence_vmware_rest",
            storage: None,
        };
        cluster.worst(Edition::Today)
    };
    assert_eq!(
        rest("kind = 'vmware'\nversion = '7.0'"),
        (Severity::Unverified, vec!["vmw.rest-min".to_owned()])
    );
    let managed =
        "kind = 'vmware'\nversion = '7.0'\nmanager = { kind = 'vcenter', version = '7.0' }";
    assert_eq!(rest(managed).0, Severity::Warning);
}

#[test]
fn refusals_say_what_would_be_right() {
    let remedies = |platform, guests, agent, storage| {
        let cluster = Cluster {
            platform,
            guests,
            agent,
            storage,
        };
        let reasons = cluster.reasons(Edition::Document);
        let bad = reasons
            .into_iter()
            .filter(|reason| reason.severity >= Severity::Unverified);
        bad.filter_map(|reason| reason.remedy).collect::<Vec<_>>()
    };
    assert_eq!(
        remedies(KVM5, "os = 'rhel 5.3'", "fence_xvm", None),
        ["guests of RHEL 5.4 or newer 5.x"]
    );
    assert_eq!(
        remedies(
            "kind = 'kvm'\nos = 'debian 12'",
            "os = 'rhel 6.1'",
            "fence_virt",
            None
        ),
        ["hosts of RHEL 5.4 or newer 5.x or RHEL 6.0 or newer 6.x"]
    );
    assert_eq!(
        remedies(KVM6, "os = 'rhel 6.1'", "fence_xvm", Some("qcow2-image")),
        [
            "use fence_virt or fence_scsi",
            "share iscsi, host-block or raw-image"
        ]
    );
    assert_eq!(
        remedies(
            "kind = 'vmware'\nversion = '3.5'",
            "os = 'rhel 6.1'",
            "fence_vmware",
            None
        ),
        ["hosts of VMware 4.0 or newer"]
    );
}

#[test]
fn guests_are_placed_by_what_they_and_their_hosts_run() {
    let text = "
[cluster]
name = 'c'
[platform]
kind = 'kvm'
os = 'rhel 6.0'
[guests]
os = 'rhel 6.1'
[[host]]
name = 'h1'
[[host]]
name = 'h2'
os = 'rhel 5.4'
[[node]]
name = 'n1'
address = '192.0.2.1'
host = 'h1'
[[node]]
name = 'n2'
address = '192.0.2.2'
host = 'h2'
os = 'rhel 5.5'
[[node]]
name = 'n3'
address = '192.0.2.3'
[[node]]
name = 'metal'
address = '192.0.2.4'
kind = 'bare-metal'
[[fence]]
name = 'f'
agent = 'fence_xvm'
nodes = ['n1', 'n2', 'n3', 'metal']
";
    let definition = Definition::parse("test.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let placements = place(&definition, Edition::Document);
    let shown: Vec<String> = placements
        .iter()
        .map(|placement| {
            let setting = &placement.setting;
            let names: Vec<_> = setting
                .nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect();
            let row = placement.row.map_or("none", |(_, row)| row.id.as_str());
            format!(
                "{} on {}: {} {row}",
                setting.guests(),
                setting.hosts(),
                names.join(",")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "RHEL 6.1 guests on RHEL 6.0 KVM hosts: n1,n3 S12",
            "RHEL 5.5 guests on RHEL 5.4 KVM hosts: n2 S07",
            "RHEL 6.1 guests on RHEL 5.4 KVM hosts: n3 S07",
        ]
    );
    assert_eq!(Edition::fitting(&definition), Edition::Document);
    let verdict = check(&definition, Edition::Document);
    assert!(
        verdict.outcome >= Outcome::Unsupported,
        "{:?}",
        verdict.outcome
    );
}

/// No text says of an agent what it cannot fence: that is concluded from what it is said to fence.
#[test]
fn another_platforms_agent_is_judged_by_what_names_it_there() {
    let cluster = Cluster {
        platform: "kind = 'kvm'\nos = 'rhel 9.4'",
        guests: "os = 'rhel 9.4'",
        agent: "fence_vmware_rest",
        storage: None,
    };
    let reasons = cluster.reasons(Edition::Today);
    let about = |reason: &&Reason| reason.message.contains("switches guests of");
    let reason = reasons.iter().find(about).expect("it is told");
    assert!(
        reason.message.contains("VMware, not of KVM"),
        "{}",
        reason.message
    );
    let source = &reason.source;
    assert!(
        source.citation.starts_with("judgement, "),
        "{}",
        source.citation
    );
    let listed = Source::cited(&source.id);
    assert!(source.citation.ends_with(&listed.citation));
    assert_eq!(source.confidence, listed.confidence);
    // What closes KVM's own list says nothing of it.
    assert_ne!(source.id, reason.rule.as_str());
    assert!(Matrix::fact(&source.id).is_some(), "{}", source.id);
}
