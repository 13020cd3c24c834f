//! `picket-target` killed, and its machine without power, while it is written to: what it has promised holds.
//!
//! A killed process loses nothing that the kernel has taken. So killing shows that nothing is acknowledged which the
//! server has not handed on, and that no moment is bad for its journals; it shows nothing of durability. That is what
//! the other test is for: disk and journals lie on a file system that is shut down as a crash does it. What is only in
//! the page cache, or in its own journal in memory, is gone, and so is all that was acknowledged but not promised to
//! be durable; the test counts that too, for else it would show nothing. Below that file system nothing is lost: that
//! the device's own cache is flushed is up to the file system, and not seen here.

mod ledger;
mod world;

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use deadline::Deadline;
use disk::{
    Request, ScsiDevice,
    initiator::{Disk, Payload, TaskEnd},
    pr::{PrError, Reservations},
};
use iscsi::session::TaskId;
use ledger::{BLOCK, Ledger, SLOTS, data, span};
use picket_tests::{
    process::Process,
    skip::{Need, skipped_with},
};
use scsi::{Status, pr::Key, pr::ReservationType};
use world::{Mode, World};

/// How often it crashes.
const CRASHES: u64 = 20;
/// How many commands are under way at a time.
const DEPTH: usize = 16;
/// Longer than anything takes on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(30);
const HOLDER: u64 = 0xA11CE;
const KIND: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// What a crash takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server.
    Process,
    /// Everything that is not on the device of the file system.
    Power,
}

fn long() -> Deadline {
    Deadline::after(LONG)
}

fn key(value: u64) -> Key {
    Key::new(value).expect("keys are not 0")
}

#[test]
fn a_killed_server_has_lost_nothing_it_acknowledged() {
    let Some(run) = crash(Loss::Process) else {
        return;
    };
    assert_eq!(run.ledger.gone, 0);
}

#[test]
fn what_was_promised_to_be_durable_outlives_the_machine() {
    let Some(run) = crash(Loss::Power) else {
        return;
    };
    // Were nothing lost that may be lost, it would not have been a crash.
    assert!(run.ledger.gone > 0, "{:?}", run.ledger);
}

/// Crashes again and again, with each way of serving a disk in turn, and looks after each crash.
fn crash(loss: Loss) -> Option<Run> {
    let needs = [
        Need::Root,
        Need::File("/usr/sbin/mkfs.ext4", "e2fsprogs"),
        Need::File("/usr/sbin/losetup", "util-linux"),
    ];
    if skipped_with(&needs) {
        return None;
    }
    let mut run = Run {
        world: World::new(),
        ledger: Ledger::new(),
        changing: Keys::default(),
    };
    let mut target = run.world.start(mode(0));
    run.set_up();
    let (began, mut moved) = (Instant::now(), 0);
    for number in 0..CRASHES {
        let before = (run.ledger.promises, run.changing.answered);
        run.write_until_crash(&mut target, mode(number), number, loss);
        if loss == Loss::Power {
            run.world.restore_power();
        }
        target = run.world.start(mode(number + 1));
        run.look(mode(number + 1), loss);
        moved += u64::from(before.0 < run.ledger.promises && before.1 < run.changing.answered);
    }
    eprintln!(
        "{loss:?}: {CRASHES} crashes in {:.1} s: {} promises kept, {} changes of keys kept, {} writes gone that were not \
         promised",
        began.elapsed().as_secs_f64(),
        run.ledger.promises,
        run.changing.answered,
        run.ledger.gone
    );
    // One or the other may come before anything was answered.
    assert!(moved * 2 > CRASHES, "{moved} crashes had something to lose");
    Some(run)
}

fn mode(number: u64) -> Mode {
    Mode {
        cache: number.is_multiple_of(2),
        direct: (number / 2) % 2 == 1,
    }
}

/// The keys of the node that changes its own all the time.
#[derive(Debug, Default)]
struct Keys {
    /// The last one that the server has confirmed.
    confirmed: u64,
    /// The one asked for last.
    wanted: u64,
    /// How many changes were confirmed.
    answered: u64,
}

struct Run {
    world: World,
    ledger: Ledger,
    changing: Keys,
}

