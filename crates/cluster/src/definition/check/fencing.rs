//! Fencing devices and levels.

use super::super::{FenceDevice, Listener};
use super::Check;
use crate::types::{Name, OptionName};

/// Options of agents that follow from the definition, and what says so.
const DERIVED: [(&str, &str); 11] = [
    ("action", "`action` of `[fencing]`"),
    ("plug", "`plugs`"),
    ("port", "`plugs`"),
    ("nodename", "`plugs`"),
    ("domain", "`plugs`"),
    ("nodeid", "`plugs`"),
    ("pcmk_host_list", "`nodes`"),
    ("pcmk_host_map", "`nodes` and `plugs`"),
    ("pcmk_host_check", "`nodes`"),
    ("pcmk_delay_base", "`delay`"),
    ("pcmk_reboot_timeout", "`timeout` of `[fencing]`"),
];

/// The same for the agents that ask `fence_virtd`.
const DERIVED_VIRT: [(&str, &str); 3] = [
    ("key_file", "`key_file` of the device"),
    ("multicast_address", "`multicast` of the device"),
    ("ipport", "`port` of the device"),
];

pub(super) fn check(check: &mut Check<'_>) {
    let devices = &check.definition.fence_devices;
    check.unique_names(
        "fence",
        "fencing device",
        devices.iter().map(|device| &device.name),
    );
    for (at, device) in devices.iter().enumerate() {
        keys_fit_the_agent(check, at, device);
        names(check, at, device);
        options(check, at, device);
    }
    one_listener_of_a_kind(check);
    levels(check);
}

/// `fence_virtd` has one listener of each kind: devices that ask in the same way ask at the same place.
fn one_listener_of_a_kind(check: &mut Check<'_>) {
    let devices = &check.definition.fence_devices;
    for (at, device) in devices.iter().enumerate() {
        let Some(virt) = device.virt() else { continue };
        let other = devices[..at].iter().find_map(|other| {
            let known = other
                .virt()
                .filter(|known| known.listener == virt.listener)?;
            Some((other, known))
        });
        let Some((other, known)) = other else {
            continue;
        };
        let is_multicast = virt.listener == Listener::Multicast;
        let key = if known.port != virt.port {
            "port"
        } else if is_multicast && known.multicast != virt.multicast {
            "multicast"
        } else {
            continue;
        };
        check.advise(
            ["fence".into(), at.into()],
            format!(
                "devices `{}` and `{}` ask fence_virtd over {} with another `{key}` each, and it has one listener of that kind",
                other.name,
                device.name,
                virt.listener.as_str()
            ),
            format!("give both the same `{key}`, or one of them another `listener`"),
        );
    }
}

/// Keys that belong to certain agents stand with those only.
fn keys_fit_the_agent(check: &mut Check<'_>, at: usize, device: &FenceDevice) {
    let virt = [
        ("listener", device.listener.is_some()),
        ("key_file", device.key_file.is_some()),
        ("multicast", device.multicast.is_some()),
        ("port", device.port.is_some()),
    ];
    let agent = &device.agent;
    for (key, given) in virt {
        if given && !agent.is_virt() {
            check.advise_key(
                ["fence".into(), at.into(), key.into()],
                format!("`{agent}` has no `{key}`: it does not ask fence_virtd"),
                "what the agent itself takes belongs into `options`",
            );
        }
    }
    if !device.storage.is_empty() && !agent.is_reservation() {
        check.advise_key(
            ["fence".into(), at.into(), "storage".into()],
            format!("`{agent}` has no `storage`: it does not use reservations"),
            "only `fence_scsi` and `fence_mpath` fence at the storage",
        );
    }
    let listener = device.listener.unwrap_or_default();
    if agent.is_virt() && device.multicast.is_some() && listener != Listener::Multicast {
        check.advise_key(
            ["fence".into(), at.into(), "multicast".into()],
            format!(
                "the listener `{}` has no multicast group",
                listener.as_str()
            ),
            "remove `multicast`, or the line `listener`",
        );
    }
}

/// The nodes, plugs and storage that a device names must exist.
fn names(check: &mut Check<'_>, at: usize, device: &FenceDevice) {
    let nodes = check.node_names();
    if let Some(listed) = &device.nodes {
        let path = ["fence".into(), at.into(), "nodes".into()];
        check.known_names(path, "node", listed, &nodes);
        if listed.is_empty() {
            check.advise(
                path,
                format!("device `{}` can fence no node", device.name),
                "name the nodes, or remove `nodes`: then it fences all guests",
            );
        }
    }
    for node in device.plugs.keys() {
        let path = [
            "fence".into(),
            at.into(),
            "plugs".into(),
            node.as_str().into(),
        ];
        if !nodes.contains(&node.as_str()) {
            check.known_name(path, "node", node.as_str(), &nodes);
        } else if device
            .nodes
            .as_ref()
            .is_some_and(|listed| !listed.contains(node))
        {
            check.advise_key(
                path,
                format!(
                    "device `{}` has a plug for node `{node}`, which it does not fence",
                    device.name
                ),
                format!("add `{node}` to `nodes`, or remove the plug"),
            );
        }
    }
    let storage = check.storage_names();
    check.known_names(
        ["fence".into(), at.into(), "storage".into()],
        "storage",
        &device.storage,
        &storage,
    );
}

