//! A private libvirtd with its test driver, to be stalled, killed and started again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    guests::{self, Guest},
    process::{PATIENCE, Process, run, wait_for},
    rig::Rig,
    skip::Need,
};

/// What [`Libvirtd`] needs from the machine.
pub const NEEDS: [Need; 2] = [
    Need::File("/usr/sbin/libvirtd", "libvirt-daemon"),
    Need::File("/usr/bin/virsh", "libvirt-clients"),
];

/// Runs libvirtd where it finds nothing of the machine's own libvirt, and leaves nothing there.
const PRIVATELY: &str = "mount --make-rprivate / && \
    for dir in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do \
        mount -t tmpfs tmpfs \"$dir\" || exit 1; \
    done; \
    exec /usr/sbin/libvirtd -f \"$1\" -p \"$2\"";

/// A libvirtd of this test's own. Dropping it kills it.
#[derive(Debug)]
pub struct Libvirtd {
    /// The process.
    pub process: Process,
    dir: PathBuf,
}

impl Libvirtd {
    /// Starts one with its files in `dir`, which is created if need be, and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start(rig: &Rig, dir: &str) -> Self {
        let dir = rig.path(dir);
        fs::create_dir_all(&dir).expect("the test's directory takes directories");
        let config = dir.join("libvirtd.conf");
        let text = format!(
            "unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n",
            dir.display()
        );
        fs::write(&config, text).expect("the test's directory takes files");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", PRIVATELY, "sh"]);
        command
            .arg(config)
            .arg(dir.join("pid"))
            .stdin(Stdio::null());
        let process = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
        let started = Self { process, dir };
        wait_for("libvirtd to answer", PATIENCE, || {
            started.virsh(rig, &["list", "--all"]).map(drop)
        });
        started
    }

    fn uri_of(&self, path: &Path) -> String {
        let socket = self.dir.join("libvirt-sock");
        format!("test+unix://{}?socket={}", path.display(), socket.display())
    }

    /// The URI of its default hypervisor: one running guest, `test`, shared by all who connect.
    #[must_use]
    pub fn default_uri(&self) -> String {
        self.uri_of(Path::new("/default"))
    }

    /// The URI of a hypervisor with `guests`, whose state is private to each connection.
    #[must_use]
    pub fn uri(&self, guests: &[Guest]) -> String {
        let node = self.dir.join("node.xml");
        let _local = guests::test_uri(&node, guests);
        self.uri_of(&node)
    }

    /// What virsh says of the default hypervisor; none when it cannot.
    #[must_use]
    pub fn virsh(&self, rig: &Rig, args: &[&str]) -> Option<String> {
        let mut command = Command::new("virsh");
        command.args(["-q", "-c", &self.default_uri()]).args(args);
        let ran = run(&mut command, None, rig.dir(), None, PATIENCE);
        (ran.code == Some(0)).then(|| ran.stdout.trim().to_owned())
    }

    /// A user of the default hypervisor that stays connected until dropped.
    #[must_use]
    pub fn hold(&self, rig: &Rig) -> Process {
        let mut command = Command::new("virsh");
        command.args(["-c", &self.default_uri(), "event", "--all", "--loop"]);
        let user = Process::start(command.stdin(Stdio::null()), None, rig.dir());
        let socket = self.dir.join("libvirt-sock").display().to_string();
        // libvirtd's end of the connection bears the socket's name, in the client's namespace.
        wait_for("virsh to be connected", PATIENCE, || {
            user.sockets("unix")
                .iter()
                .any(|line| line.ends_with(&socket))
                .then_some(())
        });
        user
    }

    /// Kills it, as a crash would, and leaves its files for the next one.
    pub fn crash(mut self) {
        self.process.kill();
        for socket in ["libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock"] {
            // A socket that was never made need not be removed.
            let _ = fs::remove_file(self.dir.join(socket));
        }
    }
}
