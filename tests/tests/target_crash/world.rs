//! A target whose disk and journals lie on a file system of their own.

use std::{
    cell::RefCell,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use deadline::Deadline;
use disk::{Address, IscsiAddress, OpenOptions, initiator::Disk};
use picket_tests::{
    net::HOST_V4,
    process::{PATIENCE, Process, run, wait_for},
    rig::Rig,
    subject::ours,
};
use rustix::ioctl::{Setter, ioctl, opcode};

const TARGET: &str = "iqn.2026-11.example:crash";

/// How a disk is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    /// With a write cache, that is: what must be durable is said to be.
    pub(crate) cache: bool,
    /// Past the page cache.
    pub(crate) direct: bool,
}

/// The target's machine and those of its initiators.
pub(crate) struct World {
    pub(crate) rig: Rig,
    file_system: FileSystem,
}

impl World {
    pub(crate) fn new() -> Self {
        let rig = Rig::new();
        let file_system = FileSystem::new(&rig);
        Self { rig, file_system }
    }

    pub(crate) fn start(&self, mode: Mode) -> Process {
        let at = self.file_system.at.display();
        let Mode { cache, direct } = mode;
        let config = format!(
            "listen = [\"{HOST_V4}:3260\"]\ncontrol = \"control\"\nstate = \"{at}/state\"\n\
             [[target]]\nname = \"{TARGET}\"\n[[target.initiator]]\nname = \"*\"\n\
             [[target.lun]]\nnumber = 0\npath = \"{at}/disk.img\"\nsize = \"16MiB\"\n\
             write-cache = {cache}\ndirect = {direct}\n"
        );
        let path = self.rig.write_private("target.toml", config.as_bytes());
        let mut command = Command::new(ours("picket-target"));
        command.arg("--config").arg(path);
        Process::start(&mut command, Some(&self.rig.cable.host), self.rig.dir())
    }

    /// Logs in as a node of that name, which is the same nexus each time.
    pub(crate) fn log_in(&self, node: &str) -> Disk {
        let address = format!("iscsi://{HOST_V4}/{TARGET}/0");
        let Ok(Address::Iscsi(address)) = address.parse() else {
            panic!("{address} is an address");
        };
        let options = OpenOptions {
            initiator: Some(format!("iqn.2026-11.example:{node}")),
            ..OpenOptions::default()
        };
        wait_for("the target to take a login", PATIENCE, || {
            self.try_log_in(&address, &options)
        })
    }

    fn try_log_in(&self, address: &IscsiAddress, options: &OpenOptions) -> Option<Disk> {
        let limit = Duration::from_secs(5);
        let guest = &self.rig.cable.guest;
        guest.enter(|| Disk::open(address, options, Deadline::after(limit)).ok())
    }

    /// What the file system's device has is what there is: the page cache is lost, and nothing is written any more.
    pub(crate) fn cut_power(&self) {
        self.file_system.cut_power();
    }

    /// The machine comes up again. Nothing may use the file system.
    pub(crate) fn restore_power(&self) {
        assert!(self.file_system.unmount());
        self.file_system.mount();
    }
}

/// An ext4 on a loop device.
struct FileSystem {
    image: PathBuf,
    at: PathBuf,
    device: RefCell<String>,
}

impl FileSystem {
    fn new(rig: &Rig) -> Self {
        let image = rig.path("file-system");
        let made = File::create(&image).and_then(|file| file.set_len(64 << 20));
        made.expect("the test's directory takes files");
        let at = rig.path("at");
        fs::create_dir(&at).expect("the test's directory takes others");
        must("mkfs.ext4", &["-q", "-F"], &[&image], rig.dir());
        let device = RefCell::default();
        let file_system = Self { image, at, device };
        file_system.mount();
        file_system
    }

    /// A new loop device each time: a process elsewhere that has copied the mounts of its machine keeps the old one in
    /// use, and a file system that was shut down stays so as long as its device is.
    fn mount(&self) {
        let attach = ["--find", "--show"];
        let device = must("losetup", &attach, &[&self.image], self.directory());
        let device = device.trim_end();
        device.clone_into(&mut self.device.borrow_mut());
        // Its own journal is committed when somebody asks for it, not every five seconds.
        let options = ["-t", "ext4", "-o", "commit=300", device];
        must("mount", &options, &[&self.at], self.directory());
    }

    /// Detached as soon as nobody uses it.
    fn unmount(&self) -> bool {
        let device = self.device.borrow();
        let mut ended = true;
        for words in [
            ["umount", "--lazy", &self.at.to_string_lossy()],
            ["losetup", "--detach", device.as_str()],
        ] {
            let status = Command::new(words[0]).args(&words[1..]).status();
            ended &= status.is_ok_and(|status| status.success());
        }
        ended
    }

    fn directory(&self) -> &Path {
        self.at.parent().expect("it is in the test's directory")
    }

    fn cut_power(&self) {
        /// `EXT4_IOC_SHUTDOWN` of `fs/ext4/ext4.h`, for test suites such as this one.
        const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
        /// `EXT4_GOING_FLAGS_NOLOGFLUSH`: without writing its own journal before.
        const NOW: u32 = 2;
        let directory = File::open(&self.at).expect("it is mounted");
        // SAFETY: the kernel reads four bytes from where it is pointed to, and keeps nothing of them.
        let shut = unsafe { ioctl(&directory, Setter::<SHUTDOWN, u32>::new(NOW)) };
        shut.expect("ext4 can be shut down");
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if !self.unmount() {
            eprintln!("{} stays mounted", self.at.display());
        }
    }
}

fn must(program: &str, options: &[&str], paths: &[&Path], directory: &Path) -> String {
    let mut command = Command::new(program);
    command.args(options).args(paths);
    let ran = run(&mut command, None, directory, None, PATIENCE);
    assert_eq!(ran.code, Some(0), "{program}: {ran:?}");
    ran.stdout
}
