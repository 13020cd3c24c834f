//! The statements of the requirement document: each in our words, with what enforces it and the test
//! that shows it.
//!
//! What enforces a statement is not written down here: it is every row of the matrix and every rule that
//! cites it. So the list cannot promise what nothing does.

use std::fmt::Write as _;

use crate::edition::Edition;
use crate::matrix::{Matrix, Row, Sheet};
use crate::rule::{MATRIX_RULES, Rule};
use crate::rules::RULES;

/// One statement of the requirement document.
#[derive(Debug)]
#[non_exhaustive]
pub struct Statement {
    /// Its number: "S19".
    pub id: &'static str,
    /// What it says, in our words.
    pub text: &'static str,
    /// For a statement that nothing can violate: why not.
    pub context: Option<&'static str>,
    /// The test that shows that it holds, in `tests/suite/statements.rs`.
    pub test: &'static str,
}

const fn statement(id: &'static str, text: &'static str, test: &'static str) -> Statement {
    Statement {
        id,
        text,
        context: None,
        test,
    }
}

const fn context(
    id: &'static str,
    text: &'static str,
    why: &'static str,
    test: &'static str,
) -> Statement {
    Statement {
        id,
        text,
        context: Some(why),
        test,
    }
}

/// All statements, in order.
pub const STATEMENTS: &[Statement] = &[
    context(
        "S01",
        "the clustering runs inside guests, and keeps applications in them available",
        "says what the document is about; the definition has guests and services",
        "s01_a_definition_is_of_guests_and_their_services",
    ),
    statement(
        "S02",
        "the list of platforms that follows is what is supported; RHEL 6 guests include GFS2, clustered LVM and mirrors",
        "s02_rhel6_guests_encompass_resilient_storage",
    ),
    statement(
        "S03",
        "RHEL 5.3+ Xen hosts fully support guests of RHEL 5.3+",
        "s03_xen_on_rhel_5_3_is_supported",
    ),
    statement(
        "S04",
        "on Xen, fence_xvm or fence_scsi",
        "s04_xen_guests_use_fence_xvm_or_fence_scsi",
    ),
    statement(
        "S05",
        "on Xen, fence_xvm needs a host cluster for fence_xvmd, and is then the agent of all clustered guests",
        "s05_fence_xvm_on_xen_needs_a_host_cluster_and_all_guests",
    ),
    statement(
        "S06",
        "on Xen, iSCSI or Xen shared block devices, on host block storage or raw images",
        "s06_xen_shares_iscsi_or_block_devices",
    ),
    statement(
        "S07",
        "RHEL 5.4+ KVM hosts with guests of RHEL 5.4+ are a technology preview",
        "s07_kvm_on_rhel_5_4_is_a_technology_preview",
    ),
    statement(
        "S08",
        "on RHEL 5 KVM hosts, fence_xvm or fence_scsi",
        "s08_kvm5_guests_use_fence_xvm_or_fence_scsi",
    ),
    statement(
        "S09",
        "on RHEL 5 KVM hosts, fence_xvm needs a host cluster for fence_xvmd, and is then the agent of all clustered guests",
        "s09_fence_xvm_on_kvm5_needs_a_host_cluster_and_all_guests",
    ),
    statement(
        "S10",
        "on RHEL 5 KVM hosts, iSCSI or KVM shared block devices, on host block storage or raw images",
        "s10_kvm5_shares_iscsi_or_block_devices",
    ),
    statement(
        "S11",
        "RHEL 5 KVM hosts stay a technology preview: RHEL 6 hosts are being tested instead",
        "s11_kvm5_stays_a_technology_preview",
    ),
    statement(
        "S12",
        "RHEL 6.0+ KVM hosts with guests of RHEL 6.0+ or RHEL 5.5+ are a technology preview",
        "s12_kvm_on_rhel_6_takes_rhel_6_0_and_5_5_guests",
    ),
    statement(
        "S13",
        "on RHEL 6 KVM hosts the guests are all RHEL 5.5+ or all RHEL 6.0+",
        "s13_kvm6_guests_are_homogeneous",
    ),
    statement(
        "S14",
        "on RHEL 6 KVM hosts, bare-metal nodes may mix with guests",
        "s14_kvm6_mixes_with_bare_metal",
    ),
    statement(
        "S15",
        "RHEL 5.5+ guests on RHEL 6 KVM hosts use fence_xvm or fence_scsi",
        "s15_rhel5_guests_on_kvm6_use_fence_xvm_or_fence_scsi",
    ),
    statement(
        "S16",
        "RHEL 6.0+ guests on RHEL 6 KVM hosts use fence_virt or fence_scsi",
        "s16_rhel6_guests_on_kvm6_use_fence_virt_or_fence_scsi",
    ),
    statement(
        "S17",
        "RHEL 6 KVM hosts run fence_virtd when guests use fence_virt or fence_xvm, and need not with fence_scsi",
        "s17_rhel6_hosts_run_fence_virtd",
    ),
    context(
        "S18",
        "fence_virtd has three modes",
        "the definition knows these three and no fourth; S19 to S21 say what each demands",
        "s18_fence_virtd_has_three_modes",
    ),
    statement(
        "S19",
        "standalone mode: hosts and guests are mapped by hand, and live migration is not allowed",
        "s19_standalone_mode_forbids_live_migration",
    ),
    statement(
        "S20",
        "checkpoint mode follows live migrations, and needs a host cluster",
        "s20_checkpoint_mode_needs_a_host_cluster",
    ),
    statement(
        "S21",
        "QMF mode follows live migrations without a host cluster",
        "s21_bus_mode_follows_migrations_without_a_host_cluster",
    ),
    statement(
        "S22",
        "on RHEL 6 KVM hosts, iSCSI or KVM shared block devices, on host block storage or raw images",
        "s22_kvm6_shares_iscsi_or_block_devices",
    ),
    statement(
        "S23",
        "RHEL 6 KVM hosts are a technology preview; full support is being worked on",
        "s23_kvm6_is_a_technology_preview",
    ),
    statement(
        "S24",
        "RHEV-M does not currently support clustered guests of RHEL 5.5+ or RHEL 6.0+",
        "s24_rhev_is_not_supported",
    ),
    statement(
        "S25",
        "on RHEV the guests are all RHEL 5.5+ or all RHEL 6.0+",
        "s25_rhev_guests_are_homogeneous",
    ),
    statement(
        "S26",
        "on RHEV, bare-metal nodes may mix with guests",
        "s26_rhev_mixes_with_bare_metal",
    ),
    statement(
        "S27",
        "on RHEV the agent will be fence_rhev, which ships in RHEL 5.6",
        "s27_rhev_guests_use_fence_rhev_from_rhel_5_6",
    ),
    statement(
        "S28",
        "on RHEV, fence_scsi in its place",
        "s28_rhev_guests_may_use_fence_scsi",
    ),
    statement(
        "S29",
        "RHEV keeps no guests apart at first: pin clustered guests to hosts",
        "s29_rhev_guests_are_pinned",
    ),
    statement(
        "S30",
        "RHEV shares no block storage at first: if storage is shared, iSCSI and fence_scsi",
        "s30_rhev_shares_iscsi_with_fence_scsi",
    ),
    statement(
        "S31",
        "support for RHEV guests is planned, and not there yet",
        "s31_rhev_support_is_planned",
    ),
    statement(
        "S32",
        "VMware ESX 4.0+ with guests of RHEL 5.4+ or RHEL 6.0+ is a technology preview",
        "s32_vmware_takes_rhel_5_4_and_6_0_guests",
    ),
    statement(
        "S33",
        "on VMware the guests are all RHEL 5.4+ or all RHEL 6.0+",
        "s33_vmware_guests_are_homogeneous",
    ),
    statement(
        "S34",
        "on VMware, bare-metal nodes may mix with guests",
        "s34_vmware_mixes_with_bare_metal",
    ),
    statement(
        "S35",
        "standalone ESX 4.0+ hosts are a technology preview",
        "s35_standalone_esx_is_a_technology_preview",
    ),
    statement(
        "S36",
        "ESX 4.0+ hosts under vSphere or Virtual Center are a technology preview as well",
        "s36_managed_esx_is_a_technology_preview",
    ),
    statement(
        "S37",
        "the vendor's fence_vmware needs VMware's Perl APIs in the guests",
        "s37_fence_vmware_needs_the_vendors_apis",
    ),
    statement(
        "S38",
        "on VMware, fence_scsi in its place",
        "s38_vmware_guests_may_use_fence_scsi",
    ),
    statement(
        "S39",
        "on VMware, iSCSI or raw shared block devices",
        "s39_vmware_shares_iscsi_or_raw_devices",
    ),
    statement(
        "S40",
        "VMware with fence_vmware or fence_scsi is a technology preview",
        "s40_vmware_is_a_preview_with_these_agents_only",
    ),
    context(
        "S41",
        "the versions of VMware that count follow",
        "introduces S42 and S43, which enforce it",
        "s41_older_vmware_is_not_in_the_list",
    ),
    statement("S42", "ESX and ESXi 4.0+", "s42_esx_is_4_0_or_newer"),
    statement("S43", "vCenter 4.0+", "s43_vcenter_is_4_0_or_newer"),
    statement(
        "S44",
        "Hyper-V runs RHEL 5.3+ and RHEL 6.0+ guests, and has no fencing agent",
        "s44_hyper_v_has_no_agent_of_its_own",
    ),
    statement(
        "S45",
        "on Hyper-V, fence_scsi can be the agent",
        "s45_hyper_v_guests_may_use_fence_scsi",
    ),
    statement("S46", "on Hyper-V, iSCSI", "s46_hyper_v_shares_iscsi"),
    statement(
        "S47",
        "guest clusters on Hyper-V are unsupported",
        "s47_hyper_v_is_unsupported",
    ),
    context(
        "S48",
        "fence_scsi with iSCSI storage: the section that follows",
        "a heading; S49 to S53 enforce it",
        "s48_fence_scsi_with_iscsi_is_a_way_of_its_own",
    ),
    statement(
        "S49",
        "on all these platforms fence_scsi and iSCSI can take the place of native agents and storage",
        "s49_fence_scsi_and_iscsi_everywhere",
    ),
    statement(
        "S50",
        "fence_scsi needs a target with persistent reservations and preempt and abort: ask the vendor",
        "s50_the_target_does_preempt_and_abort",
    ),
    statement(
        "S51",
        "the iSCSI server of RHEL cannot be used with fence_scsi, and can with other agents",
        "s51_the_old_rhel_target_is_not_for_fence_scsi",
    ),
    statement(
        "S52",
        "with fence_scsi on all guests no host cluster is required",
        "s52_fence_scsi_on_all_guests_needs_no_host_cluster",
    ),
    statement(
        "S53",
        "with fence_scsi all shared storage is over iSCSI, without a mix",
        "s53_fence_scsi_allows_iscsi_only",
    ),
];

