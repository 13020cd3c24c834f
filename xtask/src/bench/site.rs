//! A host to ask: a directory with key, guests and configuration, and one daemon that serves it.
//!
//! The guests are those of libvirt's test driver, which runs inside the daemon's own process: no
//! hypervisor and no libvirtd take part, so what is measured is the daemon.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fence_wire::{Key, PORT, Plug};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How many running guests the test driver shows.
const GUESTS: usize = 4;
/// How long a daemon may take from start to its first open port, and from SIGTERM to its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// States in the socket tables of /proc.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Picket's, from the release build.
    Ours,
    /// The distribution's.
    C,
}

impl Side {
    /// Both, in the order in which they take turns.
    pub(crate) const BOTH: [Self; 2] = [Self::Ours, Self::C];

    /// In words, for messages and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "Picket",
            Self::C => "C",
        }
    }
}

/// How a daemon listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// TCP on this address.
    Tcp(&'static str),
    /// IPv4 multicast on this interface.
    Multicast(&'static str),
}

/// A directory with everything a daemon and its clients need.
#[derive(Debug)]
pub(crate) struct Site {
    directory: TempDir,
    key: Vec<u8>,
}

impl Site {
    /// Prepares a directory with a fresh key of 4096 bytes, the size the manual pages suggest.
    ///
    /// # Errors
    /// The directory cannot be written, or there is no randomness.
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("picket-bench-").tempdir()?;
        let mut key = vec![0; fence_wire::MAX_KEY_LEN];
        getrandom::fill(&mut key).context("no randomness for the key")?;
        let site = Self { directory, key };
        private_file(&site.path("key"), &site.key)?;
        private_file(&site.path("node.xml"), node_xml().as_bytes())?;
        Ok(site)
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The key that daemons and clients share.
    pub(crate) fn key(&self) -> Key {
        Key::new(&self.key)
    }

    /// The running guests' names.
    pub(crate) fn plugs() -> Result<Vec<Plug>> {
        (1..=GUESTS)
            .map(|n| Plug::new(&format!("vm{n}")).context("a guest's name"))
            .collect()
    }

    /// Starts a daemon in this thread's network namespace and waits until it listens.
    ///
    /// # Errors
    /// The program is missing, ends early, or does not listen in time; its messages are part of the
    /// error.
    pub(crate) fn start(&self, side: Side, listener: Listener, program: &Path) -> Result<Daemon> {
        let uri = format!("test://{}", self.path("node.xml").display());
        self.serve(side, listener, program, &format!("uri = \"{uri}\";"))
    }

    /// As [`Site::start`], for the guests that `backend` says: lines of the section `libvirt`.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub(crate) fn serve(
        &self,
        side: Side,
        listener: Listener,
        program: &Path,
        backend: &str,
    ) -> Result<Daemon> {
        let conf = self.path("virt.conf");
        private_file(&conf, self.configuration(listener, backend).as_bytes())?;
        let log = self.path("daemon.log");
        let messages = fs::File::create(&log)?;
        // setpriv sees to it that the daemon ends with us, however we end; it then becomes the daemon.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("-F")
            .arg("-f")
            .arg(&conf)
            .arg("-p")
            .arg(self.path("virt.pid"))
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages)
            .spawn()
            .context("failed to run setpriv (package util-linux)")?;
        let mut daemon = Daemon { child, side, log };
        daemon.await_port(listener)?;
        Ok(daemon)
    }

    /// The same file for both daemons: the C one passes over `audit_log`, which it does not know.
    fn configuration(&self, listener: Listener, backend: &str) -> String {
        let audit = self.path("audit.jsonl").display().to_string();
        let key = self.path("key").display().to_string();
        let (name, place) = match listener {
            Listener::Tcp(address) => ("tcp", format!("address = \"{address}\";")),
            Listener::Multicast(interface) => {
                ("multicast", format!("interface = \"{interface}\";"))
            }
        };
        format!(
            "fence_virtd {{ listener = \"{name}\"; backend = \"libvirt\"; audit_log = \"{audit}\"; }}\n\
             listeners {{ {name} {{ key_file = \"{key}\"; {place} }} }}\n\
             backends {{ libvirt {{ {backend} }} }}\n"
        )
    }
}

