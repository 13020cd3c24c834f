//! How other threads reach the thread of a connection: a list of letters and a descriptor to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Letters for one reader, from any thread. Whoever sends never waits.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    bell: OwnedFd,
    full: AtomicBool,
    letters: Mutex<Vec<T>>,
}

impl<T> Mailbox<T> {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            full: AtomicBool::new(false),
            letters: Mutex::new(Vec::new()),
        })
    }

    /// Sends a letter. The reader is woken by the first of several.
    pub(crate) fn post(&self, letter: T) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push(letter);
        let first = !self.full.swap(true, Ordering::Release);
        drop(letters);
        if first {
            // It can only fail if the count is at its end, and then the reader is awake.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Moves all letters to the end of `into`.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        if !self.full.load(Ordering::Acquire) {
            return;
        }
        let mut count = [0; 8];
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        self.full.store(false, Ordering::Release);
        let _ = rustix::io::read(&self.bell, &mut count);
        into.append(&mut letters);
    }

    /// Waits for a letter, for so long at most.
    pub(crate) fn wait(&self, limit: Duration) {
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(
            &mut [PollFd::new(&self.bell, PollFlags::IN)],
            limit.as_ref(),
        );
    }

    /// Readable while there are letters.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn rings<T>(mailbox: &Mailbox<T>, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        poll(
            &mut [PollFd::new(&mailbox.bell(), PollFlags::IN)],
            Some(&limit),
        )
        .unwrap()
            > 0
    }

    #[test]
    fn every_letter_arrives_and_the_bell_is_silent_afterwards() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || (0..1000).for_each(|n| mailbox.post((sender, n))))
            })
            .collect();
        let mut letters = Vec::new();
        while letters.len() < 4000 {
            assert!(rings(&mailbox, Duration::from_secs(10)));
            mailbox.take(&mut letters);
        }
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        mailbox.take(&mut letters);
        assert_eq!(letters.len(), 4000);
        assert!(!rings(&mailbox, Duration::ZERO));
    }
}