/// The statement of that number.
#[must_use]
pub fn statement_of(id: &str) -> Option<&'static Statement> {
    STATEMENTS
        .iter()
        .find(|statement| statement.id.eq_ignore_ascii_case(id))
}

impl Statement {
    /// The rows of the matrix that cite it, by their ids and titles.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let id = self.id;
        sheets().flat_map(move |sheet| {
            let rows = sheet.rows.iter().filter(move |row| cites(sheet, row, id));
            rows.map(|row| (row.id.as_str(), row.title.as_str()))
        })
    }

    /// What it grants on every platform, in the sheet about all of them.
    #[must_use]
    pub fn is_common(&self) -> bool {
        Matrix::load(Edition::Document)
            .common()
            .any(|sheet| cites_common(sheet, self.id))
    }

    /// The rules that enforce it.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        let id = self.id;
        MATRIX_RULES
            .iter()
            .chain(RULES)
            .filter(move |rule| rule.statements.contains(&id))
    }
}

fn sheets() -> impl Iterator<Item = &'static Sheet> {
    cluster::PlatformKind::ALL
        .into_iter()
        .flat_map(|platform| Matrix::load(Edition::Document).sheets(platform))
}

/// Whether a sheet about all platforms grants something by that statement.
fn cites_common(sheet: &Sheet, id: &str) -> bool {
    let agents = sheet.agents.iter().map(|agents| &agents.source);
    let storage = sheet.storage.iter().map(|storage| &storage.source);
    agents.chain(storage).any(|source| source == id)
}

