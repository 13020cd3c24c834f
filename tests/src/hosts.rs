//! Two machines that run real guests: each a set of namespaces with a libvirtd and its QEMU processes, so that guests can be
//! live-migrated from one to the other.
//!
//! A machine's processes die together with it, as those of one that loses power. Its libvirt finds nothing of the machine's
//! own and leaves nothing there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    net::{GUEST_V4, HOST_V4, Namespace},
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::Rig,
    skip::Need,
};

/// What [`Hosts`] need from the machine.
pub const NEEDS: [Need; 5] = [
    Need::Root,
    Need::File("/usr/sbin/ip", "iproute2"),
    Need::File("/usr/sbin/libvirtd", "libvirt-daemon-system"),
    Need::File("/usr/bin/virsh", "libvirt-clients"),
    Need::File("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
];

/// How long a libvirtd may take that first has to find out about QEMU, on a machine that does other things.
const STARTING: Duration = Duration::from_secs(120);

/// The first process of a machine: everything libvirt writes goes to memory, names lead to the other machine, and what QEMU
/// leaves behind is reaped.
const MACHINE: &str = r#"set -e
mount --make-rprivate /
mount -t proc proc /proc
hostname "$2"
for dir in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p "$dir"
    mount -t tmpfs -o mode=755 tmpfs "$dir"
done
mkdir -p /etc/libvirt/qemu /run/lock
mount --bind "$1/hosts" /etc/hosts
cat >/etc/libvirt/qemu.conf <<X
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
X
/usr/sbin/libvirtd -f "$1/$2.conf" -p /run/libvirtd.pid &
wait $!
"#;

/// A boot sector: fills 8 MiB of memory with a number, waits for the next tick of the timer (55 ms), and again with the
/// next number. It reaches beyond the first megabyte by a segment that protected mode gave it.
const BUSY: [u8; 78] = [
    0x31, 0xc0, 0x8e, 0xd8, // ds = 0
    0x66, 0x31, 0xdb, // ebx = 0
    0xfa, // again: no interrupts
    0x0f, 0x01, 0x16, 0x38, 0x7c, // lgdt
    0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // into protected mode
    0xb9, 0x08, 0x00, 0x8e, 0xc1, // es = all of memory
    0x24, 0xfe, 0x0f, 0x22, 0xc0, // and out of it
    0x66, 0xbf, 0x00, 0x00, 0x20, 0x00, // edi = 2 MiB
    0x66, 0xb9, 0x00, 0x00, 0x20, 0x00, // ecx = 2 Mi words of 4 bytes
    0x66, 0x89, 0xd8, 0x67, 0x66, 0xf3, 0xab, // fill them with ebx
    0x66, 0x43, // the next number
    0xfb, 0xf4, 0xeb, 0xcf, // wait for an interrupt; again
    0x0f, 0x00, 0x3e, 0x7c, 0x00, 0x00, // the descriptor table: size and place
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, //
    0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00, // writable, from 0, 4 GiB
];

/// One machine.
#[derive(Debug)]
pub struct Host {
    /// Its name: `h1`, `h2`.
    pub name: &'static str,
    socket: PathBuf,
    process: Process,
}

/// Two machines with a cable between them. Dropping them ends everything that runs on them.
#[derive(Debug)]
pub struct Hosts {
    /// The machines.
    pub all: [Host; 2],
    /// Where the test's files are. The machines are the two ends of its cable.
    pub rig: Rig,
}

impl Hosts {
    /// Starts them, without guests.
    ///
    /// # Panics
    /// When the machine does not do what that takes.
    #[must_use]
    pub fn up() -> Self {
        let rig = Rig::new();
        let hosts = format!("127.0.0.1 localhost\n{HOST_V4} h1\n{GUEST_V4} h2\n");
        fs::write(rig.path("hosts"), hosts).expect("the rig's directory takes files");
        let all = [
            start("h1", &rig.cable.host, &rig),
            start("h2", &rig.cable.guest, &rig),
        ];
        let up = Self { all, rig };
        for host in &up.all {
            wait_for("libvirtd to answer", STARTING, || {
                let ran = up.virsh(host, &["list"]);
                (ran.code == Some(0)).then_some(())
            });
        }
        up
    }

    /// What virsh says there.
    #[must_use]
    pub fn virsh(&self, host: &Host, args: &[&str]) -> Ran {
        let mut command = Command::new("virsh");
        command.args(["-q", "-c", &host.uri()]).args(args);
        run(&mut command, None, self.rig.dir(), None, PATIENCE)
    }

    /// Defines and starts a guest of some megabytes that has nothing to boot.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_guest(&self, host: &Host, name: &str, uuid: &str) {
        self.start_with(host, name, uuid, "");
    }

    /// As [`Self::start_guest`], one that writes to its memory faster than a megabyte a second, at which it may travel: a
    /// migration of it does not come to an end.
    pub fn start_busy_guest(&self, host: &Host, name: &str, uuid: &str) {
        let floppy = self.rig.path("busy.img");
        let mut image = vec![0; 1_474_560];
        image[..BUSY.len()].copy_from_slice(&BUSY);
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(&floppy, image).expect("the rig's directory takes files");
        let disk = format!(
            "<disk type='file' device='floppy'><driver name='qemu' type='raw'/><source file='{}'/>\
             <target dev='fda' bus='fdc'/><readonly/></disk>",
            floppy.display()
        );
        self.start_with(host, name, uuid, &disk);
        let slow = self.virsh(host, &["migrate-setspeed", name, "1"]);
        assert_eq!(slow.code, Some(0), "{slow:?}");
        // The last word that it fills, once it has begun.
        let peek = ["qemu-monitor-command", name, "--hmp", "xp /1hx 0x9ffffc"];
        wait_for("the guest to be busy", PATIENCE, || {
            let word = self.virsh(host, &peek).stdout;
            let word = word.trim().rsplit(' ').next().unwrap_or_default();
            (word.starts_with("0x") && word != "0x0000").then_some(())
        });
    }

    fn start_with(&self, host: &Host, name: &str, uuid: &str, disk: &str) {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>\
             <memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disk}\
             <serial type='null'/><memballoon model='none'/></devices></domain>"
        );
        let path = self.rig.path(&format!("{name}.xml"));
        fs::write(&path, xml).expect("the rig's directory takes files");
        for args in [
            &["define", &path.display().to_string()][..],
            &["start", name],
        ] {
            let ran = self.virsh(host, args);
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    }

    /// The names of the guests that are active there.
    #[must_use]
    pub fn active(&self, host: &Host) -> Vec<String> {
        let ran = self.virsh(host, &["list", "--name"]);
        ran.stdout.split_whitespace().map(str::to_owned).collect()
    }
}

impl Host {
    /// Where its libvirt is reached, from anywhere on this machine.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket.display())
    }

    /// Ends everything that runs there.
    pub fn lose_power(&mut self) {
        self.process.kill();
    }

    /// Its first process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }
}

fn start(name: &'static str, namespace: &Namespace, rig: &Rig) -> Host {
    let dir = rig.path(name);
    fs::create_dir_all(&dir).expect("the rig's directory takes directories");
    let text = format!(
        "unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
         host_uuid = \"00000000-0000-4000-8000-0000000000{}\"\n\
         log_outputs = \"2:file:{}\"\n",
        dir.display(),
        name.replace('h', "0"),
        Path::new(&dir).join("log").display()
    );
    fs::write(rig.path(&format!("{name}.conf")), text).expect("the rig's directory takes files");
    let mut command = Command::new("unshare");
    command
        .args([
            "-m",
            "-u",
            "-p",
            "--fork",
            "--kill-child=KILL",
            "sh",
            "-c",
            MACHINE,
            "sh",
        ])
        .arg(rig.dir())
        .arg(name)
        .stdin(Stdio::null());
    Host {
        name,
        socket: dir.join("libvirt-sock"),
        process: Process::start(&mut command, Some(namespace), rig.dir()),
    }
}
