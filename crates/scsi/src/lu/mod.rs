//! One logical unit: everything it knows, and what it makes of each command.
//!
//! Nothing here does I/O. A driver owns the medium, the connections and the task set:
//!
//! ```text
//!              ┌─ Done(reply) ───────────────────────────────────────────────▶ answer
//!  begin(cdb) ─┼─ Medium(operation) ──▶ data phase, medium ──────────────────▶ answer
//!              └─ Parameters{length} ─▶ data-out ─▶ parameters(cdb, data) ─┬─ Done ─▶ answer
//!                                                                          ├─ Medium ─▶ medium ─▶ answer
//!                                                                          └─ Reservation(prepared)
//!       ┌──────────────────────────────────────────────────────────────────────────┘
//!       ├─ must_persist: make prepared.next() durable ─┬─ done ──▶ commit ─▶ abort and drain aborts() ─▶ answer
//!       └─ otherwise ──────────────────────────────────┘  failed ▶ abandon ─▶ answer
//! ```
//!
//! A command is judged once, by `begin`: one that was let through runs to its end whatever is reserved meanwhile, unless
//! PREEMPT AND ABORT ends it (SPC-4, "Persistent reservations overview"). So the driver must put what `begin` let
//! through into its task set before it lets anybody else call in.

//! # Rules
//!
//! | rule | clause |
//! |---|---|
//! | A registration belongs to a nexus: it outlives sessions, resets and, with APTPL, the power ([`LogicalUnit::attach`], [`LogicalUnit::nexus_lost`], [`LogicalUnit::reset`], [`Prepared::must_persist`]) | SPC-4, "Registering", "Preserving persistent reservations and registrations through power loss" |
//! | What each PERSISTENT RESERVE OUT does ([`Reservations::out`]) | SPC-4, "Registering" to "Clearing" |
//! | PREEMPT AND ABORT answers GOOD after the last write of its victims ([`Prepared::aborts`]) | SPC-4, "Preempting and aborting" |
//! | Whose commands another nexus aborts is told: by TASK ABORTED with TAS = 1, else by a unit attention ([`LogicalUnit::commands_cleared`]) | SAM-5, "Aborting commands"; SPC-4, "Control mode page" |
//! | Unit attentions wait per nexus, are reported once, in order; not by INQUIRY and REPORT LUNS, as data by REQUEST SENSE | SAM-5, "Unit attention conditions" |
//! | Which commands a reservation lets through ([`access`](crate::pr::access())) | SPC-4, "Persistent reservations interactions with commands"; SBC-3, "Reservations" |
//! | Power on, reset and loss are reported before a conflict, a conflict before any other unit attention and before any error in the command | SAM-5, "Status precedence" |
//! | RESERVE and RELEASE of SPC-2, and when they are refused | SPC-2, "Reservations"; SPC-4, "Exceptions to SPC-2 RESERVE and RELEASE behavior" |
//!
//! START STOP UNIT without LOEJ has nothing to start or stop: what one node of a cluster sends when it shuts down must not
//! take the disk from the others. It writes what is cached, and answers GOOD.

mod answers;
mod config;
mod medium;
mod modes;
mod nexus;
mod operation;
mod reserve;

pub use config::{BlockLength, Config, Geometry, Identity, Limits, LocalNaa};
pub use nexus::{NexusId, NoRoom};
pub use operation::{Begun, Continued, DataPhase, Extent, MediumFailure, Operation, Reply};
pub use reserve::Prepared;

use crate::command::Command;
use crate::opcode::Opcode;
use crate::pr::{Access, Nexus, Refusal, RelativePort, Reservations};
use crate::{AdditionalSense, Sense};

use answers::{task_management_functions, told};
use modes::Modes;
use nexus::{Nexuses, is_reset};

const INVALID_CDB: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
const LIST_LENGTH: Sense = Sense::illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);

/// A logical unit.
#[derive(Debug, Clone)]
pub struct LogicalUnit {
    config: Config,
    nexuses: Nexuses,
    reservations: Reservations,
    /// A change of reservations is decided and does not count yet.
    pending: bool,
    /// Who holds it by RESERVE of SPC-2.
    legacy: Option<NexusId>,
    modes: Modes,
    /// Whether the medium is in.
    loaded: bool,
}

