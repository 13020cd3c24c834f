//! One test for every statement of the requirement document: a definition that violates it and one that
//! obeys it; or for a statement that permits something, a definition that is accepted because of it.

use cluster::VirtdMode;
use platforms::{Outcome, Severity};

use crate::build::{
    Cluster, ISCSI, MACHINE, all_of_the_document, allows, by_scsi, cluster, esx, forbids, grants,
    heaviest, hyper_v, kvm5, kvm6, objects, rhev, storage, weight, xen5,
};

#[test]
fn s01_a_definition_is_of_guests_and_their_services() {
    let definition = xen5()
        .add("[[service]]\nname = 'web'\nvirtual_ip = '10.9.0.100/24'\n")
        .definition();
    assert!(definition.nodes.iter().all(cluster::Node::is_guest));
    assert_eq!(definition.services.len(), 1);
}

#[test]
fn s02_rhel6_guests_encompass_resilient_storage() {
    let shared = "[[volume_group]]\nname = 'vg'\nstorage = ['shared']\nshared = true\n\
        [[volume]]\nname = 'data'\ngroup = 'vg'\nsize = '1GiB'\n\
        [[filesystem]]\nname = 'data'\nkind = 'gfs2'\nvolume = 'vg/data'\nmount = '/srv'\n";
    let six = kvm6().add(ISCSI).add(shared);
    grants("S02", &six);
    let five = six.set("guests.os = 'rhel 5.5'\nfence.main.agent = 'fence_xvm'");
    assert_eq!(
        weight(&five.then(), "resilient-storage"),
        Some(Severity::Unverified)
    );
    // The list is complete: what it does not name is not supported.
    let elsewhere = kvm6()
        .set("platform.kind = 'proxmox'")
        .without(&["fence_virtd"]);
    forbids("S02", &elsewhere, &kvm6());
}

#[test]
fn s03_xen_on_rhel_5_3_is_supported() {
    let verdict = xen5().then();
    assert!(
        verdict.outcome <= Outcome::SupportedWithWarnings,
        "{:#?}",
        verdict.reasons
    );
    forbids(
        "S03",
        &xen5().set("platform.os = 'rhel 5.2'"),
        &xen5().set("platform.os = 'rhel 5.3'"),
    );
    forbids(
        "S03",
        &xen5().set("guests.os = 'rhel 5.2'"),
        &xen5().set("guests.os = 'rhel 5.3'"),
    );
}

#[test]
fn s04_xen_guests_use_fence_xvm_or_fence_scsi() {
    forbids(
        "S04",
        &xen5().set("fence.main.agent = 'fence_virt'"),
        &xen5(),
    );
    allows("S04", &by_scsi(xen5()));
}

/// A level that succeeds ends the fencing: one without the demanded agent is objected to wherever it
/// stands, and other agents beside it in the same level are not.
#[track_caller]
fn every_level(statement: &str, cluster: &Cluster, demanded: &str, other: &str) {
    let of = |levels: &str| {
        cluster
            .clone()
            .add(&format!(
                "[[fence]]\nname = 'demanded'\nagent = '{demanded}'\n[[fence]]\nname = 'other'\nagent = '{other}'\n"
            ))
            .set(&format!("fencing.levels = {levels}"))
    };
    let together = of("[['demanded', 'other']]");
    for weaker in [
        "[['other'], ['demanded']]",
        "[['demanded'], ['other']]",
        "[['demanded', 'other'], ['other']]",
    ] {
        forbids(statement, &of(weaker), &together);
    }
    allows(statement, &of("[['demanded'], ['demanded', 'other']]"));
}

#[test]
fn s05_fence_xvm_on_xen_needs_a_host_cluster_and_all_guests() {
    forbids("S05", &xen5().set("platform.host_cluster = false"), &xen5());
    forbids(
        "S05",
        &xen5().set("fence_virtd.program = 'fence_virtd'"),
        &xen5(),
    );
    let mixed = xen5()
        .add(ISCSI)
        .add("[[fence]]\nname = 'scsi'\nagent = 'fence_scsi'\n")
        .set("node.n2.levels = [['scsi']]");
    forbids("S05", &mixed, &by_scsi(xen5()));
    every_level("S05", &xen5(), "fence_xvm", "fence_ipmilan");
}

#[test]
fn s06_xen_shares_iscsi_or_block_devices() {
    for kind in ["xen-block", "host-block", "raw-image"] {
        grants("S06", &xen5().add(&storage(kind)));
    }
    allows("S06", &xen5().add(ISCSI));
    forbids("S06", &xen5().add(&storage("rdm-physical")), &xen5());
    assert_eq!(
        xen5().add(&storage("qcow2-image")).then().outcome,
        Outcome::Unsafe
    );
}

