use hypervisor::memory::{Faults, MemoryGuest, MemoryHypervisor, MemoryPlatform};

use super::*;

fn platform() -> (MemoryHypervisor, MemoryPlatform) {
    let guests = MemoryHypervisor::new("memory");
    guests.add(MemoryGuest::running("vm1"));
    let platform = MemoryPlatform::new(&guests);
    (guests, platform)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn look(session: &dyn Hypervisor) -> Result<Observation, Error> {
    session.observe(&GuestRef::parse("vm1"), soon())
}

#[tokio::test]
async fn one_session_for_everybody_which_ends_with_the_last_one() {
    let (_, platform) = platform();
    let mut sessions = Sessions::default();
    let session = sessions.begin(Arc::new(platform.clone()));
    let another = Arc::clone(&session);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..25).for_each(|_| drop(look(&*session).unwrap())));
        }
    });
    platform.expire();
    look(&*session).unwrap();
    let ended = sessions.ended();
    drop(session);
    assert_eq!(platform.logins().ended, 0);
    drop(another);
    ended.await;
    let logins = platform.logins();
    assert_eq!(
        (logins.tried, logins.made, logins.ended, logins.open),
        (2, 2, 1, false)
    );
}

#[tokio::test]
async fn a_platform_that_is_gone_holds_nobody_up_at_the_end() {
    let (guests, platform) = platform();
    let mut sessions = Sessions::default();
    let session = sessions.begin(Arc::new(platform.clone()));
    look(&*session).unwrap();
    guests.set_faults(Faults {
        unreachable: Some("pulled out".to_owned()),
        ..Faults::default()
    });
    let ended = sessions.ended();
    drop(session);
    ended.await;
    assert_eq!(platform.logins().ended, 0);
}

#[test]
fn a_refused_login_is_not_tried_for_every_guest() {
    let (_, platform) = platform();
    platform.refuse_logins(Some("wrong password"));
    let session = Sessions::default().begin(Arc::new(platform.clone()));
    for _ in 0..200 {
        let error = look(&*session).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("wrong password"), "{error}");
    }
    assert!(
        look(&*session)
            .unwrap_err()
            .to_string()
            .contains("a reload tries at once")
    );
    assert_eq!(platform.logins().tried, 1);
}

/// Many at once count as one; the pause grows with each refusal after it, and ends with the first answer.
#[test]
fn pauses_grow_and_end() {
    let (_, platform) = platform();
    let mut sessions = Sessions::default();
    let session = sessions.make(Arc::new(platform), mpsc::channel().0);
    let wrong = Error::LoginRefused {
        by: "x".to_owned(),
        detail: "wrong password".to_owned(),
    };
    let forbidden = Error::Refused {
        by: "x".to_owned(),
        guest: String::new(),
        detail: "no privilege".to_owned(),
    };
    let pause = || {
        session
            .state()
            .refused
            .as_ref()
            .map(|refused| refused.pause.as_secs())
    };
    let mut now = Instant::now();
    for wanted in [15, 30, 60, 120, 240, 300, 300] {
        session.learn(Some(&wrong), now);
        session.learn(Some(&wrong), now + Duration::from_secs(1));
        assert_eq!(pause(), Some(wanted));
        now += Duration::from_secs(wanted + 2);
    }
    assert!(session.admit(soon()).is_err());
    session.learn(
        Some(&Error::Unreachable {
            by: "x".to_owned(),
            detail: "no".to_owned(),
        }),
        now,
    );
    assert!(session.admit(soon()).is_err());
    session.learn(Some(&forbidden), now);
    assert_eq!(pause(), None);
    assert!(session.admit(soon()).unwrap().is_none());
}

#[test]
fn the_first_call_logs_in_for_all_and_a_hanging_one_holds_nobody() {
    let (guests, platform) = platform();
    platform.refuse_logins(Some("wrong password"));
    let session = Sessions::default().begin(Arc::new(platform.clone()));
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| look(&*session).unwrap_err());
        }
    });
    assert_eq!(platform.logins().tried, 1);

    platform.refuse_logins(None);
    let session = Sessions::default().begin(Arc::new(platform));
    guests.hang_for(Duration::from_millis(3500));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| look(&*session).unwrap());
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn health_needs_the_right_to_switch() {
    let (guests, platform) = platform();
    let session = Sessions::default().begin(Arc::new(platform.clone()));
    for _ in 0..200 {
        session.health(soon()).unwrap();
    }
    assert_eq!(guests.calls().may_switch, 1);
    guests.set_faults(Faults {
        forbidden: Some("no role".to_owned()),
        ..Faults::default()
    });
    let session = Sessions::default().begin(Arc::new(platform));
    for _ in 0..200 {
        let error = session.health(soon()).unwrap_err();
        assert!(error.to_string().contains("no role"), "{error}");
        // Not to be taken for a refused login: looking is allowed.
        look(&*session).unwrap();
    }
    assert_eq!(guests.calls().may_switch, 2);
}

