//! `fence_vmware`, `fence_vmware_soap` and `fence_vmware_rest` against the simulator of vCenter and ESX, `vcsim`.
//!
//! What the simulator lacks is served over its inventory by `tests/servers/vcsim`: the REST calls for guests, and faults. So what
//! is shown of REST is shown of a server of ours, which the packaged agent also talks to; SOAP is the simulator's own. What
//! guests do is asked of a third party, pyvmomi.

mod actions;
mod beside;
mod faults;
mod fencer;
mod interface;
mod misuse;
mod places;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use picket_tests::{
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::temp_dir,
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;
use tempfile::TempDir;

const VCSIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/vcsim");
const WSDL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/vim25");
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vmware/peer.py");

const NEEDS: [Need; 3] = [
    Need::File(
        VCSIM,
        "golang-github-vmware-govmomi-dev, and run scripts/setup test",
    ),
    Need::File(
        "/usr/lib/python3/dist-packages/pyVmomi/__init__.py",
        "python3-pyvmomi",
    ),
    Need::File("/usr/bin/python3", "python3"),
];
const PACKAGED: [Need; 4] = [
    Need::File("/usr/sbin/fence_vmware_soap", "fence-agents"),
    Need::File(
        "/usr/lib/python3/dist-packages/suds/__init__.py",
        "python3-suds",
    ),
    Need::File(
        "/usr/lib/python3/dist-packages/pycurl.cpython-311-x86_64-linux-gnu.so",
        "python3-pycurl",
    ),
    Need::File(
        "/usr/lib/python3/dist-packages/requests/__init__.py",
        "python3-requests",
    ),
];

/// Whether a test must be skipped that only needs our agents.
fn lacking() -> bool {
    skipped(&NEEDS)
}

/// The same for one that needs the packaged agents too.
fn lacking_packaged() -> bool {
    skipped(&[&NEEDS[..], &PACKAGED[..]].concat())
}

/// Agents of the two interfaces.
const AGENTS: [&str; 2] = ["fence_vmware_soap", "fence_vmware_rest"];

/// A server with guests, all of which run.
struct World {
    dir: TempDir,
    _vcsim: Process,
    port: u16,
    control: u16,
    authority: Option<PathBuf>,
}

impl World {
    /// A vCenter: guests `DC0_H0_VM0` … on a host of its own, `DC0_C0_RP0_VM0` … in a cluster of three.
    fn vcenter() -> Self {
        Self::with(&[])
    }

    /// A host of its own: guests `ha-host_VM0` ….
    fn esx() -> Self {
        Self::with(&["-esx"])
    }

    fn with(args: &[&str]) -> Self {
        Self::start(temp_dir(), args, None)
    }