fn node_xml() -> String {
    let mut xml = String::from("<node>\n");
    for n in 1..=GUESTS {
        let _ = writeln!(
            xml,
            "<domain type='test'><name>vm{n}</name>\
             <uuid>{n:08}-1111-4111-8111-111111111111</uuid>\
             <memory>131072</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
        );
    }
    xml + "</node>\n"
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// It cannot be written.
pub(crate) fn private_file(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    file.write_all(content)?;
    Ok(())
}

/// A running daemon; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    side: Side,
    log: PathBuf,
}

/// What a daemon's memory looks like, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// The largest resident set so far, shared libraries included.
    pub(crate) peak: f64,
    /// Pages it has written and nobody shares: what it costs beside other users of its libraries.
    pub(crate) private: f64,
}

impl Memory {
    /// The larger of two observations, field by field.
    pub(crate) const fn max(self, other: Self) -> Self {
        Self {
            peak: self.peak.max(other.peak),
            private: self.private.max(other.private),
        }
    }
}

impl Daemon {
    /// What its memory looks like now.
    ///
    /// # Errors
    /// The daemon has ended.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let process = format!("/proc/{}", self.child.id());
        let read = |name: &str| {
            fs::read_to_string(format!("{process}/{name}"))
                .with_context(|| format!("{} daemon has ended: {}", self.side.name(), self.said()))
        };
        let rollup = read("smaps_rollup")?;
        Ok(Memory {
            peak: mebibytes(&read("status")?, "VmHWM:")?,
            private: mebibytes(&rollup, "Private_Dirty:")?,
        })
    }

    /// User and system time so far, in milliseconds.
    ///
    /// # Errors
    /// The daemon has ended.
    pub(crate) fn processor_time(&self) -> Result<f64> {
        super::cost::so_far(self.child.id())
    }

    fn await_port(&mut self, listener: Listener) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !port_is_open(listener)? {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} daemon ended with {status}: {}",
                    self.side.name(),
                    self.said()
                );
            }
            ensure!(
                Instant::now() < until,
                "{} daemon does not listen after {PATIENCE:?}: {}",
                self.side.name(),
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of what it printed.
    fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= until {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} daemon had to be killed", self.side.name());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// Whether some socket of this namespace waits on the protocol's port; asking this way costs the
/// daemon nothing, while a trial connection would be its first client.
fn port_is_open(listener: Listener) -> Result<bool> {
    let (table, state) = match listener {
        Listener::Tcp(_) => ("/proc/thread-self/net/tcp", TCP_LISTEN),
        Listener::Multicast(_) => ("/proc/thread-self/net/udp", UDP_UNCONNECTED),
    };
    let text = fs::read_to_string(table).with_context(|| format!("failed to read {table}"))?;
    Ok(has_socket(&text, state))
}

/// Looks for the port in a socket table of /proc; what an earlier daemon left there (in another
/// state) does not count.
fn has_socket(table: &str, state: &str) -> bool {
    let port = format!(":{PORT:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(state)
    })
}

fn mebibytes(text: &str, name: &str) -> Result<f64> {
    let kib: u32 = text
        .lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .with_context(|| format!("no {name} in a file of /proc"))?;
    Ok(f64::from(kib) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mebibytes() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\n";
        assert!((mebibytes(text, "VmHWM:").unwrap() - 2.0).abs() < 1e-9);
        assert!(mebibytes(text, "Pss:").is_err());
    }

    #[test]
    fn a_closing_connection_is_not_a_listening_daemon() {
        let head = "  sl  local_address rem_address   st tx_queue\n";
        let closing = "   0: 01004D0A:04CD 02004D0A:9C40 06 00000000:00000000\n";
        let listening = "   1: 01004D0A:04CD 00000000:0000 0A 00000000:00000000\n";
        assert!(!has_socket(&format!("{head}{closing}"), TCP_LISTEN));
        assert!(has_socket(
            &format!("{head}{closing}{listening}"),
            TCP_LISTEN
        ));
    }

    #[test]
    fn each_guest_has_a_uuid_of_its_own() {
        let xml = node_xml();
        assert!(xml.contains("<uuid>00000001-1111-4111-8111-111111111111</uuid>"));
        assert_eq!(xml.matches("<domain ").count(), GUESTS);
    }
}
