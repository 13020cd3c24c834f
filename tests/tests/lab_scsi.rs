//! Fencing at the storage, for real: two guests reach one disk over two paths, and nothing but their registrations
//! decides who may write to it.
//!
//! A node that is fenced goes on running. Each kind of write that it then sends must be refused and leave the disk as
//! it is; it must not be able to fence the other back; and once it has been restarted it must be let in again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use picket_tests::{
    skip::{Need, skipped},
    subject::ours,
};
use serde_json::Value;

/// Until the cluster is whole again after a node was fenced and restarted: four times what an idle machine of two cores
/// takes.
const WHOLE: Duration = Duration::from_secs(400);
/// The node that is fenced: services start on the other.
const FENCED: &str = "n2";
const SURVIVOR: &str = "n1";
/// sg3_utils' exit status for RESERVATION CONFLICT.
const CONFLICT: i32 = 24;
/// The same for ILLEGAL REQUEST, invalid command operation code.
const INVALID_OPCODE: i32 = 9;
const PATTERN: &[u8; 16] = b"canary in a mine";
const CANARY_BLOCKS: u64 = 256;

const NEEDS: [Need; 6] = [
    Need::Root,
    Need::File("/usr/bin/mmdebstrap", "mmdebstrap"),
    Need::File("/usr/bin/mksquashfs", "squashfs-tools"),
    Need::File("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    Need::File("/usr/sbin/libvirtd", "libvirt-daemon"),
    Need::File("/usr/bin/ssh", "openssh-client"),
];

/// Who serves the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    PicketTarget,
    /// The Linux kernel's target, in a guest of its own.
    Lio,
}

/// A lab that is up. It goes with this.
struct Lab {
    name: &'static str,
    definition: PathBuf,
    server: Server,
    _directory: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = picket(&["lab", "down", "--name", self.name]).output();
    }
}

fn picket(args: &[&str]) -> Command {
    let mut picket = Command::new(ours("picket"));
    picket.args(args);
    picket
}

/// A disk that nobody uses, to be probed: the next unit of the example's target.
const SCRATCH: &str = "\n[[storage]]\nname = \"scratch\"\nkind = \"iscsi\"\nserver = \"picket-target\"\n\
                       target = \"iqn.2026-11.org.example:shared\"\n\
                       portals = [\"10.9.0.41:3260\", \"10.9.0.42:3260\"]\nlun = 1\n";

/// The example, served by `server`, and the scratch disk.
fn definition(server: Server) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kvm-scsi.toml");
    let text = fs::read_to_string(path).expect("the example") + SCRATCH;
    match server {
        Server::PicketTarget => text,
        // LIO calls a disk after its own company number and the serial number that the lab gives it.
        Server::Lio => {
            let text = text.replace("\"picket-target\"", "\"lio\"");
            let start = text.find("/dev/mapper/").expect("a device");
            let end = start + text[start..].find('"').expect("an end");
            let name = "/dev/mapper/360014050123456789abcdef012345678";
            format!("{}{name}{}", &text[..start], &text[end..])
        }
    }
}

impl Lab {
    fn up(name: &'static str, server: Server) -> Self {
        let _ = picket(&["lab", "down", "--name", name]).output();
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("scsi.toml");
        fs::write(&file, definition(server)).expect("a file");
        let this = Self {
            name,
            definition: file,
            server,
            _directory: directory,
        };
        let up = this.picket_up();
        assert!(up.status.success(), "{up:?}");
        this
    }

    fn picket_up(&self) -> Output {
        let file = self.definition.to_str().expect("a plain path");
        picket(&["lab", "up", "--name", self.name, file])
            .output()
            .expect("picket starts")
    }

