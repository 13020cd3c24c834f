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

mod config;
mod nexus;
mod operation;

pub use config::{BlockLength, Config, Geometry, Identity, Limits, LocalNaa};
pub use nexus::{NexusId, NoRoom};
pub use operation::{Begun, Continued, DataPhase, Extent, MediumFailure, Operation, Reply};

use crate::pr::{Effects, Nexus, Reservations};
use crate::{AdditionalSense, Sense};

/// A change of reservations that is decided and does not count yet. It must be given to [`LogicalUnit::commit`] or
/// [`LogicalUnit::abandon`]; until then every other PERSISTENT RESERVE OUT ends with BUSY.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "other reservation commands are held off until it is committed or abandoned"]
pub struct Prepared {
    next: Reservations,
    effects: Effects,
    aborts: Vec<NexusId>,
    must_persist: bool,
}

impl Prepared {
    /// The state that is to count.
    #[must_use]
    pub const fn next(&self) -> &Reservations {
        &self.next
    }

    /// Whether the command may answer GOOD only after stable storage agrees with `next`: it then holds `next`, if
    /// [`Reservations::aptpl`] of that is set, and no registrations at all otherwise (SPC-4, "Preserving persistent
    /// reservations and registrations through power loss").
    #[must_use]
    pub const fn must_persist(&self) -> bool {
        self.must_persist
    }

    /// PREEMPT AND ABORT: the nexuses whose commands must be aborted, all but this command itself, after `commit` and
    /// before the answer. None of these commands may change the medium after GOOD (SPC-4, "Preempting and aborting").
    #[must_use]
    pub fn aborts(&self) -> &[NexusId] {
        &self.aborts
    }
}

/// A logical unit.
#[derive(Debug, Clone)]
pub struct LogicalUnit {
    config: Config,
}

impl LogicalUnit {
    /// A logical unit that has just been powered on, with what stable storage kept of its reservations.
    #[must_use]
    pub fn new(config: Config, reservations: Reservations) -> Self {
        let _ = reservations;
        Self { config }
    }

    /// What it is.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The registrations and the reservation now in force.
    #[must_use]
    pub fn reservations(&self) -> &Reservations {
        unreachable!("skeleton")
    }

    /// A session of `nexus` begins. The same nexus gets the same number as before. It is told (SAM-5, "Unit attention
    /// conditions") that the power came on, if it has never been here, and otherwise that the nexus was lost.
    /// Attached twice without [`Self::nexus_lost`] in between counts as lost in between: session reinstatement.
    ///
    /// # Errors
    /// If there are too many nexuses.
    pub fn attach(&mut self, nexus: &Nexus) -> Result<NexusId, NoRoom> {
        let _ = nexus;
        Err(NoRoom)
    }

    /// The session ended, by logout or otherwise (SAM-5, "I_T nexus loss"): its SPC-2 reservation is released, its
    /// prevention of removal ends. Its registration stays. The driver aborts its commands. Must be called before a new
    /// session of the same nexus is attached, never after.
    pub fn nexus_lost(&mut self, id: NexusId) {
        let _ = id;
    }

    /// LOGICAL UNIT RESET (SAM-5, "Logical unit reset"): mode pages return to their defaults, an SPC-2 reservation is
    /// released, the unit is started, everybody is told. Persistent reservations are unaffected. The driver aborts all
    /// commands.
    pub fn reset(&mut self) {}

    /// The driver aborted commands of `id` on behalf of another nexus (PREEMPT AND ABORT, CLEAR TASK SET). With TAS = 0
    /// they end without status, and the nexus is told so by a unit attention; call it only if there were any.
    pub fn commands_cleared(&mut self, id: NexusId) {
        let _ = id;
    }

    /// TAS: whether commands that another nexus aborts end with TASK ABORTED instead of without status.
    #[must_use]
    pub fn task_aborted_status(&self) -> bool {
        false
    }

    /// WCE: whether acknowledged writes may wait in a volatile cache. [`Operation`]s already say so each.
    #[must_use]
    pub fn write_cache(&self) -> bool {
        self.config.write_cache
    }

    /// The medium has another size now: every nexus is told CAPACITY DATA HAS CHANGED.
    pub fn resize(&mut self, blocks: u64) {
        let _ = blocks;
    }

    /// The target's list of logical units has changed: every nexus is told.
    pub fn luns_changed(&mut self) {}

    /// A command arrives. `cdb` may be longer than the command. REPORT LUNS is not among those answered here: it is about
    /// the target ([`crate::luns::report`]).
    pub fn begin(&mut self, id: NexusId, cdb: &[u8]) -> Begun {
        let _ = (id, cdb);
        Begun::Done(Reply::check(Sense::illegal(
            AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
        )))
    }

    /// The parameter list that [`Begun::Parameters`] asked for. `data` is what arrived of it; fewer bytes than asked for
    /// are an error of the initiator and answered so.
    pub fn parameters(&mut self, id: NexusId, cdb: &[u8], data: &[u8]) -> Continued {
        let _ = (id, cdb, data);
        Continued::Done(Reply::good())
    }

    /// Lets a prepared change count: unit attentions are established. The reply is for after the aborts.
    pub fn commit(&mut self, prepared: Prepared) -> Reply {
        let _ = prepared;
        Reply::good()
    }

    /// The change could not be made durable: nothing has changed, and the command fails.
    pub fn abandon(&mut self, prepared: Prepared) -> Reply {
        let _ = prepared;
        Reply::check(MediumFailure::Internal.into())
    }

    /// Sense data as D_SENSE wants them: fixed or descriptor format.
    #[must_use]
    pub fn encode_sense(&self, sense: &Sense) -> Vec<u8> {
        sense.fixed().to_vec()
    }
}
