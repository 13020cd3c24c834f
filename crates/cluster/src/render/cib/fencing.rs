//! Fencing devices and the order in which they are tried.

use std::collections::BTreeSet;
use std::time::Duration;

use super::parts::{Pairs, Primitive, location, pair};
use crate::definition::{Definition, FenceDevice, Listener, Node};
use crate::render::secret_scripts;
use crate::render::storage::device_of;
use crate::render::xml::Element;
use crate::types::Span;

/// Agents that cut a node off from something instead of switching it: they cannot reboot it, and a node
/// must be let in again (unfenced) when it joins. What their metadata calls `automatic`.
const FABRIC: [&str; 7] = [
    "fence_brocade",
    "fence_cisco_mds",
    "fence_compute",
    "fence_ifmib",
    "fence_mpath",
    "fence_sanbox2",
    "fence_scsi",
];

/// How often a device is asked whether it works.
const MONITOR: Span = Span::from_secs(120);

/// A fencing resource: a device as it fences some of the nodes.
struct Resource<'a> {
    id: String,
    device: &'a FenceDevice,
    nodes: Vec<&'a Node>,
}

/// One resource per device; or one per device and node, where Pacemaker cannot be told within one
/// resource how the nodes differ: by delay, or by a plug that its maps cannot hold. Devices that no
/// level of any node names are left out: Pacemaker would use them where the definition does not.
fn devices(definition: &Definition) -> Vec<Resource<'_>> {
    let used: Vec<BTreeSet<&str>> = definition
        .nodes
        .iter()
        .map(|node| {
            definition
                .levels_of(node)
                .iter()
                .flatten()
                .map(|device| device.name.as_str())
                .collect()
        })
        .collect();
    let mut all = Vec::new();
    for device in &definition.fence_devices {
        let nodes: Vec<&Node> = definition
            .nodes
            .iter()
            .zip(&used)
            .filter(|(_, used)| used.contains(device.name.as_str()))
            .map(|(node, _)| node)
            .collect();
        let Some(first) = nodes.first() else {
            continue;
        };
        let delay = delay_of(definition, device, first);
        let alike = nodes.iter().all(|node| {
            delay_of(definition, device, node) == delay
                && fits_a_map(&plug_of(definition, device, node))
        });
        let name = &device.name;
        if alike {
            let id = format!("fence.{name}");
            all.push(Resource { id, device, nodes });
        } else {
            all.extend(nodes.into_iter().map(|node| Resource {
                id: format!("fence.{name}.{}", node.name),
                device,
                nodes: vec![node],
            }));
        }
    }
    all
}

/// What the device is told to fence. Reservations are removed by what the cluster calls the node, or by
/// the node's key.
fn plug_of(definition: &Definition, device: &FenceDevice, node: &Node) -> String {
    if let Some(plug) = device.plugs.get(&node.name) {
        return plug.as_str().to_owned();
    }
    match device.agent.as_str() {
        "fence_scsi" => node.name.as_str().to_owned(),
        "fence_mpath" => format!("{:x}", definition.node_id(node).unwrap_or_default()),
        _ => definition.plug_of(device, node).to_owned(),
    }
}

/// Whether `pcmk_host_map` can hold the plug: these characters separate its entries.
fn fits_a_map(plug: &str) -> bool {
    !plug.contains([':', '=', ';', ',', ' ', '\t'])
}

/// The device's own delay and, for the node that is favoured in a race, that of the definition.
fn delay_of(definition: &Definition, device: &FenceDevice, node: &Node) -> Duration {
    let favour = definition
        .fencing
        .favour
        .as_ref()
        .filter(|favour| favour.node == node.name)
        .map_or(Duration::ZERO, |favour| favour.delay.duration());
    device.delay.duration() + favour
}

fn is_fabric(device: &FenceDevice) -> bool {
    FABRIC.contains(&device.agent.as_str())
}

/// The devices as resources.
pub(super) fn resources(definition: &Definition) -> Vec<Element> {
    let timeout = definition.options.operation_timeout;
    devices(definition)
        .iter()
        .map(|resource| {
            let mut primitive = Primitive::new(
                &resource.id,
                "stonith",
                None,
                resource.device.agent.as_str(),
            );
            if is_fabric(resource.device) {
                primitive = primitive.meta("provides", "unfencing");
            }
            primitive
                .with_all(parameters(definition, resource))
                .operation("start", None, timeout)
                .operation("monitor", Some(MONITOR), timeout)
                .element()
        })
        .collect()
}

/// What the fencer needs to know, what the agent needs, and last what the definition says: it wins.
fn parameters(definition: &Definition, resource: &Resource<'_>) -> Pairs {
    let device = resource.device;
    let mut pairs = targets(definition, resource);
    if let Some(first) = resource.nodes.first() {
        let delay = delay_of(definition, device, first);
        if !delay.is_zero() {
            pairs.push(pair("pcmk_delay_base", milliseconds(delay)));
        }
    }
    if is_fabric(device) {
        pairs.push(pair("pcmk_reboot_action", "off"));
    } else if resource.nodes.len() > 1 {
        // Two nodes that fail together are fenced together; the devices in question serve many at once.
        pairs.push(pair("pcmk_action_limit", "-1"));
    }
    pairs.extend(of_the_agent(definition, device));
    for (name, value) in &device.options {
        pairs.retain(|(known, _)| known != name.as_str());
        pairs.push(pair(name.as_str(), value.as_str()));
    }
    for script in secret_scripts::of(device) {
        pairs.push(pair(&script.option, script.path));
    }
    pairs
}

