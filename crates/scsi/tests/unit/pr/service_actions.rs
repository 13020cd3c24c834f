//! What each PERSISTENT RESERVE OUT does, refuses and tells to whom: SPC-4, the clause named beside each test.

use crate::pr::common::{RequestBuilder, nexus, nexus_at, port, registered};
use scsi::AdditionalSense as Code;
use scsi::pr::{
    Held, Holder, InAction, InitiatorId, Key, OutAction, Refusal, Registration, RelativePort,
    ReservationType, Reservations, RestoreError, TransportId, parse_full_status, parse_keys,
    parse_reservation,
};

const WE: ReservationType = ReservationType::WriteExclusive;
const WERO: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;
const EARO: ReservationType = ReservationType::ExclusiveAccessRegistrantsOnly;
const WEAR: ReservationType = ReservationType::WriteExclusiveAllRegistrants;
const EAAR: ReservationType = ReservationType::ExclusiveAccessAllRegistrants;

fn bad_parameter() -> Refusal {
    Refusal::illegal(Code::INVALID_FIELD_IN_PARAMETER_LIST)
}

fn key_of(state: &Reservations, name: &str) -> Option<u64> {
    state.key_of(&nexus(name)).map(Key::get)
}

fn names(nexuses: &[scsi::pr::Nexus]) -> Vec<&str> {
    nexuses
        .iter()
        .filter_map(|nexus| nexus.initiator.name().rsplit(':').next())
        .collect()
}

/// Registered `a` (key 1, the holder), `b` (key 2), `c` (key 2 as well).
fn held(kind: ReservationType) -> Reservations {
    let state = registered(&[("a", 1), ("b", 2), ("c", 2)]);
    RequestBuilder::reserve(1, kind).run(&state, "a").unwrap().0
}

// "Registering"

#[test]
fn an_unregistered_nexus_registers_without_a_key_of_its_own() {
    let empty = Reservations::default();
    assert_eq!(
        RequestBuilder::register(5, 1).run(&empty, "a"),
        Err(Refusal::Conflict)
    );
    let (nothing, effects) = RequestBuilder::register(0, 0).run(&empty, "a").unwrap();
    assert_eq!((nothing, effects.attentions.len()), (empty.clone(), 0));
    let (one, _) = RequestBuilder::register(0, 1).run(&empty, "a").unwrap();
    assert_eq!((key_of(&one, "a"), one.generation()), (Some(1), 1));
}

#[test]
fn a_registered_nexus_must_know_its_key() {
    let state = held(WERO);
    assert_eq!(
        RequestBuilder::register(0, 9).run(&state, "a"),
        Err(Refusal::Conflict)
    );
    assert_eq!(
        RequestBuilder::register(2, 9).run(&state, "a"),
        Err(Refusal::Conflict)
    );
    let (changed, effects) = RequestBuilder::register(1, 9).run(&state, "a").unwrap();
    assert_eq!(key_of(&changed, "a"), Some(9));
    assert!(changed.holds(&nexus("a")), "the reservation stays");
    assert_eq!(changed.generation(), state.generation() + 1);
    assert!(effects.attentions.is_empty());
}

#[test]
fn register_and_ignore_needs_no_old_key() {
    let ignore = |new| RequestBuilder::new(OutAction::RegisterAndIgnoreExistingKey, 0xBAD, new);
    let (one, _) = ignore(1).run(&Reservations::default(), "a").unwrap();
    let (two, _) = ignore(2).run(&one, "a").unwrap();
    assert_eq!(key_of(&two, "a"), Some(2));
    assert_eq!(two.registrations().len(), 1, "changed, not added");
    let (gone, _) = ignore(0).run(&two, "a").unwrap();
    assert!(gone.registrations().is_empty());
    assert_eq!(ignore(0).run(&gone, "a").unwrap().0, gone);
}

#[test]
fn aptpl_is_that_of_the_last_registration() {
    let mut keep = RequestBuilder::register(0, 1);
    keep.parameters.aptpl = true;
    let (kept, _) = keep.run(&Reservations::default(), "a").unwrap();
    assert!(kept.aptpl());
    let (reserved, _) = RequestBuilder::reserve(1, WERO).run(&kept, "a").unwrap();
    assert!(reserved.aptpl());
    let (not_kept, _) = RequestBuilder::register(0, 2).run(&reserved, "b").unwrap();
    assert!(!not_kept.aptpl());
}

