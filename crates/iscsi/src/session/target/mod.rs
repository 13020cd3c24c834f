//! A target's side of full feature phase.
//!
//! ```text
//!            Command ┌─────────┐ want    ┌───────────┐ Written ┌─────────┐ respond
//!  ─────────────────▶│ arrived │────────▶│ receiving │────────▶│ carried │────────▶ data, status ─▶ gone
//!                    └────┬────┘         └─────┬─────┘         │   out   │
//!                         │ respond            │ Failed        └─────────┘
//!                         └────────────────────┴──────────────────▶ respond
//! ```
//!
//! Anywhere on this way a task may be stopped by a task management function, by [`TargetConnection::abort`] or by a
//! logout: nothing is sent for it any more, and what still comes for it is discarded.

mod output;
mod receive;
mod task;
mod text;

use std::collections::{HashMap, VecDeque};

use crate::login::Established;
use crate::pdu::{
    Answer, Async, Attribute, FromTarget, Lun, NopIn, Reject, TaskManagementResponse,
};
use crate::session::{SessionError, Tags, TaskId};
use crate::{Header, Serial, Tag};

use output::Outgoing;
use receive::Pending;
use task::Task;
use text::Exchange;
pub use text::{Discovery, TargetPortal};

/// A task management function that is being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ManagementId(u64);

/// A SCSI command that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScsiTask {
    /// What it is called here.
    pub task: TaskId,
    /// For which logical unit.
    pub lun: Lun,
    /// The first sixteen bytes of the command.
    pub cdb: [u8; 16],
    /// The rest of a longer one.
    pub cdb_rest: Vec<u8>,
    /// How it is queued.
    pub attribute: Attribute,
    /// The initiator expects data.
    pub reads: bool,
    /// The initiator has data.
    pub writes: bool,
    /// How many, in bytes.
    pub expected: u32,
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskResponse {
    /// The SCSI status.
    pub status: u8,
    /// How many bytes there are to move, whatever the initiator expected: the residual is computed from it. As many of
    /// them as the initiator expects are sent from the task's buffer if it reads.
    pub length: u64,
    /// Sense data.
    pub sense: Vec<u8>,
}

/// Why data of a task cannot be used: ABORTED COMMAND with the additional sense named here (RFC 7143, "Sense Data").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They were damaged on the way: PROTOCOL SERVICE CRC ERROR (47/05).
    DataDigest,
    /// Nobody asked for them: UNEXPECTED UNSOLICITED DATA (0C/0C).
    Unsolicited,
    /// They are not the next ones, too many or too few: INCORRECT AMOUNT OF DATA (0C/0D).
    Sequence,
}

/// What happened at a target's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetEvent {
    /// A command. It is answered with [`TargetConnection::respond`]; if it writes, its data are asked for with
    /// [`TargetConnection::want`] before.
    Command(ScsiTask),
    /// The data that were asked for are all there.
    Written(TaskId),
    /// Data of a task cannot be used. Nothing more is received for it; it is answered with
    /// [`TargetConnection::respond`]. Its command may not have been reported, and must not be carried out.
    Failed {
        /// The task.
        task: TaskId,
        /// Why.
        fault: Fault,
    },
    /// A task management function. `tasks` are stopped; once none of them can have any effect any more, it is answered
    /// with [`TargetConnection::managed`]. ABORT TASK without a task is about one that has ended here, or never was: if
    /// another nexus aborted it ([`TargetConnection::abort`]), it may still have an effect, and is waited for all the same
    /// before [`TaskManagementResponse::NO_TASK`] is answered.
    Manage {
        /// What it is called here.
        id: ManagementId,
        /// Which function: the constants of [`crate::pdu::TaskManagement`].
        function: u8,
        /// For which logical unit.
        lun: Lun,
        /// The tasks of this connection that it is about.
        tasks: Vec<TaskId>,
    },
    /// Targets are looked for. Answered with [`TargetConnection::found`].
    Discover(Discovery),
    /// The initiator answered a [`TargetConnection::ping`].
    Pong,
    /// The initiator logs out. `tasks` are stopped. The connection is closed once everything is sent.
    LoggedOut {
        /// The tasks that were not done.
        tasks: Vec<TaskId>,
    },
}

