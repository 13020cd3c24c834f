//! What libvirt's guests need to be members: disks that are shared, a watchdog, ways to `fence_virtd`.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::xml::Element;
use super::{File, Owner};
use crate::definition::{Definition, Host, Listener, Node, Storage, StorageKind, Watchdog};

/// Where the hosts' ends of the guests' channels are.
pub(super) const CHANNELS: &str = "/var/lib/libvirt/qemu/channel/fence";

/// Where a channel leads to inside a guest whose network is QEMU's own: what `fence_virt` assumes.
const CHANNEL_ADDRESS: &str = "10.0.2.179";

/// The number of a guest's socket: the same in every rendering, and unlikely to be another guest's.
/// Numbers below 65536 are left to those that people choose.
pub(super) fn socket_number(definition: &Definition, node: &Node) -> u32 {
    let name = format!("{} {}", definition.name, node.name);
    let hash = Sha256::digest(name.as_bytes());
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    (number | 0x1_0000) & 0x7FFF_FFFF
}

/// A device with the name of its file.
struct Device {
    name: String,
    element: Element,
}

fn devices(definition: &Definition, node: &Node) -> Vec<Device> {
    let mut all = Vec::new();
    let disks = definition
        .storage
        .iter()
        .filter(|storage| storage.nodes.is_empty() || storage.nodes.contains(&node.name))
        .filter(|storage| is_given_by_the_host(storage.kind));
    let mut letters = 'b'..='z';
    for storage in disks {
        let target = letters.next().unwrap_or('z');
        if let Some(element) = disk(storage, target) {
            all.push(Device {
                name: format!("disk-{}", storage.name),
                element,
            });
        }
    }
    all.extend(
        definition
            .watchdog_of(node)
            .and_then(watchdog)
            .map(|element| Device {
                name: "watchdog".to_owned(),
                element,
            }),
    );
    let listens = |listener| {
        definition
            .fence_devices
            .iter()
            .filter_map(|device| device.virt())
            .any(|virt| virt.listener == listener)
    };
    if listens(Listener::Vmchannel) {
        all.push(Device {
            name: "channel".to_owned(),
            element: channel(definition, node),
        });
    }
    if listens(Listener::Vsock) {
        all.push(Device {
            name: "vsock".to_owned(),
            element: vsock(definition, node),
        });
    }
    all
}

const fn is_given_by_the_host(kind: StorageKind) -> bool {
    matches!(
        kind,
        StorageKind::HostBlock
            | StorageKind::RawImage
            | StorageKind::XenBlock
            | StorageKind::ScsiPassthrough
    )
}

/// A disk of several guests. The host must not cache it: one guest would not see what another wrote.
fn disk(storage: &Storage, letter: char) -> Option<Element> {
    let path = storage.path.as_ref()?.as_str();
    let is_file = storage.kind == StorageKind::RawImage
        || (storage.kind == StorageKind::XenBlock && !path.starts_with("/dev/"));
    let passed_through = storage.kind == StorageKind::ScsiPassthrough;
    let (kind, attribute) = if is_file {
        ("file", "file")
    } else {
        ("block", "dev")
    };
    let mut source = Element::new("source").with(attribute, path);
    if passed_through {
        // Reservations are privileged on the host: a daemon of QEMU makes them for the guest.
        source = source.holding([Element::new("reservations").with("managed", "yes")]);
    }
    let (bus, prefix) = match storage.kind {
        StorageKind::ScsiPassthrough => ("scsi", "sd"),
        StorageKind::XenBlock => ("xen", "xvd"),
        _ => ("virtio", "vd"),
    };
    let driver = match storage.kind {
        StorageKind::XenBlock => {
            Element::new("driver").with("name", if is_file { "tap" } else { "phy" })
        }
        _ => Element::new("driver").with("name", "qemu"),
    };
    let element = Element::new("disk")
        .with("type", kind)
        .with("device", if passed_through { "lun" } else { "disk" })
        .holding([
            driver.with("type", "raw").with("cache", "none"),
            source,
            Element::new("target")
                .with("dev", format!("{prefix}{letter}"))
                .with("bus", bus),
            Element::new("shareable"),
        ]);
    Some(element)
}