impl Run {
    /// One node holds the reservation, another is registered beside it; both so that power loss does not end it.
    fn set_up(&mut self) {
        let [mut holder, mut changing] = ["holder", "changing"].map(|node| self.world.log_in(node));
        let mut holder = Reservations::of(&mut holder);
        let registered = holder.register(None, Some(key(HOLDER)), true, long());
        registered.expect("a register");
        let reserved = holder.reserve(key(HOLDER), KIND, long());
        reserved.expect("a reservation");
        self.changing.confirmed = 1;
        self.changing.wanted = 1;
        let mut changing = Reservations::of(&mut changing);
        let registered = changing.register(None, Some(key(1)), true, long());
        registered.expect("a second registration");
    }

    /// Writes, and changes keys, until the server is gone.
    fn write_until_crash(&mut self, target: &mut Process, mode: Mode, number: u64, loss: Loss) {
        let [mut holder, mut changing] = ["holder", "changing"].map(|node| self.world.log_in(node));
        let ready = Reservations::of(&mut holder).test_unit_ready(long());
        ready.expect("a disk that is ready");
        let Self {
            world,
            ledger,
            changing: keys,
        } = self;
        thread::scope(|scope| {
            scope.spawn(|| storm(&mut holder, ledger, mode, number));
            scope.spawn(|| change_keys(&mut changing, keys));
            // Some crashes come while files are still new to the server, others when it is in full swing.
            thread::sleep(Duration::from_millis(40 + number * 71 % 200));
            if loss == Loss::Power {
                world.cut_power();
            }
            target.kill();
        });
    }

    /// Whether all is as it was, as the server now tells and shows it.
    fn look(&mut self, mode: Mode, loss: Loss) {
        let mut holder = self.world.log_in("holder");
        let port = holder.initiator_port();
        let mut reservations = Reservations::of(&mut holder);
        let (_, status) = reservations.read_full_status(long()).expect("full status");
        let of = |holds: Option<ReservationType>| {
            let mut found = status.iter().filter(move |one| one.holds == holds);
            let one = found.next().expect("a registration");
            assert!(found.next().is_none(), "{status:?}");
            (one.key.map_or(0, Key::get), one.initiator.clone())
        };
        let (held, by) = of(Some(KIND));
        assert_eq!(held, HOLDER);
        let by = by.expect("an initiator");
        let by = by.iscsi().expect("a node of iSCSI");
        assert!(port.is_some_and(|port| by.names(&port)), "{by:?}");
        let (changed, _) = of(None);
        let keys = &mut self.changing;
        assert!(
            changed == keys.confirmed || changed == keys.wanted,
            "{changed} is neither of {keys:?}"
        );
        (keys.confirmed, keys.wanted) = (changed, changed);

        assert_eq!(write_cache(&mut holder), mode.cache);
        let held = read_all(&mut holder);
        self.ledger.verify(&held, loss);

        let mut fenced = self.world.log_in("fenced");
        // The first command of a new nexus is answered with a unit attention, not a conflict.
        let ready = Reservations::of(&mut fenced).test_unit_ready(long());
        ready.expect("a disk that is ready");
        let (cdb, bytes) = (write_command(0, false), data(0, u64::MAX));
        let refused = fenced.execute(Request::write(&cdb, &bytes), long());
        let refused = refused.expect("an answer").status;
        assert_eq!(refused, Status::RESERVATION_CONFLICT);
    }
}

/// What a command under way is.
enum Flight {
    Write {
        slot: usize,
        number: u64,
        durable: bool,
    },
    /// SYNCHRONIZE CACHE, and what had been acknowledged before it was sent.
    Synchronize(Vec<u64>),
}

