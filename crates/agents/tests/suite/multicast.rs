//! Multicast, in a network namespace of its own: nothing leaves this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::support::{Ended, Folder, KEY, agent, handshake, hold, run};
use fence_wire::{HashType, Key, MULTICAST_V4, Request, Unverified};
use rustix::thread::UnshareFlags;

/// Runs `test` on a thread in a fresh network namespace with loopback up.
fn isolated(test: fn()) {
    let thread = thread::spawn(move || {
        // SAFETY: only the network namespace of this one thread changes; no file descriptors, no
        // memory and no other thread are concerned.
        if let Err(error) = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) } {
            eprintln!("SKIPPED: a network namespace needs root: {error}");
            return;
        }
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .expect("ip, of iproute2");
        assert!(up.success());
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A host that hears the group on loopback.
struct Host(UdpSocket);

impl Host {
    fn new(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("UDP port");
        socket
            .join_multicast_v4(&MULTICAST_V4, &Ipv4Addr::LOCALHOST)
            .expect("join");
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
        Self(socket)
    }

    fn hear(&self) -> Request {
        let mut packet = [0; 512];
        let (length, _) = self.0.recv_from(&mut packet).expect("a request");
        let unverified = Unverified::decode(&packet[..length]).expect("a request");
        unverified
            .verify(HashType::Sha256, &Key::new(KEY))
            .expect("signed")
    }
}

fn caller(request: &Request) -> TcpStream {
    TcpStream::connect(request.reply_to.expect("an address")).expect("the agent listens")
}

fn xvm(folder: &Folder, args: &[&str]) -> Command {
    let mut command = agent("fence_xvm");
    command.args(["-k", &folder.key()]).args(args);
    command
}

/// The agent beside a host that does `script`.
fn beside(args: &[&str], script: impl FnOnce(Host)) -> Ended {
    let folder = Folder::new();
    let host = Host::new(fence_wire::PORT);
    let mut command = xvm(&folder, args);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let start = std::time::Instant::now();
    script(host);
    let output = child.wait_with_output().expect("end");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: start.elapsed(),
    }
}

/// W20, W21: the C agent takes whoever connects first for the host, and gives up if it misbehaves.
#[test]
fn w21_strangers_do_not_keep_the_host_out() {
    isolated(|| {
        let ended = beside(&["-o", "status", "-n", "vm1", "-t", "10"], |host| {
            let request = host.hear();
            let silent = caller(&request);
            drop(caller(&request));
            caller(&request).write_all(&[0; 200]).expect("rubbish");
            let mut liar = caller(&request);
            assert!(!handshake(&mut liar, b"another key"));
            let mut real = caller(&request);
            assert!(handshake(&mut real, KEY));
            real.write_all(&[0]).expect("answer");
            hold(real);
            drop(silent);
        });
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(0), "Status: ON\n"),
            "{ended:?}"
        );
        assert!(ended.took < Duration::from_secs(5), "{ended:?}");
    });
}

#[test]
fn a_silent_stranger_does_not_stop_the_repetitions() {
    isolated(|| {
        let ended = beside(
            &["-o", "status", "-n", "vm1", "-t", "10", "-r", "3"],
            |host| {
                let first = host.hear();
                let _silent = caller(&first);
                let second = host.hear();
                let third = host.hear();
                assert_eq!((first.seqno, first.seqno), (second.seqno, third.seqno));
                assert_ne!(first.random, second.random);
                let mut real = caller(&third);
                assert!(handshake(&mut real, KEY));
                real.write_all(&[2]).expect("answer");
            },
        );
        assert_eq!(ended.code, Some(2), "{ended:?}");
    });
}

/// Two hosts call back and both know the key: only one is let to act.
#[test]
fn one_host_acts() {
    isolated(|| {
        let ended = beside(&["-o", "on", "-n", "vm1", "-t", "10"], |host| {
            let request = host.hear();
            let mut first = caller(&request);
            let mut second = caller(&request);
            prove(&mut first);
            prove(&mut second);
            let allowed = |mut stream: TcpStream, tell: mpsc::Sender<bool>| {
                let mut answer = [0; 64];
                stream
                    .set_read_timeout(Some(Duration::from_secs(1)))
                    .expect("timeout");
                let got = stream.read_exact(&mut answer).is_ok();
                if got {
                    thread::sleep(Duration::from_millis(1200)); // a slow action
                    stream.write_all(&[0]).expect("reply");
                }
                tell.send(got).expect("tell");
            };
            let (tell, told) = mpsc::channel();
            for stream in [first, second] {
                let tell = tell.clone();
                thread::spawn(move || allowed(stream, tell));
            }
            let got: Vec<bool> = told.iter().take(2).collect();
            assert_eq!(got.iter().filter(|got| **got).count(), 1, "{got:?}");
        });
        assert_eq!(ended.code, Some(0), "{ended:?}");
    });
}

