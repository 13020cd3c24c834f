//! A management platform, what it says of itself, and a wiretap in front of it.

use std::{
    fmt, fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use picket_tests::{
    net::Namespace,
    process::{PATIENCE, Process, wait_for},
    rig::Rig,
    skip::skip,
    subject::ours,
    wiretap::Wiretap,
};

/// The password of every login.
pub(crate) const PASSWORD: &str = "secret";

/// Which platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rhevm,
    Vmware,
    /// vCenter's other interface.
    VmwareRest,
    Hyperv,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Rhevm, Self::Vmware, Self::VmwareRest, Self::Hyperv];

    /// Those whose server is on this machine; the others are skipped aloud.
    pub(crate) fn available() -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|kind| {
            let missing = kind.is_vcsim() && !vcsim().is_file();
            if missing {
                skip(&format!(
                    "{} is missing: run scripts/setup test",
                    vcsim().display()
                ));
            }
            !missing
        })
        .collect()
    }

    const fn is_vcsim(self) -> bool {
        matches!(self, Self::Vmware | Self::VmwareRest)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rhevm => "rhevm",
            Self::Vmware => "vmware",
            Self::VmwareRest => "vmware+rest",
            Self::Hyperv => "hyperv",
        })
    }
}

fn vcsim() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/vcsim")
}

/// A running server on the host's loopback.
#[derive(Debug)]
pub(crate) struct Platform<'a> {
    pub(crate) kind: Kind,
    pub(crate) tap: Wiretap,
    host: &'a Namespace,
    port: u16,
    control: u16,
    guests: usize,
    _process: Process,
}

impl<'a> Platform<'a> {
    /// Starts one with as many running guests, and without TLS so that the tap can read.
    pub(crate) fn start(rig: &'a Rig, kind: Kind, guests: usize) -> Self {
        Self::start_with(rig, kind, guests, &[])
    }

    pub(crate) fn start_with(rig: &'a Rig, kind: Kind, guests: usize, more: &[&str]) -> Self {
        let mut command = match kind {
            Kind::Rhevm => {
                let mut command = Command::new(ours("ovirt-engine"));
                command.args(["--guests", &guests.to_string(), "--transition", "150"]);
                command
            }
            Kind::Vmware | Kind::VmwareRest => {
                // Two pools, with as many guests each.
                let mut command = Command::new(vcsim());
                command.args([
                    "-l",
                    "127.0.0.1:0",
                    "-password",
                    PASSWORD,
                    "-vm",
                    &guests.div_ceil(2).to_string(),
                ]);
                command
            }
            Kind::Hyperv => {
                let world = rig.path("world");
                fs::write(&world, hyperv_world(guests)).expect("the test's directory takes files");
                let mut command = Command::new(ours("hyperv-host"));
                command
                    .args(["--user", "CORP\\fence:secret", "--world"])
                    .arg(world);
                command
            }
        };
        let process = Process::start(command.args(more), Some(&rig.cable.host), rig.dir());
        let (port, control) = wait_for(&format!("{kind} to listen"), PATIENCE, || {
            let line = process.stdout();
            line.ends_with('\n').then_some(())?;
            // The simulator of vCenter is told by tests elsewhere than by its clients.
            let line = line.trim();
            let (place, control) = line.split_once(" control on ").unwrap_or((line, line));
            let port = |place: &str| place.rsplit_once(':')?.1.parse::<u16>().ok();
            Some((port(place)?, port(control)?))
        });
        let host = &rig.cable.host;
        let tap = Wiretap::lay(host, port);
        Self {
            kind,
            tap,
            host,
            port,
            control,
            guests,
            _process: process,
        }
    }

    /// The address for fence_virt.conf, through the tap, with further keys.
    pub(crate) fn address(&self, password_file: &Path, more: &str) -> String {
        self.address_at(
            self.tap.port(),
            password_file,
            &format!("&transport=http{more}"),
        )
    }

    /// The address of a server that has TLS, past the tap.
    pub(crate) fn tls_address(&self, password_file: &Path, ca: &Path) -> String {
        self.address_at(self.port, password_file, &format!("&ca={}", ca.display()))
    }

    fn address_at(&self, port: u16, password_file: &Path, more: &str) -> String {
        let user = match self.kind {
            Kind::Rhevm => "fence@internal",
            Kind::Vmware | Kind::VmwareRest => "root",
            Kind::Hyperv => "CORP%5Cfence",
        };
        let (scheme, rest) = match self.kind {
            Kind::Rhevm => ("rhevm", ""),
            Kind::Vmware => ("vmware", ""),
            Kind::VmwareRest => ("vmware", "&api=rest"),
            Kind::Hyperv => ("hyperv", ""),
        };
        format!(
            "{scheme}://{user}@127.0.0.1:{port}/?password_file={}{rest}{more}",
            password_file.display()
        )
    }

    /// What the guest of this number, from 0, is called.
    pub(crate) fn guest(&self, number: usize) -> String {
        match self.kind {
            Kind::Rhevm => format!("node{}", number + 1),
            kind if kind.is_vcsim() && number < self.guests.div_ceil(2) => {
                format!("DC0_H0_VM{number}")
            }
            Kind::Vmware | Kind::VmwareRest => {
                format!("DC0_C0_RP0_VM{}", number - self.guests.div_ceil(2))
            }
            Kind::Hyperv => format!("guest{number}"),
        }
    }

