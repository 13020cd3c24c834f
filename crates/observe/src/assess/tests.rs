use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::expected::Expected;
use crate::gather::{ExpectedNode, Host, Inventory, Patience, gather, node_report};
use crate::host::{Daemon, DaemonState, Listener};
use crate::source::{Machine, Memory, Source, Unanswered};
use crate::status::{Alarm, Health, NodeAnswer, Severity, Status};

macro_rules! fixture {
    ($state:literal) => {
        [
            (
                "crm_mon",
                include_str!(concat!("../../fixtures/", $state, ".crm_mon.xml")),
                0,
            ),
            (
                "history",
                include_str!(concat!("../../fixtures/", $state, ".stonith_admin.xml")),
                0,
            ),
            (
                "quorum",
                include_str!(concat!("../../fixtures/", $state, ".quorumtool.txt")),
                0,
            ),
            (
                "links",
                include_str!(concat!("../../fixtures/", $state, ".cfgtool.txt")),
                0,
            ),
        ]
    };
}

/// What the script prints when the tools say `said`.
fn output(said: &[(&str, &str, i32)]) -> Vec<u8> {
    let mut text = format!(
        "clock  {}\nclock  \nclock ?0\n",
        Timestamp::now().as_second()
    );
    for (tag, stdout, status) in said {
        for line in stdout.lines() {
            let _ = writeln!(text, "{tag}  {line}");
        }
        let _ = writeln!(text, "{tag}  \n{tag} ?{status}");
    }
    text.push_str("end\n");
    text.into_bytes()
}

fn inventory(names: &[&str]) -> Inventory {
    Inventory {
        nodes: names
            .iter()
            .map(|name| ExpectedNode {
                name: (*name).to_owned(),
                ..ExpectedNode::default()
            })
            .collect(),
        complete: true,
        ..Inventory::default()
    }
}

fn look(inventory: &Inventory, memory: Memory) -> Status {
    let source: Arc<dyn Source> = Arc::new(memory);
    gather(inventory, &source, Patience::default())
}

/// What three nodes that all say the same are taken for.
fn seen(said: &[(&str, &str, i32)]) -> Status {
    let names = ["n1", "n2", "n3"];
    let memory = names.iter().fold(Memory::default(), |memory, name| {
        memory.with(name, Ok(output(said)))
    });
    look(&inventory(&names), memory)
}

fn codes(status: &Status) -> Vec<(&str, Option<&str>)> {
    status
        .alarms
        .iter()
        .filter(|alarm| alarm.severity < Severity::Note)
        .map(|alarm| (alarm.code, alarm.subject.as_deref()))
        .collect()
}

#[test]
fn a_healthy_cluster_is_healthy() {
    let status = seen(&fixture!("healthy"));
    assert_eq!(codes(&status), []);
    assert_eq!(status.health, Health::Healthy, "{}", status.summary);
    assert_eq!(status.summary, "healthy, 3 of 3 nodes online");
    let view = status.view.expect("three nodes answered");
    assert_eq!(view.nodes.len(), 3);
    assert_eq!(view.version.as_deref(), Some("2.1.5-a3f44794f94"));
    assert_eq!(view.coordinator.as_deref(), status.seen_by.as_deref());
    let fencing: Vec<&str> = view
        .resources
        .iter()
        .filter(|resource| resource.is_fencing())
        .map(|resource| resource.id.as_str())
        .collect();
    assert_eq!(fencing, ["fence.n1", "fence.n2", "fence.n3"]);
    let ip = view.resources.iter().find(|r| r.id == "web.ip").unwrap();
    assert_eq!(
        (ip.service(), ip.nodes.as_slice()),
        ("web", &["n3".to_owned()][..])
    );
    let quorum = status.quorum.expect("its Corosync answered");
    assert_eq!(
        (quorum.votes, quorum.needed, quorum.members.len()),
        (Some(3), Some(2), 3)
    );
}

/// An answer that lacks whole parts is no evidence that all is well.
#[test]
fn what_is_left_out_is_not_healthy() {
    let whole = fixture!("healthy");
    for part in ["nodes", "summary", "resources"] {
        let xml = whole[0].1;
        let (begin, end) = (format!("<{part}>"), format!("</{part}>"));
        let from = xml.find(&begin).unwrap();
        let to = xml.find(&end).unwrap() + end.len();
        let cut = format!("{}{}", &xml[..from], &xml[to..]);
        let mut said = whole;
        said[0].1 = &cut;
        // Without a definition nothing says which nodes there should be.
        let mut nobody = inventory(&["n1"]);
        nobody.complete = false;
        let memory = Memory::default().with("n1", Ok(output(&said)));
        let status = look(&nobody, memory);
        assert_ne!(
            status.health,
            Health::Healthy,
            "{part}: {:?}",
            status.alarms
        );
    }
}

