//! A target with one disk in memory, made of the same cores as the real one, and with faults to choose from.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use iscsi::login::{Authentication, Wishes};
use iscsi::pdu::Isid;
use scsi::inquiry::Text;
use scsi::lu::{
    Begun, BlockLength, Config, Continued, Extent, Geometry, Identity, Limits, LocalNaa,
    LogicalUnit, NexusId, Operation, Reply,
};
use scsi::pr::{InitiatorPort, Key, Nexus, OutAction, OutParameters, RelativePort, Reservations};
use scsi::{AdditionalSense, Opcode, Sense, SenseKey, Status};

pub(crate) const NAME: &str = "iqn.2026-11.org.example:disk";
pub(crate) const BLOCKS: u64 = 64 << 11;
const BLOCK: usize = 512;

/// What the target does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Lets these commands through, whatever is reserved.
    Executes(&'static [Opcode]),
    /// PREEMPT AND ABORT answers before the victim's writes have ended.
    DoesNotDrain,
    /// Data that come after PREEMPT AND ABORT are still written.
    TakesLateData,
    /// PREEMPT AND ABORT waits until no initiator owes data.
    WaitsForData,
    /// PREEMPT AND ABORT says GOOD and does nothing.
    PreemptsNothing,
    /// A PERSISTENT RESERVE OUT that conflicts is carried out all the same.
    TakesAnybodysWord,
    /// A reset clears the reservations.
    ResetClears,
    /// A new session is another nexus.
    ForgetsOnLogout,
    /// The slow initiator is told of another disk.
    TwoDisks,
    /// The slow initiator sees nobody's registration, as if it had another disk.
    HidesKeys,
    /// Writes of more than 256 KiB are refused without their data.
    RefusesLarge,
    /// Writes that conflict are refused for another reason.
    OtherReason,
}

/// How it treats connections.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) fault: Fault,
    pub(crate) authentication: Authentication,
    pub(crate) wishes: Wishes,
    /// Commands of this code are never answered.
    pub(crate) ignores: Option<Opcode>,
    /// Commands of this code end the connection.
    pub(crate) hangs_up_on: Option<Opcode>,
    /// It wants a sign of life before it answers any command.
    pub(crate) pings: bool,
    /// It asks for a logout with its first answer.
    pub(crate) sends_away: bool,
    /// It sends signs of life without end, and answers nothing.
    pub(crate) chatters: bool,
    /// How many commands may be in flight.
    pub(crate) window: u32,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            fault: Fault::None,
            authentication: Authentication::None,
            wishes: Wishes::default(),
            ignores: None,
            hangs_up_on: None,
            pings: false,
            sends_away: false,
            chatters: false,
            window: 32,
        }
    }
}

/// The disk, and what has been let through.
pub(crate) struct State {
    pub(crate) unit: LogicalUnit,
    pub(crate) medium: Vec<u8>,
    /// Counts up when a nexus's commands are aborted.
    aborted: HashMap<NexusId, u64>,
    ids: Vec<NexusId>,
    sessions: u8,
}

/// What all connections share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) manners: Manners,
    /// How many commands wait for data.
    pub(crate) owed: AtomicUsize,
    /// The target is gone.
    pub(crate) stopped: AtomicBool,
}

