//! What was found, for people, and as a fragment of a definition.

use std::fmt::Write as _;

use cluster::{Definition, FenceDevice};
use comfy_table::{ContentArrangement, Table, presets};

use super::identity::Identity;
use super::nodes::{Found, Match};

/// One guest, as it sees itself.
pub(super) fn guest(identity: &Identity) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{what:<10} {value}");
    };
    line(
        "platform",
        identity.platform.as_deref().unwrap_or("not recognized"),
    );
    if let Some(product) = &identity.product {
        line("machine", product);
    }
    for candidate in &identity.candidates {
        let doubt = if candidate.is_sure { "" } else { "perhaps " };
        line(
            "uuid",
            &format!("{doubt}{} ({})", candidate.uuid, candidate.from),
        );
    }
    if let Some(name) = &identity.name {
        line("guest", name);
    }
    if let Some(host) = &identity.host {
        line("host", host);
    }
    if let Some(cid) = identity.cid {
        line("vsock", &cid.to_string());
    }
    for plug in &identity.plugs {
        let doubt = if plug.is_sure { "" } else { "perhaps " };
        line("plug", &format!("{doubt}{} for {}", plug.plug, plug.agent));
    }
    for note in &identity.notes {
        line("note:", note);
    }
    text
}

/// The nodes of a definition.
pub(super) fn nodes(all: &[Found]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["NODE", "UUID", "GUEST", "DEFINITION"]);
    for found in all {
        let uuid = found.uuid().unwrap_or_else(|| "unknown".to_owned());
        table.add_row([
            found.node.as_str(),
            &uuid,
            found.name().unwrap_or("unknown"),
            match found.agreement {
                Match::Same => "means it",
                Match::NotSaid => "does not say",
                Match::Other => "MEANS ANOTHER",
                Match::Unknown => "unknown",
            },
        ]);
    }
    let mut text: String = table
        .to_string()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    text.push('\n');
    for found in all {
        let _ = writeln!(text, "{} {}", found.node, found.message);
    }
    text
}

/// What the definition could say: UUIDs of nodes, and plugs of the devices that ask the platform. TOML; what cannot be known
/// is left out, and said so in a comment.
pub(super) fn fragment(definition: &Definition, all: &[Found]) -> String {
    let mut text = String::from(
        "# Who the nodes are on their platform, as `picket discover` found it. Take these lines into the tables\n\
         # of the same names.\n",
    );
    for found in all {
        let Some(uuid) = found.uuid().filter(|_| found.agreement.is_right()) else {
            let _ = writeln!(
                text,
                "\n# {} {}",
                found.node,
                found.message.replace(['\n', '\r'], " ")
            );
            continue;
        };
        let _ = write!(
            text,
            "\n[[node]]\nname = {}\nuuid = {}\n",
            quoted(&found.node),
            quoted(&uuid)
        );
        if let Some(name) = found.name().filter(|name| *name != found.node) {
            let _ = writeln!(text, "guest = {}", quoted(name));
        }
    }
    for device in &definition.fence_devices {
        text.push_str(&plugs(definition, device, all));
    }
    text
}

fn plugs(definition: &Definition, device: &FenceDevice, all: &[Found]) -> String {
    let agent = device.agent.as_str();
    if !device.asks_platform() {
        return String::new();
    }
    let plugs: Vec<String> = all
        .iter()
        .filter(|found| found.agreement.is_right())
        .filter_map(|found| {
            let node = definition.node(&found.node)?;
            // REST finds nobody by UUID.
            let plug = if agent == "fence_vmware_rest" {
                found.name()?.to_owned()
            } else {
                found.uuid()?
            };
            definition
                .can_fence(device, node)
                .then(|| format!("{} = {}", quoted(&found.node), quoted(&plug)))
        })
        .collect();
    if plugs.is_empty() {
        return String::new();
    }
    format!(
        "\n[[fence]]\nname = {}\nplugs = {{ {} }}\n",
        quoted(device.name.as_str()),
        plugs.join(", ")
    )
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