#[test]
fn failed_actions_and_standby_are_seen() {
    let status = seen(&fixture!("failed-actions"));
    assert_eq!(status.health, Health::Degraded);
    assert_eq!(
        codes(&status),
        [
            ("action-failed", Some("web.http")),
            ("action-failed", Some("ping"))
        ]
    );
    assert!(
        status.alarms[1].message.contains("Simulated failure"),
        "{:?}",
        status.alarms
    );
    let status = seen(&fixture!("standby"));
    assert!(
        codes(&status).contains(&("node-not-online", Some("n2"))),
        "{:?}",
        status.alarms
    );
}

/// In the seconds before Pacemaker acts, what it says of the lost node is memory.
#[test]
fn a_node_that_corosync_has_lost_is_not_trusted() {
    let status = seen(&fixture!("just-lost"));
    assert!(
        codes(&status).contains(&("link-down", Some("n1"))),
        "{:?}",
        status.alarms
    );
    let mut said = fixture!("healthy");
    said[2].1 = include_str!("../../fixtures/fenced.quorumtool.txt");
    let status = seen(&said);
    assert!(
        codes(&status).contains(&("membership-differs", Some("n3"))),
        "{:?}",
        status.alarms
    );
    assert_eq!(status.health, Health::Degraded);
}

#[test]
fn fencing_is_followed_to_its_end() {
    let status = seen(&fixture!("fencing-pending"));
    let alarms = codes(&status);
    for expected in [
        ("node-unclean", Some("n3")),
        ("fencing-pending", Some("n3")),
        // What ran there may still run.
        ("resource-unknown", Some("web.ip")),
    ] {
        assert!(alarms.contains(&expected), "{expected:?} in {alarms:?}");
    }
    let status = seen(&fixture!("fencing-failed"));
    let alarms = codes(&status);
    assert!(
        alarms.contains(&("fencing-failed", Some("n3"))),
        "{alarms:?}"
    );
    assert!(
        alarms.contains(&("fencing-pending", Some("n3"))),
        "{alarms:?}"
    );
    let status = seen(&fixture!("fenced"));
    let alarms = codes(&status);
    assert!(
        !alarms.iter().any(|(code, _)| code.starts_with("fencing-")),
        "{alarms:?}"
    );
    assert!(
        !alarms.iter().any(|(code, _)| *code == "resource-unknown"),
        "{alarms:?}"
    );
    let fenced = status.alarms.iter().find(|alarm| alarm.code == "fenced");
    assert_eq!(fenced.map(|alarm| alarm.severity), Some(Severity::Note));
    let events = &status.view.as_ref().unwrap().fencing;
    assert_eq!(events[0].by.as_deref(), Some("n2"));
    assert!(events.iter().all(|event| event.age.is_some()));
}

#[test]
fn no_quorum_is_no_health() {
    let mut said = fixture!("no-quorum");
    said[2].2 = 2;
    let memory = Memory::default().with("n1", Ok(output(&said)));
    let status = look(&inventory(&["n1", "n2", "n3"]), memory);
    assert_eq!(status.health, Health::NoQuorum);
    assert!(codes(&status).contains(&("no-quorum", None)));
    assert!(codes(&status).contains(&("node-unclean", Some("n2"))));
    assert!(codes(&status).contains(&("node-not-asked", Some("n3"))));
}

#[test]
fn a_stopped_cluster_is_neither_unreachable_nor_healthy() {
    let said = [(
        "crm_mon",
        include_str!("../../fixtures/stopped.crm_mon.xml"),
        102,
    )];
    let status = seen(&said);
    assert_eq!(status.health, Health::NoQuorum);
    assert!(
        status.summary.starts_with("no cluster is running"),
        "{}",
        status.summary
    );
    assert!(
        codes(&status)
            .iter()
            .all(|(code, _)| *code == "cluster-not-running")
    );
}

#[test]
fn whoever_does_not_answer_proves_nothing() {
    let late = Memory::default()
        .with("n1", Err(Unanswered::Late))
        .with("n2", Ok(b"Welcome to n2!\n\xff\xfe<xml>".to_vec()));
    let status = look(&inventory(&["n1", "n2"]), late);
    assert_eq!(status.health, Health::Unreachable);
    assert!(status.view.is_none());
    assert_eq!(
        codes(&status),
        [
            ("node-not-asked", Some("n1")),
            ("answer-unreadable", Some("n2"))
        ]
    );
}

