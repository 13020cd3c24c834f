//! What holds for every definition that can be read: it renders, and what is rendered is well formed.

mod render_support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cluster::{
    Definition, Dialect, HostSettings, RenderOptions, Secrets, SetupStep, guest_domain,
    instructions, render_guest_devices, render_host, render_node, storage_setup,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use render_support::{cib, run, said, text};

/// Names that look like the ids which are made from names.
const NAMES: [&str; 12] = [
    "web",
    "db",
    "a",
    "a_start",
    "start",
    "y",
    "x",
    "mount",
    "volume",
    "web_start",
    "z",
    "n1",
];
const NODES: [&str; 6] = ["n1", "web", "ip", "fence", "a.b", "node-1.example.org"];
const AGENTS: [&str; 8] = [
    "fence_xvm",
    "fence_virt",
    "fence_scsi",
    "fence_mpath",
    "fence_ipmilan",
    "fence_vmware_rest",
    "fence_sbd",
    "fence_ifmib",
];
const PLUGS: [&str; 5] = ["vm", "vm two", "a:b;c", "[ds] vm/vm.vmx", "uuid=x,y"];
const KINDS: [&str; 6] = [
    "iscsi",
    "host-block",
    "raw-image",
    "scsi-passthrough",
    "rdm-physical",
    "vhd-set",
];
const PLATFORMS: [&str; 10] = [
    "kvm", "xen", "rhev", "vmware", "hyper-v", "kubevirt", "nutanix", "proxmox", "azure", "aws",
];

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Some of the words, in any number.
fn some(words: &'static [&'static str], least: usize) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(words, least..=words.len()).prop_shuffle()
}

/// Members: some bare metal, some with plugs of their own, with one link or two.
fn nodes() -> impl Strategy<Value = (Vec<&'static str>, String)> {
    (some(&NODES, 1), any::<[u8; 6]>(), 1_usize..3, select(&PLUGS[..])).prop_map(
        |(names, dice, links, plug)| {
            let mut out = String::new();
            for (at, name) in names.iter().enumerate() {
                let addresses: Vec<String> =
                    (0..links).map(|link| format!("10.{}.0.{}", 9 - link, at + 1)).collect();
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                let _ = writeln!(out, "[[node]]\nname = {name:?}\naddress = {}", list(&addresses));
                match dice[at % 6] % 4 {
                    0 => out.push_str("kind = \"bare-metal\"\n"),
                    1 => {
                        let _ = writeln!(out, "guest = \"{plug}{at}\"");
                    }
                    2 => {
                        let _ = writeln!(out, "uuid = \"11111111-1111-4111-8111-11111111111{at}\"\nwatchdog = \"softdog\"");
                    }
                    _ => {}
                }
            }
            (names, out)
        },
    )
}

fn devices(nodes: Vec<&'static str>) -> impl Strategy<Value = String> {
    (some(&NAMES, 1), any::<[u8; 12]>(), select(&PLUGS[..])).prop_map(move |(names, dice, plug)| {
        let mut out = String::new();
        let names = &names[..names.len().min(4)];
        for (at, name) in names.iter().enumerate() {
            let agent = AGENTS[usize::from(dice[at]) % AGENTS.len()];
            let _ = writeln!(
                out,
                "[[fence]]\nname = {name:?}\nagent = {agent:?}\nnodes = {}",
                list(&nodes)
            );
            if agent == "fence_virt" {
                let listener = ["tcp", "vmchannel", "vsock"][usize::from(dice[at + 4]) % 3];
                let _ = writeln!(out, "listener = {listener:?}");
            }
            if agent == "fence_ipmilan" {
                out.push_str(
                    "options = { ip = \"192.0.2.1\", lanplus = true, note = \"<&>'\\\"\" }\n",
                );
                out.push_str("secrets = { password = \"/etc/picket/secrets/x\" }\n");
            }
            if dice[at + 8] % 3 == 0 {
                let _ = writeln!(out, "delay = \"3s\"");
            }
            if dice[at + 8] % 5 == 0 {
                let _ = writeln!(out, "plugs = {{ {:?} = \"{plug}\" }}", nodes[0]);
            }
        }
        let levels: Vec<String> = names.iter().map(|name| format!("[{name:?}]")).collect();
        let _ = writeln!(out, "[fencing]\nlevels = [{}]", levels.join(", "));
        out
    })
}

