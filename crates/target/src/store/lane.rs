//! How operations leave the thread of a connection, and how it hears of their end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::{Allocation, Buffer, Durability, Extent, MediumError, Store};

/// An operation on the medium, with the memory it needs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Order {
    /// READ.
    Read {
        /// The first block.
        lba: u64,
        /// As long as what is to be read.
        into: Buffer,
    },
    /// WRITE.
    Write {
        /// The first block.
        lba: u64,
        /// What to write.
        data: Buffer,
        /// FUA.
        durability: Durability,
    },
    /// WRITE AND VERIFY: durable, then read back from the medium and compared.
    WriteAndVerify {
        /// The first block.
        lba: u64,
        /// What to write.
        data: Buffer,
    },
    /// VERIFY with BYTCHK 1.
    Compare {
        /// The first block.
        lba: u64,
        /// What should be there.
        expected: Buffer,
    },
    /// VERIFY with BYTCHK 0.
    Verify(Extent),
    /// VERIFY with BYTCHK 3: every block against one.
    CompareSame {
        /// Where.
        extent: Extent,
        /// One block.
        block: Buffer,
    },
    /// WRITE SAME.
    WriteSame {
        /// Where.
        extent: Extent,
        /// One block.
        block: Buffer,
        /// The UNMAP bit.
        unmap: bool,
    },
    /// COMPARE AND WRITE.
    CompareAndWrite {
        /// The first block.
        lba: u64,
        /// What should be there, then what to write: two halves of the same length.
        data: Buffer,
        /// FUA.
        durability: Durability,
    },
    /// UNMAP.
    Unmap(Vec<Extent>),
    /// SYNCHRONIZE CACHE.
    Flush,
    /// PRE-FETCH.
    Prefetch(Extent),
    /// GET LBA STATUS.
    Allocation {
        /// The first block asked about.
        lba: u64,
        /// The most extents wanted.
        most: usize,
        /// Filled in.
        found: Vec<(Extent, Allocation)>,
    },
}

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

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Carried out.
    Done,
    /// Failed on the medium.
    Failed(MediumError),
    /// Not begun: its ticket said no.
    Aborted,
}

/// An order that has ended, with its memory.
#[derive(Debug)]
pub struct Done<T> {
    /// Whose it was.
    pub ticket: T,
    /// The order as it was given; data read are in its buffer.
    pub order: Order,
    /// How it ended.
    pub finished: Finished,
}

/// What became of an order that was started.
#[derive(Debug)]
#[must_use]
pub enum Started<T> {
    /// It has ended already.
    AtOnce(Done<T>),
    /// It is under way: [`Lane::finished`] will have it.
    Later,
}

/// What carries orders out, shared by all connections.
#[derive(Debug)]
pub struct IoPath {}

impl IoPath {
    /// Starts it with this many threads at most.
    ///
    /// # Errors
    /// If the kernel gives no thread.
    pub fn start(threads: usize) -> io::Result<Arc<Self>> {
        let _ = threads;
        Ok(Arc::new(Self {}))
    }
}

/// One connection's way to the media. Belongs to one thread, which polls [`Lane::as_fd`] beside its socket.
#[derive(Debug)]
pub struct Lane<T> {
    #[expect(dead_code, reason = "filled in next")]
    path: Arc<IoPath>,
    wake: std::os::fd::OwnedFd,
    finished: Vec<Done<T>>,
}

impl<T: Ticket> Lane<T> {
    /// A lane with nothing under way.
    ///
    /// # Errors
    /// If the kernel gives no descriptor.
    pub fn new(path: &Arc<IoPath>) -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK)?;
        Ok(Self {
            path: Arc::clone(path),
            wake,
            finished: Vec::new(),
        })
    }

    /// Starts an order: carries it out at once if that does not wait for a disk, else hands it on. Does not block.
    pub fn start(&mut self, ticket: T, store: &Arc<Store>, order: Order) -> Started<T> {
        let _ = store;
        Started::AtOnce(Done {
            ticket,
            order,
            finished: Finished::Aborted,
        })
    }

    /// Hands over what was started since the last call: once after a batch, before the thread waits.
    pub fn submit(&mut self) {}

    /// Takes one order that has ended; `None` if none has. Clears the descriptor's readiness.
    pub fn finished(&mut self) -> Option<Done<T>> {
        self.finished.pop()
    }

    /// How many orders are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        0
    }
}

impl<T> AsFd for Lane<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
