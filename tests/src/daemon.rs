//! The daemon's end: a configuration, and a running `fence_virtd`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    Subject,
    net::{HOST_V4, HOST_V6},
    process::{PATIENCE, Process, wait_for},
    rig::Rig,
};

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Multicast over IPv4, the daemon connects back.
    MulticastV4,
    /// Multicast over IPv6.
    MulticastV6,
    /// A TCP connection over IPv4.
    TcpV4,
    /// A TCP connection over IPv6.
    TcpV6,
    /// A serial line.
    Serial,
    /// A channel that looks like TCP inside the guest.
    VmChannel,
}

impl Route {
    /// The routes over a network.
    pub const NETWORK: [Self; 4] = [
        Self::MulticastV4,
        Self::MulticastV6,
        Self::TcpV4,
        Self::TcpV6,
    ];

    /// Whether requests are multicast.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        matches!(self, Self::MulticastV4 | Self::MulticastV6)
    }

    /// Whether there is a network, with keys and hashes, or only a line.
    #[must_use]
    pub const fn is_network(self) -> bool {
        !matches!(self, Self::Serial | Self::VmChannel)
    }

    /// The name of the listener that serves it.
    #[must_use]
    pub const fn listener(self) -> &'static str {
        match self {
            Self::MulticastV4 | Self::MulticastV6 => "multicast",
            Self::TcpV4 | Self::TcpV6 => "tcp",
            Self::Serial | Self::VmChannel => "serial",
        }
    }
}

/// A `fence_virt.conf`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which listener, and how.
    pub route: Route,
    /// The least hash of a request; the daemon's default if none.
    pub hash: Option<&'static str>,
    /// The hash of the challenge; the daemon's default if none.
    pub auth: Option<&'static str>,
    /// The key file; none leaves the line out.
    pub key: Option<PathBuf>,
    /// The hypervisors.
    pub uris: Vec<String>,
    /// The `groups` section's content.
    pub groups: String,
    /// The directory of sockets of a serial listener.
    pub sockets: Option<PathBuf>,
    /// Where our daemon keeps its audit log. The C daemon does not know the key, and reads past it.
    pub audit: PathBuf,
    /// Further lines of the `fence_virtd` section.
    pub daemon_lines: String,
}

impl Config {
    /// The usual one: the rig's key, default hashes.
    #[must_use]
    pub fn new(rig: &Rig, route: Route, uri: &str) -> Self {
        Self {
            route,
            hash: None,
            auth: None,
            key: Some(rig.key()),
            uris: vec![uri.to_owned()],
            groups: String::new(),
            sockets: None,
            audit: rig.path("audit.jsonl"),
            daemon_lines: String::new(),
        }
    }

    /// With these hashes.
    #[must_use]
    pub const fn hashes(mut self, hash: &'static str, auth: &'static str) -> Self {
        self.hash = Some(hash);
        self.auth = Some(auth);
        self
    }

    /// With these groups.
    #[must_use]
    pub fn groups(mut self, groups: &str) -> Self {
        groups.clone_into(&mut self.groups);
        self
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut listener = String::new();
        let mut set = |name: &str, value: &str| {
            let _ = writeln!(listener, "\t\t{name} = \"{value}\";");
        };
        if let Some(key) = &self.key {
            set("key_file", &key.display().to_string());
        }
        if let Some(hash) = self.hash {
            set("hash", hash);
        }
        if let Some(auth) = self.auth {
            set("auth", auth);
        }
        if matches!(self.route, Route::MulticastV6 | Route::TcpV6) {
            set("family", "ipv6");
        }
        match self.route {
            Route::MulticastV4 | Route::MulticastV6 => set("interface", "h0"),
            Route::TcpV4 => set("address", &HOST_V4.to_string()),
            Route::TcpV6 => set("address", &HOST_V6.to_string()),
            Route::Serial | Route::VmChannel => {
                set("uri", self.uris.first().map_or("", String::as_str));
                let path = self
                    .sockets
                    .as_ref()
                    .expect("a serial listener has sockets");
                set("path", &path.display().to_string());
                set(
                    "mode",
                    if self.route == Route::Serial {
                        "serial"
                    } else {
                        "vmchannel"
                    },
                );
            }
        }
        let mut backend = String::new();
        for (index, uri) in self.uris.iter().enumerate() {
            let number = if index == 0 {
                String::new()
            } else {
                index.to_string()
            };
            let _ = writeln!(backend, "\t\turi{number} = \"{uri}\";");
        }
        let groups = if self.groups.is_empty() {
            String::new()
        } else {
            format!("groups {{\n{}\n}}\n", self.groups)
        };
        let kind = self.route.listener();
        format!(
            "fence_virtd {{\n\tlistener = \"{kind}\";\n\tbackend = \"libvirt\";\n\
             \taudit_log = \"{}\";\n{}}}\n\
             listeners {{\n\t{kind} {{\n{listener}\t}}\n}}\n\
             backends {{\n\tlibvirt {{\n{backend}\t}}\n}}\n{groups}",
            self.audit.display(),
            self.daemon_lines
        )
    }
}

