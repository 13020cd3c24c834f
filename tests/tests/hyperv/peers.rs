//! Clients and an implementation of NTLM that nobody of this project wrote, against the hosts and against our NTLM.

use std::{path::Path, process::Command};

use picket_tests::{
    process::{PATIENCE, Ran, run},
    skip::{Need, skipped},
    subject::ours,
};

use crate::{ALONE, ASCII_PASSWORD, PASSWORD, VM1, VM2, World};

const PYTHON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/peers/python/bin/python"
);
const SPNEGO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/peers/python/bin/pyspnego-parse"
);
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hyperv/peer.py");

const NEEDS: [Need; 2] = [
    Need::File(PYTHON, "python3-venv, and run scripts/setup test"),
    Need::File(
        SPNEGO,
        "nothing: run scripts/setup test, which fetches pywinrm and pypsrp",
    ),
];

fn peer(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(PYTHON);
    command.arg(PEER).args(args).env("PYTHONUTF8", "1");
    run(&mut command, None, dir, None, PATIENCE * 2)
}

const WORLD: &str = "guest O'Brien%20%3C%26%3E 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E3 HV1 3\n";

/// What a client must have seen. `codes`: whether it tells the codes of faults (pywinrm tells those of shells only).
fn expected(codes: bool) -> String {
    let fault = |code: &str| {
        if codes {
            code.to_owned()
        } else {
            "s:Sender".to_owned()
        }
    };
    let all = "['HV1', \"O'Brien <&>\", 'vm1', 'vm2']";
    format!(
        "all {all} in 5\noptimized {all} in 3\nquery [\"O'Brien <&>\"] in 1\nprojected [\"O'Brien <&>\", 'vm2'] in 3\n\
         get vm1\noff 4096, job 7, state 3\noff again 32775\non 4096, job 7, state 2\nno such guest fault {}\n\
         no such class fault {}\nno query fault {}\nwrong password refused\n",
        fault("2147749890"),
        fault("2147749902"),
        fault("2150858778"),
    )
}

/// The hosts, judged by both clients, by all ways to log in that both have.
fn judged(options: &[&str], scheme: &str) {
    if skipped(&NEEDS) {
        return;
    }
    let world = World::with(&format!("{ALONE}{WORLD}"), options);
    let url = format!("{scheme}://127.0.0.1:{}", world.port());
    let trust = world.trust().display().to_string();
    let trust = if world.tls { trust.as_str() } else { "-" };
    let plain = if world.tls { "ssl" } else { "plaintext" };
    for (client, auth, user) in [
        ("pypsrp", "ntlm", "CORP\\ann"),
        ("pypsrp", "negotiate", "CORP\\ann"),
        ("pypsrp", "basic", "plain"),
        ("pywinrm", "ntlm", "CORP\\ann"),
        ("pywinrm", plain, "plain"),
    ] {
        let password = if user == "plain" {
            ASCII_PASSWORD
        } else {
            PASSWORD
        };
        let args = ["client", client, auth, &url, user, password, trust, VM1];
        let ran = peer(world.dir.path(), &args);
        assert_eq!(ran.code, Some(0), "{client} {auth}: {ran:?}");
        let wanted = expected(client == "pypsrp");
        assert_eq!(ran.stdout, wanted, "{client} {auth}: {}", ran.stderr);
    }
}

#[test]
fn foreign_clients_take_the_hosts_for_hyper_v() {
    judged(&["--basic", "--unencrypted"], "http");
}

#[test]
fn foreign_clients_take_hosts_with_tls_and_strict_binding_for_hyper_v() {
    judged(&["--basic", "--tls", "--strict-binding"], "https");
}

#[test]
fn foreign_clients_take_hosts_with_their_own_certificate_for_hyper_v() {
    judged(&["--basic", "--self-signed"], "https");
}

/// pyspnego on the other side of our NTLM, client and server, with the right password and a wrong one.
#[test]
fn ntlm_is_understood_by_pyspnego() {
    if skipped(&NEEDS) {
        return;
    }
    let world = World::alone();
    let lines = ours("ntlm-lines");
    let ran = peer(world.dir.path(), &["ntlm", &lines.display().to_string()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let wanted = "our client: CORP\\ann\nour client, wrong password: InvalidTokenError\nour server: CORP\\ann\n\
        our server: the account or its password is wrong\n";
    assert_eq!(ran.stdout, wanted, "{ran:?}");
}

/// The clients and the agent see and change the same guests.
#[test]
fn the_agent_and_foreign_clients_agree() {
    if skipped(&NEEDS) {
        return;
    }
    let world = World::with(&format!("{ALONE}{WORLD}"), &[]);
    let url = format!("http://127.0.0.1:{}", world.port());
    crate::ended(
        &world.agent(&["-o", "on", "-n", "vm2"]),
        0,
        "Success: Powered ON\n",
        "",
    );
    crate::ended(
        &world.agent(&["-o", "off", "-n", "vm1"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    assert_eq!((world.truth(VM1).0, world.truth(VM2).0), (3, 2));
    let args = [
        "client",
        "pypsrp",
        "ntlm",
        &url,
        "CORP\\ann",
        PASSWORD,
        "-",
        VM1,
    ];
    let ran = peer(world.dir.path(), &args);
    assert!(
        ran.stdout.contains("projected [\"O'Brien <&>\", 'vm1']"),
        "{ran:?}"
    );
    assert!(
        ran.stdout.contains("off 32775"),
        "the agent had turned it off: {ran:?}"
    );
    crate::ended(
        &world.agent(&["-o", "status", "-n", "vm1"]),
        0,
        "Status: ON\n",
        "",
    );
}