/// Writes all over the disk, as much at a time as it takes, until the session ends. With a write cache a sixth of the
/// writes, and now and then the whole disk, is asked to be durable; without one every write is.
fn storm(disk: &mut Disk, ledger: &mut Ledger, mode: Mode, seed: u64) {
    let lun = disk.lun();
    let session = disk.session();
    let mut flights: HashMap<TaskId, Flight> = HashMap::new();
    let mut chance = Chance(seed + 1);
    loop {
        while flights.len() < DEPTH {
            let (cdb, payload, flight) = if mode.cache && chance.below(100) == 0 {
                let flight = Flight::Synchronize(ledger.acknowledged());
                (SYNCHRONIZE_CACHE, Payload::None, flight)
            } else {
                let slot = chance.below(SLOTS);
                let Some(number) = ledger.begin(slot) else {
                    continue;
                };
                let fua = mode.cache && chance.below(6) == 0;
                let durable = fua || !mode.cache;
                let flight = Flight::Write {
                    slot,
                    number,
                    durable,
                };
                let payload = Payload::Out(data(slot, number));
                (write_command(slot, fua), payload, flight)
            };
            let Ok(task) = session.submit(lun, &cdb, payload, long()) else {
                return;
            };
            flights.insert(task, flight);
        }
        let Ok(ended) = session.wait_any(long()) else {
            return;
        };
        let (task, end) = ended.expect("a command takes no half minute");
        let flight = flights.remove(&task).expect("it was sent");
        let good = matches!(end, TaskEnd::Completed(done, _) if done.status.is_good());
        settle(ledger, flight, good);
    }
}

fn settle(ledger: &mut Ledger, flight: Flight, good: bool) {
    match flight {
        Flight::Write {
            slot,
            number,
            durable,
        } if good => ledger.acknowledge(slot, number, durable),
        Flight::Write { slot, .. } => ledger.refuse(slot),
        Flight::Synchronize(covered) if good => {
            for (slot, number) in covered.into_iter().enumerate() {
                ledger.promise(slot, number);
            }
        }
        Flight::Synchronize(_) => {}
    }
}

/// Changes the node's key, one number after the other, until the server is gone or cannot keep them any more.
fn change_keys(disk: &mut Disk, keys: &mut Keys) {
    let mut reservations = Reservations::of(disk);
    loop {
        keys.wanted = keys.confirmed + 1;
        let (old, new) = (Some(key(keys.confirmed)), Some(key(keys.wanted)));
        match reservations.register(old, new, true, long()) {
            Ok(()) => {
                keys.confirmed = keys.wanted;
                keys.answered += 1;
            }
            Err(error @ PrError::Conflict { .. }) => panic!("it is registered: {error}"),
            Err(_) => return,
        }
    }
}

/// SYNCHRONIZE CACHE(10) of all blocks (SBC-3, "SYNCHRONIZE CACHE (10) command").
const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// WRITE(10) of a slot (SBC-3, "WRITE (10) command").
fn write_command(slot: usize, fua: bool) -> [u8; 10] {
    let (first, blocks) = span(slot);
    transfer(0x2A, if fua { 0x08 } else { 0 }, first, blocks)
}

fn transfer(opcode: u8, flags: u8, first: u64, blocks: u64) -> [u8; 10] {
    let lba = u32::try_from(first).expect("a small disk").to_be_bytes();
    let blocks = u16::try_from(blocks).expect("a short one").to_be_bytes();
    [
        opcode, flags, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0,
    ]
}

/// All slots, as READ(10) tells them.
fn read_all(disk: &mut Disk) -> Vec<u8> {
    let mut held = Vec::new();
    for slot in 0..SLOTS {
        let (first, blocks) = span(slot);
        let mut part = vec![0; usize::try_from(blocks).expect("a short one") * BLOCK];
        let cdb = transfer(0x28, 0, first, blocks);
        let done = disk.execute(Request::read(&cdb, &mut part), long());
        let done = done.expect("an answer");
        assert_eq!((done.status, done.transferred), (Status::GOOD, part.len()));
        held.extend(part);
    }
    held
}

/// WCE of the caching mode page (SBC-3, "Caching mode page").
fn write_cache(disk: &mut Disk) -> bool {
    let mut page = [0; 64];
    let cdb = [0x1A, 0x08, 0x08, 0, 64, 0];
    let done = disk.execute(Request::read(&cdb, &mut page), long());
    assert_eq!(done.expect("an answer").status, Status::GOOD);
    assert_eq!(page[4] & 0x3F, 0x08);
    page[6] & 0x04 != 0
}

/// Numbers that look random, the same ones in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}
