//! What comes from an initiator.

use crate::Tag;
use crate::pdu::{
    Answer, Command, DataOut, FromInitiator, FromTarget, Header, LogoutRequest, LogoutResponse,
    NopIn, NopOut, Reject, ScsiCommand, TaskManagement, TaskManagementResponse, TextRequest,
};
use crate::session::target::task::Task;
use crate::session::target::{
    Fault, IMMEDIATE, Management, ManagementId, ScsiTask, TargetConnection, TargetEvent,
};
use crate::session::{Arrived, Burst, Place, SessionError, TaskId};
use crate::text::MAX_TEXT;

/// The PDU whose data segment is coming.
#[derive(Debug)]
pub(super) enum Pending {
    Nothing,
    /// Not taken up.
    Ignored,
    Rejected(u8, Header),
    Command(ScsiTask, Header),
    Data {
        task: TaskId,
        /// The R2T; `None` for unsolicited data.
        target_tag: Option<Tag>,
        number: u32,
        offset: u32,
        length: usize,
        last: bool,
        header: Header,
    },
    /// Data that should not have come.
    Faulty(TaskId, Fault),
    Ping(NopOut),
    Text(TextRequest),
    Management(TaskManagement),
    Logout(LogoutRequest),
}

/// AHS type of an extended CDB (RFC 7143, "AHSType").
const EXTENDED_CDB: u8 = 1;

impl TargetConnection {
    /// Takes a header with its additional header segments, and says where its data segment goes. [`Self::finish`] follows
    /// in any case.
    ///
    /// # Errors
    /// If the connection must end.
    pub fn begin(&mut self, header: &Header, additional: &[u8]) -> Result<Place, SessionError> {
        if !matches!(self.pending, Pending::Nothing) {
            return Err(SessionError::Misused);
        }
        if self.logged_out {
            return Err(SessionError::OutOfPlace);
        }
        let length = header.data_length();
        let Ok(pdu) = FromInitiator::parse(header) else {
            return Ok(self.refuse(Reject::NOT_SUPPORTED, header));
        };
        match pdu {
            FromInitiator::ScsiCommand(command) => self.begin_command(&command, header, additional),
            FromInitiator::DataOut(data) => self.begin_data(&data, header),
            FromInitiator::NopOut(nop) => {
                let pending = Pending::Ping(nop);
                self.begin_other(nop.command, pending, length, length)
            }
            FromInitiator::Text(request) if length > MAX_TEXT => {
                let _ = self.in_turn(request.command)?;
                Ok(self.refuse(Reject::NO_RESOURCES, header))
            }
            FromInitiator::Text(request) => {
                let pending = Pending::Text(request);
                self.begin_other(request.command, pending, length, length)
            }
            FromInitiator::TaskManagement(request) if self.session.discovery() => {
                let _ = self.in_turn(request.command)?;
                Ok(self.refuse(Reject::PROTOCOL_ERROR, header))
            }
            FromInitiator::TaskManagement(request) => {
                if self.managements.len() >= IMMEDIATE {
                    let _ = self.in_turn(request.command)?;
                    return Ok(self.refuse(Reject::IMMEDIATE, header));
                }
                self.begin_other(request.command, Pending::Management(request), 0, length)
            }
            FromInitiator::Logout(request) => {
                self.begin_other(request.command, Pending::Logout(request), 0, length)
            }
            FromInitiator::Login(_) => Ok(self.refuse(Reject::PROTOCOL_ERROR, header)),
            FromInitiator::Snack => Ok(self.refuse(Reject::SNACK, header)),
        }
    }

    fn refuse(&mut self, reason: u8, header: &Header) -> Place {
        self.pending = Pending::Rejected(reason, header.clone());
        discard(header.data_length())
    }

    /// A PDU of which the first `kept` of `length` bytes of data matter.
    fn begin_other(
        &mut self,
        command: Command,
        pending: Pending,
        kept: usize,
        length: usize,
    ) -> Result<Place, SessionError> {
        if !self.in_turn(command)? {
            self.pending = Pending::Ignored;
            return Ok(discard(length));
        }
        self.pending = pending;
        Ok(match kept {
            0 => discard(length),
            _ => Place::Bytes(length),
        })
    }

