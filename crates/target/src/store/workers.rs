//! Threads that wait for a disk. Each medium, and each journal, has its own: a disk that hangs holds up nobody else.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The most threads of one medium: enough to let a disk order its work and a file system commit several durable
/// writes at once.
pub(super) const MOST: usize = 16;

/// How long a thread stays without work.
const PATIENCE: Duration = Duration::from_secs(10);

/// A piece of work. Does not panic.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The threads, and the work they have not begun.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    /// The most threads.
    most: usize,
}

impl Default for Workers {
    /// As many as a medium has.
    fn default() -> Self {
        Self::new(MOST)
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, threads) = (self.jobs.len(), self.threads);
        write!(f, "Queue({waiting} waiting, {threads} threads)")
    }
}

impl Workers {
    /// With so many threads at most. With one, jobs are done one after the other, in their order.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shared: Arc::default(),
            most,
        }
    }

    /// Whether no more jobs wait than there may be threads.
    pub(super) fn is_at_hand(&self) -> bool {
        self.waiting() < self.most
    }

    /// How many jobs have not begun.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    /// Hands a job over. The queue has no limit of its own: each job belongs to a command, and the server bounds these.
    pub(crate) fn push(&self, job: Job) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        // Idle threads that were woken count as idle until they run: each takes one of the jobs that wait.
        if queue.idle >= queue.jobs.len() {
            drop(queue);
            self.shared.work.notify_one();
        } else if queue.threads < self.most {
            queue.threads += 1;
            drop(queue);
            if self.spawn().is_err() {
                self.without_a_thread();
            }
        }
    }

    fn spawn(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("medium".into())
            .spawn(move || shared.work())
            .map(drop)
    }

    /// The kernel gives no thread. Those that run will come to the job; if none does, the caller has to do it.
    fn without_a_thread(&self) {
        let mut queue = self.shared.lock();
        queue.threads -= 1;
        if queue.threads == 0 {
            let stranded = std::mem::take(&mut queue.jobs);
            drop(queue);
            stranded.into_iter().for_each(|job| job());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// A thread's life.
    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
                continue;
            }
            if queue.closed {
                break;
            }
            queue.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout(queue, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                break;
            }
        }
        queue.threads -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Jobs run outside of the lock: the queue is whole whoever panicked.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_jobs_are_done_by_a_bounded_number_of_threads() {
        let workers = Workers::default();
        let (done, all) = mpsc::channel();
        for number in 0..200_u32 {
            let done = done.clone();
            workers.push(Box::new(move || {
                done.send((number, thread::current().id())).unwrap();
            }));
        }
        drop(done);
        let mut ended: Vec<_> = all.iter().collect();
        let threads: std::collections::HashSet<_> = ended.iter().map(|(_, id)| *id).collect();
        ended.sort_by_key(|(number, _)| *number);
        assert!(ended.iter().map(|(number, _)| *number).eq(0..200));
        assert!(threads.len() <= MOST);
    }

    #[test]
    fn a_single_thread_keeps_the_order() {
        let workers = Workers::new(1);
        let (release, hang) = mpsc::channel::<()>();
        let (done, all) = mpsc::channel();
        workers.push(Box::new(move || {
            let _ = hang.recv();
        }));
        for number in 0..100 {
            let done = done.clone();
            workers.push(Box::new(move || done.send(number).unwrap()));
        }
        drop(done);
        assert!(workers.waiting() >= 100);
        drop(release);
        assert!(all.iter().eq(0..100));
    }

    #[test]
    fn a_job_that_hangs_leaves_the_others_their_threads() {
        let workers = Workers::default();
        let (release, hang) = mpsc::channel::<()>();
        workers.push(Box::new(move || {
            let _ = hang.recv();
        }));
        let (done, ended) = mpsc::channel();
        for _ in 0..20 {
            let done = done.clone();
            workers.push(Box::new(move || done.send(()).unwrap()));
        }
        drop(done);
        assert_eq!(ended.iter().count(), 20);
        drop(release);
    }

    #[test]
    fn threads_end_with_the_medium() {
        let workers = Workers::default();
        let (done, ended) = mpsc::channel();
        workers.push(Box::new(move || done.send(()).unwrap()));
        ended.recv().unwrap();
        let shared = Arc::downgrade(&workers.shared);
        drop(workers);
        let limit = std::time::Instant::now() + Duration::from_secs(5);
        while shared.strong_count() > 0 {
            assert!(std::time::Instant::now() < limit, "a thread lives on");
            thread::yield_now();
        }
    }
}
