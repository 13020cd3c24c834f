//! Doing a drill: lab, client, fault, recovery, evidence.
//!
//! ```text
//!  lab up ──▶ service answers ──▶ fault ──▶ watching ──▶ logs collected ──▶ report ──▶ lab down
//!    │              │               │          │ deadline: what is missing is in the report
//!    └──────────────┴───────────────┴──────────┴── error, cancelled ─────────────────▶ lab down
//! ```
//!
//! While a failure is watched no guest is asked anything: under emulation a single command costs the
//! survivor so much time that the figures would show it. What only the guests know is read from their
//! logs afterwards.

pub(super) mod aftermath;
mod cut;
mod records;
pub(super) mod storage;
mod writer;

use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::Scope;
use std::time::Duration;

use cluster::{Definition, NodeName, Service};
use deadline::Deadline;
use jiff::{SignedDuration, Timestamp};
use lab::{ClockOffset, Fault, GuestLog, Injected, Lab, Spec, Stack};

use super::event::Event;
use super::logs;
use super::probe::{self, Change, Sample, Seen, Watch};
use super::site::{Site, TAIL};
use super::timeline::{self, CutOff, Mark, Milestone, PowerOff, Report, Verdict};
use cut::Guards;

/// How long the service may take to answer before the fault.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a fault may take to show.
const FAULT_LIMIT: Duration = Duration::from_secs(30);
/// How long a survivor may take to hand over a log or its clock.
const GUEST_LIMIT: Duration = Duration::from_secs(30);
/// How often the audit log is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The lab.
    pub spec: Spec,
    /// What happens to the node.
    pub fault: Fault,
    /// Which node; the one that runs the service if `None`.
    pub node: Option<NodeName>,
    /// Leave the lab up.
    pub keep: bool,
    /// How long the recovery may take.
    pub limit: Duration,
    /// How long evidence and logs may lag behind the recovered service.
    pub lag: Duration,
}

impl Plan {
    /// The usual [`Plan::lag`].
    pub const LAG: Duration = Duration::from_secs(8);
}

/// Why a drill could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The definition has nothing that could fail over.
    #[error(
        "the definition has no `[[service]]` with a `virtual_ip` and `http`: there is nothing a client could ask for"
    )]
    NoService,
    /// One node cannot fail over.
    #[error("a drill needs at least two nodes; the definition has {0} (see --nodes)")]
    NoSurvivor(usize),
    /// There is no such node.
    #[error("there is no node `{node}`; the nodes are {known}")]
    NoSuchNode {
        /// What was asked for.
        node: NodeName,
        /// What there is.
        known: String,
    },
    /// The service did not answer, although the lab is up.
    #[error("the service does not answer at {url}: {why}")]
    NotAnswering {
        /// Where it was asked for.
        url: String,
        /// What happened instead.
        why: String,
    },
    /// The definition has no file system that all nodes write to.
    #[error(
        "the definition has no `[[filesystem]]` of kind `gfs2` on a volume: there is nothing that all nodes could write to"
    )]
    NoSharedFilesystem,
    /// A node does not write, although the lab is up.
    #[error("node `{node}` does not write to the shared file system")]
    NotWriting {
        /// Which.
        node: String,
    },
    /// A writer could not be started.
    #[error("cannot start a writer: {0}")]
    Writer(std::io::Error),
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// The user gave up.
    #[error("cancelled during the drill")]
    Cancelled,
}

/// Does one drill. The lab is taken down afterwards, however it ended, unless it is to be kept.
///
/// # Errors
/// When the drill could not be done. A failure that is not recovered from is a [`Report`].
pub fn perform(plan: &Plan, show: &mut dyn FnMut(Event)) -> Result<Report, Error> {
    let service = check(plan)?;
    let lab = Lab::up(&plan.spec, &mut |lab| show(Event::Lab { lab }))?;
    show(Event::Up {
        origin: lab.origin(),
        nodes: lab.nodes().iter().map(|node| node.name.clone()).collect(),
    });
    let result = on_site(&lab, plan, service, show);
    if let Ok(report) = &result {
        show(Event::Finished {
            report: Box::new(report.clone()),
        });
    }
    if !plan.keep {
        show(Event::TakingDown);
        let down = lab.down();
        if result.is_ok() {
            down?;
        }
    }
    result
}

