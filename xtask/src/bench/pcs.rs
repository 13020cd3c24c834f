//! pcs in the lab: made ready on blank guests, and used as an administrator uses it.
//!
//! The guests' image does without pcs, which with what it depends on is a fifth of its size again. So its
//! packages are fetched from Debian once, unpacked, and copied to the guests. That is not what is measured.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cluster::{Definition, File, RenderOptions};
use deadline::Deadline;
use deploy::Desired;
use lab::{Lab, Ssh};

use super::apply::LIMIT;
use crate::repo::Repo;

/// How long making ready may take on all guests together.
const READY_LIMIT: Duration = Duration::from_secs(900);
/// The files that both sides need and that no tool of pcs copies: the fencing key, and the service's agent.
const COPIED: [&str; 2] = ["/etc/cluster/", "/usr/lib/ocf/"];
/// What comes before the name of a step in what the commands print.
const MARK: &str = "@step ";

/// Run on every guest, with the password for `chpasswd` as its input. What the packages' own scripts would
/// do is done here. Debian's example of a corosync.conf goes: with it pcs takes the node for a member of
/// another cluster, and keeps no token of it. Without hardware virtualisation pcsd takes more than
/// systemd's 90 s to start, and answers later than pcs's 60 s, which not every command of it can be told.
const READY: &str = "set -eu
rm -f /etc/corosync/corosync.conf
install -d -m 0700 /var/lib/pcsd /var/log/pcsd
for unit in pcsd pcsd-ruby; do
  mkdir -p /run/systemd/system/$unit.service.d
  printf '[Service]\\nTimeoutStartSec=600\\n' >/run/systemd/system/$unit.service.d/slow.conf
done
systemctl daemon-reload
sed -i 's/^default_request_timeout = .*/default_request_timeout = 600/' \
  /usr/lib/python3/dist-packages/pcs/settings.py
grep -q '^default_request_timeout = 600$' /usr/lib/python3/dist-packages/pcs/settings.py
chpasswd
systemctl start pcsd-ruby pcsd
systemctl is-active --quiet pcsd
";

/// The administrator at the first node.
pub(crate) struct Admin {
    /// The version of pcs.
    pub(crate) version: String,
    ssh: Ssh,
    node: String,
    script: String,
    password: String,
}

/// Brings pcs to all guests and starts its daemon.
///
/// # Errors
/// A package cannot be fetched, or a guest does not do what it is told.
pub(crate) fn prepare(repo: &Repo, lab: &Lab, definition: &Definition) -> Result<Admin> {
    let ssh = lab.ssh();
    let nodes: Vec<&str> = lab.nodes().iter().map(|node| node.name.as_str()).collect();
    let first = *nodes.first().context("a lab without nodes")?;
    let packages = Packages::of(repo, &ssh, first)?;
    let archive = packages.archive()?;
    let password = password()?;
    let desired = Desired::of(definition, &lab.keys()?, &RenderOptions::default())?;
    let deadline = Deadline::after(READY_LIMIT);
    std::thread::scope(|scope| {
        let (ssh, archive, password, desired) = (&ssh, &archive, &password, &desired);
        let threads: Vec<_> = nodes
            .iter()
            .map(|&node| {
                scope.spawn(move || ready(ssh, node, archive, desired, password, deadline))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let outcome = thread.join().map_err(|_| anyhow!("a thread failed"))?;
            outcome.context("failed to make pcs ready")
        })
    })?;
    Ok(Admin {
        version: packages.version,
        script: commands(definition, lab),
        node: first.to_owned(),
        ssh,
        password,
    })
}

fn ready(
    ssh: &Ssh,
    node: &str,
    archive: &[u8],
    desired: &Desired,
    password: &str,
    deadline: Deadline,
) -> Result<()> {
    let unpack = "exec tar -xz -f - -C / --keep-directory-symlink --no-overwrite-dir";
    told(ssh, node, unpack, archive, deadline)?;
    let files = desired.machine(node).map_or(&[][..], |one| &one.files);
    let is_copied = |file: &&File| COPIED.iter().any(|dir| file.path.starts_with(dir));
    for file in files.iter().filter(is_copied) {
        let path = file.path.display();
        let copy = format!("exec install -D -m {:o} /dev/stdin {path}", file.mode);
        told(ssh, node, &copy, &file.bytes, deadline)?;
    }
    let password = format!("hacluster:{password}\n");
    told(ssh, node, READY, password.as_bytes(), deadline).map(drop)
}