/// Which nodes it fences and what it calls them. The list is static: asking the device which it has
/// would take a second request before every fencing.
fn targets(definition: &Definition, resource: &Resource<'_>) -> Pairs {
    let device = resource.device;
    let named: Vec<(&str, String)> = resource
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), plug_of(definition, device, node)))
        .collect();
    let names = || {
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        pair("pcmk_host_list", names.join(" "))
    };
    let mut pairs = vec![pair("pcmk_host_check", "static-list")];
    if named.iter().all(|(name, plug)| *name == plug.as_str()) {
        pairs.push(names());
    } else if let [(_, plug)] = named.as_slice()
        && !fits_a_map(plug)
    {
        // The fencer leaves a plug alone that is configured.
        pairs.push(names());
        pairs.push(pair("plug", plug));
    } else {
        let map: Vec<String> = named
            .iter()
            .map(|(name, plug)| format!("{name}:{plug}"))
            .collect();
        pairs.push(pair("pcmk_host_map", map.join(";")));
    }
    if device.agent.as_str() == "fence_mpath" {
        pairs.push(pair("pcmk_host_argument", "key"));
    }
    pairs
}

/// What the agent needs beyond its options in the definition.
fn of_the_agent(definition: &Definition, device: &FenceDevice) -> Pairs {
    let joined = |devices: Vec<String>| -> Pairs {
        let known = (!devices.is_empty()).then(|| pair("devices", devices.join(",")));
        known.into_iter().collect()
    };
    if device.agent.is_reservation() {
        return joined(
            definition
                .storage_of(device)
                .into_iter()
                .filter_map(device_of)
                .collect(),
        );
    }
    if device.agent.as_str() == "fence_sbd" {
        let sbd = definition.options.sbd.iter();
        return joined(
            sbd.flat_map(|sbd| &sbd.devices)
                .map(ToString::to_string)
                .collect(),
        );
    }
    let Some(virt) = device.virt() else {
        return Vec::new();
    };
    let key = pair("key_file", virt.key_file.as_str());
    let port = pair("ipport", virt.port.to_string());
    match virt.listener {
        Listener::Multicast => vec![
            key,
            pair("multicast_address", virt.multicast.to_string()),
            port,
        ],
        Listener::Tcp => {
            // With several hosts there is no one address: the definition's options then say it.
            let host = match definition.hosts.as_slice() {
                [host] => host.address,
                _ => None,
            };
            let address = host.map(|address| pair("ipaddr", address.to_string()));
            address.into_iter().chain([key, port]).collect()
        }
        Listener::Vmchannel => vec![port],
        // The host's address on the socket between it and its guests (vsock(7), VMADDR_CID_HOST).
        Listener::Vsock => vec![pair("vsock", "2"), key, port],
    }
}

/// As Pacemaker reads it: seconds where that is exact.
fn milliseconds(span: Duration) -> String {
    let millis = span.as_millis();
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// A device that fences one node runs elsewhere: a node that fails then leaves no device behind that its
/// survivors must first start. Not so where the node itself has to undo its fencing by the device.
pub(super) fn bans(definition: &Definition) -> Vec<Element> {
    if definition.nodes.len() < 2 {
        return Vec::new();
    }
    devices(definition)
        .iter()
        .filter(|resource| !is_fabric(resource.device))
        .filter_map(|resource| match resource.nodes.as_slice() {
            [node] => Some(location(
                format!("{}._elsewhere", resource.id),
                &resource.id,
                node.name.as_str(),
                "-INFINITY",
            )),
            _ => None,
        })
        .collect()
}

/// The levels of the nodes for which one device is not the whole story.
pub(super) fn topology(definition: &Definition) -> Option<Element> {
    let devices = devices(definition);
    let mut levels = Vec::new();
    for node in &definition.nodes {
        let wanted = definition.levels_of(node);
        let serving: Vec<&Resource<'_>> = devices
            .iter()
            .filter(|resource| resource.nodes.iter().any(|other| other.name == node.name))
            .collect();
        if serving.len() < 2 {
            continue;
        }
        for (level, index) in wanted.iter().zip(1..) {
            let ids: Vec<&str> = level
                .iter()
                .filter_map(|device| {
                    serving
                        .iter()
                        .find(|resource| resource.device.name == device.name)
                })
                .map(|resource| resource.id.as_str())
                .collect();
            let index: u32 = index;
            levels.push(
                Element::new("fencing-level")
                    .with("id", format!("fence._level.{index}.{}", node.name))
                    .with("target", node.name.as_str())
                    .with("index", index.to_string())
                    .with("devices", ids.join(",")),
            );
        }
    }
    (!levels.is_empty()).then(|| Element::new("fencing-topology").holding(levels))
}
