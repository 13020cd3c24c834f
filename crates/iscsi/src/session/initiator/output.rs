//! What goes to a target.

use crate::Tag;
use crate::pdu::{
    Command, DataOut, LogoutRequest, NopOut, ScsiCommand, TaskManagement, TextRequest,
};
use crate::session::initiator::{InitiatorConnection, Transfer};
use crate::session::{Body, Burst, Output, TaskId};

/// Something to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    Command(TaskId),
    /// Data of a task: unsolicited, or for the R2T of this tag.
    Data(TaskId, Tag, Burst),
    Management(TaskManagement),
    Nop(NopOut),
    Text(TextRequest, Vec<u8>),
    Logout(LogoutRequest),
}

impl InitiatorConnection {
    /// The next PDU to be sent. It is sent, and in this order.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            let output = match self.outputs.pop_front()? {
                Outgoing::Command(task) => self.next_command_pdu(task),
                Outgoing::Data(task, target_tag, burst) => self.next_data(task, target_tag, burst),
                Outgoing::Management(mut request) => {
                    self.number(&mut request.command);
                    Some(plain(request.header()))
                }
                Outgoing::Nop(mut nop) => {
                    self.number(&mut nop.command);
                    Some(plain(nop.header()))
                }
                Outgoing::Text(mut request, text) => {
                    self.number(&mut request.command);
                    let mut output = plain(request.header());
                    output.body = Body::from(text);
                    Some(output)
                }
                Outgoing::Logout(mut request) => {
                    self.number(&mut request.command);
                    Some(plain(request.header()))
                }
            };
            if output.is_some() {
                return output;
            }
        }
    }

    const fn number(&self, command: &mut Command) {
        command.expected_status = self.next_status;
    }

    fn next_command_pdu(&mut self, id: TaskId) -> Option<Output> {
        let agreed = self.session.parameters;
        let expected_status = self.next_status;
        // Even if it was stopped meanwhile: its number must not be missing.
        let task = self.tasks.get_mut(&id)?;
        let length = match task.transfer {
            Transfer::None => 0,
            Transfer::Read(length) | Transfer::Write(length) => length,
        };
        let writes = matches!(task.transfer, Transfer::Write(_));
        let first = if writes {
            length.min(agreed.first_burst)
        } else {
            0
        };
        let immediate = if agreed.immediate_data {
            first.min(agreed.max_send)
        } else {
            0
        };
        let unsolicited = !agreed.initial_r2t && immediate < first;
        task.solicited = if unsolicited { first } else { immediate };
        let command = ScsiCommand {
            last: !unsolicited,
            reads: matches!(task.transfer, Transfer::Read(_)),
            writes,
            attribute: task.attribute,
            lun: task.lun,
            tag: task.tag,
            expected: length,
            command: Command {
                immediate: false,
                number: task.number,
                expected_status,
            },
            cdb: task.cdb,
        };
        if unsolicited {
            let burst = Burst::new(immediate, first);
            self.outputs
                .push_front(Outgoing::Data(id, Tag::NONE, burst));
        }
        Some(Output {
            header: command.header(),
            body: part(id, 0, immediate),
            last_of: None,
        })
    }

    /// The next data of a burst. A task that has ended or is being aborted sends none.
    fn next_data(&mut self, id: TaskId, target_tag: Tag, mut burst: Burst) -> Option<Output> {
        let expected_status = self.next_status;
        let task = self.tasks.get_mut(&id).filter(|task| !task.stopped)?;
        let left = burst.end - burst.next;
        let length = left.min(self.session.parameters.max_send);
        let data = DataOut {
            last: length == left,
            lun: task.lun,
            tag: task.tag,
            target_tag,
            expected_status,
            number: burst.number,
            offset: burst.next,
        };
        burst.next += length;
        burst.number = burst.number.wrapping_add(1);
        if burst.is_whole() {
            if target_tag != Tag::NONE {
                task.outstanding = task.outstanding.saturating_sub(1);
            }
        } else {
            self.outputs
                .push_front(Outgoing::Data(id, target_tag, burst));
        }
        Some(Output {
            header: data.header(),
            body: part(id, data.offset, length),
            last_of: None,
        })
    }
}

const fn plain(header: crate::Header) -> Output {
    Output {
        header,
        body: Body::None,
        last_of: None,
    }
}

const fn part(task: TaskId, offset: u32, length: u32) -> Body {
    match length {
        0 => Body::None,
        _ => Body::Task {
            task,
            offset,
            length,
        },
    }
}
