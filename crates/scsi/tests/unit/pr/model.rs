//! Persistent reservations once more, written from a summary of SPC-4 ("Reservations") and of nothing else: one
//! function for each sentence, plain lists, no types of the state machine but those that commands and answers need.
//! Random commands go through both, and everything that can be seen must be the same.
//!
//! Where that summary is silent the standard decides: a REGISTER that does nothing counts no generation ("Registering":
//! "do nothing"), and REGISTER AND MOVE follows "Registering and moving the reservation".

use std::collections::BTreeSet;

use proptest::prelude::*;
use scsi::pr::{
    Access, Held, Holder, InAction, InitiatorId, Key, Nexus, OutAction, OutParameters, Refusal,
    RelativePort, ReservationType, Reservations, TransportId, access, parse_full_status,
    parse_keys, parse_reservation,
};

use crate::pr::common::{RequestBuilder, nexus_at};

/// A nexus: number of the initiator, and of the target port.
type Who = (u8, u16);

const INITIATORS: [&str; 4] = ["a", "b", "c", "d"];
const PORTS: [u16; 2] = [1, 2];

/// What a command comes to.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    Good,
    Conflict,
    /// Sense key, ASC, ASCQ.
    Check(u8, u8, u8),
}

const INVALID_FIELD: Ends = Ends::Check(5, 0x26, 0x00);
const INVALID_RELEASE: Ends = Ends::Check(5, 0x26, 0x04);
const NO_ROOM: Ends = Ends::Check(5, 0x55, 0x04);

const PREEMPTED_RESERVATION: (u8, u8) = (0x2A, 0x03);
const RELEASED: (u8, u8) = (0x2A, 0x04);
const PREEMPTED_REGISTRATION: (u8, u8) = (0x2A, 0x05);

/// A command, with numbers only.
#[derive(Debug, Clone)]
struct Order {
    action: u8,
    from: Who,
    kind: u8,
    key: u64,
    action_key: u64,
    aptpl: bool,
    all_ports: bool,
    /// REGISTER AND MOVE: to whom, and whether the issuer leaves.
    to: Who,
    leave: bool,
}

/// A logical unit.
#[derive(Debug, Default, Clone)]
struct Unit {
    generation: u32,
    registered: Vec<(Who, u64)>,
    /// The type's code; the holder, unless everyone holds it.
    reservation: Option<(u8, Option<Who>)>,
    survives_power_loss: bool,
    // What the last command did.
    told: BTreeSet<(Who, (u8, u8))>,
    aborted: BTreeSet<Who>,
}

/// Types 7 and 8: every registrant is a holder.
fn everyone_holds(kind: u8) -> bool {
    kind == 7 || kind == 8
}

/// Types 5 to 8: registrants only, or all registrants.
fn for_registrants(kind: u8) -> bool {
    kind >= 5
}

impl Unit {
    fn key(&self, who: Who) -> Option<u64> {
        let found = self.registered.iter().find(|(other, _)| *other == who);
        found.map(|(_, key)| *key)
    }

    fn is_holder(&self, who: Who) -> bool {
        match self.reservation {
            None => false,
            Some((_, Some(holder))) => holder == who,
            Some((_, None)) => self.key(who).is_some(),
        }
    }

    /// "RK≠own → conflict", and unregistered ones have no key.
    fn knows_its_key(&self, order: &Order) -> bool {
        self.key(order.from) == Some(order.key)
    }

    fn tell(&mut self, who: Who, what: (u8, u8), issuer: Who) {
        // "The issuing nexus gets none."
        if who != issuer {
            self.told.insert((who, what));
        }
    }

    fn tell_registrants(&mut self, what: (u8, u8), issuer: Who) {
        for (who, _) in self.registered.clone() {
            self.tell(who, what, issuer);
        }
    }

    fn run(&mut self, order: &Order, room: usize) -> Ends {
        self.told.clear();
        self.aborted.clear();
        match order.action {
            0 => self.register(order, room),
            1 => self.reserve(order),
            2 => self.release(order),
            3 => self.clear(order),
            4 => self.preempt(order, false),
            5 => self.preempt(order, true),
            6 => self.enter(order, room),
            7 => self.hand_over(order, room),
            _ => unreachable!("not generated"),
        }
    }

