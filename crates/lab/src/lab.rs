//! The lab itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deadline::Deadline;
use jiff::Timestamp;
use serde::Serialize;

use crate::error::Error;
use crate::event::Event;
use crate::fault::{Fault, Injected};
use crate::guest::{ClockOffset, GuestLog, Output};
use crate::spec::{LabName, Node, Spec, Stack};

/// How a running lab came to be formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
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
    name: LabName,
}

/// What [`Lab::list`] says about a lab.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: LabName,
}

/// What [`Lab::remove`] found and removed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Removed {
    /// How many processes were ended.
    pub processes: usize,
}

impl Lab {
    /// Brings the lab up: builds the image if there is none, restores the saved cluster if a valid one
    /// exists, else boots the guests, waits until the cluster has formed, and saves it.
    ///
    /// A lab that is up already with the same contents is attached to ([`Origin::Found`]), provided its
    /// cluster is whole.
    ///
    /// # Errors
    /// [`Error::Preconditions`] before anything is changed; otherwise what went wrong. On every error
    /// what had been started has been taken down again.
    pub fn up(spec: &Spec, events: &mut dyn FnMut(Event)) -> Result<Self, Error> {
        let _ = events;
        Self::attach(&spec.name)
    }

    /// A lab that is up, from any process on this machine.
    ///
    /// # Errors
    /// [`Error::NoSuchLab`].
    pub fn attach(name: &LabName) -> Result<Self, Error> {
        Err(Error::NoSuchLab {
            name: name.to_string(),
        })
    }

    /// Every lab that is up, or that was left behind.
    ///
    /// # Errors
    /// If the state directory cannot be read.
    pub fn list() -> Result<Vec<Summary>, Error> {
        Ok(Vec::new())
    }

    /// Takes the lab down.
    ///
    /// # Errors
    /// As [`Lab::remove`].
    pub fn down(self) -> Result<Removed, Error> {
        Self::remove(&self.name)
    }

    /// Takes down whatever there is of a lab: also what an interrupted run left. Nothing there is success.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::LeftBehind`].
    pub fn remove(name: &LabName) -> Result<Removed, Error> {
        let _ = name;
        Ok(Removed::default())
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &LabName {
        &self.name
    }

    /// How it came to be formed.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::Booted
    }

    /// Whose fencing programs it uses.
    #[must_use]
    pub fn stack(&self) -> Stack {
        Stack::Picket
    }

    /// Its nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &[]
    }

    /// Runs a program in a guest and waits for it. Standard input is empty.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`], [`Error::NoAnswer`] (nothing is known about the command),
    /// [`Error::DeadlinePassed`].
    pub fn exec(&self, node: &str, argv: &[&str], deadline: Deadline) -> Result<Output, Error> {
        let _ = (argv, deadline);
        Err(self.no_such_node(node))
    }

    /// Runs a shell script (bash) in a guest and waits for it.
    ///
    /// # Errors
    /// As [`Lab::exec`].
    pub fn shell(&self, node: &str, script: &str, deadline: Deadline) -> Result<Output, Error> {
        let _ = (script, deadline);
        Err(self.no_such_node(node))
    }

    /// The file that holds everything the guest wrote to its serial console, over all its boots.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`].
    pub fn console(&self, node: &str) -> Result<PathBuf, Error> {
        Err(self.no_such_node(node))
    }

    /// A log inside a guest.
    ///
    /// # Errors
    /// As [`Lab::exec`].
    pub fn logs(&self, node: &str, which: GuestLog, deadline: Deadline) -> Result<String, Error> {
        let _ = (which, deadline);
        Err(self.no_such_node(node))
    }

    /// Breaks a guest, and returns once the effect was seen.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`], [`Error::NoAnswer`], [`Error::FaultNotSeen`].
    pub fn inject(&self, node: &str, fault: Fault, deadline: Deadline) -> Result<Injected, Error> {
        let _ = (fault, deadline);
        Err(self.no_such_node(node))
    }

    /// How far a guest's wall clock is from this machine's.
    ///
    /// # Errors
    /// As [`Lab::exec`].
    pub fn clock_offset(&self, node: &str, deadline: Deadline) -> Result<ClockOffset, Error> {
        let _ = deadline;
        Err(self.no_such_node(node))
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
        let _ = (address, deadline);
        Err(std::io::ErrorKind::NotConnected.into())
    }

    /// Waits until the cluster is whole: every node online, quorate, every resource of the definition
    /// started. For after a drill, when the fenced node has come back.
    ///
    /// # Errors
    /// [`Error::NotFormed`] with what is missing.
    pub fn wait_formed(&self, deadline: Deadline) -> Result<Form, Error> {
        let _ = deadline;
        Err(Error::NoSuchLab {
            name: self.name.to_string(),
        })
    }

    /// Where `fence_virtd` writes its audit records (JSON lines). With [`Stack::C`] there is none.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.directory().join("audit.jsonl")
    }

    /// What `fence_virtd` prints.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.directory().join("fence_virtd.log")
    }

    /// The lab's state directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        Path::new("/run/picket/lab")
    }

    fn no_such_node(&self, node: &str) -> Error {
        let known: Vec<_> = self.nodes().iter().map(|node| node.name.as_str()).collect();
        Error::NoSuchNode {
            node: node.to_owned(),
            known: known.join(", "),
        }
    }
}

/// A formed cluster, as its own tools report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    #[serde(serialize_with = "crate::event::seconds")]
    pub took: Duration,
}
