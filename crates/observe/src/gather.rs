//! Asks all machines at once and puts their answers together.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use deadline::Deadline;
use jiff::Timestamp;

use crate::assess;
use crate::corosync;
use crate::expected::Expected;
use crate::host::{self, Daemon, DaemonState, Guests};
use crate::pacemaker::{self, Unreadable, View};
use crate::question::{self, Answers, Said};
use crate::source::{Machine, Source, Unanswered};
use crate::status::{FORMAT, Health, HostReport, NodeAnswer, NodeReport, Placement, Status};

/// What there is to be seen, and what it should look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The nodes to ask.
    pub nodes: Vec<ExpectedNode>,
    /// Whether [`Self::nodes`] are all that the cluster should have.
    pub complete: bool,
    /// All resources, fencing devices among them; `None` where no definition tells.
    pub resources: Option<Vec<Expected>>,
    /// The hosts of the guests.
    pub hosts: Vec<Host>,
}

/// A node of the cluster as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedNode {
    /// Its name.
    pub name: String,
    /// Whether to leave it alone.
    pub skip: bool,
    /// What the platform calls it, if it is a guest.
    pub guest: Option<String>,
    /// Its UUID on the platform, if it is known.
    pub uuid: Option<String>,
    /// The host it should run on.
    pub host: Option<String>,
    /// Whether it may run only there.
    pub pinned: bool,
}

/// A host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Whether to leave it alone: not every platform's hosts can be asked.
    pub skip: bool,
    /// Its libvirt URI.
    pub uri: Option<String>,
    /// Its fencing daemon.
    pub daemon: Option<Daemon>,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The most that everything together may take.
    pub limit: Duration,
    /// Once a node with quorum has answered, the others have this long, or three times what that one
    /// took; a dead one is no reason to keep the living waiting.
    pub settle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(10),
            settle: Duration::from_secs(3),
        }
    }
}

/// Asks every machine of `inventory` at once and says what is known then.
#[must_use]
pub fn gather(inventory: &Inventory, source: &Arc<dyn Source>, patience: Patience) -> Status {
    let begun = Instant::now();
    let mut round = Round::begin(inventory, source, patience);
    round.collect(patience);
    if round.waiting > 0 {
        source.give_up();
    }
    let Round { nodes, hosts, .. } = round;
    let mut status = Status {
        format: FORMAT,
        cluster: inventory.cluster.clone(),
        taken_at: Timestamp::now(),
        took_ms: millis(begun.elapsed()),
        health: Health::Unreachable,
        summary: String::new(),
        alarms: Vec::new(),
        seen_by: None,
        view: None,
        quorum: None,
        asked: nodes,
        guests: Vec::new(),
        hosts,
    };
    status.guests = placements(inventory, &status.hosts);
    assess::assess(&mut status, inventory);
    status
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Which machine an answer is from: its place in the inventory.
#[derive(Clone, Copy)]
enum Place {
    Node(usize),
    Host(usize),
}

struct Heard {
    from: Place,
    answer: Result<Vec<u8>, Unanswered>,
    took: Duration,
    at: Timestamp,
}

struct Round<'a> {
    inventory: &'a Inventory,
    nodes: Vec<NodeReport>,
    hosts: Vec<HostReport>,
    waiting: usize,
    deadline: Deadline,
    receiver: Receiver<Heard>,
}

impl<'a> Round<'a> {
    fn begin(inventory: &'a Inventory, source: &Arc<dyn Source>, patience: Patience) -> Self {
        let deadline = Deadline::after(patience.limit);
        let (sender, receiver) = mpsc::channel();
        // Tools end before the machine's answer is given up.
        let tool = patience.limit.mul_f32(0.6);
        let script = question::of_node(tool).script();
        let mut waiting = 0;
        let mut ask = |from: Place, name: &str, script: String| {
            waiting += 1;
            let (name, source, sender) = (name.to_owned(), Arc::clone(source), sender.clone());
            // Not scoped: a source that ignores its deadline is left behind.
            let asker = thread::Builder::new().name(format!("ask {name}"));
            let failed = sender.clone();
            let started = asker.spawn(move || {
                let begun = Instant::now();
                let machine = match from {
                    Place::Node(_) => Machine::Node(&name),
                    Place::Host(_) => Machine::Host(&name),
                };
                let answer = source.ask(machine, &script, deadline);
                let heard = Heard {
                    from,
                    answer,
                    took: begun.elapsed(),
                    at: Timestamp::now(),
                };
                // Nobody listens any more when the time is up.
                let _ = sender.send(heard);
            });
            if let Err(error) = started {
                let _ = failed.send(Heard {
                    from,
                    answer: Err(Unanswered::Local {
                        detail: error.to_string(),
                    }),
                    took: Duration::ZERO,
                    at: Timestamp::now(),
                });
            }
        };
        for (index, node) in inventory.nodes.iter().enumerate() {
            if !node.skip {
                ask(Place::Node(index), &node.name, script.clone());
            }
        }
        for (index, host) in inventory.hosts.iter().enumerate() {
            if host.skip {
                continue;
            }
            let question = host::question(host.uri.as_deref(), host.daemon.as_ref(), tool);
            ask(Place::Host(index), &host.name, question.script());
        }
        Self {
            inventory,
            nodes: inventory.nodes.iter().map(silent_node).collect(),
            hosts: inventory.hosts.iter().map(silent_host).collect(),
            waiting,
            deadline,
            receiver,
        }
    }

