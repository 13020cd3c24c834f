//! A logical unit and short ways to send it commands.

use std::collections::BTreeMap;

use scsi::inquiry::Text;
use scsi::lu::{
    Begun, BlockLength, Config, Continued, Geometry, Identity, Limits, LocalNaa, LogicalUnit,
    NexusId, Operation, Prepared, Reply,
};
use scsi::pr::{RelativePort, ReservationType, Reservations};
use scsi::{AdditionalSense, Sense, SenseKey, Status};

use crate::pr::common::{RequestBuilder, nexus};

pub(crate) const BLOCKS: u64 = 1000;
pub(crate) const TEST_UNIT_READY: [u8; 6] = [0; 6];
pub(crate) const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub(crate) const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub(crate) const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
pub(crate) const RELEASE: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

pub(crate) fn config() -> Config {
    Config {
        identity: Identity {
            vendor: Text::new("PICKET").unwrap(),
            product: Text::new("disk").unwrap(),
            revision: Text::new("0001").unwrap(),
            serial: Text::new("S1").unwrap(),
            naa: LocalNaa::new(0x0123_4567_89AB_CDEF),
            target_name: "iqn.2026-11.test:t1".into(),
        },
        geometry: Geometry {
            block_length: BlockLength::B512,
            blocks: BLOCKS,
            physical_exponent: 0,
        },
        ports: vec![RelativePort(1), RelativePort(2)],
        thin: true,
        rotational: false,
        removable: true,
        read_only: false,
        write_cache: true,
        limits: Limits {
            transfer_bytes: 100 * 512,
            compare_and_write: 8,
            write_same: 200,
            unmap: 300,
            unmap_descriptors: 4,
            registrations: 64,
            nexuses: 8,
        },
    }
}

/// How a command ended, or what it wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Good,
    Conflict,
    Busy,
    Sense(SenseKey, AdditionalSense),
}

impl From<Reply> for Ended {
    fn from(reply: Reply) -> Self {
        match (reply.status, reply.sense) {
            (Status::GOOD, None) => Self::Good,
            (Status::RESERVATION_CONFLICT, None) if reply.data.is_empty() => Self::Conflict,
            (Status::BUSY, None) => Self::Busy,
            (Status::CHECK_CONDITION, Some(sense)) => Self::Sense(sense.key, sense.additional),
            other => panic!("no reply is like that: {other:?}"),
        }
    }
}

pub(crate) const fn attention(what: AdditionalSense) -> Ended {
    Ended::Sense(SenseKey::UNIT_ATTENTION, what)
}

pub(crate) const fn illegal(what: AdditionalSense) -> Ended {
    Ended::Sense(SenseKey::ILLEGAL_REQUEST, what)
}

/// A logical unit and the nexuses that have been attached to it, by the names of their initiators.
pub(crate) struct Disk {
    pub(crate) unit: LogicalUnit,
    ids: BTreeMap<String, NexusId>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(config(), Reservations::default())
    }

    pub(crate) fn with(config: Config, reservations: Reservations) -> Self {
        Self {
            unit: LogicalUnit::new(config, reservations),
            ids: BTreeMap::new(),
        }
    }

    /// With these nexuses attached, and everything told that attaching brings.
    pub(crate) fn of(names: &[&str]) -> Self {
        let mut disk = Self::new();
        for name in names {
            disk.attach_quietly(name);
        }
        disk
    }

    pub(crate) fn attach(&mut self, name: &str) -> NexusId {
        let id = self.unit.attach(&nexus(name)).unwrap();
        self.ids.insert(name.into(), id);
        id
    }

    pub(crate) fn attach_quietly(&mut self, name: &str) {
        self.attach(name);
        self.drain(name);
    }

    pub(crate) fn id(&self, name: &str) -> NexusId {
        self.ids[name]
    }

    pub(crate) fn lose(&mut self, name: &str) {
        self.unit.nexus_lost(self.id(name));
    }

    pub(crate) fn begin(&mut self, name: &str, cdb: &[u8]) -> Begun {
        self.unit.begin(self.id(name), cdb)
    }

    /// A command that ends at once.
    pub(crate) fn reply(&mut self, name: &str, cdb: &[u8]) -> Reply {
        match self.begin(name, cdb) {
            Begun::Done(reply) => reply,
            other => panic!("{cdb:02x?} has not ended: {other:?}"),
        }
    }

    /// How a command ends, if the medium does all that it is asked.
    pub(crate) fn end(&mut self, name: &str, cdb: &[u8]) -> Ended {
        match self.begin(name, cdb) {
            Begun::Done(reply) => reply.into(),
            Begun::Medium(_) | Begun::Parameters { .. } => Ended::Good,
        }
    }

    pub(crate) fn operation(&mut self, name: &str, cdb: &[u8]) -> Operation {
        match self.begin(name, cdb) {
            Begun::Medium(operation) => operation,
            other => panic!("{cdb:02x?} does not go to the medium: {other:?}"),
        }
    }

    /// A command with a parameter list.
    pub(crate) fn send(&mut self, name: &str, cdb: &[u8], list: &[u8]) -> Continued {
        match self.begin(name, cdb) {
            Begun::Done(reply) => Continued::Done(reply),
            Begun::Medium(operation) => Continued::Medium(operation),
            Begun::Parameters { length } => {
                assert!(usize::try_from(length).unwrap() <= list.len().max(1 << 16));
                self.unit.parameters(self.id(name), cdb, list)
            }
        }
    }

    pub(crate) fn send_end(&mut self, name: &str, cdb: &[u8], list: &[u8]) -> Ended {
        match self.send(name, cdb, list) {
            Continued::Done(reply) => reply.into(),
            Continued::Medium(_) => Ended::Good,
            Continued::Reservation(prepared) => self.unit.commit(prepared).into(),
        }
    }

    /// A PERSISTENT RESERVE OUT up to where it is made durable.
    pub(crate) fn prepare(
        &mut self,
        name: &str,
        request: &RequestBuilder,
    ) -> Result<Prepared, Ended> {
        let (cdb, list) = request.wire();
        match self.send(name, &cdb, &list) {
            Continued::Reservation(prepared) => Ok(prepared),
            Continued::Done(reply) => Err(reply.into()),
            Continued::Medium(operation) => panic!("{operation:?}"),
        }
    }

    /// A PERSISTENT RESERVE OUT to its end.
    pub(crate) fn out(&mut self, name: &str, request: &RequestBuilder) -> Ended {
        match self.prepare(name, request) {
            Ok(prepared) => self.unit.commit(prepared).into(),
            Err(ended) => ended,
        }
    }

    pub(crate) fn register(&mut self, name: &str, key: u64) {
        assert_eq!(
            self.out(name, &RequestBuilder::register(0, key)),
            Ended::Good
        );
    }

    pub(crate) fn reserve(&mut self, name: &str, key: u64, kind: ReservationType) {
        assert_eq!(
            self.out(name, &RequestBuilder::reserve(key, kind)),
            Ended::Good
        );
    }

    /// What waits to be told, in its order; it has been told then.
    pub(crate) fn drain(&mut self, name: &str) -> Vec<AdditionalSense> {
        let mut told = Vec::new();
        loop {
            let data = self.reply(name, &[0x03, 0, 0, 0, 252, 0]).data;
            let sense = Sense::parse(&data).unwrap();
            if sense.key != SenseKey::UNIT_ATTENTION {
                return told;
            }
            told.push(sense.additional);
        }
    }
}