#[test]
fn s07_kvm_on_rhel_5_4_is_a_technology_preview() {
    assert_eq!(kvm5().then().outcome, Outcome::TechnologyPreview);
    forbids(
        "S07",
        &kvm5().set("platform.os = 'rhel 5.3'"),
        &kvm5().set("platform.os = 'rhel 5.4'"),
    );
    forbids(
        "S07",
        &kvm5().set("guests.os = 'rhel 5.3'"),
        &kvm5().set("guests.os = 'rhel 5.4'"),
    );
}

#[test]
fn s08_kvm5_guests_use_fence_xvm_or_fence_scsi() {
    forbids(
        "S08",
        &kvm5().set("fence.main.agent = 'fence_virt'"),
        &kvm5(),
    );
    allows("S08", &by_scsi(kvm5()));
}

#[test]
fn s09_fence_xvm_on_kvm5_needs_a_host_cluster_and_all_guests() {
    forbids("S09", &kvm5().set("platform.host_cluster = false"), &kvm5());
    forbids("S09", &kvm5().without(&["fence_virtd"]), &kvm5());
    let mixed = kvm5()
        .add(ISCSI)
        .add("[[fence]]\nname = 'scsi'\nagent = 'fence_scsi'\n")
        .set("node.n2.levels = [['scsi']]");
    forbids("S09", &mixed, &by_scsi(kvm5()));
    every_level("S09", &kvm5(), "fence_xvm", "fence_ipmilan");
}

#[test]
fn s10_kvm5_shares_iscsi_or_block_devices() {
    for kind in ["host-block", "raw-image"] {
        grants("S10", &kvm5().add(&storage(kind)));
    }
    allows("S10", &kvm5().add(ISCSI));
    forbids("S10", &kvm5().add(&storage("rdm-physical")), &kvm5());
}

#[test]
fn s11_kvm5_stays_a_technology_preview() {
    grants("S11", &kvm5());
    // Newer RHEL 5 does not leave the preview.
    assert_eq!(
        kvm5().set("platform.os = 'rhel 5.11'").then().outcome,
        Outcome::TechnologyPreview
    );
}

#[test]
fn s12_kvm_on_rhel_6_takes_rhel_6_0_and_5_5_guests() {
    assert_eq!(
        kvm6().set("guests.os = 'rhel 6.0'").then().outcome,
        Outcome::TechnologyPreview
    );
    let five = kvm6().set("fence.main.agent = 'fence_xvm'\nguests.os = 'rhel 5.5'");
    assert_eq!(
        five.then().outcome,
        Outcome::TechnologyPreview,
        "{:#?}",
        five.then().reasons
    );
    forbids("S12", &five.clone().set("guests.os = 'rhel 5.4'"), &five);
}

#[test]
fn s13_kvm6_guests_are_homogeneous() {
    forbids("S13", &kvm6().set("node.n2.os = 'rhel 5.5'"), &kvm6());
    allows("S13", &kvm6().set("node.n2.os = 'rhel 6.0'"));
}

#[test]
fn s14_kvm6_mixes_with_bare_metal() {
    grants("S14", &kvm6().add(MACHINE));
    // The document grants it on three platforms and is silent on the others.
    for silent in [xen5(), kvm5(), hyper_v()] {
        let verdict = silent.add(MACHINE).then();
        assert_eq!(weight(&verdict, "bare-metal"), Some(Severity::Unverified));
    }
}

#[test]
fn s15_rhel5_guests_on_kvm6_use_fence_xvm_or_fence_scsi() {
    let five = kvm6().set("guests.os = 'rhel 5.5'\nfence.main.agent = 'fence_xvm'");
    forbids(
        "S15",
        &five.clone().set("fence.main.agent = 'fence_virt'"),
        &five,
    );
    allows("S15", &by_scsi(five));
}

#[test]
fn s16_rhel6_guests_on_kvm6_use_fence_virt_or_fence_scsi() {
    forbids(
        "S16",
        &kvm6().set("fence.main.agent = 'fence_xvm'"),
        &kvm6(),
    );
    allows("S16", &by_scsi(kvm6()));
}

