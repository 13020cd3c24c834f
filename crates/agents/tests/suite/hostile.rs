//! The agents against daemons that answer wrongly, late, in pieces, or not at all.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{Ended, Folder, KEY, agent, daemon, handshake, hold, read_request, run};
use fence_wire::{HostRecord, Reply, encode_list};

fn virt(folder: &Folder, port: u16, args: &[&str]) -> Command {
    let mut command = agent("fence_virt");
    command
        .args([
            "-T",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-k",
            &folder.key(),
        ])
        .args(args);
    command
}

/// The agent against a daemon that is honest until its answer, and then does `last`.
fn ask(args: &[&str], last: impl Fn(TcpStream) + Send + Sync + 'static) -> Ended {
    let folder = Folder::new();
    let port = daemon(move |mut stream| {
        read_request(&mut stream);
        assert!(handshake(&mut stream, KEY));
        last(stream);
    });
    run(&mut virt(&folder, port, args))
}

fn answer(args: &[&str], bytes: &'static [u8]) -> Ended {
    ask(args, move |mut stream| {
        stream.write_all(bytes).expect("answer");
        hold(stream);
    })
}

/// The table of `facts` 2.6, as far as the C agents are safe.
#[test]
fn every_reply() {
    let cases: [(&str, &[u8], i32, &str); 13] = [
        ("status", &[0], 0, "Status: ON\n"),
        ("status", &[2], 2, "Status: OFF\n"),
        ("status", &[1], 1, ""),
        ("status", &[3], 3, ""),
        ("status", &[4], 4, ""),
        ("off", &[0], 0, ""),
        ("off", &[1], 1, ""),
        ("off", &[2], 2, ""),
        ("off", &[3], 3, ""),
        ("reboot", &[254], 254, ""),
        ("on", &[255], 255, ""),
        ("monitor", &[0], 0, ""),
        ("list", &[0], 1, ""),
    ];
    for (action, bytes, code, stdout) in cases {
        let ended = answer(&["-o", action, "-n", "vm1", "-t", "5"], bytes);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(code), stdout),
            "{action} {bytes:?} {ended:?}"
        );
        assert_eq!(
            ended.stderr.is_empty(),
            code == 0 || (action, code) == ("status", 2),
            "{ended:?}"
        );
    }
}

#[test]
fn a_list_in_pieces_with_rubbish_in_its_padding() {
    let hosts = [record("vm1", 1), record("vm2", 3)];
    let mut bytes = encode_list(&hosts, Reply::SUCCESS);
    bytes[1 + 63] = 0x31; // C daemons leave stack memory there
    bytes[1 + 129] = 0x6d;
    let ended = ask(&["-o", "list", "-t", "10"], move |mut stream| {
        stream.set_nodelay(true).expect("nodelay");
        for piece in bytes.chunks(7) {
            stream.write_all(piece).expect("piece");
        }
    });
    let uuid = "11111111-1111-4111-8111-111111111111";
    let wanted = format!("{:<32} {uuid} on\n{:<32} {uuid} off\n", "vm1", "vm2");
    assert_eq!((ended.code, ended.stdout), (Some(0), wanted));
}

fn record(name: &str, state: u8) -> HostRecord {
    HostRecord {
        name: name.to_owned(),
        uuid: "11111111-1111-4111-8111-111111111111".to_owned(),
        state,
    }
}

/// W27: the C agents exit 0 on a stalled list, and never end on one that is cut off.
#[test]
fn w27_a_list_that_stalls_or_is_cut_is_an_error() {
    let list = || encode_list(&[record("vm1", 1)], Reply::SUCCESS);
    let stalled = ask(&["-o", "list", "-t", "1"], move |mut stream| {
        stream.write_all(&list()[..100]).expect("part");
        hold(stream);
    });
    assert_eq!(
        (stalled.code, stalled.stdout.as_str()),
        (Some(1), ""),
        "{stalled:?}"
    );
    assert!(
        stalled.stderr.contains("timed out") && stalled.took < Duration::from_secs(3),
        "{stalled:?}"
    );
    let cut = ask(&["-o", "list", "-t", "10"], move |mut stream| {
        stream.write_all(&list()[..200]).expect("part");
    });
    assert_eq!((cut.code, cut.stdout.as_str()), (Some(1), ""), "{cut:?}");
    assert!(
        cut.stderr.contains("cut off") && cut.took < Duration::from_secs(3),
        "{cut:?}"
    );
}

