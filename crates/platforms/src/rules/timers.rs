//! How long the parties wait for each other, and over which paths they talk.

use cluster::{PlatformKind, Transport, VirtdMode};

use super::view::Vendor;
use super::{ALWAYS, DOCUMENT, TODAY, judged, number, reason, version};
use crate::rule::{Facts, Rule};
use crate::verdict::{Reason, Severity};

pub(super) const TOKEN: Rule = Rule {
    id: "token",
    title: "Corosync's token lies within the limits",
    editions: TODAY,
    statements: &[],
    sources: &["rhel.token", "cs.token"],
    explanation: "The token says how long a silent node counts as alive. A busy host lets a guest stand still for a \
        second or two: a token below Corosync's own default of three seconds fences healthy nodes. A long one \
        keeps services down for as long after every real failure. Red Hat supports at most 300 s, and on RHEL 6 \
        at least 5 s.",
    check: token,
};

fn token(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let token = facts.definition.options.token;
    let millis = token.millis();
    let over = |name| number("rhel.token", name).map(u128::from);
    if facts.has_vendor(Vendor::RedHat) {
        if over("max_ms").is_some_and(|most| millis > most) {
            out.push(
                reason(
                    TOKEN.id,
                    Severity::Unsupported,
                    "rhel.token",
                    format!("a token of {token} is more than Red Hat supports"),
                )
                .about("options.token")
                .remedy("use at most `300s`"),
            );
        }
        let six = facts.rhel().any(|(_, version)| version.major() == 6);
        if six && over("min_ms_rhel6").is_some_and(|least| millis < least) {
            out.push(
                reason(
                    TOKEN.id,
                    Severity::Unsupported,
                    "rhel.token",
                    format!("a token of {token} is less than Red Hat supports on RHEL 6"),
                )
                .about("options.token")
                .remedy("use at least `5s`"),
            );
        }
    }
    if number("cs.token", "default_ms").is_some_and(|usual| millis < u128::from(usual)) {
        out.push(
            reason(
                TOKEN.id,
                Severity::Warning,
                "cs.token",
                format!("a token of {token} is shorter than Corosync's own default: a busy host gets healthy guests fenced"),
            )
            .about("options.token")
            .remedy("use `3s` or more; `5s` is usual for virtual machines"),
        );
    }
    let recovery = u128::from(60_000_u32);
    if millis > recovery && !is_cloud(facts.kind()) {
        out.push(
            judged(
                TOKEN.id,
                Severity::Warning,
                "nothing is recovered before the token is lost",
                format!("a token of {token}: for that long nobody notices that a node has failed"),
            )
            .about("options.token"),
        );
    }
}

const fn is_cloud(kind: PlatformKind) -> bool {
    matches!(kind, PlatformKind::Azure | PlatformKind::Aws)
}

pub(super) const CLOUD: Rule = Rule {
    id: "token-cloud",
    title: "in a cloud the token outlasts the provider's maintenance",
    editions: TODAY,
    statements: &[],
    sources: &["az.token", "cs.profile"],
    explanation: "Cloud providers freeze a guest for some seconds while they maintain the machine below it. With a \
        usual token the guest is fenced each time. Azure names 30 s for its memory-preserving maintenance, and \
        the published profiles use the same for AWS.",
    check: |facts, out| {
        let (basis, name) = match facts.kind() {
            PlatformKind::Azure => ("az.token", "token_ms"),
            PlatformKind::Aws => ("cs.profile", "aws_token_ms"),
            _ => return,
        };
        let Some(least) = number(basis, name) else {
            return;
        };
        let token = facts.definition.options.token;
        if token.millis() < u128::from(least) {
            out.push(
                reason(
                    CLOUD.id,
                    Severity::Warning,
                    basis,
                    format!(
                        "a token of {token}: a guest that {} freezes for maintenance is fenced",
                        facts.kind()
                    ),
                )
                .about("options.token")
                .remedy(format!("set `token = \"{}s\"`", least / 1000)),
            );
        }
    },
};

pub(super) const CONSENSUS: Rule = Rule {
    id: "consensus",
    title: "the consensus time-out is at least 1.2 times the token as Corosync lengthens it",
    editions: TODAY,
    statements: &[],
    sources: &["cs.token"],
    explanation: "Corosync wants 1.2 times the token for the nodes to agree on a new membership. With three nodes and \
        more it lengthens the token by 650 ms for every node above two, and takes a written consensus as it is: \
        one that was reckoned from the written token is then too short, and memberships change more often than \
        they should. Leave it out: Corosync reckons with the lengthened token.",
    check: |facts, out| {
        let options = &facts.definition.options;
        let (Some(consensus), Some(per_node)) =
            (options.consensus, number("cs.token", "per_node_ms"))
        else {
            return;
        };
        let nodes = facts.definition.nodes.len();
        let more = nodes.saturating_sub(2) as u128 * u128::from(per_node);
        let token = options.token.millis() + more;
        let least = (token * 12).div_ceil(10);
        if consensus.millis() < least {
            out.push(
                reason(
                    CONSENSUS.id,
                    Severity::Warning,
                    "cs.token",
                    format!(
                        "with {nodes} nodes the token grows to {token} ms, and a consensus of {consensus} is less \
                         than 1.2 times that"
                    ),
                )
                .about("options.consensus")
                .remedy("leave `consensus` out: Corosync computes it"),
            );
        }
    },
};

