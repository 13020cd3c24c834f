//! Changes while the server runs, through the control socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use disk::initiator::{Payload, Session};
use iscsi::pdu::Lun;
use scsi::{AdditionalSense, Status};
use target::control::{ClientError, ControlSocket, MetricsListener, Reply, Request, ask};

use crate::harness::{BLOCK, Fixture, Initiator, LUN, SIZE, TARGET, options, soon};

fn done() -> Reply {
    Reply::Done { note: None }
}

fn add_lun(fixture: &Fixture, target: &str, lun: u16, file: &str) -> Request {
    Request::AddLun {
        target: target.parse().unwrap(),
        lun,
        path: fixture.directory.path().join(file),
        size: Some(SIZE),
        block_length: None,
        read_only: false,
        thick: false,
        direct: false,
        no_write_cache: false,
    }
}

/// A disk that became shorter cannot keep what was written to it.
#[test]
fn who_removes_a_disk_or_ends_the_server_hears_that_writes_are_lost() {
    for ending in 0..3 {
        let fixture = Fixture::start();
        let mut node = fixture.connect("node");
        assert_eq!(node.write(0, &[7; BLOCK]), Status::GOOD);
        let disk = fixture.directory.path().join("disk.img");
        let file = std::fs::File::options().write(true).open(disk).unwrap();
        file.set_len(SIZE / 2).unwrap();
        let admin = fixture.server.admin();
        let target = TARGET.parse().unwrap();
        let said = match ending {
            0 => admin.remove_unit(&target, 0).unwrap_err().to_string(),
            1 => admin.remove_target(&target).unwrap_err().to_string(),
            _ => fixture.server.stop().unwrap_err().to_string(),
        };
        assert!(said.contains("cannot be made durable"), "{ending}: {said}");
        if ending == 0 {
            // It is removed all the same.
            let mut disk = crate::harness::lun(0, fixture.directory.path().join("new.img"));
            disk.disk.store.patience = Duration::from_secs(1);
            admin.add_unit(&target, &disk).unwrap();
        }
    }
}

/// What a disk is recognised by, and who is registered with it.
fn told(node: &mut Initiator, lun: Lun) -> (Vec<u8>, Vec<u8>, usize) {
    let mut page = |page| {
        let (done, data) = node.run_on(lun, &[0x12, 1, page, 0, 255, 0], Payload::In(255));
        assert_eq!(done.status, Status::GOOD);
        data
    };
    let (serial, designators) = (page(0x80), page(0x83));
    let mut cdb = [0; 10];
    (cdb[0], cdb[8]) = (0x5E, 64);
    let keys = loop {
        let (done, data) = node.run_on(lun, &cdb, Payload::In(64));
        match done.unit_attention() {
            Some(_) => {}
            None => break data.len() / 8 - 1,
        }
    };
    (serial, designators, keys)
}

/// Its identity and its registrations belong to a disk, and not to the number under which it is served.
#[test]
fn another_disk_under_an_old_number_is_another_one() {
    let fixture = Fixture::start();
    let admin = fixture.server.admin();
    let target = TARGET.parse().unwrap();
    let file = |name: &str| fixture.directory.path().join(name);
    let serve = |number, name| {
        let disk = crate::harness::lun(number, file(name));
        admin.add_unit(&target, &disk).unwrap();
    };
    let mut node = fixture.connect("node");
    node.register(7, true);
    let first = told(&mut node, LUN);
    assert_eq!(first.2, 1);
    admin.remove_unit(&target, 0).unwrap();
    serve(0, "other.img");
    // Whoever used the old one is told so before anything else.
    let (done, _) = node.run(&[0; 6], Payload::None);
    let news = done.unit_attention().map(|sense| sense.additional);
    assert_eq!(news, Some(AdditionalSense::POWER_ON_OR_RESET));
    let other = told(&mut node, LUN);
    assert_ne!(other.0, first.0, "the serial number");
    assert_ne!(other.1, first.1, "the designators");
    assert_eq!(other.2, 0, "registrations of the old disk");
    // The old one comes back under another number, with all that it had.
    serve(5, "disk.img");
    node.settle();
    let fifth = Lun([0, 5, 0, 0, 0, 0, 0, 0]);
    assert_eq!(told(&mut node, fifth), first);
    assert_eq!(told(&mut node, LUN), other);
}

