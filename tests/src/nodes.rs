//! Cluster nodes without virtual machines: each is a set of namespaces with real Corosync and
//! Pacemaker in it, and three of them form a cluster in seconds.
//!
//! A node has a network, mount, process, IPC and host name namespace of its own. It sees the machine's
//! programs; what it writes to `/etc`, `/usr`, `/var`, `/root`, `/run` and `/dev/shm` stays in its
//! memory and goes with it. Processes of a node die together, as those of a machine that loses power.
//!
//! ```text
//!   rig.cable.host (10.77.0.1)             the "hypervisor host": fence_virtd, or an administrator
//!     └─ bridge br0, 10.78.0.254 ─┬─ n1 10.78.0.1
//!                                 ├─ n2 10.78.0.2      one cable each, which can be unplugged
//!                                 └─ n3 10.78.0.3
//! ```

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    net::Namespace,
    process::{PATIENCE, Process, Ran, run, wait_for},
    rig::Rig,
    skip::Need,
};

/// What [`Nodes`] need from the machine.
pub const NEEDS: [Need; 5] = [
    Need::Root,
    Need::File("/usr/sbin/corosync", "corosync"),
    Need::File("/usr/sbin/pacemakerd", "pacemaker"),
    Need::File("/usr/sbin/crm_mon", "pacemaker-cli-utils"),
    Need::File("/usr/bin/nsenter", "util-linux"),
];

/// The address of the bridge, where nodes reach the host and through it the rig's cable.
pub const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 254);

/// How long a cluster may take to form on a machine that does other things as well.
pub const FORMING: Duration = Duration::from_secs(120);

/// The first process of a node: lays private directories over the machine's, says so by a file in the
/// node's directory, and then only reaps what others leave.
const FIRST_PROCESS: &str = r#"set -e
mount --make-rprivate /
hostname "$2"
mount -t tmpfs -o mode=755 tmpfs /mnt
for dir in /etc /usr /var /root; do
    mkdir -p "/mnt$dir/upper" "/mnt$dir/work"
    mount -t overlay -o "lowerdir=$dir,upperdir=/mnt$dir/upper,workdir=/mnt$dir/work" overlay "$dir"
done
for dir in /run /dev/shm /var/log /var/lib/corosync /var/lib/pacemaker /etc/corosync /etc/pacemaker; do
    mkdir -p "$dir"
    mount -t tmpfs -o mode=755 tmpfs "$dir"
done
chmod 1777 /dev/shm
mkdir -p /run/lock /run/resource-agents /run/root /run/sshd /var/log/corosync /var/log/pacemaker
for dir in cib pengine cores blackbox; do mkdir -p "/var/lib/pacemaker/$dir"; done
chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker
chmod -R 750 /var/lib/pacemaker
chmod 770 /var/log/pacemaker
cp "$1/hosts" /etc/hosts
printf '%s\n' "$2" >/etc/hostname
: >"$1/ready"
while :; do sleep 3600 & wait $!; done
"#;

/// Puts files in place; five arguments each.
const INSTALL: &str = r#"while [ $# -gt 0 ]; do
    install -D -m "$2" -o "$3" -g "$4" "$1" "$5" || exit 1
    shift 5
done"#;

/// Starts the cluster as the units of the packages do, in their order.
const START_CLUSTER: &str = r#"corosync -f >/var/log/corosync.out 2>&1 &
until corosync-quorumtool -s >/dev/null 2>&1 || [ $? -eq 2 ]; do
    kill -0 $! || exit 1
    sleep 0.05
done
pacemakerd >/var/log/pacemakerd.out 2>&1 &"#;

/// What [`Nodes::serve_ssh`] needs besides.
pub const SSH: [Need; 2] = [
    Need::File("/usr/sbin/sshd", "openssh-server"),
    Need::File("/usr/bin/ssh", "openssh-client"),
];

/// A server for root with one key, which knows nothing of the machine's own. Root's home is an empty
/// one: the machine's is shared by all nodes as the lower layer of an overlay and used by the host
/// itself, and a lock that a login shell's start-up files take there on the host is seen by nodes for
/// as long as the kernel remembers it, long after it was removed.
const SSHD_CONFIG: &str = "HostKey DIR/host_key\nAuthorizedKeysFile DIR/client_key.pub\n\
    PidFile none\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\n\
    StrictModes no\nPrintMotd no\nLogLevel ERROR\nSetEnv HOME=/run/root\n";