#[test]
fn s17_rhel6_hosts_run_fence_virtd() {
    forbids("S17", &kvm6().without(&["fence_virtd"]), &kvm6());
    forbids(
        "S17",
        &kvm6().set("fence_virtd.program = 'fence_xvmd'"),
        &kvm6(),
    );
    let five = kvm6().set("guests.os = 'rhel 5.5'\nfence.main.agent = 'fence_xvm'");
    forbids("S17", &five.clone().without(&["fence_virtd"]), &five);
    allows("S17", &by_scsi(kvm6()));
}

#[test]
fn s18_fence_virtd_has_three_modes() {
    for (written, mode) in [
        ("standalone", VirtdMode::Standalone),
        ("checkpoint", VirtdMode::Cluster),
        ("qmf", VirtdMode::Bus),
    ] {
        let definition = kvm6()
            .set(&format!("fence_virtd.mode = '{written}'"))
            .definition();
        assert_eq!(definition.fence_virtd.expect("a daemon").mode, mode);
    }
    let fourth = kvm6().set("fence_virtd.mode = 'telepathy'").text();
    assert!(cluster::Definition::parse("test.toml", &fourth).is_err());
}

#[test]
fn s19_standalone_mode_forbids_live_migration() {
    let moving = kvm6().set("platform.live_migration = true");
    forbids("S19", &moving, &kvm6());
    assert_eq!(moving.then().outcome, Outcome::Unsafe);
    allows(
        "S19",
        &moving
            .clone()
            .set("fence_virtd.mode = 'cluster'\nplatform.host_cluster = true"),
    );
    allows("S19", &by_scsi(moving));
}

#[test]
fn s20_checkpoint_mode_needs_a_host_cluster() {
    let tracked = kvm6().set("fence_virtd.mode = 'checkpoint'\nplatform.live_migration = true");
    forbids(
        "S20",
        &tracked,
        &tracked.clone().set("platform.host_cluster = true"),
    );
}

#[test]
fn s21_bus_mode_follows_migrations_without_a_host_cluster() {
    let bus = kvm6().set("fence_virtd.mode = 'bus'\nplatform.live_migration = true");
    grants("S21", &bus);
    assert_eq!(
        bus.then().outcome,
        Outcome::TechnologyPreview,
        "{:#?}",
        bus.then().reasons
    );
}

#[test]
fn s22_kvm6_shares_iscsi_or_block_devices() {
    for kind in ["host-block", "raw-image"] {
        grants("S22", &kvm6().add(&storage(kind)));
    }
    allows("S22", &kvm6().add(ISCSI));
    forbids("S22", &kvm6().add(&storage("rdm-physical")), &kvm6());
    assert_eq!(
        kvm6().add(&storage("qcow2-image")).then().outcome,
        Outcome::Unsafe
    );
}

#[test]
fn s23_kvm6_is_a_technology_preview() {
    grants("S23", &kvm6());
    assert_eq!(kvm6().then().outcome, Outcome::TechnologyPreview);
}

#[test]
fn s24_rhev_is_not_supported() {
    assert!(objects(&rhev().then(), "S24"));
    assert_eq!(rhev().then().outcome, Outcome::Unsupported);
    assert_eq!(
        rhev().set("guests.os = 'rhel 6.0'").then().outcome,
        Outcome::Unsupported
    );
}

#[test]
fn s25_rhev_guests_are_homogeneous() {
    forbids("S25", &rhev().set("node.n2.os = 'rhel 6.0'"), &rhev());
}

#[test]
fn s26_rhev_mixes_with_bare_metal() {
    grants("S26", &rhev().add(MACHINE));
}

#[test]
fn s27_rhev_guests_use_fence_rhev_from_rhel_5_6() {
    forbids("S27", &rhev().set("guests.os = 'rhel 5.5'"), &rhev());
    allows("S27", &by_scsi(rhev().set("guests.os = 'rhel 5.5'")));
    forbids(
        "S27",
        &rhev().set("fence.main.agent = 'fence_xvm'"),
        &rhev(),
    );
}

#[test]
fn s28_rhev_guests_may_use_fence_scsi() {
    grants("S28", &by_scsi(rhev()));
}

#[test]
fn s29_rhev_guests_are_pinned() {
    forbids("S29", &rhev().set("node.n2.pinned = false"), &rhev());
    forbids(
        "S29",
        &rhev().without(&["node.n1.host", "node.n1.pinned"]),
        &rhev(),
    );
}