#[test]
fn targets_disks_and_initiators_come_and_go() {
    let fixture = Fixture::start();
    let path = fixture.directory.path().join("control");
    let _control = ControlSocket::open(&path, fixture.server.admin()).unwrap();
    let ask = |request: Request| ask(&path, &request, soon()).unwrap();
    let mut node = fixture.connect("node");
    let second = Lun([0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(ask(add_lun(&fixture, TARGET, 1, "second.img")), done());
    // Who is there is told, and sees it.
    let told: Vec<_> = node.settle().iter().map(|sense| sense.additional).collect();
    assert_eq!(told, [AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED]);
    while node.run_on(second, &[0; 6], Payload::None).0.status != Status::GOOD {}
    let write = crate::harness::write10(0, BLOCK, false);
    let (written, _) = node.run_on(second, &write, Payload::Out(vec![5; BLOCK]));
    assert_eq!(written.status, Status::GOOD);
    // The same file twice would be two disks that know nothing of each other.
    assert!(matches!(
        ask(add_lun(&fixture, TARGET, 2, "second.img")),
        Reply::Refused { .. }
    ));
    assert!(matches!(
        ask(add_lun(&fixture, TARGET, 1, "third.img")),
        Reply::Refused { .. }
    ));
    let target = || TARGET.parse().unwrap();
    assert_eq!(
        ask(Request::RemoveLun {
            target: target(),
            lun: 1
        }),
        done()
    );
    node.settle();
    let (gone, _) = node.run_on(second, &[0; 6], Payload::None);
    assert_eq!(gone.status, Status::CHECK_CONDITION);
    // Once removed it can be served again.
    assert_eq!(ask(add_lun(&fixture, TARGET, 3, "second.img")), done());

    let other = "iqn.2026-11.org.example:other";
    assert_eq!(
        ask(Request::AddTarget {
            name: other.parse().unwrap()
        }),
        done()
    );
    assert!(matches!(
        ask(Request::AddTarget {
            name: other.parse().unwrap()
        }),
        Reply::Refused { .. }
    ));
    let mut at_other = options(fixture.address(), "node");
    at_other.target = other.to_owned();
    assert!(
        Session::connect(&at_other, soon()).is_err(),
        "nobody was let in yet"
    );
    let allow = Request::Allow {
        target: other.parse().unwrap(),
        initiator: at_other.initiator.parse().unwrap(),
        user: None,
        secret_file: None,
    };
    assert_eq!(ask(allow), done());
    let mut session = Session::connect(&at_other, soon()).unwrap();
    let Reply::Sessions { sessions } = ask(Request::Sessions {}) else {
        panic!("no sessions");
    };
    assert_eq!(sessions.len(), 2);
    let deny = Request::Deny {
        target: other.parse().unwrap(),
        initiator: at_other.initiator.parse().unwrap(),
    };
    assert_eq!(ask(deny), done());
    assert!(session.ping(soon()).is_err(), "its session was to end");
    assert!(Session::connect(&at_other, soon()).is_err());
    assert_eq!(
        ask(Request::RemoveTarget {
            name: other.parse().unwrap()
        }),
        done()
    );
    node.settle();
    assert_eq!(node.write(0, &[1; BLOCK]), Status::GOOD);
}

#[test]
fn a_session_is_dropped_and_its_registration_stays() {
    let fixture = Fixture::start();
    let path = fixture.directory.path().join("control");
    let _control = ControlSocket::open(&path, fixture.server.admin()).unwrap();
    let mut node = fixture.connect("node");
    node.register(0xABC, true);
    node.reserve(0xABC);
    let Reply::Sessions { sessions } = ask(&path, &Request::Sessions {}, soon()).unwrap() else {
        panic!("no sessions");
    };
    let drop = Request::DropSession { id: sessions[0].id };
    assert_eq!(ask(&path, &drop, soon()).unwrap(), done());
    assert!(matches!(
        ask(&path, &drop, soon()).unwrap(),
        Reply::Refused { .. }
    ));
    assert!(node.0.ping(soon()).is_err());
    let Reply::Targets { targets } = ask(&path, &Request::Targets {}, soon()).unwrap() else {
        panic!("no targets");
    };
    let reservations = targets[0].units[0].reservations.as_ref().unwrap();
    assert!(reservations.persistent);
    assert_eq!(reservations.registrations[0].key, "0xabc");
    assert!(reservations.registrations[0].holds);
    let _ = Initiator::connect(fixture.address(), &options(fixture.address(), "node"));
}

#[test]
fn what_is_no_request_is_refused_and_a_dead_server_is_not_reached() {
    let fixture = Fixture::start();
    let path = fixture.directory.path().join("control");
    let control = ControlSocket::open(&path, fixture.server.admin()).unwrap();
    for line in [
        "",
        "nonsense",
        "{\"request\":\"explode\"}",
        "{\"request\":\"drop-session\",\"id\":-1}",
    ] {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(line.as_bytes()).unwrap();
        socket.write_all(b"\n").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"refused\""), "{line}: {answer}");
    }
    // A second server does not take the socket away.
    assert!(ControlSocket::open(&path, fixture.server.admin()).is_err());
    drop(control);
    let error = ask(&path, &Request::Sessions {}, soon()).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[test]
fn metrics_tell_what_happened() {
    let fixture = Fixture::start();
    let listener =
        MetricsListener::open("127.0.0.1:0".parse().unwrap(), fixture.server.admin()).unwrap();
    let mut node = fixture.connect("node");
    assert_eq!(node.write(0, &[1; BLOCK]), Status::GOOD);
    node.read(0, BLOCK);
    let get = |path: &str| {
        let mut socket = TcpStream::connect(listener.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let text = get("/metrics");
    for line in [
        "picket_target_sessions 1\n".to_owned(),
        format!("picket_target_lun_writes_total{{target=\"{TARGET}\",lun=\"0\"}} 1\n"),
        format!("picket_target_lun_read_bytes_total{{target=\"{TARGET}\",lun=\"0\"}} 512\n"),
        format!("picket_target_lun_sound{{target=\"{TARGET}\",lun=\"0\"}} 1\n"),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(get("/").starts_with("HTTP/1.1 404"));
}
