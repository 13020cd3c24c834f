//! Changes while the server runs, through the control socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use disk::initiator::{Payload, Session};
use iscsi::pdu::Lun;
use scsi::{AdditionalSense, Status};
use target::control::{ClientError, ControlSocket, MetricsListener, Reply, Request, ask};

use crate::harness::{BLOCK, Fixture, Initiator, SIZE, TARGET, options, soon};

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
