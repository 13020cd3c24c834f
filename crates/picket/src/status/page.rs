//! What is shown of a status, before it is known how: tables of cells with a tone each.

use observe::host::{DaemonState, Guests};
use observe::pacemaker::{Node, Outcome, Resource, View};
use observe::status::{HostReport, NodeReport, Placement};
use observe::{Alarm, Health, NodeAnswer, Severity, Status};

use crate::plain;

/// The longest text of a cell, in characters: names and messages come from other machines.
const MAX_CELL: usize = 300;

/// How a cell is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Faint,
}

/// A piece of text, safe to show: without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self {
            text: clean(text.as_ref()),
            tone,
        }
    }

    fn plain(text: impl AsRef<str>) -> Self {
        Self::new(text, Tone::Plain)
    }

    fn faint(text: impl AsRef<str>) -> Self {
        Self::new(text, Tone::Faint)
    }
}

/// Replaces what a terminal or a browser would obey, and cuts what is too long.
pub(super) fn clean(text: &str) -> String {
    let mut chars = text.chars().map(plain::harmless);
    let mut cleaned: String = chars.by_ref().take(MAX_CELL).collect();
    if chars.next().is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The cluster, and all in all.
    pub(super) headline: Vec<Cell>,
    /// When and by whom it was seen. Empty in a page for comparison.
    pub(super) seen: String,
    pub(super) sections: Vec<Section>,
}

/// Whether a page shows what changes all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clocks {
    /// For people.
    Shown,
    /// To find out whether anything has changed.
    Hidden,
}

impl Page {
    pub(super) fn of(status: &Status, clocks: Clocks) -> Self {
        let show = Show { clocks };
        let mut sections = vec![show.alarms(&status.alarms), show.nodes(status)];
        if let Some(view) = &status.view {
            sections.push(services(view));
            sections.push(devices(view));
            sections.push(show.history(view));
        }
        sections.push(show.hosts(status));
        sections.retain(|section| !section.rows.is_empty());
        Self {
            headline: headline(status),
            seen: show.seen(status),
            sections,
        }
    }
}

fn headline(status: &Status) -> Vec<Cell> {
    let tone = match status.health {
        Health::Healthy => Tone::Good,
        Health::Degraded => Tone::Warn,
        _ => Tone::Bad,
    };
    let name = status.cluster.as_deref().unwrap_or("cluster");
    vec![
        Cell::plain(format!("{name}:")),
        Cell::new(&status.summary, tone),
    ]
}

fn services(view: &View) -> Section {
    let rows = view
        .resources
        .iter()
        .filter(|resource| !resource.is_fencing())
        .map(|resource| {
            let service = match resource.inside.first() {
                Some(outer) => format!("{} ({})", outer.id, outer.kind),
                None => String::new(),
            };
            let mut row = vec![Cell::faint(service)];
            row.extend(resource_row(resource, view));
            row
        });
    Section {
        title: "Services",
        columns: &["service", "resource", "agent", "state", "node"],
        rows: rows.collect(),
    }
}

fn devices(view: &View) -> Section {
    let rows = view
        .resources
        .iter()
        .filter(|resource| resource.is_fencing())
        .map(|resource| resource_row(resource, view));
    Section {
        title: "Fencing devices",
        columns: &["device", "agent", "state", "monitored by"],
        rows: rows.collect(),
    }
}

fn resource_row(resource: &Resource, view: &View) -> Vec<Cell> {
    vec![
        Cell::plain(&resource.id),
        Cell::faint(resource.agent.as_deref().unwrap_or("unknown")),
        resource_state(resource, view),
        Cell::plain(resource.nodes.join(" ")),
    ]
}

fn resource_state(resource: &Resource, view: &View) -> Cell {
    let is_memory = resource.nodes.iter().any(|name| {
        view.nodes
            .iter()
            .any(|node| node.name == *name && !node.is_known())
    });
    let mut words = resource.role.to_string();
    let mut tone = if resource.role.runs() {
        Tone::Good
    } else if resource.should_be_stopped() {
        Tone::Faint
    } else {
        Tone::Bad
    };
    if is_memory {
        words = format!("unknown, was {words}");
        tone = Tone::Bad;
    } else if resource.should_be_stopped() {
        words.push_str(", as wanted");
    }
    for (set, word) in [
        (resource.failed, "FAILED"),
        (resource.blocked, "BLOCKED"),
        (resource.orphaned, "orphaned"),
    ] {
        if set == Some(true) {
            words = format!("{words}, {word}");
            tone = Tone::Bad;
        }
    }
    if resource.managed == Some(false) {
        words.push_str(", unmanaged");
        tone = if tone == Tone::Good { Tone::Warn } else { tone };
    }
    Cell::new(words, tone)
}

