//! A logical unit with all that belongs to it: what it knows, its medium, its journal, and its tasks.
//!
//! One lock covers what the logical unit knows and its task table, so that a command is judged and entered in one step:
//! a PREEMPT AND ABORT finds it either not yet judged (it will conflict) or in the table (it is aborted and, if it runs,
//! waited for). The medium is never touched under this lock. Changes of reservations come one after the other, on a thread
//! of their own that waits for the journal (`order`): everybody else goes on meanwhile.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use deadline::Deadline;
use iscsi::session::TaskId;
use scsi::lu::{
    Begun, Config, Continued, Extent, Geometry, Identity, Limits, LogicalUnit, MediumFailure,
    NexusId, NoRoom, Operation, Reply,
};
use scsi::pr::{Nexus, RelativePort, Reservations};
use scsi::{AdditionalSense, Opcode, Sense, SenseKey, Status};

use crate::config::DiskOptions;
use crate::journal::{self, Journal, JournalError};
use crate::server::identity::UnitName;
use crate::server::letter::DrainId;
use crate::server::mailbox::Mailbox;
use crate::server::order::Order;
use crate::server::tasks::{Owner, Place, Tasks, Tell};
use crate::store::{self, Health, OpenError, Store, Workers};

/// PERSISTENT RESERVE OUT.
const PERSISTENT_RESERVE_OUT: u8 = Opcode::PERSISTENT_RESERVE_OUT.0;
/// PERSISTENT RESERVE IN.
const PERSISTENT_RESERVE_IN: u8 = Opcode::PERSISTENT_RESERVE_IN.0;
/// LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED (SPC-4, "Sense key and additional sense code definitions").
const MANUAL_INTERVENTION: AdditionalSense = AdditionalSense(0x0403);

/// The most data of one command, in bytes. Initiators are known to send 65,536 blocks of 512 bytes without a look at the
/// limits.
const MAX_TRANSFER: u32 = 32 << 20;
/// The most blocks that one UNMAP gives up. More are held to be a mistake of the target by some initiators.
const MAX_UNMAP: u32 = 1 << 20;

/// When so many wait for tasks that are at a medium, whoever comes to read registrations is told to come back: should
/// the medium hang, memory does not grow by those who ask.
const MOST_WAITS: usize = 1024;

/// Why a logical unit cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Its medium.
    #[error("the disk")]
    Medium(#[from] OpenError),
    /// The journal of its reservations.
    #[error("the journal of its reservations")]
    Journal(#[source] JournalError),
    /// What its block device calls itself.
    #[error(
        "cannot read {}, which the disk and its reservations are recognised by (a device that never has a name needs a `serial` in \
         the configuration; one that has had one does not: its reservations are kept under that)",
        path.display()
    )]
    Name {
        /// What was to be read.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A text that cannot be told to initiators.
    #[error("{what} `{text}` is longer than {most} characters, or not printable ASCII")]
    Text {
        /// Which one.
        what: &'static str,
        /// As it was given.
        text: String,
        /// How many characters fit.
        most: usize,
    },
}

/// What a command ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// Encoded as D_SENSE wants it.
    pub(crate) sense: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Answer {
    /// With sense data in fixed format: for what concerns no logical unit.
    pub(crate) fn fixed(reply: Reply) -> Self {
        Self {
            status: reply.status,
            sense: reply
                .sense
                .map(|sense| sense.fixed().to_vec())
                .unwrap_or_default(),
            data: reply.data,
        }
    }

    pub(crate) fn of(unit: &LogicalUnit, reply: Reply) -> Self {
        Self {
            status: reply.status,
            sense: reply
                .sense
                .map(|sense| unit.encode_sense(&sense))
                .unwrap_or_default(),
            data: reply.data,
        }
    }

    /// What an initiator is told when the server itself is at fault.
    pub(crate) fn internal() -> Self {
        Self::fixed(MediumFailure::Internal.into())
    }
}

/// What has become of a command.
#[derive(Debug)]
pub(crate) enum Judged {
    /// It has ended.
    Done(Answer),
    /// It needs the medium.
    Medium(Operation, Ticket),
    /// It needs so many bytes from the initiator, then [`Unit::parameters`].
    Parameters(u32, Ticket),
    /// It has ended; the answer is for when the drain is over.
    Drain(Answer),
}

/// What has become of a command with a parameter list.
#[derive(Debug)]
pub(crate) enum After {
    /// It has ended.
    Done(Answer),
    /// It was aborted.
    Aborted,
    /// It needs the medium.
    Medium(Operation, Ticket),
    /// It has ended well; the answer is for when the medium has done this too.
    Flush(Operation, Ticket, Answer),
    /// It waits for its turn, and for the disk of the journal: a letter will say what has become of it.
    Ordered(Arc<Order>),
}

