//! The world as classes and instances.

use super::world::{Guest, World, enabled};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    /// A point in time.
    Time(String),
    Array(Vec<String>),
    /// An instance within: its class and properties.
    Object(Instance),
    /// A reference: the URI and the keys.
    Reference(String, Vec<(String, String)>),
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) class: String,
    pub(super) properties: Vec<(String, Value)>,
}

impl Instance {
    pub(super) fn new(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            properties: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, name: &str, value: impl ToString) {
        self.set(name, Value::Text(value.to_string()));
    }

    pub(super) fn null(&mut self, name: &str) {
        self.set(name, Value::Null);
    }

    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.remove(name);
        self.properties.push((name.to_owned(), value));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.properties
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let found = self
            .properties
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        match found {
            Some((_, Value::Text(text) | Value::Time(text))) => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether it is the one with these keys.
    pub(super) fn has_keys(&self, keys: &[(String, String)]) -> bool {
        !keys.is_empty()
            && keys.iter().all(|(name, value)| {
                name.eq_ignore_ascii_case("__cimnamespace")
                    || self
                        .text(name)
                        .is_some_and(|text| text.eq_ignore_ascii_case(value))
            })
    }
}

/// What a client has asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View<'a> {
    /// The node that was asked.
    pub(super) node: &'a str,
    /// The namespace, in lower case with slashes.
    pub(super) namespace: &'a str,
    /// Whether guests, and the host, are shown.
    pub(super) sees: bool,
}

/// All instances of a class; none if there is no such class or namespace here.
pub(super) fn instances(world: &World, view: View<'_>, class: &str) -> Option<Vec<Instance>> {
    let v2 = view.namespace == "root/virtualization/v2" && world.behaviour.v2;
    let v1 = view.namespace == "root/virtualization" && world.behaviour.v1;
    let clustered = view.namespace == "root/mscluster" && world.behaviour.cluster.is_some();
    let class = class.to_lowercase();
    Some(match class.as_str() {
        "msvm_computersystem" if (v1 || v2) && !view.sees => Vec::new(),
        "msvm_computersystem" if v1 || v2 => systems(world, view.node, v1),
        "msvm_concretejob" if v1 || v2 => jobs(world),
        "mscluster_resource" if clustered => resources(world),
        "mscluster_resourcegroup" if clustered => groups(world),
        "mscluster_node" if clustered => nodes(world),
        "mscluster_cluster" if clustered => vec![cluster(world)],
        "win32_process" if view.namespace == "root/cimv2" => processes(world, view.node),
        _ => return None,
    })
}

fn systems(world: &World, node: &str, v1: bool) -> Vec<Instance> {
    let mut host = Instance::new("Msvm_ComputerSystem");
    host.put("CreationClassName", "Msvm_ComputerSystem");
    host.put("Caption", "Hosting Computer System");
    host.put("Description", "Microsoft Hosting Computer System");
    host.put("ElementName", node);
    host.put("EnabledState", enabled::ON);
    host.null("InstallDate");
    host.put("Name", node);
    host.set("OperationalStatus", Value::Array(vec!["2".to_owned()]));
    let guests = world
        .guests
        .iter()
        .filter(|guest| guest.node.eq_ignore_ascii_case(node));
    std::iter::once(host)
        .chain(guests.map(|guest| system(guest, v1)))
        .collect()
}

fn system(guest: &Guest, v1: bool) -> Instance {
    let mut system = Instance::new("Msvm_ComputerSystem");
    system.null("AvailableRequestedStates");
    system.put("Caption", "Virtual Machine");
    system.put("CreationClassName", "Msvm_ComputerSystem");
    system.put("Description", "Microsoft Virtual Computer System");
    system.put("ElementName", &guest.name);
    system.put("EnabledDefault", "2");
    // The old namespace has numbers of its own for what is neither on nor off.
    let state = match (v1, guest.state) {
        (true, enabled::STARTING) => 32770,
        (true, enabled::STOPPING) => 32774,
        (true, enabled::SAVED) => enabled::SAVED_V1,
        (true, 9) => 32768,
        (_, state) => state,
    };
    system.put("EnabledState", state);
    system.put("HealthState", "5");
    system.set(
        "InstallDate",
        Value::Time("2024-05-17T09:30:00Z".to_owned()),
    );
    system.put("Name", guest.guid.hyphenated().to_string().to_uppercase());
    let migrating = matches!(&guest.change, Some(change) if matches!(change.to, super::world::Outcome::Node(_)));
    let mut statuses = vec![if guest.change.is_some() { "11" } else { "2" }.to_owned()];
    if migrating {
        statuses.push("32774".to_owned());
    }
    system.set("OperationalStatus", Value::Array(statuses));
    match guest.process {
        Some(process) => system.put("ProcessID", process),
        None => system.null("ProcessID"),
    }
    system.put("RequestedState", "12");
    if !v1 {
        system.put("ReplicationMode", "0");
        system.put("FailedOverReplicationType", "0");
    }
    for (name, value) in &guest.extra {
        if name == "OperationalStatus" {
            system.set(
                name,
                Value::Array(value.split(',').map(str::to_owned).collect()),
            );
        } else {
            system.put(name, value);
        }
    }
    system
}

