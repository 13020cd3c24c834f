//! How operations leave a connection's thread: every one ends once, as its ticket says.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use scsi::lu::{Extent, MediumFailure, Operation};
use target::store::{Buffer, Done, Finished, IoPath, Lane, Options, Started, Store, Ticket};

/// A ticket that counts, and may be of an aborted command or wait before it begins.
#[derive(Debug, Clone, Default)]
struct Counted {
    tag: u64,
    aborted: bool,
    counts: Arc<Counts>,
    hold: Option<Arc<std::sync::Mutex<mpsc::Receiver<()>>>>,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Ticket for Counted {
    fn begin(&self) -> bool {
        if let Some(hold) = &self.hold {
            let _ = hold.lock().unwrap().recv();
        }
        if !self.aborted {
            self.counts.begun.fetch_add(1, Ordering::SeqCst);
        }
        !self.aborted
    }

    fn end(&self) {
        self.counts.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn store(directory: &tempfile::TempDir, direct: bool) -> Option<Arc<Store>> {
    let options = Options {
        direct,
        size: Some(1 << 20),
        ..Options::default()
    };
    match Store::open(&directory.path().join("image"), &options) {
        Ok(store) => Some(Arc::new(store)),
        Err(error) if direct => {
            eprintln!("skipped past the page cache: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

const fn read(first: u64) -> Operation {
    Operation::Read {
        extent: Extent { first, count: 1 },
        from_medium: false,
    }
}

const fn write(first: u64, durable: bool) -> Operation {
    Operation::Write {
        extent: Extent { first, count: 1 },
        durable,
    }
}

/// Waits for one operation to end, on the descriptor alone.
fn next<T: Ticket>(lane: &mut Lane<T>) -> Done<T> {
    let deadline = Deadline::after(Duration::from_secs(20));
    loop {
        if let Some(done) = lane.finished() {
            return done;
        }
        let left = Timespec::try_from(deadline.remaining()).unwrap();
        let mut fds = [PollFd::from_borrowed_fd(lane.as_fd(), PollFlags::IN)];
        assert_ne!(poll(&mut fds, Some(&left)).unwrap(), 0, "nothing ended");
    }
}

fn readable<T: Ticket>(lane: &Lane<T>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(lane.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn what_the_page_cache_holds_is_served_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, false).unwrap();
    let mut lane = Lane::new().unwrap();
    let data = Buffer::copied(&[7; 512]);
    let Started::AtOnce(done) = lane.start(1_u64, &store, write(3, false), data) else {
        panic!("a write into the page cache was handed on");
    };
    assert_eq!(done.finished, Finished::Done);
    let Started::AtOnce(done) = lane.start(2, &store, read(3), done.data) else {
        panic!("a read from the page cache was handed on");
    };
    assert_eq!(
        (done.finished, &done.data[..]),
        (Finished::Done, &[7; 512][..])
    );
    assert_eq!(lane.under_way(), 0);
    assert!(!readable(&lane));
}

#[test]
fn failures_come_back_with_their_operation() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, false).unwrap();
    let mut lane = Lane::new().unwrap();
    let beyond = lane.start(1_u64, &store, read(1 << 30), Buffer::default());
    let Started::AtOnce(done) = beyond else {
        panic!("it needs no disk to refuse that");
    };
    assert_eq!(done.finished, Finished::Failed(MediumFailure::Internal));
    let Started::Later = lane.start(2, &store, write(1 << 30, true), Buffer::zeroed(512)) else {
        panic!("durable writes wait for a disk");
    };
    let done = next(&mut lane);
    assert_eq!(
        (done.ticket, done.finished),
        (2, Finished::Failed(MediumFailure::Internal))
    );
}

fn everything_ends_once(direct: bool, path: IoPath) {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = store(&directory, direct) else {
        return;
    };
    let counts = Arc::new(Counts::default());
    let mut lane = Lane::with(path).unwrap();
    let mut ended = vec![0; 600];
    for tag in 0..600_u64 {
        let operation = match tag % 3 {
            0 => write(tag, tag % 2 == 0),
            1 => read(tag - 1),
            _ => Operation::Unmap {
                extents: vec![Extent {
                    first: 700,
                    count: 8,
                }],
                durable: false,
            },
        };
        let data = if tag % 3 == 0 {
            Buffer::copied(&[u8::try_from(tag % 251).unwrap(); 512])
        } else {
            Buffer::default()
        };
        let ticket = Counted {
            tag,
            counts: Arc::clone(&counts),
            ..Counted::default()
        };
        if let Started::AtOnce(done) = lane.start(ticket, &store, operation, data) {
            assert_eq!(done.finished, Finished::Done);
            ended[usize::try_from(done.ticket.tag).unwrap()] += 1;
        }
        if lane.under_way() > 48 {
            let done = next(&mut lane);
            assert_eq!(done.finished, Finished::Done);
            ended[usize::try_from(done.ticket.tag).unwrap()] += 1;
        }
    }
    while lane.under_way() > 0 {
        ended[usize::try_from(next(&mut lane).ticket.tag).unwrap()] += 1;
    }
    assert!(ended.iter().all(|times| *times == 1));
    assert_eq!(counts.begun.load(Ordering::SeqCst), 600);
    assert_eq!(counts.ended.load(Ordering::SeqCst), 600);
    assert!(lane.finished().is_none() && !readable(&lane));
    for first in (0..600_u64).step_by(3) {
        let mut found = [0; 512];
        store.read(first, &mut found).unwrap();
        assert_eq!(found, [u8::try_from(first % 251).unwrap(); 512]);
    }
}

#[test]
fn through_the_page_cache_everything_ends_once() {
    everything_ends_once(false, IoPath::Fastest);
}

#[test]
fn past_the_page_cache_everything_ends_once() {
    everything_ends_once(true, IoPath::Fastest);
}

#[test]
fn on_threads_everything_ends_once() {
    everything_ends_once(false, IoPath::Threads);
    everything_ends_once(true, IoPath::Threads);
}

#[test]
fn more_transfers_than_a_ring_holds_end_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = store(&directory, true) else {
        return;
    };
    let mut lane = Lane::new().unwrap();
    let mut later = 0;
    for tag in 0..400_u64 {
        let data = Buffer::copied(&[u8::try_from(tag % 251).unwrap(); 512]);
        if let Started::Later = lane.start(tag, &store, write(tag, false), data) {
            later += 1;
        }
    }
    assert_eq!(lane.under_way(), later);
    let mut tags: Vec<_> = (0..later).map(|_| next(&mut lane).ticket).collect();
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..400));
    for tag in 0..400_u64 {
        let mut found = [0; 512];
        store.read(tag, &mut found).unwrap();
        assert_eq!(found, [u8::try_from(tag % 251).unwrap(); 512]);
    }
}

#[test]
fn what_the_page_cache_does_not_hold_comes_from_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, false).unwrap();
    let blocks: Vec<u8> = (0..2048_u64)
        .flat_map(|block| [u8::try_from(block % 251).unwrap(); 512])
        .collect();
    store.write(0, &blocks, true).unwrap();
    let image = std::fs::File::open(directory.path().join("image")).unwrap();
    rustix::fs::fadvise(&image, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut lane = Lane::new().unwrap();
    let mut later = 0;
    let check = |done: Done<u64>| {
        assert_eq!(done.finished, Finished::Done);
        assert_eq!(
            done.data[..],
            [u8::try_from(done.ticket % 251).unwrap(); 512]
        );
    };
    for first in (0..2048).rev().step_by(97) {
        match lane.start(first, &store, read(first), Buffer::default()) {
            Started::AtOnce(done) => check(done),
            Started::Later => later += 1,
        }
    }
    assert!(later > 0, "the page cache was emptied");
    for _ in 0..later {
        check(next(&mut lane));
    }
}

/// What a ring only knows as "not as expected" is found out and named.
#[test]
fn a_transfer_that_fails_comes_back_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = store(&directory, true) else {
        return;
    };
    let file = std::fs::File::options()
        .write(true)
        .open(directory.path().join("image"));
    file.unwrap().set_len(4096).unwrap();
    let mut lane = Lane::new().unwrap();
    let Started::Later = lane.start(1_u64, &store, read(100), Buffer::default()) else {
        panic!("a read past the page cache waits for a disk");
    };
    let done = next(&mut lane);
    let truncated = MediumFailure::Truncated { at: 100 };
    assert_eq!(
        (done.ticket, done.finished),
        (1, Finished::Failed(truncated))
    );
    assert_eq!(lane.under_way(), 0);
    assert!(lane.finished().is_none() && !readable(&lane));
}

