//! A lab that is up, and what can be asked of it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deadline::Deadline;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, disk_use};
use crate::error::Error;
use crate::event::Event;
use crate::fault::{self, Fault, Injected};
use crate::form::Wanted;
use crate::guest::{ClockOffset, Guest, GuestLog, Output};
use crate::libvirt::Libvirt;
use crate::lock::Lock;
use crate::net::NetNs;
use crate::preflight::require_root;
use crate::spec::{LabName, Node, Spec, Stack};
use crate::ssh::Ssh;
use crate::state::{Phase, Place, State};
use crate::target::Reserved;
use crate::{bmc, domain, fencing, form, target, up};

/// How long processes may take to be gone after SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a cluster that is forming: each costs the guest a good part of a second.
const FORM_PAUSE: Duration = Duration::from_millis(500);

/// How a running lab came to be formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The guests were booted and formed the cluster.
    Booted,
    /// A saved cluster was restored.
    Restored,
    /// It was up already, with the same contents.
    Found,
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    place: Place,
    directory: PathBuf,
    netns: NetNs,
    state: State,
}

/// What [`Lab::list`] says about a lab.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: LabName,
    /// Whether it is up. If not, an interrupted run left it.
    pub up: bool,
    /// Its nodes' names and addresses.
    pub nodes: Vec<Node>,
    /// Whose fencing programs it uses.
    pub stack: Option<Stack>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How many processes run for it.
    pub processes: usize,
    /// Their resident memory in MiB.
    pub memory_mib: u64,
    /// What its directory takes, in bytes.
    pub bytes: u64,
}

/// What [`Lab::remove`] found and removed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Removed {
    /// Whether there was anything at all.
    pub found: bool,
    /// How many processes were ended.
    pub processes: usize,
}

/// A formed cluster, as its own tools report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The coordinator Pacemaker elected.
    pub dc: String,
    /// Nodes online.
    pub online: Vec<String>,
    /// Resource id and the node it runs on.
    pub resources: Vec<(String, String)>,
    /// Corosync's ring id: it changes with each change of membership.
    pub ring: String,
    /// When this was asked.
    pub at: Timestamp,
    /// How long the answer took.
    #[serde(skip)]
    pub took: Duration,
}

impl Lab {
    /// Brings the lab up: builds the image if there is none, restores the saved lab if a valid one exists,
    /// else boots the guests, puts the cluster on them unless they are to stay blank, waits until it has
    /// formed, and saves them.
    ///
    /// A lab that is up already with the same guests is attached to ([`Origin::Found`]), provided its
    /// cluster is whole and was not made from another definition; otherwise it is [`Error::AlreadyUp`].
    /// One that was brought up blank may have been given the cluster since: that counts too.
    ///
    /// # Errors
    /// [`Error::Preconditions`] before anything is changed; otherwise what went wrong. On every error
    /// what had been started has been taken down again.
    pub fn up(spec: &Spec, events: &mut dyn FnMut(Event)) -> Result<Self, Error> {
        up::up(spec, events)
    }

    /// A lab that is up, from any process on this machine.
    ///
    /// # Errors
    /// [`Error::NoSuchLab`].
    pub fn attach(name: &LabName) -> Result<Self, Error> {
        require_root()?;
        let place = Place::of(name);
        match place.read()? {
            Some(state) if state.phase == Phase::Formed => Ok(Self::of(place, state)),
            _ => Err(Error::NoSuchLab {
                name: name.to_string(),
            }),
        }
    }

    pub(crate) fn of(place: Place, state: State) -> Self {
        Self {
            directory: place.directory(),
            netns: NetNs::named(place.name.as_str()),
            place,
            state,
        }
    }

    /// Every lab that is up, or that was left behind.
    ///
    /// # Errors
    /// If the state directory cannot be read.
    pub fn list() -> Result<Vec<Summary>, Error> {
        require_root()?;
        let summary = |name: LabName| {
            let place = Place::of(&name);
            let state = place.read()?;
            let processes = NetNs::named(name.as_str()).processes();
            Ok(Summary {
                up: state
                    .as_ref()
                    .is_some_and(|state| state.phase == Phase::Formed)
                    && !processes.is_empty(),
                nodes: state
                    .as_ref()
                    .map_or_else(Vec::new, |state| state.nodes.clone()),
                stack: state.as_ref().map(|state| state.stack),
                since: state.as_ref().map(|state| state.since),
                processes: processes.len(),
                memory_mib: processes
                    .iter()
                    .map(|(pid, _)| resident_kib(*pid))
                    .sum::<u64>()
                    / 1024,
                bytes: disk_use(&place.directory()),
                name,
            })
        };
        Place::all()?.into_iter().map(summary).collect()
    }

