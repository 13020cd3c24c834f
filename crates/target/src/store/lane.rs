//! How operations leave the thread of a connection, and how it hears of their end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use scsi::lu::{MediumFailure, Operation};

use super::ring::{Landed, Ring};
use super::{Buffer, Now, Store};

/// Whom an operation is for: what lets commands be aborted while they wait, and waited for while they run.
///
/// An operation ends in exactly one of two ways: `begin` returned false and it has not touched the medium, or `begin`
/// returned true and `end` was called after the last moment at which it may have. Both are called on any thread.
pub trait Ticket: Send + 'static {
    /// Called right before the medium is touched; false: do not, the command was aborted.
    fn begin(&self) -> bool {
        true
    }

    /// Called as soon as the operation can no longer change the medium, before it is reported.
    fn end(&self) {}
}

/// A tag without a task behind it.
impl Ticket for u64 {}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Carried out.
    Done,
    /// Failed on the medium.
    Failed(MediumFailure),
    /// Not begun: its ticket said no.
    Aborted,
}

impl From<Result<(), MediumFailure>> for Finished {
    fn from(result: Result<(), MediumFailure>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// An operation that has ended, with its memory.
#[derive(Debug)]
pub struct Done<T> {
    /// Whose it was.
    pub ticket: T,
    /// As it was given.
    pub operation: Operation,
    /// The memory it was given; it holds the data-in, if the operation has any and was carried out.
    pub data: Buffer,
    /// How it ended.
    pub finished: Finished,
}

/// What became of an operation that was started.
#[derive(Debug)]
#[must_use]
pub enum Started<T> {
    /// It has ended already.
    AtOnce(Done<T>),
    /// It is under way: [`Lane::finished`] will have it.
    Later,
}

/// Which ways a lane may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoPath {
    /// The page cache on the connection's own thread; reads that it cannot serve and transfers past it through io_uring,
    /// if the kernel has it; the rest on threads.
    #[default]
    Fastest,
    /// Everything on threads: what the other is measured against.
    Threads,
}

/// One connection's way to the media. Belongs to one thread, which polls its descriptor ([`AsFd`]) beside its socket.
///
/// Dropped with operations under way, these still end as [`Ticket`] says, and nobody hears of it; transfers past the page
/// cache are waited for.
#[derive(Debug)]
pub struct Lane<T: Ticket> {
    path: IoPath,
    /// Its bell rings for what the ring has, too.
    inbox: Arc<Inbox<T>>,
    ring: Way<T>,
    taken: VecDeque<Done<T>>,
    under_way: usize,
    /// Nothing can have rung since the bell was last silenced.
    silent: bool,
}

/// A ring that is made when it is first needed.
#[derive(Debug)]
enum Way<T: Ticket> {
    Untried,
    Open(Box<Ring<T>>),
    /// The kernel has none, or not for this process.
    Closed,
}

/// What has ended and was not yet taken.
#[derive(Debug)]
struct Inbox<T> {
    bell: OwnedFd,
    done: Mutex<VecDeque<Done<T>>>,
}

impl<T: Ticket> Lane<T> {
    /// A lane with nothing under way.
    ///
    /// # Errors
    /// If the kernel gives no descriptor.
    pub fn new() -> io::Result<Self> {
        Self::with(IoPath::default())
    }