    fn register(&mut self, order: &Order, room: usize) -> Ends {
        match self.key(order.from) {
            // "RK≠0 → conflict."
            None if order.key != 0 => Ends::Conflict,
            // "RK≠own → conflict."
            Some(own) if order.key != own => Ends::Conflict,
            _ => self.enter(order, room),
        }
    }

    /// "SARK≠0 registers, SARK=0 no-op GOOD"; registered: "SARK=0 unregisters, else replaces key (reservation kept)".
    fn enter(&mut self, order: &Order, room: usize) -> Ends {
        match (self.key(order.from), order.action_key) {
            (None, 0) => return Ends::Good,
            (Some(_), 0) => self.unregister(order.from),
            (None, key) => {
                let mut newcomers = vec![order.from];
                if order.all_ports {
                    newcomers = PORTS.map(|port| (order.from.0, port)).to_vec();
                }
                // "No room for a registration → 5/55/04."
                if self.registered.len() + newcomers.len() > room {
                    return NO_ROOM;
                }
                self.registered
                    .extend(newcomers.into_iter().map(|who| (who, key)));
            }
            (Some(_), key) => {
                let own = self
                    .registered
                    .iter_mut()
                    .find(|(who, _)| *who == order.from);
                own.expect("has a key").1 = key;
            }
        }
        self.survives_power_loss = order.aptpl;
        self.generation += 1;
        Ends::Good
    }

    fn unregister(&mut self, who: Who) {
        let held = self.is_holder(who);
        self.registered.retain(|(other, _)| *other != who);
        match self.reservation {
            // "With All-Registrants types … the reservation vanishes when the last one unregisters."
            Some((_, None)) if self.registered.is_empty() => self.reservation = None,
            // "Unregistering a holder (other types) releases the reservation."
            Some((kind, Some(_))) if held => {
                self.reservation = None;
                if for_registrants(kind) {
                    self.tell_registrants(RELEASED, who);
                }
            }
            _ => {}
        }
    }

    fn reserve(&mut self, order: &Order) -> Ends {
        if !self.knows_its_key(order) {
            return Ends::Conflict;
        }
        match self.reservation {
            // "No reservation → holder."
            None => self.take(order),
            // "Already holder with same scope+type → GOOD."
            Some((kind, _)) if kind == order.kind && self.is_holder(order.from) => {}
            Some(_) => return Ends::Conflict,
        }
        Ends::Good
    }

    fn take(&mut self, order: &Order) {
        let holder = (!everyone_holds(order.kind)).then_some(order.from);
        self.reservation = Some((order.kind, holder));
    }

    fn release(&mut self, order: &Order) -> Ends {
        if !self.knows_its_key(order) {
            return Ends::Conflict;
        }
        match self.reservation {
            // "None held or not holder → GOOD, no change."
            _ if !self.is_holder(order.from) => Ends::Good,
            // "Holder with wrong scope/type → 5/26/04."
            Some((kind, _)) if kind != order.kind => INVALID_RELEASE,
            _ => {
                self.reservation = None;
                // "None for plain WE/EA release."
                if for_registrants(order.kind) {
                    self.tell_registrants(RELEASED, order.from);
                }
                Ends::Good
            }
        }
    }

    fn clear(&mut self, order: &Order) -> Ends {
        if !self.knows_its_key(order) {
            return Ends::Conflict;
        }
        self.tell_registrants(PREEMPTED_RESERVATION, order.from);
        self.registered.clear();
        self.reservation = None;
        self.generation += 1;
        Ends::Good
    }

    fn preempt(&mut self, order: &Order, abort: bool) -> Ends {
        // 1.
        if !self.knows_its_key(order) {
            return Ends::Conflict;
        }
        let victim = order.action_key;
        let all = matches!(self.reservation, Some((_, None)));
        // 2.
        if victim == 0 && !all {
            return match self.reservation {
                Some(_) => INVALID_FIELD,
                None => Ends::Conflict,
            };
        }
        if victim != 0 && !self.registered.iter().any(|(_, key)| *key == victim) {
            return Ends::Conflict;
        }
        let matching: Vec<Who> = self
            .registered
            .iter()
            .filter(|(who, key)| *key == victim || victim == 0 && *who != order.from)
            .map(|(who, _)| *who)
            .collect();
        let holders_key = match self.reservation {
            Some((_, Some(holder))) => self.key(holder),
            _ => None,
        };
        // 4 and 5, else 3.
        let takes = victim == 0 || holders_key == Some(victim);
        let leaving = |who: &Who| matching.contains(who) && !(takes && *who == order.from);
        self.registered.retain(|(who, _)| !leaving(who));
        if takes {
            let before = self.reservation.map(|(kind, _)| kind);
            self.take(order);
            if before != Some(order.kind) {
                // "Remaining registrants when PREEMPT changes the type."
                self.tell_registrants(RELEASED, order.from);
            }
        }
        if all && self.registered.is_empty() {
            self.reservation = None;
        }
        for who in matching.iter().filter(|who| leaving(who)) {
            self.tell(*who, PREEMPTED_REGISTRATION, order.from);
        }
        if abort {
            // "Every task from each I_T nexus whose key was SARK … except the PROUT itself."
            self.aborted.extend(matching);
        }
        self.generation += 1;
        Ends::Good
    }

