//! A load generator for TCP daemons: closed-loop clients, and silent connections beside them.
//!
//! Each client is a thread with blocking sockets that makes one status request after the other, a
//! fresh connection for each as the protocol demands. A silent party connects, says nothing, and
//! connects again when the daemon has dropped it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use fence_wire::{
    AgentHandshake, Answer, CHALLENGE_LEN, HashType, Key, Operation, Plug, Reply, ReplyReader,
    Request,
};

/// How long silent parties get, at most, to fill their places before the clients begin.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long a silent party waits before it takes its place again: it holds, it does not flood.
pub(crate) const REOPEN: Duration = Duration::from_millis(20);
/// How long a request that is under way when the window closes may still take.
const GRACE: Duration = Duration::from_secs(1);
/// How long a silent party tries to connect before it tries anew.
const KNOCK: Duration = Duration::from_secs(2);

/// What to do to a daemon.
#[derive(Debug)]
pub(crate) struct Load {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The shared key.
    pub(crate) key: Key,
    /// Guests to ask about, all running.
    pub(crate) plugs: Vec<Plug>,
    /// How many clients ask at the same time.
    pub(crate) clients: usize,
    /// How many connections are held without a word.
    pub(crate) silent: usize,
    /// For how long.
    pub(crate) window: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Seconds per answered request, ascending.
    pub(crate) answered: Vec<f64>,
    /// How many of them were answered before the window closed.
    pub(crate) in_time: usize,
    /// Seconds that requests had waited when they were given up; their real latency is longer.
    pub(crate) unanswered: Vec<f64>,
    /// Requests that failed, by message.
    pub(crate) failed: BTreeMap<String, usize>,
    /// How long the window was.
    pub(crate) window: Duration,
    /// How many silent connections were open when the clients began.
    pub(crate) silent: usize,
}

impl Outcome {
    /// Requests answered per second.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of requests, far below 2^52"
    )]
    pub(crate) fn rate(&self) -> f64 {
        self.in_time as f64 / self.window.as_secs_f64()
    }

    /// The `share`-quantile of latency in milliseconds, and whether it is only a lower bound
    /// because it falls among requests that were given up.
    pub(crate) fn latency(&self, share: f64) -> Option<(f64, bool)> {
        let mut all = self.answered.clone();
        all.extend(&self.unanswered);
        all.sort_by(f64::total_cmp);
        let value = super::results::quantile(&all, share)?;
        let bound = self.unanswered.iter().any(|waited| *waited <= value);
        Some((value * 1e3, bound))
    }

    /// How many requests failed.
    pub(crate) fn failures(&self) -> usize {
        self.failed.values().sum()
    }
}

/// What all threads of a run share.
struct Run<'a> {
    load: &'a Load,
    seqno: AtomicU32,
    over: AtomicBool,
    holding: AtomicUsize,
}

impl Load {
    /// Runs it; threads inherit the network namespace of the caller.
    ///
    /// # Errors
    /// There is no randomness, or a client met something that no daemon should do.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).context("no randomness")?;
        let run = Run {
            load: self,
            seqno: AtomicU32::new(u32::from_le_bytes(seed)),
            over: AtomicBool::new(false),
            holding: AtomicUsize::new(0),
        };
        let start = Barrier::new(self.clients + 1);
        let places: Vec<_> = (0..self.silent).map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for place in &places {
                scope.spawn(|| run.hold(place));
            }
            let clients: Vec<_> = (0..self.clients)
                .map(|n| {
                    let (run, start) = (&run, &start);
                    scope.spawn(move || {
                        start.wait();
                        run.client(n, Instant::now() + self.window)
                    })
                })
                .collect();
            run.settle();
            let mut outcome = Outcome {
                silent: run.holding.load(Ordering::Relaxed),
                window: self.window,
                ..Outcome::default()
            };
            start.wait();
            let parts: Vec<_> = clients.into_iter().map(ScopedJoinHandle::join).collect();
            run.end(&places);
            for part in parts {
                outcome.merge(part.map_err(|_| anyhow!("a client panicked"))?);
            }
            outcome.answered.sort_by(f64::total_cmp);
            Ok(outcome)
        })
    }
}