/// A running target. It ends when dropped.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Target {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            unit: LogicalUnit::new(config(), Reservations::default()),
            medium: vec![0; usize::try_from(BLOCKS).unwrap() * BLOCK],
            aborted: HashMap::new(),
            ids: Vec::new(),
            sessions: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            manners,
            owed: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            while !theirs.stopped.load(Ordering::SeqCst) {
                if let Ok((stream, _)) = listener.accept() {
                    let shared = Arc::clone(&theirs);
                    thread::spawn(move || crate::connection::serve(stream, &shared));
                } else {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn with(fault: Fault) -> Self {
        Self::start(Manners {
            fault,
            ..Manners::default()
        })
    }

    /// The disk's address.
    pub(crate) fn url(&self) -> String {
        format!("iscsi://{}/{NAME}/0", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins.
    pub(crate) fn attach(&self, initiator: &str, isid: Isid) -> NexusId {
        let mut state = self.state();
        let mut isid = isid.0;
        if self.manners.fault == Fault::ForgetsOnLogout {
            state.sessions += 1;
            isid[5] = state.sessions;
        }
        let nexus = Nexus {
            initiator: InitiatorPort::new(initiator, isid).unwrap(),
            port: RelativePort(1),
        };
        let id = state.unit.attach(&nexus).unwrap();
        state.ids.push(id);
        id
    }

    /// A command has arrived: what it needs, and by which count of aborts it was let through.
    pub(crate) fn begin(&self, id: NexusId, cdb: &[u8]) -> (Begun, u64) {
        let mut state = self.state();
        let count = state.aborted.get(&id).copied().unwrap_or_default();
        let mut begun = state.unit.begin(id, cdb);
        let conflict =
            matches!(&begun, Begun::Done(reply) if reply.status == Status::RESERVATION_CONFLICT);
        let executes =
            matches!(self.manners.fault, Fault::Executes(these) if these.contains(&Opcode(cdb[0])));
        let refusal = Begun::Done(Reply::check(Sense::new(
            SenseKey::ILLEGAL_REQUEST,
            AdditionalSense::INVALID_FIELD_IN_CDB,
        )));
        // More than the 256 KiB that the region is restored with.
        let large = cdb[0] == Opcode::WRITE_10.0 && u16::from_be_bytes([cdb[7], cdb[8]]) > 512;
        let other = conflict && cdb[0] == Opcode::WRITE_16.0;
        match self.manners.fault {
            Fault::RefusesLarge if large => return (refusal, count),
            Fault::OtherReason if other => return (refusal, count),
            _ => {}
        }
        if conflict && executes {
            begun = match state.registrant() {
                Some(other) => state.begin_as(other, cdb),
                None => begun,
            };
        }
        (begun, count)
    }

    /// How often the commands of a nexus were aborted.
    pub(crate) fn aborts(&self, id: NexusId) -> u64 {
        self.state().aborted.get(&id).copied().unwrap_or_default()
    }

    /// All data of a command have arrived. `None`: it was aborted meanwhile.
    pub(crate) fn finish(
        &self,
        id: NexusId,
        cdb: &[u8],
        begun: &Begun,
        count: u64,
        data: &[u8],
    ) -> Option<Reply> {
        let mut state = self.state();
        let aborted = state.aborted.get(&id).copied().unwrap_or_default();
        if aborted != count {
            return None;
        }
        match begun {
            Begun::Done(reply) if reply.status == Status::GOOD && state.is_slow(id) => {
                Some(self.twist(cdb, reply))
            }
            Begun::Done(reply) => Some(reply.clone()),
            Begun::Medium(operation) => Some(state.carry_out(operation, data)),
            Begun::Parameters { .. } => Some(self.parameters(&mut state, id, cdb, data)),
        }
    }

    /// What the slow initiator is told.
    fn twist(&self, cdb: &[u8], reply: &Reply) -> Reply {
        let mut reply = reply.clone();
        match self.manners.fault {
            // A page of INQUIRY: the last digit of the serial number, or of the designator.
            Fault::TwoDisks if cdb.starts_with(&[Opcode::INQUIRY.0, 1]) => {
                if let Some(last) = reply.data.last_mut() {
                    *last ^= 1;
                }
            }
            Fault::HidesKeys if cdb.starts_with(&[Opcode::PERSISTENT_RESERVE_IN.0, 0]) => {
                reply.data = vec![0; 8];
            }
            _ => {}
        }
        reply
    }

    fn parameters(&self, state: &mut State, id: NexusId, cdb: &[u8], data: &[u8]) -> Reply {
        let abort = cdb[..2]
            == [
                Opcode::PERSISTENT_RESERVE_OUT.0,
                OutAction::PreemptAndAbort.code(),
            ];
        if abort && self.manners.fault == Fault::PreemptsNothing {
            return Reply::good();
        }
        let mut continued = state.unit.parameters(id, cdb, data);
        let conflict = matches!(&continued, Continued::Done(reply) if reply.status == Status::RESERVATION_CONFLICT);
        if conflict
            && self.manners.fault == Fault::TakesAnybodysWord
            && let Some(other) = state.registrant()
        {
            continued = state.unit.parameters(other, cdb, data);
        }
        match continued {
            Continued::Done(reply) => reply,
            Continued::Medium(operation) => state.carry_out(&operation, data),
            Continued::Reservation(prepared) => {
                if self.manners.fault != Fault::DoesNotDrain {
                    for victim in prepared.aborts() {
                        *state.aborted.entry(*victim).or_default() += 1;
                    }
                }
                state.unit.commit(prepared)
            }
        }
    }

    /// LOGICAL UNIT RESET.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.unit.reset();
        if self.manners.fault == Fault::ResetClears
            && let Some(other) = state.registrant()
        {
            state.clear_as(other);
        }
    }
}

impl State {
    /// Any nexus that is registered.
    fn registrant(&self) -> Option<NexusId> {
        self.ids.iter().copied().find(|id| self.key(*id).is_some())
    }

    fn is_slow(&self, id: NexusId) -> bool {
        let nexus = self.unit.nexus(id);
        nexus.is_some_and(|nexus| nexus.initiator.name().ends_with(crate::connection::SLOW))
    }

    /// A command of a nexus that has been told everything.
    fn begin_as(&mut self, id: NexusId, cdb: &[u8]) -> Begun {
        loop {
            let begun = self.unit.begin(id, cdb);
            let told = matches!(&begun, Begun::Done(reply) if reply.sense.is_some_and(|sense| sense.key == SenseKey::UNIT_ATTENTION));
            if !told {
                return begun;
            }
        }
    }

    fn key(&self, id: NexusId) -> Option<Key> {
        let nexus = self.unit.nexus(id)?;
        self.unit.reservations().key_of(nexus)
    }

    fn clear_as(&mut self, id: NexusId) {
        let list = OutParameters::keys(self.key(id), None).encode();
        let cdb = [
            Opcode::PERSISTENT_RESERVE_OUT.0,
            OutAction::Clear.code(),
            0,
            0,
            0,
            0,
            0,
            0,
            24,
            0,
        ];
        assert!(matches!(self.begin_as(id, &cdb), Begun::Parameters { .. }));
        if let Continued::Reservation(prepared) = self.unit.parameters(id, &cdb, &list) {
            let _ = self.unit.commit(prepared);
        }
    }

    fn range(extent: Extent) -> std::ops::Range<usize> {
        let at = |block: u64| usize::try_from(block).unwrap() * BLOCK;
        at(extent.first)..at(extent.first + extent.count)
    }

    fn carry_out(&mut self, operation: &Operation, data: &[u8]) -> Reply {
        match operation {
            Operation::Read { extent, .. } => {
                let data = self.medium[Self::range(*extent)].to_vec();
                return Reply::with_data(data, u32::MAX);
            }
            Operation::Write { extent, .. } | Operation::WriteAndVerify { extent, .. } => {
                self.medium[Self::range(*extent)].copy_from_slice(data);
            }
            Operation::Orwrite { extent, .. } => {
                let held = &mut self.medium[Self::range(*extent)];
                held.iter_mut()
                    .zip(data)
                    .for_each(|(held, new)| *held |= new);
            }
            Operation::WriteSame { extent, zeros, .. } => {
                for block in self.medium[Self::range(*extent)].chunks_mut(BLOCK) {
                    if *zeros {
                        block.fill(0);
                    } else {
                        block.copy_from_slice(data);
                    }
                }
            }
            Operation::CompareAndWrite { extent, .. } => {
                let (expected, new) = data.split_at(data.len() / 2);
                let held = &mut self.medium[Self::range(*extent)];
                if held == expected {
                    held.copy_from_slice(new);
                }
            }
            Operation::Unmap { extents, .. } => {
                for extent in extents {
                    self.medium[Self::range(*extent)].fill(0);
                }
            }
            _ => {}
        }
        Reply::good()
    }
}

fn config() -> Config {
    Config {
        identity: Identity {
            vendor: Text::new("EXAMPLE").unwrap(),
            product: Text::new("MEMORY").unwrap(),
            revision: Text::new("1").unwrap(),
            serial: Text::new("0001").unwrap(),
            naa: LocalNaa::new(1),
            target_name: NAME.to_owned(),
        },
        geometry: Geometry {
            block_length: BlockLength::B512,
            blocks: BLOCKS,
            physical_exponent: 3,
        },
        ports: vec![RelativePort(1)],
        thin: true,
        rotational: false,
        removable: false,
        read_only: false,
        write_cache: true,
        limits: Limits::default(),
    }
}
