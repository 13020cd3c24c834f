//! Our initiator: every end of a command is one of three things.

use std::time::{Duration, Instant};

use deadline::Deadline;
use disk::initiator::{Disk, Payload, TaskEnd};
use disk::pr::{PrError, Reservations};
use disk::{Address, Certainty, DeviceError, LostBy, OpenOptions, Request, ScsiDevice};
use iscsi::login::{Authentication, Credentials, Digest, LoginError, LoginStatus, Secret, Wishes};
use iscsi::pdu::{Lun, TaskManagement};
use scsi::pr::{Key, ReservationType};
use scsi::{AdditionalSense, Opcode, Status};

use crate::connection::SLOW;
use crate::target::{Fault, Manners, Target};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn options(instance: &str) -> OpenOptions {
    OpenOptions {
        initiator: Some("iqn.2026-11.org.example:node".to_owned()),
        instance: instance.to_owned(),
        ..OpenOptions::default()
    }
}

fn open_with(url: &str, options: &OpenOptions) -> Result<Disk, DeviceError> {
    match url.parse().unwrap() {
        Address::Iscsi(address) => Disk::open(&address, options, soon()),
        Address::Node(_) => panic!("{url}"),
    }
}

fn open(target: &Target) -> Disk {
    open_with(&target.url(), &options("")).unwrap()
}

fn started(change: impl FnOnce(&mut Manners)) -> Target {
    let mut manners = Manners::default();
    change(&mut manners);
    Target::start(manners)
}

const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];

/// Takes the unit attention of the login out of the way.
fn settle(disk: &mut Disk) {
    Reservations::of(disk).test_unit_ready(soon()).unwrap();
}

#[test]
fn what_is_written_is_read() {
    for digests in [false, true] {
        let target = started(|manners| {
            let digest = if digests {
                Digest::Require
            } else {
                Digest::Refuse
            };
            manners.wishes = Wishes {
                header_digest: digest,
                data_digest: digest,
                ..Wishes::default()
            };
            manners.pings = true;
        });
        let mut disk = open(&target);
        let first = disk.execute(Request::plain(&[0; 6]), soon()).unwrap();
        let told = first.unit_attention().unwrap();
        assert_eq!(told.additional, AdditionalSense::POWER_ON_OR_RESET);
        let data: Vec<u8> = (0..4096_u32).map(|at| at.to_le_bytes()[0]).collect();
        let done = disk.execute(Request::write(&WRITE, &data), soon()).unwrap();
        assert_eq!((done.status, done.transferred), (Status::GOOD, 4096));
        let mut back = vec![0; 5000];
        let done = disk
            .execute(Request::read(&READ, &mut back), soon())
            .unwrap();
        assert_eq!((done.transferred, &back[..4096]), (4096, &data[..]));
        disk.session().ping(soon()).unwrap();
        disk.close(soon()).unwrap();
    }
}

#[test]
fn large_writes_are_asked_for_in_bursts() {
    let target = started(|manners| {
        manners.wishes.limits.max_burst = 4096;
        manners.wishes.limits.first_burst = 1024;
        manners.wishes.limits.max_receive = 1000;
    });
    let mut disk = open(&target);
    settle(&mut disk);
    let data: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let data = &data[..512 * 585];
    let cdb = [0x2A, 0, 0, 0, 0, 0, 0, 0x02, 0x49, 0];
    assert!(
        disk.execute(Request::write(&cdb, data), soon())
            .unwrap()
            .status
            .is_good()
    );
    assert!(target.state().medium[..data.len()] == *data);
}

#[test]
fn several_commands_are_in_flight_and_can_be_aborted() {
    let target = started(|_| {});
    let mut slow = options("");
    slow.initiator = Some(format!("iqn.2026-11.org.example{SLOW}"));
    let mut disk = open_with(&target.url(), &slow).unwrap();
    settle(&mut disk);
    let (lun, session) = (disk.lun(), disk.session());
    let write = |session: &mut disk::initiator::Session| {
        session
            .submit(lun, &WRITE, Payload::Out(vec![7; 4096]), soon())
            .unwrap()
    };
    let tasks = [write(session), write(session), write(session)];
    assert_eq!(session.in_flight(), 3);
    session.flush(soon()).unwrap();
    session.abort(tasks[1], soon()).unwrap();
    assert!(matches!(
        session.wait(tasks[1], soon()),
        Ok(Some(TaskEnd::Aborted))
    ));
    for task in [tasks[2], tasks[0]] {
        assert!(matches!(
            session.wait(task, soon()),
            Ok(Some(TaskEnd::Completed(..)))
        ));
    }
    assert!(session.wait(tasks[0], soon()).is_err(), "it has ended");
    let last = write(session);
    let brief = Deadline::after(Duration::from_millis(10));
    assert!(
        matches!(session.wait(last, brief), Ok(None)),
        "still in flight"
    );
    session
        .manage(TaskManagement::ABORT_TASK_SET, lun, soon())
        .unwrap();
    assert!(matches!(session.wait_any(soon()), Ok(Some((task, TaskEnd::Aborted))) if task == last));
}

