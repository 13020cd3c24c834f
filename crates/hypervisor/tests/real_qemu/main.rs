//! The libvirt implementation against a real libvirtd and real QEMU processes.
//!
//! Everything lives in namespaces of its own (see `host`) and is gone when this process is, however it
//! ends. The guests have no disk: they run the firmware, under TCG.
//!
//! Needs root and the packages libvirt-daemon-system, libvirt-clients and qemu-system-x86; says so and
//! does nothing otherwise.
#![cfg(all(feature = "libvirt", target_os = "linux"))]

mod host;

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use host::Host;
use hypervisor::libvirt::Libvirt;
use hypervisor::{
    Change, Deadline, Error, ErrorKind, Event, GuestRef, GuestState, Hypervisor, Means, Power,
};

/// A hung guest has to be off within this.
const HUNG: Duration = Duration::from_millis(1700);

fn within(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

fn name(name: &str) -> GuestRef {
    GuestRef::Name(name.to_owned())
}

/// The next event that `wanted` accepts.
fn wait_for(events: &Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    let deadline = within(30);
    let mut others = Vec::new();
    loop {
        match events.recv_timeout(deadline.remaining()) {
            Ok(event) if wanted(&event) => return event,
            Ok(event) => others.push(event),
            Err(error) => panic!("the wanted event did not come ({error}), but {others:#?}"),
        }
    }
}

fn is_change(event: &Event, name: &str, wanted: Change) -> bool {
    matches!(event, Event::Guest { guest, change, .. } if guest.name == name && *change == wanted)
}

#[test]
fn a_running_guest_goes_off_and_on() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let events = libvirt.watch();
    let vm = host.start("plain");
    let seen = libvirt.observe(&vm, within(20)).unwrap();
    assert_eq!((seen.state, seen.power()), (GuestState::Running, Power::On));
    assert!(
        libvirt
            .list(within(20))
            .unwrap()
            .contains(&hypervisor::Observation {
                at: libvirt.list(within(20)).unwrap()[0].at,
                ..seen.clone()
            })
            || seen.active
    );

    let off = libvirt.power_off(&vm, within(20)).unwrap();
    println!("running guest: {}", off.evidence);
    assert_eq!(
        (off.evidence.means, off.was_active),
        (Means::Destroyed, true)
    );
    assert!(!host.qemu_runs("plain"));
    wait_for(&events, |event| is_change(event, "plain", Change::Stopped));

    let on = libvirt.power_on(&vm, None, within(20)).unwrap();
    assert_eq!(on.means, Means::Started);
    assert!(host.qemu_runs("plain"));
    wait_for(&events, |event| is_change(event, "plain", Change::Started));
    libvirt.power_off(&vm, within(20)).unwrap();
}

#[test]
fn a_list_agrees_with_looks() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    host.start("listed1");
    host.start_transient("listed2");
    let saved = host.start("listed3");
    host.virsh(&["managedsave", "listed3"]);
    let listed = libvirt.list(within(20)).unwrap();
    for seen in &listed {
        let looked = libvirt
            .observe(&GuestRef::Uuid(seen.guest.uuid), within(20))
            .unwrap();
        assert_eq!(
            hypervisor::Observation {
                at: seen.at,
                ..looked
            },
            *seen
        );
    }
    let find = |wanted: &str| {
        listed
            .iter()
            .find(|seen| seen.guest.name == wanted)
            .unwrap()
    };
    assert_eq!(find("listed1").power(), Power::On);
    assert!(find("listed1").persistent && !find("listed2").persistent);
    assert!(find("listed3").resumable);
    for vm in [name("listed1"), name("listed2"), saved] {
        libvirt.power_off(&vm, within(20)).unwrap();
    }
}

/// A QEMU that does not handle SIGTERM: libvirt alone takes ten seconds.
#[test]
fn a_hung_guest_is_killed_in_time_and_others_do_not_wait() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let (vm, other) = (host.start("hung"), host.start("neighbour"));
    libvirt.health(within(20)).unwrap();
    host.stop_qemu("hung");
    let begun = Instant::now();
    let (off, slowest) = std::thread::scope(|scope| {
        let off = scope.spawn(|| libvirt.power_off(&vm, within(20)));
        let mut slowest = Duration::ZERO;
        while !off.is_finished() {
            let asked = Instant::now();
            assert!(libvirt.observe(&other, within(20)).unwrap().active);
            slowest = slowest.max(asked.elapsed());
        }
        (off.join().unwrap().unwrap(), slowest)
    });
    let took = begun.elapsed();
    println!(
        "hung guest: {}; slowest look at its neighbour: {slowest:?}",
        off.evidence
    );
    assert_eq!(off.evidence.means, Means::Killed);
    assert_eq!(off.evidence.observation.power(), Power::Off);
    assert!(!host.qemu_runs("hung"));
    assert!(took < HUNG, "{took:?}");
    assert!(slowest < took / 2, "{slowest:?} of {took:?}");
    libvirt.power_off(&other, within(20)).unwrap();
}

#[test]
fn a_paused_guest_goes_off() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let vm = host.start("paused");
    host.virsh(&["suspend", "paused"]);
    let seen = libvirt.observe(&vm, within(20)).unwrap();
    assert_eq!(
        (seen.state, seen.reason.as_str()),
        (GuestState::Paused, "by user")
    );
    assert_eq!(seen.power(), Power::On);
    let off = libvirt.power_off(&vm, within(20)).unwrap();
    assert_eq!(off.evidence.means, Means::Destroyed);
}