    /// Whether the platform itself says that the guest is off.
    pub(crate) fn is_off(&self, guest: &str) -> bool {
        match self.kind {
            Kind::Rhevm => {
                let lines = self.http("GET", "/-/engine", &[]);
                let line = lines
                    .lines()
                    .find(|line| line.starts_with(&format!("name={guest} ")));
                line.expect("the engine has the guest")
                    .contains(" state=down ")
            }
            Kind::Vmware | Kind::VmwareRest => {
                let token = self.http(
                    "POST",
                    "/rest/com/vmware/cis/session",
                    &[("Authorization", "Basic cm9vdDpzZWNyZXQ=")],
                );
                let token = text_of(&token, "value");
                let session = [("vmware-api-session-id", token.as_str())];
                let guest = self.http(
                    "GET",
                    &format!("/rest/vcenter/vm?filter.names={guest}"),
                    &session,
                );
                self.http("DELETE", "/rest/com/vmware/cis/session", &session);
                text_of(&guest, "power_state") == "POWERED_OFF"
            }
            Kind::Hyperv => {
                let lines = self.http("GET", "/-/world", &[]);
                let line = lines
                    .lines()
                    .find(|line| line.split(' ').nth(1) == Some(guest));
                line.expect("the host has the guest").split(' ').nth(3) == Some("3")
            }
        }
    }

    /// How often somebody tried to log in through the tap.
    pub(crate) fn logins(&self) -> usize {
        let seen = self.tap.seen();
        match self.kind {
            Kind::Rhevm => seen.count("POST /ovirt-engine/sso/oauth/token "),
            Kind::Vmware => seen.count("<Login "),
            Kind::VmwareRest => seen.count("POST /api/session "),
            // The first half of a handshake is the same for all.
            Kind::Hyperv => seen.count("Negotiate TlRMTVNTUAAB"),
        }
    }

    /// How many sessions are open at the platform. Hyper-V has none but connections.
    pub(crate) fn open(&self) -> usize {
        match self.kind {
            Kind::Rhevm => {
                let lines = self.http("GET", "/-/engine", &[]);
                let open = lines
                    .split("sessions open=")
                    .nth(1)
                    .and_then(|rest| rest.split(' ').next());
                open.and_then(|open| open.parse().ok())
                    .expect("the engine counts its sessions")
            }
            Kind::Vmware => number_of(&self.http("GET", "/counts", &[]), "sessions"),
            Kind::VmwareRest => number_of(&self.http("GET", "/counts", &[]), "rest_sessions"),
            Kind::Hyperv => self.tap.open(),
        }
    }

    /// Checks that no session is left, the daemon having ended.
    #[track_caller]
    pub(crate) fn expect_closed(&self) {
        if self.kind == Kind::Hyperv {
            // The tap learns of it a moment later than the daemon's end.
            wait_for("the connections to be closed", PATIENCE, || {
                (self.open() == 0).then_some(())
            });
        }
        assert_eq!(self.open(), 0, "{}: sessions are left behind", self.kind);
    }

    /// How many sessions one login may be: Hyper-V's belong to connections.
    pub(crate) const fn most_sessions(&self) -> usize {
        match self.kind {
            Kind::Rhevm | Kind::Vmware | Kind::VmwareRest => 1,
            Kind::Hyperv => 8,
        }
    }

    /// Forgets all sessions.
    pub(crate) fn expire(&self) {
        match self.kind {
            Kind::Rhevm => self.http("POST", "/-/engine/-expire", &[]),
            Kind::Vmware | Kind::VmwareRest => self.http("POST", "/expire", &[]),
            // A connection is forgotten when it is next used.
            Kind::Hyperv => self.send("POST", "/-/ops", &[], "do=is:401\n"),
        };
    }

    fn http(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
        self.send(method, target, headers, "")
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
        let port = if matches!(target, "/counts" | "/expire") {
            self.control
        } else {
            self.port
        };
        send(self.host, port, method, target, headers, body)
    }
}

/// Tells a server in `namespace` something.
pub(crate) fn post(namespace: &Namespace, port: u16, target: &str, body: &str) {
    send(namespace, port, "POST", target, &[], body);
}

/// Asks a server in `namespace` and returns the body of its answer.
fn send(
    namespace: &Namespace,
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = namespace.enter(|| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    let answer = answer.expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(
        head.starts_with("HTTP/1.1 2"),
        "{method} {target}: {answer}"
    );
    body.to_owned()
}

/// The text behind a name in JSON that holds it once.
fn text_of(json: &str, name: &str) -> String {
    let rest = json
        .split(&format!("\"{name}\":"))
        .nth(1)
        .unwrap_or_else(|| panic!("no {name} in {json}"));
    rest.split('"').nth(1).expect("a text").to_owned()
}

fn number_of(json: &str, name: &str) -> usize {
    let rest = json
        .split(&format!("\"{name}\":"))
        .nth(1)
        .unwrap_or_else(|| panic!("no {name} in {json}"));
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

fn hyperv_world(guests: usize) -> String {
    let mut world = "node HV1\nbehave start 100\nbehave stop 100\n".to_owned();
    for number in 0..guests {
        world += &format!("guest guest{number} {number:08X}-0000-4000-8000-000000000001 HV1 2\n");
    }
    world
}