/// What can be known to be wrong before anything is started.
fn check(plan: &Plan) -> Result<(&Service, SocketAddr), Error> {
    let definition: &Definition = &plan.spec.definition;
    let count = definition.nodes.len();
    if count < 2 {
        return Err(Error::NoSurvivor(count));
    }
    if let Some(node) = &plan.node
        && definition.nodes.iter().all(|known| known.name != *node)
    {
        let known: Vec<_> = definition
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        return Err(Error::NoSuchNode {
            node: node.clone(),
            known: known.join(", "),
        });
    }
    let asked = |service: &Service| {
        let address = service.virtual_ip?.address;
        let port = service.http.as_ref()?.port.get();
        Some(SocketAddr::new(address, port))
    };
    definition
        .services
        .iter()
        .find_map(|service| Some((service, asked(service)?)))
        .ok_or(Error::NoService)
}

fn on_site(
    site: &dyn Site,
    plan: &Plan,
    (service, address): (&Service, SocketAddr),
    show: &mut dyn FnMut(Event),
) -> Result<Report, Error> {
    std::thread::scope(|scope| {
        let client = Client::start(scope, site, address);
        show(Event::AwaitingService);
        let serving = client.first_answer(plan)?;
        show(Event::Answering {
            url: url(address),
            node: serving.clone(),
        });
        let victim = plan
            .node
            .as_ref()
            .map_or_else(|| serving.clone(), ToString::to_string);
        let mut drill = Drill {
            site,
            plan,
            resource: service.resource_ids().pop().unwrap_or_default(),
            serves: serving == victim,
            survivors: survivors(site, &victim),
            victim,
            load: None,
            gaps: Vec::new(),
        };
        drill.run(&client, show)
    })
}

fn url(address: SocketAddr) -> String {
    if address.port() == 80 && address.is_ipv4() {
        format!("http://{}/", address.ip())
    } else {
        format!("http://{address}/")
    }
}

fn survivors(site: &dyn Site, victim: &str) -> Vec<String> {
    let mut names = site.nodes();
    names.retain(|name| name != victim);
    names
}

/// The client thread's other end. The thread ends when this is dropped.
struct Client {
    url: String,
    samples: Receiver<Sample>,
    _stop: mpsc::Sender<()>,
}

