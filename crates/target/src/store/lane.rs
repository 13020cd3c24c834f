//! How operations leave the thread of a connection, and how it hears of their end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use scsi::lu::{MediumFailure, Operation};

use super::{Buffer, Store};

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

/// What carries operations out, shared by all connections.
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

/// One connection's way to the media. Belongs to one thread, which polls its descriptor ([`AsFd`]) beside its socket.
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

    /// Starts an operation: carries it out at once if that does not wait for a disk, else hands it on. Does not block.
    /// `data` holds the data-out; without any, it is memory for the data-in, used again if it is large enough.
    pub fn start(
        &mut self,
        ticket: T,
        store: &Arc<Store>,
        operation: Operation,
        data: Buffer,
    ) -> Started<T> {
        let _ = store;
        Started::AtOnce(Done {
            ticket,
            operation,
            data,
            finished: Finished::Aborted,
        })
    }

    /// Hands over what was started since the last call: once after a batch, before the thread waits.
    pub fn submit(&mut self) {}

    /// Takes one operation that has ended; `None` if none has, and then the descriptor is readable only once another
    /// has.
    pub fn finished(&mut self) -> Option<Done<T>> {
        self.finished.pop()
    }

    /// How many operations are under way.
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
