//! Timers, links, quorum device, watchdog.

use std::net::IpAddr;

use super::super::Transport;
use super::Check;

/// The most devices that sbd takes (sbd(8)).
const MAX_SBD_DEVICES: usize = 3;

pub(super) fn check(check: &mut Check<'_>) {
    let definition = check.definition;
    let options = &definition.options;
    if let Some(consensus) = options.consensus
        && consensus.millis() * 10 < options.token.millis() * 12
    {
        check.advise(
            ["options".into(), "consensus".into()],
            format!(
                "consensus ({consensus}) is less than 1.2 times token ({})",
                options.token
            ),
            "Corosync takes no less; without the line it takes just that",
        );
    }
    let links = definition
        .nodes
        .first()
        .map_or(0, |node| node.addresses.len());
    if options.transport == Transport::Udpu && links > 1 {
        check.advise(
            ["options".into(), "transport".into()],
            format!("`udpu` has one link, the nodes have addresses for {links}"),
            "use `knet`, or give each node one address",
        );
    }
    quorum_device(check);
    sbd(check);
}

/// The quorum device's vote counts because it stands outside the cluster.
fn quorum_device(check: &mut Check<'_>) {
    let definition = check.definition;
    let Some(device) = &definition.options.quorum_device else {
        return;
    };
    let host = device.host.as_str();
    let address: Option<IpAddr> = host.parse().ok();
    let member = definition.nodes.iter().find(|node| {
        node.name.as_str() == host
            || address.is_some_and(|address| node.addresses.contains(&address))
    });
    if let Some(node) = member {
        check.advise(
            ["options".into(), "quorum_device".into(), "host".into()],
            format!("the quorum device is on node `{}`", node.name),
            "name a machine outside the cluster: its vote is worth something only while the nodes are down",
        );
    }
}

fn sbd(check: &mut Check<'_>) {
    let definition = check.definition;
    let Some(sbd) = &definition.options.sbd else {
        return;
    };
    for (at, device) in sbd.devices.iter().enumerate() {
        let path = ["options".into(), "sbd".into(), "devices".into(), at.into()];
        if at == MAX_SBD_DEVICES {
            check.say(path, format!("sbd takes at most {MAX_SBD_DEVICES} devices"));
            return;
        }
        if sbd.devices[..at].contains(device) {
            check.say(path, format!("`{device}` is listed twice"));
        }
    }
}
