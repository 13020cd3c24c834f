//! The harness of cluster nodes: it must itself be right before anything is proved with it.

use std::{path::Path, time::Duration};

use picket_tests::{
    nodes::{FORMING, NEEDS, Nodes, plain_cluster},
    process::wait_for,
    skip::skipped,
};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];

const DUMMY: &str = r#"<crm_config><cluster_property_set id="o">
    <nvpair id="o1" name="stonith-enabled" value="false"/>
    <nvpair id="o2" name="dc-deadtime" value="2s"/>
  </cluster_property_set></crm_config><nodes/>
  <resources><primitive id="d1" class="ocf" provider="pacemaker" type="Dummy"/></resources>
  <constraints/>"#;

fn started(nodes: &Nodes, on: &str) -> Option<String> {
    let printed = nodes.exec(on, &["crm_mon", "-1"]).stdout;
    let line = printed
        .lines()
        .find(|line| line.contains("Dummy") && line.contains("Started"))?;
    line.split_whitespace().last().map(str::to_owned)
}

#[test]
fn three_nodes_form_a_cluster_and_survive_the_loss_of_one() {
    if skipped(&NEEDS) {
        return;
    }
    let mut nodes = Nodes::up(&NAMES);
    let files = plain_cluster(&NAMES, DUMMY);
    for name in NAMES {
        nodes.put(name, &files);
    }
    nodes.form();
    let first = wait_for("the resource to start", FORMING, || started(&nodes, "n1"));
    nodes.kill(&first);
    let survivor = NAMES
        .into_iter()
        .find(|name| *name != first)
        .expect("three nodes");
    wait_for("the resource to move", Duration::from_secs(60), || {
        started(&nodes, survivor).filter(|now| *now != first)
    });
    assert!(
        nodes.exec(&first, &["true"]).code != Some(0),
        "a killed node does nothing"
    );
}

/// Whether the kernel of `to` answers `from`: it refuses a connection to a port where nobody listens,
/// while a cable that is not plugged in says nothing at all.
fn answers(nodes: &Nodes, from: &str, to: &str) -> bool {
    let connect = format!("exec 3<>/dev/tcp/{}/9", nodes.address(to));
    let ran = nodes.exec(from, &["timeout", "1", "bash", "-c", &connect]);
    assert!(matches!(ran.code, Some(1 | 124)), "{ran:?}");
    ran.code == Some(1) && ran.stderr.contains("refused")
}

#[test]
fn what_a_node_writes_stays_in_it() {
    if skipped(&NEEDS) {
        return;
    }
    let mut nodes = Nodes::up(&["one", "two"]);
    let path = "/etc/picket-harness-test";
    let wrote = nodes.exec(
        "one",
        &["sh", "-c", &format!("hostname >{path}; cat {path}")],
    );
    assert_eq!(wrote.stdout, "one\n");
    assert!(!Path::new(path).exists());
    assert_ne!(nodes.exec("two", &["cat", path]).code, Some(0));
    assert!(answers(&nodes, "two", "one"));
    nodes.unplug("one");
    assert!(!answers(&nodes, "two", "one"));
    nodes.plug("one");
    wait_for("the cable to carry again", Duration::from_secs(20), || {
        answers(&nodes, "two", "one").then_some(())
    });
    nodes.kill("one");
    nodes.revive("one");
    assert_ne!(
        nodes.exec("one", &["cat", path]).code,
        Some(0),
        "it is a new machine"
    );
}