/// Whether a row, or what its sheet grants to all its rows, rests on a statement.
fn cites(sheet: &Sheet, row: &Row, id: &str) -> bool {
    let lists = [
        &row.agents_rule,
        &row.storage_rule,
        &row.homogeneous,
        &row.bare_metal,
    ];
    let conditions = [
        Some(&row.guests.source),
        row.hosts.as_ref().map(|hosts| &hosts.source),
        row.product.as_ref().map(|product| &product.source),
        row.manager.as_ref().map(|manager| &manager.source),
    ];
    let mut cited = row
        .sources
        .iter()
        .chain(lists.into_iter().flatten())
        .chain(conditions.into_iter().flatten())
        .chain(row.agents.iter().map(|agents| &agents.source))
        .chain(row.storage.iter().map(|storage| &storage.source))
        .chain(row.notes.iter().map(|note| &note.source));
    cited.any(|source| source == id) || cites_common(sheet, id)
}

/// The list of statements as a document in Markdown.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# The requirement document's statements, and what enforces them\n\
         \n\
         Generated from `crates/platforms`; a test fails when this page and the code differ. To write it anew:\n\
         `UPDATE=1 cargo test -p platforms --test suite`.\n\
         \n\
         *Row* is a row of the platform matrix (`picket platforms`), *rule* one of the rules (`picket explain RULE`).\n\
         Both are applied by `picket check --edition document`. The tests are in `crates/platforms/tests/suite/statements.rs`.\n\
         \n\
         | | in short | enforced by | test |\n\
         |---|---|---|---|\n",
    );
    for statement in STATEMENTS {
        let _ = writeln!(
            text,
            "| {} | {} | {} | `{}` |",
            statement.id,
            statement.text,
            enforced(statement),
            statement.test
        );
    }
    text
}

/// What enforces a statement, in a few words.
fn enforced(statement: &Statement) -> String {
    let mut by: Vec<String> = Vec::new();
    let rows: Vec<String> = statement.rows().map(|(id, _)| format!("`{id}`")).collect();
    if !rows.is_empty() {
        let noun = if rows.len() == 1 { "row" } else { "rows" };
        by.push(format!("{noun} {}", rows.join(", ")));
    }
    if statement.is_common() {
        by.push("the rows of every platform".to_owned());
    }
    by.extend(statement.rules().map(|rule| format!("rule `{}`", rule.id)));
    if let Some(why) = statement.context {
        by.push(format!("context: {why}"));
    }
    by.join("; ")
}