impl Outcome {
    fn merge(&mut self, part: Self) {
        self.answered.extend(part.answered);
        self.in_time += part.in_time;
        self.unanswered.extend(part.unanswered);
        for (message, count) in part.failed {
            *self.failed.entry(message).or_default() += count;
        }
    }
}

impl Run<'_> {
    /// A client: one request after the other until the window closes.
    fn client(&self, first: usize, end: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for turn in first.. {
            let plug = &self.load.plugs[turn % self.load.plugs.len()];
            let began = Instant::now();
            if began >= end {
                break;
            }
            let result = self.request(plug, end + GRACE);
            let now = Instant::now();
            let waited = (now - began).as_secs_f64();
            match result {
                Ok(()) => {
                    outcome.answered.push(waited);
                    outcome.in_time += usize::from(now <= end);
                }
                Err(_) if now >= end + GRACE => outcome.unanswered.push(waited),
                Err(error) => {
                    *outcome.failed.entry(format!("{error:#}")).or_default() += 1;
                    std::thread::sleep(REOPEN);
                }
            }
        }
        outcome
    }

    /// One status request, answered "on".
    fn request(&self, plug: &Plug, end: Instant) -> Result<()> {
        let mut random = [0; 6 + CHALLENGE_LEN];
        getrandom::fill(&mut random)?;
        let (salt, challenge) = random.split_at(6);
        let request = Request {
            operation: Operation::STATUS,
            by_uuid: false,
            plug: Some(plug.clone()),
            reply_to: None,
            random: salt.try_into()?,
            seqno: self.seqno.fetch_add(1, Ordering::Relaxed),
        };
        let key = &self.load.key;
        let handshake = AgentHandshake::new(HashType::Sha256, key, challenge.try_into()?);
        let mut first = request.encode(HashType::Sha256, key).to_vec();
        let mut stream = connect(self.load.address, end)?;
        match exchange(&mut stream, &mut first, handshake)? {
            Answer::Reply(Reply::SUCCESS) => Ok(()),
            other => bail!("unexpected answer {other:?}"),
        }
    }

    /// Waits until the silent parties have their places, or as many of them as the daemon lets in.
    fn settle(&self) {
        let until = Instant::now() + SETTLE;
        while self.holding.load(Ordering::Relaxed) < self.load.silent && Instant::now() < until {
            std::thread::sleep(REOPEN);
        }
    }

    /// A silent party. It sleeps until the daemon drops it or the run is over: were it to look at a
    /// clock now and then, forty of them would disturb what is measured.
    fn hold(&self, place: &Mutex<Option<TcpStream>>) {
        while !self.over.load(Ordering::SeqCst) {
            let Ok(mut stream) = connect(self.load.address, Instant::now() + KNOCK) else {
                continue;
            };
            let Ok(handle) = stream.try_clone() else {
                continue;
            };
            *lock(place) = Some(handle);
            // Looked at after the handle is in its place: whoever ends the run does it the other
            // way round, so one of the two always notices.
            if self.over.load(Ordering::SeqCst) || stream.set_read_timeout(None).is_err() {
                return;
            }
            self.holding.fetch_add(1, Ordering::Relaxed);
            let mut buffer = [0; 64];
            while stream.read(&mut buffer).is_ok_and(|got| got > 0) {}
            self.holding.fetch_sub(1, Ordering::Relaxed);
            *lock(place) = None;
            drop(stream);
            std::thread::sleep(REOPEN);
        }
    }

    /// Ends the silent parties.
    fn end(&self, places: &[Mutex<Option<TcpStream>>]) {
        self.over.store(true, Ordering::SeqCst);
        for place in places {
            if let Some(stream) = lock(place).as_ref() {
                // It may have been dropped already, which is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// A place is only ever stored to, so one left by a panicking thread is as good as any.
fn lock(place: &Mutex<Option<TcpStream>>) -> MutexGuard<'_, Option<TcpStream>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(address: SocketAddr, end: Instant) -> Result<TcpStream> {
    let left = end.saturating_duration_since(Instant::now());
    // Zero means "no limit" to the socket; the least there is means "now or never".
    let left = left.max(Duration::from_millis(1));
    let stream = TcpStream::connect_timeout(&address, left).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    Ok(stream)
}

/// The whole conversation after the connection is made.
fn exchange(
    stream: &mut TcpStream,
    outgoing: &mut Vec<u8>,
    mut handshake: AgentHandshake,
) -> Result<Answer> {
    let mut reader = ReplyReader::new();
    let mut buffer = [0; 256];
    loop {
        while let Some(bytes) = handshake.transmit() {
            outgoing.extend(bytes);
        }
        stream.write_all(outgoing).context("send")?;
        outgoing.clear();
        let got = stream.read(&mut buffer).context("receive")?;
        if got == 0 {
            bail!("closed without an answer");
        }
        let used = handshake.receive(&buffer[..got])?;
        if let Some(answer) = reader.receive(&buffer[used..got])? {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use fence_wire::{DaemonHandshake, REQUEST_LEN, Unverified};

    use super::*;

    fn load(address: SocketAddr) -> Load {
        Load {
            address,
            key: Key::new(b"secret"),
            plugs: vec![Plug::new("vm1").unwrap()],
            clients: 2,
            silent: 0,
            window: Duration::from_millis(200),
        }
    }

    /// Serves one connection, checking that the request is what an agent would send.
    fn serve(mut stream: TcpStream, key: &Key) -> Result<()> {
        let mut packet = [0; REQUEST_LEN];
        stream.read_exact(&mut packet)?;
        let request = Unverified::decode(&packet)?.verify(HashType::Sha256, key)?;
        assert_eq!(request.operation, Operation::STATUS);
        let mut handshake = DaemonHandshake::new(HashType::Sha256, key, [7; CHALLENGE_LEN]);
        while !handshake.is_done() {
            let mut bytes = vec![0; handshake.need()];
            stream.read_exact(&mut bytes)?;
            handshake.receive(&bytes)?;
            while let Some(out) = handshake.transmit() {
                stream.write_all(&out)?;
            }
        }
        stream.write_all(&[Reply::SUCCESS.0])?;
        Ok(())
    }

    #[test]
    fn clients_complete_the_handshake_and_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let load = load(listener.local_addr().unwrap());
        let key = load.key.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let key = key.clone();
                std::thread::spawn(move || serve(stream, &key));
            }
        });
        let outcome = load.run().unwrap();
        assert!(outcome.answered.len() > 2, "{outcome:?}");
        assert_eq!(outcome.failures(), 0, "{outcome:?}");
        assert!(outcome.answered.is_sorted());
    }

    #[test]
    fn a_daemon_that_never_answers_yields_a_lower_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let outcome = load(listener.local_addr().unwrap()).run().unwrap();
        assert_eq!((outcome.answered.len(), outcome.unanswered.len()), (0, 2));
        let (p99, bound) = outcome.latency(0.99).unwrap();
        assert!(bound && p99 >= 150.0, "{outcome:?}");
    }

    #[test]
    fn silent_parties_hold_their_places_and_end_with_the_run() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut load = load(listener.local_addr().unwrap());
        load.silent = 3;
        let held = std::thread::spawn(move || {
            let streams: Vec<_> = listener.incoming().flatten().take(5).collect();
            streams.len()
        });
        let outcome = load.run().unwrap();
        assert_eq!(outcome.silent, 3);
        assert_eq!(held.join().unwrap(), 5);
    }

    #[test]
    fn a_daemon_that_hangs_up_is_counted_as_failing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let load = load(listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
        let outcome = load.run().unwrap();
        assert!(outcome.failures() > 0, "{outcome:?}");
        assert!(outcome.answered.is_empty());
    }

    #[test]
    fn only_a_quantile_among_the_given_up_is_a_lower_bound() {
        let outcome = Outcome {
            answered: vec![0.001; 1000],
            unanswered: vec![1.0],
            ..Outcome::default()
        };
        assert_eq!(outcome.latency(0.5), Some((1.0, false)));
        assert_eq!(outcome.latency(1.0), Some((1000.0, true)));
    }
}
