//! A connection that reads and writes allocates nothing once it has its buffers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadline::Deadline;
use disk::initiator::{Payload, Session, SessionOptions, TaskEnd};
use iscsi::pdu::{Isid, Lun};
use target::config::{
    Config, DiskOptions, InitiatorName, InitiatorOptions, Limits, LunOptions, TargetOptions,
    Timeouts,
};
use target::server::{Gate, Server};

/// The system's allocator, counting what the server's connections ask for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: every call is passed on as it came to the system's allocator, which keeps the contract; counting touches only
// a number and a thread-local flag, neither of which needs an allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SERVES.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Knows the threads that touch the medium.
struct Marks;

impl Gate for Marks {
    fn pass(&self) {
        SERVES.set(true);
    }
}

const TARGET: &str = "iqn.2026-11.org.example:hot";
const LENGTH: usize = 4096;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn start(directory: &std::path::Path) -> Server {
    let mut disk = DiskOptions::new(directory.join("disk.img"));
    disk.store.size = Some(16 << 20);
    let config = Config {
        file: None,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        control: None,
        state: directory.to_owned(),
        metrics: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        discovery: Vec::new(),
        targets: vec![TargetOptions {
            name: TARGET.parse().unwrap(),
            own: None,
            initiators: vec![InitiatorOptions {
                name: InitiatorName::Anybody,
                account: None,
            }],
            luns: vec![LunOptions { number: 0, disk }],
        }],
    };
    Server::start_with(config, Some(Arc::new(Marks))).unwrap()
}

/// Writes and reads each of the first blocks of 4096 bytes, sixteen at a time.
fn round(session: &mut Session) {
    for first in (0..512_u32).step_by(16) {
        for writes in [true, false] {
            let tasks: Vec<_> = (first..first + 16)
                .map(|at| {
                    let mut cdb = [0; 10];
                    cdb[0] = if writes { 0x2A } else { 0x28 };
                    cdb[2..6].copy_from_slice(&(at * 8).to_be_bytes());
                    cdb[8] = 8;
                    let payload = if writes {
                        Payload::Out(vec![1; LENGTH])
                    } else {
                        Payload::In(LENGTH)
                    };
                    session.submit(Lun([0; 8]), &cdb, payload, soon()).unwrap()
                })
                .collect();
            for task in tasks {
                let end = session.wait(task, soon()).unwrap();
                assert!(matches!(end, Some(TaskEnd::Completed(..))), "{end:?}");
            }
        }
    }
}

#[test]
fn reading_and_writing_allocate_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let address = server.portals()[0];
    let options = SessionOptions {
        name: "disk".to_owned(),
        host: address.ip().to_string(),
        port: address.port(),
        initiator: "iqn.2026-11.org.example:node".to_owned(),
        target: TARGET.to_owned(),
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        credentials: None,
        digests: None,
    };
    let mut session = Session::connect(&options, soon()).unwrap();
    // Buffers, tables, and the unit attention of the first command.
    round(&mut session);
    round(&mut session);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 0, "nobody was counted");
    round(&mut session);
    let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
    // 1024 commands. Some writes may have been left to a thread of the medium, which takes one each.
    assert!(count < 64, "{count} allocations for 1024 commands");
}
