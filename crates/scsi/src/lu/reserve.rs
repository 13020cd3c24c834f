//! Reservations of a logical unit: which command is let through, RESERVE and RELEASE of SPC-2, and PERSISTENT RESERVE OUT
//! in two steps.

use crate::opcode::Opcode;
use crate::pr::{
    Access, Effects, InitiatorPort, Nexus, OutParameters, OutRequest, Refusal, Reservations,
    Surroundings, access,
};
use crate::{AdditionalSense, Sense, Status};

use super::{Begun, Continued, LogicalUnit, MediumFailure, NexusId, Reply};

/// A change of reservations that is decided and does not count yet. It must be given to [`LogicalUnit::commit`] or
/// [`LogicalUnit::abandon`]; until then every other change of reservations ends with BUSY, and everything else goes on as
/// if nothing had happened.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "other changes of reservations are held off until it is committed or abandoned"]
pub struct Prepared {
    pub(super) issuer: NexusId,
    pub(super) next: Reservations,
    pub(super) effects: Effects,
    pub(super) aborts: Vec<NexusId>,
    pub(super) must_persist: bool,
}

impl Prepared {
    /// Whose command it is. It is never told by a unit attention what it did itself.
    #[must_use]
    pub const fn issuer(&self) -> NexusId {
        self.issuer
    }

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
    /// before the answer; the issuer's other commands too, if its own key was given. None of these commands may change
    /// the medium after GOOD (SPC-4, "Preempting and aborting").
    #[must_use]
    pub fn aborts(&self) -> &[NexusId] {
        &self.aborts
    }
}

/// What a nexus other than the holder may still do while the logical unit is reserved as by SPC-2 (SPC-2, "Reservations";
/// SBC-2, the same).
fn passes_legacy(cdb: &[u8]) -> bool {
    match Opcode(cdb.first().copied().unwrap_or_default()) {
        // Their own rules decide.
        Opcode::RESERVE_6 | Opcode::RESERVE_10 | Opcode::RELEASE_6 | Opcode::RELEASE_10 => true,
        Opcode::TEST_UNIT_READY | Opcode::PERSISTENT_RESERVE_IN | Opcode::MAINTENANCE_IN => false,
        _ => access(cdb) == Access::Free,
    }
}

const fn is_persistent(cdb: &[u8]) -> bool {
    let persistent = [
        Opcode::PERSISTENT_RESERVE_IN.0,
        Opcode::PERSISTENT_RESERVE_OUT.0,
    ];
    matches!(cdb, [opcode, ..] if *opcode == persistent[0] || *opcode == persistent[1])
}

impl LogicalUnit {
    /// Whether a reservation of another nexus forbids the command.
    pub(super) fn conflicts(&self, id: NexusId, cdb: &[u8]) -> bool {
        let legacy = self.legacy.is_some_and(|holder| {
            // SPC-3, "Persistent reservations": the two kinds do not mix, not even for the holder.
            is_persistent(cdb) || (holder != id && !passes_legacy(cdb))
        });
        let slot = self.nexuses.get(id);
        legacy
            || match access(cdb) {
                Access::Free | Access::ReserveOut | Access::Legacy => false,
                Access::Reads => slot.is_none_or(|slot| !slot.may_read),
                Access::Writes => slot.is_none_or(|slot| !slot.may_write),
            }
    }

    /// RESERVE (SPC-2, "RESERVE(6) command"), unless there are registrations.
    pub(super) fn legacy_reserve(&mut self, id: NexusId) -> Reply {
        match self.legacy_exception(id) {
            Some(reply) => reply,
            None if self.pending => Reply::status(Status::BUSY),
            None if self.legacy.is_some_and(|holder| holder != id) => Refusal::Conflict.into(),
            None => {
                self.legacy = Some(id);
                Reply::good()
            }
        }
    }

    /// RELEASE (SPC-2, "RELEASE(6) command"): who does not hold the reservation releases nothing, and is told GOOD.
    pub(super) fn legacy_release(&mut self, id: NexusId) -> Reply {
        self.legacy_exception(id).unwrap_or_else(|| {
            self.legacy = self.legacy.filter(|holder| *holder != id);
            Reply::good()
        })
    }