    fn begin_command(
        &mut self,
        command: &ScsiCommand,
        header: &Header,
        additional: &[u8],
    ) -> Result<Place, SessionError> {
        let length = header.data_length();
        if !self.in_turn(command.command)? {
            self.pending = Pending::Ignored;
            return Ok(discard(length));
        }
        let most = usize::try_from(self.window).unwrap_or(usize::MAX);
        let reason = if self.session.discovery() {
            Some(Reject::PROTOCOL_ERROR)
        } else if command.tag == Tag::NONE {
            Some(Reject::INVALID_FIELD)
        } else if self.tags.contains_key(&command.tag) {
            Some(Reject::IN_PROGRESS)
        } else if self.tasks.len() >= most.saturating_add(IMMEDIATE) {
            Some(Reject::IMMEDIATE)
        } else {
            None
        };
        if let Some(reason) = reason {
            return Ok(self.refuse(reason, header));
        }
        let unsolicited = self.unsolicited(command, length)?;
        let immediate = u32::try_from(length).unwrap_or(u32::MAX);
        let id = TaskId(self.next_task);
        self.next_task += 1;
        self.tags.insert(command.tag, id);
        let task = Task {
            tag: command.tag,
            lun: command.lun,
            reads: command.reads,
            writes: command.writes,
            expected: command.expected,
            received: immediate,
            solicited: unsolicited.map_or(immediate, |burst| burst.end),
            unsolicited,
            wanted: None,
            transfers: Vec::new(),
            number: 0,
            stopped: false,
            deaf: false,
            response: None,
        };
        self.tasks.insert(id, task);
        let scsi = ScsiTask {
            task: id,
            lun: command.lun,
            cdb: command.cdb,
            cdb_rest: extended_cdb(additional),
            attribute: command.attribute,
            reads: command.reads,
            writes: command.writes,
            expected: command.expected,
        };
        self.pending = Pending::Command(scsi, header.clone());
        Ok(place(id, 0, length))
    }

    /// The unsolicited data that follow a command with `length` bytes of immediate ones (RFC 7143, "Data Transfer
    /// Overview").
    fn unsolicited(
        &self,
        command: &ScsiCommand,
        length: usize,
    ) -> Result<Option<Burst>, SessionError> {
        let agreed = &self.session.parameters;
        let immediate = u32::try_from(length).map_err(|_| SessionError::Unsolicited)?;
        let most = agreed.first_burst.min(command.expected);
        let unexpected = immediate > 0 && !(command.writes && agreed.immediate_data);
        if unexpected || immediate > most {
            return Err(SessionError::Unsolicited);
        }
        if command.last {
            return Ok(None);
        }
        if !command.writes || agreed.initial_r2t || immediate == most {
            return Err(SessionError::Unsolicited);
        }
        Ok(Some(Burst::new(immediate, most)))
    }

    fn begin_data(&mut self, data: &DataOut, header: &Header) -> Result<Place, SessionError> {
        let length = header.data_length();
        let found = self.tags.get(&data.tag).copied();
        let found = found.and_then(|id| Some((id, self.tasks.get_mut(&id)?)));
        let live = found.filter(|(_, task)| task.receives());
        let Some((id, task)) = live else {
            // What an initiator had begun to send when its task ended.
            self.pending = Pending::Ignored;
            return Ok(discard(length));
        };
        let solicited = data.target_tag != Tag::NONE;
        if let Err(fault) = task.check(data, length) {
            self.pending = Pending::Faulty(id, fault);
            return Ok(discard(length));
        }
        self.pending = Pending::Data {
            task: id,
            target_tag: solicited.then_some(data.target_tag),
            number: data.number,
            offset: data.offset,
            length,
            last: data.last,
            header: header.clone(),
        };
        Ok(place(id, data.offset, length))
    }

    /// The data segment of the PDU has arrived.
    ///
    /// # Errors
    /// If the connection must end.
    pub fn finish(&mut self, arrived: Arrived<'_>) -> Result<(), SessionError> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        let damaged = arrived == Arrived::Damaged;
        let bytes = match arrived {
            Arrived::Bytes(bytes) => bytes,
            Arrived::Placed | Arrived::Damaged => &[],
        };
        match pending {
            Pending::Nothing => return Err(SessionError::Misused),
            Pending::Ignored => {}
            Pending::Faulty(task, fault) => self.fail(task, fault),
            Pending::Rejected(reason, header) => self.reject(reason, &header),
            Pending::Command(scsi, header) if damaged => self.damaged(scsi.task, &header),
            Pending::Command(scsi, _) => self.events.push_back(TargetEvent::Command(scsi)),
            Pending::Data { task, header, .. } if damaged => self.damaged(task, &header),
            Pending::Data {
                task,
                target_tag,
                number,
                offset,
                length,
                last,
                ..
            } => self.finish_data(task, target_tag, (number, offset, length), last)?,
            // A number was used up, and the PDU is not sent again.
            _ if damaged => return Err(SessionError::Damaged),
            Pending::Ping(nop) => self.echo(&nop, bytes),
            Pending::Text(request) => self.text(&request, bytes)?,
            Pending::Management(request) => self.manage(&request),
            Pending::Logout(request) => self.log_out(&request),
        }
        Ok(())
    }

    fn damaged(&mut self, task: TaskId, header: &Header) {
        self.reject(Reject::DATA_DIGEST, header);
        self.fail(task, Fault::DataDigest);
    }

    /// Nothing more is asked for; what was asked for before is discarded when it comes.
    fn fail(&mut self, task: TaskId, fault: Fault) {
        let Some(found) = self.tasks.get_mut(&task) else {
            // Aborted while the data came.
            return;
        };
        found.transfers.clear();
        found.unsolicited = None;
        found.deaf = true;
        self.events.push_back(TargetEvent::Failed { task, fault });
    }

