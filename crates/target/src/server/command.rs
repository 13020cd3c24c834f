//! What becomes of a command on its way through a connection.
//!
//! ```text
//!  arrives ─▶ judged ─┬─ done ────────────────────────────────────────────────────────▶ answered
//!                     ├─ no data needed ─────────┐ (memory is short: deferred)
//!                     └─ data needed ─▶ Step ────┴─▶ medium, parameter list ─┬─────────▶ answered
//!                                                                           └ drain ──▶ answered
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use iscsi::pdu::{Lun, TaskManagement, TaskManagementResponse};
use iscsi::session::{
    Discovery, Fault, ManagementId, ScsiTask, TargetEvent, TargetPortal, TaskId, TaskResponse,
};
use scsi::command::ByteCheck;
use scsi::lu::{DataPhase, Extent, NexusId, Operation, Reply};
use scsi::{AdditionalSense, Opcode, Sense, SenseKey, Status, luns};

use crate::server::connection::{AfterDrain, Connection};
use crate::server::login::View;
use crate::server::unit::{After, Answer, Judged, Ticket, Unit};
use crate::store::{self, Done, Finished, Started};

/// A command that waits.
#[derive(Debug)]
pub(crate) enum Step {
    /// For data, or for memory: then the medium.
    Medium {
        ticket: Ticket,
        operation: Operation,
        /// Bytes that the initiator sends.
        sends: u32,
    },
    /// For its parameter list.
    Parameters {
        ticket: Ticket,
        nexus: NexusId,
        cdb: Cdb,
        /// Bytes of the list that come.
        length: u32,
    },
}

/// A command, as long as it is.
#[derive(Debug, Clone)]
pub(crate) struct Cdb {
    short: [u8; 16],
    long: Vec<u8>,
}

impl Cdb {
    fn of(scsi: &ScsiTask) -> Self {
        let mut long = Vec::new();
        if !scsi.cdb_rest.is_empty() {
            long.extend_from_slice(&scsi.cdb);
            long.extend_from_slice(&scsi.cdb_rest);
        }
        Self {
            short: scsi.cdb,
            long,
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            &self.short
        } else {
            &self.long
        }
    }
}

/// An operation at the medium, and what is done when it has ended.
#[derive(Debug)]
pub(crate) struct Errand {
    ticket: Ticket,
    task: TaskId,
    then: Then,
    /// So many bytes of memory are with it.
    lent: usize,
}

impl store::Ticket for Errand {
    fn begin(&self) -> bool {
        self.ticket.begin()
    }

    fn end(&self) {
        self.ticket.end();
    }
}

#[derive(Debug)]
enum Then {
    /// The command is answered: so many bytes were to be moved.
    Moved(u64),
    /// The data are the answer, up to so many bytes.
    Told(u32),
    /// This is the answer.
    Say(Answer),
}

/// ABORTED COMMAND for data that cannot be used (RFC 7143, "Sense Data").
fn sense_of(fault: Fault) -> Sense {
    let additional = match fault {
        Fault::DataDigest => AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR,
        Fault::Unsolicited => AdditionalSense(0x0C0C),
        Fault::Sequence => AdditionalSense(0x0C0D),
    };
    Sense::new(SenseKey::ABORTED_COMMAND, additional)
}