#[test]
fn what_was_not_sent_is_not_unknown() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let url = format!("iscsi://127.0.0.1:{port}/iqn.2026-11.org.example:disk/0");
    let refused = open_with(&url, &options("")).err().unwrap();
    assert_eq!(refused.certainty(), Certainty::NotSent);

    let target = started(|_| {});
    let other = target.url().replace("example:disk", "example:other");
    let refused = open_with(&other, &options("")).err().unwrap();
    assert_eq!(refused.certainty(), Certainty::Refused);
    assert!(
        matches!(&refused, DeviceError::Login { source: LoginError::Refused(status), .. } if *status == LoginStatus::NOT_FOUND)
    );

    let mut disk = open(&target);
    let late = Deadline::after(Duration::ZERO);
    let late = disk.execute(Request::plain(&[0; 6]), late).unwrap_err();
    assert_eq!(late.certainty(), Certainty::NotSent);
    assert!(
        disk.execute(Request::plain(&[0; 6]), soon()).is_ok(),
        "the session is not hurt"
    );
}

#[test]
fn a_target_that_does_not_answer_costs_no_more_than_the_deadline() {
    let target = started(|manners| manners.ignores = Some(Opcode::PERSISTENT_RESERVE_OUT));
    let mut disk = open(&target);
    settle(&mut disk);
    let begun = Instant::now();
    let brief = Deadline::after(Duration::from_millis(200));
    let lost = Reservations::of(&mut disk)
        .register_ignoring(Key::new(1), false, brief)
        .unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(lost.is_unknown() && !lost.is_refusal(), "{lost}");
    let after = disk.execute(Request::plain(&[0; 6]), soon()).unwrap_err();
    assert_eq!(after.certainty(), Certainty::NotSent, "the session is over");
}

#[test]
fn a_connection_that_ends_leaves_the_outcome_unknown() {
    let target = started(|manners| manners.hangs_up_on = Some(Opcode::PERSISTENT_RESERVE_OUT));
    let mut disk = open(&target);
    settle(&mut disk);
    let lost = Reservations::of(&mut disk).register_ignoring(Key::new(1), false, soon());
    assert!(matches!(
        lost,
        Err(PrError::Device(DeviceError::Lost {
            source: LostBy::Closed | LostBy::Io(_),
            ..
        }))
    ));
}

#[test]
fn a_target_that_wants_to_be_left_is_left() {
    let target = started(|manners| manners.sends_away = true);
    let mut disk = open(&target);
    let _ = disk.execute(Request::plain(&[0; 6]), soon());
    let left = disk.execute(Request::plain(&[0; 6]), soon()).unwrap_err();
    assert_eq!(left.certainty(), Certainty::NotSent);
    // Whoever opens it again is the same nexus.
    assert_eq!(open(&target).initiator_port(), disk.initiator_port());
}

#[test]
fn opened_again_it_is_the_same_nexus_and_another_instance_is_not() {
    let target = Target::with(Fault::None);
    let key = Key::new(0x6e31).unwrap();
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    let mut disk = open(&target);
    let mut pr = Reservations::of(&mut disk);
    pr.register_ignoring(Some(key), false, soon()).unwrap();
    assert_eq!(pr.attentions().len(), 1, "power on");
    pr.reserve(key, kind, soon()).unwrap();
    let port = disk.initiator_port().unwrap();
    disk.close(soon()).unwrap();

    let mut again = open(&target);
    assert_eq!(again.initiator_port(), Some(port.clone()));
    let (_, full) = Reservations::of(&mut again)
        .read_full_status(soon())
        .unwrap();
    let initiator = full[0].initiator.as_ref().unwrap();
    assert!(initiator.iscsi().unwrap().names(&port));
    assert!(
        again
            .execute(Request::write(&WRITE, &[1; 4096]), soon())
            .unwrap()
            .status
            .is_good()
    );

    let mut other = open_with(&target.url(), &options("second")).unwrap();
    settle(&mut other);
    let refused = other
        .execute(Request::write(&WRITE, &[2; 4096]), soon())
        .unwrap();
    assert_eq!(refused.status, Status::RESERVATION_CONFLICT);
    let refused = Reservations::of(&mut other).clear(key, soon()).unwrap_err();
    assert!(matches!(refused, PrError::Conflict { .. }) && refused.is_refusal());
    let (_, held) = Reservations::of(&mut other)
        .read_reservation(soon())
        .unwrap();
    assert_eq!(held.unwrap().key, Some(key));
}

