//! What Pacemaker says: `crm_mon --output-as=xml` and `stonith_admin --history --output-as=xml`.
//!
//! Written against the schemas that Pacemaker publishes (`api-result`, `crm_mon`, `nodes`, `resources`,
//! `fence-event`, `failure`), API versions 2.0 to 2.25, tried with 2.25 (Pacemaker 2.1.5). Attributes that
//! a version does not have yet, or any more, are `None`.

use std::fmt;

use jiff::Timestamp;
use roxmltree::{Document, Node as Element, ParsingOptions};
use serde::{Serialize, Serializer};

/// The most elements that are read.
const MAX_ELEMENTS: u32 = 400_000;

/// How deep resources may lie inside each other. A replica's in its bundle lies two deep.
const MAX_DEPTH: usize = 64;

/// Pacemaker's tools end with this status when the cluster does not run on the node (`CRM_EX_DISCONNECT`).
pub const NOT_CONNECTED: i32 = 102;

/// Why the output of a tool is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is no XML document, or too large a one.
    #[error("not a readable XML document: {0}")]
    Xml(String),
    /// It is a document of another kind.
    #[error("not the result of a Pacemaker tool, but <{0}>")]
    Foreign(String),
    /// The tool says that it failed.
    #[error("{message} (status {code})")]
    Failed {
        /// Its status; [`NOT_CONNECTED`] when the cluster does not run there.
        code: i32,
        /// Its words.
        message: String,
    },
    /// The document lacks its end: the status is missing.
    #[error("the result is incomplete")]
    Incomplete,
}

/// The cluster as one node's Pacemaker sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// Pacemaker's version on the coordinator.
    pub version: Option<String>,
    /// The coordinator (DC) of this node's partition, if one is elected.
    pub coordinator: Option<String>,
    /// Whether this node's partition has quorum.
    pub quorate: Option<bool>,
    /// When the configuration was changed last, in Pacemaker's words.
    pub last_change: Option<String>,
    /// The cluster's options.
    pub options: Options,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Every instance of every resource. Fencing devices are among them: see [`Resource::is_fencing`].
    pub resources: Vec<Resource>,
    /// What is kept off some node by a constraint.
    pub bans: Vec<Ban>,
    /// Actions that failed and have not been cleaned up.
    pub failures: Vec<FailedAction>,
    /// Attempts to fence, the latest first.
    pub fencing: Vec<FenceEvent>,
}

/// Options of the cluster that decide whether anything else can be trusted to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Options {
    /// Whether fencing is enabled.
    pub fencing: Option<bool>,
    /// Whether the whole cluster is in maintenance mode.
    pub maintenance: Option<bool>,
    /// Whether all resources are to be stopped.
    pub stop_all: Option<bool>,
    /// What a partition without quorum does.
    pub no_quorum_policy: Option<String>,
}

/// A node as Pacemaker sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its number in Corosync.
    pub id: Option<String>,
    /// `member`, `remote`, `guest` (a Pacemaker Remote guest), or what a later version says.
    pub kind: Option<String>,
    /// Whether it takes part in the cluster.
    pub online: Option<bool>,
    /// Whether Pacemaker does not know what runs on it, so that it has to be fenced.
    pub unclean: Option<bool>,
    /// Whether it is about to join.
    pub pending: Option<bool>,
    /// Whether it is to run nothing.
    pub standby: Option<bool>,
    /// Whether it is to run nothing because of a failure.
    pub standby_on_failure: Option<bool>,
    /// Whether its resources are left alone.
    pub maintenance: Option<bool>,
    /// Whether it is shutting down.
    pub shutdown: Option<bool>,
    /// How many resources it runs.
    pub resources_running: Option<u64>,
}

impl Node {
    /// Whether what Pacemaker says about resources on this node is knowledge and not memory.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.online == Some(true) && self.unclean == Some(false)
    }

    /// Its state in a word or two, as an administrator would put it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.online, self.unclean) {
            (Some(true), Some(true)) => "UNCLEAN (online)",
            (_, Some(true)) => "UNCLEAN (offline)",
            (None, _) | (_, None) => "unknown",
            (Some(false), _) => "offline",
            _ if self.pending == Some(true) => "pending",
            _ if self.shutdown == Some(true) => "shutting down",
            _ if self.standby_on_failure == Some(true) => "standby (failure)",
            _ if self.standby == Some(true) => "standby",
            _ if self.maintenance == Some(true) => "maintenance",
            _ => "online",
        }
    }
}