/// The server wants a directory in `/run` that need not be there, and its users their home.
const HOST_SSHD: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && \
    mkdir /run/sshd /run/root && exec \"$@\"";

/// A client that knows the servers' key and offers only its own.
const SSH_CONFIG: &str = "Host *\n IdentityFile DIR/client_key\n IdentitiesOnly yes\n \
    UserKnownHostsFile DIR/known_hosts\n GlobalKnownHostsFile /dev/null\n \
    StrictHostKeyChecking yes\n";

/// A file for a node.
#[derive(Debug, Clone)]
pub struct File {
    /// Where it belongs.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner and its group, by name.
    pub owner: (&'static str, &'static str),
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file of root's.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode,
            owner: ("root", "root"),
            bytes: bytes.into(),
        }
    }

    /// A file of Pacemaker's.
    #[must_use]
    pub fn pacemakers(path: impl Into<PathBuf>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            owner: ("hacluster", "haclient"),
            ..Self::new(path, mode, bytes)
        }
    }
}

/// One node.
#[derive(Debug)]
struct Node {
    name: String,
    network: Namespace,
    dir: PathBuf,
    /// None once it was killed.
    process: Option<Process>,
}

/// Nodes on one bridge. Dropping them ends everything that runs in them.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    /// The host: its namespace, `rig.cable.host`, has the bridge.
    pub rig: Rig,
}

impl Nodes {
    /// Starts nodes of these names, with nothing running in them.
    ///
    /// # Panics
    /// When the machine does not do what that takes, or with more than 200 names.
    #[must_use]
    pub fn up(names: &[&str]) -> Self {
        assert!(names.len() <= 200, "the bridge's network has 253 addresses");
        let rig = Rig::new();
        rig.cable.host.ip(&format!(
            "link add br0 type bridge forward_delay 0 mcast_snooping 0\n\
             link set br0 up\naddr add {BRIDGE}/24 dev br0\n"
        ));
        let hosts: String = (0..names.len())
            .map(|index| format!("{} {}\n", address(index), names[index]))
            .collect();
        let mut nodes = Self {
            nodes: Vec::new(),
            rig,
        };
        for (index, name) in names.iter().enumerate() {
            let node = nodes.launch(index, name, &hosts);
            nodes.nodes.push(node);
        }
        for node in &mut nodes.nodes {
            node.wait_until_ready();
        }
        nodes
    }

