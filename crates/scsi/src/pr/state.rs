//! The registrations and the reservation of one logical unit, and what each PERSISTENT RESERVE OUT makes of them.
//!
//! [`Reservations::out`] never changes the state it is asked about: it gives the next one. Whoever keeps it can make
//! that durable first and only then let it count and answer GOOD.

use crate::AdditionalSense;
use crate::pr::command::{encode_keys, encode_reservation};
use crate::pr::full_status::encode_full_status;
use crate::pr::{
    Access, FullStatus, InAction, InitiatorId, InitiatorPort, Key, Nexus, OutAction, OutParameters,
    OutRequest, Refusal, RelativePort, ReservationData, ReservationType, TransportId,
};

/// A nexus and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Registration {
    /// Who is registered.
    pub nexus: Nexus,
    /// With which key.
    pub key: Key,
    /// Whether it was made with ALL_TG_PT, together with those of the other target ports.
    pub all_target_ports: bool,
}

/// Who holds the reservation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// One registered nexus.
    One(Nexus),
    /// Every registered nexus: the all-registrants types.
    Everyone,
}

/// The reservation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// What it forbids.
    pub kind: ReservationType,
    /// Whose it is.
    pub holder: Holder,
}

impl Held {
    fn by(nexus: &Nexus, kind: ReservationType) -> Self {
        let holder = if kind.all_registrants() {
            Holder::Everyone
        } else {
            Holder::One(nexus.clone())
        };
        Self { kind, holder }
    }
}

/// What must happen, besides the new state, before the command may answer GOOD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Unit attentions to establish (SPC-4, the clauses of each service action). Never for the issuer.
    pub attentions: Vec<(Nexus, AdditionalSense)>,
    /// PREEMPT AND ABORT: whose commands to abort, but for the command itself; the issuer is among them if its own key
    /// was given. None of them may change the medium after GOOD.
    pub abort: Vec<Nexus>,
}

/// What a command may refer to and the state does not know.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The ports of the target through which the logical unit is reached: for ALL_TG_PT and REGISTER AND MOVE.
    pub ports: &'a [RelativePort],
    /// The initiator ports that have been seen: what a TransportID that names a device stands for.
    pub known: &'a [InitiatorPort],
    /// The most registrations the logical unit has room for.
    pub room: usize,
}

/// The registrations and the reservation of one logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservations {
    generation: u32,
    registrations: Vec<Registration>,
    held: Option<Held>,
    aptpl: bool,
}

/// Why parts are not those of a state that can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A nexus is registered twice.
    #[error("{} is registered twice", .0.initiator)]
    Twice(Nexus),
    /// The holder is not registered, or its kind does not go with the type.
    #[error("the reservation is held by nobody who could hold it")]
    Holder,
}

const BAD_PARAMETER: Refusal = Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);

type Outcome = Result<(Reservations, Effects), Refusal>;

impl Reservations {
    /// The state after a loss of power, from what was kept of it (SPC-4, "Preserving persistent reservations and
    /// registrations through power loss"). PRGENERATION begins at zero again.
    ///
    /// # Errors
    /// If the parts contradict each other.
    pub fn restore(
        registrations: Vec<Registration>,
        held: Option<Held>,
    ) -> Result<Self, RestoreError> {
        for (at, registration) in registrations.iter().enumerate() {
            let same = |other: &Registration| other.nexus == registration.nexus;
            if registrations[..at].iter().any(same) {
                return Err(RestoreError::Twice(registration.nexus.clone()));
            }
        }
        let state = Self {
            generation: 0,
            registrations,
            held,
            aptpl: true,
        };
        let possible = state.held.as_ref().is_none_or(|held| match &held.holder {
            Holder::One(nexus) => !held.kind.all_registrants() && state.key_of(nexus).is_some(),
            Holder::Everyone => held.kind.all_registrants() && !state.registrations.is_empty(),
        });
        if possible {
            Ok(state)
        } else {
            Err(RestoreError::Holder)
        }
    }