fn storage() -> impl Strategy<Value = String> {
    (some(&NAMES, 0), any::<[u8; 12]>()).prop_map(|(names, dice)| {
        let mut out = String::new();
        for (at, name) in names.iter().take(3).enumerate() {
            let kind = KINDS[usize::from(dice[at]) % KINDS.len()];
            let _ = writeln!(out, "[[storage]]\nname = {name:?}\nkind = {kind:?}\ndevice = \"/dev/disk/by-id/{at}\"");
            if kind == "iscsi" {
                let _ = writeln!(
                    out,
                    "target = \"iqn.2026-11.org.example:{at}\"\nportals = [\"10.9.0.30:3260\", \"[fd00::1]:3260\"]"
                );
                if dice[at + 3] % 2 == 0 {
                    out.push_str("chap = { user = \"o'brien $x\", password_file = \"/etc/picket/chap\" }\nmultipath = true\n");
                }
            } else {
                let _ = writeln!(out, "path = \"/dev/mapper/{at}\"");
            }
            let shared = dice[at + 6] % 2 == 0;
            let _ = writeln!(out, "[[volume_group]]\nname = {name:?}\nstorage = [{name:?}]\nshared = {shared}");
            let kind = if shared && dice[at + 9] % 2 == 0 { "gfs2" } else { "ext4" };
            for volume in ["a", "a_start"] {
                let _ = writeln!(out, "[[volume]]\nname = {volume:?}\ngroup = {name:?}\nsize = \"1GiB\"");
                let _ = writeln!(
                    out,
                    "[[filesystem]]\nname = \"{name}{volume}\"\nkind = {kind:?}\nvolume = \"{name}/{volume}\"\nmount = \"/srv/{name}/{volume}\""
                );
                if kind == "ext4" {
                    let _ = writeln!(
                        out,
                        "[[service]]\nname = \"s{name}{volume}\"\nfilesystems = [\"{name}{volume}\"]"
                    );
                }
            }
        }
        out
    })
}

fn services() -> impl Strategy<Value = String> {
    (some(&NAMES, 0), any::<[u8; 12]>()).prop_map(|(names, dice)| {
        let mut out = String::new();
        for (at, name) in names.iter().take(4).enumerate() {
            let _ = writeln!(out, "[[service]]\nname = {name:?}");
            let dice = dice[at];
            if dice % 2 == 0 {
                let _ = writeln!(out, "virtual_ip = \"10.9.0.{}/24\"", 100 + at);
            }
            if dice % 3 == 0 {
                let _ = writeln!(out, "http = {{ port = {}, text = \"<&> ü \\\"\" }}", 8000 + at);
            }
            if at > 0 {
                let key = ["after", "with", "apart_from"][usize::from(dice) % 3];
                let _ = writeln!(out, "{key} = [{:?}]", names[at - 1]);
            }
            if dice % 7 == 0 {
                out.push_str("clone = true\n");
            }
            for (resource, agent) in [("a", "ocf:pacemaker:Dummy"), ("a_start", "systemd:ssh"), ("mount", "ocf:heartbeat:Filesystem")] {
                let _ = writeln!(
                    out,
                    "[[service.resource]]\nname = {resource:?}\nagent = {agent:?}\noptions = {{ _start = \"tab\\there\", x = 1 }}"
                );
            }
        }
        out
    })
}

/// The text of a definition, most of which can be read.
fn definitions() -> impl Strategy<Value = String> {
    (select(&PLATFORMS[..]), nodes(), storage(), services(), any::<u8>())
        .prop_flat_map(|(platform, (names, nodes), storage, services, dice)| {
            devices(names).prop_map(move |devices| {
                let options = match dice % 5 {
                    0 => "[options]\nsbd = { watchdog_timeout = \"1500ms\" }\n",
                    1 => "[options]\nsbd = { devices = [\"/dev/disk/by-id/s\"] }\nquorum_device = { host = \"q\" }\n",
                    2 => "[options]\ndialect = \"fencing\"\nstickiness = 0\n",
                    _ => "",
                };
                format!(
                    "[cluster]\nname = \"c_1-x\"\n[platform]\nkind = {platform:?}\n[[host]]\nname = \"h1\"\n[[host]]\nname = \"h2\"\naddress = \"192.0.2.2\"\n\
                     {nodes}{options}{devices}[fence_virtd]\n{storage}{services}"
                )
            })
        })
}

/// What must hold for the definition, or what does not.
fn check(definition: &Definition) -> Result<(), String> {
    for dialect in [Dialect::Stonith, Dialect::Fencing] {
        check_cib(&cib(definition, dialect))?;
    }
    let secrets = Secrets::derive(b"a seed for tests");
    for node in &definition.nodes {
        let rendered = render_node(definition, node, &secrets, &RenderOptions::default());
        let paths: BTreeSet<_> = rendered.files.iter().map(|file| &file.path).collect();
        if paths.len() != rendered.files.len() {
            return Err(format!("two files at one path: {rendered:?}"));
        }
        if let Some(file) = rendered.files.iter().find(|file| !file.path.is_absolute()) {
            return Err(format!("not absolute: {file:?}"));
        }
        roxmltree::Document::parse(&String::from_utf8_lossy(&guest_domain(definition, node)))
            .map_err(|error| format!("a guest: {error}"))?;
    }
    for host in &definition.hosts {
        let settings = HostSettings::usual(definition, Some(host));
        let rendered =
            render_host(definition, &secrets, &settings).map_err(|error| error.to_string())?;
        if let Some(file) = rendered.file("/etc/fence_virt.conf") {
            check_fence_virt(&String::from_utf8_lossy(&file.bytes))?;
        }
        for file in render_guest_devices(definition, host).files {
            roxmltree::Document::parse(&String::from_utf8_lossy(&file.bytes))
                .map_err(|error| format!("{}: {error}", file.path.display()))?;
        }
    }
    for step in storage_setup(definition) {
        check_step(definition, &step)?;
    }
    let text = text(&instructions(definition), "/instructions.md");
    if text.contains("password =") || text.lines().any(|line| line.ends_with(' ')) {
        return Err(format!("instructions:\n{text}"));
    }
    Ok(())
}

