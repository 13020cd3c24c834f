//! `fence_virt.conf` in the grammar that the C daemon and Picket's both read.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::definition::Definition;
use crate::render::HostSettings;
use crate::types::Invalid;

pub(crate) fn conf(definition: &Definition, settings: &HostSettings) -> Result<String, Invalid> {
    let fencing = definition
        .virt()
        .ok_or_else(|| Invalid::new("no fencing device asks fence_virtd"))?;
    let mut out =
        String::from("fence_virtd {\n\tlistener = \"multicast\";\n\tbackend = \"libvirt\";\n");
    if let Some(path) = &settings.module_path {
        line(&mut out, 1, "module_path", path)?;
    }
    out.push_str("}\n\nlisteners {\n\tmulticast {\n");
    line(
        &mut out,
        2,
        "key_file",
        &settings.key_path.to_string_lossy(),
    )?;
    line(&mut out, 2, "address", &fencing.multicast.to_string())?;
    let family = match fencing.multicast.ip() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    };
    line(&mut out, 2, "family", family)?;
    line(&mut out, 2, "port", &fencing.port.to_string())?;
    if let Some(interface) = &settings.interface {
        line(&mut out, 2, "interface", interface)?;
    }
    out.push_str("\t}\n}\n\nbackends {\n\tlibvirt {\n");
    line(&mut out, 2, "uri", &settings.uri)?;
    out.push_str("\t}\n}\n");
    Ok(out)
}

/// The grammar has no escapes: a value is what stands between two quotation marks on one line.
fn line(out: &mut String, depth: usize, key: &str, value: &str) -> Result<(), Invalid> {
    if value.contains(['"', '\\']) || value.chars().any(char::is_control) {
        return Err(Invalid::new(format!(
            "`{value}` cannot be the {key} in fence_virt.conf: its grammar has no quotation marks, backslashes or control characters in values"
        )));
    }
    let _ = writeln!(out, "{}{key} = \"{value}\";", "\t".repeat(depth));
    Ok(())
}
