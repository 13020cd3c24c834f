//! From a definition to the wish for its machines.

use cluster::{
    Definition, FilesystemKind, Host, HostSettings, Node, Phase, RenderOptions, SetupStep, Units,
    VirtdProgram, host_units, node_units, render_host, render_node, storage_setup,
};

use super::{Desired, Preparation, Wanted};
use crate::keys::Keys;
use crate::machine::{BadDestination, Machine, Role};

/// Why a definition cannot be put on machines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDeployable {
    /// A machine cannot be addressed.
    #[error("{machine}: {source}")]
    Destination {
        /// Which.
        machine: String,
        /// Why not.
        source: BadDestination,
    },
    /// A host's configuration cannot be written.
    #[error("{machine}: {source}")]
    Host {
        /// Which.
        machine: String,
        /// Why not.
        source: cluster::Invalid,
    },
}

impl Desired {
    /// What `definition` wants of its nodes, and of those hosts on which anything is wanted. Where a
    /// machine is reached is the definition's choice; it may be changed afterwards.
    ///
    /// # Errors
    /// When a machine cannot be addressed, or a file not be written.
    pub fn of(
        definition: &Definition,
        keys: &Keys,
        options: &RenderOptions,
    ) -> Result<Self, NotDeployable> {
        let mut machines = Vec::new();
        for host in &definition.hosts {
            let wanted = of_host(definition, host, keys)?;
            if !(wanted.files.is_empty() && wanted.units.is_empty()) {
                machines.push(wanted);
            }
        }
        let steps = storage_setup(definition);
        for node in &definition.nodes {
            machines.push(of_node(definition, node, keys, options, &steps)?);
        }
        Ok(Self {
            cluster: definition.name.to_string(),
            keys: keys.fingerprint(),
            machines,
        })
    }
}

fn machine(name: &str, role: Role, destination: &str) -> Result<Machine, NotDeployable> {
    let destination = destination
        .parse()
        .map_err(|source| NotDeployable::Destination {
            machine: name.to_owned(),
            source,
        })?;
    Ok(Machine::new(name, role, destination))
}

fn of_host(definition: &Definition, host: &Host, keys: &Keys) -> Result<Wanted, NotDeployable> {
    // A node may be called as its host.
    let name = match definition.node(host.name.as_str()) {
        Some(_) => format!("host {}", host.name),
        None => host.name.to_string(),
    };
    let mut wanted = Wanted::new(machine(&name, Role::Host, &host.destination())?);
    if !definition.runs_fence_virtd(host) {
        return Ok(wanted);
    }
    let settings = HostSettings::usual(definition, Some(host));
    wanted.files = render_host(definition, &keys.secrets(), &settings)
        .map_err(|source| NotDeployable::Host {
            machine: name,
            source,
        })?
        .files;
    take_units(&mut wanted, &host_units(definition));
    if let Some(virtd) = &definition.fence_virtd {
        let program = match virtd.program {
            VirtdProgram::FenceXvmd => "fence_xvmd",
            _ => "fence_virtd",
        };
        wanted.programs.push(program.to_owned());
    }
    Ok(wanted)
}

fn of_node(
    definition: &Definition,
    node: &Node,
    keys: &Keys,
    options: &RenderOptions,
    steps: &[SetupStep],
) -> Result<Wanted, NotDeployable> {
    let name = node.name.as_str();
    let mut wanted = Wanted::new(machine(name, Role::Node, &node.destination())?);
    wanted.files = render_node(definition, node, &keys.secrets(), options).files;
    wanted.programs = programs(definition, node);
    take_units(&mut wanted, &node_units(definition, node));
    wanted.addresses = node.addresses.to_vec();
    let own = steps.iter().filter(|step| step.on.contains(&node.name));
    wanted.preparations = own.map(preparation).collect();
    Ok(wanted)
}

fn take_units(wanted: &mut Wanted, units: &Units) {
    let service = |unit: &&str| format!("{unit}.service");
    wanted.units = units.enable.iter().map(service).collect();
    wanted.disabled = units.disable.iter().map(service).collect();
}

/// The programs of a node; the cluster's own are looked for anyway.
fn programs(definition: &Definition, node: &Node) -> Vec<String> {
    let mut out: Vec<String> = definition
        .fence_devices
        .iter()
        .map(|device| device.agent.to_string())
        .collect();
    let mut needs = |needed: bool, program: &str| {
        if needed {
            out.push(program.to_owned());
        }
    };
    let own = |kind: FilesystemKind| definition.filesystems.iter().any(|one| one.kind == kind);
    let enabled = node_units(definition, node).enable;
    needs(
        enabled.iter().any(|unit| unit.ends_with("iscsi")),
        "iscsiadm",
    );
    needs(enabled.contains(&"multipathd"), "multipathd");
    needs(definition.options.sbd.is_some(), "sbd");
    needs(enabled.contains(&"corosync-qdevice"), "corosync-qdevice");
    needs(definition.needs_dlm(), "dlm_controld");
    // Its resource agent asks this whether it runs, and fails to stop it otherwise.
    needs(definition.needs_dlm(), "killall");
    needs(
        definition.volume_groups.iter().any(|group| group.shared),
        "lvmlockd",
    );
    needs(!definition.volume_groups.is_empty(), "lvm");
    needs(own(FilesystemKind::Gfs2), "mkfs.gfs2");
    needs(own(FilesystemKind::Xfs), "mkfs.xfs");
    out.sort();
    out.dedup();
    out
}

fn preparation(step: &SetupStep) -> Preparation {
    Preparation {
        title: step.title.clone(),
        // One script that does both: which is in the environment.
        script: format!(
            "if [ \"$PICKET_PREPARE\" = do ]; then\n{}\nelse\n{}\nfi\n",
            step.script(true),
            step.script(false)
        ),
        clustered: step.phase == Phase::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        Definition::parse("cluster.toml", text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keys go where the daemon runs, and nowhere else.
    #[test]
    fn hosts_without_the_daemon_are_left_alone() {
        let of = |virtd: &str, kind: &str| {
            let text = format!(
                "[cluster]\nname = \"c\"\n[platform]\nkind = \"kvm\"\n[[host]]\nname = \"h1\"\nkind = \"{kind}\"\n\
                 [[node]]\nname = \"n1\"\naddress = \"10.9.0.1\"\n\
                 [[fence]]\nname = \"virt\"\nagent = \"fence_xvm\"\n{virtd}"
            );
            let keys = Keys::from_seed([1; 32]);
            Desired::of(&definition(&text), &keys, &RenderOptions::default())
                .unwrap()
                .hosts()
                .count()
        };
        assert_eq!(of("[fence_virtd]\n", "kvm"), 1);
        assert_eq!(of("", "kvm"), 0);
        assert_eq!(of("[fence_virtd]\n", "vmware"), 0);
    }

    #[test]
    fn every_example_can_be_put_on_machines() {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
        let keys = Keys::from_seed([1; 32]);
        let mut seen = 0;
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let definition = definition(&std::fs::read_to_string(&path).unwrap());
            let desired = Desired::of(&definition, &keys, &RenderOptions::default())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(desired.nodes().count(), definition.nodes.len());
            for node in desired.nodes() {
                assert!(node.file(super::super::COROSYNC_CONF).is_some());
                assert!(node.file(super::super::CIB).is_some());
                assert!(!node.programs.is_empty(), "{}", path.display());
            }
            seen += 1;
        }
        assert!(seen > 0);
    }
}
