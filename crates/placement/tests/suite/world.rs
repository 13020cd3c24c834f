//! A definition, and the in-memory platform it is of.

use std::time::Duration;

use cluster::Definition;
use deadline::Deadline;
use hypervisor::GuestRef;
use hypervisor::memory::{MemoryGuest, MemoryHypervisor};
use hypervisor::placement::Placement as _;
use jiff::Timestamp;
use placement::{Outcome, Plan, Report, Wish, assess, enact, look, plan};

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A member: its host on the platform, its pins there, and what the definition says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) on: Option<usize>,
    pub(crate) pins: Vec<usize>,
    pub(crate) defined: Option<usize>,
    pub(crate) pinned: bool,
}

/// Hosts `h0`, `h1` … and nodes `n0`, `n1` …
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) kind: &'static str,
    pub(crate) affinity: &'static str,
    pub(crate) may_move: bool,
    pub(crate) rules: bool,
    pub(crate) hosts: Vec<bool>,
    pub(crate) nodes: Vec<Node>,
}

impl World {
    pub(crate) fn new(kind: &'static str, hosts: usize, on: &[Option<usize>]) -> Self {
        let node = |on: &Option<usize>| Node {
            on: *on,
            ..Node::default()
        };
        Self {
            kind,
            affinity: "none",
            may_move: true,
            rules: kind != "kvm",
            hosts: vec![true; hosts],
            nodes: on.iter().map(node).collect(),
        }
    }

    pub(crate) fn wish(&self) -> Wish {
        let mut text = format!(
            "[cluster]\nname = \"web\"\n[platform]\nkind = \"{}\"\nlive_migration = {}\nanti_affinity = \"{}\"\n",
            self.kind, self.may_move, self.affinity
        );
        for (at, _) in self.hosts.iter().enumerate() {
            text.push_str(&format!("[[host]]\nname = \"h{at}\"\n"));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            text.push_str(&format!(
                "[[node]]\nname = \"n{at}\"\naddress = \"192.0.2.{}\"\n",
                at + 1
            ));
            if let Some(host) = node.defined {
                text.push_str(&format!("host = \"h{host}\"\npinned = {}\n", node.pinned));
            }
        }
        let definition = Definition::parse("cluster.toml", &text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        Wish::of(&definition).unwrap()
    }

    pub(crate) fn platform(&self) -> MemoryHypervisor {
        let platform = MemoryHypervisor::new("memory");
        for (at, usable) in self.hosts.iter().enumerate() {
            platform.add_host(&format!("h{at}"), *usable);
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let name = format!("n{at}");
            match node.on {
                Some(host) => {
                    platform.add(MemoryGuest::running(&name));
                    platform.put(&name, &format!("h{host}"));
                }
                None => platform.add(MemoryGuest::shut_off(&name)),
            }
            let pins: Vec<String> = node.pins.iter().map(|host| format!("h{host}")).collect();
            platform.pin(&GuestRef::Name(name), &pins, soon()).unwrap();
        }
        if !self.rules {
            platform.set_placement_faults(hypervisor::memory::PlacementFaults {
                no_rules: Some("there are none".to_owned()),
                ..Default::default()
            });
        }
        platform
    }
}

pub(crate) fn report(wish: &Wish, platform: &MemoryHypervisor) -> Report {
    let seen = look(platform, wish, soon());
    assess(wish, &seen, "memory", Timestamp::UNIX_EPOCH)
}

pub(crate) fn planned(wish: &Wish, platform: &MemoryHypervisor) -> Plan {
    plan(wish, &look(platform, wish, soon()))
}

/// Carries a plan out; what became of each step.
pub(crate) fn carry_out(plan: &Plan, platform: &MemoryHypervisor) -> Vec<Outcome> {
    plan.steps
        .iter()
        .map(|step| enact(platform, step, soon()))
        .collect()
}