#[test]
fn one_unreachable_node_does_not_hide_the_cluster() {
    let answer = output(&fixture!("healthy"));
    let memory = Memory::default()
        .with("n1", Ok(answer.clone()))
        .with("n2", Ok(answer));
    let status = look(&inventory(&["n1", "n2", "n3"]), memory);
    assert_eq!(status.health, Health::Degraded);
    assert_eq!(codes(&status), [("node-not-asked", Some("n3"))]);
    assert_eq!(status.view.map(|view| view.nodes.len()), Some(3));
}

/// The view of `node` alone in the world, with quorum: what each half of a split says.
fn alone(node: &str) -> String {
    let lost = |other: &str| {
        format!("<node name=\"{other}\" id=\"9\" online=\"false\" unclean=\"false\"/>")
    };
    let others: String = ["n1", "n2"]
        .iter()
        .filter(|other| **other != node)
        .map(|other| lost(other))
        .collect();
    format!(
        "<pacemaker-result><summary><current_dc present=\"true\" name=\"{node}\" with_quorum=\"true\"/>\
         <cluster_options stonith-enabled=\"false\"/></summary>\
         <nodes><node name=\"{node}\" id=\"1\" online=\"true\" unclean=\"false\"/>{others}</nodes>\
         <status code=\"0\"/></pacemaker-result>"
    )
}

#[test]
fn a_split_is_the_worst() {
    let (one, two) = (alone("n1"), alone("n2"));
    let memory = Memory::default()
        .with("n1", Ok(output(&[("crm_mon", &one, 0)])))
        .with("n2", Ok(output(&[("crm_mon", &two, 0)])));
    let status = look(&inventory(&["n1", "n2"]), memory);
    assert_eq!(status.health, Health::Split);
    let alarms = codes(&status);
    assert_eq!(alarms[0], ("split", None));
    assert!(
        alarms.contains(&("nodes-disagree", Some("n2"))),
        "{alarms:?}"
    );
    assert!(alarms.contains(&("fencing-disabled", None)), "{alarms:?}");
}

#[test]
fn a_definition_and_a_cluster_that_differ() {
    let answer = output(&fixture!("healthy"));
    let memory = Memory::default()
        .with("n1", Ok(answer.clone()))
        .with("n4", Ok(answer));
    let status = look(&inventory(&["n1", "n4"]), memory);
    let alarms = codes(&status);
    for expected in [
        ("node-missing", Some("n4")),
        ("node-unknown", Some("n2")),
        ("node-unknown", Some("n3")),
    ] {
        assert!(alarms.contains(&expected), "{expected:?} in {alarms:?}");
    }
}

#[test]
fn words_that_are_not_known_survive_and_are_not_ok() {
    let text = include_str!("../../fixtures/healthy.crm_mon.xml")
        .replacen("role=\"Started\"", "role=\"Levitating\"", 1)
        .replacen("unclean=\"false\"", "unclean=\"perhaps\"", 1);
    let mut said = fixture!("healthy");
    said[0].1 = &text;
    let status = seen(&said);
    assert_eq!(status.health, Health::Degraded);
    let alarms = codes(&status);
    assert!(
        alarms.contains(&("node-unknown-state", Some("n1"))),
        "{alarms:?}"
    );
    assert!(
        alarms.contains(&("resource-unknown", Some("fence.n1"))),
        "{alarms:?}"
    );
    let json = serde_json::to_string(&status).unwrap();
    // On n1, whose state is not known, it is reported as such; elsewhere by its role.
    assert!(json.contains("Levitating"));
}

fn hosted() -> Inventory {
    let mut inventory = inventory(&["n1", "n2", "n3"]);
    for node in &mut inventory.nodes {
        node.guest = Some(format!("vm-{}", node.name));
        node.host = Some("h1".to_owned());
    }
    inventory.nodes[2].pinned = true;
    inventory.hosts = ["h1", "h2"]
        .map(|name| Host {
            name: name.to_owned(),
            skip: false,
            uri: None,
            daemon: Some(Daemon {
                listener: Listener::Tcp {
                    address: "127.0.0.1".to_owned(),
                    port: 1229,
                },
                key_file: "/etc/key".to_owned(),
            }),
        })
        .to_vec();
    inventory
}

fn host(active: &str, defined: &str, fence: (&str, i32)) -> Vec<u8> {
    output(&[
        ("active", active, 0),
        ("paused", "", 0),
        ("defined", defined, 0),
        ("fence_virtd", fence.0, fence.1),
    ])
}

