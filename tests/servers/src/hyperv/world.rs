//! What there is: nodes, guests, jobs, roles. Time passes when somebody looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// `EnabledState`.
pub mod enabled {
    /// Running.
    pub const ON: u32 = 2;
    /// Off.
    pub const OFF: u32 = 3;
    /// Starting, in v2.
    pub const STARTING: u32 = 10;
    /// Stopping, in v1; v2 has 4.
    pub const STOPPING: u32 = 4;
    /// Saved, in v2.
    pub const SAVED: u32 = 6;
    /// Saved, in v1.
    pub const SAVED_V1: u32 = 32769;
}

/// How a node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Nothing is answered any more.
    Hang,
    /// Connections are closed.
    Close,
}

/// A host.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its NetBIOS name.
    pub name: String,
    /// Whether it is dead.
    pub dead: Option<Death>,
    /// Its state in the cluster (CLUSTER_NODE_STATE).
    pub state: u32,
}

/// A change that is under way.
#[derive(Debug, Clone)]
pub struct Change {
    /// When it is done.
    pub at: Instant,
    /// What comes out.
    pub to: Outcome,
}

/// What comes out of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This state.
    State(u32),
    /// The guest is on this node.
    Node(String),
}

/// A guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its display name.
    pub name: String,
    /// Its GUID.
    pub guid: Uuid,
    /// The node that has it.
    pub node: String,
    /// `EnabledState`.
    pub state: u32,
    /// Further properties, which go before those the server makes up.
    pub extra: HashMap<String, String>,
    /// The worker process; none when off.
    pub process: Option<u32>,
    /// Whether the worker process ignores orders.
    pub hung: bool,
    /// Its role in the cluster: group, and the classes it is kept apart by.
    pub role: Option<Role>,
    /// What is under way.
    pub change: Option<Change>,
    /// How often it was started, and how often it was cut off: what tests count.
    pub starts: u32,
    /// See `starts`.
    pub stops: u32,
}

/// A clustered guest's role.
#[derive(Debug, Clone, Default)]
pub struct Role {
    /// The group.
    pub group: String,
    /// `AntiAffinityClassNames`.
    pub apart: Vec<String>,
    /// Possible owners.
    pub owners: Vec<String>,
    /// `State` of the resource, where it is not what follows from the guest's.
    pub state: Option<u32>,
    /// When the cluster looks at the guest, and `state` is what follows again.
    pub noticed: Option<Instant>,
}

impl Role {
    /// The guest has a new state: what the cluster took it for lasts until it notices.
    fn changed(&mut self, running: bool, now: Instant, notice: Duration) {
        const ONLINE: u32 = 2;
        const OFFLINE: u32 = 3;
        if notice.is_zero() {
            (self.state, self.noticed) = (None, None);
        } else {
            self.state = Some(if running { OFFLINE } else { ONLINE });
            self.noticed = Some(now + notice);
        }
    }
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// `JobState`.
    pub state: u32,
    /// When it is completed; none for never.
    pub at: Option<Instant>,
    /// Why it has failed.
    pub error: Option<String>,
}

/// What a server is told about its behaviour.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Whether there is `root/virtualization/v2`.
    pub v2: bool,
    /// Whether there is `root/virtualization`.
    pub v1: bool,
    /// Whether the first instances come with the reply to Enumerate, where that is asked for.
    pub optimize: bool,
    /// Whether orders are carried out by jobs.
    pub jobs: bool,
    /// Whether a guest stays off until its start takes effect.
    pub lazy: bool,
    /// How long a start takes.
    pub start: Duration,
    /// How long a stop takes.
    pub stop: Duration,
    /// How long the cluster takes to notice what a guest does.
    pub notice: Duration,
    /// After what time the cluster starts a guest again whose worker process was ended; zero for never.
    pub restart: Duration,
    /// The most instances in one reply.
    pub page: usize,
    /// The cluster's name, if there is one.
    pub cluster: Option<String>,
    /// `ClusterEnforcedAntiAffinity`.
    pub enforced: bool,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// The hosts.
    pub nodes: Vec<Node>,
    /// The guests.
    pub guests: Vec<Guest>,
    /// Jobs by `InstanceID`.
    pub jobs: HashMap<String, Job>,
    /// Behaviour.
    pub behaviour: Behaviour,
    next_process: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            guests: Vec::new(),
            jobs: HashMap::new(),
            behaviour: Behaviour {
                v2: true,
                v1: false,
                optimize: true,
                jobs: true,
                lazy: false,
                start: Duration::from_millis(100),
                stop: Duration::from_millis(100),
                notice: Duration::ZERO,
                restart: Duration::ZERO,
                page: 32,
                cluster: None,
                enforced: false,
            },
            next_process: 4000,
        }
    }
}

/// The world, shared by all that serve it.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// The world as it is now.
    pub fn now(&self) -> MutexGuard<'_, World> {
        let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        world.pass();
        world
    }
}

/// What is wrong with carrying out an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// Nothing.
    None,
    /// The job never ends and has no effect.
    Stuck,
    /// The job takes effect and is not known afterwards.
    Vanished,
    /// The job fails.
    Failed,
}

impl World {
    /// Whether a state has a worker process.
    #[must_use]
    pub fn has_process(state: u32) -> bool {
        ![
            enabled::OFF,
            32782,
            enabled::SAVED,
            enabled::SAVED_V1,
            32779,
            32784,
            32791,
        ]
        .contains(&state)
    }