impl LogicalUnit {
    /// A logical unit that has just been powered on, with what stable storage kept of its reservations.
    #[must_use]
    pub fn new(config: Config, reservations: Reservations) -> Self {
        let limits = config.limits;
        Self {
            // Those attached, and beyond them those registered.
            nexuses: Nexuses::new(limits.nexuses.saturating_add(limits.registrations)),
            modes: Modes::initial(config.write_cache),
            config,
            reservations,
            pending: false,
            legacy: None,
            loaded: true,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The registrations and the reservation now in force.
    #[must_use]
    pub const fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Whom a number stands for.
    #[must_use]
    pub fn nexus(&self, id: NexusId) -> Option<&Nexus> {
        self.nexuses.get(id).map(|slot| &slot.nexus)
    }

    const fn initial_modes(&self) -> Modes {
        Modes::initial(self.config.write_cache)
    }

    /// A session of `nexus` begins. The same nexus gets the same number as before. It is told (SAM-5, "Unit attention
    /// conditions") that the power came on, if it has never been here, and otherwise that the nexus was lost.
    /// Attached twice without [`Self::nexus_lost`] in between counts as lost in between: session reinstatement.
    ///
    /// # Errors
    /// If there are too many nexuses.
    pub fn attach(&mut self, nexus: &Nexus) -> Result<NexusId, NoRoom> {
        if let Some(id) = self.nexuses.find(nexus) {
            self.nexus_lost(id);
        }
        let attached = self.nexuses.iter().filter(|slot| slot.attached).count();
        if attached >= self.config.limits.nexuses {
            return Err(NoRoom);
        }
        let id = self.place(nexus)?;
        if let Some(slot) = self.nexuses.get_mut(id) {
            let what = if slot.known {
                AdditionalSense::NEXUS_LOSS
            } else {
                AdditionalSense::POWER_ON_OR_RESET
            };
            slot.attached = true;
            slot.known = true;
            slot.attentions.establish(what);
        }
        Ok(id)
    }

    /// The number of a nexus, whether it is attached or not. Who is registered keeps it: so does whoever is about to lose
    /// its registration and its commands, until that counts.
    fn place(&mut self, nexus: &Nexus) -> Result<NexusId, NoRoom> {
        let reservations = &self.reservations;
        let may_go = |nexus: &Nexus| reservations.key_of(nexus).is_none();
        let id = self.nexuses.place(nexus, may_go)?;
        let may = |access| self.reservations.permits(nexus, access);
        let (may_read, may_write) = (may(Access::Reads), may(Access::Writes));
        if let Some(slot) = self.nexuses.get_mut(id) {
            slot.may_read = may_read;
            slot.may_write = may_write;
        }
        Ok(id)
    }

    /// The session ended, by logout or otherwise (SAM-5, "I_T nexus loss"): its SPC-2 reservation is released, its
    /// prevention of removal ends. Its registration stays. The driver aborts its commands. Must be called before a new
    /// session of the same nexus is attached, never after.
    pub fn nexus_lost(&mut self, id: NexusId) {
        self.legacy = self.legacy.filter(|holder| *holder != id);
        if let Some(slot) = self.nexuses.get_mut(id) {
            slot.attached = false;
            slot.prevents = false;
        }
    }

    /// LOGICAL UNIT RESET (SAM-5, "Logical unit reset"): mode pages return to their defaults, an SPC-2 reservation is
    /// released, nobody prevents removal, everybody is told, the nexus that asked for it included. Persistent
    /// reservations are unaffected. The driver aborts all commands, and writes what is cached if [`Self::write_cache`] was
    /// on and is not any more.
    pub fn reset(&mut self) {
        self.legacy = None;
        self.modes = self.initial_modes();
        for slot in self.nexuses.iter_mut() {
            slot.prevents = false;
            slot.attentions.establish(AdditionalSense::BUS_DEVICE_RESET);
        }
    }

    /// The driver aborted commands of `id` on behalf of another nexus (PREEMPT AND ABORT, CLEAR TASK SET). With TAS = 0
    /// they end without status, and the nexus is told so by a unit attention; call it only if there were any, and not for
    /// the nexus that asked for it.
    pub fn commands_cleared(&mut self, id: NexusId) {
        if !self.modes.task_aborted_status {
            self.establish(id, AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
        }
    }

    /// TAS: whether commands that another nexus aborts end with TASK ABORTED instead of without status.
    #[must_use]
    pub const fn task_aborted_status(&self) -> bool {
        self.modes.task_aborted_status
    }

    /// WCE: whether acknowledged writes may wait in a volatile cache. Each [`Operation`] already says so.
    #[must_use]
    pub const fn write_cache(&self) -> bool {
        self.modes.write_cache
    }

    /// The medium has another size now: every nexus is told CAPACITY DATA HAS CHANGED.
    pub fn resize(&mut self, blocks: u64) {
        self.config.geometry.blocks = blocks;
        self.establish_for_all(AdditionalSense::CAPACITY_DATA_HAS_CHANGED, None);
    }

    /// The target has other ports now. Registrations with one that is gone stay: it may come back.
    pub fn set_ports(&mut self, ports: &[RelativePort]) {
        self.config.ports = ports.to_vec();
    }

    /// The target's list of logical units has changed: every nexus is told.
    pub fn luns_changed(&mut self) {
        self.establish_for_all(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED, None);
    }

    /// The nexus has asked for the list of logical units through this one: it need not be told that it changed (SPC-4,
    /// "REPORT LUNS command").
    pub fn luns_reported(&mut self, id: NexusId) {
        if let Some(slot) = self.nexuses.get_mut(id) {
            let what = AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED;
            slot.attentions.withdraw(what);
        }
    }

    fn establish(&mut self, id: NexusId, what: AdditionalSense) {
        if let Some(slot) = self.nexuses.get_mut(id) {
            slot.attentions.establish(what);
        }
    }

    /// Tells everybody, but for who did it.
    fn establish_for_all(&mut self, what: AdditionalSense, but: Option<NexusId>) {
        let but = but.map(NexusId::index);
        for (at, slot) in self.nexuses.iter_mut().enumerate() {
            if Some(at) != but {
                slot.attentions.establish(what);
            }
        }
    }

    /// A command arrives. `cdb` may be longer than the command. REPORT LUNS is not among those answered here: it is about
    /// the target ([`crate::luns::report`]).
    pub fn begin(&mut self, id: NexusId, cdb: &[u8]) -> Begun {
        if let Some(reply) = self.refusal(id, cdb) {
            return Begun::Done(reply);
        }
        let command = match Command::parse(cdb) {
            Ok(command) => command,
            Err(sense) => return Begun::Done(Reply::check(sense)),
        };
        match self.operation(command) {
            Some(Ok(operation)) => Begun::Medium(operation),
            Some(Err(sense)) => Begun::Done(Reply::check(sense)),
            None => self.begin_other(id, command),
        }
    }

    /// SAM-5, "Status precedence": power on, reset and loss; then a conflict; then any other unit attention.
    fn refusal(&mut self, id: NexusId, cdb: &[u8]) -> Option<Reply> {
        let exempt = [Opcode::INQUIRY, Opcode::REPORT_LUNS, Opcode::REQUEST_SENSE];
        let opcode = cdb.first().map(|code| Opcode(*code));
        if opcode.is_some_and(|opcode| exempt.contains(&opcode)) {
            return None;
        }
        let Some(slot) = self.nexuses.get(id) else {
            return Some(MediumFailure::Internal.into());
        };
        let waiting = slot.attentions.first();
        if !waiting.is_some_and(is_reset) && self.conflicts(id, cdb) {
            return Some(Refusal::Conflict.into());
        }
        waiting?;
        let attention = self.nexuses.get_mut(id)?.attentions.take()?;
        Some(Reply::check(Sense::attention(attention)))
    }

    /// Commands that do not go to the medium.
    fn begin_other(&mut self, id: NexusId, command: Command) -> Begun {
        match command {
            Command::Unmap { length } => self.begin_unmap(length),
            Command::ModeSelect { save: true, .. } => Begun::Done(Reply::check(INVALID_CDB)),
            Command::ModeSelect { length: 0, .. } => Begun::Done(Reply::good()),
            Command::ModeSelect { length, .. } => Begun::Parameters { length },
            Command::PersistentReserveOut(request) => Self::begin_reserve_out(&request),
            Command::StartStop {
                start,
                eject,
                flush,
                immediate,
                power_condition: 0,
            } => self.start_stop(id, (start, eject), flush, immediate),
            command => Begun::Done(self.answer(id, command)),
        }
    }

    /// Commands that are answered at once.
    fn answer(&mut self, id: NexusId, command: Command) -> Reply {
        match command {
            Command::TestUnitReady => self.ready().map_or_else(Reply::check, |()| Reply::good()),
            Command::RequestSense {
                descriptor,
                allocation,
            } => Reply::with_data(self.request_sense(id, descriptor), allocation),
            Command::Inquiry { page, allocation } => told(self.inquiry(id, page), allocation),
            Command::ReadCapacity10 => {
                let data = self.ready().map(|()| self.capacity().encode_10());
                told(data, u32::MAX)
            }
            Command::ReadCapacity16 { allocation } => {
                let data = self.ready().map(|()| self.capacity().encode_16());
                told(data, allocation)
            }
            Command::ModeSense {
                long,
                no_descriptors,
                control,
                page,
                allocation,
            } => {
                let data = self.mode_sense(long, no_descriptors, control, page);
                told(data, allocation)
            }
            Command::PreventAllow { prevent } => {
                if let Some(slot) = self.nexuses.get_mut(id) {
                    slot.prevents = prevent;
                }
                Reply::good()
            }
            // Any power condition: whatever lies below sees to its own.
            Command::StartStop { .. } => Reply::good(),
            Command::Reserve => self.legacy_reserve(id),
            Command::Release => self.legacy_release(id),
            Command::PersistentReserveIn { action, allocation } => {
                Reply::with_data(self.reserve_in(action), allocation)
            }
            Command::ReportSupportedOperationCodes {
                wanted,
                timeouts,
                allocation,
            } => told(self.operation_codes(wanted, timeouts), allocation),
            Command::ReportSupportedTaskManagementFunctions {
                extended,
                allocation,
            } => Reply::with_data(task_management_functions(extended), allocation),
            Command::ReportTargetPortGroups {
                extended,
                allocation,
            } => Reply::with_data(self.port_groups(extended), allocation),
            _ => {
                let what = AdditionalSense::INVALID_COMMAND_OPERATION_CODE;
                Reply::check(Sense::illegal(what))
            }
        }
    }

    /// START STOP UNIT without a power condition (SBC-3).
    fn start_stop(
        &mut self,
        id: NexusId,
        (start, eject): (bool, bool),
        flush: bool,
        immediate: bool,
    ) -> Begun {
        let was_loaded = self.loaded;
        if eject {
            if !self.config.removable {
                return Begun::Done(Reply::check(INVALID_CDB));
            }
            if self.nexuses.iter().any(|slot| slot.prevents) {
                let what = AdditionalSense::MEDIUM_REMOVAL_PREVENTED;
                return Begun::Done(Reply::check(Sense::illegal(what)));
            }
            self.loaded = start;
            if start && !was_loaded {
                let what = AdditionalSense::MEDIUM_MAY_HAVE_CHANGED;
                self.establish_for_all(what, Some(id));
            }
        }
        if start || !was_loaded || !flush {
            return Begun::Done(Reply::good());
        }
        Begun::Medium(Operation::Synchronize {
            extent: self.whole(),
            immediate,
        })
    }

    /// The parameter list that [`Begun::Parameters`] asked for. `data` is what arrived of it; fewer bytes than asked for
    /// are an error of the initiator and answered so, more are not looked at.
    pub fn parameters(&mut self, id: NexusId, cdb: &[u8], data: &[u8]) -> Continued {
        let (command, length) = match Command::parse(cdb) {
            Ok(command @ (Command::Unmap { length } | Command::ModeSelect { length, .. })) => {
                (command, length)
            }
            Ok(command @ Command::PersistentReserveOut(request)) => (command, request.length),
            Ok(_) => return Continued::Done(Reply::check(INVALID_CDB)),
            Err(sense) => return Continued::Done(Reply::check(sense)),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(list) = data.get(..length) else {
            return Continued::Done(Reply::check(LIST_LENGTH));
        };
        match command {
            Command::Unmap { .. } => self.unmap(list),
            Command::ModeSelect { long, .. } => Continued::Done(self.mode_select(id, long, list)),
            Command::PersistentReserveOut(request) => self.prepare(id, &request, list),
            _ => Continued::Done(Reply::check(INVALID_CDB)),
        }
    }

    /// MODE SELECT with its parameter list. A driver that keeps a volatile cache writes it before it answers, if
    /// [`Self::write_cache`] was on and is not any more (SBC-3, "Caching mode page").
    fn mode_select(&mut self, id: NexusId, long: bool, list: &[u8]) -> Reply {
        let next = match self.modes.select(long, list, self.block_descriptor()) {
            Ok(next) => next,
            Err(sense) => return Reply::check(sense),
        };
        if next != self.modes {
            self.modes = next;
            let what = AdditionalSense::MODE_PARAMETERS_CHANGED;
            self.establish_for_all(what, Some(id));
        }
        Reply::good()
    }

    /// Sense data as D_SENSE wants them: fixed or descriptor format (SPC-4, "Control mode page").
    #[must_use]
    pub fn encode_sense(&self, sense: &Sense) -> Vec<u8> {
        sense.encode(self.modes.descriptor_sense)
    }
}
