//! What comes from a target.

use crate::pdu::{
    Answer, DataIn, FromInitiator, FromTarget, Header, LogoutResponse, NopIn, NopOut, R2t, Reject,
    Residual, ScsiResponse, TaskManagementResponse, TextResponse,
};
use crate::session::initiator::output::Outgoing;
use crate::session::initiator::{Asked, InitiatorConnection, InitiatorEvent, Outcome, Transfer};
use crate::session::target::TargetPortal;
use crate::session::{Arrived, Burst, Place, SessionError, TaskId};
use crate::text::MAX_TEXT;
use crate::{HEADER_LEN, Keys, Serial, Tag};

/// The most sense data that are kept: any longer ones are not sense data.
const MAX_SENSE: usize = 4096;

/// The PDU whose data segment is coming.
#[derive(Debug)]
pub(super) enum Pending {
    Nothing,
    Data(TaskId, DataIn, usize),
    Response(TaskId, ScsiResponse),
    Text(TextResponse),
    Reject(Reject),
    /// It is complete without its data.
    Other(Box<FromTarget>),
}

impl InitiatorConnection {
    /// Takes a header, and says where its data segment goes. [`Self::finish`] follows in any case.
    ///
    /// # Errors
    /// If the connection must end.
    pub fn begin(&mut self, header: &Header) -> Result<Place, SessionError> {
        if !matches!(self.pending, Pending::Nothing) {
            return Err(SessionError::Misused);
        }
        let pdu = FromTarget::parse(header)?;
        let length = header.data_length();
        self.count(&pdu)?;
        let (pending, place) = match pdu {
            FromTarget::DataIn(data) => return self.begin_data(data, length),
            FromTarget::ScsiResponse(response) => {
                let task = self.task_of(response.tag)?;
                (Pending::Response(task, response), keep(length, MAX_SENSE))
            }
            FromTarget::Text(response) if length <= MAX_TEXT => {
                (Pending::Text(response), keep(length, MAX_TEXT))
            }
            FromTarget::Reject(reject) => (Pending::Reject(reject), keep(length, HEADER_LEN)),
            FromTarget::Login(_) | FromTarget::Text(_) => return Err(SessionError::OutOfPlace),
            other => (Pending::Other(Box::new(other)), keep(length, 0)),
        };
        self.pending = pending;
        Ok(place)
    }

    /// Numbers and the window.
    fn count(&mut self, pdu: &FromTarget) -> Result<(), SessionError> {
        let Answer {
            status_number,
            expected_command,
            last_command,
        } = pdu.answer();
        if pdu.bears_status() {
            if status_number != self.next_status {
                return Err(SessionError::StatusGap {
                    got: status_number,
                    expected: self.next_status,
                });
            }
            self.next_status = self.next_status.plus(1);
        }
        // "ExpCmdSN and MaxCmdSN": both are ignored if they contradict each other, and the window never shrinks.
        let before = Serial(expected_command.0.wrapping_sub(1));
        if !last_command.precedes(before) && self.last_command.precedes(last_command) {
            self.last_command = last_command;
        }
        Ok(())
    }

    fn task_of(&self, tag: Tag) -> Result<TaskId, SessionError> {
        self.tags.get(&tag).copied().ok_or(SessionError::NoTask)
    }

    fn begin_data(&mut self, data: DataIn, length: usize) -> Result<Place, SessionError> {
        let id = self.task_of(data.tag)?;
        let task = self.tasks.get(&id).ok_or(SessionError::NoTask)?;
        let mut after = task.incoming;
        after.take(data.number, data.offset, length)?;
        if data.status.is_some() && !data.last {
            return Err(SessionError::OutOfPlace);
        }
        self.pending = Pending::Data(id, data, length);
        Ok(match length {
            0 => Place::None,
            _ => Place::Task {
                task: id,
                offset: data.offset,
                length,
            },
        })
    }

