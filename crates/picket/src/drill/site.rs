//! Where a drill takes place: the seam between its course and the guests.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use deadline::Deadline;
use lab::{ClockOffset, Fault, GuestLog, Injected, Lab, Reserved, Stack};

/// How much of the end of a log is read, in bytes.
pub(super) const TAIL: u32 = 400_000;

/// A formed cluster that can be broken and looked at. [`Lab`] is the real one.
pub(super) trait Site: Sync {
    /// Whose fencing programs it uses.
    fn stack(&self) -> Stack;

    /// The names of its nodes.
    fn nodes(&self) -> Vec<String>;

    /// Connects as a client outside the cluster does.
    ///
    /// # Errors
    /// As connecting does.
    fn connect(&self, address: SocketAddr, deadline: Deadline) -> io::Result<TcpStream>;

    /// Breaks a node, and returns once the effect was seen.
    ///
    /// # Errors
    /// When it was not broken, or that was not seen.
    fn inject(&self, node: &str, fault: Fault, deadline: Deadline) -> Result<Injected, lab::Error>;

    /// How far a node's clock is from ours.
    ///
    /// # Errors
    /// When the node does not say.
    fn clock(&self, node: &str, deadline: Deadline) -> Result<ClockOffset, lab::Error>;

    /// The end of a node's log.
    ///
    /// # Errors
    /// Why it could not be read.
    fn log(&self, node: &str, which: GuestLog, deadline: Deadline) -> Result<String, String>;

    /// Where the fencing daemon writes its audit records.
    fn audit_log(&self) -> PathBuf;

    /// Who may write to which disk, as what serves them says.
    ///
    /// # Errors
    /// Why that could not be asked.
    fn reserved(&self, deadline: Deadline) -> Result<Vec<Reserved>, String>;
}

impl Site for Lab {
    fn stack(&self) -> Stack {
        self.stack()
    }

    fn nodes(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node.name.clone()).collect()
    }

    fn connect(&self, address: SocketAddr, deadline: Deadline) -> io::Result<TcpStream> {
        self.connect(address, deadline)
    }

    fn inject(&self, node: &str, fault: Fault, deadline: Deadline) -> Result<Injected, lab::Error> {
        self.inject(node, fault, deadline)
    }

    fn clock(&self, node: &str, deadline: Deadline) -> Result<ClockOffset, lab::Error> {
        self.clock_offset(node, deadline)
    }

    fn log(&self, node: &str, which: GuestLog, deadline: Deadline) -> Result<String, String> {
        let size = TAIL.to_string();
        let argv = ["tail", "-c", &size, which.path()];
        let output = self
            .exec(node, &argv, deadline)
            .map_err(|error| error.to_string())?;
        if output.success() {
            Ok(output.text())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    fn audit_log(&self) -> PathBuf {
        self.audit_log()
    }

    fn reserved(&self, deadline: Deadline) -> Result<Vec<Reserved>, String> {
        self.reserved(deadline).map_err(|error| error.to_string())
    }
}
