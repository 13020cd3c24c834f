//! Reads of what the page cache does not hold, and transfers past it, through io_uring: the disk works while the thread of the connection goes on, and no
//! other thread is woken. Only what goes as expected ends here; whatever else happens, a thread of the medium repeats
//! the transfer and says what is wrong.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, types};
use scsi::lu::Operation;

use super::lane::{Done, Finished, Ticket};
use super::{Held, Store};

/// The most transfers of one connection that are under way in its ring; more go to the threads of the medium.
const MOST: usize = 128;

/// So many transfers are handed to the kernel together at most: the disk begins with the first ones while the next are made
/// ready.
const BATCH: usize = 8;

/// Have completions that wait to be seen put where they are seen (`IORING_ENTER_GETEVENTS`).
const GET_EVENTS: u32 = 1;

/// The ring of one connection. Belongs to the thread that made it.
pub(super) struct Ring<T: Ticket> {
    ring: IoUring,
    /// Completions do not interrupt this thread: it has to ask for them.
    deferred: bool,
    /// What the kernel is at work on: its memory must neither move nor be freed.
    flights: Vec<Option<Flight<T>>>,
    free: Vec<usize>,
}

/// A transfer under way.
struct Flight<T> {
    work: Done<T>,
    store: Arc<Store>,
    /// Keeps the range from COMPARE AND WRITE, if it is a write.
    held: Option<Held>,
}

/// How a transfer ended.
pub(super) enum Landed<T> {
    /// As it should. Its ticket has ended.
    Whole(Done<T>),
    /// In any other way. Its ticket has begun.
    Odd(Done<T>, Arc<Store>),
}

impl<T: Ticket> Ring<T> {
    /// A ring, if the kernel has them and this process may use them.
    pub(super) fn new() -> io::Result<Self> {
        let entries = u32::try_from(MOST).unwrap_or(u32::MAX);
        // Linux 6.1. Without it each completion interrupts whatever this thread does or waits for.
        let deferred = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries);
        let (ring, deferred) = match deferred {
            Ok(ring) => (ring, true),
            Err(_) => (IoUring::new(entries)?, false),
        };
        Ok(Self {
            ring,
            deferred,
            flights: Vec::new(),
            free: Vec::new(),
        })
    }

    /// Rings `bell` whenever a transfer ends.
    pub(super) fn ring_at(&self, bell: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.submitter().register_eventfd(bell.as_raw_fd())
    }

    /// Whether there is room for another transfer.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.flights.len() < MOST
    }

    /// Starts a transfer whose ticket has begun and whose memory has the right length. Gives it back if the kernel does
    /// not take it.
    pub(super) fn start(
        &mut self,
        mut work: Done<T>,
        store: &Arc<Store>,
        held: Option<Held>,
    ) -> Result<(), Done<T>> {
        let Ok(length) = u32::try_from(work.data.len()) else {
            return Err(work);
        };
        let file = types::Fd(store.device.file.as_raw_fd());
        let entry = match &work.operation {
            Operation::Read { extent, .. } => {
                let offset = extent.first * store.device.block;
                let memory = work.data.as_mut_ptr();
                opcode::Read::new(file, memory, length)
                    .offset(offset)
                    .build()
            }
            Operation::Write { extent, .. } => {
                let offset = extent.first * store.device.block;
                let memory = work.data.as_ptr();
                opcode::Write::new(file, memory, length)
                    .offset(offset)
                    .build()
            }
            _ => return Err(work),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() - 1
        });
        let entry = entry.user_data(slot as u64);
        let store = Arc::clone(store);
        self.flights[slot] = Some(Flight { work, store, held });
        // SAFETY: memory and descriptor live in `flights` until the kernel says that it is done with them, or for ever.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            // The kernel has not seen it. There are as many entries as slots, so it does not happen.
            return match self.land(slot) {
                Some(flight) => Err(flight.work),
                None => Ok(()),
            };
        }
        if self.ring.submission().len() >= BATCH {
            self.submit();
        }
        Ok(())
    }

    /// Hands the kernel what it has not got, and looks what has ended.
    pub(super) fn submit(&mut self) {
        let mut queue = self.ring.submission();
        queue.sync();
        let (waiting, ended) = (queue.len(), self.deferred && queue.taskrun());
        drop(queue);
        if waiting == 0 && !ended {
            return;
        }
        let count = u32::try_from(waiting).unwrap_or(u32::MAX);
        let flags = if self.deferred { GET_EVENTS } else { 0 };
        // What it does not take now it takes the next time.
        // SAFETY: no argument is passed, and what is in the queue is valid: see `start`.
        let _ = unsafe { self.ring.submitter().enter::<()>(count, 0, flags, None) };
    }

    fn land(&mut self, slot: usize) -> Option<Flight<T>> {
        let flight = self.flights.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(flight)
    }

    /// Takes one transfer that has ended.
    pub(super) fn finished(&mut self) -> Option<Landed<T>> {
        let mut done = self.ring.completion().next();
        if done.is_none() {
            self.submit();
            done = self.ring.completion().next();
        }
        let done = done?;
        let slot = usize::try_from(done.user_data()).ok()?;
        let flight = self.land(slot)?;
        drop(flight.held);
        let (mut work, store) = (flight.work, flight.store);
        if usize::try_from(done.result()).ok() != Some(work.data.len()) {
            return Some(Landed::Odd(work, store));
        }
        work.ticket.end();
        work.finished = Finished::Done;
        Some(Landed::Whole(work))
    }

    fn under_way(&self) -> usize {
        self.flights.len() - self.free.len()
    }
}

impl<T: Ticket> Drop for Ring<T> {
    /// The kernel writes into memory that is about to be freed: waits until it no longer does. The thread that ends
    /// would wait for its transfers anyway, in the kernel.
    fn drop(&mut self) {
        while self.under_way() > 0 {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nobody will say when it is safe. The memory stays the kernel's, and the tickets stay begun.
                Err(_) => return self.flights.drain(..).for_each(std::mem::forget),
            }
            while let Some(landed) = self.finished() {
                if let Landed::Odd(work, _) = landed {
                    work.ticket.end();
                }
            }
        }
    }
}

impl<T: Ticket> std::fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({} under way)", self.under_way())
    }
}
