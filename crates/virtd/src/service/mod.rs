//! Between listeners and fleet: is it a new request, may its sender ask for it, what is the answer,
//! and what is written down about it.
//!
//! A listener gets bytes and an identity from wherever it listens; the way of a request is then
//!
//! ```text
//! admit      signature good? packet never seen before?          no: reject, nothing is sent
//! begin      seen lately?       Running: share its answer · Finished: drop · New: a Ticket
//! (listener) handshake, or whatever proves that the sender is alive
//! answer     groups → fleet, with a deadline, and only while somebody still waits
//! (listener) send the answer
//! conclude   write the audit record
//! ```
//!
//! A ticket that is dropped before it was answered makes its request forgotten, so that a
//! retransmission is taken up again.

mod answer;
mod memory;
mod throttle;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use deadline::Deadline;
use fence_wire::{HashType, Plug, Request, RequestError, Unverified};
use hypervisor::GuestRef;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Auditor, Outcome, Record, Subject};
use crate::config::Limits;
use crate::fleet::{BoxFuture, Ended, Fleet, Presence};
use crate::history::{Fingerprint, Fingerprints, History, MIN_REPLAYS, Replays, Seen};
use crate::identity::Requester;
use crate::limits::Places;
use crate::policy::Policy;
use crate::security::Security;
pub use answer::{Answer, Answered};
pub use memory::{Challenges, Outstanding};
use throttle::Throttle;

/// What a reload replaces.
#[derive(Clone)]
pub struct Rules {
    /// Who may fence whom.
    pub policy: Arc<Policy>,
    /// Who knows and switches the guests.
    pub fleet: Arc<dyn Fleet>,
    /// How much at once, and how long.
    pub limits: Limits,
}

/// Everything that listeners share.
pub struct Service {
    rules: RwLock<Rules>,
    fingerprints: Fingerprints,
    history: Mutex<History<Sharing>>,
    replays: Mutex<Replays>,
    challenges: Challenges,
    places: Mutex<Places>,
    auditor: Auditor,
    tasks: TaskTracker,
    throttle: Mutex<Throttle>,
    started: String,
    count: AtomicU64,
}

/// What a duplicate of a running request needs.
#[derive(Debug, Clone)]
struct Sharing {
    answer: watch::Receiver<Option<Answer>>,
    interest: Arc<Interest>,
}

/// Who still waits for an answer.
#[derive(Debug, Default)]
struct Interest {
    waiting: AtomicU64,
    given_up: CancellationToken,
}

/// One peer that waits for an answer. When the last one is dropped, the request is withdrawn as far
/// as it has not begun.
#[derive(Debug)]
pub struct Waiting(Arc<Interest>);

impl Waiting {
    fn new(interest: &Arc<Interest>) -> Self {
        interest.waiting.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(interest))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.given_up.cancel();
        }
    }
}

/// What became of a request when it was looked up.
#[derive(Debug)]
pub enum Begun {
    /// It is new and is to be answered.
    New(Box<Ticket>),
    /// The same request runs already: it has one answer, for all who ask.
    Running(Duplicate),
    /// The same request ended a moment ago. It gets no answer.
    Finished,
}

/// A request that was taken up.
pub struct Ticket {
    service: Arc<Service>,
    fingerprint: Fingerprint,
    /// What is asked for.
    pub request: Request,
    /// By whom.
    pub requester: Requester,
    arrived: Instant,
    id: Arc<str>,
    result: watch::Sender<Option<Answer>>,
    interest: Arc<Interest>,
    waiting: Option<Waiting>,
    concluded: bool,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ticket")
            .field("id", &self.id)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// A request whose like runs already.
#[derive(Debug)]
pub struct Duplicate {
    sharing: Sharing,
}

impl Duplicate {
    /// Waits along with the first one.
    #[must_use]
    pub fn wait(&self) -> Waiting {
        Waiting::new(&self.sharing.interest)
    }