#[test]
fn there_is_room_for_so_many_registrations() {
    let state = registered(&[("a", 1), ("b", 2)]);
    let mut third = RequestBuilder::register(0, 3);
    third.room = 2;
    let full = Refusal::illegal(Code::INSUFFICIENT_REGISTRATION_RESOURCES);
    assert_eq!(third.run(&state, "c"), Err(full));
    let mut change = RequestBuilder::register(1, 3);
    change.room = 2;
    assert!(change.run(&state, "a").is_ok());
}

#[test]
fn all_target_ports_registers_with_each_and_changes_no_foreign_key() {
    let mut all = RequestBuilder::register(0, 1);
    all.parameters.all_target_ports = true;
    let (state, _) = all.run(&Reservations::default(), "a").unwrap();
    assert_eq!(state.key_of(&nexus_at("a", 2)), Key::new(1));
    assert!(state.registrations().iter().all(|one| one.all_target_ports));
    let (other, _) = RequestBuilder::register(0, 7)
        .run_at(&Reservations::default(), &nexus_at("a", 2))
        .unwrap();
    assert_eq!(all.run(&other, "a"), Err(Refusal::Conflict));
}

#[test]
fn specified_initiators_are_registered_as_well() {
    let mut some = RequestBuilder::register(0, 1);
    some.parameters.initiators = Some(vec![
        TransportId::Port(port("z")),
        TransportId::Device(port("b").name().to_owned()),
    ]);
    let state = registered(&[("b", 2)]);
    let (next, _) = some.run(&state, "a").unwrap();
    assert_eq!(key_of(&next, "a"), Some(1));
    assert_eq!(key_of(&next, "z"), Some(1));
    assert_eq!(
        key_of(&next, "b"),
        Some(2),
        "whoever is registered keeps the key"
    );
    let mut again = some.clone();
    again.parameters.key = Key::new(1);
    assert_eq!(
        again.run(&next, "a"),
        Err(bad_parameter()),
        "only for the unregistered"
    );
    some.action = OutAction::RegisterAndIgnoreExistingKey;
    assert_eq!(some.run(&state, "a"), Err(bad_parameter()));
    some.action = OutAction::Register;
    some.parameters.initiators = Some(vec![TransportId::Device("iqn.nobody".into())]);
    assert_eq!(some.run(&state, "a"), Err(bad_parameter()));
}

// "Reserving"

#[test]
fn only_a_registrant_with_its_key_reserves() {
    let state = registered(&[("a", 1), ("b", 2)]);
    assert_eq!(
        RequestBuilder::reserve(1, WE).run(&state, "c"),
        Err(Refusal::Conflict)
    );
    assert_eq!(
        RequestBuilder::reserve(2, WE).run(&state, "a"),
        Err(Refusal::Conflict)
    );
    let (reserved, effects) = RequestBuilder::reserve(1, WE).run(&state, "a").unwrap();
    assert_eq!(reserved.generation(), state.generation());
    assert!(effects.attentions.is_empty());
    assert_eq!(
        RequestBuilder::reserve(1, WE)
            .run(&reserved, "a")
            .unwrap()
            .0,
        reserved
    );
    assert_eq!(
        RequestBuilder::reserve(1, WERO).run(&reserved, "a"),
        Err(Refusal::Conflict)
    );
    assert_eq!(
        RequestBuilder::reserve(2, WE).run(&reserved, "b"),
        Err(Refusal::Conflict)
    );
}

#[test]
fn every_registrant_holds_an_all_registrants_reservation() {
    let state = held(WEAR);
    assert!(state.holds(&nexus("b")) && state.holds(&nexus("c")));
    assert!(RequestBuilder::reserve(2, WEAR).run(&state, "b").is_ok());
    assert_eq!(
        RequestBuilder::reserve(2, EAAR).run(&state, "b"),
        Err(Refusal::Conflict)
    );
    let (later, _) = RequestBuilder::register(0, 4).run(&state, "d").unwrap();
    assert!(later.holds(&nexus("d")));
}

// "Releasing"

