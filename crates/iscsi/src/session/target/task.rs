//! What a target knows of a task.

use crate::Tag;
use crate::pdu::{DataOut, Lun, Residual};
use crate::session::Burst;
use crate::session::target::{Fault, TaskResponse};

/// An R2T that is out.
#[derive(Debug)]
pub(super) struct TransferOut {
    pub(super) target_tag: Tag,
    pub(super) burst: Burst,
    /// Desired Data Transfer Length.
    pub(super) length: u32,
}

impl TransferOut {
    /// Buffer Offset.
    pub(super) const fn start(&self) -> u32 {
        self.burst.end - self.length
    }
}

/// What is sent at the end of a task.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) status: u8,
    pub(super) residual: Residual,
    pub(super) sense: Vec<u8>,
    /// The data that remain to be sent.
    pub(super) next: u32,
    pub(super) end: u32,
}

/// A task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) tag: Tag,
    pub(super) lun: Lun,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) expected: u32,
    /// So many bytes from the start have arrived in solicited or unsolicited bursts that are over.
    pub(super) received: u32,
    /// Unsolicited data that are still to come.
    pub(super) unsolicited: Option<Burst>,
    /// How many bytes are asked for.
    pub(super) wanted: Option<u32>,
    /// Up to where data were asked for, or came unasked.
    pub(super) solicited: u32,
    pub(super) transfers: Vec<TransferOut>,
    /// R2TSN, then DataSN.
    pub(super) number: u32,
    /// It is being aborted: nothing is sent for it any more.
    pub(super) stopped: bool,
    /// Its data were damaged: nothing is received for it any more.
    pub(super) deaf: bool,
    pub(super) response: Option<Ending>,
}

impl Task {
    /// Whether data may still come for it.
    pub(super) const fn receives(&self) -> bool {
        self.writes && !self.stopped && !self.deaf && self.response.is_none()
    }

    /// Whether data may come like this: the next ones of a burst that is expected, up to its end and not beyond.
    pub(super) fn check(&mut self, data: &DataOut, length: usize) -> Result<(), Fault> {
        let solicited = data.target_tag != Tag::NONE;
        let burst = if solicited {
            let mut transfers = self.transfers.iter();
            transfers
                .find(|transfer| transfer.target_tag == data.target_tag)
                .map(|transfer| transfer.burst)
        } else {
            self.unsolicited
        };
        // Taken for good when they are there.
        let mut burst = burst.ok_or(Fault::Unsolicited)?;
        burst
            .take(data.number, data.offset, length)
            .map_err(|_| Fault::Sequence)?;
        // A burst ends where it should; unsolicited ones may end before.
        if burst.is_whole() == data.last || !solicited && data.last {
            Ok(())
        } else {
            Err(Fault::Sequence)
        }
    }

    /// Whether everything that was asked for is there.
    pub(super) fn has_all(&self) -> bool {
        let wanted = self.wanted.is_some_and(|wanted| wanted <= self.received);
        wanted && self.unsolicited.is_none() && self.transfers.is_empty()
    }

    pub(super) fn answer(&mut self, response: TaskResponse) {
        let moves = self.reads || self.writes;
        let residual = if moves {
            Residual::of(response.length, self.expected)
        } else {
            Residual::of(response.length, 0)
        };
        // A task that also writes has no place for data in: it is refused by whoever reads its command.
        let sends = self.reads && !self.writes;
        let available = u32::try_from(response.length).unwrap_or(u32::MAX);
        self.response = Some(Ending {
            status: response.status,
            residual,
            sense: response.sense,
            next: 0,
            end: if sends {
                available.min(self.expected)
            } else {
                0
            },
        });
    }
}
