//! Changes of a logical unit's reservations: PERSISTENT RESERVE OUT, one after the other, on a thread of the unit's own.
//!
//! What is to outlast a loss of power must be on the disk of the journal before it counts, and that disk may be slow or hang.
//! So a connection hands its command over as an [`Order`], goes on with everything else, and is told by a letter. When it
//! waited long enough it gives the order up: from then on the change cannot come into force, whatever the disk does.
//!
//! ```text
//!            ┌─ open ─ decided ─ durable, if it must be ─▶ settled: in force, a letter is under way
//!  handed ───┤   │                  │
//!  over      │   └── given up ──────┴──────────────────▶ never in force: the command ends with BUSY if it had not been
//!            └─ aborted: a letter is under way            decided, else with HARDWARE ERROR, for the journal may have it
//! ```
//!
//! A change that was given up and has become durable all the same is taken back at once, by a journal of what is in force.
//! Should the power fail before that, the journal has a change whose command failed; that is what can always become of a
//! command that failed by its journal.

use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iscsi::session::TaskId;
use scsi::Status;
use scsi::lu::{Continued, NexusId, Prepared, Reply};

use crate::journal::Journal;
use crate::server::letter::{DrainId, Letter};
use crate::server::tasks::{Owner, Tell};
use crate::server::unit::{Answer, State, Ticket, Unit};

/// So many orders wait for the disk of one journal; who comes then is told to come back.
const MOST_ORDERS: usize = 256;

/// A PERSISTENT RESERVE OUT with its parameter list.
pub(crate) struct Order {
    nexus: NexusId,
    cdb: Vec<u8>,
    list: Vec<u8>,
    owner: Owner,
    id: DrainId,
    pub(crate) task: TaskId,
    phase: Mutex<Phase>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Order").field(&self.task).finish()
    }
}

enum Phase {
    Open {
        ticket: Ticket,
        /// What it is to change is decided.
        decided: bool,
    },
    GivenUp,
    Settled,
}

/// What has become of an order that somebody gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Its turn had not come: nothing was done.
    Before,
    /// It will not be in force. What is on the disk is not known.
    Meanwhile,
    /// Too late: it has ended, and the letter that says so is there.
    Late,
    /// Again; or it was aborted, and the letter that says so is there.
    Over,
}