    /// Takes answers until all are there or the time is up.
    fn collect(&mut self, patience: Patience) {
        let mut until = self.deadline;
        while self.waiting > 0 {
            let Ok(heard) = self.receiver.recv_timeout(until.remaining()) else {
                return;
            };
            self.waiting -= 1;
            let more = patience.settle.max(heard.took.saturating_mul(3));
            if self.take(heard) {
                until = until.min(self.deadline.within(more));
            }
        }
    }

    /// Whether it is an answer from a node with quorum.
    fn take(&mut self, heard: Heard) -> bool {
        let took_ms = Some(millis(heard.took));
        match heard.from {
            Place::Node(index) => {
                let name = &self.inventory.nodes[index].name;
                let report = NodeReport {
                    took_ms,
                    ..node_report(name, heard.answer, heard.at, heard.took)
                };
                let quorate = matches!(
                    report.result,
                    NodeAnswer::View {
                        quorate: Some(true),
                        ..
                    }
                );
                self.nodes[index] = report;
                quorate
            }
            Place::Host(index) => {
                self.hosts[index] = HostReport {
                    took_ms,
                    ..host_report(&self.inventory.hosts[index], heard.answer)
                };
                false
            }
        }
    }
}

fn silent_node(node: &ExpectedNode) -> NodeReport {
    let result = if node.skip {
        NodeAnswer::NotAsked
    } else {
        NodeAnswer::Unanswered {
            reason: Unanswered::Late,
        }
    };
    bare_report(&node.name, result)
}

fn bare_report(node: &str, result: NodeAnswer) -> NodeReport {
    NodeReport {
        node: node.to_owned(),
        took_ms: None,
        result,
        clock_ahead: None,
        cluster: None,
        quorum: None,
        links: Vec::new(),
        trouble: Vec::new(),
        view: None,
    }
}

fn silent_host(host: &Host) -> HostReport {
    if host.skip {
        return HostReport {
            host: host.name.clone(),
            took_ms: None,
            guests: Guests::NotAsked,
            fence_virtd: DaemonState::NotConfigured,
        };
    }
    let report = host_report(host, Err(Unanswered::Late));
    HostReport {
        took_ms: None,
        ..report
    }
}

/// What a node's answer says. `at` is when it came, `took` how long after the question.
#[must_use]
pub fn node_report(
    node: &str,
    answer: Result<Vec<u8>, Unanswered>,
    at: Timestamp,
    took: Duration,
) -> NodeReport {
    let output = match answer {
        Ok(output) => output,
        Err(reason) => return bare_report(node, NodeAnswer::Unanswered { reason }),
    };
    let answers = Answers::parse(&output);
    let clock = answers
        .of("clock")
        .and_then(|said| Timestamp::from_second(said.stdout.trim().parse().ok()?).ok());
    let mut trouble = Vec::new();
    let cluster = answers
        .of("cluster")
        .and_then(|said| corosync::setting(&said.stdout, "totem.cluster_name"));
    let quorum = answers
        .of("quorum")
        .and_then(|said| corosync::quorum(&said.stdout));
    let links = answers
        .of("links")
        .map_or_else(Vec::new, |said| corosync::links(&said.stdout));
    for (tag, tool, is_known) in [
        ("quorum", "corosync-quorumtool", quorum.is_some()),
        ("links", "corosync-cfgtool", !links.is_empty()),
    ] {
        if !is_known {
            trouble.push(trouble_of(tool, answers.of(tag)));
        }
    }
    let seen = view(&answers, clock, &mut trouble);
    let (result, view) = match seen {
        Ok(view) => (summary(&view, quorum.as_ref()), Some(view)),
        Err(result) => (result, None),
    };
    NodeReport {
        clock_ahead: clock.map(|clock| ahead(clock, at, took)),
        cluster,
        quorum,
        links,
        trouble,
        view,
        ..bare_report(node, result)
    }
}

