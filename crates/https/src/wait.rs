//! The one way to wait: for a descriptor, at most until the deadline, and never after the caller was asked to end.

use std::os::fd::BorrowedFd;

use deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::Interrupt;

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Deadline,
    Interrupted,
}

/// Waits until `fd` is ready for `flags`; none: until the deadline passes or somebody interrupts.
pub(crate) fn wait_for(
    fd: Option<(BorrowedFd<'_>, PollFlags)>,
    interrupt: Option<&Interrupt>,
    deadline: Deadline,
) -> Result<PollFlags, Stop> {
    let interrupted = interrupt.map(|interrupt| PollFd::new(interrupt, PollFlags::IN));
    let wanted = fd.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
    let from = usize::from(interrupted.is_some());
    let mut fds: Vec<PollFd<'_>> = interrupted.into_iter().chain(wanted).collect();
    loop {
        let limit = Timespec::try_from(deadline.remaining()).ok();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // Only when the kernel is out of memory or the descriptor table is wrong: nothing can be waited for any more.
            Err(_) => return Err(Stop::Deadline),
        }
        if fds[..from].iter().any(|fd| !fd.revents().is_empty()) {
            return Err(Stop::Interrupted);
        }
        let ready = fds[from..].iter().map(PollFd::revents).next();
        match ready {
            Some(ready) if !ready.is_empty() => return Ok(ready),
            _ if deadline.has_passed() => return Err(Stop::Deadline),
            _ => {}
        }
    }
}

/// Whether the caller may go on at all.
pub(crate) fn check(interrupt: Option<&Interrupt>, deadline: Deadline) -> Result<(), Stop> {
    if deadline.has_passed() {
        return Err(Stop::Deadline);
    }
    match wait_for(None, interrupt, Deadline::at(std::time::Instant::now())) {
        Err(Stop::Interrupted) => Err(Stop::Interrupted),
        _ => Ok(()),
    }
}