    fn hand_over(&mut self, order: &Order, room: usize) -> Ends {
        // "Only by the holder; others conflict." Nor with an all-registrants type.
        let alone = matches!(self.reservation, Some((_, Some(_))));
        if !self.knows_its_key(order) || !alone || !self.is_holder(order.from) {
            return Ends::Conflict;
        }
        if order.action_key == 0 || order.to == order.from {
            return INVALID_FIELD;
        }
        let count = self.registered.len() - usize::from(order.leave);
        match self.registered.iter_mut().find(|(who, _)| *who == order.to) {
            Some((_, key)) => *key = order.action_key,
            None if count >= room => return NO_ROOM,
            None => self.registered.push((order.to, order.action_key)),
        }
        if order.leave {
            self.registered.retain(|(who, _)| *who != order.from);
        }
        self.reservation = self.reservation.map(|(kind, _)| (kind, Some(order.to)));
        self.survives_power_loss = order.aptpl;
        self.generation += 1;
        Ends::Good
    }

    /// "Registrations, holder, scope and type"; "PRGENERATION restarts at 0".
    fn lose_power(&mut self) {
        self.generation = 0;
        if !self.survives_power_loss {
            *self = Self::default();
        }
    }

    /// The columns of the table of allowed commands.
    fn row(&self, who: Who) -> usize {
        let registered = self.key(who).is_some();
        match self.reservation {
            None => 5,
            Some(_) if self.is_holder(who) => 5,
            Some((1, _)) => 0,
            Some((3, _)) => 1,
            Some(_) if registered => 2,
            Some((5 | 7, _)) => 3,
            Some(_) => 4,
        }
    }

    /// "Conflict for everybody while any PR registration exists, except GOOD … from the holder or, under RO/AR types,
    /// from a registrant."
    fn legacy(&self, who: Who) -> Option<bool> {
        if self.registered.is_empty() {
            return None;
        }
        let served = match self.reservation {
            Some((kind, _)) => for_registrants(kind) && self.key(who).is_some(),
            None => false,
        };
        Some(self.is_holder(who) || served)
    }
}

/// One command for each line of the table; the last column is the holder's, and everyone's without a reservation.
const LINES: [(&[u8], Access, [bool; 6]); 3] = [
    (&[0x12, 0, 0, 0, 36, 0], Access::Free, [true; 6]),
    (
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        Access::Reads,
        [true, false, true, true, false, true],
    ),
    (
        &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        Access::Writes,
        [false, false, true, false, false, true],
    ),
];

fn nexus(who: Who) -> Nexus {
    nexus_at(INITIATORS[usize::from(who.0)], who.1)
}

fn who(nexus: &Nexus) -> Who {
    let name = nexus.initiator.name().rsplit(':').next().unwrap();
    let number = INITIATORS.iter().position(|known| *known == name).unwrap();
    (u8::try_from(number).unwrap(), nexus.port.0)
}

fn everybody() -> impl Iterator<Item = Who> {
    (0..4).flat_map(|number| PORTS.map(|port| (number, port)))
}

fn ends(refusal: Refusal) -> Ends {
    match refusal {
        Refusal::Conflict => Ends::Conflict,
        Refusal::Check(sense) => {
            // Through the wire: the bytes are what an initiator sees.
            let bytes = sense.fixed();
            Ends::Check(bytes[2] & 0x0F, bytes[12], bytes[13])
        }
    }
}

