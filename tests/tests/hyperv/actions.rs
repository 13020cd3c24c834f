//! Every action, over plain HTTP and TLS.

use picket_tests::{
    process::{PATIENCE, run},
    skip::{Need, skipped},
};

use crate::{ALONE, CLUSTER, VM1, VM2, World, ended, within};

#[test]
fn guests_are_switched_listed_and_watched() {
    let world = World::alone();
    for (args, code, stdout) in [
        (&["-o", "monitor"][..], 0, ""),
        (&["-o", "status", "-n", "vm1"], 0, "Status: ON\n"),
        (&["-o", "status", "-n", "vm2"], 2, "Status: OFF\n"),
        (&["-o", "off", "-n", "vm1"], 0, "Success: Powered OFF\n"),
        (&["-o", "off", "-n", "vm1"], 0, "Success: Already OFF\n"),
        (&["-o", "status", "-n", VM1], 2, "Status: OFF\n"),
        (
            &["-o", "on", "-n", &format!("{{{}}}", VM1.to_lowercase())],
            0,
            "Success: Powered ON\n",
        ),
        (&["-o", "on", "-n", "vm1"], 0, "Success: Already ON\n"),
        (&["-o", "reboot", "-n", "vm1"], 0, "Success: Rebooted\n"),
        (&["-o", "monitor", "-n", "vm1"], 0, ""),
        (&["-o", "validate-all", "-n", "vm1"], 0, ""),
    ] {
        let ran = world.agent(args);
        ended(&ran, code, stdout, "");
        assert!(ran.stderr.is_empty(), "{args:?}: {}", ran.stderr);
    }
    assert_eq!((world.truth(VM1), world.truth(VM2)), ((2, 2, 2), (3, 0, 0)));
    let (vm1, vm2) = (VM1.to_lowercase(), VM2.to_lowercase());
    ended(
        &world.agent(&["-o", "list"]),
        0,
        &format!("vm1,{vm1}\nvm2,{vm2}\n"),
        "",
    );
    ended(
        &world.agent(&["-o", "list-status"]),
        0,
        &format!("vm1,{vm1},ON\nvm2,{vm2},OFF\n"),
        "",
    );
    ended(
        &world.by_stdin("action=off\nplug=vm1"),
        0,
        "Success: Powered OFF\n",
        "",
    );
}

#[test]
fn one_run_is_one_connection_and_one_login() {
    let world = World::alone();
    let before = world.connections();
    ended(
        &world.agent(&["-o", "reboot", "-n", "vm1"]),
        0,
        "Success: Rebooted\n",
        "",
    );
    assert_eq!(world.connections(), before + 1);
}

#[test]
fn evidence_names_who_saw_it() {
    let world = World::alone();
    let ran = world.agent(&["-v", "-o", "off", "-n", "vm1"]);
    ended(&ran, 0, "Success: Powered OFF\n", "destroyed in");
    assert!(
        ran.stderr.contains("vm1 is shut off") && ran.stderr.contains("Hyper-V host"),
        "{ran:?}"
    );
}