    /// The first one's answer; none if it ended without.
    pub async fn answer(mut self) -> Option<Answer> {
        let answer = self.sharing.answer.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }
}

impl Service {
    /// A service without any history.
    #[must_use]
    pub fn new(rules: Rules, auditor: Auditor) -> Arc<Self> {
        let mut token = [0; 4];
        // Only to tell runs of the daemon apart in the audit log.
        let _ = getrandom::fill(&mut token);
        let limits = rules.limits;
        Arc::new(Self {
            rules: RwLock::new(rules),
            fingerprints: Fingerprints::default(),
            history: Mutex::default(),
            replays: Mutex::new(Replays::new(MIN_REPLAYS)),
            challenges: Challenges::default(),
            places: Mutex::new(Self::places_for(limits)),
            auditor,
            tasks: TaskTracker::new(),
            throttle: Mutex::default(),
            started: token.iter().map(|byte| format!("{byte:02x}")).collect(),
            count: AtomicU64::new(0),
        })
    }

    fn places_for(limits: Limits) -> Places {
        Places::new(limits.max_connections, limits.max_connections_per_address)
    }

    /// What holds now.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What holds from now on. Requests that run are not touched; history and replay memory stay.
    pub fn set_rules(&self, rules: Rules) {
        *lock(&self.places) = Self::places_for(rules.limits);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Lets go of the fleet: nobody is asked any more. The future ends when its sessions are closed, which waits for requests that
    /// still run.
    pub fn end_fleet(&self) -> BoxFuture<'static, ()> {
        let ended: Arc<dyn Fleet> = Arc::new(Ended);
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let fleet = std::mem::replace(&mut rules.fleet, ended);
        drop(rules);
        fleet.farewell()
    }

    /// The places for connections.
    #[must_use]
    pub fn places(&self) -> Places {
        lock(&self.places).clone()
    }

    /// The challenges that have been sent and not answered yet.
    #[must_use]
    pub const fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Where sessions run, so that the end of the daemon can wait for them.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The audit log.
    #[must_use]
    pub const fn auditor(&self) -> &Auditor {
        &self.auditor
    }

    /// Checks a packet as it arrived: length, signature, and that it never arrived before.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is to be sent then.
    pub fn admit(&self, packet: &[u8], security: &Security) -> Result<Request, Refusal> {
        let packet = Unverified::decode(packet)?;
        let request = packet.verify(security.minimum, &security.key)?;
        // An unsigned packet is the same for every retransmission; only the history helps there.
        let signed = packet.hash_type() != Some(HashType::None);
        if signed && !lock(&self.replays).accept(&packet.digest()) {
            return Err(Refusal::Replayed);
        }
        Ok(request)
    }

    /// Looks a request up and takes it up if it is new. `source` tells requesters apart.
    #[must_use]
    pub fn begin(
        self: &Arc<Self>,
        request: Request,
        requester: Requester,
        source: &str,
        arrived: Instant,
    ) -> Begun {
        let plug = request.plug.as_ref().map_or("", Plug::as_str);
        let fingerprint = self
            .fingerprints
            .of(source, request.operation, plug, request.seqno);
        let mut first = None;
        let seen = lock(&self.history).begin(fingerprint, arrived, || {
            let (sender, receiver) = watch::channel(None);
            let interest = Arc::new(Interest::default());
            first = Some((sender, Arc::clone(&interest)));
            Sharing {
                answer: receiver,
                interest,
            }
        });
        match (seen, first) {
            (Seen::New, Some((result, interest))) => Begun::New(Box::new(Ticket {
                service: Arc::clone(self),
                fingerprint,
                request,
                requester,
                arrived,
                id: self.next_id(),
                result,
                waiting: Some(Waiting::new(&interest)),
                interest,
                concluded: false,
            })),
            (Seen::Running(sharing), _) => Begun::Running(Duplicate { sharing }),
            (Seen::Finished | Seen::New, _) => Begun::Finished,
        }
    }

    /// Whether the fleet should answer for the request's guest; requests without one are everyone's.
    pub async fn locate(&self, request: &Request) -> Presence {
        let Some(plug) = &request.plug else {
            return Presence::Known;
        };
        if !request.operation.needs_plug() {
            return Presence::Known;
        }
        let rules = self.rules();
        let deadline = Deadline::after(rules.limits.request_timeout);
        rules
            .fleet
            .locate(&GuestRef::parse(plug.as_str()), deadline)
            .await
    }

