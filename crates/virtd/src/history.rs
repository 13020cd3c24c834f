//! What was asked before: duplicates and replays.
//!
//! Two memories, both bounded and both on the monotonic clock:
//!
//! - [`Replays`] knows the signatures of packets that were accepted, for as long as there is room.
//!   The same signed packet is never accepted twice (W14): every packet that a client really sends
//!   has fresh random bytes in it, retransmissions too.
//! - [`History`] knows requests by source, operation, guest and sequence number. A retransmission of
//!   a request that runs gets that request's answer; of one that has ended, none, until the window
//!   has passed.
//!
//! Neither reads a clock or locks anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use fence_wire::Operation;

/// How long a finished request is remembered. The C daemon's 10 to 12 seconds, made exact.
pub const WINDOW: Duration = Duration::from_secs(12);

/// Finished requests remembered at most. Under a storm of more than six hundred a second the oldest
/// go before their time; what is signed is still known by its signature then.
const MAX_FINISHED: usize = 7_168;

/// Signatures remembered at least: at ten requests a second three quarters of an hour. Twice as many
/// at most. (Seven eighths of a power of two fill a hash table.)
pub const MIN_REPLAYS: usize = 28_672;

/// What makes two packets the same request, as a keyed hash: so many are remembered that their texts
/// would take megabytes. Should two different ones ever meet, one is dropped, and asked again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

/// Makes fingerprints. The key is random, so that nobody can make two requests look the same.
#[derive(Debug, Clone, Default)]
pub struct Fingerprints(RandomState);

impl Fingerprints {
    /// The request `operation` on `plug`, numbered `seqno`, from `source`. Guest names compare
    /// without case, as in C; the source is part of it, unlike in C (W30).
    #[must_use]
    pub fn of(&self, source: &str, operation: Operation, plug: &str, seqno: u32) -> Fingerprint {
        let request = (
            source.to_ascii_lowercase(),
            operation.0,
            plug.to_ascii_lowercase(),
            seqno,
        );
        Fingerprint(self.0.hash_one(request))
    }
}

/// What is known about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// Never seen, or too long ago. It counts as running from now on.
    New,
    /// It runs; this is how to share its answer.
    Running(T),
    /// It ended less than [`WINDOW`] ago.
    Finished,
}

