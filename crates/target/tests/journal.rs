//! The journal on a real file system: killed in the midst of updates, kept from others, given up by an administrator.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use scsi::pr::{InitiatorPort, Key, Nexus, Registration, RelativePort, Reservations};
use target::journal::{Damage, Identity, Journal, JournalError};

fn identity() -> Identity {
    Identity::new("naa.3000000000000001").unwrap()
}

/// A state that tells its number: every key is it, and there are more or fewer of them.
fn state(number: u64) -> Reservations {
    let registrations = (0..=number % 40).map(|at| Registration {
        nexus: Nexus {
            initiator: InitiatorPort::new(&format!("iqn.2026-11.example:n{at}"), [0; 6]).unwrap(),
            port: RelativePort(1),
        },
        key: Key::new(number).unwrap(),
        all_target_ports: false,
    });
    Reservations::restore(registrations.collect(), None).unwrap()
}

fn number(state: &Reservations) -> u64 {
    state.registrations().first().map_or(0, |one| one.key.get())
}

/// A process that is being started holds copies of all open files, and so of every lock, until its program begins.
static STARTS: RwLock<()> = RwLock::new(());

/// Nobody starts a process meanwhile: what is closed is free at once.
fn nobody_starts() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Names the directory for the child of the test below, and makes this test do something.
const STORM: &str = "PICKET_TEST_JOURNAL_STORM";

/// Not a test by itself: updates the journal and says so, until it is killed.
#[test]
fn a_storm_of_updates() {
    let Some(directory) = env::var_os(STORM) else {
        return;
    };
    let (mut journal, found) = Journal::open(Path::new(&directory), &identity()).unwrap();
    let mut said = std::io::stderr();
    for next in number(&found) + 1.. {
        journal.store(&state(next)).unwrap();
        if writeln!(said, "{next}").is_err() {
            return;
        }
    }
}

#[test]
fn killed_in_a_storm_it_has_what_was_acknowledged_or_what_was_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..20_u64 {
        let starts = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_storm_of_updates", "--nocapture"])
            .env(STORM, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(starts);
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        // Once it is at work, it may go on for a few updates.
        let first = said.next().unwrap().unwrap();
        thread::sleep(Duration::from_micros(round * 1700));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = said.map_while(Result::ok).last().unwrap_or(first);
        let acknowledged: u64 = acknowledged.parse().unwrap();
        let (_, found) = Journal::open(directory.path(), &identity()).unwrap();
        let found_number = number(&found);
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found_number),
            "{acknowledged} was acknowledged, {found_number} is kept"
        );
        assert_eq!(found, state(found_number));
        assert!(acknowledged > last);
        last = found_number;
    }
}

#[test]
fn it_survives_being_opened_again_and_is_private() {
    let _nobody = nobody_starts();
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, found) = Journal::open(directory.path(), &identity()).unwrap();
    assert_eq!(found, Reservations::default());
    journal.store(&state(12)).unwrap();
    drop(journal);
    assert_eq!(
        Journal::open(directory.path(), &identity()).unwrap().1,
        state(12)
    );
    let file = directory.path().join("naa.3000000000000001.reservations");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // APTPL was switched off: nothing is kept.
    let (mut journal, _) = Journal::open(directory.path(), &identity()).unwrap();
    journal.store(&Reservations::default()).unwrap();
    drop(journal);
    let (_, found) = Journal::open(directory.path(), &identity()).unwrap();
    assert_eq!(found, Reservations::default());
}

#[test]
fn only_one_program_keeps_it() {
    let _nobody = nobody_starts();
    let directory = tempfile::tempdir().unwrap();
    let open = Journal::open(directory.path(), &identity()).unwrap();
    let second = Journal::open(directory.path(), &identity());
    assert!(matches!(second, Err(JournalError::InUse { .. })));
    let discarded = Journal::discard(directory.path(), &identity());
    assert!(matches!(discarded, Err(JournalError::InUse { .. })));
    let other = Identity::new("naa.3000000000000002").unwrap();
    Journal::open(directory.path(), &other).unwrap();
    drop(open);
    Journal::open(directory.path(), &identity()).unwrap();
}

#[test]
fn a_damaged_one_stays_closed_until_an_administrator_gives_it_up() {
    let _nobody = nobody_starts();
    let directory = tempfile::tempdir().unwrap();
    Journal::open(directory.path(), &identity())
        .unwrap()
        .0
        .store(&state(5))
        .unwrap();
    let file = directory.path().join("naa.3000000000000001.reservations");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    for _ in 0..2 {
        match Journal::open(directory.path(), &identity()) {
            Err(JournalError::Damaged { path, source }) => {
                assert_eq!((path, source), (file.clone(), Damage::Torn));
            }
            other => panic!("{other:?}"),
        }
    }
    let aside = Journal::discard(directory.path(), &identity())
        .unwrap()
        .unwrap();
    assert_eq!(std::fs::read(aside).unwrap(), bytes);
    let (_, found) = Journal::open(directory.path(), &identity()).unwrap();
    assert_eq!(found, Reservations::default());
    assert_eq!(
        Journal::discard(directory.path(), &identity()).unwrap(),
        None
    );
}