/// Who starts several and waits for them hands them to the kernel first, and is woken.
#[test]
fn what_is_handed_over_together_ends_without_another_call() {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = store(&directory, true) else {
        return;
    };
    let mut lane = Lane::new().unwrap();
    for round in 0..50_u64 {
        let count = 1 + round % 40;
        for tag in 0..count {
            let started = lane.start(tag, &store, read(tag), Buffer::default());
            assert!(matches!(started, Started::Later));
        }
        lane.submit();
        let mut left = count;
        while left > 0 {
            let mut fds = [PollFd::from_borrowed_fd(lane.as_fd(), PollFlags::IN)];
            let limit = Timespec::try_from(Duration::from_secs(20)).unwrap();
            assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "nobody is woken");
            while let Some(done) = lane.finished() {
                assert_eq!(done.finished, Finished::Done);
                left -= 1;
            }
            assert!(left == 0 || lane.under_way() > 0);
        }
        assert!(!readable(&lane));
    }
}

#[test]
fn a_lane_that_goes_in_the_midst_of_transfers_ends_them_all() {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = store(&directory, true) else {
        return;
    };
    let counts = Arc::new(Counts::default());
    let mut lane = Lane::new().unwrap();
    for tag in 0..100_u64 {
        let ticket = Counted {
            tag,
            counts: Arc::clone(&counts),
            ..Counted::default()
        };
        let data = Buffer::copied(&[3; 512]);
        let _under_way = lane.start(ticket, &store, write(tag, false), data);
    }
    drop(lane);
    let begun = counts.begun.load(Ordering::SeqCst);
    assert_eq!((begun, counts.ended.load(Ordering::SeqCst)), (100, 100));
    let mut found = vec![0; 100 * 512];
    store.read(0, &mut found).unwrap();
    assert!(found.iter().all(|byte| *byte == 3));
}