    /// A vCenter with TLS: its certificate is signed by an authority of its own, for 127.0.0.1.
    fn encrypted() -> Self {
        let dir = temp_dir();
        let [authority, chain, key] =
            ["authority.pem", "chain.pem", "key.pem"].map(|name| dir.path().join(name));
        let (trusted, leaf, private) = certificates();
        for (path, text) in [(&authority, trusted), (&chain, leaf), (&key, private)] {
            fs::write(path, text).expect("the test's directory takes files");
        }
        let text = |path: &Path| path.display().to_string();
        let args = [
            "-cert".to_owned(),
            text(&chain),
            "-key".to_owned(),
            text(&key),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Self::start(dir, &args, Some(authority))
    }

    fn start(dir: TempDir, args: &[&str], authority: Option<PathBuf>) -> Self {
        for agent in ["fence_vmware", "fence_vmware_soap", "fence_vmware_rest"] {
            symlink(ours("picket-agents"), dir.path().join(agent))
                .expect("a new directory is empty");
        }
        let mut command = Command::new(VCSIM);
        command.args(["-wsdl", WSDL]).args(args);
        let vcsim = Process::start(&mut command, None, dir.path());
        let (port, control) = wait_for("vcsim to listen", PATIENCE * 4, || {
            let said = vcsim.stdout();
            let mut ports = said
                .lines()
                .next()?
                .split_whitespace()
                .filter_map(|word| word.rsplit_once(':')?.1.parse().ok());
            Some((ports.next()?, ports.next()?))
        });
        Self {
            dir,
            _vcsim: vcsim,
            port,
            control,
            authority,
        }
    }

    /// A call of an agent of ours, with the login.
    fn ours(&self, agent: &str, args: &[&str]) -> Ran {
        self.run(&self.dir.path().join(agent), args, PATIENCE)
    }

    /// A call of the packaged agent, with the login.
    fn theirs(&self, agent: &str, args: &[&str]) -> Ran {
        self.run(&Path::new("/usr/sbin").join(agent), args, PATIENCE * 3)
    }

    fn run(&self, program: &Path, args: &[&str], limit: Duration) -> Ran {
        run(
            &mut self.command(program, args),
            None,
            self.dir.path(),
            None,
            limit,
        )
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args([
            "-a",
            "127.0.0.1",
            "-u",
            &self.port.to_string(),
            "-l",
            "root",
        ]);
        if !args.contains(&"-p") {
            command.args(["-p", "secret"]);
        }
        if let Some(authority) = &self.authority
            && !args.iter().any(|arg| arg.starts_with("--ssl"))
        {
            command.arg(format!("--ssl-ca={}", authority.display()));
        }
        command.args(args);
        command
    }

    /// A call of an agent of ours as Pacemaker makes it: lines on standard input.
    fn by_stdin(&self, agent: &str, lines: &str) -> Ran {
        let mut command = Command::new(self.dir.path().join(agent));
        let input = format!(
            "ip=127.0.0.1\nipport={}\nusername=root\npassword=secret\n{lines}\n",
            self.port
        );
        run(&mut command, None, self.dir.path(), Some(&input), PATIENCE)
    }

    /// Tells the server something that no client of vSphere can.
    fn tell(&self, what: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control))
            .expect("vcsim takes control connections");
        let request = format!("POST /{what} HTTP/1.0\r\nHost: vcsim\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("vcsim reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("vcsim answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.contains(" 200 "), "{what}: {answer}");
        body.to_owned()
    }

    /// Orders a fault for the next `count` requests of `method`; 0: for all.
    fn fault(&self, method: &str, kind: &str, count: u32, more: &str) {
        let method = encoded(method);
        self.tell(&format!(
            "fault?method={method}&kind={kind}&count={count}{more}"
        ));
    }

    fn forget(&self) {
        self.tell("reset");
    }

    fn counts(&self) -> Value {
        serde_json::from_str(&self.tell("counts")).expect("JSON")
    }

    /// How often a method was called.
    fn count(&self, method: &str) -> u64 {
        self.counts()["requests"][method]
            .as_u64()
            .unwrap_or_default()
    }

    /// All requests.
    fn requests(&self) -> u64 {
        let counts = self.counts();
        counts["requests"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, count)| count.as_u64())
            .sum()
    }

    /// Sessions that are open, SOAP and REST.
    fn sessions(&self) -> (u64, u64) {
        let counts = self.counts();
        (
            counts["sessions"].as_u64().unwrap_or(99),
            counts["rest_sessions"].as_u64().unwrap_or(99),
        )
    }

    /// What pyvmomi sees: power state, UUID and host of each guest, the host by name and identifier.
    fn seen(&self) -> BTreeMap<String, Vec<String>> {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        let mut command = Command::new("/usr/bin/python3");
        command.args([PEER, scheme, "127.0.0.1", &self.port.to_string()]);
        let ran = run(&mut command, None, self.dir.path(), None, PATIENCE);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    /// A guest's state, as pyvmomi sees it.
    #[track_caller]
    fn state(&self, guest: &str) -> String {
        self.seen()
            .get(guest)
            .unwrap_or_else(|| panic!("there is a guest {guest}"))[0]
            .clone()
    }

    /// The identifier of the host that a guest is on.
    fn host_of(&self, guest: &str) -> String {
        self.seen()[guest][3].clone()
    }

    fn uuid(&self, guest: &str) -> String {
        self.seen()[guest][1].clone()
    }
}

/// Percent-encodes what goes into a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// An authority, a certificate for 127.0.0.1 that it signed, and the key of that.
fn certificates() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().expect("keys can be made");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let trusted = authority
        .self_signed(&authority_key)
        .expect("it is whole")
        .pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("keys can be made");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let leaf = leaf.signed_by(&key, &issuer).expect("it is whole").pem();
    (trusted, leaf, key.serialize_pem())
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
        !ran.printed().contains("secret"),
        "the password is printed: {ran:?}"
    );
}
