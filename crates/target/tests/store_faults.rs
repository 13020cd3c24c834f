//! A medium whose disk fails, fills up or shrinks, with the kernel's own faults: a small file system in memory, and
//! a loop device above it. These need root and loop devices; without them they skip aloud.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use scsi::lu::{Extent, MediumFailure, Operation};
use target::store::{Buffer, Health, OpenError, Options, Store};

const MIB: u64 = 1 << 20;
const BLOCKS_PER_MIB: u64 = MIB / 512;

/// With patience for a medium in use: a program that another test starts at this moment has this one's locks until it is
/// executed, and a `losetup` that looks for a free device takes hold of one that another was quicker to get.
fn options() -> Options {
    Options {
        patience: Duration::from_secs(10),
        ..Options::default()
    }
}

fn image(path: &Path, size: u64) -> Store {
    let options = Options {
        size: Some(size),
        ..options()
    };
    Store::open(path, &options).unwrap()
}

fn mib(byte: u8) -> Vec<u8> {
    vec![byte; usize::try_from(MIB).unwrap()]
}

/// A file system of four MiB.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match mount(
            "picket-test",
            directory.path(),
            "tmpfs",
            MountFlags::empty(),
            Some(c"size=4m"),
        ) {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                eprintln!("skipped: no file system can be mounted: {error}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.directory.path(), UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.directory.path().display());
        }
    }
}

/// A block device whose blocks come from a sparse file, larger than the file system that holds it.
struct LoopDevice {
    path: PathBuf,
    file: PathBuf,
    disk: SmallDisk,
}

impl LoopDevice {
    fn new(size: u64) -> Option<Self> {
        let disk = SmallDisk::new()?;
        let file = disk.path("backing");
        File::create(&file).unwrap().set_len(size).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output();
        match made {
            Ok(made) if made.status.success() => {
                let path = String::from_utf8(made.stdout).unwrap();
                let path = PathBuf::from(path.trim_end());
                Some(Self { path, file, disk })
            }
            other => {
                eprintln!("skipped: no loop device: {other:?}");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let freed = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
        if !freed.is_ok_and(|status| status.success()) {
            eprintln!(
                "{} on {} stays",
                self.path.display(),
                self.disk.directory.path().display()
            );
        }
    }
}

#[test]
fn a_full_file_system_refuses_new_blocks_and_harms_no_old_ones() {
    let Some(disk) = SmallDisk::new() else { return };
    let store = image(&disk.path("image"), 16 * MIB);
    store.write(0, &mib(1), true).unwrap();
    let mut failed = None;
    for number in 1..16_u64 {
        let written = store.write(number * BLOCKS_PER_MIB, &mib(2), number % 2 == 0);
        if let Err(failure) = written {
            failed = Some((number, failure));
            break;
        }
    }
    let (number, failure) = failed.expect("sixteen MiB on a disk of four");
    assert_eq!(failure, MediumFailure::Full);
    let durable = store.write(number * BLOCKS_PER_MIB, &mib(2), true);
    assert_eq!(durable, Err(MediumFailure::Full));
    // Nothing that was acknowledged is concerned, and it goes on as soon as there is space.
    assert_eq!(store.health(), Health::Sound);
    assert_eq!(store.flush(), Ok(()));
    let mut found = mib(0);
    store.read(0, &mut found).unwrap();
    assert!(found == mib(1));
    store.write(0, &mib(3), true).unwrap();
    let unmap = Operation::Unmap {
        extents: vec![Extent {
            first: 0,
            count: 2 * BLOCKS_PER_MIB,
        }],
        durable: true,
    };
    store.carry_out(&unmap, &mut Buffer::default()).unwrap();
    store.write(number * BLOCKS_PER_MIB, &mib(4), true).unwrap();
}

/// Names the image for the child of the test below, and makes this test do something.
const LIMITED: &str = "PICKET_TEST_LIMITED_IMAGE";

/// Not a test by itself: runs in a process whose files may not grow beyond one MiB.
#[test]
fn beyond_a_limit_on_the_size_of_files() {
    let Some(path) = std::env::var_os(LIMITED) else {
        return;
    };
    let store = Store::open(Path::new(&path), &options()).unwrap();
    for durable in [false, true] {
        store.write(0, &[1; 4096], durable).unwrap();
        let beyond = store.write(BLOCKS_PER_MIB, &[2; 4096], durable);
        assert_eq!(beyond, Err(MediumFailure::Full));
    }
    assert_eq!((store.health(), store.flush()), (Health::Sound, Ok(())));
    println!("both were refused");
}

#[test]
fn a_limit_on_the_size_of_files_is_one_more_way_to_be_full() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    drop(image(&path, 4 * MIB));
    // As a server does, it ignores the signal that would end it.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" --exact beyond_a_limit_on_the_size_of_files --nocapture";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("both were refused"),
        "{child:?}"
    );
}

