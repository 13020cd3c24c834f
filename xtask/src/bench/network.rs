//! Private networks for daemons and clients: namespaces that vanish with their last user.
//!
//! A namespace gets a name only while it is set up; afterwards nothing but an open file and the
//! processes inside keep it, so an interrupted bench leaves none behind.

use std::fs::File;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The daemon's address on a [`Network::pair`].
pub(crate) const HOST: &str = "10.77.0.1";
const GUEST: &str = "10.77.0.2";

/// The end of the wire that faces the daemon, for its `interface` setting.
pub(crate) const HOST_INTERFACE: &str = "h0";

/// A host and a guest with a wire between them, or one namespace that is both.
#[derive(Debug)]
pub(crate) struct Network {
    host: File,
    guest: Option<File>,
}

impl Network {
    /// One namespace with nothing but the loopback interface.
    ///
    /// # Errors
    /// Not root, or no `ip` program.
    pub(crate) fn loopback() -> Result<Self> {
        let name = Name::add("lo")?;
        ip(&["-n", &name.0, "link", "set", "lo", "up"])?;
        Ok(Self {
            host: name.open()?,
            guest: None,
        })
    }

    /// Two namespaces joined by a wire that carries multicast.
    ///
    /// # Errors
    /// Not root, or no `ip` program.
    pub(crate) fn pair() -> Result<Self> {
        let host = Name::add("host")?;
        let guest = Name::add("guest")?;
        let wire = [
            "link",
            "add",
            HOST_INTERFACE,
            "netns",
            &host.0,
            "type",
            "veth",
        ];
        let peer = ["peer", "name", "g0", "netns", &guest.0];
        ip(&[wire.as_slice(), peer.as_slice()].concat())?;
        for (end, device, address) in [(&host, HOST_INTERFACE, HOST), (&guest, "g0", GUEST)] {
            let address = format!("{address}/24");
            ip(&["-n", &end.0, "addr", "add", &address, "dev", device])?;
            ip(&["-n", &end.0, "link", "set", device, "up"])?;
            ip(&["-n", &end.0, "link", "set", "lo", "up"])?;
        }
        Ok(Self {
            host: host.open()?,
            guest: Some(guest.open()?),
        })
    }

    /// Moves this thread to where the daemon runs, until the guard is dropped.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn enter_host(&self) -> Result<Inside> {
        Inside::enter(self.host.as_fd())
    }

    /// Moves this thread to where the clients run, until the guard is dropped.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn enter_guest(&self) -> Result<Inside> {
        Inside::enter(self.guest.as_ref().unwrap_or(&self.host).as_fd())
    }
}

/// This thread is inside a namespace, and so is what it starts. Dropping it goes back.
#[derive(Debug)]
pub(crate) struct Inside {
    home: File,
}

impl Inside {
    fn enter(namespace: BorrowedFd<'_>) -> Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        switch(namespace)?;
        Ok(Self { home })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A thread that cannot get home must not go on as if it were: nothing sensible can follow.
        if let Err(error) = switch(self.home.as_fd()) {
            panic!("{error:#}");
        }
    }
}

fn switch(namespace: BorrowedFd<'_>) -> Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .context("failed to change the network namespace (needs root)")
}

/// A namespace's temporary name; dropped once the namespace is open.
struct Name(String);

impl Name {
    fn add(end: &str) -> Result<Self> {
        let name = format!("xtask-{}-{end}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self(name))
    }

    fn open(&self) -> Result<File> {
        let path = format!("/run/netns/{}", self.0);
        File::open(&path).with_context(|| format!("failed to open {path}"))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.0]) {
            eprintln!("{error:#}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("failed to run ip (package iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {} failed (needs root): {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
