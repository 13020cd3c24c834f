//! Against libvirt's test driver, which runs inside this process.

use std::fmt::Write as _;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{Change, GuestState};

fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn uuid(number: usize) -> Uuid {
    Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_0000 + number as u128)
}

/// Guests `vm1`, `vm2` … with the given `test:runstate`, and the directory their file is in.
fn host(states: &[i32]) -> (Libvirt, TempDir) {
    let mut xml = "<node>".to_owned();
    for (number, state) in (1..).zip(states) {
        let uuid = uuid(number);
        write!(
            xml,
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
             <name>vm{number}</name><uuid>{uuid}</uuid><memory>131072</memory><vcpu>1</vcpu>\
             <os><type>hvm</type></os><test:runstate>{state}</test:runstate></domain>"
        )
        .unwrap();
    }
    xml.push_str("</node>");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.xml");
    std::fs::write(&path, xml).unwrap();
    (
        Libvirt::new(&format!("test://{}", path.display())),
        directory,
    )
}

fn vm(number: usize) -> GuestRef {
    GuestRef::Name(format!("vm{number}"))
}

#[test]
fn a_guest_goes_off_and_on_with_evidence() {
    let (host, _directory) = host(&[1]);
    let events = host.watch();
    let running = host.observe(&vm(1), ample()).unwrap();
    assert_eq!(
        (running.state, running.power()),
        (GuestState::Running, Power::On)
    );
    assert!(running.active && running.persistent && !running.resumable);
    assert!(
        running.by.starts_with("test:///") && running.by.contains(" on "),
        "{}",
        running.by
    );

    let off = host.power_off(&vm(1), ample()).unwrap();
    assert_eq!(
        (off.evidence.means, off.was_active),
        (Means::Destroyed, true)
    );
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert_eq!(off.evidence.observation.reason, "destroyed");
    assert!(off.evidence.observation.at > running.at);
    assert_eq!(
        host.observe(&GuestRef::Uuid(uuid(1)), ample())
            .unwrap()
            .power(),
        Power::Off
    );

    let again = host.power_off(&vm(1), ample()).unwrap();
    assert_eq!(
        (again.evidence.means, again.was_active),
        (Means::AlreadyOff, false)
    );
    let on = host.power_on(&vm(1), None, ample()).unwrap();
    assert_eq!(
        (on.means, on.observation.power()),
        (Means::Started, Power::On)
    );
    assert_eq!(
        host.power_on(&vm(1), None, ample()).unwrap().means,
        Means::AlreadyOn
    );

    let expected = [Change::Stopped, Change::Started];
    for change in expected {
        let event = events.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            matches!(&event, Event::Guest { change: seen, .. } if *seen == change),
            "{event:?}"
        );
    }
}

/// W4, I05: unknown is an error of its own, by name and by UUID, and so is a daemon that is not there.
#[test]
fn an_unknown_guest_is_not_off() {
    let (host, _directory) = host(&[5]);
    for wanted in ["nosuch", "", "vm1\0", "VM1", &uuid(9).to_string()] {
        let wanted = GuestRef::parse(wanted);
        for error in [
            host.observe(&wanted, ample()).unwrap_err(),
            host.power_off(&wanted, ample()).unwrap_err(),
            host.power_on(&wanted, None, ample()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NoSuchGuest, "{error}");
        }
    }
}