/// Well formed; every id there once; every reference to an id that is there.
fn check_cib(xml: &str) -> Result<(), String> {
    let document = roxmltree::Document::parse(xml).map_err(|error| format!("{error}\n{xml}"))?;
    let mut ids = BTreeSet::new();
    for element in document.descendants().filter(roxmltree::Node::is_element) {
        if let Some(id) = element.attribute("id")
            && !ids.insert(id)
        {
            return Err(format!("the id {id} is there twice\n{xml}"));
        }
    }
    for element in document.descendants().filter(roxmltree::Node::is_element) {
        for reference in ["rsc", "with-rsc", "first", "then"] {
            if let Some(id) = element.attribute(reference)
                && !ids.contains(id)
            {
                return Err(format!("{reference}={id} is nowhere\n{xml}"));
            }
        }
        let names = element.attribute("devices").unwrap_or_default();
        if element.has_tag_name("fencing-level") && !names.split(',').all(|name| ids.contains(name))
        {
            return Err(format!("a level of {names:?}\n{xml}"));
        }
    }
    Ok(())
}

/// The daemon's own reader takes it; what this build lacks is all it may complain about.
fn check_fence_virt(conf: &str) -> Result<(), String> {
    match virtd::config::parse(conf, "fence_virt.conf") {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("is not in this build") => Ok(()),
        Err(error) => Err(format!("{error}\n{conf}")),
    }
}

/// A step names members only, and its script is one that a shell can read.
fn check_step(definition: &Definition, step: &SetupStep) -> Result<(), String> {
    let known = |name: &cluster::NodeName| definition.node(name.as_str()).is_some();
    if step.on.is_empty() || !step.on.iter().all(known) {
        return Err(format!("{step:?}"));
    }
    let first = step.script(false);
    let first = first.lines().next().unwrap_or_default();
    if !first.starts_with("set -- check ") || step.check[2..] != step.make[2..] {
        return Err(format!("{step:?}\n{first}"));
    }
    Ok(())
}

#[test]
fn every_definition_that_can_be_read_renders() {
    let mut runner = TestRunner::deterministic();
    let strategy = definitions();
    let (mut readable, mut last) = (0, String::new());
    for _ in 0..300 {
        let source = strategy
            .new_tree(&mut runner)
            .expect("a definition")
            .current();
        match Definition::parse("t", &source) {
            Ok(definition) => {
                readable += 1;
                if let Err(what) = check(&definition) {
                    panic!("{what}\n{source}");
                }
            }
            Err(error) => last = error.to_string(),
        }
    }
    assert!(
        readable >= 100,
        "only {readable} of 300 could be read; the last could not:\n{last}"
    );
}

#[test]
fn pacemaker_accepts_whatever_can_be_read() {
    let mut runner = TestRunner::deterministic();
    let strategy = definitions();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("cib.xml");
    let mut verified = 0;
    for _ in 0..300 {
        let source = strategy
            .new_tree(&mut runner)
            .expect("a definition")
            .current();
        let Ok(definition) = Definition::parse("t", &source) else {
            continue;
        };
        std::fs::write(&path, cib(&definition, Dialect::Stonith)).expect("written");
        let Some(output) = run(
            "crm_verify",
            &["-V".as_ref(), "-x".as_ref(), path.as_path()],
        ) else {
            return;
        };
        assert!(
            output.status.success() && said(&output).is_empty(),
            "{}\n{source}",
            said(&output)
        );
        verified += 1;
        if verified == 40 {
            return;
        }
    }
    panic!("only {verified} definitions could be read");
}

#[test]
fn what_agents_are_given_arrives_as_it_was_written() {
    let source = "[cluster]\nname = \"c\"\n[platform]\nkind = \"kvm\"\n[[node]]\nname = \"n1\"\naddress = \"10.9.0.1\"\n\
                  [[fence]]\nname = \"f\"\nagent = \"fence_x\"\noptions = { a = \"<&>\\\"'\\t\\uFFFE\" }\ndelay = \"1s\"\n";
    let definition = render_support::parse("t", source);
    let xml = cib(&definition, Dialect::Stonith);
    let document = roxmltree::Document::parse(&xml).expect("well formed");
    let value = |name| {
        let pairs: Vec<_> = document
            .descendants()
            .filter(|element| element.attribute("name") == Some(name))
            .filter_map(|element| element.attribute("value"))
            .collect();
        assert_eq!(pairs.len(), 1, "{name}: {pairs:?}");
        pairs[0].to_owned()
    };
    // XML has no place for U+FFFE.
    assert_eq!(value("a"), "<&>\"'\t\u{FFFD}");
    assert_eq!(value("pcmk_delay_base"), "1s");
}