    fn finish_data(
        &mut self,
        id: TaskId,
        target_tag: Option<Tag>,
        (number, offset, length): (u32, u32, usize),
        last: bool,
    ) -> Result<(), SessionError> {
        let Some(task) = self.tasks.get_mut(&id) else {
            // Aborted while the data came.
            return Ok(());
        };
        match target_tag {
            None => {
                if let Some(burst) = &mut task.unsolicited {
                    burst.take(number, offset, length)?;
                    task.received = burst.next;
                    if last {
                        task.solicited = burst.next;
                        task.unsolicited = None;
                    }
                }
            }
            Some(tag) => {
                let mut transfers = task.transfers.iter_mut();
                if let Some(transfer) = transfers.find(|transfer| transfer.target_tag == tag) {
                    transfer.burst.take(number, offset, length)?;
                    if last {
                        task.received += transfer.length;
                        task.transfers.retain(|transfer| transfer.target_tag != tag);
                    }
                }
            }
        }
        if last && task.has_all() {
            self.events.push_back(TargetEvent::Written(id));
        } else if last {
            self.solicit(id);
        }
        Ok(())
    }

    fn echo(&mut self, nop: &NopOut, bytes: &[u8]) {
        if self.ping.is_some_and(|ping| ping == nop.target_tag) {
            self.ping = None;
            self.events.push_back(TargetEvent::Pong);
        }
        if nop.tag == Tag::NONE {
            return;
        }
        let most = usize::try_from(self.session.parameters.max_send).unwrap_or(usize::MAX);
        let data = bytes[..bytes.len().min(most)].to_vec();
        let answer = NopIn {
            tag: nop.tag,
            target_tag: Tag::NONE,
            lun: nop.lun,
            answer: Answer::default(),
        };
        self.send_with(FromTarget::NopIn(answer), data);
    }

    fn manage(&mut self, request: &TaskManagement) {
        let lun = request.lun;
        let tasks = match request.function {
            TaskManagement::TASK_REASSIGN => {
                let response = TaskManagementResponse::NO_REASSIGNMENT;
                return self.answer_management(request.tag, response);
            }
            TaskManagement::ABORT_TASK => {
                // With one connection what has not arrived yet was not sent before this request.
                let task = self.open_task(request.referenced);
                let tag = request.referenced;
                let stopped = self.stop(|one| task.is_some() && one.tag == tag);
                debug_assert!(stopped.is_empty() || stopped.first() == task.as_ref());
                task.into_iter().collect()
            }
            TaskManagement::ABORT_TASK_SET
            | TaskManagement::CLEAR_TASK_SET
            | TaskManagement::LOGICAL_UNIT_RESET => self.stop(|task| task.lun == lun),
            TaskManagement::TARGET_WARM_RESET => self.stop(|_| true),
            _ => Vec::new(),
        };
        let id = ManagementId(self.next_management);
        self.next_management += 1;
        self.managements.push(Management {
            id,
            tag: request.tag,
            tasks: tasks.clone(),
        });
        self.events.push_back(TargetEvent::Manage {
            id,
            function: request.function,
            lun,
            tasks,
        });
    }

    fn log_out(&mut self, request: &LogoutRequest) {
        let other = request.reason == LogoutRequest::CONNECTION && request.cid != self.session.cid;
        let response = match request.reason {
            _ if other => LogoutResponse::NO_CONNECTION,
            LogoutRequest::SESSION | LogoutRequest::CONNECTION => LogoutResponse::CLOSED,
            _ => LogoutResponse::NO_RECOVERY,
        };
        if response == LogoutResponse::CLOSED {
            let tasks = self.stop(|_| true);
            for task in &tasks {
                self.forget(*task);
            }
            self.managements.clear();
            self.logged_out = true;
            self.events.push_back(TargetEvent::LoggedOut { tasks });
        }
        self.send(FromTarget::Logout(LogoutResponse {
            tag: request.tag,
            response,
            answer: Answer::default(),
        }));
    }
}

fn discard(length: usize) -> Place {
    match length {
        0 => Place::None,
        _ => Place::Discard(length),
    }
}

fn place(task: TaskId, offset: u32, length: usize) -> Place {
    match length {
        0 => Place::None,
        _ => Place::Task {
            task,
            offset,
            length,
        },
    }
}

/// The bytes of a command beyond the sixteenth: empty unless there is a segment that holds them.
fn extended_cdb(mut segments: &[u8]) -> Vec<u8> {
    while let [high, low, kind, rest @ ..] = segments {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(body) = rest.get(..length) else {
            break;
        };
        if *kind == EXTENDED_CDB {
            // The first byte is reserved.
            return body.get(1..).unwrap_or_default().to_vec();
        }
        segments = rest
            .get((length + 3).next_multiple_of(4) - 3..)
            .unwrap_or_default();
    }
    Vec::new()
}
