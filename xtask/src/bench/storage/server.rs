//! The two targets.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::bench::cost;

const TARGET: &str = "iqn.2026-11.example:bench";
const PORTAL: &str = "127.0.0.1:3260";
/// How long a program may take to do what it does at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the image is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Medium {
    PageCache,
    Direct,
}

impl Medium {
    pub(super) const BOTH: [Self; 2] = [Self::PageCache, Self::Direct];

    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::PageCache => "page-cache",
            Self::Direct => "direct",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PageCache => "page cache",
            Self::Direct => "O_DIRECT",
        }
    }
}

/// Which one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program<'a> {
    Ours(&'a Path),
    Tgt,
}

impl Program<'_> {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours(_) => "picket-target",
            Self::Tgt => "tgt",
        }
    }
}

/// A target that runs. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    lun: u8,
    directory: TempDir,
}

impl Server {
    /// Starts one that serves `image`.
    pub(super) fn start(program: Program<'_>, medium: Medium, image: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (mut command, lun) = match program {
            Program::Ours(path) => (ours(path, medium, image, directory.path())?, 0),
            Program::Tgt => (tgtd(directory.path()), 1),
        };
        let log = std::fs::File::create(directory.path().join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to run {}", program.name()))?;
        let mut server = Self {
            child,
            lun,
            directory,
        };
        server.wait_for(|| TcpStream::connect(PORTAL).is_ok())?;
        if let Program::Tgt = program {
            server.set_up(medium, image)?;
        }
        Ok(server)
    }

    /// Its disk.
    pub(super) fn address(&self) -> String {
        format!("iscsi://{PORTAL}/{TARGET}/{}", self.lun)
    }

    /// User and system time so far, in seconds.
    pub(super) fn processor_time(&self) -> Result<f64> {
        Ok(cost::so_far(self.child.id())? / 1e3)
    }

    /// In MiB.
    pub(super) fn peak_memory(&self) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        let kib: u32 = kib.context("no VmHWM")?.parse()?;
        Ok(f64::from(kib) / 1024.0)
    }

    fn proc(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
    }

    fn wait_for(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.directory.path().join("log"));
                let log = log.unwrap_or_default();
                anyhow::bail!("it ended with {status}: {}", log.trim());
            }
            ensure!(Instant::now() < until, "it does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn set_up(&self, medium: Medium, image: &Path) -> Result<()> {
        let store = format!("--backing-store={}", image.display());
        let target = format!("--targetname={TARGET}");
        let unit = [
            "--mode=logicalunit",
            "--op=new",
            "--tid=1",
            "--lun=1",
            &store,
        ];
        let direct = ["--bsoflags=direct"];
        let direct = if medium == Medium::Direct {
            &direct[..]
        } else {
            &[]
        };
        self.tgtadm(&["--mode=target", "--op=new", "--tid=1", &target])?;
        self.tgtadm(&[&unit, direct].concat())?;
        let bind = [
            "--mode=target",
            "--op=bind",
            "--tid=1",
            "--initiator-address=ALL",
        ];
        self.tgtadm(&bind)
    }

    fn tgtadm(&self, arguments: &[&str]) -> Result<()> {
        let output = tgt("/usr/sbin/tgtadm", self.directory.path())
            .arg("--lld=iscsi")
            .args(arguments)
            .output()
            .context("failed to run tgtadm (package tgt)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tgtadm {arguments:?}: {said}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours(program: &Path, medium: Medium, image: &Path, directory: &Path) -> Result<Command> {
    let direct = medium == Medium::Direct;
    let config = format!(
        "listen = [\"{PORTAL}\"]\ncontrol = \"control\"\nstate = \"state\"\n\
         [[target]]\nname = \"{TARGET}\"\n[[target.initiator]]\nname = \"*\"\n\
         [[target.lun]]\nnumber = 0\npath = \"{}\"\ndirect = {direct}\n",
        image.display()
    );
    let path = directory.join("target.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(path);
    Ok(command)
}

fn tgtd(directory: &Path) -> Command {
    let mut command = tgt("/usr/sbin/tgtd", directory);
    command.args(["-f", "--iscsi", &format!("portal={PORTAL}")]);
    command
}

/// A program of tgt's, with a control socket of its own.
fn tgt(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("TGT_IPC_SOCKET", directory.join("socket"));
    command.args(["-C", "93"]);
    command
}
