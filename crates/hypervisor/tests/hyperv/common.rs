//! Worlds, and hypervisors that look at them.

use std::sync::Arc;
use std::time::Duration;

use https::{Scheme, Trust};
use hypervisor::hyperv::{Address, HyperV, Login, Namespace, Settings};
use hypervisor::{Deadline, GuestRef};
use ntlm::Credentials;
use test_servers::faults::Faults;
use test_servers::http::Server;
use test_servers::hyperv::commands;
use test_servers::hyperv::host::{Host, Policy, Rights, User};
use test_servers::hyperv::world::Shared;
use test_servers::identity::Identity;
use zeroize::Zeroizing;

pub(crate) const VM1: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1";
pub(crate) const VM2: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E2";
pub(crate) const VM3: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E3";

/// Hosts that are running.
pub(crate) struct Rig {
    pub(crate) world: Shared,
    pub(crate) servers: Vec<Server>,
    pub(crate) operations: Faults,
    trust: Option<tempfile::NamedTempFile>,
}

pub(crate) fn policy() -> Policy {
    let user = |name: &str, rights| User {
        domain: "CORP".to_owned(),
        name: name.to_owned(),
        password: "s3cret <é>".to_owned(),
        rights,
    };
    let words = ["blind", "closed", "reader", "nocluster", "noprocess"];
    let mut users = vec![user("ann", Rights::ALL)];
    users.extend(words.map(|word| user(word, Rights::without(word))));
    Policy {
        users,
        basic: false,
        negotiate: true,
        unencrypted: false,
        strict_binding: false,
        certificates: false,
    }
}

impl Rig {
    /// One host `HV1` with `vm1` running and `vm2` off.
    pub(crate) fn host() -> Self {
        Self::new(&format!(
            "node HV1\nguest vm1 {VM1} HV1 2\nguest vm2 {VM2} HV1 3\n"
        ))
    }

    /// A cluster of three, with `vm1` and `vm3` running on HV1 and `vm2` off on HV2.
    pub(crate) fn cluster() -> Self {
        Self::new(&format!(
            "node HV1\nnode HV2\nnode HV3\ncluster HVC\nguest vm1 {VM1} HV1 2 vm1\nguest vm2 {VM2} HV2 3 vm2\n\
             guest vm3 {VM3} HV1 2 vm3\nguest alone 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2EA HV1 2\n"
        ))
    }

    pub(crate) fn new(lines: &str) -> Self {
        Self::with(lines, &policy(), None)
    }

    pub(crate) fn with(lines: &str, policy: &Policy, identity: Option<&Identity>) -> Self {
        let (world, operations) = (Shared::default(), Faults::default());
        commands::run(&mut world.now(), lines).unwrap();
        let names: Vec<String> = world
            .now()
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .collect();
        let start = |name: &String| {
            let certificate = identity.map(Identity::certificate);
            let host = Host::new(
                name,
                "CORP",
                world.clone(),
                policy.clone(),
                certificate,
                operations.clone(),
            );
            Server::start("127.0.0.1:0", identity, Faults::default(), Arc::new(host)).unwrap()
        };
        let servers = names.iter().map(start).collect();
        let trust = identity.map(|identity| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), identity.trusted()).unwrap();
            file
        });
        Self {
            world,
            servers,
            operations,
            trust,
        }
    }

    pub(crate) fn run(&self, lines: &str) {
        commands::run(&mut self.world.now(), lines).unwrap();
    }

    /// A fault in operations.
    pub(crate) fn fault(&self, lines: &str) {
        self.operations.set(lines).unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        let names: Vec<String> = self
            .world
            .now()
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .collect();
        let hosts = names
            .iter()
            .zip(&self.servers)
            .map(|(name, server)| Address {
                node: Some(name.clone()),
                host: "127.0.0.1".to_owned(),
                port: server.address().port(),
            });
        Settings {
            hosts: hosts.collect(),
            cluster: self.world.now().behaviour.cluster.is_some(),
            scheme: if self.trust.is_some() {
                Scheme::Https
            } else {
                Scheme::Http
            },
            trust: match &self.trust {
                Some(file) => Trust::Authorities(file.path().to_owned()),
                None => Trust::System,
            },
            login: negotiate("ann"),
            namespace: Namespace::Auto,
            kill_worker: None,
            step: Duration::from_secs(2),
            interrupt: None,
        }
    }

    pub(crate) fn hyperv(&self) -> HyperV {
        HyperV::new(self.settings())
    }

    /// The node that has a guest, as only the server knows it.
    pub(crate) fn node(&self, guid: &str) -> String {
        let GuestRef::Uuid(guid) = GuestRef::parse(guid) else {
            panic!("no GUID")
        };
        let mut world = self.world.now();
        world.guest(guid).expect("the guest exists").node.clone()
    }

    /// The state of a guest as only the server knows it, and how often it was started and stopped.
    pub(crate) fn truth(&self, guid: &str) -> (u32, u32, u32) {
        let guid = GuestRef::parse(guid);
        let GuestRef::Uuid(guid) = guid else {
            panic!("no GUID")
        };
        let mut world = self.world.now();
        let guest = world.guest(guid).expect("the guest exists");
        (guest.state, guest.starts, guest.stops)
    }
}

pub(crate) fn negotiate(user: &str) -> Login {
    let password = Zeroizing::new("s3cret <é>".to_owned());
    Login::Negotiate(Credentials::new(&format!("CORP\\{user}"), password))
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(8))
}

pub(crate) fn named(text: &str) -> GuestRef {
    GuestRef::parse(text)
}
