//! What should run, and why some of it does not: it failed, it is not there, or an administrator keeps
//! it from running.
//!
//! An administrator's word is what a command has set and no configuration holds: a node in standby or
//! maintenance, a ban of `crm_resource` (`cli-…`), the options that stop or freeze everything. Whatever
//! else does not run counts as a failure.

use std::collections::BTreeSet;

use crate::pacemaker::{Node, Resource, Role, View};

/// A resource that should run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its id.
    pub id: String,
    /// Its agent, such as `ocf:heartbeat:IPaddr2`; an empty one fits all.
    pub agent: String,
    /// Whether it runs on every node that it may run on, not on one of them: a clone without limit.
    pub everywhere: bool,
    /// The nodes that the configuration itself keeps it from.
    pub kept_off: BTreeSet<String>,
    /// Its own id and those of what it is inside of.
    pub names: BTreeSet<String>,
    /// What it must share a node with, directly or along a chain: what bans that bans it.
    pub with: BTreeSet<String>,
    /// What has to start before it.
    pub after: BTreeSet<String>,
    /// What it must not share a node with.
    pub apart_from: BTreeSet<String>,
}

/// Why a resource does not run as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The cluster does not have it.
    Missing,
    /// The cluster has something else by its name.
    Different,
    /// It failed.
    Failed,
    /// It is being started or stopped.
    Changing,
    /// It does not run, or on too few nodes, and nobody said so.
    NotRunning,
    /// It does not run, or on too few nodes, because an administrator said so.
    Held,
}

/// A resource that does not run as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its id.
    pub resource: String,
    /// Why.
    pub why: Why,
    /// Whether it runs at least somewhere.
    pub runs: bool,
    /// The same for people, to be read after its id: `is not started`.
    pub message: String,
}

/// What does not run as it should, of `expected` on `nodes`, in the order of `expected`.
#[must_use]
pub fn findings(view: &View, nodes: &[&str], expected: &[Expected]) -> Vec<Finding> {
    let look = Look { view, nodes };
    let mut found: Vec<Finding> = expected
        .iter()
        .filter_map(|resource| look.of(resource))
        .collect();
    // What waits for something that an administrator holds is held as well, and so on along the chain.
    for _ in 0..expected.len() {
        if !spread(expected, &mut found) {
            break;
        }
    }
    found
}

/// Resources of the cluster, fencing devices among them, that nobody expects.
#[must_use]
pub fn unexpected<'a>(view: &'a View, expected: &[Expected]) -> BTreeSet<&'a str> {
    view.resources
        .iter()
        .filter(|resource| resource.orphaned != Some(true))
        .map(|resource| base(&resource.id))
        .filter(|id| !expected.iter().any(|known| known.id == *id))
        .collect()
}

/// Whether anything was taken for held that was not before.
fn spread(expected: &[Expected], found: &mut [Finding]) -> bool {
    let of = |id: &str| expected.iter().find(|one| one.id == id);
    let held: Vec<&Expected> = found
        .iter()
        .filter(|finding| finding.why == Why::Held && !finding.runs)
        .filter_map(|finding| of(&finding.resource))
        .collect();
    let mut changed = false;
    for finding in found {
        let waiting = of(&finding.resource).filter(|_| finding.why == Why::NotRunning);
        let Some(own) = waiting else { continue };
        let waits_for = held
            .iter()
            .find(|first| !first.names.is_disjoint(&own.after));
        if let Some(first) = waits_for.map(|first| &first.id) {
            finding.why = Why::Held;
            finding.message = format!(
                "{}: it starts after {first}, which is held",
                finding.message
            );
            changed = true;
        }
    }
    changed
}

struct Look<'a> {
    view: &'a View,
    nodes: &'a [&'a str],
}

impl<'a> Look<'a> {
    fn of(&self, expected: &Expected) -> Option<Finding> {
        let instances: Vec<&Resource> = self
            .view
            .resources
            .iter()
            .filter(|one| base(&one.id) == expected.id && one.orphaned != Some(true))
            .collect();
        let runs = instances.iter().any(|one| one.role.runs());
        let finding = |why, message: String| {
            Some(Finding {
                resource: expected.id.clone(),
                why,
                runs,
                message,
            })
        };
        if instances.is_empty() {
            return finding(Why::Missing, "is not in the cluster".to_owned());
        }
        let mut agents = instances.iter().filter_map(|one| one.agent.as_deref());
        let is_other = |agent: &&str| !expected.agent.is_empty() && **agent != expected.agent;
        if let Some(other) = agents.find(is_other) {
            let message = format!("is of {other} in the cluster, not of {}", expected.agent);
            return finding(Why::Different, message);
        }
        if instances.iter().any(|one| one.failed == Some(true)) {
            return finding(Why::Failed, "has failed".to_owned());
        }
        if let Some(pending) = instances.iter().find_map(|one| one.pending.as_deref()) {
            return finding(Why::Changing, format!("is {}", pending.to_lowercase()));
        }
        let (short, message) = self.shortage(expected, &instances)?;
        match self.hold(expected, &instances, short) {
            Some(reasons) => finding(Why::Held, format!("{message}: {reasons}")),
            None => finding(Why::NotRunning, message),
        }
    }

