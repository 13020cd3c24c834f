//! The platform and its hosts.

use super::super::{ManagerKind, PlatformKind};
use super::{Check, Owners};

pub(super) fn check(check: &mut Check<'_>) {
    let definition = check.definition;
    let hosts = || definition.hosts.iter();
    check.unique_names("host", "host", hosts().map(|host| &host.name));
    let mut addresses = Owners::new();
    for (at, host) in hosts().enumerate() {
        if definition.node(host.name.as_str()).is_some() {
            check.advise(
                ["host".into(), at.into(), "name".into()],
                format!("`{}` is a node and a host", host.name),
                "a machine that runs guests cannot be a member of the cluster of these guests",
            );
        }
        let path = ["host".into(), at.into(), "address".into()];
        let Some(address) = host.address else {
            continue;
        };
        if let Some(first) = addresses.take(address, &host.name) {
            check.say(
                path,
                format!("address {address} already belongs to host `{first}`"),
            );
        }
        if let Some(node) = definition
            .nodes
            .iter()
            .find(|node| node.addresses.contains(&address))
        {
            check.say(
                path,
                format!("address {address} is that of node `{}`", node.name),
            );
        }
    }
    manager(check);
    access(check);
}

/// Options of the access hold no secret, and none twice.
fn access(check: &mut Check<'_>) {
    let Some(access) = &check.definition.platform.access else {
        return;
    };
    for name in access.options.keys() {
        let path = [
            "platform".into(),
            "access".into(),
            "options".into(),
            name.as_str().into(),
        ];
        if name.smells_of_a_secret() {
            check.advise_key(
                path,
                format!("`{name}` seems to be a secret, and a definition is read by many"),
                format!(
                    "write `secrets = {{ {name} = \"/path/of/a/file\" }}`: the file then holds it"
                ),
            );
        } else if access.secrets.contains_key(name) {
            check.advise_key(
                path,
                format!("`{name}` stands in `options` and in `secrets`"),
                "remove it from `options`",
            );
        }
    }
}

/// What manages the hosts must be made for their platform.
fn manager(check: &mut Check<'_>) {
    let platform = &check.definition.platform;
    let Some(manager) = &platform.manager else {
        return;
    };
    let manages = |kind: PlatformKind| match manager.kind {
        ManagerKind::Vcenter | ManagerKind::VirtualCenter => kind == PlatformKind::Vmware,
        ManagerKind::RhevM => kind == PlatformKind::Rhev,
        ManagerKind::FailoverCluster => kind == PlatformKind::HyperV,
        ManagerKind::Scvmm => matches!(kind, PlatformKind::HyperV | PlatformKind::Vmware),
        ManagerKind::PrismCentral => kind == PlatformKind::Nutanix,
        ManagerKind::XenOrchestra => kind == PlatformKind::Xen,
    };
    let hosts = &check.definition.hosts;
    if !manages(platform.kind) && !hosts.iter().filter_map(|host| host.kind).any(manages) {
        check.advise(
            ["platform".into(), "manager".into(), "kind".into()],
            format!(
                "`{}` does not manage `{}` hosts",
                manager.kind, platform.kind
            ),
            "remove `manager`, or correct the platform's `kind`",
        );
    }
}