/// A running daemon, ended with the test.
#[derive(Debug)]
pub struct Daemon {
    /// The process.
    pub process: Process,
    /// Whose program it is.
    pub subject: Subject,
    /// Its configuration file.
    pub config_file: PathBuf,
}

impl Daemon {
    /// Starts the daemon of `subject` on the rig's host and waits until it listens.
    pub fn start(rig: &Rig, subject: Subject, config: &Config) -> Self {
        let mut daemon = Self::launch(rig, subject, &config.text());
        daemon.wait_until_listening(config.route);
        daemon
    }

    /// Starts the daemon with the configuration `text` and does not wait.
    pub fn launch(rig: &Rig, subject: Subject, text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let config_file = rig.write_private(&format!("virt-{number}.conf"), text.as_bytes());
        let mut command = command(
            subject,
            &config_file,
            &rig.path(&format!("virtd-{number}.pid")),
        );
        let process = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
        Self {
            process,
            subject,
            config_file,
        }
    }

    /// Waits until the listener of `route` is there, by looking at the kernel's tables: a probing
    /// connection would hold up the C daemon.
    ///
    /// # Panics
    /// When the daemon ends instead, or takes too long.
    pub fn wait_until_listening(&mut self, route: Route) {
        let subject = self.subject;
        wait_for(
            &format!("{subject} daemon to listen ({route:?})"),
            PATIENCE,
            || {
                assert!(
                    self.process.is_running(),
                    "the {subject} daemon ended at its start\n{}\n{}",
                    self.process.printed(),
                    fs::read_to_string(&self.config_file).unwrap_or_default(),
                );
                listens(&self.process, route).then_some(())
            },
        );
    }

    /// Whether it listens.
    #[must_use]
    pub fn listens(&self, route: Route) -> bool {
        listens(&self.process, route)
    }

    /// Asks it to end and waits for that.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        let status = self.process.ended_within(PATIENCE);
        let status =
            status.unwrap_or_else(|| panic!("the {} daemon ignores SIGTERM", self.subject));
        status.code()
    }
}

/// The command that runs the daemon of `subject` in the foreground.
#[must_use]
pub fn command(subject: Subject, config: &Path, pid_file: &Path) -> Command {
    let mut command = match subject {
        Subject::Ours => Command::new(subject.daemon()),
        Subject::C => {
            // Its diagnostics pass through a buffer that is lost when it is killed.
            let mut command = Command::new("stdbuf");
            command.arg("-oL").arg(subject.daemon());
            command
        }
    };
    command
        .arg("-F")
        .arg("-d")
        .arg("99")
        .arg("-f")
        .arg(config)
        .arg("-p")
        .arg(pid_file);
    command
}

fn listens(process: &Process, route: Route) -> bool {
    const LISTEN: &str = "0A";
    let (table, state) = match route {
        Route::MulticastV4 => ("udp", None),
        Route::MulticastV6 => ("udp6", None),
        Route::TcpV4 => ("tcp", Some(LISTEN)),
        Route::TcpV6 => ("tcp6", Some(LISTEN)),
        // Nothing listens: it is the daemon that connects, to the sockets of the guests.
        Route::Serial | Route::VmChannel => return true,
    };
    let port = format!(":{:04X}", fence_wire::PORT);
    process.sockets(table).iter().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        let right_state = state.is_none_or(|wanted| fields.nth(1) == Some(wanted));
        local && right_state
    }) && (!route.is_multicast() || has_joined(process, route))
}

/// Whether someone in the namespace of `process` has joined the group of `route` on the cable.
fn has_joined(process: &Process, route: Route) -> bool {
    let (table, group) = match route {
        // The kernel prints the group as the number it has in memory.
        Route::MulticastV4 => ("igmp", "0C0000E1"),
        _ => ("igmp6", "ff050000000000000000000000030001"),
    };
    fs::read_to_string(format!("/proc/{}/net/{table}", process.id()))
        .is_ok_and(|text| text.contains(group))
}

/// How long a daemon may take to answer when nothing stands in its way.
pub const PROMPT: Duration = Duration::from_secs(10);