impl Client {
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        site: &'scope dyn Site,
        address: SocketAddr,
    ) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (sender, samples) = mpsc::sync_channel(1024);
        scope.spawn(move || {
            probe::run(
                |deadline| site.connect(address, deadline),
                &stopped,
                &sender,
            );
        });
        Self {
            url: url(address),
            samples,
            _stop: stop,
        }
    }

    /// The node that answers before the fault.
    fn first_answer(&self, plan: &Plan) -> Result<String, Error> {
        let deadline = Deadline::after(ANSWER_LIMIT);
        let mut why = String::from("no request was made");
        while !deadline.has_passed() {
            if plan.spec.cancel.is_set() {
                return Err(Error::Cancelled);
            }
            match self.samples.recv_timeout(LOOK) {
                Ok(sample) => match sample.seen {
                    Seen::Answered { node: Some(node) } => return Ok(node),
                    Seen::Answered { node: None } => why = "the page does not name its node".into(),
                    Seen::Silent { why: reason } => why = reason,
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err(Error::NotAnswering {
            url: self.url.clone(),
            why,
        })
    }
}

/// A drill on a site whose service answers.
struct Drill<'a> {
    site: &'a dyn Site,
    plan: &'a Plan,
    /// The service's last resource.
    resource: String,
    victim: String,
    /// Whether the victim runs the service.
    serves: bool,
    survivors: Vec<String>,
    load: Option<f64>,
    gaps: Vec<String>,
}

/// What was seen from outside.
struct Outside {
    watch: Watch,
    proof: Option<PowerOff>,
    cut: Option<CutOff>,
}

impl Outside {
    const fn is_proven(&self) -> bool {
        self.proof.is_some() || self.cut.is_some()
    }
}

impl Drill<'_> {
    fn run(&mut self, client: &Client, show: &mut dyn FnMut(Event)) -> Result<Report, Error> {
        let before = self.clocks();
        self.load = load();
        let guards = self.guards();
        let injected =
            self.site
                .inject(&self.victim, self.plan.fault, Deadline::after(FAULT_LIMIT))?;
        show(Event::Fault {
            node: injected.node.clone(),
            fault: injected.fault,
            evidence: injected.evidence.clone(),
        });
        let outside = self.watch(client, &guards, &injected, show)?;
        show(Event::Collecting);
        let clocks = self.better_clocks(before);
        let inside = self.collect(&injected, &clocks);
        Ok(self.report(&injected, &outside, inside, &clocks))
    }

    /// The disks that guard themselves against the victim. What cannot be asked is a gap.
    fn guards(&mut self) -> Guards {
        match self.site.reserved(Deadline::after(GUEST_LIMIT)) {
            Ok(all) => Guards::of(&all, &self.victim),
            Err(why) => {
                let gap = format!("who was registered before the fault is not known: {why}");
                self.gaps.push(gap);
                Guards::default()
            }
        }
    }

    /// Watches from outside until the service is back and the node proven off or cut off, or time is up.
    fn watch(
        &self,
        client: &Client,
        guards: &Guards,
        injected: &Injected,
        show: &mut dyn FnMut(Event),
    ) -> Result<Outside, Error> {
        let mut outside = Outside {
            watch: Watch::new(&self.victim, injected.instant),
            proof: None,
            cut: None,
        };
        let mut audit = Audit::new(self.site.audit_log());
        let mut deadline = Deadline::at(injected.instant + self.plan.limit);
        let mut look = Deadline::at(injected.instant);
        while !deadline.has_passed() && !self.is_over(&outside) {
            if self.plan.spec.cancel.is_set() {
                return Err(Error::Cancelled);
            }
            if let Ok(sample) = client.samples.recv_timeout(LOOK)
                && let Some(change) = outside.watch.take(&sample)
            {
                show(seen(&change, &outside.watch));
                if matches!(change, Change::Back { .. }) && self.serves {
                    deadline = deadline.within(self.plan.lag);
                }
            }
            if !look.has_passed() {
                continue;
            }
            look = Deadline::after(LOOK);
            if outside.proof.is_none() {
                outside.proof = audit.proof(&self.victim, injected.at);
                if let Some(proof) = &outside.proof {
                    show(confirmed(proof, injected.at));
                }
            }
            if outside.cut.is_none() && guards.any() {
                let all = self.site.reserved(Deadline::after(GUEST_LIMIT));
                outside.cut = all.ok().and_then(|all| guards.cut_off(&all));
                if let Some(cut) = &outside.cut {
                    show(cut_off(cut, injected.at));
                }
            }
        }
        Ok(outside)
    }

    fn is_over(&self, outside: &Outside) -> bool {
        let proven = match self.site.stack() {
            _ if outside.is_proven() => true,
            Stack::Picket => false,
            // Nothing can be seen of the C daemon from outside. If the victim did not run the service, only the time
            // limit ends the watch.
            Stack::C => self.serves,
        };
        outside.watch.back().is_some() && proven
    }

    /// The survivors' clocks. One that cannot be read is a gap.
    fn clocks(&mut self) -> Vec<(String, ClockOffset)> {
        let mut clocks = Vec::new();
        for node in &self.survivors {
            match self.site.clock(node, Deadline::after(GUEST_LIMIT)) {
                Ok(clock) => clocks.push((node.clone(), clock)),
                Err(error) => self
                    .gaps
                    .push(format!("the clock of {node} could not be read: {error}")),
            }
        }
        clocks
    }

    /// Reads the clocks again, and of both readings keeps the more certain one.
    fn better_clocks(&mut self, before: Vec<(String, ClockOffset)>) -> Vec<(String, ClockOffset)> {
        let mut after = self.clocks();
        for (node, clock) in &mut after {
            let Some((_, earlier)) = before.iter().find(|(name, _)| name == node) else {
                continue;
            };
            let moved = (clock.offset - earlier.offset).unsigned_abs();
            let noise = clock.uncertainty + earlier.uncertainty;
            if moved > noise + Duration::from_millis(250) {
                let moved = moved.as_secs_f64();
                self.gaps.push(format!(
                    "the clock of {node} moved by {moved:.2} s during the drill"
                ));
            }
            if earlier.uncertainty < clock.uncertainty {
                *clock = *earlier;
            }
        }
        after
    }

    /// What the survivors' logs tell. The log of a start may lag behind the service itself, so it is
    /// read again for a while until it is there.
    fn collect(&mut self, injected: &Injected, clocks: &[(String, ClockOffset)]) -> Vec<Mark> {
        let deadline = Deadline::after(self.plan.lag);
        loop {
            let gaps = self.gaps.len();
            let marks = self.read_logs(injected, clocks);
            let started = |mark: &Mark| mark.milestone == Milestone::ServiceStarted;
            if !self.serves || marks.iter().any(started) || deadline.has_passed() {
                return marks;
            }
            self.gaps.truncate(gaps);
        }
    }

    fn read_logs(&mut self, injected: &Injected, clocks: &[(String, ClockOffset)]) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (node, clock) in clocks {
            for which in [GuestLog::Corosync, GuestLog::Pacemaker] {
                let text = match self.site.log(node, which, Deadline::after(GUEST_LIMIT)) {
                    Ok(text) => text,
                    Err(why) => {
                        let path = which.path();
                        self.gaps
                            .push(format!("{path} of {node} could not be read: {why}"));
                        continue;
                    }
                };
                let (findings, daemon) = match which {
                    GuestLog::Corosync => (logs::corosync(&text, injected.at), "corosync"),
                    _ => (
                        logs::pacemaker(&text, injected.at, &self.victim, &self.resource),
                        "pacemaker",
                    ),
                };
                let source = format!("{node} {daemon}");
                marks.extend(findings.into_iter().map(|mut finding| {
                    finding.at = clock.to_host(finding.at);
                    finding.mark(injected.at, &source)
                }));
            }
        }
        marks
    }

    fn report(
        &mut self,
        injected: &Injected,
        outside: &Outside,
        inside: Vec<Mark>,
        clocks: &[(String, ClockOffset)],
    ) -> Report {
        let mut marks = inside;
        marks.push(Mark {
            milestone: Milestone::Fault,
            after: SignedDuration::ZERO,
            source: "lab".into(),
            detail: injected.evidence.clone(),
        });
        marks.extend(outside_marks(outside, injected.at));
        // From before the fault: `steps` would keep what is at most half a second early.
        marks.retain(|mark| {
            mark.milestone != Milestone::ServiceStarted || mark.after > SignedDuration::ZERO
        });
        let timeline = timeline::steps(marks);
        let returned = |step: &timeline::Step| step.milestone == Milestone::FenceCallReturned;
        let has_word = timeline.iter().any(returned);
        let back = outside.watch.back();
        let verdict = timeline::verdict(
            self.site.stack(),
            back.is_some(),
            outside.is_proven(),
            has_word,
        );
        if verdict == Verdict::NotProven {
            let gap = if self.plan.spec.definition.virt().is_some() {
                "no evidence of the power-off was found in the audit log of fence_virtd"
            } else {
                "nothing that serves the disks was seen to keep the node out"
            };
            self.gaps.push(gap.into());
        }
        let uncertainty = clocks.iter().map(|(_, clock)| clock.uncertainty).max();
        Report {
            verdict,
            victim: self.victim.clone(),
            fault: injected.fault,
            survivor: back.map(|(_, node)| node.to_owned()),
            stack: self.site.stack(),
            at: injected.at,
            stages: timeline::stages(&timeline),
            timeline,
            power_off: outside.proof.clone(),
            cut_off: outside.cut.clone(),
            clock_uncertainty: uncertainty.unwrap_or_default().as_secs_f64(),
            load: self.load,
            gaps: std::mem::take(&mut self.gaps),
        }
    }
}

