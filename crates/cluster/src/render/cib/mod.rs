//! The Pacemaker configuration of a cluster that starts for the first time.
//!
//! Ids: `fence.DEVICE` or `fence.DEVICE.NODE` for fencing devices, `SERVICE` and `SERVICE.RESOURCE` for
//! services, `cluster.…` for everything else. No service is called `fence` or `cluster`, and none of the
//! names of services, devices, resources, volumes and file systems holds a dot, so each id is made of
//! its parts in one way only. A node's name, which may hold dots, always comes last.

mod fencing;
mod parts;
mod services;
mod storage;

use crate::definition::{Definition, Dialect, FenceAction};
use crate::render::xml::Element;
use parts::{pair, set};

/// The newest feature set that Pacemaker 2.1.5 (Debian 12) has. A higher one than a node's own keeps
/// that node out of the cluster; a lower one is raised by Pacemaker itself.
const FEATURE_SET: &str = "3.16.1";

/// The newest schema that Pacemaker 2.1.5 has. Newer versions translate it when they read it.
const SCHEMA: &str = "pacemaker-3.9";

/// The configuration as XML.
pub(crate) fn xml(definition: &Definition, dialect: Dialect) -> Vec<u8> {
    let resources = fencing::resources(definition)
        .into_iter()
        .chain(storage::resources(definition))
        .chain(services::resources(definition));
    let constraints = fencing::bans(definition)
        .into_iter()
        .chain(storage::constraints(definition))
        .chain(services::constraints(definition));
    Element::new("cib")
        .with("crm_feature_set", FEATURE_SET)
        .with("validate-with", SCHEMA)
        .with("admin_epoch", "0")
        .with("epoch", "1")
        .with("num_updates", "0")
        .holding([
            Element::new("configuration").holding(
                [
                    Element::new("crm_config").holding(properties(definition, dialect)),
                    Element::new("nodes"),
                    Element::new("resources").holding(resources),
                    Element::new("constraints").holding(constraints),
                ]
                .into_iter()
                .chain(fencing::topology(definition))
                .chain([Element::new("rsc_defaults").holding(defaults(definition))]),
            ),
            Element::new("status"),
        ])
        .to_document()
}

/// The cluster options. Pacemaker 3.0.2 gave those about fencing new names; it and later versions read
/// both, earlier ones only the old.
fn properties(definition: &Definition, dialect: Dialect) -> Option<Element> {
    let named = |what: &str| match dialect {
        Dialect::Stonith => format!("stonith-{what}"),
        Dialect::Fencing => format!("fencing-{what}"),
    };
    let action = match definition.fencing.action {
        FenceAction::Reboot => "reboot",
        FenceAction::Off => "off",
    };
    // A node that has lost the quorum cannot unmount what needs the others' locks: if it tried, each
    // loss of the quorum would end with the node fenced.
    let without_quorum = if definition.needs_dlm() {
        "freeze"
    } else {
        "stop"
    };
    let mut pairs = vec![
        pair("cluster-name", definition.name.as_str()),
        pair(&named("enabled"), "true"),
        pair(&named("action"), action),
        pair(&named("timeout"), definition.fencing.timeout.to_string()),
    ];
    if let Some(timeout) = watchdog_timeout(definition) {
        pairs.push(pair(&named("watchdog-timeout"), timeout));
        // Each coordinator writes what it finds when it takes over. Until then the scheduler, and
        // whoever checks this file, would take a cluster without devices for one without fencing.
        pairs.push(pair("have-watchdog", "true"));
    }
    pairs.push(pair("no-quorum-policy", without_quorum));
    pairs.push(pair(
        "dc-deadtime",
        definition.options.dc_deadtime.to_string(),
    ));
    set("cluster_property_set", "cluster._options", &pairs)
}

/// After how long a lost node counts as reset by its own watchdog, in sbd's mode without devices: twice
/// the watchdog's time. With devices the message left on them is the fencing, and this must stay unset.
fn watchdog_timeout(definition: &Definition) -> Option<String> {
    let sbd = definition.options.sbd.as_ref()?;
    sbd.devices
        .is_empty()
        .then(|| format!("{}ms", sbd.watchdog_timeout.millis() * 2))
}

/// A service stays where it is when a repaired node comes back: moving it would interrupt it again.
fn defaults(definition: &Definition) -> Option<Element> {
    let stickiness = definition.options.stickiness.get().to_string();
    let pairs = vec![pair("resource-stickiness", stickiness)];
    set("meta_attributes", "cluster._defaults", &pairs)
}