/// How far a clock is ahead that was read at some moment between question and answer: the least that
/// fits.
fn ahead(clock: Timestamp, at: Timestamp, took: Duration) -> i64 {
    let ahead = clock.as_second() - at.as_second();
    let took = i64::try_from(took.as_secs()).unwrap_or(i64::MAX);
    if ahead < 0 {
        ahead.saturating_add(took).min(0)
    } else {
        ahead
    }
}

fn trouble_of(tool: &str, said: Option<&Said>) -> String {
    let trouble = said.map_or_else(|| "no answer".to_owned(), Said::trouble);
    format!("{tool}: {trouble}")
}

/// Pacemaker's view, with the history of fencing as complete as it can be had.
fn view(
    answers: &Answers,
    clock: Option<Timestamp>,
    trouble: &mut Vec<String>,
) -> Result<View, NodeAnswer> {
    let Some(said) = answers.of("crm_mon") else {
        return Err(NodeAnswer::Unreadable {
            detail: "its output has nothing of what was asked for".to_owned(),
        });
    };
    let mut view =
        pacemaker::crm_mon(&said.stdout, clock).map_err(|error| no_view(said, &error))?;
    match answers.of("history") {
        Some(said) if said.status == Some(0) => match pacemaker::history(&said.stdout, clock) {
            Ok(events) => view.fencing = events,
            Err(error) => trouble.push(format!("stonith_admin: {error}")),
        },
        // crm_mon's own, shorter history stands.
        said => trouble.push(trouble_of("stonith_admin", said)),
    }
    Ok(view)
}

fn no_view(said: &Said, error: &Unreadable) -> NodeAnswer {
    let not_running = |detail: String| NodeAnswer::NoCluster { detail };
    match error {
        Unreadable::Failed { code, message } if *code == pacemaker::NOT_CONNECTED => {
            not_running(message.clone())
        }
        _ if said.status == Some(pacemaker::NOT_CONNECTED) => not_running(said.trouble()),
        _ if said.is_missing() => not_running("crm_mon is not installed".to_owned()),
        // The tool's own trouble says more than what its empty output looks like.
        _ if said.status != Some(0) => NodeAnswer::Unreadable {
            detail: format!("crm_mon: {}", said.trouble()),
        },
        error => NodeAnswer::Unreadable {
            detail: format!("crm_mon: {error}"),
        },
    }
}

fn summary(view: &View, quorum: Option<&corosync::Quorum>) -> NodeAnswer {
    let corosync = quorum.and_then(|quorum| quorum.quorate);
    let quorate = match (view.quorate, corosync) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), _) => Some(true),
        // Corosync alone does not know whether Pacemaker has noticed.
        (None, _) => None,
    };
    NodeAnswer::View {
        quorate,
        coordinator: view.coordinator.clone(),
        online: view
            .nodes
            .iter()
            .filter(|node| node.online == Some(true))
            .map(|node| node.name.clone())
            .collect(),
    }
}

fn host_report(host: &Host, answer: Result<Vec<u8>, Unanswered>) -> HostReport {
    let (guests, daemon) = match answer {
        Ok(output) => {
            let answers = Answers::parse(&output);
            let guests = host::guests(&answers);
            let daemon = host::daemon(&answers, &guests);
            (guests, daemon)
        }
        Err(reason) => {
            let detail = reason.to_string();
            let unknown = DaemonState::Unknown {
                detail: detail.clone(),
            };
            (Guests::Unknown { detail }, unknown)
        }
    };
    HostReport {
        host: host.name.clone(),
        took_ms: None,
        guests,
        fence_virtd: if host.daemon.is_some() {
            daemon
        } else {
            DaemonState::NotConfigured
        },
    }
}

fn placements(inventory: &Inventory, hosts: &[HostReport]) -> Vec<Placement> {
    let complete = !hosts.is_empty()
        && hosts
            .iter()
            .all(|host| matches!(host.guests, Guests::Known { .. }));
    let place = |node: &ExpectedNode| {
        let guest = node.guest.clone()?;
        let on = hosts
            .iter()
            .filter(|host| has(host, &guest, node.uuid.as_deref()))
            .map(|host| host.host.clone())
            .collect();
        Some(Placement {
            node: node.name.clone(),
            guest,
            expected: node.host.clone(),
            pinned: node.pinned,
            on,
            complete,
        })
    };
    inventory.nodes.iter().filter_map(place).collect()
}

/// Whether the guest is on the host: by its UUID where both sides know it, else by its name.
fn has(host: &HostReport, name: &str, uuid: Option<&str>) -> bool {
    let Guests::Known { active, .. } = &host.guests else {
        return false;
    };
    active.iter().any(|guest| match (uuid, &guest.uuid) {
        (Some(wanted), Some(known)) => known.eq_ignore_ascii_case(wanted),
        _ => guest.name == name,
    })
}