#[test]
fn a_daemon_that_is_not_there_is_unreachable_and_named() {
    let uri = "test+unix:///default?socket=/nonexistent/socket";
    let absent = Libvirt::new(uri);
    let begun = Instant::now();
    for error in [
        absent.health(ample()).unwrap_err(),
        absent.observe(&vm(1), ample()).unwrap_err(),
        absent.power_off(&vm(1), ample()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let text = error.to_string();
        assert!(
            text.contains(uri) && text.contains("No such file or directory"),
            "{text}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(Libvirt::new("test:///\0").health(ample()).is_err());
    assert!(Libvirt::new("nonsense:///").health(ample()).is_err());
}

#[test]
fn a_name_like_a_uuid_is_looked_up_as_a_uuid_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.xml");
    // The first guest has the second one's UUID for its name.
    let domain = |name: &str, uuid: Uuid| {
        format!(
            "<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>131072</memory>\
             <vcpu>1</vcpu><os><type>hvm</type></os></domain>"
        )
    };
    let victim = uuid(2);
    let guests = domain(&victim.to_string(), uuid(1)) + &domain("vm2", victim);
    std::fs::write(&path, format!("<node>{guests}</node>")).unwrap();
    let host = Libvirt::new(&format!("test://{}", path.display()));
    let seen = host
        .observe(&GuestRef::parse(&victim.to_string()), ample())
        .unwrap();
    assert_eq!(seen.guest.name, "vm2");
}

#[test]
fn a_paused_guest_is_on_and_goes_off() {
    let (host, _directory) = host(&[3]);
    let seen = host.observe(&vm(1), ample()).unwrap();
    assert_eq!((seen.state, seen.power()), (GuestState::Paused, Power::On));
    let off = host.power_off(&vm(1), ample()).unwrap();
    assert_eq!(off.evidence.means, Means::Destroyed);
}

/// What every state of the test driver makes of a power-off: off with evidence, or an error.
#[test]
fn no_state_escapes() {
    let (host, _directory) = host(&[1, 2, 3, 4, 5, 6, 7]);
    for seen in host.list(ample()).unwrap() {
        assert_eq!(
            seen.power() == Power::Off,
            seen.state == GuestState::ShutOff,
            "{seen}"
        );
        let name = GuestRef::Name(seen.guest.name.clone());
        match host.power_off(&name, ample()) {
            Ok(off) => assert_eq!(off.evidence.observation.power(), Power::Off, "{seen}"),
            Err(error) => assert_ne!(
                host.observe(&name, ample()).unwrap().power(),
                Power::Off,
                "{error}"
            ),
        }
    }
}

#[test]
fn a_saved_memory_is_on_until_it_is_discarded() {
    let (host, _directory) = host(&[1]);
    save(&host, "vm1");
    let seen = host.observe(&vm(1), ample()).unwrap();
    assert_eq!(
        (seen.state, seen.resumable, seen.power()),
        (GuestState::ShutOff, true, Power::On)
    );
    assert_eq!(host.list(ample()).unwrap()[0].power(), Power::On);
    let off = host.power_off(&vm(1), ample()).unwrap();
    assert_eq!(
        (off.evidence.means, off.was_active),
        (Means::ImageDiscarded, false)
    );
    assert!(!off.evidence.observation.resumable);
    assert_eq!(
        host.power_on(&vm(1), None, ample()).unwrap().means,
        Means::Started
    );
}

/// Saves the guest's memory through the same connection, as only it knows the guest.
fn save(host: &Libvirt, name: &str) {
    let link = host.links.get(ample()).unwrap();
    let domain =
        virt::domain::Domain::lookup_by_name(link.session().unwrap().connect(), name).unwrap();
    domain.managed_save(0).unwrap();
}

#[test]
fn a_transient_guest_vanishes_and_is_revived() {
    let (host, _directory) = host(&[1]);
    let link = host.links.get(ample()).unwrap();
    let transient =
        virt::domain::Domain::lookup_by_name(link.session().unwrap().connect(), "vm1").unwrap();
    transient.undefine().unwrap();
    assert!(!host.observe(&vm(1), ample()).unwrap().persistent);
    assert!(!host.list(ample()).unwrap()[0].persistent);
    let off = host.power_off(&vm(1), ample()).unwrap();
    assert_eq!(
        (off.evidence.means, off.was_active),
        (Means::Vanished, true)
    );
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert_eq!(
        host.observe(&vm(1), ample()).unwrap_err().kind(),
        ErrorKind::NoSuchGuest
    );

    let revival = off.revival.unwrap();
    let other = host.power_on(&vm(2), Some(&revival), ample()).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Refused);
    let on = host.power_on(&vm(1), Some(&revival), ample()).unwrap();
    assert_eq!(
        (on.means, on.observation.guest.uuid),
        (Means::Started, uuid(1))
    );
    assert!(!on.observation.persistent);
}

#[test]
fn a_list_says_the_same_as_looks() {
    let (host, _directory) = host(&[1, 5, 3, 5, 1]);
    save(&host, "vm5");
    let all = host.list(ample()).unwrap();
    assert_eq!(all.len(), 5);
    for listed in all {
        let looked = host
            .observe(&GuestRef::Uuid(listed.guest.uuid), ample())
            .unwrap();
        assert_eq!(
            Observation {
                at: listed.at,
                ..looked
            },
            listed
        );
    }
}

#[test]
fn a_passed_deadline_switches_nothing() {
    let (host, _directory) = host(&[1]);
    host.health(ample()).unwrap();
    let error = host
        .power_off(&vm(1), Deadline::after(Duration::ZERO))
        .unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { acted: false, .. }),
        "{error}"
    );
    assert!(host.observe(&vm(1), ample()).unwrap().active);
}

