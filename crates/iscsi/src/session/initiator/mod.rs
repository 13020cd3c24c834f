//! An initiator's side of full feature phase.
//!
//! ```text
//!  command ─▶ sent ─▶ data in, or R2T and data out ─▶ Finished
//!               │
//!               └─ abort, manage ─▶ Managed: the task is gone without an end of its own
//! ```

mod output;
mod receive;

use std::collections::{HashMap, VecDeque};

use crate::exchange::Gathering;
use crate::login::Established;
use crate::pdu::{
    Async, Attribute, Command, LogoutRequest, Lun, NopOut, Residual, TaskManagement, TextRequest,
};
use crate::session::target::TargetPortal;
use crate::session::{Burst, Tags, TaskId};
use crate::{Keys, Serial, Tag};

use output::Outgoing;
use receive::Pending;

/// Which data a command moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// None.
    None,
    /// So many bytes at most from the target.
    Read(u32),
    /// So many bytes to the target.
    Write(u32),
}

/// A SCSI command to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRequest {
    /// To which logical unit.
    pub lun: Lun,
    /// The command.
    pub cdb: [u8; 16],
    /// How it is queued.
    pub attribute: Attribute,
    /// Which data it moves.
    pub transfer: Transfer,
}

/// Why nothing is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotNow {
    /// The target has no room for another command before one ends.
    #[error("the target has no room for another command")]
    WindowFull,
    /// The session ends.
    #[error("the session ends")]
    LoggingOut,
    /// Only discovery, or no discovery, in this session; or one is under way.
    #[error("not in this session, or one is under way")]
    NotHere,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// iSCSI's response: 0 if the target completed the command, and only then the rest counts.
    pub response: u8,
    /// The SCSI status.
    pub status: u8,
    /// How many bytes more or fewer than expected.
    pub residual: Residual,
    /// How many bytes have come.
    pub received: u32,
    /// Sense data.
    pub sense: Vec<u8>,
}

/// What happened at an initiator's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitiatorEvent {
    /// A command has ended.
    Finished(TaskId, Outcome),
    /// A task management function has ended, with one of the constants of [`crate::pdu::TaskManagementResponse`].
    Managed {
        /// The function.
        function: TaskId,
        /// How.
        response: u8,
        /// Commands that are gone without an end of their own. Empty if the function was refused: then writes that
        /// still had data to send never end, and the session must.
        gone: Vec<TaskId>,
    },
    /// A PDU was not accepted. Its command, if it was one, is gone; but for damaged data, after which it ends as usual.
    Rejected {
        /// Which command or function.
        task: Option<TaskId>,
        /// One of the constants of [`crate::pdu::Reject`].
        reason: u8,
    },
    /// The target tells something. It may ask for a logout.
    Told(Async),
    /// The target answered [`InitiatorConnection::ping`].
    Pong,
    /// What [`InitiatorConnection::discover`] found.
    Found(Vec<TargetPortal>),
    /// The target answered the logout: 0 is well. The connection is closed now.
    LoggedOut(u8),
}

/// What is known of a task.
#[derive(Debug)]
struct Task {
    tag: Tag,
    lun: Lun,
    cdb: [u8; 16],
    attribute: Attribute,
    transfer: Transfer,
    number: Serial,
    /// Data that come.
    incoming: Burst,
    /// R2TSN of the next R2T.
    transfers: u32,
    /// How many R2Ts are being answered.
    outstanding: u32,
    /// Up to where data were sent or asked for.
    solicited: u32,
    stopped: bool,
}

/// What an answer belongs to that is no command's.
#[derive(Debug)]
enum Asked {
    Management { id: TaskId, tasks: Vec<TaskId> },
    Ping,
    Text,
    Logout,
}

/// An initiator's side of a connection.
#[derive(Debug)]
pub struct InitiatorConnection {
    session: Established,
    next_command: Serial,
    last_command: Serial,
    next_status: Serial,
    tasks: HashMap<TaskId, Task>,
    tags: HashMap<Tag, TaskId>,
    asked: HashMap<Tag, Asked>,
    next_task: u64,
    next_tag: Tags,
    pending: Pending,
    gathering: Gathering,
    outputs: VecDeque<Outgoing>,
    events: VecDeque<InitiatorEvent>,
    logging_out: bool,
}

/// When so many PDUs wait to be sent, no more should be received.
const MAX_WAITING: usize = 1024;