/// The secrets that agents take from a script's output: each has a `…_script` beside it (FenceAgentAPI, common
/// options of fence-agents). No agent has one for anything else, a token say.
const FROM_SCRIPTS: [&str; 3] = ["password", "passwd", "snmp_priv_passwd"];

/// Options hold neither secrets nor what the definition says elsewhere.
fn options(check: &mut Check<'_>, at: usize, device: &FenceDevice) {
    for name in device.options.keys() {
        let path = [
            "fence".into(),
            at.into(),
            "options".into(),
            name.as_str().into(),
        ];
        if name.smells_of_a_secret() {
            check.advise_key(path, secret(name), remedy(name));
        }
        if device.secrets.contains_key(name) {
            check.advise_key(
                path,
                format!("`{name}` stands in `options` and in `secrets`"),
                "remove it from `options`",
            );
        }
    }
    for name in device.secrets.keys() {
        if !FROM_SCRIPTS.contains(&name.as_str()) {
            check.advise_key(
                [
                    "fence".into(),
                    at.into(),
                    "secrets".into(),
                    name.as_str().into(),
                ],
                format!("no fencing agent takes `{name}` from a script"),
                NAME_A_FILE,
            );
        }
    }
    for (table, names) in [
        ("options", device.options.keys().collect::<Vec<_>>()),
        ("secrets", device.secrets.keys().collect()),
    ] {
        for name in names {
            let derived = DERIVED
                .iter()
                .chain(DERIVED_VIRT.iter().filter(|_| device.agent.is_virt()))
                .find(|(derived, _)| *derived == name.as_str());
            if let Some((_, instead)) = derived {
                check.advise_key(
                    [
                        "fence".into(),
                        at.into(),
                        table.into(),
                        name.as_str().into(),
                    ],
                    format!("`{name}` follows from the definition"),
                    format!("remove it and use {instead}"),
                );
            }
        }
    }
}

/// What is wrong with an option that seems to hold a secret.
pub(super) fn secret(name: &OptionName) -> String {
    format!(
        "`{name}` seems to be a secret, and every node's Pacemaker configuration shows options in clear"
    )
}

const NAME_A_FILE: &str = "only `password`, `passwd` and `snmp_priv_passwd` can be secrets; for others use an option of the agent that names a file";

fn remedy(name: &OptionName) -> String {
    if !FROM_SCRIPTS.contains(&name.as_str()) {
        return NAME_A_FILE.to_owned();
    }
    format!(
        "write `secrets = {{ {name} = \"/path/of/a/file\" }}`: the file on the nodes then holds it"
    )
}

/// The levels of the cluster and of single nodes.
fn levels(check: &mut Check<'_>) {
    let definition = check.definition;
    let devices: Vec<_> = definition
        .fence_devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    for (at, level) in definition.fencing.levels.iter().enumerate() {
        let path = ["fencing".into(), "levels".into(), at.into()];
        check.known_names(path, "fencing device", level, &devices);
        empty(check, path, level);
    }
    for (at, node) in definition.nodes.iter().enumerate() {
        let Some(levels) = &node.levels else {
            continue;
        };
        if levels.is_empty() {
            check.advise(
                ["node".into(), at.into(), "levels".into()],
                format!("node `{}` has no fencing level", node.name),
                "remove `levels`: then those of `[fencing]` hold",
            );
        }
        for (number, level) in levels.iter().enumerate() {
            let path = ["node".into(), at.into(), "levels".into(), number.into()];
            check.known_names(path, "fencing device", level, &devices);
            empty(check, path, level);
            let fences = |device: &&FenceDevice| !definition.can_fence(device, node);
            let unable = level
                .iter()
                .filter_map(|name| definition.device(name.as_str()))
                .find(fences);
            if let Some(device) = unable {
                check.advise(
                    path,
                    format!(
                        "device `{}` does not fence node `{}`",
                        device.name, node.name
                    ),
                    format!("add `{}` to the device's `nodes`", node.name),
                );
            }
        }
    }
}

fn empty<const N: usize>(check: &mut Check<'_>, path: [super::Step<'_>; N], level: &[Name]) {
    if level.is_empty() {
        check.advise(
            path,
            "a fencing level without a device".to_owned(),
            "name a device in it, or remove it",
        );
    }
}