#[test]
fn a_thick_image_without_space_is_refused_and_leaves_nothing() {
    let Some(disk) = SmallDisk::new() else { return };
    let options = Options {
        thin: false,
        size: Some(16 * MIB),
        ..options()
    };
    let path = disk.path("image");
    let refused = Store::open(&path, &options);
    assert!(
        matches!(refused, Err(OpenError::Open { .. })),
        "{refused:?}"
    );
    // The same name with a size that fits.
    let fitting = Options {
        size: Some(2 * MIB),
        ..options
    };
    assert_eq!(
        Store::open(&path, &fitting).unwrap().blocks(),
        2 * BLOCKS_PER_MIB
    );
}

#[test]
fn a_file_that_becomes_shorter_is_noticed_and_not_made_long_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let store = image(&path, 4 * MIB);
    store.write(0, &mib(1), false).unwrap();
    store.write(3 * BLOCKS_PER_MIB, &mib(2), false).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(MIB + 1024).unwrap();
    let at = BLOCKS_PER_MIB + 2;
    let mut found = mib(0);
    let gone = store.read(BLOCKS_PER_MIB, &mut found);
    assert_eq!(gone, Err(MediumFailure::Truncated { at }));
    let refused = store.write(3 * BLOCKS_PER_MIB, &mib(3), false);
    assert!(matches!(refused, Err(MediumFailure::Truncated { .. })));
    assert_eq!(file.metadata().unwrap().len(), MIB + 1024);
    assert_eq!(store.health(), Health::Truncated);
    // What is left can be read. What was cut off does not come back by making the file long again.
    store.read(0, &mut found).unwrap();
    assert!(found == mib(1));
    file.set_len(4 * MIB).unwrap();
    assert!(matches!(
        store.write(0, &mib(4), false),
        Err(MediumFailure::Truncated { .. })
    ));
    assert!(store.flush().is_err());
}

#[test]
fn a_write_alone_notices_that_the_file_became_shorter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for durable in [false, true] {
        std::fs::write(&path, vec![0; 8192]).unwrap();
        let store = Store::open(&path, &options()).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(4096)
            .unwrap();
        let refused = store.write(15, &[1; 512], durable);
        assert!(matches!(refused, Err(MediumFailure::Truncated { .. })));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
        assert!(store.flush().is_err());
    }
}

/// The kernel reports a failed write-back once. Without memory of it the second flush would claim what is not so: the
/// first lines show that the kernel's would.
#[test]
fn a_failed_flush_is_never_forgotten() {
    let Some(device) = LoopDevice::new(16 * MIB) else {
        return;
    };
    let plain = File::options()
        .read(true)
        .write(true)
        .open(&device.path)
        .unwrap();
    {
        use std::os::unix::fs::FileExt;
        plain.write_all_at(&vec![7; 8 << 20], 0).unwrap();
        assert!(plain.sync_data().is_err());
        assert!(plain.sync_data().is_ok());
    }
    drop(plain);

    let store = Store::open(&device.path, &options()).unwrap();
    for number in 8..16 {
        store
            .write(number * BLOCKS_PER_MIB, &mib(1), false)
            .unwrap();
    }
    assert_eq!(store.flush(), Err(MediumFailure::NotDurable));
    // Even when there is room again for everything that is still to come.
    let backing = File::options().write(true).open(&device.file).unwrap();
    rustix::fs::fallocate(
        &backing,
        rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
        0,
        16 * MIB,
    )
    .unwrap();
    assert_eq!(store.flush(), Err(MediumFailure::NotDurable));
    assert_eq!(store.health(), Health::LostWrites);
    for durable in [false, true] {
        assert_eq!(
            store.write(0, &[1; 512], durable),
            Err(MediumFailure::NotDurable)
        );
    }
    let synchronize = Operation::Synchronize {
        extent: Extent { first: 0, count: 1 },
        immediate: false,
    };
    let refused = store.carry_out(&synchronize, &mut Buffer::default());
    assert_eq!(refused, Err(MediumFailure::NotDurable));
    drop(store);
    // Opened anew, it begins with what is there.
    let store = Store::open(&device.path, &options()).unwrap();
    store.write(0, &[1; 512], true).unwrap();
    assert_eq!(store.flush(), Ok(()));
}