/// A call that never comes back: its caller leaves at its deadline, everybody else is served, and an
/// action that ends late is reported.
#[test]
fn a_stuck_call_costs_nobody_else_anything_and_a_late_end_is_reported() {
    let (host, _directory) = host(&[1]);
    let events = host.watch();
    host.health(ample()).unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let guest = Guest {
        name: "vm1".to_owned(),
        uuid: uuid(1),
    };
    let stuck = move |_: &Session<'_>, call: &Call<()>| {
        call.act(&guest).unwrap();
        let _ = released.lock().unwrap().recv();
        Ok(())
    };
    let deadline = Deadline::after(Duration::from_millis(100));
    let error = host
        .ask("testing", deadline, stuck, |_, _, _| {})
        .unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { acted: true, .. }),
        "{error}"
    );
    for _ in 0..20 {
        assert!(
            host.observe(&vm(1), Deadline::after(Duration::from_secs(5)))
                .is_ok()
        );
    }
    assert!(events.try_recv().is_err());
    drop(release);
    let event = events.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(&event, Event::LateCompletion { guest, doing, .. }
            if *guest == vm(1) && doing == "testing"),
        "{event:?}"
    );
}

#[test]
fn a_bug_in_a_call_is_an_error_and_the_worker_survives() {
    let (host, _directory) = host(&[1]);
    for _ in 0..10 {
        let broken = |_: &Session<'_>| -> Result<(), Error> { panic!("a bug, on purpose") };
        let error = host.question("testing", ample(), broken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
    host.health(ample()).unwrap();
}

/// What was seen decides, whatever the answer was.
#[test]
fn judgement_of_an_attempt() {
    let (host, _directory) = host(&[1]);
    let before = host.observe(&vm(1), ample()).unwrap();
    let wanted = vm(1);
    let attempt = |answer: Result<(), &str>, killed| Attempt {
        guest: &wanted,
        before: before.clone(),
        answer: answer.map_err(str::to_owned),
        killed,
    };
    assert!(!attempt(Err("no such domain"), false).is_sure());
    assert!(attempt(Err("not running"), true).is_sure());
    assert_eq!(attempt(Ok(()), true).means(false), Means::Killed);
    assert_eq!(attempt(Ok(()), false).means(true), Means::Vanished);
    assert_eq!(
        attempt(Err("not running"), false).means(false),
        Means::WentOff
    );
    let refused = attempt(Err("backup"), false).contradicted(&before);
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let ignored = attempt(Ok(()), false).contradicted(&before);
    assert_eq!(ignored.kind(), ErrorKind::CannotKnow);
    // A guest that is on in spite of destroy's success is not confirmed; one that is gone without
    // destroy's success neither.
    let gone = attempt(Err("no such domain"), false);
    host.power_off(&wanted, ample()).unwrap();
    assert!(host.confirm(&attempt(Ok(()), false), ample()).is_ok());
    let nobody = Attempt {
        before: Observation {
            guest: Guest {
                name: "x".into(),
                uuid: uuid(9),
            },
            ..before.clone()
        },
        ..gone
    };
    assert_eq!(
        host.confirm(&nobody, ample()).unwrap_err().kind(),
        ErrorKind::CannotKnow
    );
}

/// A guest that may run on another host is not off because it is shut off here, nor because it is gone.
#[test]
fn a_guest_that_may_run_elsewhere_is_not_confirmed() {
    let (host, _directory) = host(&[1, 1]);
    let link = host.links.get(ample()).unwrap();
    let transient = virt::domain::Domain::lookup_by_name(link.session().unwrap().connect(), "vm2");
    transient.unwrap().undefine().unwrap();
    for number in [1, 2] {
        host.links.doubts().raise(uuid(number));
        let error = host.power_off(&vm(number), ample()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
        assert!(
            error.to_string().contains("another host may run it"),
            "{error}"
        );
    }
    // It was ended here all the same, and stays in doubt for everybody who asks.
    let seen = host.observe(&vm(1), ample()).unwrap();
    assert_eq!((seen.active, seen.power()), (false, Power::Unknown));
    assert_eq!(host.list(ample()).unwrap()[0].power(), Power::Unknown);
    assert_eq!(
        host.power_off(&vm(1), ample()).unwrap_err().kind(),
        ErrorKind::CannotKnow
    );
    assert_eq!(
        host.power_on(&vm(1), None, ample()).unwrap_err().kind(),
        ErrorKind::CannotKnow
    );
    // Started by somebody who knows that it runs nowhere else.
    let events = host.watch();
    let domain = virt::domain::Domain::lookup_by_name(link.session().unwrap().connect(), "vm1");
    domain.unwrap().create().unwrap();
    events.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(
        host.power_off(&vm(1), ample()).unwrap().evidence.means,
        Means::Destroyed
    );
}

/// An order to start a guest that outlives its caller: until it has ended, "shut off" is not off. It
/// would be started after its power-off had been confirmed.
#[test]
fn a_guest_with_an_order_to_start_it_is_not_off() {
    let (host, _directory) = host(&[5]);
    assert_eq!(host.observe(&vm(1), ample()).unwrap().power(), Power::Off);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let stuck = move |session: &Session<'_>, call: &Call<()>| {
        let (domain, seen) = look::look(session, &vm(1))?;
        let _starting = session.doubts().starting(seen.guest.uuid);
        call.act(&seen.guest).unwrap();
        let _ = released.lock().unwrap().recv();
        domain.create().unwrap();
        Ok(())
    };
    let soon = || Deadline::after(Duration::from_millis(300));
    let error = host
        .ask("starting", soon(), stuck, |_, _, _| {})
        .unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { acted: true, .. }),
        "{error}"
    );
    let seen = host.observe(&vm(1), ample()).unwrap();
    assert_eq!((seen.active, seen.power()), (false, Power::Unknown));
    assert_eq!(host.list(ample()).unwrap()[0].power(), Power::Unknown);
    let error = host.power_off(&vm(1), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow, "{error}");
    // A power-off with time to wait ends what was started meanwhile.
    let off = thread::scope(|scope| {
        let off = scope.spawn(|| host.power_off(&vm(1), ample()));
        thread::sleep(Duration::from_millis(300));
        assert!(!off.is_finished());
        drop(release);
        off.join().unwrap()
    });
    assert_eq!(off.unwrap().evidence.means, Means::Destroyed);
}