fn with_nodes(memory: Memory) -> Memory {
    ["n1", "n2", "n3"].iter().fold(memory, |memory, name| {
        memory.with(name, Ok(output(&fixture!("healthy"))))
    })
}

#[test]
fn guests_are_found_on_their_hosts() {
    const UUID: &str = "00000000-0000-4000-8000-000000000001";
    let first = format!("{UUID} vm-n1                         \nvm-n2\n");
    let memory = with_nodes(Memory::default())
        .with(
            "h1",
            Ok(host(
                &first,
                "vm-n1\nvm-n2\n",
                (&format!("vm-n1 {UUID} on\nvm-n2 {UUID} on\n"), 0),
            )),
        )
        .with("h2", Ok(host("vm-n3\nvm-n2\n", "vm-n2\nvm-n3\n", ("", 1))));
    let status = look(&hosted(), memory);
    let on: Vec<_> = status
        .guests
        .iter()
        .map(|guest| guest.on.join(" "))
        .collect();
    assert_eq!(on, ["h1", "h1 h2", "h2"]);
    assert_eq!(
        status.hosts[0].fence_virtd,
        DaemonState::Answers { guests: 2 }
    );
    let alarms = codes(&status);
    for expected in [
        ("fence-virtd-silent", Some("h2")),
        ("guest-twice", Some("n2")),
        ("guest-elsewhere", Some("n3")),
        ("members-on-one-host", Some("h1")),
        ("members-on-one-host", Some("h2")),
    ] {
        assert!(alarms.contains(&expected), "{expected:?} in {alarms:?}");
    }
}

#[test]
fn a_host_that_cannot_be_asked_is_not_an_empty_one() {
    let no_virsh = output(&[("active", "", 127), ("fence_virtd", "", 127)]);
    let memory = with_nodes(Memory::default()).with("h1", Ok(no_virsh));
    let status = look(&hosted(), memory);
    assert!(
        status
            .guests
            .iter()
            .all(|guest| guest.on.is_empty() && !guest.complete)
    );
    let alarms = codes(&status);
    assert!(
        !alarms.iter().any(|(code, _)| *code == "guest-not-found"),
        "{alarms:?}"
    );
    for expected in [
        ("host-unknown", Some("h1")),
        ("host-unknown", Some("h2")),
        ("fence-virtd-unknown", Some("h1")),
        ("fence-virtd-unknown", Some("h2")),
    ] {
        assert!(alarms.contains(&expected), "{expected:?} in {alarms:?}");
    }
}

/// A multicast request may be answered by another host's daemon.
#[test]
fn another_hosts_daemon_proves_nothing() {
    let strange = ("vm-n9 00000000-0000-4000-8000-000000000001 on\n", 0);
    let memory = with_nodes(Memory::default())
        .with("h1", Ok(host("vm-n1\n", "vm-n1\n", strange)))
        .with("h2", Ok(host("vm-n2\nvm-n3\n", "vm-n2\nvm-n3\n", ("", 0))));
    let status = look(&hosted(), memory);
    assert!(
        codes(&status).contains(&("fence-virtd-unknown", Some("h1"))),
        "{:?}",
        status.alarms
    );
}

/// A source that never returns costs its own answer, and no more time than was allowed.
#[test]
fn a_source_that_hangs_is_left_behind() {
    let answer = output(&fixture!("healthy"));
    let hanging = move |machine: Machine<'_>, _: &str, _: deadline::Deadline| {
        if machine.name() == "n2" {
            loop {
                std::thread::park();
            }
        }
        Ok::<_, Unanswered>(answer.clone())
    };
    let source: Arc<dyn Source> = Arc::new(hanging);
    let begun = std::time::Instant::now();
    let patience = Patience {
        settle: Duration::from_millis(100),
        ..Patience::default()
    };
    let status = gather(&inventory(&["n1", "n2"]), &source, patience);
    assert!(begun.elapsed() < patience.limit);
    assert!(codes(&status).contains(&("node-not-asked", Some("n2"))));
    assert_eq!(
        status.asked[1].result,
        NodeAnswer::Unanswered {
            reason: Unanswered::Late
        }
    );
}

#[test]
fn clocks_are_compared() {
    let past = "clock  1000\nclock  \nclock ?0\n".as_bytes();
    let mut said = past.to_vec();
    said.extend(
        output(&fixture!("healthy"))
            .split(|byte| *byte == b'\n')
            .skip(3)
            .flat_map(|line| [line, b"\n"].concat()),
    );
    let at = Timestamp::from_second(2000).unwrap();
    let ahead =
        |took| node_report("n1", Ok(said.clone()), at, Duration::from_secs(took)).clock_ahead;
    assert_eq!(ahead(0), Some(-1000));
    // The clock may have been read when the question was asked.
    assert_eq!(ahead(400), Some(-600));
    assert_eq!(ahead(2000), Some(0));
}