    /// PRGENERATION: how often registrations have changed since power on.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The registrations, oldest first.
    #[must_use]
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// The reservation.
    #[must_use]
    pub const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// PTPL_A: whether the state is to outlast a loss of power.
    #[must_use]
    pub const fn aptpl(&self) -> bool {
        self.aptpl
    }

    /// The key with which a nexus is registered.
    #[must_use]
    pub fn key_of(&self, nexus: &Nexus) -> Option<Key> {
        self.registrations
            .iter()
            .find(|registration| registration.nexus == *nexus)
            .map(|registration| registration.key)
    }

    /// Whether a nexus holds the reservation.
    #[must_use]
    pub fn holds(&self, nexus: &Nexus) -> bool {
        match self.held.as_ref().map(|held| &held.holder) {
            Some(Holder::One(holder)) => holder == nexus,
            Some(Holder::Everyone) => self.key_of(nexus).is_some(),
            None => false,
        }
    }

    /// Whether a command that does `access` may run for `nexus`; not for [`Access::ReserveOut`], which
    /// [`Self::out`] decides, and [`Access::Legacy`], which [`Self::legacy`] does: for these it is always true.
    #[must_use]
    pub fn permits(&self, nexus: &Nexus, access: Access) -> bool {
        let Some(held) = &self.held else {
            return true;
        };
        let forbidden = match access {
            Access::Free | Access::ReserveOut | Access::Legacy => false,
            Access::Reads => held.kind.exclusive_access(),
            Access::Writes => true,
        };
        !forbidden
            || self.holds(nexus)
            || (held.kind.serves_registrants() && self.key_of(nexus).is_some())
    }

    /// What becomes of a RESERVE or RELEASE of SPC-2 (SPC-4, "Exceptions to SPC-2 RESERVE and RELEASE behavior"):
    /// `None` lets it do what SPC-2 says, `Some(true)` answers GOOD without effect, `Some(false)` is a conflict.
    #[must_use]
    pub fn legacy(&self, nexus: &Nexus) -> Option<bool> {
        if self.registrations.is_empty() {
            return None;
        }
        let serves = |held: &Held| held.kind.serves_registrants();
        let registered = self.key_of(nexus).is_some();
        let served = registered && self.held.as_ref().is_some_and(serves);
        Some(self.holds(nexus) || served)
    }

    /// PERSISTENT RESERVE IN data for every action but REPORT CAPABILITIES, which does not depend on the state
    /// alone. Not yet cut to the allocation length.
    #[must_use]
    pub fn data(&self, action: InAction) -> Option<Vec<u8>> {
        let keys = || {
            self.registrations
                .iter()
                .map(|registration| registration.key)
        };
        match action {
            InAction::ReadKeys => Some(encode_keys(self.generation, keys())),
            InAction::ReadReservation => {
                let data = self.held.as_ref().map(|held| ReservationData {
                    key: match &held.holder {
                        Holder::One(nexus) => self.key_of(nexus),
                        Holder::Everyone => None,
                    },
                    type_code: held.kind.code(),
                });
                Some(encode_reservation(self.generation, data))
            }
            InAction::ReadFullStatus => {
                let full: Vec<_> = self
                    .registrations
                    .iter()
                    .map(|one| self.full(one))
                    .collect();
                Some(encode_full_status(self.generation, &full))
            }
            InAction::ReportCapabilities => None,
        }
    }

    fn full(&self, registration: &Registration) -> FullStatus {
        let held = self
            .held
            .as_ref()
            .filter(|_| self.holds(&registration.nexus));
        FullStatus {
            key: Some(registration.key),
            all_target_ports: registration.all_target_ports,
            holds: held.map(|held| held.kind),
            port: registration.nexus.port,
            initiator: Ok(InitiatorId::Iscsi(TransportId::Port(
                registration.nexus.initiator.clone(),
            ))),
        }
    }

