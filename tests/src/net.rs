//! Network namespaces: each test has machines of its own, joined by a cable of its own.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

const DIR: &str = "/run/netns";
const PREFIX: &str = "pickettest";

/// The host's addresses on the cable.
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// See [`HOST_V4`].
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// The guest's addresses on the cable.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// See [`GUEST_V4`].
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// A network namespace of this test's own. Dropping it removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Creates one; `role` is the end of its name.
    ///
    /// # Panics
    /// When the kernel or `ip` refuses.
    #[must_use]
    pub fn create(role: &str) -> Self {
        static SWEEP: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(remove_leftovers);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}-{role}", owner_tag());
        ip(&["netns", "add", &name], "");
        let file = File::open(Path::new(DIR).join(&name)).expect("a namespace has a file");
        Self { name, file }
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does `work` inside. What `work` opens or starts stays inside for good; the calling thread
    /// stays where it is.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or when `work` panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                        .expect("root may enter a namespace");
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` commands inside, one a line.
    pub fn ip(&self, commands: &str) {
        ip(&["-n", &self.name, "-batch", "-"], commands);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// A host and a guest with one cable between them: `h0` on the host, `g0` in the guest.
#[derive(Debug)]
pub struct Cable {
    /// Where the daemon runs.
    pub host: Namespace,
    /// Where the agent runs.
    pub guest: Namespace,
}

impl Cable {
    /// Lays one.
    #[must_use]
    pub fn lay() -> Self {
        let (host, guest) = (Namespace::create("host"), Namespace::create("guest"));
        let pair = [
            "link",
            "add",
            "h0",
            "netns",
            host.name(),
            "type",
            "veth",
            "peer",
            "name",
            "g0",
        ];
        ip(&[&pair[..], &["netns", guest.name()]].concat(), "");
        for (end, device, v4, v6) in [
            (&host, "h0", HOST_V4, HOST_V6),
            (&guest, "g0", GUEST_V4, GUEST_V6),
        ] {
            end.ip(&format!(
                "link set lo up\nlink set {device} up\naddr add {v4}/24 dev {device}\n\
                 addr add {v6}/64 dev {device} nodad\n"
            ));
        }
        Self { host, guest }
    }
}

fn ip(args: &[&str], input: &str) {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("iproute2 is installed");
    let fed = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(input.as_bytes()));
    let mut complaint = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        // What cannot be read is missing from the message only.
        let _ = pipe.read_to_string(&mut complaint);
    }
    let status = child.wait().expect("one's own child can be waited for");
    assert!(
        status.success() && fed.is_some_and(|written| written.is_ok()),
        "ip {args:?} failed: {complaint}\ninput: {input}"
    );
}

/// Process id and start time: together they name one process for ever.
#[must_use]
pub fn owner_tag() -> String {
    let pid = std::process::id();
    format!("{pid}.{}", start_time(pid).expect("this process runs"))
}

fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned())
}

/// Whether the process of a tag made by [`owner_tag`] is gone. A text that is no tag belongs to
/// nobody known and is left alone.
#[must_use]
pub fn owner_is_gone(tag: &str) -> bool {
    tag.split_once('.')
        .and_then(|(pid, start)| Some((pid.parse().ok()?, start)))
        .is_some_and(|(pid, start)| start_time(pid).as_deref() != Some(start))
}

/// Removes what runs of this suite left behind that could not clean up, killed ones say.
fn remove_leftovers() {
    for entry in fs::read_dir(DIR).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        if parts.next() == Some(PREFIX) && parts.next().is_some_and(owner_is_gone) {
            let inside = Command::new("ip").args(["netns", "pids", &name]).output();
            let pids = inside.map_or_else(|_| Vec::new(), |output| output.stdout);
            for pid in String::from_utf8_lossy(&pids).lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    // It may have ended meanwhile.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            delete(&name);
        }
    }
}

fn delete(name: &str) {
    // Runs in Drop: a failure must not hide the test's own. A leftover goes with the next run.
    let _ = Command::new("ip")
        .args(["netns", "del", name])
        .stderr(Stdio::null())
        .status();
}