/// A host's end of the handshake up to the agent's answer, which only the host that may act gets.
fn prove(stream: &mut TcpStream) {
    let mut challenge = [0; 64];
    stream.read_exact(&mut challenge).expect("challenge");
    let answer = fence_wire::answer(HashType::Sha256, &Key::new(KEY), &challenge);
    stream.write_all(&answer).expect("answer");
    stream.write_all(&[9; 64]).expect("challenge");
}

/// The agent's answer to a host that has proven itself; false if none comes soon.
fn is_let_to_act(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("timeout");
    stream.read_exact(&mut [0; 64]).is_ok()
}

/// The host that runs the guest cannot end it; another one has only its definition, shut off, and
/// would say "off already". Its word must not overrule the failure.
#[test]
fn a_failure_is_not_overruled_by_another_host() {
    isolated(|| {
        for action in ["off", "reboot", "status"] {
            let ended = beside(&["-o", action, "-n", "vm1", "-t", "10"], |host| {
                let request = host.hear();
                let mut owner = caller(&request);
                prove(&mut owner);
                assert!(is_let_to_act(&mut owner));
                let mut other = caller(&request);
                prove(&mut other);
                thread::sleep(Duration::from_millis(200));
                owner.write_all(&[1]).expect("failure");
                if is_let_to_act(&mut other) {
                    let _ = other.write_all(&[if action == "status" { 2 } else { 0 }]);
                }
            });
            assert_eq!(ended.code, Some(1), "{action}: {ended:?}");
        }
    });
}

/// More hosts call back, while one is acting, than the agent keeps connections.
#[test]
fn the_host_that_acts_does_not_make_room_for_others() {
    isolated(|| {
        let ended = beside(&["-o", "off", "-n", "vm1", "-t", "10"], |host| {
            let request = host.hear();
            let mut owner = caller(&request);
            prove(&mut owner);
            assert!(is_let_to_act(&mut owner));
            let mut others: Vec<TcpStream> = Vec::new();
            for _ in 0..15 {
                let mut other = caller(&request);
                prove(&mut other);
                others.push(other);
            }
            thread::sleep(Duration::from_millis(200));
            let late = caller(&request);
            thread::sleep(Duration::from_millis(200));
            owner.write_all(&[0]).expect("success");
            hold(owner);
            drop(late);
        });
        assert_eq!(ended.code, Some(0), "{ended:?}");
    });
}

/// W28: parallel runs of the C agent in one guest collide on the TCP port.
#[test]
fn w28_a_busy_port_is_no_obstacle() {
    isolated(|| {
        let _busy = TcpListener::bind((Ipv4Addr::UNSPECIFIED, fence_wire::PORT)).expect("port");
        let ended = beside(&["-o", "status", "-n", "vm1", "-t", "10"], |host| {
            let request = host.hear();
            assert_ne!(request.reply_to.map(|to| to.port()), Some(fence_wire::PORT));
            let mut real = caller(&request);
            assert!(handshake(&mut real, KEY));
            real.write_all(&[0]).expect("answer");
        });
        assert_eq!(ended.code, Some(0), "{ended:?}");
    });
}

#[test]
fn the_usual_port_when_it_is_free() {
    isolated(|| {
        beside(&["-o", "status", "-n", "vm1", "-t", "1"], |host| {
            let to = host.hear().reply_to.expect("address");
            assert_eq!(
                to,
                SocketAddr::from((Ipv4Addr::LOCALHOST, fence_wire::PORT))
            );
        });
    });
}

/// W27: the C agent never ends when timeout × 10 is less than retrans.
#[test]
fn w27_a_timeout_shorter_than_retrans_ends() {
    isolated(|| {
        let folder = Folder::new();
        for args in [&["-t", "1"][..], &["-t", "1", "-r", "50"]] {
            let ended = run(xvm(&folder, args).args(["-o", "status", "-n", "vm1"]));
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stderr.contains("timed out"), "{ended:?}");
            let range = Duration::from_millis(900)..Duration::from_millis(2500);
            assert!(range.contains(&ended.took), "{ended:?}");
        }
    });
}

#[test]
fn no_address_to_be_called_back_on_is_said() {
    isolated(|| {
        let folder = Folder::new();
        let ended = run(xvm(
            &folder,
            &["-i", "ipv6", "-t", "1", "-o", "status", "-n", "vm1"],
        )
        .stdin(Stdio::null()));
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("no global IPv6 address"), "{ended:?}");
    });
}