    /// SPC-4, "Exceptions to SPC-2 RESERVE and RELEASE behavior".
    fn legacy_exception(&self, id: NexusId) -> Option<Reply> {
        let slot = self.nexuses.get(id)?;
        let allowed = self.reservations.legacy(&slot.nexus)?;
        Some(if allowed {
            Reply::good()
        } else {
            Refusal::Conflict.into()
        })
    }

    pub(super) fn begin_reserve_out(request: &OutRequest) -> Begun {
        Begun::Parameters {
            length: request.length,
        }
    }

    /// PERSISTENT RESERVE OUT with its parameter list: decides, and changes nothing.
    pub(super) fn prepare(&mut self, id: NexusId, request: &OutRequest, list: &[u8]) -> Continued {
        let Some(from) = self.nexuses.get(id).map(|slot| slot.nexus.clone()) else {
            return Continued::Done(MediumFailure::Internal.into());
        };
        // An SPC-2 reservation may have been made since the command began.
        if self.legacy.is_some() {
            return Continued::Done(Refusal::Conflict.into());
        }
        if self.pending {
            return Continued::Done(Reply::status(Status::BUSY));
        }
        let decided = OutParameters::parse(request.action, list)
            .map_err(Refusal::from)
            .and_then(|parameters| self.decide(&from, request, &parameters));
        let (next, effects) = match decided {
            Ok(decided) => decided,
            Err(refusal) => return Continued::Done(refusal.into()),
        };
        // A victim that is not attached could be by the time the change counts: it gets its number now.
        let mut aborts = Vec::with_capacity(effects.abort.len());
        for victim in &effects.abort {
            match self.place(victim) {
                Ok(id) => aborts.push(id),
                Err(_) => return Continued::Done(Reply::status(Status::BUSY)),
            }
        }
        let durable = self.reservations.aptpl() || next.aptpl();
        self.pending = true;
        Continued::Reservation(Prepared {
            issuer: id,
            must_persist: durable && next != self.reservations,
            next,
            effects,
            aborts,
        })
    }

    fn decide(
        &self,
        from: &Nexus,
        request: &OutRequest,
        parameters: &OutParameters,
    ) -> Result<(Reservations, Effects), Refusal> {
        let known: Vec<InitiatorPort> = self
            .nexuses
            .iter()
            .map(|slot| slot.nexus.initiator.clone())
            .collect();
        let around = Surroundings {
            ports: &self.config.ports,
            known: &known,
            room: self.config.limits.registrations,
        };
        self.reservations.out(from, request, parameters, &around)
    }

    /// Lets a prepared change count: unit attentions are established, and whose commands are aborted no longer prevents
    /// removal (SPC-4, "PREVENT ALLOW MEDIUM REMOVAL command"). The reply is for after the aborts.
    pub fn commit(&mut self, prepared: Prepared) -> Reply {
        self.pending = false;
        self.reservations = prepared.next;
        for (nexus, what) in &prepared.effects.attentions {
            // Should more victims be away than there are places, one is told less: when it comes back, that the power
            // came on, which implies the rest.
            if let Ok(id) = self.place(nexus) {
                self.establish(id, *what);
            }
        }
        for id in prepared.aborts {
            if let Some(slot) = self.nexuses.get_mut(id).filter(|_| id != prepared.issuer) {
                slot.prevents = false;
            }
        }
        self.renew_rights();
        Reply::good()
    }

    /// The change could not be made durable: nothing has changed, and the command fails.
    pub fn abandon(&mut self, prepared: Prepared) -> Reply {
        drop(prepared);
        self.pending = false;
        Reply::check(Sense::new(
            crate::SenseKey::HARDWARE_ERROR,
            AdditionalSense::INTERNAL_TARGET_FAILURE,
        ))
    }

    /// What the reservation lets each nexus do, looked up once per change instead of once per command.
    pub(super) fn renew_rights(&mut self) {
        for slot in self.nexuses.iter_mut() {
            slot.may_read = self.reservations.permits(&slot.nexus, Access::Reads);
            slot.may_write = self.reservations.permits(&slot.nexus, Access::Writes);
        }
    }
}
