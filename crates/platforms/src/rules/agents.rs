//! What single fencing agents need, beyond what the matrix allows them.

use super::view::{Chapter, Vendor};
use super::{ALWAYS, DOCUMENT, TODAY, judged, list, place, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const S27: Rule = Rule {
    id: "S27",
    title: "fence_rhev comes with RHEL 5.6",
    editions: DOCUMENT,
    statements: &["S27"],
    sources: &["S27"],
    explanation: "The agent that asks RHEV-M is announced for the time when RHEV guests are supported, and ships in \
        RHEL 5.6. Older RHEL 5 guests do not have it: fence them with fence_scsi (S28), or update them. Upstream \
        and later releases call the agent fence_rhevm; Picket's answers to both names.",
    check: |facts, out| {
        for node in facts.guests() {
            let rhev = facts
                .devices_of(node)
                .into_iter()
                .find(|device| matches!(device.agent.as_str(), "fence_rhev" | "fence_rhevm"));
            let old = facts
                .os(node)
                .filter(|os| os.is("rhel") && os.version.major() == 5 && os.version.minor() < 6);
            if let (Some(device), Some(os)) = (rhev, old) {
                out.push(
                    reason(
                        S27.id,
                        Severity::Unsupported,
                        "S27",
                        format!(
                            "{} ships with RHEL 5.6, and `{}` runs {os}",
                            device.agent, node.name
                        ),
                    )
                    .about(place("node", &node.name))
                    .remedy("update the guests to RHEL 5.6, or fence them with fence_scsi"),
                );
            }
        }
    },
};

pub(super) const COMMUNITY: Rule = Rule {
    id: "snmp-community",
    title: "an SNMP community is a password that everybody on a node can read",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "Who knows the community that may write can switch the device's outlets. Agents take passwords from \
        a script that prints a file, and have no such script for a community: it stands in Pacemaker's \
        configuration on every node, and among the arguments of the SNMP programs while they run. It also \
        crosses the network in clear. SNMP version 3 has passwords instead, which can be secrets.",
    check: |facts, out| {
        for device in &facts.definition.fence_devices {
            let community = device
                .options
                .keys()
                .find(|name| name.as_str() == "community");
            if community.is_none() || !facts.is_used(device) {
                continue;
            }
            out.push(
                judged(
                    COMMUNITY.id,
                    Severity::Warning,
                    "no agent takes a community from a script or a file",
                    format!(
                        "the community of `{}` stands in clear in Pacemaker's configuration on every node",
                        device.name
                    ),
                )
                .about(place("fence", &device.name))
                .remedy(
                    "if the device speaks SNMP version 3, use it with `secrets = { password = …, snmp_priv_passwd = … }`; \
                     else let the device answer to the nodes only, over a network of its own",
                ),
            );
        }
    },
};

pub(super) const S37: Rule = Rule {
    id: "S37",
    title: "the vendor's fence_vmware needs VMware's Perl APIs in the guests",
    editions: DOCUMENT,
    statements: &["S37"],
    sources: &["S37"],
    explanation: "The agent of that name in RHEL 5 and 6 works through VMware's own Perl programming interface, which \
        must be downloaded from VMware and installed in every clustered guest. Picket's fence_vmware speaks to \
        the management interface itself and needs nothing else.",
    check: |facts, out| {
        if !facts.in_chapter(Chapter::Vmware) {
            return;
        }
        let device = facts
            .definition
            .fence_devices
            .iter()
            .find(|device| device.agent.as_str() == "fence_vmware" && facts.is_used(device));
        if let Some(device) = device {
            out.push(
                reason(
                    S37.id,
                    Severity::Note,
                    "S37",
                    "the vendor's fence_vmware needs VMware's Perl APIs in every guest",
                )
                .about(place("fence", &device.name))
                .remedy(
                    "install them in every guest, or use Picket's fence_vmware, which needs none",
                ),
            );
        }
    },
};

pub(super) const CURATED: Rule = Rule {
    id: "ubuntu-agents",
    title: "Ubuntu tests only some agents",
    editions: TODAY,
    statements: &[],
    sources: &["ubuntu.fence"],
    explanation: "Canonical curates and tests a short list of fencing agents; all others come from upstream as they \
        are, in the package fence-agents-extra. They may work well, but nobody at Canonical has tried them with \
        this release.",
    check: curated,
};

/// The agents that Canonical curates (ubuntu.fence): the IPMI family, and these.
const CURATED_AGENTS: &[&str] = &["fence_mpath", "fence_sbd", "fence_scsi", "fence_virsh"];

fn curated(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    if !facts.has_vendor(Vendor::Canonical) {
        return;
    }
    let ipmi = [
        "fence_ipmilan",
        "fence_idrac",
        "fence_ilo3",
        "fence_ilo4",
        "fence_ilo5",
        "fence_imm",
    ];
    let others: Vec<_> = facts
        .definition
        .fence_devices
        .iter()
        .filter(|device| {
            let agent = device.agent.as_str();
            facts.is_used(device) && !CURATED_AGENTS.contains(&agent) && !ipmi.contains(&agent)
        })
        .collect();
    let Some(first) = others.first() else { return };
    out.push(
        reason(
            CURATED.id,
            Severity::Warning,
            "ubuntu.fence",
            format!(
                "Canonical does not curate {}: support for it is upstream's",
                list(others.iter().map(|device| &device.agent))
            ),
        )
        .about(place("fence", &first.name)),
    );
}

pub(super) const SOAP: Rule = Rule {
    id: "vmware-soap",
    title: "fence_vmware_soap needs an interface of version 4.1",
    editions: TODAY,
    statements: &[],
    sources: &["vmw.fence", "hist.vmw50"],
    explanation: "The agent speaks version 4.1 of VMware's SOAP interface. Older servers do not know what it asks, and \
        on the first 5.0 it failed until a documented workaround.",
    check: |facts, out| {
        let platform = &facts.definition.platform;
        let asked = platform
            .manager
            .as_ref()
            .and_then(|manager| manager.version.as_ref())
            .or(platform.version.as_ref());
        let (Some(asked), Some(least)) = (asked, version("vmw.fence", "soap_api")) else {
            return;
        };
        let soap =
            facts.definition.fence_devices.iter().find(|device| {
                device.agent.as_str() == "fence_vmware_soap" && facts.is_used(device)
            });
        let Some(device) = soap else { return };
        let subject = place("fence", &device.name);
        if version("hist.vmw50", "product").is_some_and(|first| asked == first) {
            out.push(
                reason(
                    SOAP.id,
                    Severity::Warning,
                    "hist.vmw50",
                    format!(
                        "fence_vmware_soap failed on the first release of vSphere {asked}, until a workaround"
                    ),
                )
                .about(subject.clone())
                .remedy("update vSphere, or ask the agent for a status before relying on it"),
            );
        }
        if asked < least {
            out.push(
                reason(
                    SOAP.id,
                    Severity::Unsupported,
                    "vmw.fence",
                    format!("fence_vmware_soap needs the SOAP interface {least}, and the server is {asked}"),
                )
                .about(subject)
                .remedy("update the server, or use fence_vmware or fence_scsi"),
            );
        }
    },
};