/// Shows what changes all the time, or not.
struct Show {
    clocks: Clocks,
}

impl Show {
    fn age(&self, seconds: Option<u64>) -> String {
        match (self.clocks, seconds) {
            (Clocks::Shown, Some(seconds)) => format!("{} ago", span(seconds)),
            _ => String::new(),
        }
    }

    fn millis(&self, took: Option<u64>) -> String {
        match (self.clocks, took) {
            (Clocks::Shown, Some(took)) => format!("{took} ms"),
            _ => String::new(),
        }
    }

    fn seen(&self, status: &Status) -> String {
        if self.clocks == Clocks::Hidden {
            return String::new();
        }
        let at = status.taken_at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let mut text = match &status.seen_by {
            Some(node) => format!(
                "as {node} sees it, {at}, asked within {} ms",
                status.took_ms
            ),
            None => format!("{at}, asked within {} ms", status.took_ms),
        };
        if let Some(version) = status.view.as_ref().and_then(|view| view.version.as_ref()) {
            text.push_str(&format!(", Pacemaker {version}"));
        }
        if let Some(quorum) = &status.quorum {
            let number =
                |value: Option<u32>| value.map_or_else(|| "?".to_owned(), |n| n.to_string());
            text.push_str(&format!(
                ", {} of {} votes ({} needed)",
                number(quorum.votes),
                number(quorum.expected_votes),
                number(quorum.needed)
            ));
        }
        clean(&text)
    }

    fn alarms(&self, alarms: &[Alarm]) -> Section {
        let row = |alarm: &Alarm| {
            let tone = match alarm.severity {
                Severity::Critical => Tone::Bad,
                Severity::Warning => Tone::Warn,
                _ => Tone::Faint,
            };
            vec![
                Cell::new(alarm.severity.as_str(), tone),
                Cell::plain(&alarm.message),
                Cell::faint(self.age(alarm.age)),
            ]
        };
        Section {
            title: "Alarms",
            columns: &["weight", "what", "when"],
            rows: alarms.iter().map(row).collect(),
        }
    }

    /// The nodes that Pacemaker knows, and those that were asked and it does not know.
    fn nodes(&self, status: &Status) -> Section {
        let known = status.view.as_ref().map_or(&[][..], |view| &view.nodes);
        let coordinator = status
            .view
            .as_ref()
            .and_then(|view| view.coordinator.as_ref());
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        for node in known {
            let mut state = node_state(node);
            if coordinator == Some(&node.name) {
                state.text.push_str(", coordinator");
            }
            rows.push(self.node_row(status, &node.name, state));
        }
        for report in &status.asked {
            if !known.iter().any(|node| node.name == report.node) {
                let state = Cell::new("unknown", Tone::Bad);
                rows.push(self.node_row(status, &report.node, state));
            }
        }
        Section {
            title: "Nodes",
            columns: &["node", "state", "answer", "links", "guest", "host"],
            rows,
        }
    }

    fn node_row(&self, status: &Status, name: &str, state: Cell) -> Vec<Cell> {
        let report = status.asked.iter().find(|report| report.node == name);
        let place = status.guests.iter().find(|place| place.node == name);
        vec![
            Cell::plain(name),
            state,
            self.answer(report),
            report.map_or_else(|| Cell::faint(""), links),
            Cell::plain(place.map_or("", |place| &place.guest)),
            place.map_or_else(|| Cell::faint(""), host_of),
        ]
    }

