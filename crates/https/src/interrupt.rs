//! What ends waits early: a descriptor that becomes readable.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use deadline::Deadline;

use crate::wait::{Stop, wait_for};

/// Ends every wait of the connections that were given it, once its descriptor is readable. Cheap to clone.
///
/// An agent's is readable after SIGTERM. A connection that was interrupted can still be used, without its interrupt, to say
/// goodbye.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<OwnedFd>);

impl Interrupt {
    /// Waits end when `descriptor` is readable.
    #[must_use]
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }

    /// Waits for it, at most until `deadline`; true if it came. For pauses between two looks.
    #[must_use]
    pub fn wait(&self, deadline: Deadline) -> bool {
        wait_for(None, Some(self), deadline) == Err(Stop::Interrupted)
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