#[test]
fn a_file_of_any_length_is_read_with_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("naa.3000000000000001.reservations");
    std::fs::File::create(file)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let found = Journal::open(directory.path(), &identity());
    assert!(matches!(found, Err(JournalError::Damaged { .. })));
}

#[test]
fn a_state_directory_that_is_missing_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let found = Journal::open(&missing, &identity());
    assert!(matches!(found, Err(JournalError::Io { step: "open", .. })));
    assert!(!missing.exists());
}

#[test]
fn names_that_are_no_file_names_are_no_identities() {
    for bad in ["", ".hidden", "..", "a/b", "a b", "é", &"x".repeat(129)] {
        assert_eq!(Identity::new(bad), None, "{bad:?}");
    }
    assert!(Identity::new("naa.6001405-a_B:1").is_some());
}

fn known_as(name: &str) -> Identity {
    Identity::new(&format!("naa.{name}")).unwrap()
}

fn keep(directory: &Path, name: &Identity, number: u64) {
    let mut journal = Journal::open(directory, name).unwrap().0;
    journal.store(&state(number)).unwrap();
}

#[test]
fn reservations_follow_a_disk_to_its_new_name() {
    let _nobody = nobody_starts();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let former = [known_as("path"), known_as("device")];
    let open = || Journal::open_known_as(at, &identity(), &former, |_| false);
    // What holds nothing is nobody's.
    let mut empty = Journal::open(at, &former[0]).unwrap().0;
    empty.store(&Reservations::default()).unwrap();
    drop(empty);
    let opened = open().unwrap();
    assert_eq!(
        (opened.state, opened.adopted),
        (Reservations::default(), None)
    );
    drop(opened.journal);
    keep(at, &former[1], 5);
    let opened = open().unwrap();
    assert_eq!(opened.state, state(5));
    assert_eq!(
        opened.adopted,
        Some(at.join("naa.device.reservations.adopted"))
    );
    assert!(!at.join("naa.device.reservations").exists());
    drop(opened.journal);
    // As after a crash before the old file was moved, or under its old name for a while: its own file counts.
    keep(at, &former[1], 6);
    let opened = open().unwrap();
    assert_eq!((opened.state, opened.adopted), (state(5), None));
}

/// Whatever makes it unclear whose a file is: it stays where it is, and the disk closed until an administrator decides.
#[test]
fn a_former_name_that_is_not_clear_keeps_the_disk_closed() {
    let _nobody = nobody_starts();
    for case in ["two", "another's", "in use", "damaged"] {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let former = [known_as("path"), known_as("device")];
        keep(at, &former[0], 5);
        let file = at.join("naa.path.reservations");
        let mut in_use = None;
        match case {
            "two" => keep(at, &former[1], 6),
            "in use" => in_use = Some(Journal::open(at, &former[0]).unwrap()),
            "damaged" => std::fs::write(&file, "x").unwrap(),
            _ => {}
        }
        let others = |name: &Identity| case == "another's" && *name == former[0];
        let open = || Journal::open_known_as(at, &identity(), &former, others);
        for _ in 0..2 {
            let error = open().unwrap_err();
            assert!(matches!(error, JournalError::Unclear(_)), "{case}: {error}");
            let text = error.to_string();
            for part in [
                file.to_str().unwrap(),
                "naa.3000000000000001",
                "Move aside",
                "discard",
            ] {
                assert!(text.contains(part), "{case}: {part}: {text}");
            }
        }
        assert!(file.exists(), "{case}");
        drop(in_use);
        if case == "two" {
            // The remedy.
            std::fs::rename(&file, at.join("aside")).unwrap();
            assert_eq!(open().unwrap().state, state(6));
        } else {
            assert_eq!(Journal::discard(at, &identity()).unwrap(), None);
            assert_eq!(open().unwrap().state, Reservations::default());
            assert!(file.exists(), "{case}");
        }
    }
}

/// Nor do they come back by what the disk was called before.
#[test]
fn what_an_administrator_has_given_up_does_not_come_back() {
    let _nobody = nobody_starts();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    keep(at, &identity(), 5);
    let file = at.join("naa.3000000000000001.reservations");
    std::fs::write(&file, "x").unwrap();
    let former = [known_as("path")];
    keep(at, &former[0], 6);
    let open = || Journal::open_known_as(at, &identity(), &former, |_| false);
    assert!(matches!(open(), Err(JournalError::Damaged { .. })));
    assert!(Journal::discard(at, &identity()).unwrap().is_some());
    assert_eq!(open().unwrap().state, Reservations::default());
}
