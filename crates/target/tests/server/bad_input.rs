//! What breaks the rules ends its own connection, and nobody else's.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use disk::initiator::{Payload, Session};
use iscsi::login::{LoginOptions, LoginRequester, LoginStep, Wishes};
use iscsi::pdu::{Attribute, Command, DataOut, FromTarget, Isid, Lun, NopOut, Reject, ScsiCommand};
use iscsi::{Digests, Framing, HEADER_LEN, Header, Serial, Tag};
use scsi::{SenseKey, Status};

use crate::harness::{BLOCK, Fixture, Initiator, TARGET, failed_with, options, soon};

fn login(who: &str) -> LoginOptions {
    LoginOptions {
        initiator: format!("iqn.2026-11.org.example:{who}"),
        target: Some(TARGET.to_owned()),
        isid: Isid([0x80, 0, 0, 0, 0, 9]),
        wishes: Wishes::default(),
        algorithms: Vec::new(),
        credentials: None,
        target_credentials: None,
    }
}

/// A connection of bare PDUs.
struct Raw {
    socket: TcpStream,
    framing: Framing,
    number: Serial,
}

impl Raw {
    fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            framing: Framing {
                digests: Digests::default(),
                max_data: 1 << 20,
            },
            number: Serial(0),
        }
    }

    fn log_in(address: SocketAddr, who: &str) -> Self {
        Self::log_in_with(address, login(who))
    }

    fn log_in_with(address: SocketAddr, options: LoginOptions) -> Self {
        let mut raw = Self::open(address);
        let mut requester = LoginRequester::new(options);
        let (mut request, mut text) = requester.start();
        loop {
            raw.send(&request.header(), &text);
            let (header, data) = raw.receive().unwrap();
            let Ok(FromTarget::Login(response)) = FromTarget::parse(&header) else {
                panic!("{header:?}");
            };
            match requester
                .handle(&response, &data, &mut |bytes| bytes.fill(1))
                .unwrap()
            {
                LoginStep::Send(next, more) => (request, text) = (next, more),
                LoginStep::LoggedIn(established) => {
                    raw.number = established.next_command;
                    return raw;
                }
            }
        }
    }

    fn send(&mut self, header: &Header, data: &[u8]) {
        let mut bytes = self.framing.prologue(header, &[], data.len());
        bytes.extend(data);
        bytes.extend(self.framing.epilogue(data));
        let _ = self.socket.write_all(&bytes);
    }

    /// The next PDU; `None`: the target has closed.
    fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut bytes = [0; HEADER_LEN];
        self.socket.read_exact(&mut bytes).ok()?;
        let header = Header::from(bytes);
        let lengths = self.framing.lengths(&header).unwrap();
        let mut rest = vec![0; lengths.total()];
        self.socket.read_exact(&mut rest).ok()?;
        rest.truncate(lengths.data);
        Some((header, rest))
    }

    fn next(&mut self) -> Command {
        let number = self.number;
        self.number = number.plus(1);
        Command {
            immediate: false,
            number,
            expected_status: Serial(0),
        }
    }

    fn command(&mut self, tag: u32, cdb: &[u8], writes: bool, expected: u32) -> ScsiCommand {
        let mut bytes = [0; 16];
        bytes[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            last: true,
            reads: !writes && expected > 0,
            writes,
            attribute: Attribute::SIMPLE,
            lun: Lun([0; 8]),
            tag: Tag(tag),
            expected,
            command: self.next(),
            cdb: bytes,
        }
    }

    /// Whether the target closes, saying nothing but rejects.
    fn is_closed(&mut self) -> bool {
        while let Some((header, _)) = self.receive() {
            match FromTarget::parse(&header) {
                Ok(FromTarget::Reject(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        true
    }

    fn is_alive(&mut self) {
        let ping = NopOut {
            tag: Tag(0x1234),
            target_tag: Tag::NONE,
            lun: Lun([0; 8]),
            command: Command {
                immediate: true,
                number: self.number,
                expected_status: Serial(0),
            },
        };
        self.send(&ping.header(), b"are you there?");
        loop {
            let (header, data) = self.receive().expect("the connection was to stay");
            if let Ok(FromTarget::NopIn(_)) = FromTarget::parse(&header) {
                return assert_eq!(data, b"are you there?");
            }
        }
    }
}

fn undisturbed(fixture: &Fixture) -> Initiator {
    let mut other = fixture.connect("other");
    assert_eq!(other.write(100, &[7; 64 * BLOCK]), Status::GOOD);
    other
}

fn still_works(other: &mut Initiator) {
    // Resets are told to everybody.
    other.settle();
    assert_eq!(other.read(100, 64 * BLOCK), [7; 64 * BLOCK]);
    assert_eq!(other.write(200, &[8; BLOCK]), Status::GOOD);
}

#[test]
fn what_is_no_login_is_hung_up_on() {
    let fixture = Fixture::start();
    let mut other = undisturbed(&fixture);
    let mut huge = vec![0x43, 0x87];
    huge.extend([0, 0, 0, 0xFF, 0xFF, 0xFF]);
    huge.extend([0; 40]);
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nand then some more to make a header",
        &[0xFF; 200],
        &[0x00; 200],
        // A login whose data segment would have 16 MiB.
        &huge,
        // A login request that is only text.
        &[0x43; 4096],
    ];
    for bytes in garbage {
        let mut raw = Raw::open(fixture.address());
        let _ = raw.socket.write_all(bytes);
        let mut answer = Vec::new();
        let _ = raw.socket.read_to_end(&mut answer);
        assert!(answer.len() <= HEADER_LEN, "{answer:02x?}");
        still_works(&mut other);
    }
}

#[test]
fn bytes_that_come_one_by_one_are_a_login_too() {
    let fixture = Fixture::start();
    let address = fixture.address();
    let mut requester = LoginRequester::new(login("slow"));
    let (request, text) = requester.start();
    let mut raw = Raw::open(address);
    let mut bytes = raw.framing.prologue(&request.header(), &[], text.len());
    bytes.extend(&text);
    bytes.extend(raw.framing.epilogue(&text));
    for byte in bytes {
        raw.socket.write_all(&[byte]).unwrap();
    }
    let (header, _) = raw.receive().unwrap();
    assert!(
        matches!(FromTarget::parse(&header), Ok(FromTarget::Login(login)) if login.status == 0)
    );
}

#[test]
fn pdus_that_may_not_come_end_their_own_session_at_most() {
    let fixture = Fixture::start();
    let mut other = undisturbed(&fixture);
    // Opcodes that no initiator sends are rejected, and the session goes on.
    let mut raw = Raw::log_in(fixture.address(), "unknown");
    let mut bytes = [0; HEADER_LEN];
    bytes[0] = 0x1D;
    raw.send(&Header::from(bytes), &[1; 100]);
    let (header, _) = raw.receive().unwrap();
    let Ok(FromTarget::Reject(reject)) = FromTarget::parse(&header) else {
        panic!("{header:?}");
    };
    assert_eq!(reject.reason, Reject::NOT_SUPPORTED);
    raw.is_alive();
    // A data segment longer than was declared.
    let mut raw = Raw::log_in(fixture.address(), "long");
    let ping = raw.command(1, &[0; 6], false, 0).header();
    let mut bytes = *ping.bytes();
    bytes[5..8].copy_from_slice(&[0xFF; 3]);
    let _ = raw.socket.write_all(&bytes);
    assert!(raw.is_closed());
    // A command number that leaves a gap.
    let mut raw = Raw::log_in(fixture.address(), "gap");
    raw.number = raw.number.plus(5);
    let command = raw.command(1, &[0; 6], false, 0);
    raw.send(&command.header(), &[]);
    assert!(raw.is_closed());
    // More immediate data than the command has.
    let mut raw = Raw::log_in(fixture.address(), "much");
    let command = raw.command(1, &crate::harness::write10(0, BLOCK, false), true, 512);
    raw.send(&command.header(), &[1; 1024]);
    assert!(raw.is_closed());
    // Data for a task that there is not are thrown away.
    let mut raw = Raw::log_in(fixture.address(), "stray");
    let stray = DataOut {
        last: true,
        lun: Lun([0; 8]),
        tag: Tag(0x77),
        target_tag: Tag(5),
        expected_status: Serial(0),
        number: 0,
        offset: 0xFFFF_FF00,
    };
    raw.send(&stray.header(), &[1; 4096]);
    raw.is_alive();
    still_works(&mut other);
}

#[test]
fn data_beyond_what_was_asked_for_never_reach_the_medium() {
    let fixture = Fixture::start();
    let mut raw = Raw::log_in(fixture.address(), "node");
    // Three times: the first answers are unit attentions.
    for tag in 0..3 {
        let command = raw.command(tag, &[0; 6], false, 0);
        raw.send(&command.header(), &[]);
        raw.receive().unwrap();
    }
    let command = raw.command(9, &crate::harness::write10(0, 8 * BLOCK, false), true, 4096);
    raw.send(&command.header(), &[]);
    let (header, _) = raw.receive().unwrap();
    let Ok(FromTarget::R2t(r2t)) = FromTarget::parse(&header) else {
        panic!("{header:?}");
    };
    let data = DataOut {
        last: true,
        lun: Lun([0; 8]),
        tag: Tag(9),
        target_tag: r2t.target_tag,
        expected_status: Serial(0),
        number: 0,
        offset: 2048,
    };
    raw.send(&data.header(), &[0xEE; 4096]);
    let (header, _) = raw.receive().unwrap();
    match FromTarget::parse(&header) {
        Ok(FromTarget::ScsiResponse(response)) => {
            assert_eq!(response.status, Status::CHECK_CONDITION.0);
        }
        other => panic!("{other:?}"),
    }
    raw.is_alive();
    assert!(!fixture.medium().contains(&0xEE));
}

#[test]
fn commands_beyond_the_medium_and_unknown_ones_are_refused() {
    let fixture = Fixture::start();
    let mut node = fixture.connect("node");
    let last = u32::try_from(crate::harness::SIZE).unwrap() / 512;
    for (cdb, payload) in [
        (
            crate::harness::write10(last, BLOCK, false).to_vec(),
            Payload::Out(vec![1; BLOCK]),
        ),
        (
            crate::harness::write10(last - 1, 2 * BLOCK, false).to_vec(),
            Payload::Out(vec![1; 2 * BLOCK]),
        ),
        (
            crate::harness::write10(u32::MAX, BLOCK, false).to_vec(),
            Payload::Out(vec![1; BLOCK]),
        ),
        (vec![0xEF; 16], Payload::None),
        (vec![0x7F; 16], Payload::In(512)),
        (
            vec![
                0x88, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,
                0,
            ],
            Payload::In(512),
        ),
    ] {
        let (done, _) = node.run(&cdb, payload);
        assert!(
            failed_with(&done, SenseKey::ILLEGAL_REQUEST),
            "{cdb:02x?}: {done:?}"
        );
    }
    let (done, _) = node.run_on(Lun([0, 9, 0, 0, 0, 0, 0, 0]), &[0; 6], Payload::None);
    assert!(failed_with(&done, SenseKey::ILLEGAL_REQUEST), "{done:?}");
    still_works_alone(&mut node);
}

fn still_works_alone(node: &mut Initiator) {
    assert_eq!(node.write(0, &[1; BLOCK]), Status::GOOD);
    assert_eq!(node.read(0, BLOCK), [1; BLOCK]);
}

#[test]
fn a_flood_of_logins_takes_its_share_and_no_more() {
    let fixture = Fixture::with(
        |config| {
            config.limits.logins = 16;
            config.timeouts.login = Duration::from_secs(2);
        },
        None,
    );
    let mut other = undisturbed(&fixture);
    let address = fixture.address();
    // All from one address: it may have four logins at a time.
    let flood: Vec<_> = (0..200)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    still_works(&mut other);
    let turned_away = flood
        .iter()
        .filter(|socket| ends(socket, Duration::from_millis(1)))
        .count();
    assert!(
        turned_away >= 190,
        "{turned_away} of {} turned away",
        flood.len()
    );
    // Another address is served meanwhile.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.9:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.connect(&address.into()).unwrap();
    let socket: TcpStream = socket.into();
    assert!(
        !ends(&socket, Duration::from_millis(300)),
        "turned away for what another address did"
    );
    still_works(&mut other);
    // And once their time is over so are the others' logins.
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(15);
    while Session::connect(&options(address, "late"), soon()).is_err() {
        assert!(
            Instant::now() < deadline,
            "no login although the flood is over"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let metrics = fixture.server.admin().metrics();
    assert!(
        metrics.contains("picket_target_turned_away_total "),
        "{metrics}"
    );
    still_works(&mut other);
}

#[test]
fn a_discovery_session_that_is_kept_counts_as_a_login_and_ends_by_itself() {
    let fixture = Fixture::with(
        |config| {
            config.limits.logins = 4;
            config.timeouts.login = Duration::from_secs(2);
        },
        None,
    );
    let nosy = LoginOptions {
        target: None,
        ..login("nosy")
    };
    let mut kept = Raw::log_in_with(fixture.address(), nosy);
    // The one login that an address may have at a time.
    let second = TcpStream::connect(fixture.address()).unwrap();
    assert!(ends(&second, Duration::from_secs(1)));
    assert!(kept.is_closed());
    let deadline = Instant::now() + Duration::from_secs(15);
    while Session::connect(&options(fixture.address(), "late"), soon()).is_err() {
        assert!(Instant::now() < deadline, "its place stays taken");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the peer closes within so long.
fn ends(socket: &TcpStream, limit: Duration) -> bool {
    socket.set_read_timeout(Some(limit)).unwrap();
    matches!((&*socket).read(&mut [0]), Ok(0))
        || socket.take_error().is_ok_and(|error| error.is_some())
}

#[test]
fn an_initiator_that_takes_no_data_is_given_up_and_costs_bounded_memory() {
    let fixture = Fixture::with(
        |config| {
            config.limits.memory = 1 << 20;
            config.timeouts.silence = Duration::from_secs(1);
        },
        None,
    );
    let mut other = undisturbed(&fixture);
    let mut raw = Raw::log_in(fixture.address(), "greedy");
    // 120 reads of 1 MiB, and not a byte is taken.
    for tag in 0..120 {
        let mut cdb = [0; 10];
        cdb[0] = 0x28;
        cdb[7..9].copy_from_slice(&2048_u16.to_be_bytes());
        let command = raw.command(tag, &cdb, false, 1 << 20);
        raw.send(&command.header(), &[]);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let there = |fixture: &Fixture| fixture.server.admin().sessions().len();
    while there(&fixture) > 1 {
        still_works(&mut other);
        assert!(Instant::now() < deadline, "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn random_streams_break_nothing() {
    let fixture = Fixture::start();
    let mut other = undisturbed(&fixture);
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..60 {
        let mut raw = Raw::log_in(fixture.address(), "noise");
        for _ in 0..40 {
            let mut bytes = [0; HEADER_LEN];
            bytes
                .iter_mut()
                .for_each(|byte| *byte = random().to_be_bytes()[0]);
            // Opcodes of initiators, short data segments: so that most of it is looked at.
            bytes[0] = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x41][usize::from(bytes[0] % 8)];
            bytes[4..7].fill(0);
            bytes[24..28].copy_from_slice(&raw.next().number.0.to_be_bytes());
            if round % 2 == 0 {
                bytes[8..16].fill(0);
            }
            let data = vec![0xEE; usize::from(bytes[7])];
            raw.send(&Header::from(bytes), &data);
        }
        let _ = raw.socket.shutdown(Shutdown::Write);
        while raw.receive().is_some() {}
        still_works(&mut other);
    }
    assert_eq!(other.status(&[0; 6], Payload::None), Status::GOOD);
}
