//! `fence_hyperv` against Hyper-V hosts, alone and in a failover cluster.
//!
//! No Windows is to be had here. The hosts are `hyperv-host` of `tests/servers`, built after Microsoft's documents; that it
//! answers like WinRM is shown by pywinrm and pypsrp, which nobody of this project wrote (`peers`). What the documents leave open is not
//! shown by anything here.

mod actions;
mod cluster;
mod faults;
mod fencer;
mod misuse;
mod peers;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use picket_tests::{
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::temp_dir,
    subject::ours,
};
use tempfile::TempDir;

const VM1: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1";
const VM2: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E2";
const VM3: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E3";
/// In none of the texts around it.
const PASSWORD: &str = "hunter2 <é>";

/// Of the account `plain`: Basic has no agreed character set, and pypsrp another than UTF-8.
const ASCII_PASSWORD: &str = "hunter2-plain";

/// One host, two guests: `vm1` runs, `vm2` does not.
const ALONE: &str = "node HV1\n\
    guest vm1 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1 HV1 2\n\
    guest vm2 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E2 HV1 3\n";
/// Three nodes; `vm1` and `vm3` run on the first, `vm2` is off on the second.
const CLUSTER: &str = "node HV1\nnode HV2\nnode HV3\ncluster HVC\n\
    guest vm1 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1 HV1 2 vm1\n\
    guest vm2 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E2 HV2 3 vm2\n\
    guest vm3 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E3 HV1 2 vm3\n";

/// Hosts, and the agent.
struct World {
    dir: TempDir,
    _hosts: Process,
    /// Names and ports.
    nodes: Vec<(String, u16)>,
    tls: bool,
    cluster: bool,
}

impl World {
    fn alone() -> Self {
        Self::with(ALONE, &[])
    }

    fn cluster() -> Self {
        Self::with(CLUSTER, &[])
    }

    /// A world of these lines, by a server with these options.
    fn with(lines: &str, options: &[&str]) -> Self {
        Self::start(temp_dir(), lines, options)
    }

    fn start(dir: TempDir, lines: &str, options: &[&str]) -> Self {
        let file = dir.path().join("world");
        fs::write(&file, lines).expect("the test's directory takes files");
        symlink(ours("picket-agents"), dir.path().join("fence_hyperv"))
            .expect("a new directory is empty");
        let mut command = Command::new(ours("hyperv-host"));
        command
            .arg("--world")
            .arg(&file)
            .args(["--trust"])
            .arg(dir.path().join("trust.pem"));
        for user in [
            format!("CORP\\ann:{PASSWORD}"),
            format!("HV1\\loc:{PASSWORD}"),
            format!("HV1\\plain:{ASCII_PASSWORD}"),
        ] {
            command.args(["--user", &user]);
        }
        for right in ["blind", "closed", "reader", "nocluster"] {
            command.args(["--user", &format!("CORP\\{right}:{PASSWORD}:{right}")]);
        }
        command.args(options);
        let hosts = Process::start(&mut command, None, dir.path());
        let expected = lines
            .lines()
            .filter(|line| line.starts_with("node "))
            .count();
        let nodes = wait_for("the hosts to listen", PATIENCE, || {
            let said = hosts.stdout();
            let nodes = said.lines().filter_map(|line| {
                let (name, address) = line.split_once(' ')?;
                Some((name.to_owned(), address.rsplit_once(':')?.1.parse().ok()?))
            });
            let nodes: Vec<(String, u16)> = nodes.collect();
            (nodes.len() == expected).then_some(nodes)
        });
        Self {
            dir,
            _hosts: hosts,
            nodes,
            tls: options
                .iter()
                .any(|option| ["--tls", "--self-signed"].contains(option)),
            cluster: lines.contains("cluster "),
        }
    }

    fn port(&self) -> u16 {
        self.nodes[0].1
    }

    fn trust(&self) -> PathBuf {
        self.dir.path().join("trust.pem")
    }