#[test]
fn s30_rhev_shares_iscsi_with_fence_scsi() {
    forbids("S30", &rhev().add(ISCSI), &by_scsi(rhev()));
    forbids(
        "S30",
        &by_scsi(rhev()).add(&storage("direct-lun")),
        &by_scsi(rhev()),
    );
    // Nothing shared, nothing asked.
    allows("S30", &rhev());
    every_level("S30", &by_scsi(rhev()), "fence_scsi", "fence_rhevm");
}

#[test]
fn s31_rhev_support_is_planned() {
    let verdict = rhev().then();
    let planned = heaviest(&verdict, "S31").expect("cited");
    assert!(planned.message.contains("planned"), "{}", planned.message);
    assert_eq!(verdict.outcome, Outcome::Unsupported);
}

#[test]
fn s32_vmware_takes_rhel_5_4_and_6_0_guests() {
    assert_eq!(
        esx().then().outcome,
        Outcome::TechnologyPreview,
        "{:#?}",
        esx().then().reasons
    );
    assert_eq!(
        esx().set("guests.os = 'rhel 5.4'").then().outcome,
        Outcome::TechnologyPreview
    );
    forbids("S32", &esx().set("guests.os = 'rhel 5.3'"), &esx());
}

#[test]
fn s33_vmware_guests_are_homogeneous() {
    forbids("S33", &esx().set("node.n2.os = 'rhel 5.4'"), &esx());
}

#[test]
fn s34_vmware_mixes_with_bare_metal() {
    grants("S34", &esx().add(MACHINE));
}

#[test]
fn s35_standalone_esx_is_a_technology_preview() {
    let verdict = esx().then();
    assert_eq!(weight(&verdict, "S35"), Some(Severity::Preview));
    assert_eq!(verdict.outcome, Outcome::TechnologyPreview);
}

#[test]
fn s36_managed_esx_is_a_technology_preview() {
    for manager in ["vcenter", "virtual-center"] {
        let managed = esx().set(&format!(
            "platform.manager = {{ kind = '{manager}', version = '4.0' }}"
        ));
        assert_eq!(
            weight(&managed.then(), "S36"),
            Some(Severity::Preview),
            "{manager}"
        );
    }
}

#[test]
fn s37_fence_vmware_needs_the_vendors_apis() {
    let verdict = esx().then();
    let note = heaviest(&verdict, "S37").expect("a note");
    assert!(
        note.severity <= Severity::Preview && note.message.contains("Perl"),
        "{}",
        note.message
    );
    assert!(weight(&by_scsi(esx()).then(), "S37").is_none());
}

#[test]
fn s38_vmware_guests_may_use_fence_scsi() {
    grants("S38", &by_scsi(esx()));
}

#[test]
fn s39_vmware_shares_iscsi_or_raw_devices() {
    for kind in ["rdm-physical", "rdm-virtual"] {
        grants("S39", &esx().add(&storage(kind)));
    }
    allows("S39", &esx().add(ISCSI));
    forbids("S39", &esx().add(&storage("multi-writer-vmdk")), &esx());
}

#[test]
fn s40_vmware_is_a_preview_with_these_agents_only() {
    forbids(
        "S40",
        &esx().set("fence.main.agent = 'fence_virsh'"),
        &esx(),
    );
    assert_eq!(by_scsi(esx()).then().outcome, Outcome::TechnologyPreview);
}

#[test]
fn s41_older_vmware_is_not_in_the_list() {
    for older in ["3.5", "3.0"] {
        let verdict = esx().set(&format!("platform.version = '{older}'")).then();
        assert!(
            verdict.outcome >= Outcome::Unsupported,
            "{older}: {:#?}",
            verdict.reasons
        );
    }
}

#[test]
fn s42_esx_is_4_0_or_newer() {
    forbids(
        "S42",
        &esx().set("platform.version = '3.5'"),
        &esx().set("platform.version = '4.1'"),
    );
}

#[test]
fn s43_vcenter_is_4_0_or_newer() {
    let managed = esx().set("platform.manager = { kind = 'vcenter', version = '4.0' }");
    let old = managed
        .clone()
        .set("platform.manager = { kind = 'vcenter', version = '2.5' }");
    forbids("S43", &old, &managed);
}

#[test]
fn s44_hyper_v_has_no_agent_of_its_own() {
    let native = hyper_v()
        .set("fence.main.agent = 'fence_hyperv'\nfence.main.options = { ip = 'h1.example.org' }");
    forbids("S44", &native, &hyper_v());
    forbids(
        "S44",
        &hyper_v().set("guests.os = 'rhel 5.2'"),
        &hyper_v().set("guests.os = 'rhel 5.3'"),
    );
}

#[test]
fn s45_hyper_v_guests_may_use_fence_scsi() {
    grants("S45", &hyper_v());
}