#[test]
fn a_release_by_another_changes_nothing() {
    let state = held(WERO);
    let release = |key, kind| RequestBuilder::new(OutAction::Release, key, 0).kind(kind);
    assert_eq!(release(2, WERO).run(&state, "b").unwrap().0, state);
    assert_eq!(release(1, WERO).run(&state, "b"), Err(Refusal::Conflict));
    assert_eq!(release(1, WERO).run(&state, "d"), Err(Refusal::Conflict));
    let wrong = Refusal::illegal(Code::INVALID_RELEASE_OF_PERSISTENT_RESERVATION);
    assert_eq!(release(1, WE).run(&state, "a"), Err(wrong));
    let (free, effects) = release(1, WERO).run(&state, "a").unwrap();
    assert_eq!((free.held(), free.generation()), (None, state.generation()));
    let told = [nexus("b"), nexus("c")].map(|nexus| (nexus, Code::RESERVATIONS_RELEASED));
    assert_eq!(effects.attentions, told);
}

#[test]
fn releasing_a_plain_reservation_tells_nobody() {
    let release = RequestBuilder::new(OutAction::Release, 1, 0).kind(WE);
    let (free, effects) = release.run(&held(WE), "a").unwrap();
    assert!(free.held().is_none() && effects.attentions.is_empty());
}

#[test]
fn a_holder_that_unregisters_releases() {
    for (kind, told) in [(WE, 0), (WERO, 2), (EARO, 2)] {
        let (state, effects) = RequestBuilder::register(1, 0)
            .run(&held(kind), "a")
            .unwrap();
        assert_eq!(
            (state.held(), effects.attentions.len()),
            (None, told),
            "{kind}"
        );
        assert!(
            effects
                .attentions
                .iter()
                .all(|(_, code)| *code == Code::RESERVATIONS_RELEASED)
        );
    }
    let (mut state, _) = RequestBuilder::register(1, 0)
        .run(&held(WEAR), "a")
        .unwrap();
    assert!(state.held().is_some(), "others hold it still");
    for name in ["b", "c"] {
        state = RequestBuilder::register(2, 0).run(&state, name).unwrap().0;
    }
    assert_eq!(state.held(), None);
}

// "Clearing"

#[test]
fn clear_removes_everything_and_tells_the_others() {
    let state = held(WERO);
    let clear = RequestBuilder::new(OutAction::Clear, 2, 0);
    assert_eq!(clear.run(&state, "a"), Err(Refusal::Conflict));
    let (empty, effects) = clear.run(&state, "b").unwrap();
    assert!(empty.registrations().is_empty() && empty.held().is_none());
    assert_eq!(empty.generation(), state.generation() + 1);
    let told = [nexus("a"), nexus("c")].map(|nexus| (nexus, Code::RESERVATIONS_PREEMPTED));
    assert_eq!(effects.attentions, told);
}

// "Preempting", "Preempting and aborting"

fn preempt(key: u64, victim: u64) -> RequestBuilder {
    RequestBuilder::new(OutAction::PreemptAndAbort, key, victim).kind(WERO)
}

#[test]
fn preempting_needs_ones_own_key_and_a_victim() {
    let state = held(WERO);
    assert_eq!(preempt(1, 2).run(&state, "d"), Err(Refusal::Conflict));
    assert_eq!(preempt(2, 2).run(&state, "a"), Err(Refusal::Conflict));
    assert_eq!(preempt(1, 9).run(&state, "a"), Err(Refusal::Conflict));
    assert_eq!(preempt(1, 0).run(&state, "a"), Err(bad_parameter()));
    let unreserved = registered(&[("a", 1)]);
    assert_eq!(preempt(1, 0).run(&unreserved, "a"), Err(Refusal::Conflict));
}

#[test]
fn the_holder_removes_others_and_aborts_their_commands() {
    let (state, effects) = preempt(1, 2).run(&held(WERO), "a").unwrap();
    assert_eq!((key_of(&state, "b"), key_of(&state, "c")), (None, None));
    assert!(state.holds(&nexus("a")));
    assert_eq!(names(&effects.abort), ["b", "c"]);
    assert!(
        effects
            .attentions
            .iter()
            .all(|(_, code)| *code == Code::REGISTRATIONS_PREEMPTED)
    );
    assert!(!state.permits(&nexus("b"), scsi::pr::Access::Writes));
    let mut gentle = preempt(1, 2);
    gentle.action = OutAction::Preempt;
    assert!(gentle.run(&held(WERO), "a").unwrap().1.abort.is_empty());
}