impl Connection<'_> {
    pub(super) fn handle(&mut self, event: TargetEvent) {
        match event {
            TargetEvent::Command(scsi) => self.command(&scsi),
            TargetEvent::Written(task) => {
                if let Some(step) = self.slots.take_state(task) {
                    self.go_on(task, step);
                }
            }
            TargetEvent::Failed { task, fault } => {
                let step = self.slots.take_state(task);
                let sense = sense_of(fault);
                let answer = match &step {
                    Some(Step::Medium { ticket, .. } | Step::Parameters { ticket, .. }) => {
                        ticket.unit().refused(sense)
                    }
                    None => Answer::fixed(Reply::check(sense)),
                };
                self.answer(task, answer);
            }
            TargetEvent::Manage {
                id,
                function,
                lun,
                tasks,
            } => self.manage(id, function, lun, &tasks),
            TargetEvent::Discover(wanted) => self.discover(&wanted),
            TargetEvent::LoggedOut { tasks } => {
                for task in tasks {
                    self.forget(task);
                }
            }
            // The connection has been heard: that is all a sign of life is for.
            TargetEvent::Pong => {}
            _ => tracing::debug!("an event of the protocol that is not known here"),
        }
    }

    fn command(&mut self, scsi: &ScsiTask) {
        let task = scsi.task;
        let cdb = Cdb::of(scsi);
        if scsi.reads && scsi.writes {
            // Nothing that is served here moves data both ways.
            let sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
            return self.answer(task, Answer::fixed(Reply::check(sense)));
        }
        if scsi.cdb[0] == Opcode::REPORT_LUNS.0 {
            let luns: Vec<_> = self.luns().collect();
            let reply = luns::report(cdb.bytes(), &luns);
            if let Some(view) = self.view(scsi.lun).filter(|_| reply.status == Status::GOOD) {
                view.unit.luns_reported(view.nexus);
            }
            return self.answer(task, Answer::fixed(reply));
        }
        let drain = self.drain_id();
        let Some(View { unit, nexus, .. }) = self.view(scsi.lun) else {
            let reply = luns::no_such_unit(cdb.bytes());
            return self.answer(task, Answer::fixed(reply));
        };
        let nexus = *nexus;
        match unit.begin(nexus, cdb.bytes(), task, (&self.link.owner, drain)) {
            Judged::Done(answer) => self.answer(task, answer),
            Judged::Drain(answer) => self.after(drain, 1, AfterDrain::Answered(task, answer)),
            Judged::Medium(operation, ticket) => {
                let sends = if scsi.writes { scsi.expected } else { 0 };
                let step = Step::Medium {
                    ticket,
                    operation,
                    sends,
                };
                if self.is_short_of_memory() {
                    self.slots.set_state(task, step);
                    self.deferred.push_back(task);
                } else {
                    self.start(task, step);
                }
            }
            Judged::Parameters(length, ticket) => {
                let sends = if scsi.writes { scsi.expected } else { 0 };
                let step = Step::Parameters {
                    ticket,
                    nexus,
                    cdb,
                    length: length.min(sends),
                };
                self.start(task, step);
            }
        }
    }

    fn luns(&self) -> impl Iterator<Item = luns::Lun> + '_ {
        let views = self.normal.iter().flat_map(|normal| &normal.views);
        views.filter_map(|view| luns::Lun::new(view.lun))
    }

    /// Gets the data that a command needs, and goes on when they are there.
    fn start(&mut self, task: TaskId, step: Step) {
        let wanted = match &step {
            Step::Medium {
                ticket, operation, ..
            } => match operation.data_phase(ticket.unit().store().block_length()) {
                DataPhase::Out(bytes) => Some(bytes),
                DataPhase::None | DataPhase::In(_) => None,
            },
            Step::Parameters { length, .. } => Some(u64::from(*length)),
        };
        if wanted.is_none_or(|bytes| self.protocol.want(task, bytes)) {
            self.go_on(task, step);
            return;
        }
        if let Some(bytes) = wanted {
            // All that comes goes into memory that is there: what an initiator announces is bounded by `begin`.
            let sends = match &step {
                Step::Medium { sends, .. } => *sends,
                Step::Parameters { length, .. } => *length,
            };
            let bytes = usize::try_from(bytes.min(u64::from(sends))).unwrap_or(usize::MAX);
            self.slots.reserve(task, bytes);
        }
        self.slots.set_state(task, step);
    }

    /// A command has all the data it needs.
    fn go_on(&mut self, task: TaskId, step: Step) {
        match step {
            Step::Medium {
                ticket,
                operation,
                sends,
            } => self.carry_out(task, ticket, operation, sends),
            Step::Parameters {
                ticket,
                nexus,
                cdb,
                length,
            } => self.parameters(task, ticket, nexus, &cdb, length),
        }
    }

    fn parameters(&mut self, task: TaskId, ticket: Ticket, nexus: NexusId, cdb: &Cdb, length: u32) {
        let unit = Arc::clone(ticket.unit());
        let id = self.drain_id();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let data = self.slots.buffer(task).unwrap_or_default();
        let data = &data[..data.len().min(length)];
        let issuer = (nexus, task);
        let after = unit.parameters(issuer, cdb.bytes(), data, ticket, (&self.link.owner, id));
        match after {
            After::Done(answer) => self.answer(task, answer),
            // The letter that says so is under way.
            After::Aborted => {}
            After::Medium(operation, ticket) => self.carry_out(task, ticket, operation, 0),
            After::Flush(operation, ticket, answer) => {
                self.order(task, ticket, operation, Then::Say(answer));
            }
            After::Ordered(order) => self.await_order(id, unit, order),
        }
    }

    /// Takes an operation to the medium; `sends` bytes have come for it at most.
    fn carry_out(&mut self, task: TaskId, ticket: Ticket, operation: Operation, sends: u32) {
        let length = ticket.unit().store().block_length();
        let phase = operation.data_phase(length);
        let counters = &ticket.unit().counters;
        match (&operation, phase) {
            (Operation::Read { .. }, DataPhase::In(bytes)) => {
                counters.reads.fetch_add(1, Ordering::Relaxed);
                counters.read_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            (_, DataPhase::Out(bytes)) => {
                counters.writes.fetch_add(1, Ordering::Relaxed);
                counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            _ => {
                counters.others.fetch_add(1, Ordering::Relaxed);
            }
        }
        match phase {
            DataPhase::None => self.order(task, ticket, operation, Then::Moved(0)),
            DataPhase::In(bytes) => {
                let then = match operation {
                    Operation::GetLbaStatus { allocation, .. } => Then::Told(allocation),
                    _ => Then::Moved(bytes),
                };
                self.order(task, ticket, operation, then);
            }
            DataPhase::Out(bytes) => {
                let came = u64::from(sends);
                let Some(operation) = fitted(operation, came, bytes, length.bytes()) else {
                    let sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
                    let answer = ticket.unit().refused(sense);
                    drop(ticket);
                    return self.answer(task, answer);
                };
                self.order(task, ticket, operation, Then::Moved(bytes));
            }
        }
    }

    /// Hands an operation to the lane with the memory it needs.
    fn order(&mut self, task: TaskId, ticket: Ticket, operation: Operation, then: Then) {
        let store = Arc::clone(ticket.unit().store());
        let phase = operation.data_phase(store.block_length());
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let data = match phase {
            DataPhase::Out(bytes) => {
                let mut data = self.slots.take_buffer(task).unwrap_or_default();
                // Its data are there; more than it needs may have come unasked.
                data.reset(size(bytes));
                data
            }
            // The medium makes memory for it, as long as the list is.
            DataPhase::In(_) if matches!(operation, Operation::GetLbaStatus { .. }) => {
                store::Buffer::default()
            }
            DataPhase::In(bytes) => self.slots.pool.take(size(bytes)),
            DataPhase::None => store::Buffer::default(),
        };
        let lent = data.len();
        self.slots.lend(lent);
        let errand = Errand {
            ticket,
            task,
            then,
            lent,
        };
        if let Started::AtOnce(done) = self.lane.start(errand, &store, operation, data) {
            self.complete(done);
        }
    }

    /// An operation has ended.
    pub(super) fn complete(&mut self, done: Done<Errand>) {
        let Done {
            ticket:
                Errand {
                    ticket,
                    task,
                    then,
                    lent,
                },
            operation,
            mut data,
            finished,
        } = done;
        self.slots.lent_is_back(lent);
        let unit = Arc::clone(ticket.unit());
        if ticket.aborted() || finished == Finished::Aborted {
            // Whoever is to hear of it hears it by a letter, or asked for it.
            unit.counters.aborted.fetch_add(1, Ordering::Relaxed);
            return self.slots.pool.give_back(data);
        }
        drop(ticket);
        let finished = match finished {
            Finished::Done => unit.catch_up(&operation).into(),
            other => other,
        };
        match (finished, then) {
            (Finished::Aborted, _) => {}
            (Finished::Failed(failure), _) => {
                self.slots.pool.give_back(data);
                let answer = unit.failed(failure);
                self.answer(task, answer);
            }
            (Finished::Done, Then::Say(answer)) => {
                self.slots.pool.give_back(data);
                self.answer(task, answer);
            }
            (Finished::Done, Then::Moved(length)) => {
                if operation.writes() {
                    self.slots.pool.give_back(data);
                } else {
                    self.slots.put_buffer(task, data);
                }
                self.respond(task, Status::GOOD, length, Vec::new());
            }
            (Finished::Done, Then::Told(allocation)) => {
                let most = usize::try_from(allocation).unwrap_or(usize::MAX);
                let length = data.len().min(most);
                data.reset(length);
                self.slots.put_buffer(task, data);
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                self.respond(task, Status::GOOD, length, Vec::new());
            }
        }
    }

    /// Answers a task.
    pub(super) fn answer(&mut self, task: TaskId, answer: Answer) {
        let length = u64::try_from(answer.data.len()).unwrap_or(u64::MAX);
        if !answer.data.is_empty() {
            let mut data = self.slots.pool.take(answer.data.len());
            data.copy_from_slice(&answer.data);
            self.slots.put_buffer(task, data);
        }
        self.respond(task, answer.status, length, answer.sense);
    }

    fn respond(&mut self, task: TaskId, status: Status, length: u64, sense: Vec<u8>) {
        let response = TaskResponse {
            status: status.0,
            length,
            sense,
        };
        if !self.protocol.respond(task, response) {
            self.forget(task);
        }
    }

    /// A task is no more, and nothing of it is being sent.
    fn forget(&mut self, task: TaskId) {
        self.slots.release(task);
        self.deferred.retain(|deferred| *deferred != task);
    }

    /// Another nexus has aborted a task.
    pub(super) fn aborted_by_another(&mut self, task: TaskId, answer: bool) {
        // Who aborts it need not wait for the disk of the journal.
        self.give_up_orders(|order| order.task == task);
        // If it waited, it leaves the table with its ticket.
        let waited = self.slots.take_state(task).is_some();
        if waited {
            self.deferred.retain(|deferred| *deferred != task);
        }
        if answer {
            self.respond(task, Status::TASK_ABORTED, 0, Vec::new());
        } else if self.protocol.abort(task) {
            self.forget(task);
        }
    }

    fn is_short_of_memory(&self) -> bool {
        !self.deferred.is_empty() || self.slots.held() > self.shared.config.limits.memory
    }

    /// Whether a command that waits for memory may go on.
    pub(super) fn may_resume(&self) -> bool {
        let others = self.protocol.tasks() > self.deferred.len();
        let room = self.slots.held() <= self.shared.config.limits.memory;
        !self.deferred.is_empty() && (room || !others)
    }

    /// Commands that waited for memory go on, as far as there is any; one does in any case if nothing else is under
    /// way, for then nothing would ever free some.
    pub(super) fn resume_deferred(&mut self) {
        while self.may_resume() {
            let Some(task) = self.deferred.pop_front() else {
                break;
            };
            if let Some(step) = self.slots.take_state(task) {
                self.start(task, step);
            }
        }
    }

    fn discover(&mut self, wanted: &Discovery) {
        let initiator = self.protocol.session().initiator.clone();
        let mut targets = self.shared.targets.visible(&initiator);
        if let Discovery::Target(name) = wanted {
            targets.retain(|target| target.name.as_str().eq_ignore_ascii_case(name));
        }
        let addresses = self.shared.addresses(self.link.local);
        let found: Vec<_> = targets
            .into_iter()
            .map(|target| TargetPortal {
                target: target.name.as_str().to_owned(),
                addresses: addresses.clone(),
            })
            .collect();
        self.protocol.found(&found);
    }

    /// A task management function (SAM-5, "Task management functions"). The tasks are stopped; it is answered once none
    /// of them can touch the medium. TARGET COLD RESET is not supported: one initiator would end the sessions of all
    /// others with it.
    fn manage(&mut self, id: ManagementId, function: u8, lun: Lun, tasks: &[TaskId]) {
        let drain = self.drain_id();
        let owner = Arc::clone(&self.link.owner);
        let views: Vec<View> = match function {
            TaskManagement::ABORT_TASK | TaskManagement::TARGET_WARM_RESET => self
                .normal
                .as_ref()
                .map(|normal| normal.views.clone())
                .unwrap_or_default(),
            _ => self.view(lun).cloned().into_iter().collect(),
        };
        let wait = |view: &View| match function {
            TaskManagement::CLEAR_TASK_SET => view.unit.clear(&owner, view.nexus, drain),
            TaskManagement::LOGICAL_UNIT_RESET | TaskManagement::TARGET_WARM_RESET => {
                view.unit.reset(&owner, drain)
            }
            // What another nexus aborted before is not known to the protocol any more, and may be at the medium still.
            TaskManagement::ABORT_TASK_SET => view.unit.abort_own(&owner, drain, |_, _| true),
            _ if tasks.is_empty() => view.unit.abort_own(&owner, drain, |_, aborted| aborted),
            _ => view
                .unit
                .abort_own(&owner, drain, |task, _| tasks.contains(&task)),
        };
        let known = matches!(
            function,
            TaskManagement::ABORT_TASK
                | TaskManagement::ABORT_TASK_SET
                | TaskManagement::CLEAR_TASK_SET
                | TaskManagement::LOGICAL_UNIT_RESET
                | TaskManagement::TARGET_WARM_RESET
        );
        if !known {
            return self
                .protocol
                .managed(id, TaskManagementResponse::NOT_SUPPORTED);
        }
        let of_one_unit = !matches!(
            function,
            TaskManagement::ABORT_TASK | TaskManagement::TARGET_WARM_RESET
        );
        if views.is_empty() && of_one_unit {
            return self.protocol.managed(id, TaskManagementResponse::NO_LUN);
        }
        // They need not be waited for: they never come into force.
        self.give_up_orders(|order| tasks.contains(&order.task));
        let letters = views.iter().filter(|view| wait(view)).count();
        for task in tasks {
            self.forget(*task);
        }
        let response = match function {
            TaskManagement::ABORT_TASK if tasks.is_empty() => TaskManagementResponse::NO_TASK,
            _ => TaskManagementResponse::COMPLETE,
        };
        self.after(drain, letters, AfterDrain::Managed(id, response));
    }

    /// Tasks are gone, or it cannot be said that they are.
    pub(super) fn drain_over(&mut self, then: AfterDrain, gone: bool) {
        match then {
            AfterDrain::Managed(id, response) if gone => self.protocol.managed(id, response),
            AfterDrain::Managed(id, _) => {
                self.protocol.managed(id, TaskManagementResponse::REJECTED);
            }
            AfterDrain::Answered(task, answer) if gone => self.answer(task, answer),
            AfterDrain::Answered(task, _) => self.answer(task, Answer::internal()),
            // It ends by a letter of its own, or is given up.
            AfterDrain::Ordered(..) => {}
        }
    }

    /// The target has other logical units: new ones are attached, old ones left.
    pub(super) fn look_at_units(&mut self) {
        let Some(normal) = &mut self.normal else {
            return;
        };
        let units = normal.target.units();
        let same = |view: &View, unit: &Arc<Unit>| Arc::ptr_eq(&view.unit, unit);
        normal
            .views
            .retain(|view| units.get(&view.lun).is_some_and(|unit| same(view, unit)));
        for (lun, unit) in units.iter() {
            if normal.views.iter().any(|view| view.lun == *lun) {
                continue;
            }
            match unit.attach(&normal.nexus) {
                Ok(nexus) => normal.views.push(View {
                    lun: *lun,
                    unit: Arc::clone(unit),
                    nexus,
                }),
                Err(error) => tracing::warn!(lun, "a session cannot see a new disk: {error}"),
            }
        }
        normal.views.sort_by_key(|view| view.lun);
        self.shared.sessions.notify();
    }
}

/// The operation for the data that came, where the command wants `wanted` bytes. Of a write with fewer, the blocks that
/// are there are written and the rest is reported as residual (RFC 7143, "Residual Count"). `None`: it means nothing
/// with that many.
fn fitted(operation: Operation, came: u64, wanted: u64, block: u32) -> Option<Operation> {
    let count = came.min(wanted) / u64::from(block);
    let fits = |extent: Extent| Extent {
        first: extent.first,
        count: extent.count.min(count),
    };
    Some(match operation {
        Operation::Write { extent, durable } => Operation::Write {
            extent: fits(extent),
            durable,
        },
        Operation::WriteAndVerify { extent, check } => Operation::WriteAndVerify {
            extent: fits(extent),
            check,
        },
        Operation::Orwrite { extent, durable } => Operation::Orwrite {
            extent: fits(extent),
            durable,
        },
        Operation::Verify {
            extent,
            check: check @ ByteCheck::Data,
        } => Operation::Verify {
            extent: fits(extent),
            check,
        },
        _ if came != wanted => return None,
        // Who sets UNMAP gives the blocks up, whatever the data say: the other targets that initiators are tested with
        // take it so. The blocks read as zeros.
        Operation::WriteSame {
            extent,
            unmap: true,
            durable,
            ..
        } => Operation::WriteSame {
            extent,
            unmap: true,
            zeros: true,
            durable,
        },
        other => other,
    })
}