#[test]
fn s46_hyper_v_shares_iscsi() {
    grants("S46", &hyper_v());
    forbids("S46", &hyper_v().add(&storage("shared-vhdx")), &hyper_v());
}

#[test]
fn s47_hyper_v_is_unsupported() {
    assert!(objects(&hyper_v().then(), "S47"));
    assert_eq!(hyper_v().then().outcome, Outcome::Unsupported);
}

#[test]
fn s48_fence_scsi_with_iscsi_is_a_way_of_its_own() {
    // On a platform whose own agent and storage are something else.
    let verdict = by_scsi(kvm6()).then();
    assert_eq!(
        verdict.outcome,
        Outcome::TechnologyPreview,
        "{:#?}",
        verdict.reasons
    );
}

#[test]
fn s49_fence_scsi_and_iscsi_everywhere() {
    for (level, native) in all_of_the_document() {
        let before = weight(&native.then(), level);
        let verdict = by_scsi(native).then();
        assert_eq!(weight(&verdict, level), before, "{level}");
        let about_agent_or_storage = verdict.reasons.iter().find(|reason| {
            let subject = reason.subject.as_deref().unwrap_or_default();
            reason.severity > Severity::Preview
                && (subject.starts_with("fence") || subject.starts_with("storage"))
        });
        assert!(
            about_agent_or_storage.is_none(),
            "{level}: {about_agent_or_storage:#?}"
        );
    }
}

#[test]
fn s50_the_target_does_preempt_and_abort() {
    let good = by_scsi(kvm6());
    allows("S50", &good);
    let unknown = good.clone().without(&["storage"]).add(
        "[[storage]]\nname = 'shared'\nkind = 'iscsi'\ntarget = 'iqn.2026-11.org.example:shared'\nportals = ['10.9.0.30:3260']\n",
    );
    let verdict = unknown.then();
    let reason = heaviest(&verdict, "S50").expect("a reason");
    assert_eq!(reason.severity, Severity::Unverified);
    assert!(
        reason
            .remedy
            .as_deref()
            .unwrap_or_default()
            .contains("picket storage probe")
    );
    for lacking in ["storage.shared.persistent_reservations = false\n", ""] {
        let no_abort = "storage.shared.preempt_and_abort = false";
        let lacking = good.clone().set(&format!("{lacking}{no_abort}"));
        assert_eq!(weight(&lacking.then(), "S50"), Some(Severity::Unsafe));
    }
    // With another agent nobody asks.
    allows(
        "S50",
        &kvm6()
            .add(ISCSI)
            .set("storage.shared.preempt_and_abort = false"),
    );
}

#[test]
fn s51_the_old_rhel_target_is_not_for_fence_scsi() {
    for server in ["rhel-tgtd", "tgt"] {
        let old = by_scsi(esx()).set(&format!("storage.shared.server = '{server}'"));
        forbids("S51", &old, &by_scsi(esx()));
        assert_eq!(old.then().outcome, Outcome::Unsafe);
        let other_agent = esx()
            .add(ISCSI)
            .set(&format!("storage.shared.server = '{server}'"));
        grants("S51", &other_agent);
    }
}

#[test]
fn s52_fence_scsi_on_all_guests_needs_no_host_cluster() {
    for native in [xen5(), kvm5(), kvm6()] {
        let alone = by_scsi(native).set("platform.host_cluster = false");
        grants("S52", &alone);
        for needs in ["S05", "S09", "S20"] {
            allows(needs, &alone);
        }
    }
    // One guest that is fenced in another way, and the hosts need their cluster again.
    let mixed = by_scsi(xen5())
        .add("[[fence]]\nname = 'xvm'\nagent = 'fence_xvm'\n")
        .set("node.n2.levels = [['xvm']]\nplatform.host_cluster = false");
    assert!(weight(&mixed.then(), "S52").is_none());
    assert!(objects(&mixed.then(), "S05"));
}

#[test]
fn s53_fence_scsi_allows_iscsi_only() {
    let mixed = by_scsi(kvm6()).add(&storage("host-block"));
    forbids("S53", &mixed, &by_scsi(kvm6()));
    assert_eq!(mixed.then().outcome, Outcome::Unsafe);
    // The same storage is granted where the guests are switched off instead.
    allows("S53", &kvm6().add(ISCSI).add(&storage("host-block")));
    let native = cluster(&mixed.text()).without(&["storage.shared"]);
    assert!(objects(&native.then(), "S53"));
}