impl Order {
    /// An order of the connection `owner`, which calls the wait for it `id`.
    pub(crate) fn new(
        ticket: Ticket,
        (nexus, task): (NexusId, TaskId),
        (cdb, list): (&[u8], &[u8]),
        (owner, id): (&Owner, DrainId),
    ) -> Self {
        Self {
            nexus,
            cdb: cdb.to_vec(),
            list: list.to_vec(),
            owner: Arc::clone(owner),
            id,
            task,
            phase: Mutex::new(Phase::Open {
                ticket,
                decided: false,
            }),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // Each change of it is one assignment.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for it any more: unless it has ended, it will have no effect, and its task is over.
    pub(crate) fn give_up(&self) -> GivenUp {
        let mut phase = self.phase();
        let (decided, former) = match &*phase {
            Phase::GivenUp => return GivenUp::Over,
            Phase::Settled => return GivenUp::Late,
            Phase::Open { decided, .. } => {
                (*decided, std::mem::replace(&mut *phase, Phase::GivenUp))
            }
        };
        drop(phase);
        // The task leaves the table, for which the unit is locked.
        drop(former);
        if decided {
            GivenUp::Meanwhile
        } else {
            GivenUp::Before
        }
    }

    /// It has ended with this answer.
    fn settle(&self, phase: MutexGuard<'_, Phase>, answer: Answer) {
        self.tell(answer, false);
        Self::end(phase, Phase::Settled);
    }

    /// Its task leaves the table.
    fn end(mut phase: MutexGuard<'_, Phase>, how: Phase) {
        let former = std::mem::replace(&mut *phase, how);
        drop(phase);
        // For this the unit is locked.
        drop(former);
    }

    /// A bug in the server has ended it.
    fn broken(&self) {
        let phase = self.phase();
        if matches!(*phase, Phase::Open { .. }) {
            self.settle(phase, Answer::internal());
        }
    }

    /// If it `drains`, another letter follows when the aborted tasks are gone.
    fn tell(&self, answer: Answer, drains: bool) {
        self.owner.post(Letter::Settled {
            id: self.id,
            answer,
            drains,
        });
    }
}

impl Unit {
    /// Takes an order on. `false`: there are too many.
    pub(crate) fn order(self: &Arc<Self>, order: &Arc<Order>) -> bool {
        if self.clerk.waiting() >= MOST_ORDERS {
            return false;
        }
        let (unit, order) = (Arc::clone(self), Arc::clone(order));
        self.clerk.push(Box::new(move || {
            if catch_unwind(AssertUnwindSafe(|| unit.carry_out(&order))).is_err() {
                order.broken();
            }
        }));
        true
    }

    /// On the unit's own thread, so one after the other; the lock counts where there is no thread.
    fn carry_out(&self, order: &Order) {
        let Ok(mut journal) = self.journal.lock() else {
            return order.broken();
        };
        let Some(prepared) = self.decide(order) else {
            return;
        };
        let journal = journal.as_mut();
        let unsure = journal.as_ref().is_some_and(|journal| journal.is_unsure());
        if !prepared.must_persist() && !unsure {
            return self.conclude(order, prepared, true, journal);
        }
        if let Some(gate) = &self.gate {
            gate.keep();
        }
        let (kept, journal) = match journal {
            Some(journal) => (self.keep(journal, &prepared), Some(journal)),
            None => (false, None),
        };
        self.conclude(order, prepared, kept, journal);
    }

    /// What is to change; `None`: nothing, and whoever waits has been told.
    fn decide(&self, order: &Order) -> Option<Prepared> {
        let mut phase = order.phase();
        let Phase::Open { ticket, decided } = &mut *phase else {
            return None;
        };
        let Ok(mut state) = self.lock() else {
            order.settle(phase, Answer::internal());
            return None;
        };
        if !ticket.start(&mut state) {
            // The letter that says so is under way.
            drop(state);
            Order::end(phase, Phase::GivenUp);
            return None;
        }
        let reply = match state.unit.parameters(order.nexus, &order.cdb, &order.list) {
            Continued::Reservation(prepared) => {
                *decided = true;
                return Some(prepared);
            }
            Continued::Done(reply) => reply,
            Continued::Medium(_) => scsi::lu::MediumFailure::Internal.into(),
        };
        let answer = Answer::of(&state.unit, reply);
        drop(state);
        order.settle(phase, answer);
        None
    }

    /// Waits for the disk of the journal. Whether the change is durable.
    fn keep(&self, journal: &mut Journal, prepared: &Prepared) -> bool {
        let kept = journal.store(prepared.next());
        if let Err(error) = &kept {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::error!(disk = %self.path().display(), "reservations are not kept: {error}: {why}");
        }
        kept.is_ok()
    }

    /// Lets a change count, if it is `kept` and nobody has given it up, and aborts whom it aborts.
    fn conclude(
        &self,
        order: &Order,
        prepared: Prepared,
        kept: bool,
        journal: Option<&mut Journal>,
    ) {
        let phase = order.phase();
        let Phase::Open { ticket, .. } = &*phase else {
            drop(phase);
            return self.take_back(prepared, journal);
        };
        let Ok(mut state) = self.lock() else {
            return order.settle(phase, Answer::internal());
        };
        let State { unit, tasks, .. } = &mut *state;
        if !kept {
            let reply = unit.abandon(prepared);
            let answer = Answer::of(unit, reply);
            drop(state);
            return order.settle(phase, answer);
        }
        let (issuer, victims) = (prepared.issuer(), prepared.aborts().to_vec());
        let reply = unit.commit(prepared);
        let answer = Answer::of(unit, reply);
        let tell = Tell::Aborted {
            answer: unit.task_aborted_status(),
        };
        let (concerned, running) = tasks.abort(
            |place, entry| place != ticket.place() && victims.contains(&entry.nexus),
            |_| tell,
        );
        for nexus in concerned.into_iter().filter(|nexus| *nexus != issuer) {
            unit.commands_cleared(nexus);
        }
        // This letter comes before the one that says that the tasks are gone.
        order.tell(answer, !running.is_empty());
        tasks.drain(running, &order.owner, order.id);
        drop(state);
        Order::end(phase, Phase::Settled);
    }

    /// A change that was given up, and may be on the disk.
    fn take_back(&self, prepared: Prepared, journal: Option<&mut Journal>) {
        let Ok(mut state) = self.lock() else {
            return;
        };
        let _told_already = state.unit.abandon(prepared);
        let in_force = state.unit.reservations().clone();
        drop(state);
        tracing::warn!(
            disk = %self.path().display(),
            "the journal of reservations took too long: a change whose command had failed by then is taken back"
        );
        if let Some(journal) = journal {
            journal.doubt();
            if let Err(error) = journal.store(&in_force) {
                tracing::error!(disk = %self.path().display(), "the journal is not as it should be: {error}");
            }
        }
    }

    /// How an order ends that was given up; `None`: by the letter that is there.
    pub(crate) fn given_up(&self, how: GivenUp) -> Option<Answer> {
        let reply = match how {
            GivenUp::Late | GivenUp::Over => return None,
            GivenUp::Before => Reply::status(Status::BUSY),
            GivenUp::Meanwhile => scsi::lu::MediumFailure::Internal.into(),
        };
        Some(match self.lock() {
            Ok(state) => Answer::of(&state.unit, reply),
            Err(_) => Answer::internal(),
        })
    }
}
