//! The lab's network namespace: bridge, taps, who runs in it, and connecting from inside.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use deadline::Deadline;
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{Call, Cancel};
use crate::error::Error;
use crate::process::Handle;
use crate::{BRIDGE, HOST_ADDRESS, PREFIX};

/// A single call of `ip` takes milliseconds.
const IP_LIMIT: Duration = Duration::from_secs(30);

/// A network namespace that `ip netns` knows by name.
#[derive(Debug, Clone)]
pub(crate) struct NetNs {
    name: String,
}

impl NetNs {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// The file that keeps it alive.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    pub(crate) fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Makes the namespace with a bridge, and a tap for each of `nodes` guests: `t1`, `t2`, …
    pub(crate) fn create(&self, nodes: usize, cancel: &Cancel) -> Result<(), Error> {
        let doing = "setting up the lab's network";
        let ip = |args: &[&str]| {
            Call::new("ip", args)
                .run(doing, Deadline::after(IP_LIMIT), cancel)
                .map(drop)
        };
        ip(&["netns", "add", &self.name])?;
        let inside = |args: &[&str]| ip(&[&["-n", self.name.as_str()], args].concat());
        inside(&["link", "set", "lo", "up"])?;
        // Without snooping, multicast goes to every port: nobody here sends the queries snooping needs.
        inside(&[
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ])?;
        inside(&[
            "addr",
            "add",
            &format!("{HOST_ADDRESS}/{PREFIX}"),
            "dev",
            BRIDGE,
        ])?;
        inside(&["link", "set", BRIDGE, "up"])?;
        for number in 1..=nodes {
            let tap = tap(number);
            ip(&[
                "netns", "exec", &self.name, "ip", "tuntap", "add", &tap, "mode", "tap",
            ])?;
            inside(&["link", "set", &tap, "master", BRIDGE, "up"])?;
        }
        Ok(())
    }

    /// Gives the machine itself one more address on the bridge.
    pub(crate) fn add_address(&self, address: Ipv4Addr, cancel: &Cancel) -> Result<(), Error> {
        let address = format!("{address}/{PREFIX}");
        Call::new(
            "ip",
            ["-n", &self.name, "addr", "add", &address, "dev", BRIDGE],
        )
        .run(
            "setting up the lab's network",
            Deadline::after(IP_LIMIT),
            cancel,
        )
        .map(drop)
    }

    /// Removes it. Bridge and taps go with it as soon as nothing runs in it.
    pub(crate) fn delete(&self) -> Result<(), Error> {
        if !self.exists() {
            return Ok(());
        }
        Call::new("ip", ["netns", "delete", &self.name])
            .run(
                "removing the lab's network",
                Deadline::after(IP_LIMIT),
                &Cancel::never(),
            )
            .map(drop)
    }

    /// The namespace's identity: device and inode, as `/proc/PID/ns/net` has them.
    fn identity(&self) -> Option<(u64, u64)> {
        let metadata = fs::metadata(self.path()).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// Everything that runs in it, by handles that keep meaning the same processes.
    ///
    /// A program that has a single thread in here (as [`NetNs::connect`] does for a moment) does not
    /// count.
    pub(crate) fn processes(&self) -> Vec<(u32, Handle)> {
        let Some(identity) = self.identity() else {
            return Vec::new();
        };
        let belongs = |pid: u32| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == identity)
        };
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        numbers
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != std::process::id() && belongs(*pid))
            .filter_map(|pid| Some((pid, Handle::open(pid)?)))
            // Looked at again with the handle open: it may have become another process in between.
            .filter(|(pid, _)| belongs(*pid))
            .collect()
    }

    /// Ends everything that runs in it; how many that were, and the numbers of those that would not end.
    pub(crate) fn end_all(&self, deadline: Deadline) -> (usize, Vec<u32>) {
        let mut ended = 0;
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return (ended, Vec::new());
            }
            if deadline.has_passed() {
                return (ended, processes.into_iter().map(|(pid, _)| pid).collect());
            }
            for (_, handle) in &processes {
                let _ = handle.signal(Signal::KILL);
            }
            // What was being started meanwhile is found in the next round.
            ended += processes
                .iter()
                .filter(|(_, handle)| handle.wait_gone(deadline))
                .count();
        }
    }

    /// Connects from inside the namespace.
    pub(crate) fn connect(&self, address: SocketAddr, deadline: Deadline) -> io::Result<TcpStream> {
        let namespace = File::open(self.path())?;
        // A thread of its own: it moves into the namespace and ends there.
        let thread = std::thread::Builder::new()
            .name("lab-connect".to_owned())
            .spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                let left = deadline.remaining();
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                TcpStream::connect_timeout(&address, left)
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the connecting thread ended by panic")))
    }
}

/// The tap of guest `number`, counted from 1.
pub(crate) fn tap(number: usize) -> String {
    format!("t{number}")
}
