//! The test servers that stand for the platforms: vCenter (`tests/servers/vcsim`) and an oVirt engine (`tests/servers`).
//!
//! Both listen in a network namespace of their own, with TLS, and count what they are asked: requests, bytes of HTTP
//! (heads included, TLS not), sessions.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use deadline::Deadline;
use https::{Client, Endpoint, Method, Request, Scheme, Trust};
use serde::Deserialize;
use tempfile::TempDir;

use crate::repo::Repo;

/// Where the server listens.
pub(super) const HOST: &str = "127.0.0.1";
pub(super) const PORT: u16 = 8443;
pub(super) const PASSWORD: &str = "secret";
/// Guests that a REST list may return. vCenter's own limit is 1,000 or 4,000: beyond it the packaged agent lists nothing.
const REST_LIMIT: &str = "20000";
/// How long a server may take to create its guests.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long it may take to answer a question about itself.
const ANSWER: Duration = Duration::from_secs(20);

/// Which platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Vcenter,
    Engine,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Vcenter, Self::Engine];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Vcenter => "vcsim",
            Self::Engine => "ovirt-engine",
        }
    }

    /// Who may switch guests there.
    pub(super) const fn user(self) -> &'static str {
        match self {
            Self::Vcenter => "root",
            Self::Engine => "fence@internal",
        }
    }
}

/// The servers' programs and files.
#[derive(Debug)]
pub(super) struct Servers {
    vcsim: PathBuf,
    wsdl: PathBuf,
    engine: PathBuf,
    directory: TempDir,
}

impl Servers {
    /// Finds them, and makes a certificate.
    pub(super) fn find(repo: &Repo) -> Result<Self> {
        let peers = repo.target().join("peers");
        let servers = Self {
            vcsim: peers.join("vcsim"),
            wsdl: peers.join("vim25"),
            engine: repo.release("ovirt-engine"),
            directory: tempfile::tempdir()?,
        };
        for needed in [
            &servers.vcsim,
            &servers.wsdl.join("vimService.wsdl"),
            &servers.engine,
        ] {
            ensure!(
                needed.exists(),
                "{} is missing (`scripts/setup test` makes what is under peers, the release build the rest)",
                needed.display()
            );
        }
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        fs::write(servers.certificate(), made.cert.pem())?;
        fs::write(servers.key(), made.signing_key.serialize_pem())?;
        Ok(servers)
    }

    /// The certificate that all of them show: its own authority.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    fn command(&self, kind: Kind, guests: usize) -> Command {
        let listen = format!("{HOST}:{PORT}");
        // setpriv sees to it that the server ends with us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match kind {
            Kind::Vcenter => command
                .arg(&self.vcsim)
                .args(["-l", &listen])
                .args(["-username", kind.user(), "-password", PASSWORD])
                // In vCenter there are two pools.
                .args(["-vm", &(guests / 2).to_string()])
                .args(["-rest-limit", REST_LIMIT])
                .arg("-wsdl")
                .arg(&self.wsdl)
                .arg("-cert")
                .arg(self.certificate())
                .arg("-key")
                .arg(self.key()),
            Kind::Engine => command
                .arg(&self.engine)
                .args(["--listen", &listen])
                .args(["--guests", &guests.to_string()])
                .arg("--certificate")
                .arg(self.certificate())
                .arg("--key")
                .arg(self.key()),
        };
        command
    }

    /// Starts one with so many guests, all of them on, and waits until it listens.
    pub(super) fn start(&self, kind: Kind, guests: usize) -> Result<Manager> {
        let [said, log] = ["said", "log"].map(|name| self.directory.path().join(name));
        let child = self
            .command(kind, guests)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&said)?)
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("failed to run setpriv (package util-linux)")?;
        let mut manager = Manager {
            child,
            kind,
            guests,
            control: ([127, 0, 0, 1], PORT).into(),
            opened: 0,
        };
        manager.wait(&said, &log)?;
        Ok(manager)
    }
}

/// What clients asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Traffic {
    pub(super) requests: u32,
    /// Bytes from the clients.
    pub(super) sent: u32,
    /// Bytes to them.
    pub(super) received: u32,
    /// Sessions begun.
    pub(super) logins: u32,
    /// Sessions that are still there.
    pub(super) sessions: u32,
    /// Requests that order a guest to stop.
    pub(super) stops: u32,
}

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Manager {
    child: Child,
    pub(super) kind: Kind,
    guests: usize,
    /// Where it is asked about itself.
    control: SocketAddr,
    /// Sessions begun before the last reset, where the server does not forget them.
    opened: u32,
}

