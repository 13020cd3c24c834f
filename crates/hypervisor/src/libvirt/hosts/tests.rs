use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{ErrorKind, GuestState};

fn seen(uuid: u128, state: GuestState, reason: &str) -> Observation {
    Observation {
        guest: Guest {
            name: "vm".to_owned(),
            uuid: Uuid::from_u128(uuid),
        },
        state,
        reason: reason.to_owned(),
        active: state != GuestState::ShutOff,
        persistent: true,
        resumable: false,
        by: "test".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn running() -> Answer {
    Ok((seen(1, GuestState::Running, "booted"), Job::Still))
}

fn off(reason: &str) -> Answer {
    Ok((seen(1, GuestState::ShutOff, reason), Job::Still))
}

fn stranger() -> Answer {
    Err(Error::NoSuchGuest {
        guest: wanted(),
        by: "test".to_owned(),
    })
}

fn silent() -> Answer {
    Err(Error::Unreachable {
        by: "test".to_owned(),
        detail: "no route".to_owned(),
    })
}

fn wanted() -> GuestRef {
    GuestRef::Name("vm".to_owned())
}

/// The host, or what kind of error.
fn judged(answers: Vec<Answer>) -> Result<Option<String>, ErrorKind> {
    let named: Vec<_> = ["h1", "h2", "h3"].into_iter().zip(answers).collect();
    judge("hosts", &wanted(), &named)
        .map(|found| found.host)
        .map_err(|error| error.kind())
}

#[test]
fn one_host_has_it_and_nothing_moves_it() {
    let on = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(judged(vec![stranger(), running()]), on("h2"));
    assert_eq!(judged(vec![off("destroyed"), running()]), on("h2"));
    // Where it runs is seen, whoever else is silent.
    assert_eq!(judged(vec![running(), silent()]), on("h1"));
    assert_eq!(judged(vec![off("migrated"), running()]), on("h2"));
    let paused = Ok((seen(1, GuestState::Paused, "by user"), Job::Busy));
    assert_eq!(judged(vec![stranger(), paused]), on("h2"));
}

#[test]
fn a_guest_on_its_way_is_nowhere_for_sure() {
    let leaving = || Ok((seen(1, GuestState::Running, "booted"), Job::Moving));
    let arriving = || Ok((seen(1, GuestState::Paused, "migrating"), Job::Moving));
    for answers in [
        vec![leaving(), stranger()],
        vec![leaving(), arriving()],
        vec![silent(), arriving()],
        vec![running(), running()],
        vec![off("migrated"), stranger()],
        vec![off("an order to start it is under way"), stranger()],
    ] {
        assert_eq!(judged(answers), Err(ErrorKind::CannotKnow));
    }
}

#[test]
fn nowhere_needs_everybodys_answer() {
    assert_eq!(judged(vec![off("shut down"), stranger()]), Ok(None));
    assert_eq!(
        judged(vec![off("shut down"), silent()]),
        Err(ErrorKind::CannotKnow)
    );
    assert_eq!(
        judged(vec![stranger(), silent()]),
        Err(ErrorKind::CannotKnow)
    );
    assert_eq!(
        judged(vec![silent(), silent()]),
        Err(ErrorKind::Unreachable)
    );
    assert_eq!(judged(vec![silent()]), Err(ErrorKind::Unreachable));
    assert_eq!(
        judged(vec![stranger(), stranger()]),
        Err(ErrorKind::NoSuchGuest)
    );
}

#[test]
fn one_name_for_two_guests_is_no_answer() {
    let other = Ok((seen(2, GuestState::ShutOff, "shut down"), Job::Still));
    assert_eq!(judged(vec![running(), other]), Err(ErrorKind::CannotKnow));
}

fn test_driver(dir: &tempfile::TempDir, name: &str, guests: &str) -> (String, String) {
    let path = dir.path().join(format!("{name}.xml"));
    std::fs::write(&path, format!("<node>{guests}</node>")).unwrap();
    (name.to_owned(), format!("test://{}", path.display()))
}

const VM1: &str = "<domain type='test'><name>vm1</name>\
    <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid><memory>1024</memory>\
    <os><type>hvm</type></os></domain>";

fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

#[test]
fn real_libvirt_says_which_host_runs_a_guest() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts::new([test_driver(&dir, "h1", ""), test_driver(&dir, "h2", VM1)]);
    let vm1 = GuestRef::Name("vm1".to_owned());
    let found = hosts.whereabouts(&vm1, ample()).unwrap();
    assert_eq!(found.host.unwrap().name, "h2");
    assert!(!found.moves_by_itself && found.pinned_to.is_empty());
    let stranger = GuestRef::Name("vm9".to_owned());
    let error = hosts.whereabouts(&stranger, ample()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchGuest);
    let known = hosts.hosts(ample()).unwrap();
    assert!(known.iter().all(|host| host.usable));
    let names: Vec<&str> = known.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["h1", "h2"]);
}

#[test]
fn a_host_that_is_not_there_is_not_usable_and_leaves_open_what_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let gone = (
        "h3".to_owned(),
        "test+unix:///default?socket=/nonexistent/socket".to_owned(),
    );
    let hosts = Hosts::new([test_driver(&dir, "h2", VM1), gone]);
    let known = hosts.hosts(ample()).unwrap();
    assert_eq!(
        known.iter().map(|host| host.usable).collect::<Vec<_>>(),
        [true, false]
    );
    let vm1 = GuestRef::Name("vm1".to_owned());
    assert!(hosts.whereabouts(&vm1, ample()).unwrap().host.is_some());
    let stranger = GuestRef::Name("vm9".to_owned());
    let error = hosts.whereabouts(&stranger, ample()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotKnow);
    let error = hosts.migrate(&vm1, "h3", ample()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let error = hosts.migrate(&vm1, "h7", ample()).unwrap_err();
    assert!(
        error.to_string().contains("the hosts are h2, h3"),
        "{error}"
    );
}

/// The test driver cannot migrate: the guest stays where it was, and the refusal is libvirt's.
#[test]
fn a_migration_that_is_refused_leaves_the_guest_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts::new([test_driver(&dir, "h1", ""), test_driver(&dir, "h2", VM1)]);
    let vm1 = GuestRef::Name("vm1".to_owned());
    let error = hosts.migrate(&vm1, "h1", ample()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let found = hosts.migrate(&vm1, "h2", ample()).unwrap();
    assert_eq!(found.host.unwrap().name, "h2", "it is there already");
    let stays = hosts.pin(&vm1, &["h1".to_owned()], ample()).unwrap_err();
    assert_eq!(stays.kind(), ErrorKind::Refused);
    let rules = hosts.rules(&[vm1], ample()).unwrap_err();
    assert_eq!(rules.kind(), ErrorKind::Refused);
}