/// Holds operations up between the task table and the medium: a test's way to make a disk slow.
pub trait Gate: Send + Sync {
    /// Called on the thread that is about to touch the medium.
    fn pass(&self);

    /// Called on the thread that is about to make reservations durable.
    fn keep(&self) {}
}

/// A task's place in the table of its logical unit, as long as it may touch the medium.
pub(crate) struct Ticket {
    unit: Arc<Unit>,
    place: Place,
    left: AtomicBool,
    aborted: AtomicBool,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.place).finish()
    }
}

impl Ticket {
    pub(crate) fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// Whether it was aborted before it ended. Known once it has ended.
    pub(crate) fn aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Where it stands in the table.
    pub(crate) const fn place(&self) -> Place {
        self.place
    }

    /// It is about to have an effect. `false`: it must not.
    pub(crate) fn start(&self, state: &mut State) -> bool {
        state.tasks.start(self.place)
    }

    fn leave(&self) {
        if self.left.swap(true, Ordering::AcqRel) {
            return;
        }
        // A broken unit answers nothing any more, but whoever waits for its tasks is told.
        let mut state = match self.unit.state.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        let aborted = state.tasks.leave(self.place);
        self.aborted.store(aborted, Ordering::Release);
    }
}

impl store::Ticket for Ticket {
    fn begin(&self) -> bool {
        let may = self
            .unit
            .lock()
            .is_ok_and(|mut state| state.tasks.start(self.place));
        if !may {
            self.leave();
        } else if let Some(gate) = &self.unit.gate {
            gate.pass();
        }
        may
    }

    fn end(&self) {
        self.leave();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What is covered by the unit's one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) unit: LogicalUnit,
    pub(crate) tasks: Tasks,
    /// It is served no more.
    closed: bool,
}

/// What a unit has done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reads: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) others: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) aborted: AtomicU64,
}

/// A logical unit that is served.
pub(crate) struct Unit {
    options: DiskOptions,
    name: UnitName,
    serial: String,
    store: Arc<Store>,
    blocks: u64,
    state: Mutex<State>,
    /// WCE, as it is in the state: changed under its lock, looked at without.
    write_cache: AtomicBool,
    /// `None`: what it kept cannot be relied on.
    pub(crate) journal: Mutex<Option<Journal>>,
    /// The thread that changes reservations.
    pub(crate) clerk: Workers,
    /// Why nobody reads or writes it.
    barred: Option<&'static str>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
    pub(crate) counters: Counters,
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("path", &self.options.path)
            .finish_non_exhaustive()
    }
}

/// How a unit was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Everything is on the disk.
    Clean,
    /// Tasks have not ended.
    InUse,
    /// What was written cannot be made durable.
    Unwritten(MediumFailure),
}

/// A unit whose lock was poisoned: a thread ended in the midst of a change, and nothing it knows can be relied on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken;

/// Where a unit is put.
#[derive(Clone)]
pub(crate) struct Surroundings<'a> {
    pub(crate) target: &'a str,
    pub(crate) ports: Vec<RelativePort>,
    pub(crate) journals: &'a Path,
    /// The journals of all disks that are served, or about to be.
    pub(crate) claimed: &'a BTreeSet<String>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
}

fn field<const N: usize>(
    what: &'static str,
    text: &str,
) -> Result<scsi::inquiry::Text<N>, UnitError> {
    scsi::inquiry::Text::new(text).ok_or_else(|| UnitError::Text {
        what,
        text: text.to_owned(),
        most: N,
    })
}

/// The journal with what was kept, or why the disk must stay closed.
fn open_journal(
    name: &UnitName,
    options: &DiskOptions,
    around: &Surroundings<'_>,
) -> Result<(Option<Journal>, Reservations, Option<&'static str>), UnitError> {
    let identity = |name: &UnitName| {
        journal::Identity::new(&name.journal()).unwrap_or_else(|| unreachable!("plain"))
    };
    let former = UnitName::former(around.target, options)?;
    let former: Vec<_> = former.iter().map(identity).collect();
    let others = |name: &journal::Identity| around.claimed.contains(name.as_str());
    let opened = Journal::open_known_as(around.journals, &identity(name), &former, others);
    let disk = options.path.display();
    let (error, why) = match opened {
        Ok(opened) => {
            if let Some(aside) = opened.adopted {
                let aside = aside.display();
                tracing::warn!(
                    %disk,
                    "the disk is recognised by another name than before: its reservations are kept under that now, {aside} counts \
                     no more"
                );
            }
            return Ok((Some(opened.journal), opened.state, None));
        }
        Err(error @ JournalError::Damaged { .. }) => {
            (error, "its journal of reservations is damaged")
        }
        Err(error @ JournalError::Unclear(_)) => (
            error,
            "which journal of reservations is its own is not clear, see the log",
        ),
        Err(error) => return Err(UnitError::Journal(error)),
    };
    tracing::error!(%disk, "{error}: nobody reads or writes this disk until its journal is discarded");
    Ok((None, Reservations::default(), Some(why)))
}