#[test]
fn no_answer_in_time_is_a_status_of_its_own() {
    let ended = ask(&["-o", "off", "-n", "vm1", "-t", "1"], hold);
    assert_eq!(ended.code, Some(255), "{ended:?}");
    assert!(
        ended.stderr.contains("timed out") && ended.stderr.contains("not known"),
        "{ended:?}"
    );
    assert!(ended.took < Duration::from_secs(3), "{ended:?}");
}

#[test]
fn a_connection_closed_instead_of_an_answer_is_a_failure() {
    let late = ask(&["-o", "off", "-n", "vm1", "-t", "5"], drop);
    assert_eq!(late.code, Some(1), "{late:?}");
    let folder = Folder::new();
    let port = daemon(|mut stream| {
        read_request(&mut stream);
    });
    let early = run(&mut virt(&folder, port, &["-o", "off", "-n", "vm1"]));
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(
        early.stderr.contains("key"),
        "names the likely cause: {early:?}"
    );
}

#[test]
fn a_daemon_with_another_key_is_refused() {
    let folder = Folder::new();
    let port = daemon(|mut stream| {
        read_request(&mut stream);
        if !handshake(&mut stream, b"another key") {
            return;
        }
        let _ = stream.write_all(&[0]);
    });
    let ended = run(&mut virt(&folder, port, &["-o", "off", "-n", "vm1"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("failed authentication"), "{ended:?}");
}

#[test]
fn sigterm_ends_it_at_once_with_a_message() {
    let folder = Folder::new();
    let (told, asked) = std::sync::mpsc::channel();
    let port = daemon(move |mut stream| {
        read_request(&mut stream);
        let _ = told.send(());
        hold(stream);
    });
    let mut command = virt(&folder, port, &["-o", "off", "-n", "vm1", "-t", "30"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    asked
        .recv_timeout(Duration::from_secs(10))
        .expect("the agent asks");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let output = child.wait_with_output().expect("end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SIGTERM"), "{stderr}");
}

#[test]
fn nobody_there() {
    let folder = Folder::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let ended = run(&mut virt(&folder, port, &["-o", "status", "-n", "vm1"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot connect"), "{ended:?}");
    // VMChannel has had its own status for this since the C agent.
    let mut channel = agent("fence_virt");
    channel.args([
        "-A",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-o",
        "status",
        "-n",
        "vm1",
    ]);
    assert_eq!(run(&mut channel).code, Some(255));
}

#[test]
fn vmchannel_needs_no_key_and_finds_the_frame_in_noise() {
    let port = daemon(|mut stream| {
        let mut frame = [0; 74];
        std::io::Read::read_exact(&mut stream, &mut frame).expect("frame");
        assert_eq!(&frame[..9], b"abba\x04\x00vm1");
        stream
            .write_all(b"\x61\x61\x62\x62\x61\x02")
            .expect("answer");
        hold(stream);
    });
    let mut command = agent("fence_virt");
    command.args([
        "-A",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-k",
        "/nonexistent",
        "-o",
        "status",
        "-n",
        "vm1",
    ]);
    let ended = run(&mut command);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(2), "Status: OFF\n"),
        "{ended:?}"
    );
}

/// An answer left over from a run that gave up must not become the answer to the next request.
#[test]
fn a_stale_answer_on_a_serial_line_is_not_ours() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
    grantpt(&master).expect("grant");
    unlockpt(&master).expect("unlock");
    let device = ptsname(&master, Vec::new())
        .expect("name")
        .into_string()
        .expect("UTF-8");
    let mut host = std::fs::File::from(master);
    // Somebody has the line open, as a terminal or a getty would: what is written to it stays there.
    let _open = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&device)
        .expect("the line");
    host.write_all(b"abba\x00").expect("stale success");
    let host_end = std::thread::spawn(move || {
        let mut frame = [0; 74];
        std::io::Read::read_exact(&mut host, &mut frame).expect("frame");
        host.write_all(b"abba\x01").expect("failure");
        std::thread::sleep(Duration::from_millis(500)); // closing the line would throw the answer away
    });
    let ended = run(agent("fence_virt").args(["-D", &device, "-o", "off", "-n", "vm1", "-t", "5"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    host_end.join().expect("host");
}

/// W16: without its key file the C agent sends unsigned requests.
#[test]
fn w16_no_key_file_no_request() {
    for args in [
        &["-k", "/nonexistent/key"][..],
        &["-k", "/dev/null"],
        &["-k", "/tmp"],
    ] {
        let ended = run(agent("fence_xvm")
            .args(["-o", "off", "-n", "vm1"])
            .args(args));
        assert_eq!(ended.code, Some(1), "{args:?} {ended:?}");
        assert!(
            ended.stderr.contains("key file") && ended.stderr.contains("copy the host's key"),
            "{ended:?}"
        );
    }
    let unsigned = [
        "-o",
        "validate-all",
        "-n",
        "vm1",
        "-k",
        "/nonexistent/key",
        "-c",
        "none",
        "-C",
        "none",
    ];
    assert_eq!(run(agent("fence_xvm").args(unsigned)).code, Some(0));
}

/// I08: the C agents answer an unknown option with usage and exit 0.
#[test]
fn i08_an_unknown_option_is_an_error() {
    for name in ["fence_xvm", "fence_virt"] {
        for args in [
            &["-Z"][..],
            &["--nope"],
            &["-o", "metadata", "-Z"],
            &["-M", "x"],
        ] {
            let ended = run(agent(name).args(args));
            assert_eq!(
                (ended.code, ended.stdout.as_str()),
                (Some(1), ""),
                "{name} {args:?} {ended:?}"
            );
            assert!(ended.stderr.contains("unknown option"), "{ended:?}");
        }
    }
}

#[test]
fn validate_all_reports_every_problem() {
    let args = [
        "-o",
        "validate-all",
        "-n",
        "vm1",
        "-k",
        "/nonexistent",
        "-a",
        "10.0.0.1",
        "-p",
        "70000",
    ];
    let ended = run(agent("fence_xvm").args(args));
    assert_eq!(ended.code, Some(1));
    for wanted in ["key file", "multicast_address", "ipport"] {
        assert!(ended.stderr.contains(wanted), "{wanted}: {}", ended.stderr);
    }
    let long = "x".repeat(64);
    let ended = run(agent("fence_xvm").args([
        "-o",
        "validate-all",
        "-c",
        "none",
        "-C",
        "none",
        "-n",
        &long,
    ]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let status = agent("fence_xvm")
        .args(["-o", "metadata"])
        .stdout(full)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.expect("run").code(), Some(1));
    let script = "exec \"$0\" fence_xvm -o metadata >&-";
    let closed = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_picket-agents")])
        .output();
    assert_eq!(closed.expect("run").status.code(), Some(1));
}

#[test]
fn as_pacemaker_calls_it() {
    let folder = Folder::new();
    let port = daemon(|mut stream| {
        let request = read_request(&mut stream);
        assert_eq!(
            request.plug.as_ref().map(fence_wire::Plug::as_str),
            Some("vm7")
        );
        assert!(handshake(&mut stream, KEY));
        stream.write_all(&[0]).expect("answer");
    });
    let lines = format!(
        "port=node1\nnodename=node1\naction=reboot\nplug=vm7\nipaddr=127.0.0.1\nipport={port}\nkey_file={}\n",
        folder.key()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_picket-agents"));
    let link = folder.path("fence_virt");
    std::os::unix::fs::symlink(command.get_program(), &link).expect("link");
    command = Command::new(link);
    let mut child = command
        .env("PCMK_service", "pacemaker-fenced")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(lines.as_bytes())
        .expect("lines");
    let output = child.wait_with_output().expect("end");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_multi_call_binary() {
    let plain = |args: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_picket-agents")).args(args));
    assert_eq!(
        plain(&["--list"]).stdout,
        "fence_xvm\nfence_virt\nfence_scsi\nfence_rhevm\nfence_rhev\nfence_vmware\nfence_vmware_soap\n\
         fence_vmware_rest\nfence_hyperv\n"
    );
    for wrong in [&[][..], &["fence_nothing"]] {
        let ended = plain(wrong);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains("Usage:") && ended.stderr.contains("fence_xvm"),
            "{ended:?}"
        );
    }
    let folder = Folder::new();
    let at = folder.path("").to_string_lossy().into_owned();
    for _ in 0..2 {
        assert_eq!(
            plain(&["install", &at]).code,
            Some(0),
            "also the second time"
        );
    }
    let ended = run(Command::new(folder.path("fence_xvm")).args(["-o", "metadata"]));
    assert!(
        ended.stdout.contains("<resource-agent name=\"fence_xvm\""),
        "{ended:?}"
    );
}