#[test]
fn two_processes_do_not_take_each_others_session() {
    let target = started(|_| {});
    let directory = tempfile::tempdir().unwrap();
    let mut locked = options("");
    locked.locks = Some(directory.path().join("locks"));
    let mut first = open_with(&target.url(), &locked).unwrap();
    let Address::Iscsi(address) = target.url().parse().unwrap() else {
        panic!()
    };
    let brief = Deadline::after(Duration::from_millis(100));
    let busy = Disk::open(&address, &locked, brief).err().unwrap();
    assert_eq!(busy.certainty(), Certainty::NotSent, "{busy}");
    settle(&mut first);
    drop(first);
    settle(&mut open_with(&target.url(), &locked).unwrap());
}

#[test]
fn hundreds_of_keys_are_read() {
    let target = started(|_| {});
    let mut disk = open(&target);
    for number in 0..200_u16 {
        let mut one = open_with(&target.url(), &options(&number.to_string())).unwrap();
        let key = Key::new(u64::from(number) + 1);
        Reservations::of(&mut one)
            .register_ignoring(key, false, soon())
            .unwrap();
        one.close(soon()).unwrap();
    }
    let mut pr = Reservations::of(&mut disk);
    assert_eq!(pr.read_keys(soon()).unwrap().1.len(), 200);
    // Longer than what is asked for at first.
    assert_eq!(pr.read_full_status(soon()).unwrap().1.len(), 200);
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec()).unwrap()
}

fn account(name: &str, text: &str) -> Credentials {
    Credentials {
        name: name.to_owned(),
        secret: secret(text),
    }
}

#[test]
fn both_sides_prove_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (
        file("ours", "our-secret-words\n"),
        file("theirs", "their-secret-words"),
    );
    let wrong = file("wrong", "some-other-words\n");
    let target = started(|manners| {
        manners.authentication = Authentication::Chap {
            accounts: vec![account("node", "our-secret-words")],
            own: Some(account("disk", "their-secret-words")),
        };
    });
    let url = |user: &str, query: &str| {
        target.url().replace("iscsi://", &format!("iscsi://{user}")) + query
    };
    let both = format!("?secret={ours}&target-user=disk&target-secret={theirs}");
    settle(&mut open_with(&url("node@", &both), &options("")).unwrap());
    settle(&mut open_with(&url("node@", &format!("?secret={ours}")), &options("")).unwrap());
    let refused = |url: String| match open_with(&url, &options("")) {
        Err(DeviceError::Login { source, .. }) => source,
        other => panic!("{:?}", other.err()),
    };
    let unauthenticated = LoginError::Refused(LoginStatus::AUTHENTICATION);
    assert_eq!(
        refused(url("node@", &format!("?secret={wrong}"))),
        unauthenticated
    );
    assert_eq!(refused(url("", "")), unauthenticated);
    let impostor = format!("?secret={ours}&target-user=disk&target-secret={wrong}");
    assert_eq!(refused(url("node@", &impostor)), LoginError::Unproved);
    std::fs::set_permissions(&ours, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open_to_all = open_with(&url("node@", &both), &options("")).err().unwrap();
    assert!(
        open_to_all.to_string().contains("chmod 600"),
        "{open_to_all}"
    );
}

#[test]
fn a_unit_that_is_not_there_is_said_so() {
    let target = started(|_| {});
    let mut disk = open(&target);
    settle(&mut disk);
    let refused = Reservations::of(&mut disk).preempt(
        Key::new(1).unwrap(),
        Key::new(2).unwrap(),
        ReservationType::WriteExclusive,
        true,
        soon(),
    );
    assert!(matches!(
        refused,
        Err(PrError::Conflict {
            command: "PREEMPT AND ABORT",
            ..
        })
    ));
    assert_eq!(disk.lun(), Lun::from_number(0).unwrap());
}

/// Bytes of a stranger, before and after the login: the session ends, and nothing else.
#[test]
fn any_bytes_end_the_session_at_most() {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "iscsi://{}/iqn.2026-11.org.example:disk/0",
        listener.local_addr().unwrap()
    );
    let server = std::thread::spawn(move || {
        for seed in 0..64_u32 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
            let bytes: Vec<u8> = (0..4096)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state.to_le_bytes()[0]
                })
                .collect();
            let _ = stream.write_all(&bytes);
        }
    });
    for _ in 0..64 {
        let refused = open_with(&url, &options("")).err().unwrap();
        assert_ne!(
            refused.certainty(),
            Certainty::Unknown,
            "no command was sent: {refused}"
        );
    }
    server.join().unwrap();
}

/// A target that sends without end has the initiator busy, and no longer than until the deadline.
#[test]
fn a_target_that_never_stops_talking_does_not_move_a_deadline() {
    let target = started(|manners| manners.chatters = true);
    let mut disk = open(&target);
    let begun = Instant::now();
    let limit = Deadline::after(Duration::from_millis(300));
    let lost = disk.execute(Request::plain(&[0; 6]), limit).unwrap_err();
    assert_eq!(lost.certainty(), Certainty::Unknown, "{lost:?}");
    let took = begun.elapsed();
    let about = Duration::from_millis(300)..Duration::from_secs(5);
    assert!(about.contains(&took), "{took:?}");
}
