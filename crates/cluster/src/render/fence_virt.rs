//! `fence_virt.conf` in the grammar that the C daemon and Picket's both read.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::HostSettings;
use crate::definition::{Definition, Listener, Virt, VirtdMode};
use crate::render::libvirt;
use crate::types::Invalid;

/// The configuration of a host's daemon. `None` if no device asks it.
pub(super) fn conf(
    definition: &Definition,
    settings: &HostSettings,
) -> Result<Option<String>, Invalid> {
    let devices = devices(definition);
    let Some(mut text) = Text::new(&devices, definition, settings)? else {
        return Ok(None);
    };
    text.open("listeners");
    for virt in &devices {
        listener(&mut text, virt, settings, anywhere(definition))?;
    }
    text.close();
    text.open("backends");
    text.open(backend(definition));
    text.line("uri", &settings.uri)?;
    text.close();
    text.close();
    if definition
        .fence_virtd
        .as_ref()
        .is_none_or(|virtd| virtd.groups)
    {
        groups(&mut text, definition)?;
    }
    Ok(Some(text.out))
}

/// How the daemon is reached, once for each way.
fn devices(definition: &Definition) -> Vec<Virt> {
    let mut all: Vec<Virt> = Vec::new();
    for virt in definition
        .fence_devices
        .iter()
        .filter_map(|device| device.virt())
    {
        if all.iter().all(|known| known.listener != virt.listener) {
            all.push(virt);
        }
    }
    all
}

/// What the daemon calls the three modes (S19 to S21). The checkpoint service went with OpenAIS; its
/// place was taken by Corosync's process groups.
fn backend(definition: &Definition) -> &'static str {
    match definition.fence_virtd.as_ref().map(|virtd| virtd.mode) {
        None | Some(VirtdMode::Standalone) => "libvirt",
        Some(VirtdMode::Cluster) => "cpg",
        Some(VirtdMode::Bus) => "libvirt-qmf",
    }
}

const fn section(listener: Listener) -> &'static str {
    match listener {
        Listener::Multicast => "multicast",
        Listener::Tcp => "tcp",
        Listener::Vmchannel => "serial",
        Listener::Vsock => "vsock",
    }
}

/// All addresses of a host, of the family in which the nodes ask.
fn anywhere(definition: &Definition) -> IpAddr {
    let mut nodes = definition.nodes.iter();
    if nodes.all(|node| node.addresses.iter().all(IpAddr::is_ipv6)) {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    }
}

fn listener(
    text: &mut Text,
    virt: &Virt,
    settings: &HostSettings,
    anywhere: IpAddr,
) -> Result<(), Invalid> {
    let family = |ip: IpAddr| if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    text.open(section(virt.listener));
    if virt.listener != Listener::Vmchannel {
        text.line("key_file", &settings.key_path.to_string_lossy())?;
    }
    match virt.listener {
        Listener::Multicast => {
            text.line("address", &virt.multicast.to_string())?;
            text.line("family", family(virt.multicast.ip()))?;
            text.line("port", &virt.port.to_string())?;
            if let Some(interface) = &settings.interface {
                text.line("interface", interface)?;
            }
        }
        Listener::Tcp => {
            let address = settings.address.unwrap_or(anywhere);
            text.line("address", &address.to_string())?;
            text.line("family", family(address))?;
            text.line("port", &virt.port.to_string())?;
        }
        Listener::Vmchannel => {
            text.line("mode", "vmchannel")?;
            text.line("uri", &settings.uri)?;
            text.line("path", libvirt::CHANNELS)?;
        }
        Listener::Vsock => text.line("port", &virt.port.to_string())?,
    }
    text.close();
    Ok(())
}

/// The members may fence each other and nobody else. Who asks is known by address, by the number of its
/// socket or, over a channel, by its UUID; what is asked for is compared as text, so both the name and
/// the UUID of each guest are there.
fn groups(text: &mut Text, definition: &Definition) -> Result<(), Invalid> {
    let virts: Vec<_> = definition
        .fence_devices
        .iter()
        .filter(|device| device.agent.is_virt())
        .collect();
    text.open("groups");
    text.open("group");
    text.line("name", definition.name.as_str())?;
    let devices = devices(definition);
    let listens = |listener| devices.iter().any(|virt| virt.listener == listener);
    let by_address = listens(Listener::Multicast) || listens(Listener::Tcp);
    for node in &definition.nodes {
        if by_address {
            for address in node.addresses.iter() {
                text.line("ip", &address.to_string())?;
            }
        }
        if listens(Listener::Vsock) && node.is_guest() {
            text.line("ip", &libvirt::socket_number(definition, node).to_string())?;
        }
    }
    for node in definition.guest_nodes() {
        let plugs = virts.iter().map(|device| definition.plug_of(device, node));
        let mut names: Vec<String> = plugs.map(ToOwned::to_owned).collect();
        names.push(node.plug().to_owned());
        names.extend(node.uuid.map(|uuid| uuid.to_string()));
        names.sort();
        names.dedup();
        for name in names {
            text.line("uuid", &name)?;
        }
    }
    text.close();
    text.close();
    Ok(())
}

/// The text as it grows.
struct Text {
    out: String,
    depth: usize,
}

impl Text {
    /// The daemon's own section; nothing if there is no listener for it.
    fn new(
        devices: &[Virt],
        definition: &Definition,
        settings: &HostSettings,
    ) -> Result<Option<Self>, Invalid> {
        if devices.is_empty() {
            return Ok(None);
        }
        let mut text = Self {
            out: String::new(),
            depth: 0,
        };
        text.open("fence_virtd");
        let listeners: Vec<&str> = devices.iter().map(|virt| section(virt.listener)).collect();
        text.line("listener", &listeners.join(", "))?;
        text.line("backend", backend(definition))?;
        if let Some(path) = &settings.module_path {
            text.line("module_path", path)?;
        }
        if let Some(path) = &settings.audit_log {
            text.line("audit_log", &path.to_string_lossy())?;
        }
        text.close();
        Ok(Some(text))
    }

    fn open(&mut self, section: &str) {
        if self.depth == 0 && !self.out.is_empty() {
            self.out.push('\n');
        }
        let _ = writeln!(self.out, "{}{section} {{", "\t".repeat(self.depth));
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        let _ = writeln!(self.out, "{}}}", "\t".repeat(self.depth));
    }

    /// The grammar has no escapes: a value is what stands between two quotation marks on one line.
    fn line(&mut self, key: &str, value: &str) -> Result<(), Invalid> {
        if value.contains(['"', '\\']) || value.chars().any(char::is_control) {
            return Err(Invalid::new(format!(
                "`{value}` cannot be the {key} in fence_virt.conf: its grammar has no quotation marks, backslashes or control characters in values"
            )));
        }
        let _ = writeln!(self.out, "{}{key} = \"{value}\";", "\t".repeat(self.depth));
        Ok(())
    }
}