#[test]
fn an_aborted_command_does_not_touch_the_medium() {
    let directory = tempfile::tempdir().unwrap();
    for direct in [false, true] {
        let Some(store) = store(&directory, direct) else {
            continue;
        };
        let mut lane = Lane::new().unwrap();
        for operation in [write(5, false), write(5, true), read(5)] {
            let ticket = Counted {
                aborted: true,
                ..Counted::default()
            };
            let counts = Arc::clone(&ticket.counts);
            let data = Buffer::copied(&[9; 512]);
            let done = match lane.start(ticket, &store, operation, data) {
                Started::AtOnce(done) => done,
                Started::Later => next(&mut lane),
            };
            assert_eq!(done.finished, Finished::Aborted);
            assert_eq!(counts.ended.load(Ordering::SeqCst), 0);
        }
        let mut found = [1; 512];
        store.read(5, &mut found).unwrap();
        assert_eq!(found, [0; 512]);
    }
}

/// The connection ends while its write waits: the write still ends, and whoever drains hears of it.
#[test]
fn a_lane_that_goes_leaves_its_operations_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, false).unwrap();
    let (release, hold) = mpsc::channel();
    let ticket = Counted {
        hold: Some(Arc::new(std::sync::Mutex::new(hold))),
        ..Counted::default()
    };
    let counts = Arc::clone(&ticket.counts);
    let mut lane = Lane::new().unwrap();
    let Started::Later = lane.start(ticket, &store, write(5, true), Buffer::copied(&[9; 512]))
    else {
        panic!("durable writes wait for a disk");
    };
    drop(lane);
    assert_eq!(counts.ended.load(Ordering::SeqCst), 0);
    release.send(()).unwrap();
    let deadline = Deadline::after(Duration::from_secs(20));
    while counts.ended.load(Ordering::SeqCst) == 0 {
        assert!(!deadline.has_passed());
        std::thread::yield_now();
    }
    let mut found = [0; 512];
    store.read(5, &mut found).unwrap();
    assert_eq!(found, [9; 512]);
}