fn builder(order: &Order, room: usize) -> RequestBuilder {
    let action = OutAction::ALL[usize::from(order.action)];
    let mut parameters = OutParameters::keys(Key::new(order.key), Key::new(order.action_key));
    parameters.aptpl = order.aptpl && matches!(order.action, 0 | 6 | 7);
    parameters.all_target_ports = order.all_ports;
    if action == OutAction::RegisterAndMove {
        let to = nexus(order.to);
        parameters.move_to = Some((
            TransportId::Port(to.initiator),
            RelativePort(order.to.1),
            order.leave,
        ));
    }
    let kind = action
        .uses_type()
        .then(|| ReservationType::from_code(order.kind).unwrap());
    RequestBuilder {
        action,
        kind,
        parameters,
        room,
    }
}

/// Everything that can be asked of both.
fn compare(unit: &Unit, state: &Reservations) -> Result<(), TestCaseError> {
    prop_assert_eq!(unit.generation, state.generation());
    let mut expected = unit.registered.clone();
    let mut seen: Vec<(Who, u64)> = state
        .registrations()
        .iter()
        .map(|registration| (who(&registration.nexus), registration.key.get()))
        .collect();
    expected.sort_unstable();
    seen.sort_unstable();
    prop_assert_eq!(&expected, &seen);
    let held = state.held().map(|held| {
        let holder = match &held.holder {
            Holder::One(nexus) => Some(who(nexus)),
            Holder::Everyone => None,
        };
        (held.kind.code(), holder)
    });
    prop_assert_eq!(unit.reservation, held);
    if !unit.registered.is_empty() {
        prop_assert_eq!(unit.survives_power_loss, state.aptpl());
    }
    for person in everybody() {
        let nexus = nexus(person);
        prop_assert_eq!(unit.key(person), state.key_of(&nexus).map(Key::get));
        prop_assert_eq!(unit.is_holder(person), state.holds(&nexus), "{:?}", person);
        prop_assert_eq!(unit.legacy(person), state.legacy(&nexus), "{:?}", person);
        for (cdb, class, allowed) in LINES {
            prop_assert_eq!(access(cdb), class);
            let may = state.permits(&nexus, class);
            prop_assert_eq!(allowed[unit.row(person)], may, "{:?} {:?}", person, class);
        }
    }
    compare_data(unit, state)
}

/// The same as an initiator reads it.
fn compare_data(unit: &Unit, state: &Reservations) -> Result<(), TestCaseError> {
    let (generation, keys) = parse_keys(&state.data(InAction::ReadKeys).unwrap()).unwrap();
    let mut keys: Vec<u64> = keys.into_iter().map(Key::get).collect();
    let mut expected: Vec<u64> = unit.registered.iter().map(|(_, key)| *key).collect();
    keys.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!((generation, keys), (unit.generation, expected));

    let read = state.data(InAction::ReadReservation).unwrap();
    let (_, reservation) = parse_reservation(&read).unwrap();
    let told = reservation.map(|data| (data.type_code, data.key.map(Key::get)));
    let expected = unit
        .reservation
        .map(|(kind, holder)| (kind, holder.and_then(|holder| unit.key(holder))));
    prop_assert_eq!(told, expected);

    let full = state.data(InAction::ReadFullStatus).unwrap();
    let (_, full) = parse_full_status(&full).unwrap();
    prop_assert_eq!(full.len(), unit.registered.len());
    for status in full {
        let Ok(InitiatorId::Iscsi(TransportId::Port(initiator))) = status.initiator else {
            return Err(TestCaseError::fail("a registration of no port"));
        };
        let person = who(&Nexus {
            initiator,
            port: status.port,
        });
        prop_assert_eq!(unit.key(person), status.key.map(Key::get));
        let held = unit.reservation.filter(|_| unit.is_holder(person));
        let seen = status.holds.map(ReservationType::code);
        prop_assert_eq!(held.map(|(kind, _)| kind), seen);
    }
    Ok(())
}