    /// The data segment of the PDU has arrived.
    ///
    /// # Errors
    /// If the connection must end.
    pub fn finish(&mut self, arrived: Arrived<'_>) -> Result<(), SessionError> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        let bytes = match arrived {
            Arrived::Bytes(bytes) => bytes,
            Arrived::Placed => &[],
            // Nothing is sent again: what is missing now stays missing.
            Arrived::Damaged => return Err(SessionError::Damaged),
        };
        match pending {
            Pending::Nothing => Err(SessionError::Misused),
            Pending::Data(task, data, length) => self.finish_data(task, &data, length),
            Pending::Response(task, response) => {
                let outcome = Outcome {
                    response: response.response,
                    status: response.status,
                    residual: response.residual,
                    received: 0,
                    sense: sense(bytes),
                };
                self.end(task, outcome)
            }
            Pending::Text(response) => self.text(&response, bytes),
            Pending::Reject(reject) => {
                self.rejected(&reject, bytes);
                Ok(())
            }
            Pending::Other(pdu) => self.other(*pdu),
        }
    }

    fn finish_data(
        &mut self,
        id: TaskId,
        data: &DataIn,
        length: usize,
    ) -> Result<(), SessionError> {
        let task = self.tasks.get_mut(&id).ok_or(SessionError::NoTask)?;
        task.incoming.take(data.number, data.offset, length)?;
        let Some((status, residual)) = data.status else {
            return Ok(());
        };
        let outcome = Outcome {
            response: 0,
            status,
            residual,
            received: 0,
            sense: Vec::new(),
        };
        self.end(id, outcome)
    }

    fn end(&mut self, id: TaskId, mut outcome: Outcome) -> Result<(), SessionError> {
        let task = self.tasks.get(&id).ok_or(SessionError::NoTask)?;
        outcome.received = task.incoming.next;
        if let Transfer::Read(expected) = task.transfer
            && (outcome.response, outcome.status) == (0, 0)
        {
            let missing = match outcome.residual {
                Residual::Underflow(missing) => missing,
                Residual::None | Residual::Overflow(_) => 0,
            };
            // Good, and yet not all the data that it claims.
            if expected.checked_sub(missing) != Some(outcome.received) {
                return Err(SessionError::DataSequence);
            }
        }
        self.forget(id);
        self.events.push_back(InitiatorEvent::Finished(id, outcome));
        Ok(())
    }

    fn other(&mut self, pdu: FromTarget) -> Result<(), SessionError> {
        match pdu {
            FromTarget::R2t(r2t) => self.ready(&r2t),
            FromTarget::NopIn(nop) => self.nop(&nop),
            FromTarget::TaskManagement(response) => self.managed(&response),
            FromTarget::Logout(response) => self.logged_out(&response),
            FromTarget::Async(told) => {
                self.events.push_back(InitiatorEvent::Told(told));
                Ok(())
            }
            _ => Err(SessionError::OutOfPlace),
        }
    }

    /// The target wants data.
    fn ready(&mut self, r2t: &R2t) -> Result<(), SessionError> {
        let agreed = self.session.parameters;
        let id = self.task_of(r2t.tag)?;
        let task = self.tasks.get_mut(&id).ok_or(SessionError::NoTask)?;
        let Transfer::Write(length) = task.transfer else {
            return Err(SessionError::DataSequence);
        };
        let end = r2t.offset.checked_add(r2t.length);
        let fits = end.is_some_and(|end| end <= length)
            && (1..=agreed.max_burst).contains(&r2t.length)
            && r2t.offset == task.solicited
            && r2t.number == task.transfers
            && r2t.target_tag != Tag::NONE
            && task.outstanding < agreed.max_outstanding_r2t;
        if !fits {
            return Err(SessionError::DataSequence);
        }
        task.solicited += r2t.length;
        task.transfers = task.transfers.wrapping_add(1);
        if !task.stopped {
            task.outstanding += 1;
            let burst = Burst::new(r2t.offset, task.solicited);
            let data = Outgoing::Data(id, r2t.target_tag, burst);
            self.outputs.push_back(data);
        }
        Ok(())
    }

    fn nop(&mut self, nop: &NopIn) -> Result<(), SessionError> {
        if nop.tag != Tag::NONE {
            return match self.asked.remove(&nop.tag) {
                Some(Asked::Ping) => {
                    self.events.push_back(InitiatorEvent::Pong);
                    Ok(())
                }
                _ => Err(SessionError::NoTask),
            };
        }
        if nop.target_tag != Tag::NONE {
            let command = self.immediate();
            self.outputs.push_back(Outgoing::Nop(NopOut {
                tag: Tag::NONE,
                target_tag: nop.target_tag,
                lun: nop.lun,
                command,
            }));
        }
        Ok(())
    }

    fn managed(&mut self, response: &TaskManagementResponse) -> Result<(), SessionError> {
        let Some(Asked::Management { id, tasks }) = self.asked.remove(&response.tag) else {
            return Err(SessionError::NoTask);
        };
        // Without success they are still there, and may end yet.
        let over = matches!(
            response.response,
            TaskManagementResponse::COMPLETE | TaskManagementResponse::NO_TASK
        );
        let mut gone = tasks;
        gone.retain(|task| over && self.forget(*task));
        self.events.push_back(InitiatorEvent::Managed {
            function: id,
            response: response.response,
            gone,
        });
        Ok(())
    }

    fn logged_out(&mut self, response: &LogoutResponse) -> Result<(), SessionError> {
        match self.asked.remove(&response.tag) {
            Some(Asked::Logout) => {
                let event = InitiatorEvent::LoggedOut(response.response);
                self.events.push_back(event);
                Ok(())
            }
            _ => Err(SessionError::NoTask),
        }
    }

    fn rejected(&mut self, reject: &Reject, bytes: &[u8]) {
        let header = <[u8; HEADER_LEN]>::try_from(bytes).ok().map(Header::from);
        let pdu = header
            .as_ref()
            .and_then(|header| FromInitiator::parse(header).ok());
        let tag = header.map_or(Tag::NONE, |header| header.tag());
        // Damaged data leave the command to be answered.
        let ends = reject.reason != Reject::DATA_DIGEST;
        let task = match pdu {
            Some(FromInitiator::ScsiCommand(_)) => {
                let task = self.tags.get(&tag).copied();
                task.filter(|task| !ends || self.forget(*task))
            }
            Some(_) if ends => match self.asked.remove(&tag) {
                Some(Asked::Management { id, .. }) => Some(id),
                _ => None,
            },
            _ => None,
        };
        let reason = reject.reason;
        self.events
            .push_back(InitiatorEvent::Rejected { task, reason });
    }

    fn text(&mut self, response: &TextResponse, bytes: &[u8]) -> Result<(), SessionError> {
        let Some(Asked::Text) = self.asked.remove(&response.tag) else {
            return Err(SessionError::NoTask);
        };
        let goes_on = response.goes_on || !response.last;
        let Some(text) = self.gathering.take_bytes(bytes, goes_on)? else {
            if response.target_tag == Tag::NONE {
                return Err(SessionError::OutOfPlace);
            }
            self.ask_text(response.tag, response.target_tag, Vec::new());
            return Ok(());
        };
        let found = targets(&Keys::parse_list(&text)?);
        self.events.push_back(InitiatorEvent::Found(found));
        Ok(())
    }
}

/// Bytes that matter if they are no more than `most`; else nobody wants them.
const fn keep(length: usize, most: usize) -> Place {
    if length == 0 {
        Place::None
    } else if length <= most {
        Place::Bytes(length)
    } else {
        Place::Discard(length)
    }
}

/// Sense data after their length.
fn sense(bytes: &[u8]) -> Vec<u8> {
    let [high, low, rest @ ..] = bytes else {
        return Vec::new();
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    rest[..rest.len().min(length)].to_vec()
}

/// Each TargetName with the addresses after it.
fn targets(keys: &Keys) -> Vec<TargetPortal> {
    let mut found: Vec<TargetPortal> = Vec::new();
    for (key, value) in keys.iter() {
        match (key, found.last_mut()) {
            ("TargetName", _) => found.push(TargetPortal {
                target: value.to_owned(),
                addresses: Vec::new(),
            }),
            ("TargetAddress", Some(last)) => last.addresses.push(value.to_owned()),
            _ => {}
        }
    }
    found
}