/// A watchdog that the hypervisor emulates. It resets: a guest that is switched off instead would not
/// come back, one that is paused could write again.
fn watchdog(watchdog: Watchdog) -> Option<Element> {
    let model = match watchdog {
        Watchdog::I6300esb | Watchdog::Ib700 | Watchdog::Diag288 => watchdog.as_str(),
        Watchdog::Wdat | Watchdog::Xen | Watchdog::Softdog | Watchdog::None => return None,
    };
    Some(
        Element::new("watchdog")
            .with("model", model)
            .with("action", "reset"),
    )
}

fn channel(definition: &Definition, node: &Node) -> Element {
    let port = definition
        .fence_devices
        .iter()
        .filter_map(|device| device.virt())
        .find(|virt| virt.listener == Listener::Vmchannel)
        .map_or_else(|| "1229".to_owned(), |virt| virt.port.to_string());
    Element::new("channel").with("type", "unix").holding([
        Element::new("source").with("mode", "bind").with(
            "path",
            format!("{CHANNELS}/{}.{}", definition.name, node.name),
        ),
        Element::new("target")
            .with("type", "guestfwd")
            .with("address", CHANNEL_ADDRESS)
            .with("port", port),
    ])
}

fn vsock(definition: &Definition, node: &Node) -> Element {
    let number = socket_number(definition, node).to_string();
    Element::new("vsock")
        .with("model", "virtio")
        .holding([Element::new("cid")
            .with("auto", "no")
            .with("address", number)])
}

/// The files of a host: one per device and guest.
pub(super) fn files(definition: &Definition, host: &Host) -> Vec<File> {
    if !definition.host_kind(host).has_libvirt() {
        return Vec::new();
    }
    definition
        .guest_nodes()
        .filter(|node| node.host.as_ref().is_none_or(|name| *name == host.name))
        .flat_map(|node| {
            devices(definition, node).into_iter().map(|device| {
                File::new(
                    format!("/etc/picket/guests/{}/{}.xml", node.name, device.name),
                    0o644,
                    Owner::Root,
                    device.element.to_document(),
                )
            })
        })
        .collect()
}

/// A whole guest in libvirt's XML that has the devices of [`super::render_guest_devices`], for checking
/// them and to show where they belong. Disk, network and size of the guest itself are left to whoever
/// makes it.
#[must_use]
pub fn guest_domain(definition: &Definition, node: &Node) -> Vec<u8> {
    let host_kind = definition
        .host_of(node)
        .map_or(definition.platform.kind, |host| definition.host_kind(host));
    let is_xen = host_kind == crate::definition::PlatformKind::Xen;
    let (kind, machine) = if is_xen {
        ("xen", "xenfv")
    } else {
        ("kvm", "q35")
    };
    let uuid = node.uuid.unwrap_or_else(|| derived_uuid(definition, node));
    let devices = devices(definition, node);
    let has_scsi = devices
        .iter()
        .any(|device| device.name.starts_with("disk-"))
        && !is_xen;
    let controller = has_scsi.then(|| {
        Element::new("controller")
            .with("type", "scsi")
            .with("index", "0")
            .with("model", "virtio-scsi")
    });
    Element::new("domain")
        .with("type", kind)
        .holding([
            Element::new("name").saying(node.plug()),
            Element::new("uuid").saying(uuid.to_string()),
            Element::new("memory").with("unit", "MiB").saying("2048"),
            Element::new("vcpu").saying("2"),
            Element::new("os").holding([Element::new("type")
                .with("arch", "x86_64")
                .with("machine", machine)
                .saying("hvm")]),
            // A member that has crashed starts anew and joins by itself. It is not preserved for
            // inspection: what is preserved can be resumed, and would write again.
            Element::new("on_poweroff").saying("destroy"),
            Element::new("on_reboot").saying("restart"),
            Element::new("on_crash").saying("restart"),
            Element::new("devices")
                .holding(controller)
                .holding(devices.into_iter().map(|device| device.element)),
        ])
        .to_document()
}

/// A UUID for a guest whose own is not known: the same each time.
fn derived_uuid(definition: &Definition, node: &Node) -> Uuid {
    let hash = Sha256::digest(format!("{} {}", definition.name, node.name).as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
