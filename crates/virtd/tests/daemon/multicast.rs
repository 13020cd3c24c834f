//! The multicast listener, from the datagram to the connection back. Datagrams go to the listener's
//! port on loopback; that they need not come through the group is a fact of the protocol.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use fence_wire::{Answer, HashType, Key, Operation, Reply, Request};
use virtd::config;
use virtd::listener::Running;

use crate::common::{Daemon, SECRET, Setup, converse, host, request};

/// Ports of the tests' listeners, away from those the kernel hands out.
static PORT: AtomicU16 = AtomicU16::new(21_229);

/// A multicast listener in front of a daemon, and an agent's two sockets.
struct Agent {
    daemon: Daemon,
    _running: Running,
    listener: TcpListener,
    socket: UdpSocket,
    to: SocketAddr,
    _key: tempfile::NamedTempFile,
}

impl Agent {
    fn new(setup: Setup, auth: HashType) -> Self {
        let daemon = setup.start();
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), SECRET).unwrap();
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "fence_virtd {{ listener = \"multicast\"; backend = \"libvirt\"; }}
             listeners {{ multicast {{ interface = \"lo\"; port = \"{port}\"; auth = \"{auth}\"; key_file = \"{}\"; }} }}
             backends {{ libvirt {{ uri = \"test:///default\"; }} }}",
            key.path().display()
        );
        let mut listener = config::parse(&text, "f")
            .unwrap()
            .config
            .listeners
            .remove(0);
        listener.prepare(false, &mut Vec::new()).unwrap();
        let running = daemon
            .block_on(listener.start(&daemon.service, None))
            .unwrap();
        let back = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        back.set_nonblocking(true).unwrap();
        Self {
            daemon,
            _running: running,
            listener: back,
            socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            to: (Ipv4Addr::LOCALHOST, port).into(),
            _key: key,
        }
    }

    fn request(&self, operation: Operation, plug: &str) -> Request {
        let mut request = request(operation, plug);
        request.reply_to = Some(self.listener.local_addr().unwrap());
        request
    }

    fn send(&self, request: &Request) {
        let packet = request.encode(HashType::Sha256, &Key::new(SECRET));
        self.socket.send_to(&packet, self.to).unwrap();
    }

    /// The next connection of the daemon's, if it comes within `limit`.
    fn accept(&self, limit: Duration) -> Option<TcpStream> {
        let deadline = Instant::now() + limit;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream
                        .set_read_timeout(Some(Duration::from_secs(10)))
                        .unwrap();
                    return Some(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() > deadline {
                        return None;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

const SOON: Duration = Duration::from_millis(800);
const LATER: Duration = Duration::from_secs(5);

#[test]
fn the_daemon_connects_back_and_answers() {
    let agent = Agent::new(Setup::default(), HashType::Sha256);
    agent.send(&agent.request(Operation::STATUS, "vm1"));
    let mut stream = agent.accept(SOON).expect("a connection");
    let answer = converse(&mut stream, HashType::Sha256).unwrap();
    assert_eq!(answer, Answer::Reply(Reply::SUCCESS));
    let record = agent
        .daemon
        .await_record(|record| record["operation"] == "status");
    assert_eq!(record["listener"], "multicast");
}

#[test]
fn a_retransmission_makes_no_second_connection() {
    let memory = host("memory:1", &["vm1"]);
    let setup = Setup {
        hosts: vec![memory.clone()],
        ..Setup::default()
    };
    let agent = Agent::new(setup, HashType::Sha256);
    let mut request = agent.request(Operation::OFF, "vm1");
    for number in 0..5 {
        request.random[0] = number;
        agent.send(&request);
    }
    let mut stream = agent.accept(SOON).expect("a connection");
    let answer = converse(&mut stream, HashType::Sha256).unwrap();
    assert_eq!(answer, Answer::Reply(Reply::SUCCESS));
    request.random[0] = 9;
    agent.send(&request);
    assert!(agent.accept(SOON).is_none());
    assert_eq!(memory.calls().power_off, 1);
}

#[test]
fn a_connection_that_failed_is_made_again_for_the_next_retransmission() {
    let agent = Agent::new(Setup::default(), HashType::Sha256);
    let mut request = agent.request(Operation::STATUS, "vm1");
    agent.send(&request);
    // Broken off before the agent has proven itself.
    drop(agent.accept(SOON).expect("a connection"));
    let deadline = Instant::now() + LATER;
    loop {
        request.random[0] += 1;
        agent.send(&request);
        if let Some(mut stream) = agent.accept(Duration::from_millis(200)) {
            let answer = converse(&mut stream, HashType::Sha256).unwrap();
            assert_eq!(answer, Answer::Reply(Reply::SUCCESS));
            return;
        }
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn w05_a_host_that_does_not_know_the_guest_leaves_it_to_others_first() {
    let agent = Agent::new(Setup::default(), HashType::Sha256);
    agent.send(&agent.request(Operation::STATUS, "vm9"));
    assert!(agent.accept(SOON).is_none());
    // Nobody else has answered, so it does: with failure, not with off.
    let mut stream = agent.accept(LATER).expect("a connection");
    let answer = converse(&mut stream, HashType::Sha256).unwrap();
    assert_eq!(answer, Answer::Reply(Reply::FAILURE));
}

#[test]
fn w07_a_datagram_of_another_length_is_nothing() {
    let memory = host("memory:1", &["vm1"]);
    let setup = Setup {
        hosts: vec![memory.clone()],
        auth: HashType::None,
        ..Setup::default()
    };
    let agent = Agent::new(setup, HashType::None);
    let packet = agent
        .request(Operation::OFF, "vm1")
        .encode(HashType::Sha256, &Key::new(SECRET));
    let mut long = packet.to_vec();
    long.push(0);
    for bad in [&packet[..1], &packet[..175], &[], &long] {
        agent.socket.send_to(bad, agent.to).unwrap();
    }
    assert!(agent.accept(SOON).is_none());
    agent.socket.send_to(&packet, agent.to).unwrap();
    assert!(agent.accept(SOON).is_some());
    // One byte after a good packet repeats nothing.
    agent.socket.send_to(&packet[..1], agent.to).unwrap();
    assert!(agent.accept(SOON).is_none());
    assert_eq!(memory.calls().power_off, 1);
}
