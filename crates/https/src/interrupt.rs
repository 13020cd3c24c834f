//! What ends waits early: a descriptor that becomes readable.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Ends every wait of the connections that were given it, once its descriptor is readable. Cheap to clone.
///
/// An agent's is readable after SIGTERM. A connection that was interrupted can still be used, without its interrupt, to say
/// goodbye.
#[derive(Debug, Clone)]
pub struct Interrupt(pub(crate) Arc<OwnedFd>);

impl Interrupt {
    /// Waits end when `descriptor` is readable.
    #[must_use]
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }
}