/// The machine's load average over the last minute.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The marks of what was seen from outside.
fn outside_marks(outside: &Outside, fault: Timestamp) -> Vec<Mark> {
    let client = |milestone, after: Duration, detail: String| Mark {
        milestone,
        after: SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX),
        source: "client".into(),
        detail,
    };
    let mut marks = Vec::new();
    if let Some(after) = outside.watch.lost() {
        marks.push(client(
            Milestone::ServiceLost,
            after,
            "the first request without an answer".into(),
        ));
    }
    if let Some((after, node)) = outside.watch.back() {
        marks.push(client(
            Milestone::ServiceAnswering,
            after,
            format!("answered by {node}"),
        ));
    }
    if let Some(proof) = &outside.proof {
        marks.push(Mark {
            milestone: Milestone::PowerOffConfirmed,
            after: proof.at.duration_since(fault),
            source: "fence_virtd".into(),
            detail: format!("{}, seen {} by {}", proof.means, proof.state, proof.by),
        });
    }
    if let Some(cut) = &outside.cut {
        marks.push(Mark {
            milestone: Milestone::CutOffConfirmed,
            after: cut.at.duration_since(fault),
            source: cut.by.clone(),
            detail: cut.describe(),
        });
    }
    marks
}

fn cut_off(cut: &CutOff, fault: Timestamp) -> Event {
    Event::Seen {
        milestone: Milestone::CutOffConfirmed,
        seconds: timeline::seconds(cut.at.duration_since(fault)),
        detail: cut.describe(),
    }
}

