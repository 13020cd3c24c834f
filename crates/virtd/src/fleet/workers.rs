//! Threads for calls that block.
//!
//! Each hypervisor connection has its own few, so that a connection which hangs holds up its own
//! callers and nobody else. Two are enough for any number of calls that return at once; more are made
//! only when a call has had to wait ([`Workers::grow`]), up to a bound, and they end when there has
//! been nothing to do for a while.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Threads that are made without a call having had to wait.
const READY_THREADS: usize = 2;
/// Calls at once on one hypervisor.
const MAX_THREADS: usize = 16;
/// Calls waiting for a thread.
const MAX_WAITING: usize = 4096;
/// How long a thread waits for more to do.
const IDLE: Duration = Duration::from_secs(30);
/// libvirt parses XML on the caller's stack; half a megabyte is plenty for it.
const STACK: usize = 512 << 10;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: take a job, do it, and so on until there has been none for a while.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A panic in one call must not take the thread from the others; the caller learns
                // of it because its channel closes.
                let _ = panic::catch_unwind(AssertUnwindSafe(job));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, result) = self
                .more
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if result.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// The threads of one hypervisor connection.
pub(super) struct Workers {
    name: String,
    shared: Arc<Shared>,
}

impl Workers {
    pub(super) fn new(name: &str) -> Self {
        Self {
            // The kernel keeps 15 bytes of a thread's name.
            name: name.chars().take(15).collect(),
            shared: Arc::default(),
        }
    }

    /// Queues a call at once and returns where its result will arrive. None if there is no room or
    /// no thread; a receiver that closes empty means that the call panicked.
    pub(super) fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _ = sender.send(call());
        });
        let mut state = self.shared.lock();
        if state.jobs.len() >= MAX_WAITING {
            return None;
        }
        state.jobs.push_back(job);
        if state.idle == 0 && state.threads < READY_THREADS {
            self.hire(state)?;
        } else {
            drop(state);
            self.shared.more.notify_one();
        }
        Some(receiver)
    }

    /// Makes another thread if calls are waiting and none is free: those that run may be stuck.
    pub(super) fn grow(&self) {
        let state = self.shared.lock();
        if !state.jobs.is_empty() && state.idle == 0 && state.threads < MAX_THREADS {
            self.hire(state);
        }
    }

    /// Makes a thread. None if there is not one that could ever do the waiting jobs.
    fn hire(&self, mut state: MutexGuard<'_, State>) -> Option<()> {
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let made = std::thread::Builder::new()
            .name(self.name.clone())
            .stack_size(STACK)
            .spawn(move || shared.work());
        if let Err(error) = made {
            tracing::error!(%error, "cannot make a thread");
            let mut state = self.shared.lock();
            state.threads -= 1;
            if state.threads == 0 {
                state.jobs.clear();
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn calls_run_side_by_side_and_threads_are_bounded() {
        let workers = Workers::new("test");
        let together = Arc::new(Barrier::new(MAX_THREADS));
        let waiting: Vec<_> = (0..MAX_THREADS)
            .map(|number| {
                let together = Arc::clone(&together);
                let call = move || {
                    together.wait();
                    number
                };
                workers.call(call).unwrap()
            })
            .collect();
        for _ in READY_THREADS..MAX_THREADS + 5 {
            workers.grow();
        }
        for (number, receiver) in waiting.into_iter().enumerate() {
            assert_eq!(receiver.await.unwrap(), number);
        }
        let done = Arc::new(AtomicUsize::new(0));
        let many: Vec<_> = (0..500)
            .map(|_| {
                let done = Arc::clone(&done);
                workers
                    .call(move || done.fetch_add(1, Ordering::Relaxed))
                    .unwrap()
            })
            .collect();
        for receiver in many {
            receiver.await.unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), 500);
        assert!(workers.shared.lock().threads <= MAX_THREADS);
    }

    #[tokio::test]
    async fn a_panic_ends_one_call_and_no_other() {
        let workers = Workers::new("test");
        assert!(
            workers
                .call(|| panic!("on purpose"))
                .unwrap()
                .await
                .is_err()
        );
        assert_eq!(workers.call(|| 1).unwrap().await.unwrap(), 1);
    }
}