    /// Takes the lab down.
    ///
    /// # Errors
    /// As [`Lab::remove`].
    pub fn down(self) -> Result<Removed, Error> {
        Self::remove(&self.place.name)
    }

    /// Takes down whatever there is of a lab: also what an interrupted run left. Nothing there is success.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process is starting or stopping it, [`Error::LeftBehind`].
    pub fn remove(name: &LabName) -> Result<Removed, Error> {
        require_root()?;
        Cache::of_this_machine().remove_interrupted()?;
        let place = Place::of(name);
        if !place.directory().exists() {
            return Ok(Removed::default());
        }
        match Lock::try_take(&place.lock())? {
            Ok(_lock) => Self::remove_locked(&place),
            Err(held) => Err(Error::Busy {
                name: name.to_string(),
                holder: held.by,
            }),
        }
    }

    /// As [`Lab::remove`], with the lab's lock held.
    pub(crate) fn remove_locked(place: &Place) -> Result<Removed, Error> {
        let directory = place.directory();
        if !directory.exists() {
            return Ok(Removed::default());
        }
        let netns = NetNs::named(place.name.as_str());
        let (processes, left) = netns.end_all(Deadline::after(END_LIMIT));
        if !left.is_empty() {
            return Err(Error::LeftBehind {
                name: place.name.to_string(),
                left: format!("processes {left:?} do not end"),
            });
        }
        netns.delete()?;
        // Last of all: as long as it is there, somebody will try again.
        fs::remove_dir_all(&directory).map_err(Error::io("remove", &directory))?;
        Ok(Removed {
            found: true,
            processes,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &LabName {
        &self.place.name
    }

    /// How it came to be formed.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.state.origin
    }

    /// Whose fencing programs it uses.
    #[must_use]
    pub const fn stack(&self) -> Stack {
        self.state.stack
    }

    /// What runs its guests' instructions.
    #[must_use]
    pub const fn accel(&self) -> crate::Accel {
        self.state.accel
    }

    /// Its nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.state.nodes
    }

    /// Every guest: the nodes, and the one that serves their shared disks.
    #[must_use]
    pub fn machines(&self) -> Vec<Node> {
        self.state.machines()
    }

    /// How OpenSSH's programs reach the guests.
    #[must_use]
    pub fn ssh(&self) -> Ssh {
        Ssh::of(self.name(), &self.directory)
    }

    /// The keys of this machine's labs: `fence_virtd` has been started with them, so a cluster that is put
    /// on the guests must have the same.
    ///
    /// # Errors
    /// If their seed cannot be read.
    pub fn keys(&self) -> Result<deploy::Keys, Error> {
        Ok(deploy::Keys::from_seed(Cache::of_this_machine().seed()?))
    }

    /// Puts a cluster on guests that were brought up blank, and waits until it is healthy.
    ///
    /// # Errors
    /// [`Error::NotApplied`]: the guests are left as they are then.
    pub fn apply(
        &self,
        definition: &cluster::Definition,
        cancel: &crate::Cancel,
        events: &mut dyn FnMut(Event),
    ) -> Result<(), Error> {
        crate::apply::apply(self, definition, cancel, events)
    }

    /// The cluster as it was when the lab came up.
    #[must_use]
    pub const fn form(&self) -> Option<&Form> {
        self.state.form.as_ref()
    }

    fn node(&self, name: &str) -> Result<&Node, Error> {
        let storage = self.state.storage.as_ref().map(|storage| &storage.node);
        let machines = || self.nodes().iter().chain(storage);
        machines().find(|node| node.name == name).ok_or_else(|| {
            let known: Vec<_> = machines().map(|node| node.name.as_str()).collect();
            Error::NoSuchNode {
                node: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    fn guest(&self, name: &str) -> Result<Guest<'_>, Error> {
        self.node(name).map(|node| Guest::new(&self.netns, node))
    }

    /// Runs a program in a guest and waits for it. Standard input is empty.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`], [`Error::NoAnswer`] (nothing is known about the command),
    /// [`Error::DeadlinePassed`].
    pub fn exec(&self, node: &str, argv: &[&str], deadline: Deadline) -> Result<Output, Error> {
        self.shell(node, &format!("exec {}", shell::command(argv)), deadline)
    }

    /// Runs a shell script (bash) in a guest and waits for it.
    ///
    /// # Errors
    /// As [`Lab::exec`].
    pub fn shell(&self, node: &str, script: &str, deadline: Deadline) -> Result<Output, Error> {
        self.guest(node)?.run(script, deadline)
    }

    /// The file that holds everything the guest wrote to its serial console, over all its boots.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`].
    pub fn console(&self, node: &str) -> Result<PathBuf, Error> {
        self.node(node)
            .map(|node| domain::console(&self.directory, &node.name))
    }

    /// A log inside a guest.
    ///
    /// # Errors
    /// As [`Lab::exec`]; a log that is not there yet is empty.
    pub fn logs(&self, node: &str, which: GuestLog, deadline: Deadline) -> Result<String, Error> {
        let script = format!("[ ! -e {0} ] || exec cat {0}", which.path());
        let output = self.shell(node, &script, deadline)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Breaks a guest, and returns once the effect was seen.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`], [`Error::NoAnswer`], [`Error::FaultNotSeen`].
    pub fn inject(&self, node: &str, fault: Fault, deadline: Deadline) -> Result<Injected, Error> {
        match fault {
            Fault::Panic => fault::panic(node, &self.guest(node)?, &self.console(node)?, deadline),
            Fault::Hang => fault::hang(node, &self.libvirt_of(node)?, deadline),
        }
    }

    /// How far a guest's wall clock is from this machine's.
    ///
    /// # Errors
    /// As [`Lab::exec`].
    pub fn clock_offset(&self, node: &str, deadline: Deadline) -> Result<ClockOffset, Error> {
        self.guest(node)?.clock(false, deadline)
    }

    /// Sets the guests' clocks to this machine's. Corosync and Pacemaker measure their waits on the
    /// monotonic clock, which this does not touch.
    pub(crate) fn set_clocks(&self, deadline: Deadline) -> Result<(), Error> {
        crate::saved::at_once(&self.machines(), |node| {
            Guest::new(&self.netns, node).clock(true, deadline)
        })
        .map(drop)
    }

    /// Whether every guest answers.
    pub(crate) fn answer(&self, deadline: Deadline) -> Result<(), Error> {
        crate::saved::at_once(&self.machines(), |node| {
            Guest::new(&self.netns, node).clock(false, deadline)
        })
        .map(drop)
    }

    /// Connects from inside the lab's network: to a guest, or to a virtual address of the cluster.
    ///
    /// # Errors
    /// As connecting does.
    pub fn connect(
        &self,
        address: SocketAddr,
        deadline: Deadline,
    ) -> std::io::Result<std::net::TcpStream> {
        self.netns.connect(address, deadline)
    }

    /// Waits until the cluster is whole: every node online, quorate, every resource of the definition
    /// started. For after a drill, when the fenced node has come back.
    ///
    /// # Errors
    /// [`Error::NotFormed`] with what is missing when the deadline passes.
    pub fn wait_formed(&self, deadline: Deadline) -> Result<Form, Error> {
        self.wait_formed_unless(deadline, &crate::Cancel::never(), &mut |_| ())
    }

    /// As [`Lab::wait_formed`]; `saw` hears what is still missing, whenever that changes.
    pub(crate) fn wait_formed_unless(
        &self,
        deadline: Deadline,
        cancel: &crate::Cancel,
        saw: &mut dyn FnMut(&str),
    ) -> Result<Form, Error> {
        /// A guest that does not answer within this is busy with something else.
        const PATIENCE: Duration = Duration::from_secs(30);
        let began = Instant::now();
        let mut missing = String::new();
        loop {
            cancel.check("waiting for the cluster to form")?;
            for node in self.nodes() {
                let guest = Guest::new(&self.netns, node);
                match form::ask(
                    &guest,
                    self.nodes(),
                    &self.state.resources,
                    deadline.within(PATIENCE),
                ) {
                    Ok(form) => return Ok(form),
                    Err(Error::NotFormed { saw: what }) => {
                        if what != missing {
                            saw(&what);
                            missing = what;
                        }
                        // The others would say the same.
                        break;
                    }
                    Err(error @ (Error::NoAnswer { .. } | Error::DeadlinePassed { .. })) => {
                        missing = error.to_string();
                    }
                    Err(error) => return Err(error),
                }
            }
            if deadline.has_passed() {
                return Err(Error::NotFormed {
                    saw: format!("{missing}, after {:.0} s", began.elapsed().as_secs_f64()),
                });
            }
            std::thread::sleep(FORM_PAUSE.min(deadline.remaining()));
        }
    }

    /// Whether every node sees the membership `ring`, with all nodes in it.
    pub(crate) fn same_membership(&self, ring: &str, deadline: Deadline) -> Result<(), Error> {
        let views = crate::saved::at_once(self.nodes(), |node| {
            form::ask_membership(&Guest::new(&self.netns, node), deadline)
        })?;
        for (node, (seen, members)) in self.nodes().iter().zip(views) {
            if seen != ring || members != self.nodes().len() {
                return Err(Error::NotFormed {
                    saw: format!(
                        "node {} sees ring {seen} of {members} nodes instead of ring {ring}",
                        node.name
                    ),
                });
            }
        }
        Ok(())
    }

    /// Where `fence_virtd` writes its audit records (JSON lines). With [`Stack::C`] there is none.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        fencing::audit(&self.directory)
    }

    /// What `fence_virtd` prints.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        fencing::log(&self.directory)
    }

    /// Who may write to which disk, as `picket-target` says. Empty if it serves none of the lab's disks.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn reserved(&self, deadline: Deadline) -> Result<Vec<Reserved>, Error> {
        let target = self.state.target.as_ref();
        target.map_or_else(
            || Ok(Vec::new()),
            |target| target.reserved(&self.directory, self.nodes(), deadline),
        )
    }

    /// What `picket-target` prints.
    #[must_use]
    pub fn target_log(&self) -> PathBuf {
        target::log(&self.directory)
    }

    /// The lab's state directory.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// The hash of what the guests were made from.
    pub(crate) fn contents(&self) -> &str {
        &self.state.contents
    }

    /// The hash of everything inside the guests, their image included.
    pub(crate) fn full_contents(&self) -> String {
        format!(
            "{} {} {}",
            self.state.image,
            self.state.contents,
            self.cluster().unwrap_or("blank")
        )
    }

    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.state.origin = origin;
    }

    /// It is up; with what cluster, if any.
    pub(crate) fn set_formed(&mut self, form: Option<Form>) {
        self.state.phase = Phase::Formed;
        self.state.form = form;
    }

    /// Of which definition it is to be: for one that was brought up blank, and was given a cluster since.
    pub(crate) fn set_cluster(&mut self, cluster: Option<String>, resources: Vec<Wanted>) {
        self.state.cluster = cluster;
        self.state.resources = resources;
    }

    /// The hash of the cluster that was put on it; `None` if it was brought up blank.
    pub(crate) fn cluster(&self) -> Option<&str> {
        self.state.cluster.as_deref()
    }

    pub(crate) fn write_state(&self) -> Result<(), Error> {
        self.place.write(&self.state)
    }

    /// Whether the daemons outside the guests run.
    pub(crate) fn has_daemons(&self) -> bool {
        let runs = |program| crate::libvirt::running(&self.netns, program).is_some();
        let of_guests = self.libvirt_at(&self.directory).is_some()
            && (!self.state.fence_virtd || runs("fence_virtd"))
            && (self.state.target.is_none() || runs(target::PROGRAM));
        let of_metal =
            || self.libvirt_at(&bmc::hall(&self.directory)).is_some() && runs("ipmi_sim");
        of_guests && (self.state.metal.is_empty() || of_metal())
    }

    /// Whether `node` is bare metal: a machine that `fence_virtd` does not know, and that a management
    /// controller switches.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`].
    pub fn is_bare_metal(&self, node: &str) -> Result<bool, Error> {
        let node = &self.node(node)?.name;
        Ok(self.state.metal.contains(node))
    }

    /// What the management controller of a bare-metal node did to its power: a line for each change, with
    /// its moment. Empty as long as it did nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`]; if the log cannot be read.
    pub fn chassis_log(&self, node: &str) -> Result<String, Error> {
        let log = bmc::log(&self.directory, &self.node(node)?.name);
        match fs::read_to_string(&log) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            result => result.map_err(Error::io("read", &log)),
        }
    }

    /// The libvirtd that has the machine of this name.
    pub(crate) fn libvirt_of(&self, node: &str) -> Result<Libvirt, Error> {
        let log_to = if self.is_bare_metal(node)? {
            bmc::hall(&self.directory)
        } else {
            self.directory.clone()
        };
        self.libvirt_at(&log_to).ok_or_else(|| Error::NoSuchLab {
            name: self.place.name.to_string(),
        })
    }

    fn libvirt_at(&self, log_to: &std::path::Path) -> Option<Libvirt> {
        Libvirt::find(&self.netns, log_to)
    }
}

/// `VmRSS` of proc(5), in KiB.
fn resident_kib(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or(0)
}