/// Keys are few, so that they meet.
fn orders() -> impl Strategy<Value = Order> {
    let person = || (0_u8..4, proptest::sample::select(&PORTS[..]));
    let action = proptest::sample::select(vec![0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 7]);
    let kind = proptest::sample::select(vec![1_u8, 3, 5, 6, 7, 8]);
    (
        (action, person(), kind, person()),
        (0_u64..4, 0_u64..4, prop::bool::weighted(0.7)),
        (any::<bool>(), prop::bool::weighted(0.2), any::<bool>()),
    )
        .prop_map(
            |((action, from, kind, to), (key, action_key, knows), flags)| {
                let (aptpl, all_ports, leave) = flags;
                Order {
                    action,
                    from,
                    kind,
                    // Most know their key; `run_both` puts it in for this mark.
                    key: if knows { u64::MAX } else { key },
                    action_key,
                    aptpl,
                    all_ports,
                    to,
                    leave,
                }
            },
        )
}

fn run_both(orders: Vec<(Order, bool)>, room: usize) -> Result<(), TestCaseError> {
    let (mut unit, mut state) = (Unit::default(), Reservations::default());
    for (mut order, power) in orders {
        if order.key == u64::MAX {
            order.key = unit.key(order.from).unwrap_or(0);
        }
        // What ALL_TG_PT does to ports where the initiator is registered already is for the tests of that bit.
        let elsewhere = unit.registered.iter().any(|(who, _)| who.0 == order.from.0);
        order.all_ports &= matches!(order.action, 0 | 6) && !elsewhere;
        let expected = unit.run(&order, room);
        let (seen, attentions, abort) =
            match builder(&order, room).run_at(&state, &nexus(order.from)) {
                Ok((next, effects)) => {
                    state = next;
                    (Ends::Good, effects.attentions, effects.abort)
                }
                Err(refusal) => (ends(refusal), Vec::new(), Vec::new()),
            };
        prop_assert_eq!(&expected, &seen, "{:?} on {:?}", order, unit);
        let told: Vec<_> = attentions
            .iter()
            .map(|(nexus, code)| (who(nexus), (code.asc(), code.ascq())))
            .collect();
        let once: BTreeSet<_> = told.iter().copied().collect();
        prop_assert_eq!(once.len(), told.len(), "told twice");
        prop_assert_eq!(&unit.told, &once, "{:?}", order);
        let aborted: BTreeSet<Who> = abort.iter().map(who).collect();
        prop_assert_eq!(&unit.aborted, &aborted, "{:?}", order);
        compare(&unit, &state)?;
        if power {
            unit.lose_power();
            state = restart(&state);
            compare(&unit, &state)?;
        }
    }
    Ok(())
}

/// What a target does after a loss of power.
fn restart(state: &Reservations) -> Reservations {
    if !state.aptpl() {
        return Reservations::default();
    }
    let held: Option<Held> = state.held().cloned();
    Reservations::restore(state.registrations().to_vec(), held).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_state_machine_does_what_the_model_does(
        orders in proptest::collection::vec((orders(), prop::bool::weighted(0.03)), 1..60),
        room in proptest::sample::select(vec![2_usize, 5, 64]),
    ) {
        run_both(orders, room)?;
    }
}

/// How often each end was reached: a comparison that never gets anywhere compares nothing.
#[test]
fn random_commands_reach_everything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..2000 {
        let mut unit = Unit::default();
        for _ in 0..40 {
            let mut order = orders().new_tree(&mut runner).unwrap().current();
            if order.key == u64::MAX {
                order.key = unit.key(order.from).unwrap_or(0);
            }
            let end = unit.run(&order, 5);
            let kind = unit.reservation.map(|(kind, _)| kind);
            reached.insert((order.action, format!("{end:?}"), kind));
            for (_, told) in &unit.told {
                reached.insert((order.action, format!("{told:?}"), None));
            }
        }
    }
    for action in 0..8 {
        let of = |text: &str| {
            let text = text.to_owned();
            reached
                .iter()
                .any(|(of, end, _)| *of == action && *end == text)
        };
        assert!(of("Good") || action == 7, "{action}");
        assert!(of("Conflict") != (action == 6), "{action}");
    }
    for (action, end) in [
        (2, INVALID_RELEASE),
        (4, INVALID_FIELD),
        (6, NO_ROOM),
        (7, Ends::Good),
        (7, INVALID_FIELD),
    ] {
        let end = format!("{end:?}");
        assert!(
            reached
                .iter()
                .any(|(of, seen, _)| (*of, seen) == (action, &end)),
            "{action} {end}"
        );
    }
    for kind in [1, 3, 5, 6, 7, 8] {
        assert!(reached.iter().any(|(_, _, held)| *held == Some(kind)));
    }
}