impl Manager {
    /// Waits for the line that it says when it listens.
    fn wait(&mut self, said: &Path, log: &Path) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        self.control = loop {
            if let Some(address) = control(&fs::read_to_string(said)?) {
                break address;
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("{} ended with {status}: {}", self.kind.name(), log.trim());
            }
            ensure!(
                Instant::now() < until,
                "{} does not listen after {PATIENCE:?}",
                self.kind.name()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok(())
    }

    /// The names of its guests.
    pub(super) fn guests(&self) -> Vec<String> {
        match self.kind {
            Kind::Vcenter => ["DC0_H0_VM", "DC0_C0_RP0_VM"]
                .into_iter()
                .flat_map(|pool| (0..self.guests / 2).map(move |n| format!("{pool}{n}")))
                .collect(),
            Kind::Engine => (1..=self.guests).map(|n| format!("node{n}")).collect(),
        }
    }

    /// Forgets what it was asked, and whoever is logged in.
    pub(super) fn reset(&mut self) -> Result<()> {
        match self.kind {
            Kind::Vcenter => {
                self.ask(Method::Get, "/expire", "")?;
                self.ask(Method::Get, "/reset", "")?;
            }
            Kind::Engine => {
                self.ask(Method::Post, "/-/engine/-expire", "")?;
                self.opened = engine_sessions(&self.ask(Method::Get, "/-/engine", "")?)?.1;
                self.ask(Method::Delete, "/-/log", "")?;
            }
        }
        Ok(())
    }

    /// What it was asked since.
    pub(super) fn traffic(&self) -> Result<Traffic> {
        match self.kind {
            Kind::Vcenter => center_traffic(&self.ask(Method::Get, "/counts", "")?),
            Kind::Engine => {
                let mut traffic = engine_traffic(&self.ask(Method::Get, "/-/log", "")?)?;
                let (open, opened) = engine_sessions(&self.ask(Method::Get, "/-/engine", "")?)?;
                traffic.sessions = open;
                traffic.logins = opened.saturating_sub(self.opened);
                Ok(traffic)
            }
        }
    }

    /// Asks the server about itself, on a connection of its own.
    fn ask(&self, method: Method, target: &str, body: &str) -> Result<String> {
        let endpoint = Endpoint {
            scheme: match self.kind {
                Kind::Vcenter => Scheme::Http,
                Kind::Engine => Scheme::Https,
            },
            host: self.control.ip().to_string(),
            port: self.control.port(),
            // Nothing is told that anybody may not know.
            trust: Trust::Anybody,
        };
        let request = Request {
            method,
            target,
            headers: &[],
            body: body.as_bytes(),
        };
        let response = Client::new(endpoint, None)
            .send(request, Deadline::after(ANSWER))
            .with_context(|| format!("the server was asked for {target}"))?;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        ensure!(
            (200..300).contains(&response.status),
            "{target}: {} {text}",
            response.status
        );
        Ok(text)
    }

    /// Switches a guest on, whatever it was.
    pub(super) fn switch_on(&self, guest: &str) -> Result<()> {
        match self.kind {
            Kind::Vcenter => {
                let target = format!("/guest?name={guest}&power=poweredOn");
                self.ask(Method::Get, &target, "")?;
            }
            Kind::Engine => {
                self.ask(Method::Put, &format!("/-/engine/{guest}"), "state=up\n")?;
            }
        }
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a server is asked about itself: the last word of the line that it says when it listens.
fn control(said: &str) -> Option<SocketAddr> {
    let (line, _) = said.split_once('\n')?;
    line.rsplit(' ').next()?.parse().ok()
}

#[derive(Debug, Deserialize)]
struct Counts {
    requests: BTreeMap<String, u32>,
    wire_in: u32,
    wire_out: u32,
    sessions: u32,
    rest_sessions: u32,
}

/// Reads `/counts` of vcsim.
fn center_traffic(json: &str) -> Result<Traffic> {
    let counts: Counts = serde_json::from_str(json).context("vcsim's counts")?;
    let of = |wanted: fn(&str) -> bool| {
        let named = counts.requests.iter().filter(|(name, _)| wanted(name));
        named.map(|(_, count)| count).sum()
    };
    Ok(Traffic {
        requests: of(|_| true),
        sent: counts.wire_in,
        received: counts.wire_out,
        logins: of(|name| name == "Login" || name.starts_with("POST ") && is_session(name)),
        sessions: counts.sessions + counts.rest_sessions,
        stops: of(|name| name.starts_with("PowerOff") || is_stop(name)),
    })
}

fn is_session(name: &str) -> bool {
    name.ends_with("/cis/session") || name.ends_with("/api/session")
}

fn is_stop(name: &str) -> bool {
    name.ends_with("/power/stop") || name.ends_with("/power?stop")
}

/// Reads `/-/log` of the engine: one request a line. Those about the server itself do not count.
fn engine_traffic(log: &str) -> Result<Traffic> {
    let mut traffic = Traffic::default();
    for line in log.lines() {
        let target = word(line, "target").context("a line of the log without target")?;
        if target.starts_with("/-/") {
            continue;
        }
        let bytes = |name: &str| -> Result<u32> {
            let bytes = word(line, name).with_context(|| format!("no {name} in {line}"))?;
            Ok(bytes.parse()?)
        };
        traffic.requests += 1;
        traffic.sent += bytes("in")?;
        traffic.received += bytes("out")?;
        traffic.stops += u32::from(target.ends_with("/stop"));
    }
    Ok(traffic)
}

/// How many sessions the engine has, and how many there have been: the last line of `/-/engine`.
fn engine_sessions(text: &str) -> Result<(u32, u32)> {
    let line = text.lines().find(|line| line.starts_with("sessions "));
    let line = line.context("the engine tells no sessions")?;
    let number = |name| word(line, name).and_then(|value| value.parse().ok());
    number("open")
        .zip(number("opened"))
        .with_context(|| format!("not what it should be: {line}"))
}

/// The value of `name=VALUE` in a line; the first of that name.
fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = line.split(' ').filter_map(|word| word.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcsims_counts_tell_logins_and_orders_of_both_interfaces() {
        let json = r#"{"in": 1, "out": 2, "wire_in": 30, "wire_out": 40, "sessions": 1, "rest_sessions": 2, "requests":
            {"Login": 1, "PowerOffVM_Task": 1, "POST /api/session": 2, "GET /api/session": 5, "DELETE /api/session": 7,
             "POST /rest/com/vmware/cis/session": 4, "POST /rest/vcenter/vm/{vm}/power/stop": 8,
             "POST /api/vcenter/vm/{vm}/power?stop": 16}}"#;
        let expected = Traffic {
            requests: 44,
            sent: 30,
            received: 40,
            logins: 7,
            sessions: 3,
            stops: 25,
        };
        assert_eq!(center_traffic(json).unwrap(), expected);
        assert!(center_traffic("{}").is_err());
    }

    #[test]
    fn the_line_that_says_where_to_ask_is_waited_for_to_its_end() {
        let address = Some(([127, 0, 0, 1], 4711).into());
        let said = "listening on 127.0.0.1:8443 control on 127.0.0.1:4711\n";
        assert_eq!(control(said), address);
        assert_eq!(control("127.0.0.1:4711\n"), address);
        assert_eq!(control("127.0.0.1:47"), None);
    }

    #[test]
    fn the_engines_log_is_summed_without_what_the_bench_asks() {
        let log = "connection=6 method=PUT target=/-/engine/node10 op= status=204 in=169 out=27 host=h\n\
             connection=8 method=GET target=/ovirt-engine/api/ op= status=200 in=409 out=1211 in=5\n\
             connection=9 method=POST target=/ovirt-engine/api/vms/1/stop op= status=200 in=485 out=300\n";
        let expected = Traffic {
            requests: 2,
            sent: 894,
            received: 1511,
            stops: 1,
            ..Traffic::default()
        };
        assert_eq!(engine_traffic(log).unwrap(), expected);
        assert!(engine_traffic("nonsense\n").is_err());
        let state = "name=node1 id=x state=up\nsessions open=2 opened=12 closed=0\n";
        assert_eq!(engine_sessions(state).unwrap(), (2, 12));
        assert!(engine_sessions("").is_err());
    }
}