    /// Lets what is due happen.
    fn pass(&mut self) {
        let now = Instant::now();
        for guest in &mut self.guests {
            if let Some(role) = &mut guest.role
                && role.noticed.take_if(|at| *at <= now).is_some()
            {
                role.state = None;
            }
            let Some(change) = guest.change.take_if(|change| change.at <= now) else {
                continue;
            };
            match change.to {
                Outcome::State(state) => {
                    if state == enabled::ON && guest.state != enabled::ON {
                        guest.starts += 1;
                    }
                    if state == enabled::OFF {
                        guest.stops += 1;
                    }
                    let running = Self::has_process(state);
                    if running != Self::has_process(guest.state)
                        && let Some(role) = &mut guest.role
                    {
                        role.changed(running, now, self.behaviour.notice);
                    }
                    guest.state = state;
                }
                Outcome::Node(node) => guest.node = node,
            }
            if !Self::has_process(guest.state) {
                guest.process = None;
            } else if guest.process.is_none() {
                self.next_process += 4;
                guest.process = Some(self.next_process);
            }
        }
        for job in self.jobs.values_mut() {
            if job.at.is_some_and(|at| at <= now) && job.state == 4 {
                job.state = if job.error.is_some() { 10 } else { 7 };
            }
        }
    }

    /// A guest by its GUID.
    pub fn guest(&mut self, guid: Uuid) -> Option<&mut Guest> {
        self.guests.iter_mut().find(|guest| guest.guid == guid)
    }

    /// Whether a node is one of these.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name.eq_ignore_ascii_case(name))
    }

    /// `RequestStateChange`: the return value, and the job's `InstanceID`.
    pub fn request(&mut self, guid: Uuid, wanted: u32, quirk: Quirk) -> (u32, Option<String>) {
        const INVALID_STATE: u32 = 32775;
        let behaviour = self.behaviour.clone();
        let Some(guest) = self.guests.iter_mut().find(|guest| guest.guid == guid) else {
            return (INVALID_STATE, None);
        };
        let running = Self::has_process(guest.state);
        let allowed = match wanted {
            // A saved guest is resumed.
            2 => guest.state != enabled::ON && guest.change.is_none(),
            // A saved memory is discarded.
            3 => {
                ![enabled::OFF, 32782].contains(&guest.state)
                    && !matches!(&guest.change, Some(change) if change.to == Outcome::State(enabled::OFF))
            }
            _ => return (32773, None),
        };
        if !allowed {
            return (INVALID_STATE, None);
        }
        let (takes, to, meanwhile) = match wanted {
            2 if behaviour.lazy => (behaviour.start, enabled::ON, guest.state),
            2 => (behaviour.start, enabled::ON, enabled::STARTING),
            _ if running => (behaviour.stop, enabled::OFF, enabled::STOPPING),
            _ => (Duration::ZERO, enabled::OFF, guest.state),
        };
        let at = Instant::now() + takes;
        let stuck = quirk == Quirk::Stuck || guest.hung && wanted == 3;
        if !stuck && quirk != Quirk::Failed {
            guest.state = meanwhile;
            guest.change = Some(Change {
                at,
                to: Outcome::State(to),
            });
        }
        if !behaviour.jobs && !stuck && quirk != Quirk::Failed {
            return (0, None);
        }
        let id = Uuid::from_u128(
            u128::from(self.next_process) << 64 | u128::try_from(self.jobs.len()).unwrap_or(0),
        );
        let id = id.hyphenated().to_string().to_uppercase();
        if quirk != Quirk::Vanished {
            let error =
                (quirk == Quirk::Failed).then(|| "The worker process did not respond.".to_owned());
            self.jobs.insert(
                id.clone(),
                Job {
                    state: 4,
                    at: (!stuck).then_some(at),
                    error,
                },
            );
        }
        (4096, Some(id))
    }

    /// `Win32_Process.Terminate`.
    pub fn terminate(&mut self, process: u32) -> bool {
        const FAILED: u32 = 4;
        let restart = self.behaviour.restart;
        let Some(guest) = self
            .guests
            .iter_mut()
            .find(|guest| guest.process == Some(process))
        else {
            return false;
        };
        guest.change = None;
        guest.state = enabled::OFF;
        guest.process = None;
        guest.hung = false;
        guest.stops += 1;
        if let Some(role) = guest.role.as_mut().filter(|_| !restart.is_zero()) {
            role.state = Some(FAILED);
            guest.change = Some(Change {
                at: Instant::now() + restart,
                to: Outcome::State(enabled::ON),
            });
        }
        true
    }

    /// A node dies: its guests are gone from it, and after a while the cluster starts them elsewhere.
    pub fn kill(&mut self, name: &str, death: Death, failover: Option<(String, Duration)>) {
        for node in &mut self.nodes {
            if node.name.eq_ignore_ascii_case(name) {
                node.dead = Some(death);
                node.state = 1;
            }
        }
        let Some((to, after)) = failover else { return };
        for guest in &mut self.guests {
            if guest.node.eq_ignore_ascii_case(name) && guest.role.is_some() {
                guest.change = Some(Change {
                    at: Instant::now() + after,
                    to: Outcome::Node(to.clone()),
                });
            }
        }
    }
}