    /// Until both nodes are online and every resource is started.
    fn wait_whole(&self) {
        let deadline = Instant::now() + WHOLE;
        loop {
            let whole = self.picket_up();
            if whole.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "{whole:?}");
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Runs a script in a node.
    fn sh(&self, node: &str, script: &str) -> Output {
        picket(&[
            "lab", "exec", "--name", self.name, node, "--", "bash", "-c", script,
        ])
        .output()
        .expect("picket starts")
    }

    /// Runs a script in a node, and insists on success.
    fn said(&self, node: &str, script: &str) -> String {
        let output = self.sh(node, script);
        assert!(output.status.success(), "{node}: {script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a script in a node succeeds; a node that does not answer yet has not.
    fn wait_for(&self, node: &str, script: &str) {
        let deadline = Instant::now() + WHOLE;
        loop {
            let output = self.sh(node, script);
            if output.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "{node}: {script}: {output:?}");
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// The device over all paths, as the definition has it.
    fn device(&self) -> String {
        let text = definition(self.server);
        let start = text.find("/dev/mapper/").expect("a device");
        text[start..].chars().take_while(|c| *c != '"').collect()
    }

    /// The devices of the single paths in a node.
    fn paths(&self, node: &str) -> Vec<String> {
        let script = format!(
            "ls /sys/block/$(basename $(readlink -f {}))/slaves",
            self.device()
        );
        let names = self.said(node, &script);
        let mut paths: Vec<_> = names.lines().map(|name| format!("/dev/{name}")).collect();
        paths.sort();
        assert_eq!(paths.len(), 2, "{names}");
        paths
    }

    /// The keys that are registered, one for each path, sorted.
    fn keys(&self) -> Vec<String> {
        let path = &self.paths(SURVIVOR)[0];
        let said = self.said(SURVIVOR, &format!("sg_persist -n -i -k {path}"));
        let mut keys: Vec<String> = said
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("0x"))
            .map(ToOwned::to_owned)
            .collect();
        keys.sort();
        keys
    }

    /// A node is online before it has been let in: the packaged agent takes its time.
    fn wait_let_in(&self) {
        let deadline = Instant::now() + WHOLE;
        while self.keys().len() < 4 {
            assert!(Instant::now() < deadline, "{:?}", self.keys());
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Both nodes are registered over both paths, under a reservation for those who are registered.
    fn assert_both_registered(&self) -> (String, String) {
        let keys = self.keys();
        assert_eq!(
            keys.len(),
            4,
            "a registration for each path of each node: {keys:?}"
        );
        let (one, other) = (keys[0].clone(), keys[3].clone());
        assert_eq!(keys, [&one, &one, &other, &other].map(Clone::clone));
        assert_ne!(one, other);
        let path = &self.paths(SURVIVOR)[0];
        let held = self.said(SURVIVOR, &format!("sg_persist -n -i -r {path}"));
        assert!(held.contains("Write Exclusive, registrants only"), "{held}");
        let own = self.said(FENCED, "cat /run/cluster.key");
        let own = format!("0x{own}");
        if own == one { (other, own) } else { (one, own) }
    }

    /// What the disk's backing file holds at the canary; LIO's disk is a file too.
    fn on_the_medium(&self, at: u64) -> Vec<u8> {
        let name = match self.server {
            Server::PicketTarget => "picket-target.disk.disk",
            Server::Lio => "lab-storage.disk.disk",
        };
        let file =
            fs::File::open(format!("/run/picket/lab/{}/{name}", self.name)).expect("the disk");
        let mut bytes = vec![0; usize::try_from(CANARY_BLOCKS * 512).expect("small")];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at * 512).expect("the canary");
        bytes
    }

    /// Writes the canary into the file system, and returns where it lies on the disk, in blocks of 512 bytes.
    fn plant_canary(&self) -> u64 {
        let pattern = String::from_utf8_lossy(PATTERN);
        let script = format!(
            "set -e; f=/srv/ledger/canary; yes '{pattern}' | tr -d '\\n' | head -c {} >$f; sync; \
             filefrag -b512 -v $f | awk '$1 == \"0:\" {{ sub(/\\.\\./, \"\", $4); print $4; print $6 }}'",
            CANARY_BLOCKS * 512
        );
        let said = self.said(SURVIVOR, &script);
        let at = said
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let at: u64 = at.unwrap_or_else(|| panic!("no extent in {said:?}"));
        let medium = self.on_the_medium(at);
        assert!(
            medium.chunks(16).all(|chunk| chunk == PATTERN),
            "{:?}",
            &medium[..64]
        );
        at
    }

    /// Every kind of write at the canary, over every path: refused, and nothing has reached the disk.
    fn assert_cut_off(&self, at: u64) {
        let (paths, whole) = (self.paths(FENCED), self.device());
        let before = self.on_the_medium(at);
        self.said(FENCED, "head -c 65536 /dev/urandom >/run/junk");
        let dd = |device: &str, more: &str| {
            let script = format!(
                "dd if=/run/junk of={device} bs=4096 count=4 seek={} conv=notrunc {more} 2>&1",
                at / 8
            );
            let output = self.sh(FENCED, &script);
            assert!(!output.status.success(), "{script}: {output:?}");
        };
        dd(&whole, "oflag=direct");
        dd(&whole, "conv=notrunc,fsync");
        for path in &paths {
            dd(path, "oflag=direct");
            // WRITE (6), (10), (16), WRITE AND VERIFY (10), (16), WRITE SAME (10), (16), with UNMAP, UNMAP,
            // COMPARE AND WRITE, MODE SELECT, START STOP UNIT.
            let block = format!("{at:08x}");
            let bytes: Vec<&str> = (0..4).map(|n| &block[n * 2..n * 2 + 2]).collect();
            let long = bytes.join(" ");
            let raw = |cdb: String| format!("sg_raw -s 512 -i /run/junk {path} {cdb}");
            let scripts = [
                raw(format!(
                    "0a {:02x} {} {} 01 00",
                    at >> 16 & 0x1f,
                    bytes[2],
                    bytes[3]
                )),
                raw(format!("2a 00 {long} 00 00 01 00")),
                raw(format!("8a 00 00 00 00 00 {long} 00 00 00 01 00 00")),
                raw(format!("2e 00 {long} 00 00 01 00")),
                raw(format!("8e 00 00 00 00 00 {long} 00 00 00 01 00 00")),
                format!("sg_write_same --10 --lba={at} --num=8 --in=/run/junk {path}"),
                format!("sg_write_same --16 --lba={at} --num=8 --in=/run/junk {path}"),
                format!("sg_write_same --16 --unmap --lba={at} --num=8 {path}"),
                format!("sg_unmap --force --lba={at} --num=8 {path}"),
                format!(
                    "{{ yes '{}' | tr -d '\\n' | head -c 512; head -c 512 /run/junk; }} >/run/caw; \
                     sg_compare_and_write --lba={at} --num=1 --in=/run/caw {path}",
                    String::from_utf8_lossy(PATTERN)
                ),
            ];
            for script in &scripts {
                // Without a unit attention in the way: it would be reported in the command's place.
                let output = self.sh(FENCED, &format!("sg_turs {path} >/dev/null 2>&1; {script}"));
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
                    .to_lowercase();
                let refused = output.status.code() == Some(CONFLICT)
                    || said.contains("reservation conflict")
                    // The lab's LIO does not deallocate: it refuses that to everybody.
                    || (self.server == Server::Lio
                        && script.contains("unmap")
                        && output.status.code() == Some(INVALID_OPCODE));
                assert!(refused, "{script}: {:?}: {said}", output.status.code());
            }
        }
        assert_eq!(
            self.on_the_medium(at),
            before,
            "the fenced node has written"
        );
        self.said(
            SURVIVOR,
            &format!(
                "echo 3 >/proc/sys/vm/drop_caches; yes '{}' | tr -d '\\n' | head -c {} | cmp - /srv/ledger/canary",
                String::from_utf8_lossy(PATTERN),
                CANARY_BLOCKS * 512
            ),
        );
    }

    /// The fenced node tries to fence the other, by our agent, by the packaged one and by hand.
    fn assert_cannot_fence_back(&self, survivors: &str, own: &str) {
        let before = self.keys();
        assert_eq!(before, [survivors, survivors]);
        let device = self.device();
        for agent in ["/usr/lib/picket/picket-agents fence_scsi", PACKAGED] {
            let output = self.sh(
                FENCED,
                &format!("{MOUNT_PACKAGED}{agent} -o off -n {SURVIVOR} -d {device}"),
            );
            assert!(!output.status.success(), "{agent}: {output:?}");
            assert_eq!(self.keys(), before, "{agent}: {output:?}");
        }
        let path = &self.paths(FENCED)[0];
        for action in [
            "--preempt",
            "--preempt-abort",
            "--clear",
            "--release",
            "--reserve",
        ] {
            let output = self.sh(
                FENCED,
                &format!("sg_persist -n -o {action} -K {own} -S {survivors} -T 5 {path}"),
            );
            assert_eq!(output.status.code(), Some(CONFLICT), "{action}: {output:?}");
        }
        assert_eq!(self.keys(), before);
    }

    /// A node is fenced by Pacemaker, kept off the disk, restarted and let in again.
    fn fence_and_return(&self) {
        let (survivors, own) = self.assert_both_registered();
        let at = self.plant_canary();
        let boot = self.said(FENCED, "cat /proc/sys/kernel/random/boot_id");
        self.said(
            SURVIVOR,
            &format!("stonith_admin --fence {FENCED} --timeout 90"),
        );
        assert_eq!(self.keys(), [&survivors, &survivors].map(Clone::clone));
        let still = self.said(FENCED, "cat /proc/sys/kernel/random/boot_id");
        assert_eq!(still, boot, "it is cut off and goes on running");
        self.assert_cut_off(at);
        self.assert_cannot_fence_back(&survivors, &own);
        // Restarted without a word to anything: as by a watchdog.
        let _ = self.sh(FENCED, "echo b >/proc/sysrq-trigger");
        self.wait_for(
            FENCED,
            &format!("[ \"$(cat /proc/sys/kernel/random/boot_id)\" != {boot} ]"),
        );
        self.wait_whole();
        self.wait_let_in();
        self.assert_both_registered();
        // It may write again: what is there already.
        for path in self.paths(FENCED) {
            self.said(
                FENCED,
                &format!(
                    "dd if={path} of=/run/same bs=4096 count=4 skip={0} iflag=direct && \
                     dd if=/run/same of={path} bs=4096 count=4 seek={0} oflag=direct conv=notrunc",
                    at / 8
                ),
            );
        }
    }

    /// A path that is lost and found again has a name of its own, and so no registration, until the node is let in
    /// through it.
    fn a_new_session_is_registered_anew(&self) {
        let (_, own) = self.assert_both_registered();
        let device = self.device();
        let login = format!(
            "set -e; p=$(iscsiadm -m session | awk '{{ print $3 }}' | cut -d, -f1 | sort | tail -n 1); \
             iscsiadm -m node -p $p --logout; iscsiadm -m node -p $p --login; udevadm settle; \
             for n in $(seq 60); do [ $(ls /sys/block/$(basename $(readlink -f {device}))/slaves | wc -l) = 2 ] && exit; \
             sleep 1; done; exit 1"
        );
        self.said(FENCED, &login);
        let write = |path: &String| {
            let read = format!("dd if={path} of=/run/same bs=4096 count=1 iflag=direct");
            let write =
                format!("dd if=/run/same of={path} bs=4096 count=1 oflag=direct conv=notrunc");
            self.sh(FENCED, &format!("{read} && {write}"))
                .status
                .success()
        };
        let open = |paths: &[String]| paths.iter().filter(|path| write(path)).count();
        let paths = self.paths(FENCED);
        // LIO looks at the initiator's name only; the registration is missed where it is taken away.
        let open_before = if self.server == Server::Lio { 2 } else { 1 };
        assert_eq!(
            open(&paths),
            open_before,
            "one path has no registration yet"
        );
        self.said(FENCED, &format!("fence_scsi -o on -n {FENCED} -d {device}"));
        assert_eq!(open(&paths), 2);
        // The registration of the session that is no more may be left: it is of no use to anybody.
        let count = |keys: Vec<String>| keys.iter().filter(|key| **key == own).count();
        let once = count(self.keys());
        assert!((2..=3).contains(&once), "{once}");
        self.said(FENCED, &format!("fence_scsi -o on -n {FENCED} -d {device}"));
        assert_eq!(count(self.keys()), once, "twice is as once");
    }

    /// The probe says of the server what this test has just seen.
    fn probe(&self) {
        let device = "iscsi://10.9.0.41:3260/iqn.2026-11.org.example:shared/1";
        let output = Command::new("ip")
            .args(["netns", "exec", self.name])
            .arg(ours("picket"))
            .args(["storage", "probe", "--destructive-ok", "--json", device])
            .output()
            .expect("ip starts");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(report["report"]["verdict"], "safe", "{report}");
        assert_eq!(output.status.code(), Some(0), "{report}");
    }

    /// Data goes to the disk and comes back, over both paths.
    fn fio(&self) {
        let said = self.said(
            SURVIVOR,
            "fio --name=v --filename=/srv/ledger/fio --size=24M --rw=randwrite --bs=4k-64k --direct=1 --ioengine=libaio \
             --iodepth=16 --verify=crc32c --verify_fatal=1 --do_verify=1 --output-format=json --fsync=64 && rm /srv/ledger/fio",
        );
        let start = said.find('{').expect("JSON");
        let report: Value = serde_json::from_str(&said[start..]).expect("fio's report");
        assert_eq!(report["jobs"][0]["error"], 0, "{report}");
        assert!(
            report["jobs"][0]["read"]["total_ios"].as_u64() > Some(100),
            "{report}"
        );
    }
}

/// The packaged agent, which ours covers in the guests, comes from the image.
const PACKAGED: &str = "/mnt/usr/sbin/fence_scsi";
const MOUNT_PACKAGED: &str = "mountpoint -q /mnt || mount -o ro /dev/vda /mnt; ";

fn fenced_at_the_storage(name: &'static str, server: Server) {
    if skipped(&NEEDS) {
        return;
    }
    let lab = Lab::up(name, server);
    lab.probe();
    lab.fio();
    lab.fence_and_return();
    // The same by the packaged agent, as Pacemaker's fencer calls it.
    for node in [SURVIVOR, FENCED] {
        lab.said(
            node,
            &format!("{MOUNT_PACKAGED}rm /usr/sbin/fence_scsi; cp {PACKAGED} /usr/sbin/fence_scsi"),
        );
    }
    lab.fence_and_return();
    let ours = "ln -sf /usr/lib/picket/picket-agents /usr/sbin/fence_scsi";
    lab.said(FENCED, ours);
    lab.a_new_session_is_registered_anew();
}

#[test]
fn picket_target_keeps_a_fenced_node_off() {
    fenced_at_the_storage("test-scsi", Server::PicketTarget);
}

#[test]
fn the_kernels_target_keeps_a_fenced_node_off() {
    fenced_at_the_storage("test-scsi-lio", Server::Lio);
}
