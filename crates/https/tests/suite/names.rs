//! Name look-ups that do not come back. The C library reads `/etc/resolv.conf`, so this happens in a process with namespaces of
//! its own, where a name server on 127.0.0.1 takes questions and never answers.

use std::net::UdpSocket;
use std::process::Command;

use https::{Client, Error};

use crate::support::{after, ample, get, interrupt_after, plain, timed};

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child_with_a_silent_name_server() {
    let _silent = UdpSocket::bind("127.0.0.1:53").unwrap();
    let mut endpoint = plain(80);
    endpoint.host = "rhevm.example".to_owned();
    let send = || Client::new(endpoint.clone(), None).send(get("/"), after(300));
    let error = timed(300, 3000, send).unwrap_err();
    assert!(!error.may_have_been_carried_out());
    let Error::DeadlinePassed { doing, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(doing, "looking the name up");
    let mut client = Client::new(endpoint.clone(), Some(interrupt_after(200)));
    let error = timed(200, 3000, || client.send(get("/"), ample())).unwrap_err();
    assert!(
        matches!(error, Error::Interrupted { sent: false, .. }),
        "{error}"
    );
    // Threads that are stuck in the C library are bounded.
    let mut refused = false;
    for _ in 0..20 {
        let outcome = Client::new(endpoint.clone(), None).send(get("/"), after(10));
        refused |= matches!(outcome, Err(Error::NoAddress { .. }));
    }
    assert!(refused, "look-ups without end");
    println!("everything was seen");
}

#[test]
fn a_name_server_that_does_not_answer() {
    let files = tempfile::tempdir().unwrap();
    let resolv = files.path().join("resolv.conf");
    std::fs::write(
        &resolv,
        "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n",
    )
    .unwrap();
    let prepare =
        "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", prepare, "sh"])
        .arg(&resolv)
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "names::child_with_a_silent_name_server",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !said.contains("running 1 test") {
        return skip(&format!("needs root, for namespaces: {said}"));
    }
    assert!(
        output.status.success() && said.contains("everything was seen"),
        "{said}"
    );
}

fn skip(reason: &str) {
    assert!(
        std::env::var_os("PICKET_NO_SKIP").is_none_or(|value| value != "1"),
        "a test would be skipped, and PICKET_NO_SKIP forbids that: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}