impl InitiatorConnection {
    /// A connection after its login.
    #[must_use]
    pub fn new(session: Established) -> Self {
        Self {
            next_command: session.next_command,
            last_command: session.last_command,
            next_status: session.next_status,
            session,
            tasks: HashMap::new(),
            tags: HashMap::new(),
            asked: HashMap::new(),
            next_task: 0,
            next_tag: Tags::default(),
            pending: Pending::Nothing,
            gathering: Gathering::default(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            logging_out: false,
        }
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &Established {
        &self.session
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<InitiatorEvent> {
        self.events.pop_front()
    }

    /// Whether more should be received now: not while much waits to be sent, lest memory grow.
    #[must_use]
    pub fn takes_more(&self) -> bool {
        self.outputs.len() < MAX_WAITING
    }

    /// How many commands have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Sends a command. Its data are read from, or written to, the buffer that the caller keeps for the task.
    ///
    /// # Errors
    /// If it cannot be sent now.
    pub fn command(&mut self, request: &CommandRequest) -> Result<TaskId, NotNow> {
        self.may_send()?;
        if self.session.discovery() {
            return Err(NotNow::NotHere);
        }
        if self.last_command.precedes(self.next_command) {
            return Err(NotNow::WindowFull);
        }
        let (id, tag) = (self.new_id(), self.new_tag());
        let incoming = match request.transfer {
            Transfer::Read(length) => length,
            Transfer::None | Transfer::Write(_) => 0,
        };
        self.tags.insert(tag, id);
        self.tasks.insert(
            id,
            Task {
                tag,
                lun: request.lun,
                cdb: request.cdb,
                attribute: request.attribute,
                transfer: request.transfer,
                number: self.next_command,
                incoming: Burst::new(0, incoming),
                transfers: 0,
                outstanding: 0,
                solicited: 0,
                stopped: false,
            },
        );
        self.next_command = self.next_command.plus(1);
        self.outputs.push_back(Outgoing::Command(id));
        Ok(id)
    }

    /// Aborts a command: [`InitiatorEvent::Managed`] tells when it is gone. Its end may come before.
    ///
    /// # Errors
    /// If the session ends, or there is no such command any more.
    pub fn abort(&mut self, task: TaskId) -> Result<TaskId, NotNow> {
        let found = self.tasks.get(&task).ok_or(NotNow::NotHere)?;
        let (lun, tag, number) = (found.lun, found.tag, found.number);
        self.start_management(TaskManagement::ABORT_TASK, lun, (tag, number), vec![task])
    }

    /// Carries out any other function of [`TaskManagement`].
    ///
    /// # Errors
    /// If the session ends.
    pub fn manage(&mut self, function: u8, lun: Lun) -> Result<TaskId, NotNow> {
        let whole_target = matches!(
            function,
            TaskManagement::TARGET_WARM_RESET | TaskManagement::TARGET_COLD_RESET
        );
        let mut tasks: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| whole_target || task.lun == lun)
            .map(|(id, _)| *id)
            .collect();
        tasks.sort_unstable();
        self.start_management(function, lun, (Tag::NONE, Serial(0)), tasks)
    }

    fn start_management(
        &mut self,
        function: u8,
        lun: Lun,
        (referenced, referenced_number): (Tag, Serial),
        tasks: Vec<TaskId>,
    ) -> Result<TaskId, NotNow> {
        self.may_send()?;
        let (id, tag) = (self.new_id(), self.new_tag());
        for task in &tasks {
            if let Some(task) = self.tasks.get_mut(task) {
                // No more data are sent for it.
                task.stopped = true;
            }
        }
        let request = TaskManagement {
            function,
            lun,
            tag,
            referenced,
            command: self.immediate(),
            referenced_number,
        };
        self.asked.insert(tag, Asked::Management { id, tasks });
        self.outputs.push_back(Outgoing::Management(request));
        Ok(id)
    }

    /// Asks for a sign of life: [`InitiatorEvent::Pong`].
    ///
    /// # Errors
    /// If the session ends.
    pub fn ping(&mut self) -> Result<(), NotNow> {
        self.may_send()?;
        let tag = self.new_tag();
        self.asked.insert(tag, Asked::Ping);
        let command = self.immediate();
        self.outputs.push_back(Outgoing::Nop(NopOut {
            tag,
            target_tag: Tag::NONE,
            lun: Lun::default(),
            command,
        }));
        Ok(())
    }

    /// Asks for all targets in a discovery session, for the session's own in another: [`InitiatorEvent::Found`].
    ///
    /// # Errors
    /// If the session ends, or an earlier question has not been answered.
    pub fn discover(&mut self) -> Result<(), NotNow> {
        self.may_send()?;
        if self
            .asked
            .values()
            .any(|asked| matches!(asked, Asked::Text))
        {
            return Err(NotNow::NotHere);
        }
        let mut keys = Keys::new();
        let all = if self.session.discovery() { "All" } else { "" };
        keys.push("SendTargets", all);
        let tag = self.new_tag();
        self.gathering = Gathering::default();
        self.ask_text(tag, Tag::NONE, keys.encode());
        Ok(())
    }

    fn ask_text(&mut self, tag: Tag, target_tag: Tag, text: Vec<u8>) {
        self.asked.insert(tag, Asked::Text);
        let command = self.immediate();
        let request = TextRequest {
            last: true,
            goes_on: false,
            tag,
            target_tag,
            command,
        };
        self.outputs.push_back(Outgoing::Text(request, text));
    }

    /// Ends the session. What was sent before may still be answered before.
    ///
    /// # Errors
    /// If it ends already.
    pub fn logout(&mut self) -> Result<(), NotNow> {
        self.may_send()?;
        self.logging_out = true;
        let tag = self.new_tag();
        self.asked.insert(tag, Asked::Logout);
        let command = self.immediate();
        self.outputs.push_back(Outgoing::Logout(LogoutRequest {
            reason: LogoutRequest::SESSION,
            tag,
            cid: self.session.cid,
            command,
        }));
        Ok(())
    }

    const fn may_send(&self) -> Result<(), NotNow> {
        if self.logging_out {
            Err(NotNow::LoggingOut)
        } else {
            Ok(())
        }
    }

    /// The place of a command that is not counted. ExpStatSN is filled in when it is sent.
    const fn immediate(&self) -> Command {
        Command {
            immediate: true,
            number: self.next_command,
            expected_status: Serial(0),
        }
    }

    const fn new_id(&mut self) -> TaskId {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        id
    }

    /// A tag that nothing has which is under way.
    fn new_tag(&mut self) -> Tag {
        loop {
            let tag = self.next_tag.next();
            if !self.tags.contains_key(&tag) && !self.asked.contains_key(&tag) {
                return tag;
            }
        }
    }

    fn forget(&mut self, id: TaskId) -> bool {
        let task = self.tasks.remove(&id);
        if let Some(task) = &task {
            self.tags.remove(&task.tag);
        }
        task.is_some()
    }
}
