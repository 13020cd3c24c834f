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
