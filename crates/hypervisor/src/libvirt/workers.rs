//! The threads that wait inside the C library, so that nobody else has to.
//!
//! Two do the work while everything is well. When a call has waited in the queue for longer than
//! [`PATIENCE`](super::PATIENCE), its caller asks for one more ([`Workers::grow`]), up to
//! [`Workers::MOST`]; what is not needed any more ends after a while. A call that never comes back
//! costs one thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A call in the queue.
pub(super) trait Job: Send {
    /// Carries it out.
    fn run(self: Box<Self>);
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;
}

/// No thread and no place in the queue is free; the number of calls that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full(pub(super) usize);

#[derive(Default)]
struct State {
    queue: VecDeque<Box<dyn Job>>,
    threads: usize,
    idle: usize,
    closing: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queued, {} threads, {} idle",
            self.queue.len(),
            self.threads,
            self.idle
        )
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

/// The threads of one hypervisor connection. They end when this is dropped and their calls return.
#[derive(Debug, Default)]
pub(super) struct Workers(Arc<Shared>);

impl Workers {
    /// Threads while everything is well.
    const USUAL: usize = 2;
    /// Threads at most: this many calls may be stuck inside the library at the same time.
    pub(super) const MOST: usize = 32;
    /// Calls that may wait for a thread.
    const QUEUE: usize = 1024;
    /// How long a thread more than usual stays without work.
    const LINGER: Duration = Duration::from_secs(30);

    /// Queues a call.
    pub(super) fn push(&self, job: Box<dyn Job>) -> Result<(), Full> {
        let mut state = self.0.state();
        if state.queue.len() >= Self::QUEUE {
            state.queue.retain(|queued| queued.is_wanted());
        }
        if state.queue.len() >= Self::QUEUE {
            return Err(Full(state.queue.len() + state.threads - state.idle));
        }
        state.queue.push_back(job);
        if state.idle == 0 && state.threads < Self::USUAL {
            self.hire(&mut state);
        }
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }

    /// Adds a thread if all are busy with something and the limit allows it.
    pub(super) fn grow(&self) {
        let mut state = self.0.state();
        if !state.queue.is_empty() && state.idle == 0 && state.threads < Self::MOST {
            self.hire(&mut state);
        }
    }

    /// If the system gives no thread, the call waits for one of those there are.
    fn hire(&self, state: &mut State) {
        let shared = Arc::clone(&self.0);
        let hired = thread::Builder::new()
            .name("libvirt".to_owned())
            .spawn(move || shared.work());
        match hired {
            Ok(_) => state.threads += 1,
            Err(error) => tracing::warn!(%error, "no further thread for libvirt calls"),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closing = true;
        state.queue.clear();
        drop(state);
        self.0.work.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job.run();
                state = self.state();
                continue;
            }
            if state.closing {
                break;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, Workers::LINGER);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() && state.threads > Workers::USUAL {
                break;
            }
        }
        state.threads -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use deadline::Deadline;

    use super::*;

    /// A job that reports that it was begun and then waits to be let go.
    struct Stuck {
        begun: Sender<()>,
        release: Receiver<()>,
        wanted: bool,
    }

    impl Job for Stuck {
        fn run(self: Box<Self>) {
            let _ = self.begun.send(());
            let _ = self.release.recv();
        }
        fn is_wanted(&self) -> bool {
            self.wanted
        }
    }

    fn stuck(begun: &Sender<()>, wanted: bool) -> (Box<Stuck>, Sender<()>) {
        let (release, released) = mpsc::channel();
        (
            Box::new(Stuck {
                begun: begun.clone(),
                release: released,
                wanted,
            }),
            release,
        )
    }

    #[test]
    fn stuck_calls_cost_a_thread_each_up_to_the_limit() {
        let workers = Workers::default();
        let (begun, began) = mpsc::channel();
        let mut releases = Vec::new();
        for _ in 0..Workers::MOST + 5 {
            let (job, release) = stuck(&begun, true);
            workers.push(job).unwrap();
            workers.grow();
            releases.push(release);
        }
        // Callers that wait ask for a thread again and again: one that has not taken its call yet counts as idle.
        let deadline = Deadline::after(Duration::from_secs(20));
        let mut running = 0;
        while running < Workers::MOST {
            match began.recv_timeout(Duration::from_millis(10)) {
                Ok(()) => running += 1,
                Err(_) => workers.grow(),
            }
            assert!(!deadline.has_passed(), "{running} calls run");
        }
        workers.grow();
        assert_eq!(workers.0.state().threads, Workers::MOST);
        assert_eq!(workers.0.state().queue.len(), 5);
        drop(releases);
        for _ in 0..5 {
            began.recv_timeout(Duration::from_secs(20)).unwrap();
        }
    }

    #[test]
    fn the_queue_is_bounded_and_what_nobody_wants_makes_room() {
        let workers = Workers::default();
        let (begun, began) = mpsc::channel();
        let mut releases = Vec::new();
        for _ in 0..Workers::USUAL {
            let (job, release) = stuck(&begun, true);
            workers.push(job).unwrap();
            releases.push(release);
            began.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        for number in 0..Workers::QUEUE {
            workers.push(stuck(&begun, number != 0).0).unwrap();
        }
        workers.push(stuck(&begun, true).0).unwrap();
        let full = workers.push(stuck(&begun, true).0);
        assert_eq!(full, Err(Full(Workers::QUEUE + Workers::USUAL)));
    }
}
