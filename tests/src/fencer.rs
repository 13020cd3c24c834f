//! Pacemaker's own fencer carrying out a list of steps, and what came of each.
//!
//! It runs in namespaces of its own that end with the list, agents and all: a `/usr/sbin` in which the agents are ours, and none of
//! this machine's shared memory, so that several can run at a time.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::net::Namespace;
use crate::process::{Ran, run};
use crate::skip::Need;
use crate::subject::ours;

/// What it takes.
pub const NEEDS: [Need; 4] = [
    Need::Root,
    Need::File("/usr/lib/pacemaker/pacemaker-fenced", "pacemaker"),
    Need::File("/usr/sbin/stonith_admin", "pacemaker-cli-utils"),
    Need::File("/usr/bin/unshare", "util-linux"),
];

/// Starts the fencer, waits for it, and lets the steps follow.
const PRELUDE: &str = r#"
dir=$1; shift
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$dir/sbin,workdir=$dir/sbinwork" /usr/sbin
for at in /dev/shm /var/log/pacemaker; do mount -t tmpfs tmpfs $at; done
mount -t tmpfs -o mode=770,uid=hacluster,gid=haclient tmpfs /var/lib/pacemaker/cores
/usr/lib/pacemaker/pacemaker-fenced -s -l "$dir/fenced.log" >"$dir/fenced.out" 2>&1 &
for n in $(seq 100); do stonith_admin -L >/dev/null 2>&1 && break; sleep 0.2; done
say() { what=$1; shift; "$@" >>"$what.out" 2>&1; echo "$what $?"; }
cd "$dir"
"#;

/// A fencer that will carry out steps in a directory of its test.
#[derive(Debug)]
pub struct Fencer {
    dir: PathBuf,
}

/// What came of the steps.
#[derive(Debug)]
pub struct Done {
    /// Each step that was announced by `say NAME COMMAND…`, and whether its command ended with 0.
    pub results: Vec<(String, bool)>,
    /// What the fencer logged, its agents' words included.
    pub log: String,
    /// The whole run.
    pub ran: Ran,
}

impl Done {
    /// The steps ended like this, all of them and in this order.
    ///
    /// # Panics
    /// When they did not.
    pub fn expect(&self, wanted: &[(&str, bool)]) {
        let results: Vec<(&str, bool)> = self
            .results
            .iter()
            .map(|(step, good)| (step.as_str(), *good))
            .collect();
        assert_eq!(results, wanted, "{:?}\n{}", self.ran, self.log);
    }
}

impl Fencer {
    /// One whose `/usr/sbin` has our program under these agents' names. Its files go into `dir`.
    ///
    /// # Panics
    /// When `dir` has been used for one already.
    #[must_use]
    pub fn new(dir: &Path, agents: &[&str]) -> Self {
        for name in ["sbin", "sbinwork"] {
            fs::create_dir(dir.join(name)).expect("the test's directory takes others");
        }
        for agent in agents {
            symlink(ours("picket-agents"), dir.join("sbin").join(agent))
                .expect("a new directory is empty");
        }
        Self {
            dir: dir.to_owned(),
        }
    }

    /// A script that prints `password`, for the option `password_script`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn password_script(&self, password: &str) -> PathBuf {
        let path = self.dir.join("password");
        fs::write(&path, format!("#!/bin/sh\necho '{password}'\n"))
            .expect("the test's directory takes files");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("one's own file");
        path
    }

    /// Carries out the steps of a shell script, whose `$1` and so on are `args`, and in which `$dir` is the directory and
    /// `say NAME COMMAND…` tells how a command ended.
    #[must_use]
    pub fn carry_out(&self, steps: &str, args: &[String], limit: Duration) -> Done {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(self.arguments(steps, args));
        self.done(run(
            &mut command,
            None::<&Namespace>,
            &self.dir,
            None,
            limit,
        ))
    }

    /// The arguments of `unshare` that [`Self::carry_out`] uses, for whoever has to prepare more.
    #[must_use]
    pub fn arguments(&self, steps: &str, args: &[String]) -> Vec<OsString> {
        let namespaces = [
            "-m",
            "-i",
            "-p",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ];
        let shell = ["sh", "-c"].map(OsString::from);
        let mut all: Vec<OsString> = namespaces.map(OsString::from).into();
        all.extend(shell);
        all.push(format!("{PRELUDE}{steps}").into());
        all.push("sh".into());
        all.push(self.dir.clone().into());
        all.extend(args.iter().map(OsString::from));
        all
    }

    /// What came of a run.
    #[must_use]
    pub fn done(&self, ran: Ran) -> Done {
        let steps = ran.stdout.lines().filter_map(|line| line.split_once(' '));
        Done {
            results: steps
                .map(|(step, code)| (step.to_owned(), code == "0"))
                .collect(),
            log: fs::read_to_string(self.dir.join("fenced.log")).unwrap_or_default(),
            ran,
        }
    }
}
