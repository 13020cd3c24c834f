//! Reading and writing allocate nothing in here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use scsi::inquiry::Text;
use scsi::lu::{
    Begun, BlockLength, Config, Geometry, Identity, Limits, LocalNaa, LogicalUnit, Operation,
};
use scsi::pr::{InitiatorPort, Nexus, RelativePort, Reservations};

/// The system's allocator, counting.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on as it came to the system's allocator, which keeps the contract; counting touches only
// a thread-local number that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
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

fn unit() -> LogicalUnit {
    let config = Config {
        identity: Identity {
            vendor: Text::new("PICKET").unwrap(),
            product: Text::new("disk").unwrap(),
            revision: Text::new("0001").unwrap(),
            serial: Text::new("S1").unwrap(),
            naa: LocalNaa::new(1),
            target_name: "iqn.2026-11.test:t1".into(),
        },
        geometry: Geometry {
            block_length: BlockLength::B512,
            blocks: 1000,
            physical_exponent: 0,
        },
        ports: vec![RelativePort(1)],
        thin: true,
        rotational: false,
        removable: false,
        read_only: false,
        write_cache: true,
        limits: Limits::default(),
    };
    LogicalUnit::new(config, Reservations::default())
}

#[test]
fn reading_and_writing_allocate_nothing() {
    let mut unit = unit();
    let nexus = Nexus {
        initiator: InitiatorPort::new("iqn.2026-11.test:a", [0; 6]).unwrap(),
        port: RelativePort(1),
    };
    let id = unit.attach(&nexus).unwrap();
    assert!(
        matches!(unit.begin(id, &[0; 6]), Begun::Done(_)),
        "power on is told"
    );
    let commands: [&[u8]; 4] = [
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0],
        &[0x2A, 0, 0, 0, 0, 0, 0, 0, 8, 0],
        &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0],
        &[0x8A, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0],
    ];
    let before = ALLOCATIONS.with(Cell::get);
    assert!(before > 0, "the allocator counts");
    for cdb in commands {
        let begun = unit.begin(id, cdb);
        let goes = matches!(
            begun,
            Begun::Medium(Operation::Read { .. } | Operation::Write { .. })
        );
        assert!(goes, "{cdb:02x?}");
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
}