impl Unit {
    /// Opens the medium and the journal.
    pub(crate) fn open(
        options: &DiskOptions,
        around: &Surroundings<'_>,
    ) -> Result<Self, UnitError> {
        let store = Store::open(&options.path, &options.store)?;
        // After opening: a file that was missing is there now.
        let name = UnitName::of(around.target, options)?;
        let (journal, reservations, barred) = open_journal(&name, options, around)?;
        let serial = options.serial.clone().unwrap_or_else(|| name.digits());
        let config = Config {
            identity: Identity {
                vendor: field("the vendor", &options.vendor)?,
                product: field("the product", &options.product)?,
                revision: field("the revision", "0001")?,
                serial: field("the serial number", &serial)?,
                naa: name.naa(),
                target_name: around.target.to_owned(),
            },
            geometry: Geometry {
                block_length: store.block_length(),
                blocks: store.blocks(),
                physical_exponent: options.physical_exponent,
            },
            ports: around.ports.clone(),
            thin: options.store.thin,
            rotational: false,
            removable: options.removable,
            read_only: options.store.read_only,
            write_cache: options.write_cache,
            limits: Limits {
                transfer_bytes: MAX_TRANSFER,
                unmap: MAX_UNMAP,
                ..Limits::default()
            },
        };
        Ok(Self {
            options: options.clone(),
            name,
            serial,
            blocks: store.blocks(),
            write_cache: AtomicBool::new(options.write_cache),
            store: Arc::new(store),
            state: Mutex::new(State {
                unit: LogicalUnit::new(config, reservations),
                tasks: Tasks::default(),
                closed: false,
            }),
            journal: Mutex::new(journal),
            clerk: Workers::new(1),
            barred,
            gate: around.gate.clone(),
            counters: Counters::default(),
        })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) const fn options(&self) -> &DiskOptions {
        &self.options
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.options.path
    }

    pub(crate) const fn name(&self) -> &UnitName {
        &self.name
    }