#[test]
fn preempting_the_holder_takes_the_reservation_over() {
    let (state, effects) = preempt(2, 1).kind(EARO).run(&held(WERO), "b").unwrap();
    let mine = Held {
        kind: EARO,
        holder: Holder::One(nexus("b")),
    };
    assert_eq!(state.held(), Some(&mine));
    assert_eq!(key_of(&state, "a"), None);
    let told = [
        (nexus("a"), Code::REGISTRATIONS_PREEMPTED),
        (nexus("c"), Code::RESERVATIONS_RELEASED),
    ];
    assert_eq!(
        effects.attentions, told,
        "c hears that the type has changed"
    );
}

#[test]
fn whoever_shares_the_victims_key_goes_too() {
    // b takes key 2 away from everybody, itself included.
    let (state, effects) = preempt(2, 2).run(&held(WERO), "b").unwrap();
    assert_eq!(state.registrations().len(), 1);
    assert_eq!(names(&effects.abort), ["b", "c"]);
    assert_eq!(
        effects.attentions,
        [(nexus("c"), Code::REGISTRATIONS_PREEMPTED)],
        "the issuer is told nothing"
    );
}

#[test]
fn a_holder_that_preempts_its_own_key_stays() {
    let state = registered(&[("a", 1), ("b", 1)]);
    let state = RequestBuilder::reserve(1, WERO).run(&state, "a").unwrap().0;
    let (next, effects) = preempt(1, 1).run(&state, "a").unwrap();
    assert!(next.holds(&nexus("a")));
    assert_eq!(key_of(&next, "b"), None);
    // Its own commands are aborted as well: they come from a nexus with that key.
    assert_eq!(names(&effects.abort), ["a", "b"]);
}

#[test]
fn without_a_reservation_only_registrations_go() {
    let (state, effects) = preempt(1, 2)
        .run(&registered(&[("a", 1), ("b", 2)]), "a")
        .unwrap();
    assert_eq!((state.held(), key_of(&state, "b")), (None, None));
    assert_eq!(names(&effects.abort), ["b"]);
}

#[test]
fn key_zero_preempts_everybody_else_of_an_all_registrants_reservation() {
    let (state, effects) = preempt(2, 0).kind(WE).run(&held(WEAR), "b").unwrap();
    assert_eq!(
        state.held(),
        Some(&Held {
            kind: WE,
            holder: Holder::One(nexus("b"))
        })
    );
    assert_eq!(state.registrations().len(), 1);
    assert_eq!(names(&effects.abort), ["a", "c"]);
    let (state, _) = preempt(1, 2).run(&held(WEAR), "a").unwrap();
    assert_eq!(
        state.held().map(|held| held.kind),
        Some(WEAR),
        "another key takes only registrations"
    );
    let (alone, _) = preempt(1, 1).run(&state, "a").unwrap();
    assert_eq!((alone.held(), alone.registrations().len()), (None, 0));
}

/// A node that has been fenced cannot fence back: its registration is gone, and with it the right to preempt.
#[test]
fn the_fenced_cannot_fence_back() {
    let (state, _) = preempt(1, 2).run(&held(WERO), "a").unwrap();
    assert_eq!(preempt(2, 1).run(&state, "b"), Err(Refusal::Conflict));
    let clear = RequestBuilder::new(OutAction::Clear, 2, 0);
    assert_eq!(clear.run(&state, "b"), Err(Refusal::Conflict));
}

// "Registering and moving the reservation"

fn moved(to: TransportId, unregister: bool) -> RequestBuilder {
    let mut request = RequestBuilder::new(OutAction::RegisterAndMove, 1, 8);
    request.parameters.move_to = Some((to, RelativePort(1), unregister));
    request
}

