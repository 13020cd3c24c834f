//! A server in this process, initiators, and a gate that makes its disks slow.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use deadline::Deadline;
use disk::initiator::{ChapCredentials, Payload, Session, SessionOptions, TaskEnd};
use disk::{Completion, DeviceError};
use iscsi::pdu::{Isid, Lun};
use scsi::pr::{Key, OutAction, OutParameters, OutRequest, ReservationType};
use scsi::{Sense, SenseKey, Status};
use target::config::{
    Config, DiskOptions, InitiatorName, InitiatorOptions, Limits, LunOptions, TargetOptions,
    Timeouts,
};
use target::server::{Gate, Server};
use tempfile::TempDir;

/// The target of all tests.
pub(crate) const TARGET: &str = "iqn.2026-11.org.example:disks";
/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// LUN 0.
pub(crate) const LUN: Lun = Lun([0; 8]);
/// The size of each disk.
pub(crate) const SIZE: u64 = 16 << 20;

/// A deadline that only a failure reaches.
pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A short while, in which nothing is expected.
pub(crate) fn a_while() -> Deadline {
    Deadline::after(Duration::from_millis(400))
}

pub(crate) fn key(value: u64) -> Key {
    Key::new(value).unwrap()
}

/// A server with a directory of its own.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
}

/// A configuration with one target and one disk, open to anybody.
pub(crate) fn config(directory: &Path) -> Config {
    Config {
        file: None,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        control: None,
        state: directory.join("state"),
        metrics: None,
        limits: Limits::default(),
        timeouts: Timeouts {
            login: Duration::from_secs(5),
            stop: Duration::from_secs(1),
            ..Timeouts::default()
        },
        discovery: Vec::new(),
        targets: vec![TargetOptions {
            name: TARGET.parse().unwrap(),
            own: None,
            initiators: vec![InitiatorOptions {
                name: InitiatorName::Anybody,
                account: None,
            }],
            luns: vec![lun(0, directory.join("disk.img"))],
        }],
    }
}

pub(crate) fn lun(number: u16, path: PathBuf) -> LunOptions {
    let mut disk = DiskOptions::new(path);
    disk.store.size = Some(SIZE);
    LunOptions { number, disk }
}

impl Fixture {
    pub(crate) fn start() -> Self {
        Self::with(|_| {}, None)
    }

    pub(crate) fn gated(gate: &Arc<Door>) -> Self {
        Self::with(|_| {}, Some(gate))
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config), gate: Option<&Arc<Door>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        change(&mut config);
        let gate = gate.map(|gate| Arc::clone(gate) as Arc<dyn Gate>);
        let server = Server::start_with(config, gate).unwrap();
        Self { server, directory }
    }

    /// With a gate before the journals, and not before the media.
    pub(crate) fn with_journals(
        change: impl FnOnce(&mut Config),
        gate: &Arc<Door>,
        directory: TempDir,
    ) -> Self {
        let mut config = config(directory.path());
        change(&mut config);
        let gate = Arc::new(BeforeJournals(Arc::clone(gate)));
        let server = Server::start_with(config, Some(gate)).unwrap();
        Self { server, directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.portals()[0]
    }

    /// The bytes of the medium, as they are in its file now.
    pub(crate) fn medium(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("disk.img")).unwrap()
    }

    pub(crate) fn connect(&self, who: &str) -> Initiator {
        Initiator::connect(self.address(), &options(self.address(), who)).unwrap()
    }
}

pub(crate) fn options(address: SocketAddr, who: &str) -> SessionOptions {
    SessionOptions {
        name: format!("{who}'s disk"),
        host: address.ip().to_string(),
        port: address.port(),
        initiator: format!("iqn.2026-11.org.example:{who}"),
        target: TARGET.to_owned(),
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        credentials: None,
        digests: None,
    }
}

pub(crate) fn with_secret(
    mut options: SessionOptions,
    credentials: ChapCredentials,
) -> SessionOptions {
    options.credentials = Some(credentials);
    options
}

/// A session with unit attentions out of the way.
pub(crate) struct Initiator(pub(crate) Session);

impl Initiator {
    pub(crate) fn connect(
        _address: SocketAddr,
        options: &SessionOptions,
    ) -> Result<Self, DeviceError> {
        let mut new = Self(Session::connect(options, soon())?);
        new.settle();
        Ok(new)
    }

    /// Takes unit attentions until there is none. What they were.
    pub(crate) fn settle(&mut self) -> Vec<Sense> {
        let mut told = Vec::new();
        loop {
            let (done, _) = self.run(&[0; 6], Payload::None);
            match done.unit_attention() {
                Some(sense) => told.push(sense),
                None => return told,
            }
        }
    }

    pub(crate) fn run(&mut self, cdb: &[u8], payload: Payload) -> (Completion, Vec<u8>) {
        self.run_on(LUN, cdb, payload)
    }

    pub(crate) fn run_on(
        &mut self,
        lun: Lun,
        cdb: &[u8],
        payload: Payload,
    ) -> (Completion, Vec<u8>) {
        let task = self.0.submit(lun, cdb, payload, soon()).unwrap();
        match self.0.wait(task, soon()).unwrap() {
            Some(TaskEnd::Completed(completion, data)) => (completion, data),
            other => panic!("{cdb:02x?} ended with {other:?}"),
        }
    }

    pub(crate) fn status(&mut self, cdb: &[u8], payload: Payload) -> Status {
        self.run(cdb, payload).0.status
    }