/// A function that is being carried out.
#[derive(Debug)]
struct Management {
    id: ManagementId,
    tag: Tag,
    tasks: Vec<TaskId>,
}

/// How many immediate commands are taken beyond the window, and functions at a time.
const IMMEDIATE: usize = 8;
/// When so many PDUs, or bytes of echoes, wait to be sent, no more should be received.
const MAX_WAITING: usize = 256;
const MAX_WAITING_BYTES: usize = 1 << 20;

/// A target's side of a connection.
#[derive(Debug)]
pub struct TargetConnection {
    session: Established,
    /// How many commands may be under way.
    window: u32,
    expected_command: Serial,
    last_command: Serial,
    next_status: Serial,
    tasks: HashMap<TaskId, Task>,
    tags: HashMap<Tag, TaskId>,
    next_task: u64,
    transfer_tags: Tags,
    managements: Vec<Management>,
    next_management: u64,
    pending: Pending,
    exchange: Exchange,
    ping: Option<Tag>,
    outputs: VecDeque<Outgoing>,
    waiting_bytes: usize,
    events: VecDeque<TargetEvent>,
    logged_out: bool,
}

impl TargetConnection {
    /// A connection after its login.
    #[must_use]
    pub fn new(session: Established) -> Self {
        let window = session
            .last_command
            .0
            .wrapping_sub(session.next_command.0)
            .wrapping_add(1);
        Self {
            window,
            expected_command: session.next_command,
            last_command: session.last_command,
            next_status: session.next_status,
            session,
            tasks: HashMap::new(),
            tags: HashMap::new(),
            next_task: 0,
            transfer_tags: Tags::default(),
            managements: Vec::new(),
            next_management: 0,
            pending: Pending::Nothing,
            exchange: Exchange::default(),
            ping: None,
            outputs: VecDeque::new(),
            waiting_bytes: 0,
            events: VecDeque::new(),
            logged_out: false,
        }
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &Established {
        &self.session
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<TargetEvent> {
        self.events.pop_front()
    }

    /// Whether more should be received now: not while much waits to be sent, lest memory grow.
    #[must_use]
    pub fn takes_more(&self) -> bool {
        self.outputs.len() < MAX_WAITING && self.waiting_bytes < MAX_WAITING_BYTES
    }

    /// Whether the initiator has logged out and been told so.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.logged_out && self.outputs.is_empty()
    }

    /// Whether a task has not ended.
    #[must_use]
    pub fn has(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Asks for the first `length` bytes of a task's data, as far as the initiator has them. Whether they are there
    /// already; if not, [`TargetEvent::Written`] tells when they are. `true` also if the task is none that receives:
    /// there is nothing to wait for.
    pub fn want(&mut self, task: TaskId, length: u64) -> bool {
        let Some(found) = self.tasks.get_mut(&task) else {
            return true;
        };
        if !found.receives() {
            return true;
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        found.wanted = Some(length.min(found.expected));
        let whole = found.has_all();
        if !whole {
            self.solicit(task);
        }
        whole
    }

    /// Ends a task: data, if it reads, and status are sent. `false` if there is no such task, it was stopped or has been
    /// answered: its buffer can go.
    pub fn respond(&mut self, task: TaskId, response: TaskResponse) -> bool {
        let Some(found) = self.tasks.get_mut(&task) else {
            return false;
        };
        if found.stopped || found.response.is_some() {
            return false;
        }
        found.transfers.clear();
        found.answer(response);
        self.outputs.push_back(Outgoing::Task(task));
        true
    }

    /// Ends a task without an answer: another nexus aborted it (SAM-5, "Aborting commands", TAS = 0). `false` if it has
    /// been answered or ended already.
    pub fn abort(&mut self, task: TaskId) -> bool {
        let answered = self
            .tasks
            .get(&task)
            .is_none_or(|task| task.response.is_some());
        if !answered {
            self.forget(task);
        }
        !answered
    }

    /// Answers a task management function with one of the constants of [`TaskManagementResponse`]. Its tasks are gone;
    /// what was answered before goes out before.
    pub fn managed(&mut self, id: ManagementId, response: u8) {
        let Some(at) = self.managements.iter().position(|one| one.id == id) else {
            return;
        };
        let management = self.managements.swap_remove(at);
        for task in management.tasks {
            self.forget(task);
        }
        self.answer_management(management.tag, response);
    }

    /// Asks for a sign of life; [`TargetEvent::Pong`] is the answer. `false` if the last one has not been answered.
    pub fn ping(&mut self) -> bool {
        if self.ping.is_some() || self.logged_out {
            return false;
        }
        let target_tag = self.transfer_tags.next();
        self.ping = Some(target_tag);
        self.send(FromTarget::NopIn(NopIn {
            tag: Tag::NONE,
            target_tag,
            lun: Lun::default(),
            answer: Answer::default(),
        }));
        true
    }

    /// Asks the initiator to log out within so many seconds.
    pub fn ask_logout(&mut self, seconds: u16) {
        self.send(FromTarget::Async(Async {
            lun: Lun::default(),
            answer: Answer::default(),
            event: Async::LOGOUT_REQUESTED,
            parameters: [0, 0, seconds],
        }));
    }

    fn answer_management(&mut self, tag: Tag, response: u8) {
        self.send(FromTarget::TaskManagement(TaskManagementResponse {
            tag,
            response,
            answer: Answer::default(),
        }));
    }

    fn send(&mut self, pdu: FromTarget) {
        self.outputs.push_back(Outgoing::Pdu(pdu, Vec::new()));
    }

    fn send_with(&mut self, pdu: FromTarget, data: Vec<u8>) {
        self.waiting_bytes += data.len();
        self.outputs.push_back(Outgoing::Pdu(pdu, data));
    }

    fn reject(&mut self, reason: u8, header: &Header) {
        let answer = Answer::default();
        let pdu = FromTarget::Reject(Reject { reason, answer });
        self.send_with(pdu, header.bytes().to_vec());
    }

    /// The task of a tag, if it still counts as one: not if all but the sending is done.
    fn open_task(&self, tag: Tag) -> Option<TaskId> {
        let id = self.tags.get(&tag)?;
        let task = self.tasks.get(id)?;
        task.response.is_none().then_some(*id)
    }

    fn forget(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.remove(&id) {
            self.tags.remove(&task.tag);
        }
    }

    /// Stops tasks: nothing is sent or asked for any more.
    fn stop(&mut self, which: impl Fn(&Task) -> bool) -> Vec<TaskId> {
        let mut stopped = Vec::new();
        for (id, task) in &mut self.tasks {
            if task.response.is_none() && which(task) {
                task.stopped = true;
                task.transfers.clear();
                stopped.push(*id);
            }
        }
        stopped.sort_unstable();
        stopped
    }

    /// Numbers of the next PDU: the window is as wide as there is room.
    fn numbers(&mut self) -> Answer {
        let busy = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        let room = self.window.saturating_sub(busy);
        let last = self.expected_command.plus(room).plus(u32::MAX);
        if self.last_command.precedes(last) {
            self.last_command = last;
        }
        Answer {
            status_number: self.next_status,
            expected_command: self.expected_command,
            last_command: self.last_command,
        }
    }

    /// Whether a command may come now by its number.
    fn in_turn(&mut self, command: crate::pdu::Command) -> Result<bool, SessionError> {
        if command.immediate {
            return Ok(true);
        }
        if !command
            .number
            .within(self.expected_command, self.last_command)
        {
            // "Command Numbering and Acknowledging": silently ignored.
            return Ok(false);
        }
        if command.number != self.expected_command {
            return Err(SessionError::CommandGap {
                got: command.number,
                expected: self.expected_command,
            });
        }
        self.expected_command = self.expected_command.plus(1);
        Ok(true)
    }
}
