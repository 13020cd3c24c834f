//! Hypervisors behind a management interface: a login, a session, privileges.

use deadline::Deadline;

use crate::{Error, GuestRef, Hypervisor};

/// A hypervisor that is reached by logging in to a management interface.
pub trait Managed: Hypervisor {
    /// Proves that the login is allowed to cut `guest`'s power, without doing so; without a guest, that it is allowed to for some
    /// guest, and that it sees any at all.
    ///
    /// # Errors
    /// [`Error::Refused`], naming the privilege and where it is granted; what prevented an answer otherwise.
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error>;

    /// Ends the session. The next call logs in anew. Also done, with a short deadline, when the value is dropped. Done in any
    /// case, whatever interrupted the calls before it; without a session there is nothing to do.
    ///
    /// # Errors
    /// When the server did not confirm it; the session then lasts until the server's own idle limit.
    fn log_out(&self, deadline: Deadline) -> Result<(), Error>;

    /// What went wrong without being a reason to fail, since the last time: to be told to the user.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