    /// Where it lacks an instance, and in words; `None` when it runs as it should.
    fn shortage(
        &self,
        expected: &Expected,
        instances: &[&Resource],
    ) -> Option<(Vec<&'a str>, String)> {
        let running = instances.iter().filter(|one| one.role.runs()).count();
        // That a node is offline is told of the node. It explains that a clone has fewer instances, and
        // does not explain that nothing runs.
        let counts = |node: &&str| running == 0 || self.is_online(node);
        let allowed = |node: &&str| !expected.kept_off.contains(*node);
        let nodes = self.nodes.iter().copied();
        let may: Vec<&str> = nodes.filter(allowed).filter(counts).collect();
        let wanted = if expected.everywhere {
            may.len().max(1)
        } else {
            1
        };
        let message = match running {
            0 => "is not started".to_owned(),
            _ if running < wanted => format!("is started on {running} of {wanted} nodes"),
            _ => return None,
        };
        let lacks = |node: &&str| {
            !instances
                .iter()
                .any(|one| one.role.runs() && one.nodes.iter().any(|on| on == node))
        };
        Some((may.into_iter().filter(lacks).collect(), message))
    }

    fn is_online(&self, name: &str) -> bool {
        let mut nodes = self.view.nodes.iter();
        nodes.any(|node| node.name == name && node.online == Some(true))
    }

    /// The administrator's words that explain all of the shortage; `None` where they do not.
    fn hold(
        &self,
        expected: &Expected,
        instances: &[&Resource],
        short: Vec<&str>,
    ) -> Option<String> {
        let options = &self.view.options;
        if options.stop_all == Some(true) {
            return Some("all resources are to be stopped (stop-all-resources)".to_owned());
        }
        if options.maintenance == Some(true) {
            return Some("the cluster is in maintenance mode".to_owned());
        }
        if !instances.is_empty() && instances.iter().all(|one| one.should_be_stopped()) {
            return Some("it is to be stopped (target-role)".to_owned());
        }
        let mut reasons = BTreeSet::new();
        for node in short {
            match self.held_on(expected, node) {
                Some(reason) => reasons.insert(reason),
                // By itself that is no administrator's doing.
                None if self.is_taken(expected, node) => continue,
                None => return None,
            };
        }
        let reasons: Vec<String> = reasons.into_iter().collect();
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }

    /// What keeps it off a node on an administrator's word.
    fn held_on(&self, expected: &Expected, node: &str) -> Option<String> {
        let known = self.view.nodes.iter().find(|known| known.name == node);
        if let Some(word) = known.and_then(set_aside) {
            return Some(format!("{node} is in {word}"));
        }
        let ban = self.view.bans.iter().find(|ban| {
            let bans_it =
                expected.names.contains(&ban.resource) || expected.with.contains(&ban.resource);
            ban.is_by_hand() && ban.node == node && bans_it
        })?;
        Some(format!(
            "{} is banned from {node} ({})",
            ban.resource, ban.id
        ))
    }

    /// Whether something runs on the node that it must not share it with.
    fn is_taken(&self, expected: &Expected, node: &str) -> bool {
        self.view.resources.iter().any(|other| {
            let own = |name: &str| expected.apart_from.contains(name);
            let is_other = own(&other.id) || other.inside.iter().any(|outer| own(&outer.id));
            is_other && other.role != Role::Stopped && other.nodes.iter().any(|on| on == node)
        })
    }
}

/// In which of the two ways a healthy node is set aside by an administrator. A standby after a failure
/// is none of them.
fn set_aside(node: &Node) -> Option<&'static str> {
    if node.online != Some(true) || node.standby_on_failure == Some(true) {
        None
    } else if node.standby == Some(true) {
        Some("standby")
    } else if node.maintenance == Some(true) {
        Some("maintenance")
    } else {
        None
    }
}

/// An instance's id without its number.
fn base(id: &str) -> &str {
    id.split_once(':').map_or(id, |(base, _)| base)
}