/// What is typed on the first node. The same nodes, settings and resources as in the definition.
fn commands(definition: &Definition, lab: &Lab) -> String {
    let name = &definition.name;
    let nodes: Vec<String> = lab
        .nodes()
        .iter()
        .map(|node| format!("{} addr={}", node.name, node.address))
        .collect();
    let names: Vec<&str> = lab.nodes().iter().map(|node| node.name.as_str()).collect();
    let (nodes, names) = (nodes.join(" "), names.join(" "));
    format!(
        "set -eu
exec 3>&1 1>&2
step() {{ echo '{MARK}'\"$*\" >&3; }}
step host auth
pcs host auth {nodes} -u hacluster
exec </dev/null
step cluster setup
pcs cluster setup {name} {nodes} totem token=5000
step cluster start
pcs cluster start --all --wait=600
step settings and resources
cd /root
pcs cluster cib cib
cp cib cib.old
pcs -f cib property set stonith-action=reboot stonith-timeout=60s dc-deadtime=4s no-quorum-policy=stop
pcs -f cib resource defaults update resource-stickiness=100
pcs -f cib stonith create fence.virt fence_xvm key_file=/etc/cluster/fence_xvm.key \
multicast_address=225.0.0.12 ipport=1229 pcmk_host_check=static-list pcmk_host_list='{names}' \
pcmk_action_limit=-1 op monitor interval=120s timeout=60s start timeout=60s
pcs -f cib resource create web.ip ocf:heartbeat:IPaddr2 ip=10.9.0.100 cidr_netmask=24 \
op start timeout=60s stop timeout=60s monitor interval=10s timeout=60s --group web
pcs -f cib resource create web.http ocf:picket:httpd port=80 text='Kept available by Picket.' \
op start timeout=60s stop timeout=60s monitor interval=10s timeout=60s --group web
step cib-push
pcs cluster cib-push cib diff-against=cib.old --wait=600
step end
"
    )
}

impl Admin {
    /// Forms the cluster and starts its resources; how long each step took.
    ///
    /// # Errors
    /// A command fails, or time is up. Which, and what it said, is in the error.
    pub(crate) fn form(&self) -> Result<Vec<(String, f64)>> {
        let deadline = Deadline::after(LIMIT);
        let mut child = Remote::start(&self.ssh, &self.node, &self.script)?;
        // pcs asks for it: on a command line everybody on the node could read it.
        child.input(format!("{}\n", self.password).into_bytes());
        let mut steps: Vec<(String, Instant)> = Vec::new();
        let outcome = child.finish(deadline, |line, at| {
            if let Some(step) = line.strip_prefix(MARK) {
                eprintln!("apply: pcs: {step}");
                steps.push((step.to_owned(), at));
            }
        });
        let last = steps.last().map_or("ssh", |(step, _)| step.as_str());
        outcome.with_context(|| format!("pcs failed at {last:?}"))?;
        ensure!(last == "end", "pcs ended early, at {last:?}");
        let took = steps.windows(2).map(|pair| {
            let took = pair[1].1.duration_since(pair[0].1);
            (pair[0].0.clone(), took.as_secs_f64())
        });
        Ok(took.collect())
    }
}

/// pcs, and what the guests lack of what it depends on.
struct Packages {
    /// Names and versions, as apt would install them on a guest.
    wanted: Vec<(String, String)>,
    version: String,
    /// Where they are kept unpacked, in one archive, and the list of what is in it.
    kept: PathBuf,
}

impl Packages {
    /// Asks apt what it would install on this guest.
    fn of(repo: &Repo, ssh: &Ssh, node: &str) -> Result<Self> {
        let deadline = Deadline::after(Duration::from_secs(120));
        let status = told(ssh, node, "exec cat /var/lib/dpkg/status", &[], deadline)?;
        let scratch = tempfile::tempdir()?;
        let path = scratch.path().join("status");
        fs::write(&path, status)?;
        let said = run(Command::new("apt-get")
            .args(["-s", "-q", "--no-install-recommends", "-o"])
            .arg(format!("Dir::State::status={}", path.display()))
            .args(["install", "pcs"]))?;
        let wanted = wanted(&said);
        let version = wanted.iter().find(|(name, _)| name == "pcs");
        let version = version.context("apt would not install pcs: is it the guests' release?")?;
        Ok(Self {
            version: version.1.clone(),
            kept: repo.target().join("peers/pcs"),
            wanted,
        })
    }

    /// All of them unpacked, as one compressed archive. Fetched if it is not there from an earlier run.
    fn archive(&self) -> Result<Vec<u8>> {
        let (list, archive) = (self.kept.join("list"), self.kept.join("packages.tar.gz"));
        let wanted: Vec<String> = self
            .wanted
            .iter()
            .map(|(name, version)| format!("{name}={version}"))
            .collect();
        if fs::read_to_string(&list).is_ok_and(|kept| kept == wanted.join("\n")) {
            return fs::read(&archive).context("failed to read the packages of pcs");
        }
        eprintln!("apply: fetching pcs and {} packages", wanted.len() - 1);
        fs::create_dir_all(&self.kept)?;
        let _ = fs::remove_file(&list);
        let scratch = tempfile::tempdir()?;
        fetch(&wanted, scratch.path(), &archive)?;
        fs::write(&list, wanted.join("\n"))?;
        fs::read(&archive).context("failed to read the packages of pcs")
    }
}

/// The packages in what `apt-get -s install` prints: `Inst NAME [OLD] (VERSION …`.
fn wanted(said: &str) -> Vec<(String, String)> {
    let package = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let (_, version) = rest.split_once('(')?;
        let version = version.split_whitespace().next()?;
        Some((name.to_owned(), version.to_owned()))
    };
    said.lines().filter_map(package).collect()
}

fn fetch(wanted: &[String], scratch: &Path, archive: &Path) -> Result<()> {
    let (debs, root) = (scratch.join("debs"), scratch.join("root"));
    fs::create_dir(&debs)?;
    fs::create_dir(&root)?;
    // Without it apt warns that its own user cannot write there, and fetches as root.
    let _ = Command::new("chown").arg("_apt").arg(&debs).status();
    run(Command::new("apt-get")
        .current_dir(&debs)
        .args(["download", "-qq"])
        .args(wanted))?;
    for deb in fs::read_dir(&debs)? {
        run(Command::new("dpkg-deb")
            .arg("-x")
            .arg(deb?.path())
            .arg(&root))?;
    }
    // As its package does when it is installed; the guests' Python is that of this release too.
    run(Command::new("python3")
        .args(["-m", "compileall", "-q", "-s"])
        .args([root.as_os_str(), OsStr::new("-p"), OsStr::new("/")])
        .arg(root.join("usr/lib/python3/dist-packages")))?;
    run(Command::new("tar")
        .args(["-cz", "--numeric-owner", "-f"])
        .arg(archive)
        .arg("-C")
        .arg(&root)
        .arg("."))?;
    Ok(())
}

/// Runs a program of this machine; what it prints.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} ended with {}: {}",
        output.status,
        said.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a script on a guest; what it prints.
fn told(ssh: &Ssh, node: &str, script: &str, input: &[u8], deadline: Deadline) -> Result<String> {
    let mut child = Remote::start(ssh, node, script)?;
    child.input(input.to_vec());
    let mut said = String::new();
    let outcome = child.finish(deadline, |line, _| {
        said.push_str(line);
        said.push('\n');
    });
    outcome.with_context(|| node.to_owned())?;
    Ok(said)
}

/// A script that runs on a guest. Ends with this.
struct Remote {
    child: Child,
}

impl Remote {
    fn start(ssh: &Ssh, node: &str, script: &str) -> Result<Self> {
        let words = ssh.prefix.iter().map(|word| word.as_os_str());
        let mut words = words.chain([OsStr::new("ssh")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("-F").arg(&ssh.config);
        command.args(["-T", "-o", "BatchMode=yes", "--", node, script]);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run ssh")?;
        Ok(Self { child })
    }

    /// Gives it its input. A script that reads none has ended for a reason that it tells itself.
    fn input(&mut self, bytes: Vec<u8>) {
        if let Some(mut input) = self.child.stdin.take() {
            std::thread::spawn(move || input.write_all(&bytes));
        }
    }

    /// Waits for its end; `line` hears each line it prints, and when.
    fn finish(mut self, deadline: Deadline, mut line: impl FnMut(&str, Instant)) -> Result<()> {
        let (sender, lines) = mpsc::channel();
        let (output, errors) = (self.child.stdout.take(), self.child.stderr.take());
        std::thread::spawn(move || {
            let output = output.map(BufReader::new).into_iter();
            for text in output.flat_map(|output| output.lines().map_while(Result::ok)) {
                if sender.send((text, Instant::now())).is_err() {
                    break;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut errors) = errors {
                let _ = errors.read_to_string(&mut text);
            }
            text
        });
        loop {
            match lines.recv_timeout(deadline.remaining()) {
                Ok((text, at)) => line(&text, at),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("no end of it in time"),
            }
        }
        // It has closed its output: it ends now.
        let status = self.child.wait()?;
        let errors = errors.join().unwrap_or_default();
        let lines: Vec<&str> = errors.trim().lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("; ");
        ensure!(status.success(), "it ended with {status}: {last}");
        Ok(())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new one for each run.
fn password() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_simulation_tells_names_and_versions() {
        let said = "Reading package lists...\nInst libyaml-0-2 (0.2.5-1 Debian:12.8/oldstable [amd64])\n\
            Inst pcs (0.11.5-1+deb12u1 Debian:12.8/oldstable [all]) []\n\
            Inst tzdata [2024a-0] (2025b-0 Debian:12.8/oldstable [all])\nConf pcs (0.11.5-1+deb12u1 x)\n";
        let names = [
            ("libyaml-0-2", "0.2.5-1"),
            ("pcs", "0.11.5-1+deb12u1"),
            ("tzdata", "2025b-0"),
        ];
        let expected: Vec<_> = names
            .iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
            .collect();
        assert_eq!(wanted(said), expected);
    }
}