/// What an instance of a resource does. Unknown words survive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It runs.
    Started,
    /// It runs, promoted (`Master` in older versions).
    Promoted,
    /// It runs, not promoted (`Slave` in older versions).
    Unpromoted,
    /// It does not run.
    Stopped,
    /// It is being started.
    Starting,
    /// It is being stopped.
    Stopping,
    /// Something this version of Picket does not know, in Pacemaker's word.
    Other(String),
}

impl Role {
    fn of(word: &str) -> Self {
        match word {
            "Started" => Self::Started,
            "Promoted" | "Master" => Self::Promoted,
            "Unpromoted" | "Slave" => Self::Unpromoted,
            "Stopped" => Self::Stopped,
            "Starting" => Self::Starting,
            "Stopping" => Self::Stopping,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether it runs for sure.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(self, Self::Started | Self::Promoted | Self::Unpromoted)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Started",
            Self::Promoted => "Promoted",
            Self::Unpromoted => "Unpromoted",
            Self::Stopped => "Stopped",
            Self::Starting => "Starting",
            Self::Stopping => "Stopping",
            Self::Other(word) => word,
        })
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An instance of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Its name.
    pub id: String,
    /// What it is an instance of, outermost first: groups, clones, bundles.
    pub inside: Vec<Container>,
    /// Its agent, such as `ocf:heartbeat:IPaddr2` or `stonith:fence_virt`.
    pub agent: Option<String>,
    /// What it does.
    pub role: Role,
    /// What it should do, if the configuration says so, for it or for what it is inside of.
    pub target_role: Option<Role>,
    /// Where it is, or was last known to be.
    pub nodes: Vec<String>,
    /// Whether Pacemaker may start and stop it.
    pub managed: Option<bool>,
    /// Whether it failed.
    pub failed: Option<bool>,
    /// Whether Pacemaker cannot go on with it.
    pub blocked: Option<bool>,
    /// Whether the configuration no longer has it.
    pub orphaned: Option<bool>,
    /// What is being done with it.
    pub pending: Option<String>,
}

impl Resource {
    /// Whether it is a fencing device.
    #[must_use]
    pub fn is_fencing(&self) -> bool {
        self.agent
            .as_deref()
            .is_some_and(|agent| agent.starts_with("stonith:"))
    }

    /// The name of the service it belongs to: what is outermost, or itself.
    #[must_use]
    pub fn service(&self) -> &str {
        self.inside.first().map_or(&self.id, |outer| &outer.id)
    }

    /// Whether it is one of several equal instances.
    #[must_use]
    pub fn is_cloned(&self) -> bool {
        self.inside
            .iter()
            .any(|outer| matches!(outer.kind.as_str(), "clone" | "bundle"))
    }

    /// Whether it is meant not to run.
    #[must_use]
    pub fn should_be_stopped(&self) -> bool {
        self.target_role == Some(Role::Stopped)
    }
}

/// What a resource is inside of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its name.
    pub id: String,
    /// `group`, `clone`, `bundle`, or what a later version has.
    pub kind: String,
}

/// A constraint that keeps a resource off a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ban {
    /// The constraint's id.
    pub id: String,
    /// The resource, or what it is inside of.
    pub resource: String,
    /// The node.
    pub node: String,
    /// How much: less than nothing, where -1000000 (`-INFINITY`) is never.
    pub weight: Option<String>,
    /// Whether it only keeps the resource from being promoted there.
    pub promoted_only: Option<bool>,
}

impl Ban {
    /// Whether an administrator made it by a command that moves or bans (`crm_resource`, and `pcs` and
    /// `crm` by it, give it an id of this form), and it holds without exception.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        let never = matches!(self.weight.as_deref(), Some("-1000000" | "-INFINITY"));
        self.id.starts_with("cli-") && never && self.promoted_only != Some(true)
    }
}

/// An action that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FailedAction {
    /// The operation's key: resource, action and interval.
    pub key: Option<String>,
    /// Where it failed.
    pub node: Option<String>,
    /// The action.
    pub task: Option<String>,
    /// The agent's result in words.
    pub result: Option<String>,
    /// The agent's exit code.
    pub code: Option<i32>,
    /// The agent's reason.
    pub reason: Option<String>,
    /// When, in Pacemaker's words.
    pub time: Option<String>,
    /// How long ago by the node's clock, in seconds.
    pub age: Option<u64>,
}

impl FailedAction {
    /// The resource's name: the key without action and interval.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        let mut parts = self.key.as_deref()?.rsplitn(3, '_');
        let (_, _) = (parts.next()?, parts.next()?);
        parts.next()
    }
}