#[test]
fn guests_that_are_found_by_name_only_are_called_by_it() {
    let (guests, platform) = platform();
    let session = Sessions::default().begin_by_name(Arc::new(platform));
    guests.change("vm1", |guest| guest.uuid = Uuid::from_u128(1));
    let seen = look(&*session).unwrap();
    let uuid = GuestRef::Uuid(seen.guest.uuid);
    // The name has passed to another guest.
    guests.change("vm1", |guest| guest.uuid = Uuid::from_u128(7));
    let error = session.power_off(&uuid, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    assert_eq!(guests.calls().ended, 0);
    guests.change("vm1", |guest| guest.uuid = Uuid::from_u128(1));
    session.power_off(&uuid, soon()).unwrap();
    let stranger = session.observe(&GuestRef::Uuid(Uuid::from_u128(9)), soon());
    assert!(
        matches!(stranger, Err(Error::NoSuchGuest { .. })),
        "{stranger:?}"
    );
}

/// Copies have the UUID of the original, and old servers tell none.
#[test]
fn guests_that_share_a_uuid_are_told_apart_by_their_names() {
    for shared in [Uuid::nil(), Uuid::from_u128(5)] {
        let guests = MemoryHypervisor::new("platform");
        for name in ["vm1", "vm2"] {
            guests.add(MemoryGuest::running(name));
            guests.change(name, |guest| guest.uuid = shared);
        }
        let platform = MemoryPlatform::new(&guests);
        let session = Sessions::default().begin_by_name(Arc::new(platform));
        let look = |name| session.observe(&GuestRef::Name(name), soon()).unwrap();
        let [first, second] = ["vm1", "vm2"].map(|name| look(name.to_owned()));
        assert_ne!(first.guest.uuid, second.guest.uuid);
        session
            .power_off(&GuestRef::Uuid(first.guest.uuid), soon())
            .unwrap();
        assert_eq!(look("vm1".to_owned()).power(), hypervisor::Power::Off);
        assert_eq!(look("vm2".to_owned()).power(), hypervisor::Power::On);
        // The platform's own UUID leads to nobody.
        let stranger = session.observe(&GuestRef::Uuid(Uuid::from_u128(5)), soon());
        assert!(stranger.is_err() || !shared.is_nil(), "{stranger:?}");
    }
}

/// Nobody knows what became of a guest whose name is gone.
#[test]
fn a_guest_that_was_renamed_is_not_one_that_does_not_exist() {
    let (guests, platform) = platform();
    let session = Sessions::default().begin_by_name(Arc::new(platform));
    let uuid = GuestRef::Uuid(look(&*session).unwrap().guest.uuid);
    guests.change("vm1", |guest| "vm9".clone_into(&mut guest.name));
    let error = session.observe(&uuid, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
}

#[test]
fn who_reloads_is_not_made_to_wait_for_a_refused_login() {
    let (_, platform) = platform();
    platform.refuse_logins(Some("locked"));
    let mut sessions = Sessions::default();
    let session = sessions.make(Arc::new(platform.clone()), mpsc::channel().0);
    look(&session).unwrap_err();
    platform.refuse_logins(None);
    look(&session).unwrap_err();
    session.afresh();
    look(&session).unwrap();
}

#[tokio::test]
async fn an_idle_session_is_used() {
    let (guests, platform) = platform();
    let mut sessions = Sessions::default();
    let session = sessions.begin_with(Arc::new(platform.clone()), Duration::from_millis(20), None);
    look(&*session).unwrap();
    let latest = soon();
    while guests.calls().health < 3 {
        assert!(!latest.has_passed(), "{:?}", guests.calls());
        thread::sleep(Duration::from_millis(5));
    }
    let ended = sessions.ended();
    drop(session);
    ended.await;
    let calls = guests.calls().health;
    thread::sleep(Duration::from_millis(100));
    assert_eq!(guests.calls().health, calls);
}