#[test]
fn a_transient_guest_vanishes_and_is_revived() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let vm = host.start_transient("transient");
    let off = libvirt.power_off(&vm, within(20)).unwrap();
    assert_eq!(off.evidence.means, Means::Vanished);
    assert!(!host.qemu_runs("transient"));
    assert_eq!(
        libvirt.observe(&vm, within(20)).unwrap_err().kind(),
        ErrorKind::NoSuchGuest
    );
    let on = libvirt
        .power_on(&vm, off.revival.as_ref(), within(20))
        .unwrap();
    assert_eq!(
        (on.means, on.observation.persistent),
        (Means::Started, false)
    );
    assert_eq!(on.observation.guest, off.evidence.observation.guest);

    host.stop_qemu("transient");
    let off = libvirt.power_off(&vm, within(20)).unwrap();
    assert_eq!(off.evidence.means, Means::Killed);
    assert!(off.evidence.took < HUNG, "{:?}", off.evidence.took);
    assert!(!host.qemu_runs("transient"));
}

#[test]
fn a_saved_memory_is_never_resumed() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let vm = host.start("saved");
    host.virsh(&["managedsave", "saved"]);
    let seen = libvirt.observe(&vm, within(20)).unwrap();
    assert_eq!((seen.state, seen.resumable), (GuestState::ShutOff, true));
    assert_eq!(seen.power(), Power::On);
    let off = libvirt.power_off(&vm, within(20)).unwrap();
    assert_eq!(
        (off.evidence.means, off.was_active),
        (Means::ImageDiscarded, false)
    );
    assert_eq!(
        libvirt.observe(&vm, within(20)).unwrap().power(),
        Power::Off
    );

    libvirt.power_on(&vm, None, within(20)).unwrap();
    host.virsh(&["managedsave", "saved"]);
    let on = libvirt.power_on(&vm, None, within(20)).unwrap();
    assert_eq!(
        (on.means, on.observation.reason.as_str()),
        (Means::Started, "booted")
    );
    libvirt.power_off(&vm, within(20)).unwrap();
}

/// W6, I26: libvirtd is stalled, the caller gives up, libvirtd goes on: nothing may happen then.
#[test]
fn a_request_that_was_given_up_is_not_carried_out_later() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let vm = host.start("spared");
    libvirt.health(within(20)).unwrap();
    for connected in [true, false] {
        let fresh = Libvirt::new(host.uri());
        let asked = if connected { &libvirt } else { &fresh };
        host.stop_libvirtd();
        let begun = Instant::now();
        let error = asked.power_off(&vm, within(1)).unwrap_err();
        let took = begun.elapsed();
        println!("stalled libvirtd, connected before: {connected}: {error}");
        assert!(
            matches!(error, Error::DeadlinePassed { acted: false, .. }),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(2),
            "{took:?}"
        );
        std::thread::sleep(Duration::from_secs(3).saturating_sub(took));
        host.continue_libvirtd();
        libvirt.health(within(20)).unwrap();
        // What was queued in the daemon has been answered before this is.
        for _ in 0..20 {
            assert!(libvirt.observe(&vm, within(20)).unwrap().active);
        }
        assert!(host.qemu_runs("spared"));
    }
    libvirt.power_off(&vm, within(20)).unwrap();
}

/// An action that was handed over in time cannot be taken back: the caller hears that it may still
/// take effect, and everybody hears when it has.
#[test]
fn an_action_that_ends_late_is_reported() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let vm = host.start("late");
    let events = libvirt.watch();
    libvirt.health(within(20)).unwrap();
    host.stop_qemu("late");
    let error = libvirt
        .power_off(&vm, Deadline::after(Duration::from_millis(250)))
        .unwrap_err();
    assert!(
        matches!(error, Error::DeadlinePassed { acted: true, .. }),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::CannotKnow);
    let late = wait_for(&events, |event| {
        matches!(event, Event::LateCompletion { .. })
    });
    println!("{late:?}");
    assert!(matches!(late, Event::LateCompletion { guest, .. } if guest == vm));
    assert_eq!(
        libvirt.observe(&vm, within(20)).unwrap().power(),
        Power::Off
    );
}

#[test]
fn a_restarted_libvirtd_is_found_again() {
    let Some(host) = Host::get() else { return };
    let libvirt = Libvirt::new(host.uri());
    let vm = host.start("survivor");
    let events = libvirt.watch();
    libvirt.health(within(20)).unwrap();
    host.kill_libvirtd();
    wait_for(&events, |event| {
        matches!(event, Event::ConnectionLost { .. })
    });
    let begun = Instant::now();
    let error = libvirt.observe(&vm, within(20)).unwrap_err();
    println!("dead libvirtd: {error}");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(begun.elapsed() < Duration::from_secs(5));
    host.start_libvirtd();
    wait_for(&events, |event| {
        matches!(event, Event::ConnectionBack { .. })
    });
    assert!(libvirt.observe(&vm, within(20)).unwrap().active);
    let off = libvirt.power_off(&vm, within(20)).unwrap();
    println!("restarted libvirtd: {}, {}", off.evidence, off.was_active);
    assert!(!host.qemu_runs("survivor"));
    // A daemon that is still finding its guests may lose this one to the signal it sends itself, and
    // then tells nobody that it has stopped.
    match off.evidence.means {
        Means::Destroyed => {
            wait_for(&events, |event| {
                is_change(event, "survivor", Change::Stopped)
            });
        }
        means => assert_eq!(means, Means::WentOff),
    }

    // Killed between two calls, with no time to notice: the next call finds the new daemon.
    host.kill_libvirtd();
    host.start_libvirtd();
    assert_eq!(
        libvirt.observe(&vm, within(20)).unwrap().power(),
        Power::Off
    );
}