    pub(crate) fn write(&mut self, lba: u32, data: &[u8]) -> Status {
        self.status(
            &write10(lba, data.len(), false),
            Payload::Out(data.to_vec()),
        )
    }

    pub(crate) fn read(&mut self, lba: u32, length: usize) -> Vec<u8> {
        let blocks = u16::try_from(length / BLOCK).unwrap();
        let mut cdb = [0; 10];
        cdb[0] = 0x28;
        cdb[2..6].copy_from_slice(&lba.to_be_bytes());
        cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
        let (done, data) = self.run(&cdb, Payload::In(length));
        assert_eq!((done.status, data.len()), (Status::GOOD, length));
        data
    }

    pub(crate) fn reserve_out(
        &mut self,
        action: OutAction,
        keys: (Option<Key>, Option<Key>),
        aptpl: bool,
    ) -> Completion {
        let (cdb, list) = reserve_out(action, keys, aptpl);
        self.run(&cdb, Payload::Out(list)).0
    }

    /// Registers `value`.
    pub(crate) fn register(&mut self, value: u64, aptpl: bool) {
        let keys = (None, Some(key(value)));
        let done = self.reserve_out(OutAction::RegisterAndIgnoreExistingKey, keys, aptpl);
        assert_eq!(done.status, Status::GOOD);
    }

    /// Reserves for registrants only, and for writing.
    pub(crate) fn reserve(&mut self, value: u64) {
        let done = self.reserve_out(OutAction::Reserve, (Some(key(value)), None), false);
        assert_eq!(done.status, Status::GOOD);
    }

    pub(crate) fn keys(&mut self) -> Vec<u64> {
        let mut cdb = [0; 10];
        cdb[0] = 0x5E;
        cdb[7..9].copy_from_slice(&4096_u16.to_be_bytes());
        let (done, data) = self.run(&cdb, Payload::In(4096));
        assert_eq!(done.status, Status::GOOD);
        let (_, keys) = scsi::pr::parse_keys(&data).unwrap();
        keys.into_iter().map(Key::get).collect()
    }

    pub(crate) fn holder(&mut self) -> Option<u64> {
        let mut cdb = [0; 10];
        cdb[..2].copy_from_slice(&[0x5E, 1]);
        cdb[7..9].copy_from_slice(&4096_u16.to_be_bytes());
        let (done, data) = self.run(&cdb, Payload::In(4096));
        assert_eq!(done.status, Status::GOOD);
        let (_, reservation) = scsi::pr::parse_reservation(&data).unwrap();
        reservation
            .and_then(|reservation| reservation.key)
            .map(Key::get)
    }
}

/// A PERSISTENT RESERVE OUT for a reservation of the type that `fence_scsi` uses, and its parameter list.
pub(crate) fn reserve_out(
    action: OutAction,
    (own, other): (Option<Key>, Option<Key>),
    aptpl: bool,
) -> ([u8; 10], Vec<u8>) {
    let parameters = OutParameters {
        aptpl,
        ..OutParameters::keys(own, other)
    };
    let list = parameters.encode();
    let request = OutRequest {
        action,
        kind: Some(ReservationType::WriteExclusiveRegistrantsOnly),
        length: u32::try_from(list.len()).unwrap(),
    };
    (request.cdb(), list)
}

/// WRITE(10); with `force` the answer waits for the disk, and so the write leaves the connection's thread.
pub(crate) fn write10(lba: u32, length: usize, force: bool) -> [u8; 10] {
    let blocks = u16::try_from(length / BLOCK).unwrap();
    let mut cdb = [0; 10];
    cdb[0] = 0x2A;
    cdb[1] = if force { 0x08 } else { 0 };
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// Whether a command ended with this sense key.
pub(crate) fn failed_with(done: &Completion, key: SenseKey) -> bool {
    done.status == Status::CHECK_CONDITION && done.sense.is_some_and(|sense| sense.key == key)
}

#[derive(Debug, Default)]
struct DoorState {
    shut: bool,
    before: usize,
    passed: usize,
}

/// A gate that holds up everything on its way to the medium while it is shut.
#[derive(Debug, Default)]
pub(crate) struct Door {
    state: Mutex<DoorState>,
    changed: Condvar,
}

impl Gate for Door {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.before += 1;
        self.changed.notify_all();
        while state.shut {
            state = self.changed.wait(state).unwrap();
        }
        state.before -= 1;
        state.passed += 1;
    }
}

/// The same before the disk of the journals.
struct BeforeJournals(Arc<Door>);

impl Gate for BeforeJournals {
    fn pass(&self) {}

    fn keep(&self) {
        self.0.pass();
    }
}

impl Door {
    pub(crate) fn shut(&self) {
        self.state.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().shut = false;
        self.changed.notify_all();
    }

    /// Waits until so many stand before it.
    pub(crate) fn await_crowd(&self, count: usize) {
        let deadline = soon();
        let mut state = self.state.lock().unwrap();
        while state.before < count {
            assert!(
                !deadline.has_passed(),
                "{count} operations were to come, not {}",
                state.before
            );
            let waited = self.changed.wait_timeout(state, deadline.remaining());
            state = waited.unwrap().0;
        }
    }

    /// How many stand before it.
    pub(crate) fn crowd(&self) -> usize {
        self.state.lock().unwrap().before
    }

    /// How many have passed so far.
    pub(crate) fn passed(&self) -> usize {
        self.state.lock().unwrap().passed
    }
}

/// Opens a gate whatever becomes of the test, lest the server wait for ever.
pub(crate) struct OpensAtEnd<'a>(pub(crate) &'a Door);

impl Drop for OpensAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}
