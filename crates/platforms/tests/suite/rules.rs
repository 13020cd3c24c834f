//! Every rule, with a definition that breaks it and one that keeps it, in the edition where that shows.

use platforms::rules::RULES;
use platforms::{Edition, Severity};

use crate::build::{
    Cluster, ISCSI, MACHINE, all_of_the_document, by_scsi, esx, kvm5, kvm6, rhev, storage, weight,
    xen5,
};

/// A rule, how heavily it weighs, a definition that breaks it, and one that keeps it.
type Case = (&'static str, Edition, Severity, Cluster, Cluster);

const TODAY: Edition = Edition::Today;
const DOCUMENT: Edition = Edition::Document;

/// Guests of some system on two KVM hosts of today, pinned, fenced by fence_xvm.
fn kvm(guests: &str) -> Cluster {
    kvm6().set(&format!(
        "platform.os = 'debian 12'\nguests.os = '{guests}'\nguests.watchdog = 'i6300esb'\nfence.main.agent = 'fence_xvm'"
    ))
}

/// Guests of RHEL 9 on vSphere 7.0 U3 under vCenter.
fn vsphere() -> Cluster {
    esx().set(
        "platform.version = '7.0u3'\nplatform.manager = { kind = 'vcenter', version = '7.0', address = 'vc.example.org' }\n\
         guests.os = 'rhel 9.2'\nguests.watchdog = 'wdat'\nfence.main.agent = 'fence_vmware_rest'",
    )
}

/// A cluster of `count` nodes in all.
fn of(count: usize, cluster: Cluster) -> Cluster {
    (3..=count).fold(cluster, |cluster, number| {
        cluster.add(&format!(
            "[[host]]\nname = 'h{number}'\n\
             [[node]]\nname = 'n{number}'\naddress = '10.9.0.{number}'\nhost = 'h{number}'\npinned = true\n"
        ))
    })
}

/// SBD in place of a fencing device.
fn sbd(cluster: Cluster, devices: &str) -> Cluster {
    cluster.set(&format!(
        "options.sbd = {{ devices = [{devices}], watchdog_timeout = '5s' }}"
    ))
}

const DISK: &str = "'/dev/disk/by-id/sbd'";

/// GFS2 on a shared volume group on iSCSI.
const GFS2: &str = "[[volume_group]]\nname = 'vg'\nstorage = ['shared']\nshared = true\n\
    [[volume]]\nname = 'data'\ngroup = 'vg'\nsize = '1GiB'\n\
    [[filesystem]]\nname = 'data'\nkind = 'gfs2'\nvolume = 'vg/data'\nmount = '/srv'\n";

/// A local file system on the iSCSI storage, and a service that mounts it.
const LOCAL: &str = "[[filesystem]]\nname = 'data'\nkind = 'xfs'\nstorage = 'shared'\nmount = '/srv'\n\
    [[service]]\nname = 'db'\nvirtual_ip = '10.9.0.100/24'\nfilesystems = ['data']\n";

fn with_local(cluster: Cluster) -> Cluster {
    cluster.add(ISCSI).add(LOCAL)
}

fn with_gfs2(cluster: Cluster) -> Cluster {
    cluster.add(ISCSI).add(GFS2)
}

/// Devices that help another one.
const PDUS: &str = "[[fence]]\nname = 'pdu1'\nagent = 'fence_apc'\noptions = { ip = '10.9.1.1' }\n\
    [[fence]]\nname = 'pdu2'\nagent = 'fence_apc'\noptions = { ip = '10.9.1.2' }\n";
const KDUMP: &str = "[[fence]]\nname = 'kdump'\nagent = 'fence_kdump'\n";
const PING: &str = "[[fence]]\nname = 'ping'\nagent = 'fence_heuristics_ping'\noptions = { ping_targets = '10.9.1.1' }\n";

#[rustfmt::skip]
fn fencing() -> Vec<Case> {
    let good = kvm("debian 12");
    vec![
        ("fencing-everywhere", TODAY, Severity::Unsafe,
            good.clone().set("fence.main.nodes = ['n1']"), good.clone()),
        ("fencing-everywhere", DOCUMENT, Severity::Unsafe, kvm6().without(&["fence"]), kvm6()),
        ("fencing-everywhere", TODAY, Severity::Unsafe,
            good.clone().add(MACHINE).without(&["fence.ipmi"]), good.clone().add(MACHINE)),
        ("fencing-everywhere", TODAY, Severity::Unsafe,
            sbd(good.clone().without(&["fence"]), DISK),
            sbd(good.clone().without(&["fence"]).add("[[fence]]\nname = 'sbd'\nagent = 'fence_sbd'\n"), DISK)),
        ("agent-fits-node", TODAY, Severity::Unsafe,
            good.clone().add(MACHINE).set("fence.main.nodes = ['n1', 'n2', 'm1']\nnode.m1.levels = [['main']]"),
            good.clone().add(MACHINE)),
        ("agent-fits-node", TODAY, Severity::Warning,
            good.clone().set("fence.main.agent = 'fence_ipmilan'\nfence.main.options = { ip = '10.9.1.1' }"),
            good.clone()),
        ("fence-target", TODAY, Severity::Unsafe,
            good.clone().set("fence.main.agent = 'fence_virsh'"),
            good.clone().set("fence.main.agent = 'fence_virsh'\nfence.main.options = { ip = '10.9.1.1' }")),
        ("fence-target", TODAY, Severity::Unsafe,
            good.clone().set("fence.main.agent = 'fence_virsh'\nfence.main.options = { ip = '10.9.0.2' }"),
            vsphere()),
        ("fence-levels", TODAY, Severity::Warning,
            good.clone().set("fencing.levels = [['main'], ['main', 'second']]").add("[[fence]]\nname = 'second'\nagent = 'fence_virsh'\noptions = { ip = '10.9.1.1' }\n"),
            good.clone().set("fencing.levels = [['main'], ['second']]").add("[[fence]]\nname = 'second'\nagent = 'fence_virsh'\noptions = { ip = '10.9.1.1' }\n")),
        ("fence-levels", TODAY, Severity::Unsafe,
            good.clone().add(PDUS).set("fencing.levels = [['pdu1', 'pdu2']]\nfence.pdu2.nodes = ['n1']"),
            good.clone().add(PDUS).set("fencing.levels = [['pdu1', 'pdu2']]")),
        ("fence-levels", TODAY, Severity::Warning,
            good.clone().add(PDUS).set("fencing.levels = [['main', 'pdu2']]\nfence.pdu2.nodes = ['n1']"),
            good.clone().add(PDUS).set("fencing.levels = [['main', 'pdu2'], ['pdu1']]")),
        ("platform-restart", TODAY, Severity::Unsafe,
            good.clone().set("platform.restarts_guests = true\nfencing.action = 'off'"), good.clone().set("fencing.action = 'off'")),
        ("platform-restart", TODAY, Severity::Warning, good.clone().set("platform.restarts_guests = true"), good.clone()),
        ("fencing-switches", TODAY, Severity::Unsafe, good.clone().set("fence.main.agent = 'fence_dummy'"), good.clone()),
        ("fencing-switches", TODAY, Severity::Unsafe, good.clone().set("fence.main.agent = 'fence_kdump'"),
            good.clone().add(KDUMP).set("fencing.levels = [['kdump'], ['main']]")),
        ("fencing-switches", TODAY, Severity::Unsafe, good.clone().add(PING).set("fencing.levels = [['ping'], ['main']]"),
            good.clone().add(PING).set("fencing.levels = [['ping', 'main']]")),
        ("fencing-switches", DOCUMENT, Severity::Unsafe, kvm6().set("fence.main.agent = 'fence_manual'"), kvm6()),
        ("fence-plug", TODAY, Severity::Unsafe, good.clone().set("fence.main.plugs = { n1 = 'vm', n2 = 'vm' }"),
            good.clone().set("fence.main.plugs = { n1 = 'vm1', n2 = 'vm2' }")),
        ("fence-plug", TODAY, Severity::Unsafe, good.clone().set("fence.main.plugs = { n1 = 'n2', n2 = 'n1' }"),
            good.clone().set("fence.main.plugs = { n1 = 'n1', n2 = 'n2' }")),
        ("fence-plug", TODAY, Severity::Unsafe,
            good.clone().set("node.n2.uuid = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'\nfence.main.plugs = { n1 = '6BA7B810-9dad-11d1-80b4-00c04fd430c8' }"),
            good.clone().set("node.n1.uuid = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'\nfence.main.plugs = { n1 = '6BA7B810-9dad-11d1-80b4-00c04fd430c8' }")),
        ("fence-plug", TODAY, Severity::Unsafe,
            good.clone().set("fence.main.agent = 'fence_ipmilan'\nfence.main.options = { ip = '10.9.1.1' }"),
            good.clone().add(MACHINE)),
        ("reservations-reach", DOCUMENT, Severity::Unsafe, by_scsi(kvm6()).without(&["storage"]), by_scsi(kvm6())),
        ("reservations-reach", TODAY, Severity::Unsafe,
            of(3, by_scsi(good.clone())).set("storage.shared.nodes = ['n1', 'n2']"), of(3, by_scsi(good.clone()))),
        ("snmp-community", TODAY, Severity::Warning,
            good.clone().add(PDUS).set("fencing.levels = [['main'], ['pdu1']]\nfence.pdu1.agent = 'fence_apc_snmp'\nfence.pdu1.options.community = 'x'"),
            good.clone().add(PDUS).set("fencing.levels = [['main'], ['pdu1']]\nfence.pdu1.agent = 'fence_apc_snmp'\nfence.pdu1.options.snmp_version = '3'\nfence.pdu1.secrets = { password = '/etc/picket/pdu' }")),
        // What is in no level is not rendered.
        ("snmp-community", DOCUMENT, Severity::Warning,
            by_scsi(kvm6()).add(PDUS).set("fencing.levels = [['main'], ['pdu1']]\nfence.pdu1.options.community = 'x'"),
            by_scsi(kvm6()).add(PDUS).set("fencing.levels = [['main'], ['pdu2']]\nfence.pdu1.options.community = 'x'")),
        ("S27", DOCUMENT, Severity::Unsupported, rhev().set("guests.os = 'rhel 5.5'"), rhev()),
        ("S37", DOCUMENT, Severity::Note, esx(), by_scsi(esx())),
        ("ubuntu-agents", TODAY, Severity::Warning, kvm("ubuntu 24.04"),
            kvm("ubuntu 24.04").set("fence.main.agent = 'fence_virsh'\nfence.main.options = { ip = '10.9.1.1' }")),
        ("vmware-soap", TODAY, Severity::Unsupported,
            esx().set("fence.main.agent = 'fence_vmware_soap'"),
            esx().set("fence.main.agent = 'fence_vmware_soap'\nplatform.version = '4.1'")),
        ("vmware-soap", TODAY, Severity::Warning,
            esx().set("fence.main.agent = 'fence_vmware_soap'\nplatform.version = '5.0'"),
            esx().set("fence.main.agent = 'fence_vmware_soap'\nplatform.version = '5.1'")),
    ]
}

#[rustfmt::skip]
fn daemon() -> Vec<Case> {
    let good = kvm("debian 12");
    vec![
        ("fence-xvmd", DOCUMENT, Severity::Unsupported,
            kvm6().set("fence.main.agent = 'fence_xvm'\nhost.h2.os = 'rhel 5.6'"), kvm6().set("fence.main.agent = 'fence_xvm'")),
        ("S17", DOCUMENT, Severity::Unsupported, kvm5().set("host.h2.os = 'rhel 6.1'"), kvm5()),
        ("virtd-hosts", DOCUMENT, Severity::Warning, kvm6().set("node.n2.pinned = false"), kvm6()),
        ("fence-xvmd", DOCUMENT, Severity::Unsupported, xen5().set("platform.host_cluster = false"), xen5()),
        ("S17", DOCUMENT, Severity::Unsupported, kvm6().without(&["fence_virtd"]), kvm6()),
        ("fence-virtd-missing", TODAY, Severity::Unsupported, good.clone().without(&["fence_virtd"]), good.clone()),
        ("S19", TODAY, Severity::Unsafe, good.clone().set("platform.live_migration = true"), good.clone()),
        ("S20", TODAY, Severity::Unsupported, good.clone().set("fence_virtd.mode = 'cluster'"),
            good.clone().set("fence_virtd.mode = 'cluster'\nplatform.host_cluster = true")),
        ("S21", DOCUMENT, Severity::Note, kvm6().set("fence_virtd.mode = 'bus'"), kvm6()),
        ("S52", DOCUMENT, Severity::Note, by_scsi(kvm6()), kvm6()),
        ("virtd-program", TODAY, Severity::Unsupported, good.clone().set("fence_virtd.program = 'fence_xvmd'"), good.clone()),
        ("virtd-program", TODAY, Severity::Warning, good.clone().set("fence_virtd.mode = 'bus'"), good.clone()),
        ("virtd-groups", TODAY, Severity::Unsafe, good.clone().set("fence.main.multicast = 'ff05::3:1'"),
            good.clone().set("fence.main.multicast = 'ff05::3:1'\nfence_virtd.groups = false")),
        ("virtd-groups", TODAY, Severity::Warning, good.clone().set("fence_virtd.groups = false"), good.clone()),
        ("virtd-hosts", TODAY, Severity::Warning, good.clone().set("node.n2.pinned = false"), good.clone()),
    ]
}

#[rustfmt::skip]
fn reservations() -> Vec<Case> {
    let good = by_scsi(kvm("debian 12")).add(LOCAL).set("guests.watchdog = 'i6300esb'");
    let served = |name: &str| {
        let mut text = good.text();
        text = text.replace("persistent_reservations = true\n", "").replace("preempt_and_abort = true\n", "");
        crate::build::cluster(&text).set(&format!("storage.shared.server = '{name}'"))
    };
    vec![
        ("S30", DOCUMENT, Severity::Unsupported, rhev().add(ISCSI), by_scsi(rhev())),
        ("S50", TODAY, Severity::Unverified, served("array"), good.clone()),
        ("S50", TODAY, Severity::Unverified, served("ontap"), served("lio")),
        ("S50", TODAY, Severity::Unverified, served("freebsd-ctl"), served("picket-target")),
        ("S50", TODAY, Severity::Unverified, served("truenas-scale"), good.clone()),
        ("S50", TODAY, Severity::Unsafe, served("ceph-iscsi"), good.clone()),
        ("S51", TODAY, Severity::Unsafe, served("tgt"), served("lio")),
        ("S50", TODAY, Severity::Unsafe,
            good.clone().set("storage.shared.kind = 'drbd'").without(&["storage.shared.target", "storage.shared.portals", "storage.shared.server"]), good.clone()),
        ("S51", DOCUMENT, Severity::Unsafe, by_scsi(kvm6()).set("storage.shared.server = 'TGTD'"), by_scsi(kvm6())),
        ("S51", DOCUMENT, Severity::Unsafe, by_scsi(kvm6()).set("storage.shared.server = 'scsi-target-utils'"), by_scsi(kvm6())),
        ("S53", DOCUMENT, Severity::Unsafe, by_scsi(kvm6()).add(&storage("raw-image")), by_scsi(kvm6())),
        ("reservations-scope", TODAY, Severity::Unsafe, good.clone().add(&storage("host-block")).set("fence.main.storage = ['shared']"), good.clone()),
        ("reservations-scope", TODAY, Severity::Unsupported,
            good.clone().add("[[service]]\nname = 'ip'\nvirtual_ip = '10.9.0.101/24'\n"), good.clone()),
        ("reservations-reboot", TODAY, Severity::Warning, good.clone().set("guests.watchdog = 'none'"), good.clone()),
        ("multipath-fencing", TODAY, Severity::Warning,
            good.clone().set("storage.shared.multipath = true\nstorage.shared.portals = ['10.9.0.30:3260', '10.9.0.31:3260']"), good.clone()),
        ("multipath-fencing", TODAY, Severity::Unsafe, good.clone().set("fence.main.agent = 'fence_mpath'"), good.clone()),
    ]
}

#[rustfmt::skip]
fn guests() -> Vec<Case> {
    let good = kvm("debian 12");
    vec![
        ("homogeneous", TODAY, Severity::Unverified, good.clone().set("node.n2.os = 'ubuntu 24.04'"), good.clone()),
        ("homogeneous", TODAY, Severity::Unverified, good.clone().add(MACHINE).set("node.m1.os = 'rhel 9.2'"), good.clone().add(MACHINE)),
        ("homogeneous", DOCUMENT, Severity::Unsupported, kvm6().set("node.n2.os = 'rhel 5.5'"), kvm6()),
        ("bare-metal", TODAY, Severity::Unverified, kvm("rhel 9.2").add(MACHINE), kvm("rhel 9.2")),
        ("bare-metal", TODAY, Severity::Note, kvm("sles 15 SP7").add(MACHINE), kvm("sles 15 SP7")),
        ("bare-metal", DOCUMENT, Severity::Unverified,
            kvm6().add(MACHINE).without(&["node.n1", "node.n2"]), kvm6().add(MACHINE)),
        ("watchdog-fits", TODAY, Severity::Unsupported, good.clone().set("guests.watchdog = 'wdat'"), good.clone()),
        ("watchdog-fits", TODAY, Severity::Unsupported, vsphere().set("platform.version = '6.7'"), vsphere()),
        ("watchdog-fits", TODAY, Severity::Unsupported, vsphere().set("guests.os = 'rhel 7.5'"), vsphere()),
        ("resilient-storage", DOCUMENT, Severity::Unverified, with_gfs2(xen5()), xen5()),
    ]
}

#[rustfmt::skip]
fn placement() -> Vec<Case> {
    let good = kvm("debian 12");
    let loose = "node.n1.pinned = false\nnode.n2.pinned = false";
    vec![
        ("S29", DOCUMENT, Severity::Unsupported, rhev().set("node.n2.host = 'h1'"), rhev()),
        ("S29", DOCUMENT, Severity::Unsupported, rhev().set("node.n1.pinned = false"), rhev()),
        ("one-host", TODAY, Severity::Warning, good.clone().set("node.n2.host = 'h1'"), good.clone()),
        ("one-host", TODAY, Severity::Warning, vsphere().set("node.n2.host = 'h1'"), vsphere()),
        ("anti-affinity", TODAY, Severity::Warning, vsphere().set(loose), vsphere()),
        ("anti-affinity", TODAY, Severity::Warning, vsphere().set(loose), of(3, vsphere()).set(loose).set("platform.anti_affinity = 'soft'").without(&["node.n3"])),
        ("anti-affinity", TODAY, Severity::Warning, of(3, good.clone()).set(loose).set("platform.anti_affinity = 'hard'"), good.clone()),
        ("anti-affinity", TODAY, Severity::Warning,
            of(3, vsphere()).set(loose).without(&["host.h3"]).set("node.n3.host = 'h2'\nplatform.anti_affinity = 'hard'"), vsphere()),
        ("host-cluster-size", DOCUMENT, Severity::Unsupported, of(17, xen5()), of(16, xen5())),
        ("host-majority", TODAY, Severity::Warning, of(3, good.clone()).set("node.n3.host = 'h2'"), of(3, good.clone())),
        ("one-hypervisor", TODAY, Severity::Unverified, good.clone().set("host.h2.kind = 'xen'"), good.clone()),
        ("one-hypervisor", DOCUMENT, Severity::Unsupported, kvm6().set("host.h2.kind = 'xen'"), kvm6()),
        ("live-migration", TODAY, Severity::Unsupported, vsphere().set("platform.live_migration = true"), vsphere()),
        ("live-migration", TODAY, Severity::Warning, kvm("sles 15 SP7").set("platform.live_migration = true"), kvm("sles 15 SP7")),
        ("live-migration", TODAY, Severity::Warning, good.clone().set("platform.live_migration = true"), good.clone()),
        ("migration-reservations", TODAY, Severity::Unsupported,
            by_scsi(good.clone()).without(&["storage"]).add(&storage("scsi-passthrough")).set("platform.live_migration = true"),
            by_scsi(good.clone()).set("platform.live_migration = true")),
        ("snapshots", TODAY, Severity::Unverified, good.clone().set("guests.snapshots = true"), good.clone()),
        ("snapshots", TODAY, Severity::Unsupported, vsphere().add(&storage("multi-writer-vmdk")).set("guests.snapshots = true"), vsphere()),
    ]
}

#[rustfmt::skip]
fn quorum() -> Vec<Case> {
    let good = kvm("debian 12");
    let device = |host: &str, algorithm: &str| format!("options.quorum_device = {{ host = '{host}', algorithm = '{algorithm}' }}");
    vec![
        ("cluster-size", TODAY, Severity::Unsupported, of(17, with_gfs2(kvm("rhel 8.6"))), of(16, with_gfs2(kvm("rhel 8.6")))),
        ("cluster-size", TODAY, Severity::Unsupported, of(17, kvm("rhel 7.6")), of(17, kvm("rhel 7.7"))),
        ("cluster-size", TODAY, Severity::Unverified, of(17, kvm("rhel 9.2")), of(16, kvm("rhel 9.2"))),
        ("single-node", TODAY, Severity::Warning, good.clone().without(&["node.n2"]), good.clone()),
        ("single-node", TODAY, Severity::Unsupported, kvm("rhel 8.1").without(&["node.n2"]), kvm("rhel 8.1")),
        ("two-nodes", TODAY, Severity::Note, good.clone(), of(3, good.clone())),
        ("even-nodes", TODAY, Severity::Warning, of(4, good.clone()), of(4, good.clone()).set(&device("qnetd.example.org", "ffsplit"))),
        ("quorum-device", TODAY, Severity::Warning, good.clone().set(&device("h1", "ffsplit")), good.clone().set(&device("10.9.9.9", "ffsplit"))),
    ]
}

#[rustfmt::skip]
fn timers() -> Vec<Case> {
    let good = kvm("debian 12");
    let azure = kvm("rhel 9.2").without(&["fence_virtd", "host"]).set(
        "platform.kind = 'azure'\nplatform.os = 'other 1'\nfence.main.agent = 'fence_azure_arm'\noptions.token = '30s'")
        .without(&["node.n1.host", "node.n1.pinned", "node.n2.host", "node.n2.pinned", "platform.os"]);
    let links = "node.n1.address = ['10.9.0.1', '10.8.0.1']\nnode.n2.address = ['10.9.0.2', '10.8.0.2']";
    vec![
        ("token", TODAY, Severity::Unsupported, kvm("rhel 9.2").set("options.token = '301s'"), kvm("rhel 9.2")),
        ("token", TODAY, Severity::Unsupported, kvm6().set("options.token = '4s'"), kvm6()),
        ("token", TODAY, Severity::Warning, good.clone().set("options.token = '1s'"), good.clone()),
        ("token", TODAY, Severity::Warning, good.clone().set("options.token = '2min'"), good.clone()),
        ("token-cloud", TODAY, Severity::Warning, azure.clone().set("options.token = '5s'"), azure),
        ("consensus", TODAY, Severity::Warning, of(3, good.clone()).set("options.consensus = '6779ms'"), of(3, good.clone()).set("options.consensus = '6780ms'")),
        ("fencing-timeout", TODAY, Severity::Warning, good.clone().set("fencing.timeout = '5s'"), good.clone()),
        ("fencing-timeout", TODAY, Severity::Warning,
            good.clone().set("fencing.timeout = '30s'\nfence_virtd.mode = 'cluster'\nplatform.host_cluster = true"), good.clone().set("fencing.timeout = '30s'")),
        ("fencing-timeout", TODAY, Severity::Unsafe, good.clone().set("fence.main.delay = '60s'"), good.clone().set("fence.main.delay = '5s'")),
        ("links", TODAY, Severity::Warning, kvm("sles 15 SP7"), kvm("sles 15 SP7").set(links)),
        ("udpu", DOCUMENT, Severity::Preview, kvm6().set("options.transport = 'udpu'"), kvm6().set("options.transport = 'udpu'\nguests.os = 'rhel 6.2'")),
        ("static-mac", TODAY, Severity::Note, crate::build::hyper_v(), good.clone()),
        ("links", TODAY, Severity::Note, good.clone(), good.clone().set(links)),
    ]
}

#[rustfmt::skip]
fn self_fencing() -> Vec<Case> {
    let good = kvm("debian 12");
    let rhel = |version: &str| sbd(of(3, kvm(&format!("rhel {version}"))), "");
    let soft = |os: &str| sbd(of(3, kvm(os)), "").set("guests.watchdog = 'softdog'");
    vec![
        ("sbd-diskless", TODAY, Severity::Unsafe, sbd(good.clone(), ""), sbd(of(3, good.clone()), "")),
        ("sbd-diskless", TODAY, Severity::Warning,
            sbd(good.clone(), "").set("options.quorum_device = { host = '10.9.9.9' }"),
            sbd(good.clone(), "").set("options.quorum_device = { host = '10.9.9.9' }\noptions.sbd.watchdog_timeout = '35s'")),
        ("sbd-watchdog", TODAY, Severity::Unsafe, sbd(of(3, good.clone()), "").set("guests.watchdog = 'none'"), sbd(of(3, good.clone()), "")),
        ("sbd-watchdog", TODAY, Severity::Unverified, sbd(of(3, good.clone()), "").without(&["guests.watchdog"]), sbd(of(3, good.clone()), "")),
        ("softdog", TODAY, Severity::Unsupported, soft("rhel 8.7"), rhel("8.7")),
        ("softdog", TODAY, Severity::Warning, soft("rhel 9.0"), rhel("9.0")),
        ("softdog", TODAY, Severity::Unsupported, soft("sles 16"), sbd(of(3, kvm("sles 16")), "")),
        ("softdog", TODAY, Severity::Warning, soft("sles 15 SP7"), sbd(of(3, kvm("sles 15 SP7")), "")),
        ("sbd-disks", TODAY, Severity::Unsupported, sbd(good.clone(), "'/dev/drbd0'"), sbd(good.clone(), DISK)),
        ("sbd-disks", TODAY, Severity::Warning, sbd(good.clone(), "'/dev/sdb'"), sbd(good.clone(), DISK)),
        ("sbd-times", TODAY, Severity::Unsafe,
            sbd(good.clone(), DISK).set("fencing.timeout = '11s'"), sbd(good.clone(), DISK).set("fencing.timeout = '12s'\noptions.sbd.watchdog_timeout = '5s'")),
        ("sbd-release", TODAY, Severity::Unsupported, rhel("7.0"), rhel("7.1")),
        ("sbd-release", TODAY, Severity::Unverified, rhel("10.0"), rhel("9.4")),
    ]
}

#[rustfmt::skip]
fn storages() -> Vec<Case> {
    let good = kvm("debian 12");
    let kubevirt = |version: &str| kvm("rhel 9.2").without(&["fence_virtd"]).set(&format!(
        "platform.kind = 'kubevirt'\nplatform.version = '{version}'\nfence.main.agent = 'fence_kubevirt'")).add(&storage("rwx-block"));
    let aws = |nodes| of(nodes, kvm("rhel 9.2").without(&["fence_virtd"]).set("platform.kind = 'aws'\nfence.main.agent = 'fence_aws'"))
        .add(&storage("shared-cloud-disk"));
    vec![
        ("image-shared", TODAY, Severity::Unsafe, good.clone().add(&storage("qcow2-image")), good.clone().add(&storage("raw-image"))),
        ("drbd", TODAY, Severity::Unsupported,
            of(3, good.clone()).add(&storage("drbd")).add(&GFS2.replace("shared']", "native']")), good.clone().add(&storage("drbd"))),
        ("drbd", TODAY, Severity::Warning, good.clone().add(&storage("drbd")).add(&GFS2.replace("shared']", "native']")), good.clone()),
        ("platform-version", TODAY, Severity::Unsupported, kubevirt("0.50"), kubevirt("0.51")),
        ("storage-paths", TODAY, Severity::Warning,
            good.clone().add(ISCSI).set("storage.shared.portals = ['10.9.0.30:3260', '10.9.0.31:3260']"),
            good.clone().add(ISCSI).set("storage.shared.portals = ['10.9.0.30:3260', '10.9.0.31:3260']\nstorage.shared.multipath = true")),
        ("storage-paths", TODAY, Severity::Warning, good.clone().add(ISCSI).set("storage.shared.multipath = true"), good.clone()),
        ("storage-outside", TODAY, Severity::Unsafe, good.clone().add(ISCSI).set("storage.shared.portals = ['10.9.0.2:3260']"), good.clone().add(ISCSI)),
        ("cloud-disk", TODAY, Severity::Unsupported, aws(17), aws(16)),
    ]
}

#[rustfmt::skip]
fn filesystems() -> Vec<Case> {
    let good = kvm("debian 12");
    let gfs2 = with_gfs2(good.clone());
    let local = with_local(good.clone());
    let more = ISCSI.replace("'shared'", "'more'").replace(":shared'", ":more'").replace("scsi-shared", "scsi-more");
    let mirrored = gfs2.set("volume.data.mirrors = 1\nvolume_group.vg.storage = ['shared', 'more']").add(&more);
    vec![
        ("gfs2-release", TODAY, Severity::Unsupported, with_gfs2(kvm("rhel 10.0")), with_gfs2(kvm("rhel 9.4"))),
        ("mirror-legs", TODAY, Severity::Warning, mirrored.clone().set("storage.more.target = 'iqn.2026-11.org.example:shared'\nstorage.more.lun = 1"), mirrored),
        ("storage-reach", TODAY, Severity::Warning, of(3, local.clone()).set("storage.shared.nodes = ['n1', 'n2']"), of(3, local)),
    ]
}

#[rustfmt::skip]
fn vmware() -> Vec<Case> {
    let scsi = by_scsi(vsphere()).without(&["storage"]).add(&storage("rdm-physical"))
        .set("storage.native.persistent_reservations = true\nstorage.native.preempt_and_abort = true");
    let writers = |nodes| of(nodes, vsphere()).add(&storage("multi-writer-vmdk"));
    vec![
        ("standalone-esxi", TODAY, Severity::Warning, vsphere().without(&["platform.manager"]).set("fence.main.agent = 'fence_vmware_soap'"), vsphere()),
        ("vmware-reservations", TODAY, Severity::Unsupported, of(6, scsi.clone()), of(5, scsi.clone())),
        ("vmware-reservations", TODAY, Severity::Unsupported, scsi.clone().set("platform.version = '6.7'"), scsi.clone()),
        ("vmware-reservations", TODAY, Severity::Unsupported, scsi.clone().set("guests.os = 'rhel 7.8'"), scsi.clone().set("guests.os = 'rhel 7.9'")),
        ("vmware-reservations", TODAY, Severity::Unverified, scsi.clone().set("guests.os = 'rhel 10.0'"), scsi),
        ("multi-writer", TODAY, Severity::Unsupported, writers(9), writers(8)),
        ("esxi-alike", TODAY, Severity::Warning, vsphere().set("host.h1.os = 'esxi 7.0u3'\nhost.h2.os = 'esxi 8.0'"),
            vsphere().set("host.h1.os = 'esxi 7.0u3'\nhost.h2.os = 'esxi 7.0u3'")),
    ]
}

fn cases() -> Vec<Case> {
    [
        fencing(),
        daemon(),
        reservations(),
        guests(),
        placement(),
        quorum(),
        timers(),
        self_fencing(),
        storages(),
        filesystems(),
        vmware(),
    ]
    .concat()
}

#[test]
fn every_rule_speaks_where_it_is_broken_and_is_silent_where_it_is_kept() {
    let mut wrong = Vec::new();
    for (number, (rule, edition, severity, broken, kept)) in cases().into_iter().enumerate() {
        let said = weight_of(&broken.check(edition), rule);
        if said != Some(severity) {
            wrong.push(format!(
                "case {number}, {rule}: {said:?} instead of {severity}"
            ));
        }
        let said = weight_of(&kept.check(edition), rule);
        if said >= Some(severity) {
            wrong.push(format!(
                "case {number}, {rule}: {said:?} although it is kept"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The weight of what a rule itself says; not of others that rest on the statement of its name.
fn weight_of(verdict: &platforms::Verdict, rule: &str) -> Option<Severity> {
    verdict
        .reasons
        .iter()
        .filter(|reason| reason.rule.as_str() == rule)
        .map(|reason| reason.severity)
        .max()
}

/// What no definition breaks, only what is seen of a cluster: their cases are in `live`.
const OF_WHAT_IS_SEEN: [&str; 1] = ["placement-seen"];

#[test]
fn every_rule_has_a_case() {
    let cases = cases();
    let missing: Vec<&str> = RULES
        .iter()
        .map(|rule| rule.id)
        .filter(|id| !cases.iter().any(|(rule, ..)| rule == id) && !OF_WHAT_IS_SEEN.contains(id))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn what_nobody_confirmed_is_never_supported() {
    for (_, edition, _, broken, kept) in cases() {
        for verdict in [broken.check(edition), kept.check(edition)] {
            let doubtful = verdict.reasons.iter().any(|reason| {
                reason.severity == Severity::Unsupported && !reason.source.confidence.is_evidence()
            });
            assert!(!doubtful, "{:#?}", verdict.reasons);
        }
    }
}

#[test]
fn every_reason_that_weighs_has_a_remedy_or_says_what_is_unknown() {
    for (_, edition, _, broken, _) in cases() {
        for reason in broken.check(edition).reasons {
            let heavy = reason.severity == Severity::Unsafe;
            assert!(!heavy || reason.remedy.is_some(), "{reason:#?}");
        }
    }
}

#[test]
fn a_statement_that_grants_weighs_no_more_than_its_level() {
    for (level, base) in all_of_the_document() {
        assert!(
            weight(&base.then(), level).is_some(),
            "{level} is not cited"
        );
    }
}