    /// A lane that takes only some ways.
    ///
    /// # Errors
    /// If the kernel gives no descriptor.
    pub fn with(path: IoPath) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            path,
            inbox: Arc::new(Inbox {
                bell,
                done: Mutex::default(),
            }),
            ring: Way::Untried,
            taken: VecDeque::new(),
            under_way: 0,
            silent: true,
        })
    }

    /// Starts an operation: carries it out at once if that does not wait for a disk, else hands it on. `data` holds the
    /// data-out; without any, it is memory for the data-in, used again if it is large enough.
    pub fn start(
        &mut self,
        ticket: T,
        store: &Arc<Store>,
        operation: Operation,
        data: Buffer,
    ) -> Started<T> {
        let mut work = Done {
            ticket,
            operation,
            data,
            finished: Finished::Aborted,
        };
        if self.path == IoPath::Threads {
            return self.hand_on(store, work, false);
        }
        if store.is_direct_transfer(&work.operation) {
            return self.transfer(store, work);
        }
        if !store.worth_trying(&work.operation) {
            return self.hand_on(store, work, false);
        }
        // Writing may take a while; nobody else's transfer waits for that.
        self.submit();
        // What only reads may be tried before anybody is asked: aborting it is forgetting it.
        let begun = work.operation.writes();
        if begun && !work.ticket.begin() {
            return Started::AtOnce(work);
        }
        let now = guarded(|| store.carry_out_now(&work.operation, &mut work.data));
        let ended = match now {
            Ok(Now::WouldBlock) if begun => return self.hand_on(store, work, true),
            Ok(Now::WouldBlock) => return self.transfer(store, work),
            Ok(Now::Done) => Ok(()),
            Err(failure) => Err(failure),
        };
        if begun || work.ticket.begin() {
            work.ticket.end();
            work.finished = ended.into();
        }
        Started::AtOnce(work)
    }

    /// A transfer that waits for the disk: by the ring, if it has room.
    fn transfer(&mut self, store: &Arc<Store>, mut work: Done<T>) -> Started<T> {
        self.open_ring();
        let threads_are_better = self.under_way > 0 && store.prefers_threads(&work.operation);
        let Way::Open(ring) = &mut self.ring else {
            return self.hand_on(store, work, false);
        };
        if threads_are_better || !ring.has_room() {
            return self.hand_on(store, work, false);
        }
        if !work.ticket.begin() {
            return Started::AtOnce(work);
        }
        let Some(held) = store.prepare_transfer(&work.operation, &mut work.data) else {
            return self.hand_on(store, work, true);
        };
        match ring.start(work, store, held) {
            Ok(()) => {
                self.under_way += 1;
                self.silent = false;
                Started::Later
            }
            Err(work) => self.hand_on(store, work, true),
        }
    }

    fn open_ring(&mut self) {
        if let Way::Untried = self.ring {
            let bell = self.inbox.bell.as_fd();
            let opened = Ring::new().and_then(|ring| ring.ring_at(bell).map(|()| ring));
            self.ring = opened.map_or(Way::Closed, |ring| Way::Open(Box::new(ring)));
        }
    }

    /// Leaves an operation to a thread of the medium.
    fn hand_on(&mut self, store: &Arc<Store>, mut work: Done<T>, begun: bool) -> Started<T> {
        self.under_way += 1;
        self.silent = false;
        let inbox = Arc::clone(&self.inbox);
        let medium = Arc::clone(store);
        store.workers.push(Box::new(move || {
            if begun || work.ticket.begin() {
                let result = guarded(|| medium.carry_out(&work.operation, &mut work.data));
                work.ticket.end();
                work.finished = result.into();
            }
            // Whoever hears of the end may close the medium, and open it again.
            drop(medium);
            inbox.put(work);
        }));
        Started::Later
    }

    /// Sees to it that everything that was started is under way. Due before the descriptor is waited for, unless
    /// [`Self::finished`] has just said `None`: transfers are handed to the kernel together.
    pub fn submit(&mut self) {
        if let Way::Open(ring) = &mut self.ring {
            ring.submit();
        }
    }

    /// Takes one operation that has ended, as far as that is seen at once. The descriptor stays as it is.
    pub fn landed(&mut self) -> Option<Done<T>> {
        if self.taken.is_empty() && self.under_way > 0 {
            self.inbox.take(&mut self.taken);
            self.reap();
        }
        let done = self.taken.pop_front()?;
        self.under_way -= 1;
        Some(done)
    }

    /// Takes one operation that has ended; `None` if none has, and then the descriptor is readable only once another
    /// has.
    pub fn finished(&mut self) -> Option<Done<T>> {
        loop {
            if let Some(done) = self.landed() {
                return Some(done);
            }
            // What has rung meanwhile is looked for once more.
            if self.silent || self.inbox.silence() {
                // The kernel may ring later than what it rings for is seen.
                self.silent = self.under_way == 0 && !matches!(self.ring, Way::Open(_));
                return None;
            }
        }
    }

    /// Takes what has ended in the ring. Transfers that went wrong begin again elsewhere.
    fn reap(&mut self) {
        while let Way::Open(ring) = &mut self.ring {
            match ring.finished() {
                Some(Landed::Whole(done)) => self.taken.push_back(done),
                Some(Landed::Odd(work, store)) => {
                    self.under_way -= 1;
                    let _under_way_again = self.hand_on(&store, work, true);
                }
                None => return,
            }
        }
    }

    /// How many operations are under way.
    #[must_use]
    pub const fn under_way(&self) -> usize {
        self.under_way
    }
}

impl<T: Ticket> AsFd for Lane<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inbox.bell.as_fd()
    }
}

impl<T> Inbox<T> {
    fn put(&self, done: Done<T>) {
        let mut inbox = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let first = inbox.is_empty();
        inbox.push_back(done);
        if first {
            // It cannot be full: it is silenced long before.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Moves everything to `into`, which is empty.
    fn take(&self, into: &mut VecDeque<Done<T>>) {
        let mut inbox = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *inbox, into);
    }

    /// Silences the bell. Whether it was silent.
    fn silence(&self) -> bool {
        rustix::io::read(&self.bell, &mut [0_u8; 8]).is_err()
    }
}

/// A mistake in one operation ends that operation and neither the thread nor the connection.
fn guarded<R>(call: impl FnOnce() -> Result<R, MediumFailure>) -> Result<R, MediumFailure> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(MediumFailure::Internal))
}