    fn launch(&self, index: usize, name: &str, hosts: &str) -> Node {
        let network = Namespace::create("node");
        self.rig.cable.host.ip(&format!(
            "link add p{index} type veth peer name eth0 netns {}\nlink set p{index} master br0 up\n",
            network.name()
        ));
        network.ip(&format!(
            "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n\
             route add default via {BRIDGE}\n",
            address(index)
        ));
        let dir = self.rig.path(&format!("node-{index}"));
        fs::create_dir(&dir).expect("the rig's directory takes directories");
        let local = format!("127.0.0.1 localhost\n{hosts}");
        fs::write(dir.join("hosts"), local).expect("the node's directory takes files");
        let mut node = Node {
            name: name.to_owned(),
            network,
            dir,
            process: None,
        };
        node.power_on();
        node
    }

    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    /// The address of `node` on the bridge.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn address(&self, node: &str) -> Ipv4Addr {
        address(self.index(node))
    }

    fn index(&self, node: &str) -> usize {
        let found = self.nodes.iter().position(|known| known.name == node);
        found.unwrap_or_else(|| panic!("there is no node {node}"))
    }

    fn node(&self, node: &str) -> &Node {
        &self.nodes[self.index(node)]
    }

    /// Puts `files` in place on `node`, directories included.
    ///
    /// # Panics
    /// When that fails.
    pub fn put(&self, node: &str, files: &[File]) {
        let dir = &self.node(node).dir;
        let mut argv: Vec<String> = ["sh", "-c", INSTALL, "sh"].map(str::to_owned).into();
        for (number, file) in files.iter().enumerate() {
            let staged = dir.join(format!("file-{number}"));
            fs::write(&staged, &file.bytes).expect("the node's directory takes files");
            let (user, group) = file.owner;
            argv.push(staged.display().to_string());
            argv.push(format!("{:o}", file.mode));
            argv.extend([user.to_owned(), group.to_owned()]);
            argv.push(file.path.display().to_string());
        }
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let ran = self.exec(node, &argv);
        assert_eq!(ran.code, Some(0), "files for {node}: {ran:?}");
    }

    /// A command that runs `argv` in `node`. In a node that was killed it fails.
    #[must_use]
    pub fn command(&self, node: &str, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.node(node).pid().unwrap_or_else(|| "0".to_owned());
        command
            .args(["-t", &pid, "-m", "-n", "-i", "-u", "-p", "--wd=/", "--"])
            .args(argv)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs `argv` in `node` to its end, at most as long as anything may take.
    #[must_use]
    pub fn exec(&self, node: &str, argv: &[&str]) -> Ran {
        self.exec_within(node, argv, None, PATIENCE)
    }

    /// Runs `argv` in `node` with `input`, at most for `limit`.
    #[must_use]
    pub fn exec_within(
        &self,
        node: &str,
        argv: &[&str],
        input: Option<&str>,
        limit: Duration,
    ) -> Ran {
        let mut command = self.command(node, argv);
        run(&mut command, None, self.rig.dir(), input, limit)
    }

    /// Starts `argv` in `node` and does not wait, for a daemon say. It ends with the node at the
    /// latest; when the [`Process`] is dropped only if it does not leave its process group.
    #[must_use]
    pub fn spawn(&self, node: &str, argv: &[&str]) -> Process {
        Process::start_group(&mut self.command(node, argv), None, self.rig.dir())
    }

    /// Starts Corosync and Pacemaker in `node` with the files that it has.
    ///
    /// # Panics
    /// When Corosync does not come up.
    pub fn start_cluster(&self, node: &str) {
        let ran = self.exec(node, &["sh", "-c", START_CLUSTER]);
        assert_eq!(ran.code, Some(0), "{node}: {ran:?}\n{}", self.logs(node));
    }

    /// Starts the cluster on all nodes and waits until all are online in it.
    ///
    /// # Panics
    /// When that takes longer than [`FORMING`].
    pub fn form(&self) {
        thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| self.start_cluster(&node.name));
            }
        });
        self.wait_until_online(&self.names());
    }

    /// Waits until every one of `nodes` sees all of them online.
    ///
    /// # Panics
    /// When that takes longer than [`FORMING`].
    pub fn wait_until_online(&self, nodes: &[&str]) {
        for node in nodes {
            wait_for(&format!("{node} to see all nodes online"), FORMING, || {
                let xml = self.exec(node, &["crm_mon", "--output-as=xml"]).stdout;
                let online = |other: &&str| {
                    xml.lines().any(|line| {
                        line.contains(&format!("<node name=\"{other}\""))
                            && line.contains("online=\"true\"")
                            && line.contains("pending=\"false\"")
                    })
                };
                (xml.contains("with_quorum=\"true\"") && nodes.iter().all(online)).then_some(())
            });
        }
    }

    /// Starts an ssh server in every node, and one on the host, and returns the configuration of a
    /// client that may log in to them as root. The servers end with the [`Process`]es.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn serve_ssh(&self) -> (PathBuf, Vec<Process>) {
        let dir = self.rig.path("ssh");
        fs::create_dir(&dir).expect("the rig's directory takes directories");
        for key in ["host_key", "client_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]);
            let made = run(keygen.arg(dir.join(key)), None, &dir, None, PATIENCE);
            assert_eq!(made.code, Some(0), "{made:?}");
        }
        let public = fs::read_to_string(dir.join("host_key.pub")).expect("it was made");
        let write = |name: &str, text: String| {
            let text = text.replace("DIR", &dir.display().to_string());
            fs::write(dir.join(name), text).expect("the directory takes files");
            dir.join(name)
        };
        write("known_hosts", format!("* {public}"));
        let server = write("sshd_config", SSHD_CONFIG.to_owned())
            .display()
            .to_string();
        let argv = ["/usr/sbin/sshd", "-D", "-e", "-f", &server];
        let mut servers: Vec<Process> = self
            .names()
            .iter()
            .map(|node| self.spawn(node, &argv))
            .collect();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", HOST_SSHD, "sh"]).args(argv);
        command.stdin(Stdio::null());
        servers.push(Process::start_group(
            &mut command,
            Some(&self.rig.cable.host),
            &dir,
        ));
        for server in &servers {
            wait_for("sshd to listen", PATIENCE, || {
                let listens = |line: &String| line.contains(":0016 ") && line.contains(" 0A ");
                server.sockets("tcp").iter().any(listens).then_some(())
            });
        }
        (write("ssh_config", SSH_CONFIG.to_owned()), servers)
    }

    /// Ends everything in `node` at once, as a loss of power does.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn kill(&mut self, node: &str) {
        let index = self.index(node);
        // Dropping the process kills it.
        self.nodes[index].process = None;
    }

    /// Starts a killed `node` again: a machine fresh from installation, without its files.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn revive(&mut self, node: &str) {
        let index = self.index(node);
        self.nodes[index].power_on();
        self.nodes[index].wait_until_ready();
    }

    /// Pulls the cable of `node`.
    pub fn unplug(&self, node: &str) {
        let index = self.index(node);
        self.rig
            .cable
            .host
            .ip(&format!("link set p{index} nomaster down\n"));
    }

    /// Plugs the cable of `node` in again.
    pub fn plug(&self, node: &str) {
        let index = self.index(node);
        self.rig
            .cable
            .host
            .ip(&format!("link set p{index} master br0 up\n"));
    }

    /// The ends of the logs of `node`, for a failure's message.
    #[must_use]
    pub fn logs(&self, node: &str) -> String {
        const TAIL: &str = "tail -n 25 /var/log/corosync.out /var/log/corosync/corosync.log \
            /var/log/pacemakerd.out /var/log/pacemaker/pacemaker.log 2>/dev/null";
        let ran = self.exec(node, &["sh", "-c", TAIL]);
        format!("--- {node} ---\n{}", ran.printed())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if thread::panicking() {
            for node in self.names() {
                eprintln!("{}", self.logs(node));
            }
        }
    }
}

