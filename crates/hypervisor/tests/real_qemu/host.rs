//! A libvirtd of our own: private mount, network and process namespaces, its first process a shell that
//! takes orders on its standard input. When this process ends, however it does, that input ends, the
//! shell ends, and the kernel ends everything in its process namespace.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hypervisor::GuestRef;

/// The first process. Orders are one line each; every answer ends with a line `done STATUS`.
const SHELL: &str = r#"
mount --make-rprivate / || exit 1
ip link set lo up
hostname picket-test
for d in lib log; do mkdir -p /var/$d/libvirt; mount -t tmpfs t /var/$d/libvirt; done
mkdir -p /etc/libvirt; mount -t tmpfs t /etc/libvirt
mkdir -p /run/libvirt /var/cache/libvirt
mount --bind "$DIR/run" /run/libvirt
mount --bind "$DIR/cache" /var/cache/libvirt
cat > /etc/libvirt/qemu.conf <<Q
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
Q
cat > /etc/libvirt/libvirtd.conf <<Q
unix_sock_group = "root"
auth_unix_rw = "none"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
log_outputs = "3:file:$DIR/libvirtd.log"
Q
start() {
    libvirtd --pid-file "$DIR/libvirtd.pid" >> "$DIR/libvirtd.out" 2>&1 &
    P=$!
    for i in $(seq 600); do
        virsh -c qemu:///system version > /dev/null 2>&1 && return 0
        kill -0 $P || return 1
        sleep 0.1
    done
    return 1
}
qemu() { cat "/run/libvirt/qemu/$1.pid"; }
start; echo "done $?"
while read -r order rest; do
    case $order in
        start) start ;;
        stop) kill -STOP $P ;;
        cont) kill -CONT $P ;;
        kill) kill -KILL $P; wait $P 2>/dev/null; true ;;
        stopqemu) kill -STOP "$(qemu $rest)" ;;
        runs) grep -alF "guest=$rest," /proc/[0-9]*/cmdline ;;
        virsh) virsh -c qemu:///system $rest ;;
    esac 2>&1 < /dev/null
    echo "done $?"
done
"#;

/// A running libvirtd with everything it started.
pub(crate) struct Host {
    uri: String,
    directory: PathBuf,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    child: Child,
}

/// The one host of this test run, for one test at a time: some stop the daemon.
pub(crate) struct Guard(Mutex<MutexGuard<'static, Option<Host>>>, String);

impl Host {
    /// The host, or nothing, said aloud, where there can be none.
    pub(crate) fn get() -> Option<Guard> {
        static HOST: OnceLock<Mutex<Option<Host>>> = OnceLock::new();
        if let Some(reason) = obstacle() {
            eprintln!("SKIPPED: {reason}");
            return None;
        }
        let host = HOST.get_or_init(|| Mutex::new(Some(Self::start_up())));
        let guard = host.lock().unwrap_or_else(PoisonError::into_inner);
        let uri = guard.as_ref().map(|host| host.uri.clone())?;
        Some(Guard(Mutex::new(guard), uri))
    }

    fn start_up() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real_qemu");
        let _ = fs::remove_dir_all(directory.join("run"));
        for below in ["run", "cache"] {
            fs::create_dir_all(directory.join(below)).unwrap();
        }
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["bash", "-c", SHELL])
            .env("DIR", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let socket = directory.join("run/libvirt-sock");
        let mut host = Self {
            uri: format!("qemu+unix:///system?socket={}", socket.display()),
            directory,
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        let (status, text) = host.answer();
        assert_eq!(status, 0, "libvirtd does not start: {text}");
        host
    }

    fn order(&mut self, order: &str) -> (i32, String) {
        writeln!(self.orders, "{order}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> (i32, String) {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the host's shell has ended: {text}");
            match line.trim_end().strip_prefix("done ") {
                Some(status) => return (status.parse().unwrap(), text),
                None => text.push_str(&line),
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guard {
    pub(crate) fn uri(&self) -> &str {
        &self.1
    }

    fn order(&self, order: &str) -> (i32, String) {
        let mut host = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        host.as_mut().unwrap().order(order)
    }

    fn must(&self, order: &str) -> String {
        let (status, text) = self.order(order);
        assert_eq!(status, 0, "{order}: {text}");
        text
    }

    /// Defines and starts a guest.
    pub(crate) fn start(&self, name: &str) -> GuestRef {
        let file = self.definition(name);
        let _ = self.order(&format!("virsh destroy {name}"));
        let _ = self.order(&format!("virsh undefine --managed-save {name}"));
        self.must(&format!("virsh define {}", file.display()));
        self.must(&format!("virsh start {name}"));
        GuestRef::Name(name.to_owned())
    }

    /// Creates a guest that has no definition.
    pub(crate) fn start_transient(&self, name: &str) -> GuestRef {
        let file = self.definition(name);
        let _ = self.order(&format!("virsh destroy {name}"));
        self.must(&format!("virsh create {}", file.display()));
        GuestRef::Name(name.to_owned())
    }

    fn definition(&self, name: &str) -> PathBuf {
        let host = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = host.as_ref().unwrap().directory.join(format!("{name}.xml"));
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='q35'>hvm</type></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
             <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
        );
        fs::write(&file, xml).unwrap();
        file
    }

    pub(crate) fn virsh(&self, arguments: &[&str]) -> String {
        self.must(&format!("virsh {}", arguments.join(" ")))
    }

    /// Stops the guest's QEMU: it then handles no signal but SIGKILL.
    pub(crate) fn stop_qemu(&self, name: &str) {
        self.must(&format!("stopqemu {name}"));
    }

    /// Whether a process of the guest exists, dead ones that nobody has collected apart.
    pub(crate) fn qemu_runs(&self, name: &str) -> bool {
        self.order(&format!("runs {name}")).0 == 0
    }

    pub(crate) fn stop_libvirtd(&self) {
        self.must("stop");
    }

    pub(crate) fn continue_libvirtd(&self) {
        self.must("cont");
    }

    pub(crate) fn kill_libvirtd(&self) {
        self.must("kill");
    }

    pub(crate) fn start_libvirtd(&self) {
        self.must("start");
    }
}

/// Why there can be no host here.
fn obstacle() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        return Some("real_qemu needs root, for namespaces of its own".to_owned());
    }
    let programs = [
        "unshare",
        "bash",
        "ip",
        "virsh",
        "libvirtd",
        "qemu-system-x86_64",
    ];
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let missing = programs.into_iter().find(|program| {
        let places = std::env::split_paths(&paths).chain(["/usr/sbin".into()]);
        !places
            .into_iter()
            .any(|place: PathBuf| place.join(program).exists())
    });
    missing.map(|program| {
        format!(
            "real_qemu needs `{program}`: install libvirt-daemon-system libvirt-clients \
             qemu-system-x86 iproute2 util-linux"
        )
    })
}