    /// Carries out a PERSISTENT RESERVE OUT of `from`: the state that follows, and what else must happen first.
    ///
    /// # Errors
    /// [`Refusal`]: the command ends with that status, and nothing changes.
    pub fn out(
        &self,
        from: &Nexus,
        request: &OutRequest,
        parameters: &OutParameters,
        around: &Surroundings<'_>,
    ) -> Outcome {
        let kind = request.kind.unwrap_or(ReservationType::WriteExclusive);
        match request.action {
            OutAction::Register => self.register(from, parameters, false, around),
            OutAction::RegisterAndIgnoreExistingKey => {
                self.register(from, parameters, true, around)
            }
            OutAction::Reserve => self.reserve(from, parameters, kind),
            OutAction::Release => self.release(from, parameters, kind),
            OutAction::Clear => self.clear(from, parameters),
            OutAction::Preempt => self.preempt(from, parameters, kind, false),
            OutAction::PreemptAndAbort => self.preempt(from, parameters, kind, true),
            OutAction::RegisterAndMove => self.register_and_move(from, parameters, around),
            // No reservation is ever lost here: it is durable, or it ends with the power (SPC-4 leaves it optional).
            OutAction::ReplaceLostReservation => {
                Err(Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB))
            }
        }
    }

    /// SPC-4, "Registering": tables of the REGISTER and REGISTER AND IGNORE EXISTING KEY service actions.
    fn register(
        &self,
        from: &Nexus,
        parameters: &OutParameters,
        ignore: bool,
        around: &Surroundings<'_>,
    ) -> Outcome {
        let own = self.key_of(from);
        if !ignore && parameters.key != own {
            return Err(Refusal::Conflict);
        }
        let names_others = parameters.initiators.is_some();
        if names_others && (ignore || own.is_some()) {
            return Err(BAD_PARAMETER);
        }
        let mut next = self.clone();
        let mut effects = Effects::default();
        match (own, parameters.action_key) {
            // Nothing to withdraw. Nothing changes, so neither do generation and APTPL.
            (None, None) => return Ok((next, effects)),
            (Some(_), None) => next.unregister(from, &mut effects),
            (_, Some(key)) => {
                let all = parameters.all_target_ports;
                if all && !ignore {
                    self.same_key_elsewhere(from, own, key)?;
                }
                for nexus in own_nexuses(from, all, around) {
                    next.put(nexus, key, all);
                }
                for id in parameters.initiators.iter().flatten() {
                    next.put_named(id, from, key, all, around)?;
                }
            }
        }
        next.aptpl = parameters.aptpl;
        next.counted(around, effects)
    }

    /// ALL_TG_PT must not change, by the way, a registration whose key the issuer has not shown to know.
    fn same_key_elsewhere(&self, from: &Nexus, own: Option<Key>, new: Key) -> Result<(), Refusal> {
        let foreign = |registration: &Registration| {
            registration.nexus.initiator == from.initiator
                && registration.nexus.port != from.port
                && Some(registration.key) != own
                && registration.key != new
        };
        if self.registrations.iter().any(foreign) {
            Err(Refusal::Conflict)
        } else {
            Ok(())
        }
    }

    /// Registers, or gives a registration another key. A reservation stays with its nexus.
    fn put(&mut self, nexus: Nexus, key: Key, all_target_ports: bool) {
        let known = self
            .registrations
            .iter_mut()
            .find(|known| known.nexus == nexus);
        match known {
            Some(known) => {
                known.key = key;
                known.all_target_ports |= all_target_ports;
            }
            None => self.registrations.push(Registration {
                nexus,
                key,
                all_target_ports,
            }),
        }
    }

    /// Registers whom a TransportID names, unless they are already: their key is theirs.
    fn put_named(
        &mut self,
        id: &TransportId,
        from: &Nexus,
        key: Key,
        all: bool,
        around: &Surroundings<'_>,
    ) -> Result<(), Refusal> {
        let initiators: Vec<&InitiatorPort> = match id {
            TransportId::Port(port) => vec![port],
            TransportId::Device(_) => around.known.iter().filter(|port| id.names(port)).collect(),
        };
        if initiators.is_empty() {
            return Err(BAD_PARAMETER);
        }
        for initiator in initiators {
            let here = Nexus {
                initiator: initiator.clone(),
                port: from.port,
            };
            for nexus in own_nexuses(&here, all, around) {
                if self.key_of(&nexus).is_none() {
                    self.put(nexus, key, all);
                }
            }
        }
        Ok(())
    }

    /// Counts the change, if there is room for it.
    fn counted(mut self, around: &Surroundings<'_>, effects: Effects) -> Outcome {
        if self.registrations.len() > around.room {
            return Err(Refusal::illegal(
                AdditionalSense::INSUFFICIENT_REGISTRATION_RESOURCES,
            ));
        }
        self.generation = self.generation.wrapping_add(1);
        Ok((self, effects))
    }

    /// SPC-4, "Unregistering": a holder that goes releases the reservation, and registrants who relied on it hear of
    /// that.
    fn unregister(&mut self, from: &Nexus, effects: &mut Effects) {
        let kind = self.held.as_ref().map(|held| held.kind);
        let held_alone = self.holds(from) && !kind.is_some_and(ReservationType::all_registrants);
        self.registrations
            .retain(|registration| registration.nexus != *from);
        if held_alone {
            self.held = None;
            if kind.is_some_and(ReservationType::serves_registrants) {
                self.tell_all_but(from, AdditionalSense::RESERVATIONS_RELEASED, effects);
            }
        }
        self.drop_if_nobody();
    }

    /// An all-registrants reservation goes with its last registrant.
    fn drop_if_nobody(&mut self) {
        if self.registrations.is_empty() {
            self.held = None;
        }
    }

    fn tell_all_but(&self, from: &Nexus, what: AdditionalSense, effects: &mut Effects) {
        let others = self
            .registrations
            .iter()
            .map(|registration| &registration.nexus);
        let others = others.filter(|nexus| *nexus != from);
        effects
            .attentions
            .extend(others.map(|nexus| (nexus.clone(), what)));
    }

    /// Most actions are only for a registered nexus that knows its key.
    fn authenticate(&self, from: &Nexus, parameters: &OutParameters) -> Result<Key, Refusal> {
        self.key_of(from)
            .filter(|own| parameters.key == Some(*own))
            .ok_or(Refusal::Conflict)
    }

    /// SPC-4, "Reserving".
    fn reserve(&self, from: &Nexus, parameters: &OutParameters, kind: ReservationType) -> Outcome {
        self.authenticate(from, parameters)?;
        let mut next = self.clone();
        match &self.held {
            None => next.held = Some(Held::by(from, kind)),
            Some(held) if self.holds(from) && held.kind == kind => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok((next, Effects::default()))
    }

    /// SPC-4, "Releasing".
    fn release(&self, from: &Nexus, parameters: &OutParameters, kind: ReservationType) -> Outcome {
        self.authenticate(from, parameters)?;
        let mut next = self.clone();
        let mut effects = Effects::default();
        if let Some(held) = self.held.as_ref().filter(|_| self.holds(from)) {
            if held.kind != kind {
                return Err(Refusal::illegal(
                    AdditionalSense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION,
                ));
            }
            next.held = None;
            if kind.serves_registrants() {
                self.tell_all_but(from, AdditionalSense::RESERVATIONS_RELEASED, &mut effects);
            }
        }
        Ok((next, effects))
    }

    /// SPC-4, "Clearing".
    fn clear(&self, from: &Nexus, parameters: &OutParameters) -> Outcome {
        self.authenticate(from, parameters)?;
        let mut effects = Effects::default();
        self.tell_all_but(from, AdditionalSense::RESERVATIONS_PREEMPTED, &mut effects);
        let next = Self {
            generation: self.generation.wrapping_add(1),
            aptpl: self.aptpl,
            ..Self::default()
        };
        Ok((next, effects))
    }

    /// SPC-4, "Preempting persistent reservations and registration handling" and "Preempting and aborting".
    fn preempt(
        &self,
        from: &Nexus,
        parameters: &OutParameters,
        kind: ReservationType,
        abort: bool,
    ) -> Outcome {
        self.authenticate(from, parameters)?;
        let held = self.held.as_ref();
        let victims = parameters.action_key;
        let everyone_holds = held.is_some_and(|held| held.kind.all_registrants());
        let is_victim = |registration: &Registration| match victims {
            Some(key) => registration.key == key,
            None => registration.nexus != *from,
        };
        if victims.is_none() && !everyone_holds {
            let no_key = if held.is_some() {
                BAD_PARAMETER
            } else {
                Refusal::Conflict
            };
            return Err(no_key);
        }
        if victims.is_some() && !self.registrations.iter().any(is_victim) {
            return Err(Refusal::Conflict);
        }
        // The issuer takes the reservation over if it takes the holder's key, or everyone's.
        let takes_over = match held.map(|held| &held.holder) {
            Some(Holder::One(holder)) => victims == self.key_of(holder),
            Some(Holder::Everyone) => victims.is_none(),
            None => false,
        };
        let goes = |registration: &Registration| {
            is_victim(registration) && !(takes_over && registration.nexus == *from)
        };
        let mut next = self.clone();
        let mut effects = Effects::default();
        for victim in self.registrations.iter().filter(|one| is_victim(one)) {
            // Also those of the issuer, if it stays registered: what counts is whose key was given.
            if abort {
                effects.abort.push(victim.nexus.clone());
            }
            if victim.nexus != *from {
                let what = AdditionalSense::REGISTRATIONS_PREEMPTED;
                effects.attentions.push((victim.nexus.clone(), what));
            }
        }
        next.registrations
            .retain(|registration| !goes(registration));
        if takes_over {
            if held.is_some_and(|held| held.kind != kind) {
                next.tell_all_but(from, AdditionalSense::RESERVATIONS_RELEASED, &mut effects);
            }
            next.held = Some(Held::by(from, kind));
        }
        next.drop_if_nobody();
        next.generation = next.generation.wrapping_add(1);
        Ok((next, effects))
    }

    /// SPC-4, "Registering and moving the reservation".
    fn register_and_move(
        &self,
        from: &Nexus,
        parameters: &OutParameters,
        around: &Surroundings<'_>,
    ) -> Outcome {
        self.authenticate(from, parameters)?;
        let held = match &self.held {
            Some(held) if self.holds(from) && !held.kind.all_registrants() => held,
            _ => return Err(Refusal::Conflict),
        };
        let Some((TransportId::Port(initiator), port, unregister)) = &parameters.move_to else {
            return Err(BAD_PARAMETER);
        };
        let key = parameters.action_key.ok_or(BAD_PARAMETER)?;
        let to = Nexus {
            initiator: initiator.clone(),
            port: *port,
        };
        if to == *from || !around.ports.contains(port) {
            return Err(BAD_PARAMETER);
        }
        let mut next = self.clone();
        next.put(to.clone(), key, false);
        if *unregister {
            next.registrations
                .retain(|registration| registration.nexus != *from);
        }
        next.held = Some(Held::by(&to, held.kind));
        next.aptpl = parameters.aptpl;
        next.counted(around, Effects::default())
    }
}

/// The nexus itself, and with ALL_TG_PT those of the same initiator port with the other ports.
fn own_nexuses(nexus: &Nexus, all: bool, around: &Surroundings<'_>) -> Vec<Nexus> {
    let mut nexuses = vec![nexus.clone()];
    if all {
        let others = around.ports.iter().filter(|port| **port != nexus.port);
        nexuses.extend(others.map(|port| Nexus {
            initiator: nexus.initiator.clone(),
            port: *port,
        }));
    }
    nexuses
}