    fn answer(&self, report: Option<&NodeReport>) -> Cell {
        let Some(report) = report else {
            return Cell::faint("not asked");
        };
        match &report.result {
            NodeAnswer::View { quorate, .. } => {
                let quorum = match quorate {
                    Some(true) => Cell::new("quorate", Tone::Good),
                    Some(false) => Cell::new("no quorum", Tone::Bad),
                    None => Cell::new("quorum unknown", Tone::Bad),
                };
                let text = format!("{} {}", quorum.text, self.millis(report.took_ms));
                Cell::new(text.trim_end(), quorum.tone)
            }
            NodeAnswer::NoCluster { .. } => Cell::new("no cluster running", Tone::Bad),
            NodeAnswer::Unreadable { .. } => Cell::new("unreadable", Tone::Bad),
            NodeAnswer::Unanswered { reason } => Cell::new(
                match reason {
                    observe::Unanswered::Late => "no answer in time",
                    observe::Unanswered::Unreachable { .. } => "unreachable",
                    observe::Unanswered::Refused { .. } => "refused",
                    _ => "could not be asked",
                },
                Tone::Warn,
            ),
            _ => Cell::faint("not asked"),
        }
    }

    fn history(&self, view: &View) -> Section {
        let rows = view.fencing.iter().take(20).map(|event| {
            let tone = match event.outcome {
                Outcome::Success => Tone::Good,
                Outcome::Pending => Tone::Warn,
                _ => Tone::Bad,
            };
            let mut outcome = event.outcome.to_string();
            if let Some(reason) = &event.reason {
                outcome = format!("{outcome}: {reason}");
            }
            vec![
                Cell::plain(&event.target),
                Cell::plain(event.action.as_deref().unwrap_or("unknown")),
                Cell::new(outcome, tone),
                Cell::plain(event.by.as_deref().unwrap_or("")),
                Cell::faint(self.age(event.age)),
                Cell::faint(event.completed.as_deref().unwrap_or("")),
            ]
        });
        Section {
            title: "Fencing history",
            columns: &["node", "action", "outcome", "by", "when", "completed"],
            rows: rows.collect(),
        }
    }

    fn hosts(&self, status: &Status) -> Section {
        let row = |report: &HostReport| {
            let members = status
                .guests
                .iter()
                .filter(|place| place.on.contains(&report.host))
                .map(|place| place.node.as_str());
            vec![
                Cell::plain(&report.host),
                fence_virtd(&report.fence_virtd),
                match &report.guests {
                    Guests::Known { active, .. } => Cell::plain(active.len().to_string()),
                    Guests::NotAsked => Cell::faint("not asked"),
                    Guests::Unknown { .. } => Cell::new("unknown", Tone::Warn),
                },
                Cell::plain(members.collect::<Vec<_>>().join(" ")),
                Cell::faint(self.millis(report.took_ms)),
            ]
        };
        Section {
            title: "Hosts",
            columns: &["host", "fence_virtd", "guests", "members here", "took"],
            rows: status.hosts.iter().map(row).collect(),
        }
    }
}

fn node_state(node: &Node) -> Cell {
    let state = node.state();
    let tone = match state {
        "online" => Tone::Good,
        "standby" | "maintenance" | "pending" | "shutting down" | "standby (failure)" => Tone::Warn,
        _ => Tone::Bad,
    };
    Cell::new(state, tone)
}

fn links(report: &NodeReport) -> Cell {
    let peers = report.links.iter().flat_map(|link| &link.peers);
    let (mut carry, mut all) = (0, 0);
    for peer in peers {
        all += 1;
        carry += usize::from(peer.is_connected() == Some(true));
    }
    if all == 0 {
        return Cell::faint(if report.links.is_empty() { "" } else { "alone" });
    }
    let tone = if carry == all {
        Tone::Plain
    } else {
        Tone::Warn
    };
    Cell::new(format!("{carry} of {all}"), tone)
}

fn host_of(place: &Placement) -> Cell {
    let tone = match (place.on.as_slice(), &place.expected) {
        ([_, _, ..], _) => Tone::Bad,
        ([on], Some(expected)) if on != expected => Tone::Warn,
        ([], _) => {
            return Cell::new(
                if place.complete { "on none" } else { "unknown" },
                Tone::Faint,
            );
        }
        _ => Tone::Plain,
    };
    Cell::new(place.on.join(" "), tone)
}

fn fence_virtd(state: &DaemonState) -> Cell {
    match state {
        DaemonState::NotConfigured => Cell::faint("not asked"),
        DaemonState::Answers { .. } => Cell::new("answers", Tone::Good),
        DaemonState::Silent { .. } => Cell::new("SILENT", Tone::Bad),
        DaemonState::Unknown { .. } => Cell::new("unknown", Tone::Warn),
    }
}

/// A span of time in the largest unit that leaves at least two of it.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