/// The definition of the cluster in the fixtures.
fn defined() -> Inventory {
    let resource = |id: &str, agent: &str| Expected {
        id: id.to_owned(),
        agent: agent.to_owned(),
        names: [id.to_owned()].into(),
        ..Expected::default()
    };
    let mut resources: Vec<Expected> = ["fence.n1", "fence.n2", "fence.n3"]
        .map(|id| resource(id, "stonith:fence_virt"))
        .to_vec();
    for id in ["web.ip", "web.http"] {
        resources.push(resource(id, "ocf:pacemaker:Dummy"));
    }
    for id in ["ping", "db", "off"] {
        resources.push(resource(id, ""));
    }
    Inventory {
        cluster: Some("shop".to_owned()),
        resources: Some(resources),
        ..inventory(&["n1", "n2", "n3"])
    }
}

/// What is seen when all three nodes say the same, and that their cluster is `name`.
fn compared(inventory: &Inventory, said: &[(&str, &str, i32)], name: &str) -> Status {
    let name = format!("totem.cluster_name (str) = {name}");
    let mut said = said.to_vec();
    said.push(("cluster", &name, 0));
    let memory = ["n1", "n2", "n3"]
        .iter()
        .fold(Memory::default(), |memory, node| {
            memory.with(node, Ok(output(&said)))
        });
    look(inventory, memory)
}

#[test]
fn the_wrong_cluster_is_not_healthy() {
    let healthy = fixture!("healthy");
    let mut inventory = defined();
    // Of these the fixture has one stopped on request, and the definition wants the others only.
    let all = inventory.resources.as_mut().unwrap();
    all.retain(|one| one.id != "off");
    let right = compared(&inventory, &healthy, "shop");
    assert_eq!(codes(&right), [("resource-not-defined", Some("off"))]);
    let wrong = compared(&inventory, &healthy, "bank");
    assert_eq!(wrong.health, Health::Degraded);
    for node in ["n1", "n2", "n3"] {
        assert!(
            codes(&wrong).contains(&("cluster-name", Some(node))),
            "{:?}",
            wrong.alarms
        );
    }
    assert_eq!(wrong.asked[0].cluster.as_deref(), Some("bank"));
    // Who does not tell is not taken for one that told the right one.
    let silent = look(
        &inventory,
        Memory::default().with("n1", Ok(output(&healthy))),
    );
    assert!(codes(&silent).contains(&("cluster-name-unknown", Some("n1"))));
}

#[test]
fn what_is_defined_and_not_there_is_not_healthy() {
    let mut inventory = defined();
    let all = inventory.resources.as_mut().unwrap();
    let mut more = all[0].clone();
    more.id = "fence.n4".to_owned();
    all.push(more);
    all[3].agent = "ocf:heartbeat:IPaddr2".to_owned();
    let status = compared(&inventory, &fixture!("healthy"), "shop");
    assert_eq!(status.health, Health::Degraded);
    assert_eq!(
        codes(&status),
        [
            ("resource-differs", Some("web.ip")),
            ("resource-missing", Some("fence.n4")),
            // Its target role is Stopped: somebody said so, and the definition says otherwise.
            ("resource-held", Some("off")),
        ]
    );
    // Without a definition it is as it should be.
    assert_eq!(seen(&fixture!("healthy")).health, Health::Healthy);
}

#[test]
fn what_is_defined_and_stopped_is_told_once() {
    let stopped = fixture!("healthy")[0].1.replacen(
        "<resource id=\"web.http\" resource_agent=\"ocf:pacemaker:Dummy\" role=\"Started\" active=\"true\"",
        "<resource id=\"web.http\" resource_agent=\"ocf:pacemaker:Dummy\" role=\"Stopped\" active=\"false\"",
        1,
    );
    let mut said = fixture!("healthy");
    assert_ne!(said[0].1, stopped);
    said[0].1 = &stopped;
    let mut inventory = defined();
    inventory
        .resources
        .as_mut()
        .unwrap()
        .retain(|one| one.id == "web.http");
    let status = compared(&inventory, &said, "shop");
    let of_it: Vec<&Alarm> = status
        .alarms
        .iter()
        .filter(|alarm| alarm.subject.as_deref() == Some("web.http"))
        .collect();
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    assert_eq!(of_it[0].code, "resource-stopped");
    assert_eq!(of_it[0].severity, Severity::Critical);
}
