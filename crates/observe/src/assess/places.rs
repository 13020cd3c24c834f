//! Hosts: where the guests are, and whether the hosts can fence.

use super::{Alarms, list};
use crate::host::{DaemonState, Guests};
use crate::status::{Placement, Status};

pub(super) fn check(alarms: &mut Alarms, status: &Status) {
    for report in &status.hosts {
        let host = report.host.as_str();
        if let Guests::Unknown { detail } = &report.guests {
            alarms.warn(
                "host-unknown",
                host,
                format!("which guests run on {host} is not known: {detail}"),
            );
        }
        match &report.fence_virtd {
            DaemonState::NotConfigured | DaemonState::Answers { .. } => {}
            DaemonState::Silent { detail } => alarms.critical(
                "fence-virtd-silent",
                host,
                format!(
                    "fence_virtd on {host} does not answer: its guests cannot be fenced ({detail})"
                ),
            ),
            DaemonState::Unknown { detail } => alarms.warn(
                "fence-virtd-unknown",
                host,
                format!("whether fence_virtd on {host} answers is not known: {detail}"),
            ),
        }
    }
    for placement in &status.guests {
        of_guest(alarms, status, placement);
    }
    together(alarms, status);
}

fn of_guest(alarms: &mut Alarms, status: &Status, placement: &Placement) {
    let Placement {
        node,
        guest,
        expected,
        pinned,
        on,
        complete,
    } = placement;
    match on.as_slice() {
        [] => {
            let is_online = status.view.as_ref().is_some_and(|view| {
                view.nodes
                    .iter()
                    .any(|known| known.name == *node && known.online == Some(true))
            });
            if *complete && is_online {
                alarms.warn(
                    "guest-not-found",
                    node,
                    format!("{node} is online, and no host has its guest {guest}: it runs elsewhere, or is called otherwise"),
                );
            }
        }
        [host] => {
            if let Some(expected) = expected.as_ref().filter(|expected| *expected != host) {
                let message = format!("{node} runs on {host}, the definition says {expected}");
                if *pinned {
                    alarms.critical(
                        "guest-elsewhere",
                        node,
                        format!("{message}, and pins it there"),
                    );
                } else {
                    alarms.note("guest-elsewhere", node, message);
                }
            }
        }
        hosts => alarms.critical(
            "guest-twice",
            node,
            format!(
                "{node} is on {}: it is being migrated, or there are two of it",
                list(hosts)
            ),
        ),
    }
}

/// Members on one host fail together. One member is enough to take quorum along only where it would
/// be anyway, so any two count.
fn together(alarms: &mut Alarms, status: &Status) {
    for report in &status.hosts {
        let here: Vec<&str> = status
            .guests
            .iter()
            .filter(|placement| placement.on.contains(&report.host))
            .map(|placement| placement.node.as_str())
            .collect();
        if here.len() > 1 {
            alarms.warn(
                "members-on-one-host",
                &report.host,
                format!(
                    "{} run on the same host {}: they fail together",
                    list(&here),
                    report.host
                ),
            );
        }
    }
}