/// What became of an attempt to fence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The device confirmed it.
    Success,
    /// It failed.
    Failed,
    /// It is under way.
    Pending,
    /// Something this version of Picket does not know, in Pacemaker's word.
    Other(String),
}

impl Outcome {
    fn of(word: &str) -> Self {
        match word {
            "success" => Self::Success,
            "failed" => Self::Failed,
            "pending" => Self::Pending,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Other(word) => word,
        })
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An attempt to fence a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FenceEvent {
    /// The node.
    pub target: String,
    /// `off`, `reboot`, `on`, or what a later version has.
    pub action: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Which node carried it out.
    pub by: Option<String>,
    /// On which node it was asked for.
    pub origin: Option<String>,
    /// Who asked for it.
    pub client: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it ended, in Pacemaker's words.
    pub completed: Option<String>,
    /// How long ago it ended by the node's clock, in seconds.
    pub age: Option<u64>,
}

/// Reads what `crm_mon` printed. `now` is the node's clock.
///
/// # Errors
/// [`Unreadable`].
pub fn crm_mon(text: &str, now: Option<Timestamp>) -> Result<View, Unreadable> {
    let document = parse(text)?;
    let root = result_of(&document)?;
    let mut view = View::default();
    for element in root.children().filter(Element::is_element) {
        match element.tag_name().name() {
            "summary" => summary(&mut view, element),
            "nodes" => view.nodes = named(element, "node").map(node).collect(),
            "resources" => resources(&mut view.resources, element, &mut Vec::new(), None)?,
            "bans" => view.bans = named(element, "ban").map(ban).collect(),
            "failures" => {
                view.failures = named(element, "failure")
                    .map(|element| failure(element, now))
                    .collect();
            }
            "fence_history" => view.fencing = events(element, now),
            _ => {}
        }
    }
    Ok(view)
}

/// Reads what `stonith_admin --history` printed: attempts to fence, the latest first.
///
/// # Errors
/// [`Unreadable`].
pub fn history(text: &str, now: Option<Timestamp>) -> Result<Vec<FenceEvent>, Unreadable> {
    let document = parse(text)?;
    let root = result_of(&document)?;
    // Versions differ in what they wrap the events in.
    Ok(events(root, now))
}

fn parse(text: &str) -> Result<Document<'_>, Unreadable> {
    let options = ParsingOptions {
        nodes_limit: MAX_ELEMENTS,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|error| Unreadable::Xml(error.to_string()))
}

/// The root of a successful result.
fn result_of<'a>(document: &'a Document<'a>) -> Result<Element<'a, 'a>, Unreadable> {
    let root = document.root_element();
    let name = root.tag_name().name();
    if !matches!(name, "pacemaker-result" | "pacemaker_result") {
        return Err(Unreadable::Foreign(shortened(name)));
    }
    let status = named(root, "status").next().ok_or(Unreadable::Incomplete)?;
    match number(status, "code") {
        Some(0) => Ok(root),
        code => Err(Unreadable::Failed {
            code: code.unwrap_or(-1),
            message: message(status),
        }),
    }
}