/// Requests that run or have ended lately. `T` is what a duplicate needs to share the answer.
#[derive(Debug)]
pub struct History<T> {
    running: HashMap<Fingerprint, T>,
    finished: HashSet<Fingerprint>,
    order: VecDeque<(Instant, Fingerprint)>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            finished: HashSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T: Clone> History<T> {
    /// Looks a request up, and notes it as running with what `begin` makes if it is new.
    pub fn begin(
        &mut self,
        request: Fingerprint,
        now: Instant,
        begin: impl FnOnce() -> T,
    ) -> Seen<T> {
        self.forget_old(now);
        if let Some(shared) = self.running.get(&request) {
            return Seen::Running(shared.clone());
        }
        if self.finished.contains(&request) {
            return Seen::Finished;
        }
        self.running.insert(request, begin());
        Seen::New
    }

    /// The request has been answered; its duplicates are refused until the window has passed.
    pub fn finish(&mut self, request: Fingerprint, now: Instant) {
        if self.running.remove(&request).is_none() {
            return;
        }
        self.finished.insert(request);
        self.order.push_back((now, request));
        self.forget_old(now);
    }

    /// The request ended before anything was done for it (its sender could not be reached or did
    /// not prove itself): a retransmission is to be taken up again.
    pub fn abandon(&mut self, request: Fingerprint) {
        self.running.remove(&request);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.order.front() {
            let fresh = now.saturating_duration_since(*at) < WINDOW;
            if fresh && self.order.len() < MAX_FINISHED {
                return;
            }
            if let Some((_, request)) = self.order.pop_front() {
                self.finished.remove(&request);
            }
        }
    }
}

/// The part of a signature that is remembered. Should two ever meet by chance, one packet is dropped,
/// and its retransmission, signed anew, is not.
type Digest = u64;

/// The signatures of accepted packets, in two generations: when the younger one is full, the older one
/// is forgotten and the younger takes its place.
#[derive(Debug)]
pub struct Replays {
    younger: HashSet<Digest>,
    older: HashSet<Digest>,
    room: usize,
}

impl Replays {
    /// A memory of `room` signatures at least and twice as many at most.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            younger: HashSet::new(),
            older: HashSet::new(),
            room: room.max(1),
        }
    }

    /// Notes the signature of an accepted packet; false if it was there already.
    #[must_use]
    pub fn accept(&mut self, signature: &[u8]) -> bool {
        let (length, mut bytes) = (signature.len().min(8), [0; 8]);
        bytes[..length].copy_from_slice(&signature[..length]);
        let digest = Digest::from_le_bytes(bytes);
        if self.younger.contains(&digest) || self.older.contains(&digest) {
            return false;
        }
        if self.younger.len() >= self.room {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(digest);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static KEYS: LazyLock<Fingerprints> = LazyLock::new(Fingerprints::default);

    fn request(source: &str, seqno: u32) -> Fingerprint {
        KEYS.of(source, Operation::OFF, "vm1", seqno)
    }

    #[test]
    fn a_retransmission_shares_the_answer_and_then_gets_none() {
        let mut history = History::default();
        let start = Instant::now();
        assert_eq!(history.begin(request("a", 1), start, || 7), Seen::New);
        assert_eq!(
            history.begin(request("A", 1), start, || 8),
            Seen::Running(7)
        );
        history.finish(request("a", 1), start);
        let soon = start + WINDOW - Duration::from_millis(1);
        assert_eq!(history.begin(request("a", 1), soon, || 9), Seen::Finished);
        assert_eq!(
            history.begin(request("a", 1), start + WINDOW, || 9),
            Seen::New
        );
    }

    #[test]
    fn another_source_number_guest_or_operation_is_another_request() {
        let mut history = History::default();
        let now = Instant::now();
        for other in [
            request("a", 1),
            request("b", 1),
            request("a", 2),
            KEYS.of("a", Operation::ON, "vm1", 1),
            KEYS.of("a", Operation::OFF, "vm2", 1),
        ] {
            assert_eq!(history.begin(other, now, || ()), Seen::New);
        }
        assert_eq!(
            history.begin(KEYS.of("a", Operation::OFF, "VM1", 1), now, || ()),
            Seen::Running(())
        );
    }

    #[test]
    fn what_was_abandoned_may_come_again() {
        let mut history = History::default();
        let now = Instant::now();
        assert_eq!(history.begin(request("a", 1), now, || ()), Seen::New);
        history.abandon(request("a", 1));
        assert_eq!(history.begin(request("a", 1), now, || ()), Seen::New);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        let now = Instant::now();
        for seqno in 0..50_000 {
            history.begin(request("a", seqno), now, || ());
            history.finish(request("a", seqno), now);
        }
        assert!(history.finished.len() <= MAX_FINISHED && history.order.len() <= MAX_FINISHED);
        assert!(history.running.is_empty());
    }

    #[test]
    fn signatures_are_known_until_twice_the_room_is_full() {
        let mut replays = Replays::new(2);
        for byte in 1..=4 {
            assert!(replays.accept(&[byte; 64]));
            assert!(!replays.accept(&[byte; 64]));
        }
        for byte in 1..=4 {
            assert!(!replays.accept(&[byte; 64]), "{byte}");
        }
        assert!(replays.accept(&[5; 64]));
        assert!(!replays.accept(&[3; 64]) && !replays.accept(&[4; 64]));
        assert!(replays.accept(&[1; 64]));
        assert!(replays.younger.len() <= 2 && replays.older.len() <= 2);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(u32),
        Finish(u32),
        Abandon(u32),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u32..4).prop_map(Step::Begin),
            (0u32..4).prop_map(Step::Finish),
            (0u32..4).prop_map(Step::Abandon),
            (0u64..8000).prop_map(Step::Wait),
        ]
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Model {
        Absent,
        Running,
        Finished(Instant),
    }

    proptest! {
        /// Against one state per request, with a virtual clock.
        #[test]
        fn agrees_with_the_model(steps in proptest::collection::vec(step(), 1..60)) {
            let mut history = History::default();
            let mut model = [Model::Absent; 4];
            let mut now = Instant::now();
            for step in steps {
                match step {
                    Step::Wait(millis) => now += Duration::from_millis(millis),
                    Step::Finish(n) => {
                        history.finish(request("a", n), now);
                        if model[n as usize] == Model::Running {
                            model[n as usize] = Model::Finished(now);
                        }
                    }
                    Step::Abandon(n) => {
                        history.abandon(request("a", n));
                        if model[n as usize] == Model::Running {
                            model[n as usize] = Model::Absent;
                        }
                    }
                    Step::Begin(n) => {
                        let state = &mut model[n as usize];
                        let expected = match *state {
                            Model::Running => Seen::Running(n),
                            Model::Finished(at) if now - at < WINDOW => Seen::Finished,
                            _ => Seen::New,
                        };
                        if expected == Seen::New {
                            *state = Model::Running;
                        }
                        prop_assert_eq!(history.begin(request("a", n), now, || n), expected);
                    }
                }
            }
        }
    }
}
