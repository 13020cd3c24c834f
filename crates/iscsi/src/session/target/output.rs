//! What goes to an initiator.

use crate::Tag;
use crate::pdu::{Answer, DataIn, FromTarget, R2t, ScsiResponse};
use crate::session::target::TargetConnection;
use crate::session::target::task::{Ending, TransferOut};
use crate::session::{Body, Burst, Output, TaskId};

/// Something to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A PDU whose numbers are not filled in yet, with its data.
    Pdu(FromTarget, Vec<u8>),
    /// An R2T for a task, unless it has ended.
    R2t(TaskId, Tag),
    /// The data and the status of a task.
    Task(TaskId),
}

impl TargetConnection {
    /// The next PDU to be sent. Its numbers count from now: it is sent, and in this order.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            let output = match self.outputs.pop_front()? {
                Outgoing::Pdu(pdu, data) => Some(self.number(pdu, data)),
                Outgoing::R2t(task, target_tag) => self.next_r2t(task, target_tag),
                Outgoing::Task(task) => self.next_data(task),
            };
            if output.is_some() {
                return output;
            }
        }
    }

    fn number(&mut self, mut pdu: FromTarget, data: Vec<u8>) -> Output {
        self.waiting_bytes -= data.len();
        let answer = self.numbers();
        *pdu.answer_mut() = answer;
        if pdu.bears_status() {
            self.next_status = self.next_status.plus(1);
        }
        Output {
            header: pdu.header(),
            body: Body::from(data),
            last_of: None,
        }
    }

    /// Asks for what is still wanted of a task's data, as far as it may now.
    pub(super) fn solicit(&mut self, id: TaskId) {
        let agreed = self.session.parameters;
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(wanted) = task.wanted.filter(|_| task.unsolicited.is_none()) else {
            return;
        };
        let most = usize::try_from(agreed.max_outstanding_r2t).unwrap_or(usize::MAX);
        while task.solicited < wanted && task.transfers.len() < most {
            let end = wanted.min(task.solicited.saturating_add(agreed.max_burst));
            let target_tag = self.transfer_tags.next();
            task.transfers.push(TransferOut {
                target_tag,
                burst: Burst::new(task.solicited, end),
                length: end - task.solicited,
            });
            task.solicited = end;
            self.outputs.push_back(Outgoing::R2t(id, target_tag));
        }
    }

    fn next_r2t(&mut self, id: TaskId, target_tag: Tag) -> Option<Output> {
        let answer = self.numbers();
        let task = self.tasks.get_mut(&id)?;
        let mut transfers = task.transfers.iter();
        let transfer = transfers.find(|transfer| transfer.target_tag == target_tag)?;
        let r2t = R2t {
            lun: task.lun,
            tag: task.tag,
            target_tag,
            answer,
            number: task.number,
            offset: transfer.start(),
            length: transfer.length,
        };
        task.number = task.number.wrapping_add(1);
        Some(Output {
            header: r2t.header(),
            body: Body::None,
            last_of: None,
        })
    }

    /// The next Data-In of a task, or its response.
    fn next_data(&mut self, id: TaskId) -> Option<Output> {
        let agreed = self.session.parameters;
        let task = self.tasks.get_mut(&id)?;
        let ending = task.response.as_mut()?;
        if ending.next == ending.end {
            return Some(self.response(id));
        }
        // A sequence ends at each multiple of MaxBurstLength.
        let in_burst = agreed.max_burst - ending.next % agreed.max_burst;
        let left = ending.end - ending.next;
        let length = left.min(in_burst).min(agreed.max_send);
        let offset = ending.next;
        ending.next += length;
        let whole = ending.next == ending.end;
        let ends = whole && ending.status == 0 && ending.sense.is_empty();
        let data = DataIn {
            last: whole || length == in_burst,
            status: ends.then_some((ending.status, ending.residual)),
            tag: task.tag,
            answer: Answer::default(),
            number: task.number,
            offset,
        };
        task.number = task.number.wrapping_add(1);
        if ends {
            self.forget(id);
        } else if data.last && !whole {
            // Others get their turn between two sequences.
            self.outputs.push_back(Outgoing::Task(id));
        } else {
            self.outputs.push_front(Outgoing::Task(id));
        }
        let mut output = self.number(FromTarget::DataIn(data), Vec::new());
        output.body = Body::Task {
            task: id,
            offset,
            length,
        };
        output.last_of = ends.then_some(id);
        Some(output)
    }

    fn response(&mut self, id: TaskId) -> Output {
        let task = self.tasks.remove(&id);
        let (tag, number, ending) = task.map_or((Tag::NONE, 0, None), |task| {
            self.tags.remove(&task.tag);
            (task.tag, task.number, task.response)
        });
        let (status, residual, sense) = ending.map_or_else(Default::default, |ending: Ending| {
            (ending.status, ending.residual, ending.sense)
        });
        let response = ScsiResponse {
            tag,
            response: 0,
            status,
            answer: Answer::default(),
            expected_data: number,
            residual,
        };
        let mut data = Vec::new();
        if !sense.is_empty() {
            let length = u16::try_from(sense.len()).unwrap_or(u16::MAX);
            data.extend(length.to_be_bytes());
            data.extend(&sense[..usize::from(length)]);
        }
        self.waiting_bytes += data.len();
        let mut output = self.number(FromTarget::ScsiResponse(response), data);
        output.last_of = Some(id);
        output
    }
}