#[test]
fn tls_with_strict_binding_an_authority_or_the_certificate_itself() {
    for option in ["--tls", "--self-signed"] {
        let world = World::with(ALONE, &[option, "--strict-binding"]);
        ended(&world.agent(&["-o", "monitor"]), 0, "", "");
        ended(
            &world.agent(&["-o", "off", "-n", "vm1"]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        ended(
            &world.agent(&["-o", "status", "-n", "vm1"]),
            2,
            "Status: OFF\n",
            "",
        );
    }
}

#[test]
fn basic_where_it_is_enabled() {
    let world = World::with(ALONE, &["--tls", "--basic"]);
    let ran = world.agent_as("loc", &["--auth", "basic", "-o", "off", "-n", "vm1"]);
    ended(&ran, 0, "Success: Powered OFF\n", "");
    let world = World::with(ALONE, &["--basic", "--unencrypted"]);
    let ran = world.agent_as("loc", &["--auth", "basic", "-o", "off", "-n", "vm1"]);
    ended(
        &ran,
        0,
        "Success: Powered OFF\n",
        "the password travels readable",
    );
}

#[test]
fn a_certificate_in_the_place_of_a_password() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let dir = picket_tests::rig::temp_dir();
    let [authority_file, client_file] = ["authority", "client"].map(|name| dir.path().join(name));
    let authority_key = KeyPair::generate().expect("keys can be made");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let trusted = authority.self_signed(&authority_key).expect("it is whole");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("keys can be made");
    let leaf = CertificateParams::new(vec!["fence.example".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("it is whole");
    let client = format!("{}{}", leaf.pem(), key.serialize_pem());
    std::fs::write(&authority_file, trusted.pem()).expect("the test's directory takes files");
    std::fs::write(&client_file, client).expect("the test's directory takes files");
    let (authority, client) = (
        authority_file.display().to_string(),
        client_file.display().to_string(),
    );
    let options = ["--tls", "--no-negotiate", "--client-authority", &authority];
    let world = World::start(dir, ALONE, &options);
    let mut command = world.command();
    command.args([
        "--auth",
        "certificate",
        "--ssl-client-cert",
        &client,
        "-o",
        "off",
        "-n",
        "vm1",
    ]);
    let ran = run(&mut command, None, world.dir.path(), None, PATIENCE);
    ended(&ran, 0, "Success: Powered OFF\n", "");
}

#[test]
fn several_plugs_are_all_switched() {
    let world = World::with(CLUSTER, &[]);
    ended(
        &world.agent(&["-o", "off", "-n", "vm1,vm2,vm3"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    assert_eq!(world.truth(VM1).0, 3);
    assert_eq!(world.truth(crate::VM3), (3, 0, 1));
}

#[test]
fn states_that_are_not_off() {
    for state in [4, 6, 9, 10, 32769, 32773, 32784] {
        let world = World::with(&format!("node HV1\nguest vm1 {VM1} HV1 {state}\n"), &[]);
        ended(
            &world.agent(&["-o", "status", "-n", "vm1"]),
            0,
            "Status: ON\n",
            "",
        );
        ended(
            &world.agent(&["-o", "off", "-n", "vm1"]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        assert_eq!(world.truth(VM1), (3, 0, 1), "{state}");
    }
    for state in [0, 1, 32775, 40000] {
        let world = World::with(&format!("node HV1\nguest vm1 {VM1} HV1 {state}\n"), &[]);
        ended(
            &world.agent(&["-o", "status", "-n", "vm1"]),
            1,
            "",
            "cannot tell",
        );
        ended(
            &world.agent(&["-o", "off", "-n", "vm1"]),
            0,
            "Success: Powered OFF\n",
            "",
        );
    }
    let world = World::with(&format!("node HV1\nguest vm1 {VM1} HV1 32782\n"), &[]);
    ended(
        &world.agent(&["-o", "off", "-n", "vm1"]),
        0,
        "Success: Already OFF\n",
        "",
    );
}

#[test]
fn hosts_of_2008() {
    let world = World::alone();
    world.tell("behave v2 no\nbehave v1 yes");
    ended(&world.agent(&["-o", "monitor"]), 0, "", "");
    ended(
        &world.agent(&["-o", "reboot", "-n", "vm1"]),
        0,
        "Success: Rebooted\n",
        "",
    );
    ended(
        &world.agent(&["--namespace", "v2", "-o", "status", "-n", "vm1"]),
        1,
        "",
        "namespace",
    );
}

#[test]
fn a_hung_worker_process() {
    let world = World::alone();
    world.tell(&format!("hung {VM1} yes"));
    let ran = world.agent(&["--power-timeout", "3", "-o", "off", "-n", "vm1"]);
    ended(&ran, 1, "", "not confirmed");
    within(&ran, PATIENCE);
    assert_eq!(world.truth(VM1), (2, 0, 0));
    let ran = world.agent(&["-v", "--kill-worker", "1", "-o", "off", "-n", "vm1"]);
    ended(&ran, 0, "Success: Powered OFF\n", "killed in");
}

/// The schema of fence-agents.
const SCHEMA: &str = "/usr/share/cluster/relaxng/metadata.rng";

#[test]
fn metadata_follows_the_schema() {
    if skipped(&[
        Need::File("/usr/bin/xmllint", "libxml2-utils"),
        Need::File(SCHEMA, "fence-agents"),
    ]) {
        return;
    }
    let world = World::alone();
    for ran in [
        world.agent(&["-o", "metadata"]),
        world.by_stdin("action=metadata"),
    ] {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let file = world.dir.path().join("metadata.xml");
        std::fs::write(&file, &ran.stdout).expect("the test's directory takes files");
        let mut xmllint = std::process::Command::new("xmllint");
        xmllint.args(["--noout", "--relaxng", SCHEMA]).arg(file);
        let checked = run(&mut xmllint, None, world.dir.path(), None, PATIENCE);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        for name in [
            "plug",
            "port",
            "ip",
            "ipaddr",
            "cluster",
            "nodes",
            "auth",
            "namespace",
            "kill_worker",
            "ssl_ca",
        ] {
            assert!(ran.stdout.contains(&format!("name=\"{name}\"")), "{name}");
        }
    }
}