    /// Where the agent is told to go.
    fn place(&self) -> Vec<String> {
        let mut args = vec![
            "-a".to_owned(),
            "127.0.0.1".to_owned(),
            "-u".to_owned(),
            self.port().to_string(),
        ];
        if self.nodes.len() > 1 {
            args.push(format!("--nodes={}", self.node_list()));
        }
        if self.cluster {
            args.push("--cluster".to_owned());
        }
        if self.tls {
            args.push(format!("--ssl-ca={}", self.trust().display()));
        }
        args
    }

    fn node_list(&self) -> String {
        let nodes = self
            .nodes
            .iter()
            .map(|(name, port)| format!("{name}=127.0.0.1:{port}"));
        nodes.collect::<Vec<_>>().join(",")
    }

    /// A call of the agent with the right login.
    fn agent(&self, args: &[&str]) -> Ran {
        self.agent_as("CORP\\ann", args)
    }

    fn agent_as(&self, user: &str, args: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(["-l", user]);
        if !args.contains(&"-p") {
            command.args(["-p", PASSWORD]);
        }
        command.args(args);
        run(&mut command, None, self.dir.path(), None, PATIENCE * 2)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.dir.path().join("fence_hyperv"));
        command.args(self.place());
        command
    }

    /// A call as Pacemaker makes it: lines on standard input.
    fn by_stdin(&self, lines: &str) -> Ran {
        let mut command = Command::new(self.dir.path().join("fence_hyperv"));
        let input = format!(
            "ip=127.0.0.1\nipport={}\nusername=CORP\\ann\npassword={PASSWORD}\n{lines}\n",
            self.port()
        );
        run(
            &mut command,
            None,
            self.dir.path(),
            Some(&input),
            PATIENCE * 2,
        )
    }

    fn http(&self, method: &str, path: &str, body: &str) -> String {
        assert!(
            !self.tls,
            "hosts with TLS are told everything at their start"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port()))
            .expect("the first host takes connections");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: hv\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .expect("the host reads");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("it is connected");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("the host answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(
            head.contains(" 200 ") || head.contains(" 204 "),
            "{path} {body}: {answer}"
        );
        body.to_owned()
    }

    /// Changes the world.
    fn tell(&self, lines: &str) {
        self.http("POST", "/-/world", lines);
    }

    /// Faults in operations.
    fn fault(&self, lines: &str) {
        self.http("PUT", "/-/ops", lines);
    }

    /// A guest's line, as only the server knows it: state, starts, stops.
    fn truth(&self, guid: &str) -> (u32, u32, u32) {
        let world = self.http("GET", "/-/world", "");
        let line = world
            .lines()
            .find(|line| line.starts_with(guid))
            .unwrap_or_else(|| panic!("{guid} is not in {world}"));
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| {
            word.rsplit('=')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        };
        (number(words[3]), number(words[4]), number(words[5]))
    }

    /// How many connections the first host has seen so far.
    fn connections(&self) -> usize {
        let log = self.http("GET", "/-/log", "");
        let connections = log
            .lines()
            .filter(|line| line.contains("/wsman"))
            .filter_map(|line| line.split(' ').next());
        let mut connections: Vec<&str> = connections.collect();
        connections.dedup();
        connections.len()
    }
}

/// Asserts how a run ended: exit status, standard output, and words on standard error.
#[track_caller]
fn ended(ran: &Ran, code: i32, stdout: &str, words: &str) {
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(code), stdout),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains(words),
        "`{words}` is not in: {}",
        ran.stderr
    );
    assert!(
        !ran.printed().contains("hunter2"),
        "the password is printed: {ran:?}"
    );
}

/// Asserts that a run ended by itself within `limit`.
#[track_caller]
fn within(ran: &Ran, limit: Duration) {
    assert!(!ran.hung && ran.took < limit, "{limit:?}: {ran:?}");
}
