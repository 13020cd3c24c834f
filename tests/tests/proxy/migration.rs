//! Guests move among the hosts behind one interface, and are followed.

use std::{fs, process::Command, slice};

use picket_tests::{
    daemon::Route,
    process::{PATIENCE, Process, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
    subject::ours,
};

use crate::{
    Conf, ask, audit, expect, password,
    platform::{PASSWORD, post},
};

const GUID: &str = "00000001-0000-4000-8000-000000000001";

/// A failover cluster of two Hyper-V hosts: the node that owns the guest is found and followed.
#[test]
fn a_clustered_guest_is_fenced_where_it_has_gone() {
    if skipped(&PEERS) {
        return;
    }
    let rig = Rig::new();
    let world = rig.path("world");
    let text = format!(
        "node HV1\nnode HV2\ncluster CL1\nguest vm1 {GUID} HV1 2 vm1-role\nbehave stop 100\n"
    );
    fs::write(&world, text).expect("the test's directory takes files");
    let mut command = Command::new(ours("hyperv-host"));
    command
        .args(["--user", "CORP\\fence:secret", "--world"])
        .arg(world);
    let server = Process::start(&mut command, Some(&rig.cable.host), rig.dir());
    let places: Vec<String> = wait_for("both nodes to listen", PATIENCE, || {
        let printed = server.stdout();
        let lines = printed.lines().filter_map(|line| line.split_once(' '));
        let places: Vec<String> = lines
            .map(|(node, place)| format!("{node}={place}"))
            .collect();
        (places.len() == 2 && printed.ends_with('\n')).then_some(places)
    });
    let first = places[0].trim_start_matches("HV1=").to_owned();
    let address = format!(
        "hyperv://CORP%5Cfence@{first}/?password_file={}&transport=http&cluster=yes&hosts={}",
        password(&rig, PASSWORD).display(),
        places.join(",")
    );
    let guest = "vm1".to_owned();
    let line = format!("\t\thypervisor = \"{address}\";\n");
    let daemon = Conf::new(&rig, Route::TcpV4, &line, slice::from_ref(&guest), "").start(&rig);
    expect(&ask(&rig, "status", Some(&guest)), 0, "status", &daemon);
    let port = first
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    post(
        &rig.cable.host,
        port.expect("a port"),
        "/-/world",
        &format!("move {GUID} HV2 0\n"),
    );
    expect(
        &ask(&rig, "status", Some(&guest)),
        0,
        "status where it has gone",
        &daemon,
    );
    expect(
        &ask(&rig, "off", Some(&guest)),
        0,
        "off where it has gone",
        &daemon,
    );
    let record = audit::record(&rig, "off", &guest, "off");
    let by = record["evidence"][0]["observation"]["by"]
        .as_str()
        .expect("somebody looked");
    assert!(by.contains("HV2"), "{record:#}");
    expect(
        &ask(&rig, "status", Some(&guest)),
        2,
        "status once it is off",
        &daemon,
    );
    assert_eq!(daemon.stop(), Some(0));
}
