//! What all the answers mean together. Pure.
//!
//! Whose view is shown: a node with quorum before one without, among those the coordinator itself,
//! then the first of the inventory. The others are compared with it.

mod defined;
mod fencing;
mod nodes;
mod places;
mod services;
#[cfg(test)]
mod tests;

use crate::gather::Inventory;
use crate::status::{Alarm, Health, NodeAnswer, NodeReport, Severity, Status};

/// Collects alarms.
#[derive(Debug, Default)]
struct Alarms(Vec<Alarm>);

impl Alarms {
    fn add(&mut self, severity: Severity, code: &'static str, subject: &str, message: String) {
        self.0.push(Alarm {
            severity,
            code,
            subject: (!subject.is_empty()).then(|| subject.to_owned()),
            message,
            age: None,
        });
    }

    /// The last alarm is of something that happened so long ago.
    fn aged(&mut self, age: Option<u64>) {
        if let Some(last) = self.0.last_mut() {
            last.age = age;
        }
    }

    fn critical(&mut self, code: &'static str, subject: &str, message: impl Into<String>) {
        self.add(Severity::Critical, code, subject, message.into());
    }

    fn warn(&mut self, code: &'static str, subject: &str, message: impl Into<String>) {
        self.add(Severity::Warning, code, subject, message.into());
    }

    fn note(&mut self, code: &'static str, subject: &str, message: impl Into<String>) {
        self.add(Severity::Note, code, subject, message.into());
    }
}

/// Chooses the view to show, raises the alarms and sums up.
pub fn assess(status: &mut Status, inventory: &Inventory) {
    let mut alarms = Alarms::default();
    let split = split(&status.asked);
    if let Some((one, other)) = split {
        alarms.critical(
            "split",
            "",
            format!(
                "{one} and {other} each claim quorum and do not see each other: services may run twice"
            ),
        );
    }
    if let Some(best) = best(&status.asked) {
        let report = &status.asked[best];
        status.seen_by = Some(report.node.clone());
        status.view.clone_from(&report.view);
        status.quorum.clone_from(&report.quorum);
    }
    nodes::asked(&mut alarms, status);
    if let Some(view) = &status.view {
        nodes::membership(&mut alarms, status, view, inventory);
        fencing::check(&mut alarms, view);
        let lacking = defined::lacking(view, inventory);
        services::check(&mut alarms, view, &lacking);
        defined::check(&mut alarms, view, inventory, &lacking);
    }
    defined::cluster_name(&mut alarms, status);
    nodes::links(&mut alarms, status);
    places::check(&mut alarms, status);
    alarms.0.sort_by_key(|alarm| alarm.severity);
    status.alarms = alarms.0;
    status.health = health(status, split.is_some());
    status.summary = summary(status);
}

fn quorate(report: &NodeReport) -> Option<bool> {
    match &report.result {
        NodeAnswer::View { quorate, .. } => *quorate,
        _ => None,
    }
}

fn best(asked: &[NodeReport]) -> Option<usize> {
    let rank = |report: &NodeReport| {
        let NodeAnswer::View { coordinator, .. } = &report.result else {
            return None;
        };
        let has_quorum = quorate(report) == Some(true);
        let is_coordinator = coordinator.as_deref() == Some(&report.node);
        Some((has_quorum, is_coordinator))
    };
    let ranked = asked
        .iter()
        .enumerate()
        .filter_map(|(index, report)| Some((rank(report)?, index)));
    // The greatest rank, and of equals the first.
    ranked
        .max_by(|(a, i), (b, j)| a.cmp(b).then(j.cmp(i)))
        .map(|(_, index)| index)
}

/// Two nodes that both have quorum, and neither counts the other among the living.
fn split(asked: &[NodeReport]) -> Option<(&str, &str)> {
    let claims: Vec<(&str, &[String])> = asked
        .iter()
        .filter(|report| quorate(report) == Some(true))
        .filter_map(|report| match &report.result {
            NodeAnswer::View { online, .. } => Some((report.node.as_str(), online.as_slice())),
            _ => None,
        })
        .collect();
    let sees = |online: &[String], name: &str| online.iter().any(|other| other == name);
    claims
        .iter()
        .enumerate()
        .find_map(|(index, (one, theirs))| {
            claims[index + 1..]
                .iter()
                .find(|(other, others)| !sees(theirs, other) && !sees(others, one))
                .map(|(other, _)| (*one, *other))
        })
}

fn health(status: &Status, is_split: bool) -> Health {
    let answered =
        |wanted: fn(&NodeAnswer) -> bool| status.asked.iter().any(|report| wanted(&report.result));
    if is_split {
        Health::Split
    } else if status
        .asked
        .iter()
        .any(|report| quorate(report) == Some(true))
    {
        let degraded = |alarm: &Alarm| alarm.severity < Severity::Note;
        if status.alarms.iter().any(degraded) {
            Health::Degraded
        } else {
            Health::Healthy
        }
    } else if answered(|answer| {
        matches!(
            answer,
            NodeAnswer::View { .. } | NodeAnswer::NoCluster { .. }
        )
    }) {
        Health::NoQuorum
    } else {
        Health::Unreachable
    }
}

fn summary(status: &Status) -> String {
    let count = |severity| {
        let of = |alarm: &&Alarm| alarm.severity == severity;
        status.alarms.iter().filter(of).count()
    };
    let alarms = match (count(Severity::Critical), count(Severity::Warning)) {
        (0, 0) => String::new(),
        (0, warnings) => format!(", {}", plural(warnings, "warning")),
        (critical, 0) => format!(", {critical} critical"),
        (critical, warnings) => format!(", {critical} critical, {}", plural(warnings, "warning")),
    };
    let what = match status.health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::NoQuorum if status.view.is_none() => {
            "no cluster is running on any node that answered"
        }
        Health::NoQuorum => "no quorum on any node that answered",
        Health::Unreachable => "no node told anything about the cluster",
        Health::Split => "SPLIT: two partitions claim quorum",
    };
    let nodes = status.view.as_ref().map_or_else(String::new, |view| {
        let up = view.nodes.iter().filter(|node| node.state() == "online");
        format!(", {} of {} nodes online", up.count(), view.nodes.len())
    });
    format!("{what}{nodes}{alarms}")
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

/// `name one, name two and name three`, for messages.
fn list<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [rest @ .., last] => {
            let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", rest.join(", "), last.as_ref())
        }
    }
}