    /// Writes down that somebody did not prove to be who he should be. Only so many a second.
    pub fn reject(&self, requester: &Requester, reason: &dyn std::fmt::Display) {
        tracing::debug!(%requester, "rejected: {reason}");
        let Some(suppressed) = lock(&self.throttle).allow(Instant::now()) else {
            return;
        };
        let more = if suppressed > 0 {
            format!(" ({suppressed} more were not recorded)")
        } else {
            String::new()
        };
        tracing::warn!(%requester, "request rejected: {reason}{more}");
        self.auditor.record(
            Record::new(Subject::Unauthenticated, Outcome::Rejected)
                .from(requester)
                .because(format!("{reason}{more}")),
        );
    }

    fn next_id(&self) -> Arc<str> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.started).into()
    }
}

/// Why a packet is not taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not a good request.
    #[error(transparent)]
    Packet(#[from] RequestError),
    /// It was accepted before: somebody plays back what he heard.
    #[error("this very packet was accepted before; a replay")]
    Replayed,
}

impl Ticket {
    /// The requester's own wait for the answer, there to be dropped when it gives up.
    #[must_use]
    pub fn wait(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// The last moment at which anything is begun for this request.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        let limit = self.service.rules().limits.request_timeout;
        Deadline::at(self.arrived.checked_add(limit).unwrap_or(self.arrived))
    }

    /// Hands the answer to duplicates and writes the record. `sent` tells whether the requester got
    /// the answer.
    pub fn conclude(mut self, answered: Answered, sent: bool) {
        let Answered { answer, mut record } = answered;
        record.request = Some(Arc::clone(&self.id));
        record = record.from(&self.requester);
        record.operation = Some(self.request.operation.to_string());
        if record.guest.is_none() {
            record.guest = self
                .request
                .plug
                .as_ref()
                .map(|plug| plug.as_str().to_owned());
        }
        if sent {
            record.reply = Some(answer.byte());
        } else if record.outcome != Outcome::Withdrawn {
            let detail = record
                .detail
                .take()
                .map_or_else(String::new, |text| format!("{text}; "));
            record.detail = Some(format!("{detail}the requester was gone before the answer"));
        }
        record.took_ms = Some(self.arrived.elapsed().as_secs_f64() * 1000.0);
        log(&record);
        let forgotten = record.outcome == Outcome::Withdrawn;
        self.service.auditor.record(record);
        self.publish(answer, forgotten);
    }

    /// Makes the answer known to duplicates.
    fn publish(&mut self, answer: Answer, forgotten: bool) {
        if self.concluded {
            return;
        }
        self.concluded = true;
        let _ = self.result.send(Some(answer));
        let mut history = lock(&self.service.history);
        if forgotten {
            history.abandon(self.fingerprint);
        } else {
            history.finish(self.fingerprint, Instant::now());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.concluded {
            lock(&self.service.history).abandon(self.fingerprint);
        }
    }
}

/// Power actions, and whatever went wrong, are for everyone's eyes; mere questions are not.
fn log(record: &Record) {
    let Record {
        request,
        requester,
        operation,
        guest,
        outcome,
        detail,
        ..
    } = record;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (requester, operation, guest, detail) =
        (text(requester), text(operation), text(guest), text(detail));
    let request = request.as_deref().unwrap_or_default();
    let took_ms = record.took_ms.unwrap_or_default().round();
    match outcome {
        Outcome::Done | Outcome::On | Outcome::Off if record.durable => {
            tracing::info!(
                request,
                requester,
                operation,
                guest,
                took_ms,
                "{outcome:?} {detail}"
            );
        }
        Outcome::Done | Outcome::On | Outcome::Off | Outcome::Unsupported => {
            tracing::debug!(
                request,
                requester,
                operation,
                guest,
                took_ms,
                "{outcome:?} {detail}"
            );
        }
        _ => {
            tracing::warn!(
                request,
                requester,
                operation,
                guest,
                took_ms,
                "{outcome:?}: {detail}"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