pub(super) const FENCING: Rule = Rule {
    id: "fencing-timeout",
    title: "fencing has the time that it may need",
    editions: ALWAYS,
    statements: &[],
    sources: &[],
    explanation: "A fencing action that is cut short counts as failed, although the node may be off by then; it is \
        tried again and again, and nothing recovers. When a host has died, its guests count as off only after \
        the hosts' own cluster has fenced it: the guests' time-out must outlast that. Several levels need time \
        for each.",
    check: fencing,
};

fn fencing(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let timeout = facts.definition.fencing.timeout;
    let daemon = facts.definition.fence_virtd.as_ref();
    if daemon.is_some_and(|daemon| daemon.mode == VirtdMode::Cluster) && timeout.millis() < 60_000 {
        out.push(
            judged(
                FENCING.id,
                Severity::Warning,
                "the hosts' cluster must notice and fence a dead host first",
                format!("{timeout} for fencing: a guest of a dead host counts as off only after the hosts have fenced that host"),
            )
            .about("fencing.timeout")
            .remedy("allow at least the hosts' own token, consensus and fencing time-out together; `60s` or more"),
        );
    }
    if timeout.millis() < 10_000 {
        out.push(
            judged(
                FENCING.id,
                Severity::Warning,
                "a hung guest is not destroyed at once",
                format!(
                    "{timeout} for fencing: killing a hung guest and confirming it may take longer"
                ),
            )
            .about("fencing.timeout")
            .remedy("use `60s`, the default"),
        );
    }
    let delay = facts
        .definition
        .fence_devices
        .iter()
        .filter(|device| facts.is_used(device))
        .find(|device| device.delay.millis() >= timeout.millis());
    if let Some(device) = delay {
        out.push(
            judged(
                FENCING.id,
                Severity::Unsafe,
                "a device that waits longer than it may take never fences",
                format!(
                    "`{}` waits {} before it fences, and may take {timeout}",
                    device.name, device.delay
                ),
            )
            .about(super::place("fence", &device.name))
            .remedy("make `delay` much shorter than `fencing.timeout`"),
        );
    }
}

pub(super) const LINKS: Rule = Rule {
    id: "links",
    title: "nodes see each other over two paths",
    editions: TODAY,
    statements: &[],
    sources: &["suse.net"],
    explanation: "With one path, a broken switch or cable looks like a failed node, and healthy nodes are fenced. SUSE \
        asks for two paths: bonded interfaces, or a second Corosync link (a second address for each node).",
    check: links,
};

fn links(facts: &Facts<'_>, out: &mut Vec<Reason>) {
    let Some(node) = facts.definition.nodes.first() else {
        return;
    };
    let links = node.addresses.len();
    if links > 1 || facts.definition.nodes.len() < 2 {
        return;
    }
    let severity = if facts.has_vendor(Vendor::Suse) {
        Severity::Warning
    } else {
        Severity::Note
    };
    out.push(
        reason(
            LINKS.id,
            severity,
            "suse.net",
            "the nodes see each other over one Corosync link: unless its interfaces are bonded, a broken switch \
             looks like a failed node",
        )
        .about(super::place("node", &node.name))
        .remedy("bond the interfaces, or give each node a second address"),
    );
}

pub(super) const UDPU: Rule = Rule {
    id: "udpu",
    title: "the unicast transport is supported from RHEL 6.2 on",
    editions: DOCUMENT,
    statements: &[],
    sources: &["hist.udpu62"],
    explanation: "UDP unicast came to RHEL 6 as a technology preview and is supported from 6.2 on.",
    check: |facts, out| {
        let Some(since) = version("hist.udpu62", "guest") else {
            return;
        };
        let old = facts
            .rhel()
            .find(|(_, have)| have.major() == 6 && *have < since);
        if facts.definition.options.transport != Transport::Udpu {
            return;
        }
        if let Some((node, have)) = old {
            out.push(
                reason(
                    UDPU.id,
                    Severity::Preview,
                    "hist.udpu62",
                    format!(
                        "the unicast transport is a technology preview on RHEL {have} (`{}`)",
                        node.name
                    ),
                )
                .about("options.transport"),
            );
        }
    },
};

pub(super) const MAC: Rule = Rule {
    id: "static-mac",
    title: "clustered guests on Hyper-V have fixed MAC addresses",
    editions: TODAY,
    statements: &[],
    sources: &["hv.mac"],
    explanation: "Hyper-V gives a guest another MAC address when it comes up on another host; some distributions then \
        lose the configuration of the interface. Set a static MAC address for every adapter of a clustered guest.",
    check: |facts, out| {
        if facts.kind() == PlatformKind::HyperV && facts.guests().next().is_some() {
            out.push(reason(
                MAC.id,
                Severity::Note,
                "hv.mac",
                "give the guests static MAC addresses: some distributions lose their configuration otherwise",
            ));
        }
    },
};