fn message(status: Element<'_, '_>) -> String {
    let mut errors = status
        .descendants()
        .filter(|element| element.has_tag_name("error"))
        .filter_map(|element| element.text())
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let last = errors.next_back().or_else(|| status.attribute("message"));
    shortened(last.unwrap_or("failed without a word"))
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

fn summary(view: &mut View, summary: Element<'_, '_>) {
    for element in summary.children().filter(Element::is_element) {
        match element.tag_name().name() {
            "current_dc" => {
                view.version = text(element, "version");
                view.quorate = flag(element, "with_quorum");
                if flag(element, "present") != Some(false) {
                    view.coordinator = text(element, "name");
                }
            }
            "last_change" => view.last_change = text(element, "time"),
            "cluster_options" => {
                view.options = Options {
                    fencing: flag(element, "stonith-enabled")
                        .or_else(|| flag(element, "fencing-enabled")),
                    maintenance: flag(element, "maintenance-mode"),
                    stop_all: flag(element, "stop-all-resources"),
                    no_quorum_policy: text(element, "no-quorum-policy"),
                };
            }
            _ => {}
        }
    }
}

fn node(element: Element<'_, '_>) -> Node {
    Node {
        name: text(element, "name").unwrap_or_default(),
        id: text(element, "id"),
        kind: text(element, "type"),
        online: flag(element, "online"),
        unclean: flag(element, "unclean"),
        pending: flag(element, "pending"),
        standby: flag(element, "standby"),
        standby_on_failure: flag(element, "standby_onfail"),
        maintenance: flag(element, "maintenance"),
        shutdown: flag(element, "shutdown"),
        resources_running: element
            .attribute("resources_running")
            .and_then(|count| count.parse().ok()),
    }
}

/// Collects resources from `element` and all containers in it. `target` is what an outer container is
/// meant to do.
fn resources(
    found: &mut Vec<Resource>,
    element: Element<'_, '_>,
    inside: &mut Vec<Container>,
    target: Option<&Role>,
) -> Result<(), Unreadable> {
    if inside.len() > MAX_DEPTH {
        return Err(Unreadable::Xml("resources lie too deep".to_owned()));
    }
    for child in element.children().filter(Element::is_element) {
        let name = child.tag_name().name();
        let own = child.attribute("target_role").map(Role::of);
        let target = own.as_ref().or(target);
        if name == "resource" {
            found.push(resource(child, inside, target));
        } else if let (Some(id), false) = (text(child, "id"), name == "node") {
            let kind = name.to_owned();
            inside.push(Container { id, kind });
            resources(found, child, inside, target)?;
            inside.pop();
        }
    }
    Ok(())
}

fn resource(element: Element<'_, '_>, inside: &[Container], target: Option<&Role>) -> Resource {
    Resource {
        id: text(element, "id").unwrap_or_default(),
        inside: inside.to_vec(),
        agent: text(element, "resource_agent"),
        role: Role::of(element.attribute("role").unwrap_or("Unknown")),
        target_role: target.cloned(),
        nodes: named(element, "node")
            .filter_map(|node| text(node, "name"))
            .collect(),
        managed: flag(element, "managed"),
        failed: flag(element, "failed"),
        blocked: flag(element, "blocked"),
        orphaned: flag(element, "orphaned"),
        pending: text(element, "pending"),
    }
}

fn ban(element: Element<'_, '_>) -> Ban {
    Ban {
        id: text(element, "id").unwrap_or_default(),
        resource: text(element, "resource").unwrap_or_default(),
        node: text(element, "node").unwrap_or_default(),
        weight: text(element, "weight"),
        promoted_only: flag(element, "promoted-only").or_else(|| flag(element, "master_only")),
    }
}

fn failure(element: Element<'_, '_>, now: Option<Timestamp>) -> FailedAction {
    let time = text(element, "last-rc-change");
    FailedAction {
        key: text(element, "op_key").or_else(|| text(element, "id")),
        node: text(element, "node"),
        task: text(element, "task"),
        result: text(element, "exitstatus"),
        code: number(element, "exitcode"),
        reason: text(element, "exitreason"),
        age: age(time.as_deref(), now),
        time,
    }
}

fn events(element: Element<'_, '_>, now: Option<Timestamp>) -> Vec<FenceEvent> {
    element
        .descendants()
        .filter(|element| element.has_tag_name("fence_event"))
        .map(|element| event(element, now))
        .collect()
}

fn event(element: Element<'_, '_>, now: Option<Timestamp>) -> FenceEvent {
    let completed = text(element, "completed");
    FenceEvent {
        target: text(element, "target").unwrap_or_default(),
        action: text(element, "action"),
        outcome: Outcome::of(element.attribute("status").unwrap_or("unknown")),
        by: text(element, "delegate"),
        origin: text(element, "origin"),
        client: text(element, "client"),
        reason: text(element, "exit-reason"),
        age: age(completed.as_deref(), now),
        completed,
    }
}

/// Seconds from `time` to `now`. A time without a zone cannot be placed; one in the future is now:
/// clocks of nodes differ a little.
fn age(time: Option<&str>, now: Option<Timestamp>) -> Option<u64> {
    let then: Timestamp = time?.parse().ok()?;
    Some(u64::try_from(now?.as_second() - then.as_second()).unwrap_or(0))
}

fn named<'a>(parent: Element<'a, 'a>, name: &'a str) -> impl Iterator<Item = Element<'a, 'a>> {
    parent
        .children()
        .filter(move |child| child.has_tag_name(name))
}

fn text(element: Element<'_, '_>, name: &str) -> Option<String> {
    element
        .attribute(name)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

fn number(element: Element<'_, '_>, name: &str) -> Option<i32> {
    element.attribute(name)?.parse().ok()
}

fn flag(element: Element<'_, '_>, name: &str) -> Option<bool> {
    match element.attribute(name)? {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}
