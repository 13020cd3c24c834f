use super::*;
use crate::ErrorKind;

const SOON: Duration = Duration::from_millis(80);

fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn host(guest: MemoryGuest) -> (MemoryHypervisor, GuestRef) {
    let host = MemoryHypervisor::new("memory");
    let name = GuestRef::Name(guest.name.clone());
    host.add(guest);
    (host, name)
}

#[test]
fn off_and_on_with_evidence_and_events() {
    let (host, vm) = host(MemoryGuest::running("vm1"));
    let events = host.watch();
    let off = host.power_off(&vm, ample()).unwrap();
    assert_eq!(off.evidence.means, Means::Destroyed);
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert!(off.was_active && off.revival.is_none());
    assert_eq!(
        host.power_off(&vm, ample()).unwrap().evidence.means,
        Means::AlreadyOff
    );
    assert_eq!(
        host.power_on(&vm, None, ample()).unwrap().means,
        Means::Started
    );
    assert_eq!(
        host.power_on(&vm, None, ample()).unwrap().means,
        Means::AlreadyOn
    );
    let changes: Vec<_> = events
        .try_iter()
        .filter_map(|event| match event {
            Event::Guest { change, .. } => Some(change),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [Change::Stopped, Change::Started]);
    assert_eq!((host.calls().ended, host.calls().started), (1, 1));
}

#[test]
fn a_transient_guest_vanishes_and_is_revived() {
    let (host, vm) = host(MemoryGuest {
        persistent: false,
        ..MemoryGuest::running("vm1")
    });
    let off = host.power_off(&vm, ample()).unwrap();
    assert_eq!(off.evidence.means, Means::Vanished);
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert_eq!(
        host.observe(&vm, ample()).unwrap_err().kind(),
        ErrorKind::NoSuchGuest
    );
    let refused = host.power_on(&vm, None, ample()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoSuchGuest);
    let on = host.power_on(&vm, off.revival.as_ref(), ample()).unwrap();
    assert_eq!(
        (on.means, on.observation.persistent),
        (Means::Started, false)
    );
    assert_eq!(
        on.observation.guest.uuid,
        off.evidence.observation.guest.uuid
    );
}

#[test]
fn faults_are_told_apart() {
    let (host, vm) = host(MemoryGuest::running("vm1"));
    host.change("vm1", |guest| guest.refuse = Some("backup".to_owned()));
    assert_eq!(
        host.power_off(&vm, ample()).unwrap_err().kind(),
        ErrorKind::Refused
    );
    host.change("vm1", |guest| (guest.refuse, guest.ignore) = (None, true));
    assert_eq!(
        host.power_off(&vm, ample()).unwrap_err().kind(),
        ErrorKind::CannotKnow
    );
    host.set_faults(Faults {
        unreachable: Some("down".to_owned()),
        ..Faults::default()
    });
    assert_eq!(
        host.power_off(&vm, ample()).unwrap_err().kind(),
        ErrorKind::Unreachable
    );
    assert_eq!(
        host.health(ample()).unwrap_err().kind(),
        ErrorKind::Unreachable
    );
    assert!(host.guest("vm1").unwrap().active);
}

#[test]
fn a_saved_image_is_discarded_and_a_migrated_guest_is_not_confirmed() {
    let (host, vm) = host(MemoryGuest {
        resumable: true,
        ..MemoryGuest::shut_off("vm1")
    });
    let off = host.power_off(&vm, ample()).unwrap();
    assert_eq!(off.evidence.means, Means::ImageDiscarded);
    assert!(!off.was_active);
    host.add(MemoryGuest::running("vm1"));
    assert!(host.migrate_away("vm1"));
    assert_eq!(
        host.power_off(&vm, ample()).unwrap_err().kind(),
        ErrorKind::CannotKnow
    );
    assert_eq!(
        host.power_on(&vm, None, ample()).unwrap_err().kind(),
        ErrorKind::CannotKnow
    );
}

/// W6: a hypervisor that answers again after the deadline does not carry the request out then.
#[test]
fn nothing_is_begun_after_the_deadline() {
    let (host, vm) = host(MemoryGuest::running("vm1"));
    host.hang_for(Duration::from_secs(60));
    let begun = Instant::now();
    let error = host.power_off(&vm, Deadline::after(SOON)).unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { acted: false, .. }),
        "{error}"
    );
    assert!(begun.elapsed() >= SOON);
    host.set_faults(Faults::default());
    assert!(host.observe(&vm, ample()).unwrap().active);
    assert_eq!(host.calls().ended, 0);
}

#[test]
fn an_action_begun_in_time_may_end_late_and_says_so() {
    let (host, vm) = host(MemoryGuest::running("vm1"));
    let events = host.watch();
    host.set_faults(Faults {
        slow_action: SOON * 2,
        ..Faults::default()
    });
    let error = host.power_off(&vm, Deadline::after(SOON)).unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { acted: true, .. }),
        "{error}"
    );
    let late = events
        .iter()
        .find(|event| matches!(event, Event::LateCompletion { .. }));
    assert!(late.is_some());
    assert_eq!(host.calls().ended, 1);
}

#[test]
fn a_hang_ends_when_the_fault_is_lifted() {
    let (host, vm) = host(MemoryGuest::running("vm1"));
    host.hang_for(Duration::from_secs(60));
    let waiting = thread::spawn({
        let host = host.clone();
        move || host.observe(&vm, ample())
    });
    while host.calls().observe == 0 {
        thread::yield_now();
    }
    host.set_faults(Faults::default());
    assert!(waiting.join().unwrap().is_ok());
}

#[test]
fn privileges_are_told_from_guests_that_are_not_there() {
    let (host, vm) = host(MemoryGuest::running("vm1"));
    assert!(host.may_switch(Some(&vm), ample()).is_ok());
    assert!(host.may_switch(None, ample()).is_ok());
    let other = GuestRef::parse("other");
    let unknown = host.may_switch(Some(&other), ample()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NoSuchGuest);
    host.set_faults(Faults {
        forbidden: Some("no permit".to_owned()),
        ..Faults::default()
    });
    let refused = host.may_switch(Some(&vm), ample()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let empty = MemoryHypervisor::new("empty");
    let refused = empty.may_switch(None, ample()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(host.log_out(ample()).is_ok());
    assert_eq!((host.calls().may_switch, host.calls().log_out), (4, 1));
}