    pub(crate) fn serial(&self) -> &str {
        &self.serial
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.store.block_length().bytes())
    }

    /// Why nobody reads or writes it, if its journal cannot be relied on.
    pub(crate) const fn barred(&self) -> Option<&'static str> {
        self.barred
    }

    pub(crate) fn health(&self) -> Health {
        self.store.health()
    }

    /// The registrations and the reservation in force, and how many tasks there are.
    pub(crate) fn look(&self) -> Option<(Reservations, usize)> {
        let state = self.lock().ok()?;
        Some((state.unit.reservations().clone(), state.tasks.len()))
    }

    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, State>, Broken> {
        self.state.lock().map_err(|_| Broken)
    }

    /// A session of `nexus` begins.
    pub(crate) fn attach(&self, nexus: &Nexus) -> Result<NexusId, NoRoom> {
        self.lock().map_err(|_| NoRoom)?.unit.attach(nexus)
    }

    /// The session is over and its tasks are gone.
    pub(crate) fn nexus_lost(&self, id: NexusId) {
        if let Ok(mut state) = self.lock() {
            state.unit.nexus_lost(id);
        }
    }

    /// The target has other logical units now.
    pub(crate) fn luns_changed(&self) {
        if let Ok(mut state) = self.lock() {
            state.unit.luns_changed();
        }
    }

    /// The target has other ports now.
    pub(crate) fn set_ports(&self, ports: &[RelativePort]) {
        if let Ok(mut state) = self.lock() {
            state.unit.set_ports(ports);
        }
    }

    /// A command arrives. What is let through is in the table before anybody else is let in.
    pub(crate) fn begin(
        self: &Arc<Self>,
        nexus: NexusId,
        cdb: &[u8],
        task: TaskId,
        (owner, drain): (&Owner, DrainId),
    ) -> Judged {
        let Ok(mut state) = self.lock() else {
            return Judged::Done(Answer::internal());
        };
        let state = &mut *state;
        if state.closed {
            return Judged::Done(Answer::fixed(scsi::luns::no_such_unit(cdb)));
        }
        if self.barred.is_some() && !is_harmless(cdb) {
            let sense = Sense::new(SenseKey::NOT_READY, MANUAL_INTERVENTION);
            return Judged::Done(Answer::of(&state.unit, Reply::check(sense)));
        }
        match state.unit.begin(nexus, cdb) {
            Begun::Done(reply) => {
                if reply.status == Status::RESERVATION_CONFLICT {
                    self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                let answer = Answer::of(&state.unit, reply);
                if cdb.first() == Some(&PERSISTENT_RESERVE_IN) {
                    // Who reads that a node is no longer registered takes it for fenced. That is true once nothing of it
                    // can be written any more, also if whoever preempted it did not wait for the answer.
                    let lingering = state.tasks.lingering();
                    if state.tasks.waits() >= MOST_WAITS && !lingering.is_empty() {
                        return Judged::Done(Answer::of(&state.unit, Reply::status(Status::BUSY)));
                    }
                    if state.tasks.drain(lingering, owner, drain) {
                        return Judged::Drain(answer);
                    }
                }
                Judged::Done(answer)
            }
            Begun::Medium(operation) => {
                Judged::Medium(operation, self.enter(state, nexus, task, owner))
            }
            Begun::Parameters { length } => {
                Judged::Parameters(length, self.enter(state, nexus, task, owner))
            }
        }
    }

    fn enter(
        self: &Arc<Self>,
        state: &mut State,
        nexus: NexusId,
        task: TaskId,
        owner: &Owner,
    ) -> Ticket {
        Ticket {
            unit: Arc::clone(self),
            place: state.tasks.enter(nexus, task, owner),
            left: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
        }
    }

    /// The parameter list of a command is there; that of PERSISTENT RESERVE OUT makes an [`Order`].
    pub(crate) fn parameters(
        self: &Arc<Self>,
        (nexus, task): (NexusId, TaskId),
        cdb: &[u8],
        data: &[u8],
        ticket: Ticket,
        (owner, drain): (&Owner, DrainId),
    ) -> After {
        if cdb.first() == Some(&PERSISTENT_RESERVE_OUT) {
            let order = Order::new(ticket, (nexus, task), (cdb, data), (owner, drain));
            let order = Arc::new(order);
            if self.order(&order) {
                return After::Ordered(order);
            }
            let how = order.give_up();
            return After::Done(self.given_up(how).unwrap_or_else(Answer::internal));
        }
        let Ok(mut guard) = self.lock() else {
            return After::Done(Answer::internal());
        };
        let state = &mut *guard;
        if !state.tasks.start(ticket.place) {
            return After::Aborted;
        }
        match state.unit.parameters(nexus, cdb, data) {
            Continued::Done(reply) => {
                let answer = Answer::of(&state.unit, reply);
                if self.cache_was_switched_off(&state.unit) {
                    return After::Flush(self.whole(), ticket, answer);
                }
                After::Done(answer)
            }
            Continued::Medium(operation) => After::Medium(operation, ticket),
            Continued::Reservation(prepared) => {
                // Only PERSISTENT RESERVE OUT changes reservations.
                let reply = state.unit.abandon(prepared);
                After::Done(Answer::of(&state.unit, reply))
            }
        }
    }

    /// Takes note of WCE. Whether it was set and is not any more.
    fn cache_was_switched_off(&self, unit: &LogicalUnit) -> bool {
        let now = unit.write_cache();
        self.write_cache.swap(now, Ordering::AcqRel) && !now
    }

    /// Makes a write durable that was let through while there was a write cache and ends when there is none: what is
    /// answered from then on is durable, and whoever switched it off may have flushed before this write was there.
    pub(crate) fn catch_up(&self, operation: &Operation) -> Result<(), MediumFailure> {
        if operation.writes()
            && !operation.is_durable()
            && !self.write_cache.load(Ordering::Acquire)
        {
            self.store.flush()
        } else {
            Ok(())
        }
    }

    /// The nexus was told which logical units there are.
    pub(crate) fn luns_reported(&self, nexus: NexusId) {
        if let Ok(mut state) = self.lock() {
            state.unit.luns_reported(nexus);
        }
    }

    /// SYNCHRONIZE CACHE of everything.
    fn whole(&self) -> Operation {
        Operation::Synchronize {
            extent: Extent {
                first: 0,
                count: self.blocks,
            },
            immediate: false,
        }
    }

    /// ABORT TASK, ABORT TASK SET, the end of a connection: tasks of this connection end. `which` of them, is told by their
    /// numbers, and by whether they were aborted before. Whether there is something to wait for; then `drain` is reported.
    pub(crate) fn abort_own(
        &self,
        owner: &Owner,
        drain: DrainId,
        which: impl Fn(TaskId, bool) -> bool,
    ) -> bool {
        let mut state = match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        let (_, running) = state.tasks.abort(
            |_, entry| entry.is_of(owner) && which(entry.task, entry.aborted),
            |_| Tell::Nothing,
        );
        state.tasks.drain(running, owner, drain)
    }

    /// CLEAR TASK SET (SAM-5, "CLEAR TASK SET"): the tasks of every nexus end. Whether there is something to wait for.
    pub(crate) fn clear(&self, owner: &Owner, nexus: NexusId, drain: DrainId) -> bool {
        let Ok(mut guard) = self.lock() else {
            return false;
        };
        let State { unit, tasks, .. } = &mut *guard;
        let others = Tell::Aborted {
            answer: unit.task_aborted_status(),
        };
        let (concerned, running) = tasks.abort(
            |_, _| true,
            |entry| {
                if entry.is_of(owner) {
                    Tell::Nothing
                } else {
                    others
                }
            },
        );
        for cleared in concerned.into_iter().filter(|cleared| *cleared != nexus) {
            unit.commands_cleared(cleared);
        }
        tasks.drain(running, owner, drain)
    }

    /// LOGICAL UNIT RESET (SAM-5, "Logical unit reset"): all tasks end without status. Whether there is something to
    /// wait for. If it switches the write cache off, what is cached is written first.
    pub(crate) fn reset(&self, owner: &Owner, drain: DrainId) -> bool {
        let Ok(mut guard) = self.lock() else {
            return false;
        };
        let State { unit, tasks, .. } = &mut *guard;
        unit.reset();
        let switched_off = self.cache_was_switched_off(unit);
        let (_, running) = tasks.abort(
            |_, _| true,
            |entry| {
                if entry.is_of(owner) {
                    Tell::Nothing
                } else {
                    Tell::Aborted { answer: false }
                }
            },
        );
        let waits = tasks.drain(running, owner, drain);
        drop(guard);
        if switched_off && let Err(failure) = self.store.flush() {
            tracing::error!(disk = %self.path().display(), "cached writes are lost: {failure}");
        }
        waits
    }

    /// The unit is served no more: nobody is let through from now on, all tasks end without status, and what is cached is
    /// written: nobody is left who could ask for it.
    pub(crate) fn close(&self, deadline: Deadline) -> Closed {
        if !self.end_tasks(deadline) {
            return Closed::InUse;
        }
        match self.store.flush() {
            Ok(()) => Closed::Clean,
            Err(failure) => {
                let disk = self.path().display();
                tracing::error!(%disk, "what was written cannot be made durable: {failure}");
                Closed::Unwritten(failure)
            }
        }
    }

    /// Whether tasks are gone by `deadline`.
    fn end_tasks(&self, deadline: Deadline) -> bool {
        let Ok(owner) = Mailbox::new().map(Arc::new) else {
            return false;
        };
        let drain = DrainId(0);
        {
            let Ok(mut guard) = self.lock() else {
                return false;
            };
            guard.closed = true;
            let (_, running) = guard
                .tasks
                .abort(|_, _| true, |_| Tell::Aborted { answer: false });
            if !guard.tasks.drain(running, &owner, drain) {
                return true;
            }
        }
        let mut letters = Vec::new();
        while letters.is_empty() && !deadline.has_passed() {
            owner.wait(deadline.remaining());
            owner.take(&mut letters);
        }
        !letters.is_empty()
    }

    /// How an operation that failed is answered.
    pub(crate) fn failed(&self, failure: MediumFailure) -> Answer {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        match self.lock() {
            Ok(state) => Answer::of(&state.unit, failure.into()),
            Err(Broken) => Answer::internal(),
        }
    }

    /// How a command is answered that the driver refuses.
    pub(crate) fn refused(&self, sense: Sense) -> Answer {
        match self.lock() {
            Ok(state) => Answer::of(&state.unit, Reply::check(sense)),
            Err(Broken) => Answer::internal(),
        }
    }
}

/// Commands that say nothing of the medium and change nothing: answered even if the journal is damaged.
fn is_harmless(cdb: &[u8]) -> bool {
    let harmless = [
        Opcode::INQUIRY.0,
        Opcode::REQUEST_SENSE.0,
        Opcode::REPORT_LUNS.0,
    ];
    cdb.first().is_some_and(|opcode| harmless.contains(opcode))
}