fn seen(change: &Change, watch: &Watch) -> Event {
    let (milestone, after, detail) = match change {
        Change::Lost { why } => (Milestone::ServiceLost, watch.lost(), why.clone()),
        Change::Back { node } => (
            Milestone::ServiceAnswering,
            watch.back().map(|(after, _)| after),
            format!("answered by {node}"),
        ),
    };
    Event::Seen {
        milestone,
        seconds: after.unwrap_or_default().as_secs_f64(),
        detail,
    }
}

fn confirmed(proof: &PowerOff, fault: Timestamp) -> Event {
    Event::Seen {
        milestone: Milestone::PowerOffConfirmed,
        seconds: timeline::seconds(proof.at.duration_since(fault)),
        detail: format!("{}, seen {} by {}", proof.means, proof.state, proof.by),
    }
}

/// The daemon's audit log, read again only when it has grown.
struct Audit {
    path: std::path::PathBuf,
    known: u64,
}

impl Audit {
    fn new(path: std::path::PathBuf) -> Self {
        Self { path, known: 0 }
    }

    /// The proof, if there is one by now. A log that is not there, or cannot be read, has none.
    fn proof(&mut self, victim: &str, fault: Timestamp) -> Option<PowerOff> {
        let size = std::fs::metadata(&self.path).ok()?.len();
        if size == self.known {
            return None;
        }
        self.known = size;
        logs::power_off(&read_tail(&self.path).ok()?, victim, fault)
    }
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL.into())))?;
    let mut bytes = Vec::new();
    file.take(TAIL.into()).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
