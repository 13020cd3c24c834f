//! What is declared and what is sent, judged by others' schemas.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use picket_tests::{
    process::{PATIENCE, run},
    skip::{Need, skipped},
};
use serde_json::Value;

use crate::{AGENTS, NEEDS, PACKAGED, WSDL, World, ended, lacking_packaged};

const SCHEMA: &str = "/usr/share/cluster/relaxng/metadata.rng";
const TOOLS: [Need; 2] = [
    Need::File("/usr/bin/xmllint", "libxml2-utils"),
    Need::File(SCHEMA, "fence-agents"),
];

/// The value of an attribute in a line of XML.
fn attribute(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// Each parameter with flags, type and default, each action with its attributes.
fn declared(xml: &str) -> BTreeMap<String, Vec<Option<String>>> {
    let mut all = BTreeMap::new();
    let mut parameter = String::new();
    let mut flags = None;
    for line in xml.lines() {
        if line.contains("<parameter ") {
            parameter = attribute(line, "name").expect("a parameter has a name");
        } else if line.contains("<getopt ") {
            // Their short and long forms; the placeholder of the value is only a word.
            flags = attribute(line, "mixed").map(|text| {
                text.split(['=', '['])
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .replace('_', "-")
            });
        } else if line.contains("<content ") {
            let mut what = vec![flags.take()];
            what.extend(["type", "default"].map(|name| attribute(line, name)));
            all.insert(format!("parameter {parameter}"), what);
        } else if line.contains("<action ") {
            let name = attribute(line, "name").expect("an action has a name");
            let what = ["on_target", "automatic"].map(|name| attribute(line, name));
            all.insert(format!("action {name}"), what.to_vec());
        }
    }
    all
}

#[test]
fn metadata_has_all_of_the_packaged_agents() {
    if skipped(&[&NEEDS[..], &PACKAGED[..], &TOOLS[..]].concat()) {
        return;
    }
    let world = World::esx();
    for agent in ["fence_vmware", "fence_vmware_soap", "fence_vmware_rest"] {
        // With a port on the command line the packaged agent shows another default.
        let mut packaged = Command::new(Path::new("/usr/sbin").join(agent));
        let theirs = run(
            packaged.args(["-o", "metadata"]),
            None,
            world.dir.path(),
            None,
            PATIENCE,
        );
        let theirs = declared(&theirs.stdout);
        assert!(theirs.len() > 40, "{agent}: {theirs:?}");
        for ran in [
            world.ours(agent, &["-o", "metadata"]),
            world.by_stdin(agent, "action=metadata"),
        ] {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let mine = declared(&ran.stdout);
            for (what, attributes) in &theirs {
                let mut mine = mine
                    .get(what)
                    .cloned()
                    .unwrap_or_else(|| panic!("{agent} has no {what}"));
                // The packaged agent takes `-x` alone; ours takes it alone or with a value, and the form says so.
                if what.ends_with(" verbose_level") {
                    mine[0].clone_from(&attributes[0]);
                }
                assert_eq!(&mine, attributes, "{agent}: {what}");
            }
            let file = world.dir.path().join("metadata.xml");
            fs::write(&file, &ran.stdout).expect("the test's directory takes files");
            let mut xmllint = Command::new("xmllint");
            xmllint.args(["--noout", "--relaxng", SCHEMA]).arg(file);
            let checked = run(&mut xmllint, None, world.dir.path(), None, PATIENCE);
            assert_eq!(checked.code, Some(0), "{agent}: {checked:?}");
        }
    }
}

/// Options of the packaged agents that mean nothing to ours are accepted.
#[test]
fn every_option_of_the_packaged_agents_is_accepted() {
    if lacking_packaged() {
        return;
    }
    let world = World::encrypted();
    let authority = world.authority.as_ref().expect("it has one").display();
    let lines = format!(
        "ssl_ca={authority}\naction=status\nport=DC0_H0_VM0\nexec=/usr/bin/vmrun\nsecure=1\nidentity_file=/dev/null\nssh_options=-v\n\
         inet4_only=1\nvmware_type=ESX\nvmware_datacenter=DC0\nssh_path=/usr/bin/ssh\nlogin_timeout=9\nnodename=node1\n\
         disable_timeout=true\nverbose_level=0\nplug_separator=;\ndelay=0"
    );
    ended(
        &world.by_stdin("fence_vmware", &lines),
        0,
        "Status: ON\n",
        "",
    );
    for agent in AGENTS {
        let lines = format!(
            "ssl_ca={authority}\nssl=1\nssl_secure=1\nnotls=0\naction=status\nplug=DC0_H0_VM0\nport=node1\ngnutlscli_path=/bin/false\n\
             separator=;\nipaddr=192.0.2.1\n"
        );
        ended(&world.by_stdin(agent, &lines), 0, "Status: ON\n", "");
    }
}

/// `option=` never falls through to reboot, a false flag is not set (I23, I24).
#[test]
fn i23_i24_options_mean_what_they_say() {
    if lacking_packaged() {
        return;
    }
    let world = World::vcenter();
    for agent in AGENTS {
        ended(
            &world.by_stdin(agent, "option=status\nplug=DC0_H0_VM0"),
            0,
            "Status: ON\n",
            "",
        );
        ended(
            &world.by_stdin(
                agent,
                "ssl=0\nssl_insecure=no\naction=status\nplug=DC0_H0_VM0",
            ),
            0,
            "Status: ON\n",
            "",
        );
        ended(
            &world.by_stdin(agent, "actoin=status\nplug=DC0_H0_VM0"),
            1,
            "",
            "actoin",
        );
    }
    assert_eq!(
        world.count("PowerOffVM_Task") + world.count("POST /api/vcenter/vm/{vm}/power?stop"),
        0
    );
    let mut command = Command::new("/usr/sbin/fence_vmware_soap");
    let input = format!(
        "ip=127.0.0.1\nipport={}\nusername=root\npassword=secret\noption=status\nplug=DC0_H0_VM0\n",
        world.port
    );
    command.env_remove("PCMK_service");
    let ran = run(
        &mut command,
        None,
        world.dir.path(),
        Some(&input),
        PATIENCE * 2,
    );
    assert!(
        ran.stdout.contains("Rebooted"),
        "the packaged agent is no better: {ran:?}"
    );
}

/// Everything we send over SOAP is valid by VMware's own schema (API 4.1), order of elements included.
#[test]
fn requests_are_valid_by_the_schema_of_vsphere() {
    if skipped(&[&NEEDS[..], &TOOLS[..]].concat()) {
        return;
    }
    let world = World::with(&["-app", "1"]);
    let uuid = world.uuid("DC0_H0_VM0");
    world.forget();
    let agent = "fence_vmware_soap";
    for args in [
        &["-o", "reboot", "-n", "/DC0/vm/DC0_H0_VM0"][..],
        &["-o", "status", "-n", &uuid, "-s", "DC0"],
        &["-o", "status", "-n", "/DC0/vm/DC0_H0_VM0", "-s", "DC0"],
        &["-o", "status", "-n", "DC0_H0_VM0"],
        &["-o", "status", "-n", "00000000-0000-0000-0000-000000000001"],
        &["-o", "status", "-n", "a<b>&\"c'/\u{e9}"],
        &["-o", "list"],
        &["-o", "monitor"],
    ] {
        assert_ne!(world.ours(agent, args).code, None);
    }
    crate::places::change_everything(&world);
    let log: Value = serde_json::from_str(&world.tell("requests")).expect("JSON");
    let bodies: Vec<(&str, &str)> = log
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| {
            (
                entry["Method"].as_str().expect("text"),
                entry["Body"].as_str().expect("text"),
            )
        })
        .collect();
    let mut methods: Vec<&str> = bodies.iter().map(|(method, _)| *method).collect();
    methods.sort_unstable();
    methods.dedup();
    assert!(methods.len() >= 12, "{methods:?}");
    // Newer than the schema; every other method must be in it.
    let newer = ["HasPrivilegeOnEntities"];
    let schema = schema(world.dir.path(), &methods, &newer);
    let mut files = Vec::new();
    for (at, (method, body)) in bodies
        .iter()
        .enumerate()
        .filter(|(_, (method, _))| !newer.contains(method))
    {
        let inner = body
            .split_once("<e:Body>")
            .and_then(|(_, rest)| rest.split_once("</e:Body>"))
            .expect("it has a body")
            .0;
        let spaces = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"";
        let inner = inner.replacen(" xmlns=", &format!(" {spaces} xmlns="), 1);
        let file = world.dir.path().join(format!("request-{at}-{method}.xml"));
        fs::write(&file, inner).expect("the test's directory takes files");
        files.push(file);
    }
    let mut xmllint = Command::new("xmllint");
    xmllint
        .args(["--noout", "--schema"])
        .arg(&schema)
        .args(&files);
    let checked = run(&mut xmllint, None, world.dir.path(), None, PATIENCE * 4);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);

    // The schema does judge: with two elements in the other order it says no.
    let wrong = world.dir.path().join("wrong.xml");
    let text = "<Login xmlns=\"urn:vim25\"><_this type=\"SessionManager\">x</_this><password>x</password><userName>x</userName></Login>";
    fs::write(&wrong, text).expect("the test's directory takes files");
    let mut xmllint = Command::new("xmllint");
    xmllint
        .args(["--noout", "--schema"])
        .arg(&schema)
        .arg(&wrong);
    assert_ne!(
        run(&mut xmllint, None, world.dir.path(), None, PATIENCE).code,
        Some(0)
    );
}

/// A schema in which the methods are elements, as the WSDL declares them.
fn schema(dir: &Path, methods: &[&str], newer: &[&str]) -> std::path::PathBuf {
    let wsdl =
        fs::read_to_string(Path::new(WSDL).join("vim.wsdl")).expect("scripts/setup fetched it");
    let mut elements = String::new();
    for method in methods.iter().filter(|method| !newer.contains(method)) {
        let start = wsdl
            .find(&format!("<element name=\"{method}\" "))
            .unwrap_or_else(|| panic!("API 4.1 has no {method}"));
        let declaration = wsdl[start..].split_inclusive('>').next().expect("it ends");
        elements += declaration;
    }
    let text = format!(
        "<schema xmlns=\"http://www.w3.org/2001/XMLSchema\" xmlns:vim25=\"urn:vim25\" targetNamespace=\"urn:vim25\" \
         elementFormDefault=\"qualified\"><include schemaLocation=\"{WSDL}/vim-messagetypes.xsd\"/>\
         <include schemaLocation=\"{WSDL}/query-messagetypes.xsd\"/>{elements}</schema>"
    );
    let file = dir.join("methods.xsd");
    fs::write(&file, text).expect("the test's directory takes files");
    file
}