impl Node {
    fn power_on(&mut self) {
        // A first start has nothing to remove.
        let _ = fs::remove_file(self.dir.join("ready"));
        let mut command = Command::new("unshare");
        command
            .args(["-m", "-p", "-i", "-u", "--fork", "--kill-child=KILL"])
            .args(["--mount-proc", "sh", "-c", FIRST_PROCESS, "sh"])
            .arg(&self.dir)
            .arg(&self.name)
            .current_dir("/")
            .stdin(Stdio::null());
        self.process = Some(Process::start(&mut command, Some(&self.network), &self.dir));
    }

    fn wait_until_ready(&mut self) {
        let ready = self.dir.join("ready");
        let process = self.process.as_mut().expect("it was switched on");
        wait_for("a node to come up", PATIENCE, || {
            assert!(
                process.is_running(),
                "the node ended\n{}",
                process.printed()
            );
            ready.exists().then_some(())
        });
    }

    /// Its first process, the only child of `unshare`.
    fn pid(&self) -> Option<String> {
        let id = self.process.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }
}

fn address(index: usize) -> Ipv4Addr {
    let last = u8::try_from(index + 1).expect("there are at most 200 nodes");
    Ipv4Addr::new(10, 78, 0, last)
}

/// The files of a cluster of `names` for tests that are not about definitions: the same on all nodes.
/// `configuration` is the content of the CIB's `configuration` element.
///
/// # Panics
/// With more than 200 names.
#[must_use]
pub fn plain_cluster(names: &[&str], configuration: &str) -> Vec<File> {
    let mut conf = String::from(
        "totem {\n version: 2\n cluster_name: web\n transport: knet\n token: 1500\n \
         crypto_cipher: aes256\n crypto_hash: sha256\n}\nquorum {\n \
         provider: corosync_votequorum\n}\nlogging {\n to_syslog: no\n to_logfile: yes\n \
         logfile: /var/log/corosync/corosync.log\n timestamp: hires\n}\nnodelist {\n",
    );
    for (index, name) in names.iter().enumerate() {
        conf.push_str(&format!(
            " node {{\n  ring0_addr: {}\n  name: {name}\n  nodeid: {}\n }}\n",
            address(index),
            index + 1
        ));
    }
    conf.push_str("}\n");
    let cib = format!(
        "<cib crm_feature_set=\"3.16.1\" validate-with=\"pacemaker-3.9\" epoch=\"1\" \
         num_updates=\"0\" admin_epoch=\"1\"><configuration>{configuration}</configuration>\
         <status/></cib>"
    );
    vec![
        File::new("/etc/corosync/corosync.conf", 0o644, conf),
        File::new("/etc/corosync/authkey", 0o400, [b'k'; 256]),
        File::pacemakers("/var/lib/pacemaker/cib/cib.xml", 0o600, cib),
    ]
}