#[test]
fn a_durable_write_that_meets_a_lost_one_ends_all_promises() {
    let Some(device) = LoopDevice::new(16 * MIB) else {
        return;
    };
    let store = Store::open(&device.path, &options()).unwrap();
    for number in 0..8 {
        store
            .write(number * BLOCKS_PER_MIB, &mib(1), false)
            .unwrap();
    }
    // Some of the writes above are lost once the kernel writes them back; that it tells whoever asks first.
    let mut refused = Ok(());
    for number in 0..8 {
        if let Err(failure) = store.write(number * BLOCKS_PER_MIB, &mib(2), true) {
            refused = Err(failure);
        }
    }
    assert!(refused.is_err());
    assert_eq!(store.health(), Health::LostWrites);
    assert_eq!(store.flush(), Err(MediumFailure::NotDurable));
}

#[test]
fn everyone_who_asks_hears_of_a_lost_write() {
    let Some(device) = LoopDevice::new(16 * MIB) else {
        return;
    };
    let store = Store::open(&device.path, &options()).unwrap();
    for number in 0..8 {
        store
            .write(number * BLOCKS_PER_MIB, &mib(1), false)
            .unwrap();
    }
    let answers: Vec<_> = std::thread::scope(|scope| {
        let flushes: Vec<_> = (0..6).map(|_| scope.spawn(|| store.flush())).collect();
        flushes
            .into_iter()
            .map(|flush| flush.join().unwrap())
            .collect()
    });
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
}

#[test]
fn a_disk_that_cannot_be_read_is_said_to_be_so() {
    let Some(device) = LoopDevice::new(2 * MIB) else {
        return;
    };
    let options = Options {
        direct: true,
        ..options()
    };
    let store = Store::open(&device.path, &options).unwrap();
    store.write(0, &mib(1), true).unwrap();
    // The loop device keeps its size, and fails to read what its file no longer has.
    File::options()
        .write(true)
        .open(&device.file)
        .unwrap()
        .set_len(MIB)
        .unwrap();
    let mut found = Buffer::zeroed(4096);
    let at = BLOCKS_PER_MIB + 8;
    assert_eq!(
        store.read(at, &mut found),
        Err(MediumFailure::Unreadable { at })
    );
    assert_eq!(store.read(8, &mut found), Ok(()));
    assert!(found.iter().all(|byte| *byte == 1));
}

#[test]
fn a_block_device_is_served_to_its_end_and_kept_from_others() {
    let Some(device) = LoopDevice::new(2 * MIB) else {
        return;
    };
    let store = Store::open(&device.path, &options()).unwrap();
    assert_eq!(store.blocks(), 2 * BLOCKS_PER_MIB);
    let second = Store::open(&device.path, &Options::default());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    store
        .write(2 * BLOCKS_PER_MIB - 1, &[3; 512], true)
        .unwrap();
    let whole = Extent {
        first: 0,
        count: 2 * BLOCKS_PER_MIB,
    };
    let unmap = Operation::Unmap {
        extents: vec![whole],
        durable: true,
    };
    store.carry_out(&unmap, &mut Buffer::default()).unwrap();
    let mut found = [9; 512];
    store.read(2 * BLOCKS_PER_MIB - 1, &mut found).unwrap();
    assert_eq!(found, [0; 512]);
}