fn jobs(world: &World) -> Vec<Instance> {
    let job = |(id, job): (&String, &super::world::Job)| {
        let mut instance = Instance::new("Msvm_ConcreteJob");
        instance.put("InstanceID", id);
        instance.put("JobState", job.state);
        instance.put("PercentComplete", if job.state == 7 { "100" } else { "50" });
        instance.put("ErrorCode", if job.state == 10 { "32768" } else { "0" });
        match (&job.error, job.state) {
            (Some(error), 10) => instance.put("ErrorDescription", error),
            _ => instance.null("ErrorDescription"),
        }
        instance
    };
    world.jobs.iter().map(job).collect()
}

/// The states of a resource follow those of its guest: off and saved are offline, everything else is online.
fn resource_state(guest: &Guest) -> u32 {
    let told = guest.role.as_ref().and_then(|role| role.state);
    told.unwrap_or_else(|| {
        if World::has_process(guest.state) {
            2
        } else {
            3
        }
    })
}

fn resources(world: &World) -> Vec<Instance> {
    let mut all = Vec::new();
    for guest in &world.guests {
        let Some(role) = &guest.role else { continue };
        for (kind, prefix) in [
            ("Virtual Machine", ""),
            ("Virtual Machine Configuration", "Configuration "),
        ] {
            let mut private = Instance::new("MSCluster_Property");
            private.put("VmID", guest.guid.hyphenated());
            private.put("OfflineAction", "1");
            let mut resource = Instance::new("MSCluster_Resource");
            resource.put("Name", format!("Virtual Machine {prefix}{}", role.group));
            resource.put("Type", kind);
            resource.put(
                "State",
                if kind == "Virtual Machine" {
                    resource_state(guest)
                } else {
                    2
                },
            );
            resource.put("OwnerGroup", &role.group);
            resource.put("OwnerNode", &guest.node);
            resource.set("PrivateProperties", Value::Object(private));
            all.push(resource);
        }
    }
    all
}

fn groups(world: &World) -> Vec<Instance> {
    let mut core = Instance::new("MSCluster_ResourceGroup");
    core.put("Name", "Cluster Group");
    core.put("GroupType", "1");
    core.put("State", "0");
    core.put(
        "OwnerNode",
        world.nodes.first().map_or("", |node| &node.name),
    );
    core.null("AntiAffinityClassNames");
    let group = |guest: &Guest| {
        let role = guest.role.as_ref()?;
        let mut group = Instance::new("MSCluster_ResourceGroup");
        group.put("Name", &role.group);
        group.put("Id", "3b1f2a40-0000-4000-8000-000000000001");
        group.put("GroupType", "111");
        group.put("State", if resource_state(guest) == 2 { "0" } else { "1" });
        group.put("OwnerNode", &guest.node);
        group.put("Priority", "2000");
        group.put("Description", "a \"role\" & <more>");
        if role.apart.is_empty() {
            group.null("AntiAffinityClassNames");
        } else {
            group.set("AntiAffinityClassNames", Value::Array(role.apart.clone()));
        }
        group.set(
            "PrivateProperties",
            Value::Object(Instance::new("MSCluster_Property")),
        );
        Some(group)
    };
    std::iter::once(core)
        .chain(world.guests.iter().filter_map(group))
        .collect()
}

fn nodes(world: &World) -> Vec<Instance> {
    let node = |node: &super::world::Node| {
        let mut instance = Instance::new("MSCluster_Node");
        instance.put("CreationClassName", "MSCluster_Node");
        instance.put("Name", &node.name);
        instance.put("State", node.state);
        instance.put("StatusInformation", "0");
        instance
    };
    world.nodes.iter().map(node).collect()
}

fn cluster(world: &World) -> Instance {
    let mut cluster = Instance::new("MSCluster_Cluster");
    cluster.put(
        "Name",
        world.behaviour.cluster.as_deref().unwrap_or_default(),
    );
    cluster.put(
        "ClusterEnforcedAntiAffinity",
        u32::from(world.behaviour.enforced),
    );
    cluster
}

fn processes(world: &World, node: &str) -> Vec<Instance> {
    let mut all = Vec::new();
    let mut add = |id: u32, name: &str, line: &str| {
        let mut process = Instance::new("Win32_Process");
        process.put("Handle", id);
        process.put("ProcessId", id);
        process.put("Name", name);
        process.put("CommandLine", line);
        all.push(process);
    };
    add(4, "System", "");
    add(
        612,
        "svchost.exe",
        "C:\\Windows\\system32\\svchost.exe -k netsvcs",
    );
    for guest in world
        .guests
        .iter()
        .filter(|guest| guest.node.eq_ignore_ascii_case(node))
    {
        if let Some(process) = guest.process {
            let guid = guest.guid.hyphenated().to_string().to_uppercase();
            add(
                process,
                "vmwp.exe",
                &format!("\"C:\\Windows\\System32\\vmwp.exe\" {guid}"),
            );
        }
    }
    all
}