#[test]
fn only_the_holder_moves_the_reservation() {
    let to = TransportId::Port(port("d"));
    let state = held(WERO);
    let mut by_b = moved(to.clone(), false);
    by_b.parameters.key = Key::new(2);
    assert_eq!(by_b.run(&state, "b"), Err(Refusal::Conflict));
    assert_eq!(
        moved(to.clone(), false).run(&held(WEAR), "a"),
        Err(Refusal::Conflict)
    );
    let (next, _) = moved(to.clone(), false).run(&state, "a").unwrap();
    assert!(next.holds(&nexus("d")) && key_of(&next, "a") == Some(1));
    assert_eq!(key_of(&next, "d"), Some(8));
    let (next, _) = moved(to, true).run(&state, "a").unwrap();
    assert_eq!(key_of(&next, "a"), None);
    for nowhere in [
        TransportId::Port(port("a")),
        TransportId::Device("iqn.x".into()),
    ] {
        assert_eq!(moved(nowhere, false).run(&state, "a"), Err(bad_parameter()));
    }
    let mut keyless = moved(TransportId::Port(port("d")), false);
    keyless.parameters.action_key = None;
    assert_eq!(keyless.run(&state, "a"), Err(bad_parameter()));
    let mut no_port = moved(TransportId::Port(port("d")), false);
    no_port.parameters.move_to = Some((TransportId::Port(port("d")), RelativePort(9), false));
    assert_eq!(no_port.run(&state, "a"), Err(bad_parameter()));
}

#[test]
fn replacing_a_lost_reservation_is_not_supported() {
    let replace = RequestBuilder::new(OutAction::ReplaceLostReservation, 1, 2);
    let invalid = Refusal::illegal(Code::INVALID_FIELD_IN_CDB);
    assert_eq!(replace.run(&held(WERO), "a"), Err(invalid));
}

// "PERSISTENT RESERVE IN command"

#[test]
fn what_is_read_is_what_is() {
    let state = held(WERO);
    let data = |action| state.data(action).unwrap();
    let (generation, keys) = parse_keys(&data(InAction::ReadKeys)).unwrap();
    assert_eq!(generation, 3);
    assert_eq!(keys, [1, 2, 2].map(|key| Key::new(key).unwrap()));
    let (_, reservation) = parse_reservation(&data(InAction::ReadReservation)).unwrap();
    let reservation = reservation.unwrap();
    assert_eq!(
        (reservation.key, reservation.kind()),
        (Key::new(1), Some(WERO))
    );
    let (_, full) = parse_full_status(&data(InAction::ReadFullStatus)).unwrap();
    let holders: Vec<_> = full.iter().map(|one| one.holds).collect();
    assert_eq!(holders, [Some(WERO), None, None]);
    let third = InitiatorId::Iscsi(TransportId::Port(port("c")));
    assert_eq!(full[2].initiator, Ok(third));
    let all = held(WEAR);
    let (_, reservation) =
        parse_reservation(&all.data(InAction::ReadReservation).unwrap()).unwrap();
    assert_eq!(
        reservation.unwrap().key,
        None,
        "all registrants have no one key"
    );
    let (_, full) = parse_full_status(&all.data(InAction::ReadFullStatus).unwrap()).unwrap();
    assert!(full.iter().all(|one| one.holds == Some(WEAR)));
}

// "Preserving persistent reservations and registrations through power loss"

#[test]
fn what_was_kept_is_checked() {
    let state = held(WERO);
    let kept = state.registrations().to_vec();
    let restored = Reservations::restore(kept.clone(), state.held().cloned()).unwrap();
    assert_eq!((restored.generation(), restored.aptpl()), (0, true));
    assert!(restored.holds(&nexus("a")));
    let stranger = Held {
        kind: WERO,
        holder: Holder::One(nexus("d")),
    };
    assert_eq!(
        Reservations::restore(kept.clone(), Some(stranger)),
        Err(RestoreError::Holder)
    );
    let everyone = Held {
        kind: WERO,
        holder: Holder::Everyone,
    };
    assert_eq!(
        Reservations::restore(kept.clone(), Some(everyone)),
        Err(RestoreError::Holder)
    );
    let nobody = Held {
        kind: WEAR,
        holder: Holder::Everyone,
    };
    assert_eq!(
        Reservations::restore(Vec::new(), Some(nobody)),
        Err(RestoreError::Holder)
    );
    let twice: Vec<Registration> = [kept.clone(), kept].concat();
    assert_eq!(
        Reservations::restore(twice, None),
        Err(RestoreError::Twice(nexus("a")))
    );
}
