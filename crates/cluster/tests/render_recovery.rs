//! What Pacemaker's own scheduler would do with the rendered configuration when a node fails: fence it
//! first, recover then.

mod render_support;

use std::path::{Path, PathBuf};

use cluster::{Definition, Dialect};
use render_support::{assert_accepted, cib, example, run, said};

/// A cluster as `crm_simulate` keeps it: a configuration together with the state of its resources.
struct Simulated {
    directory: tempfile::TempDir,
    nodes: Vec<String>,
}

impl Simulated {
    /// The cluster with all nodes up and everything started. `None`, said aloud, without the tool.
    fn up(definition: &Definition) -> Option<Self> {
        let cluster = Self {
            directory: tempfile::tempdir().expect("a directory"),
            nodes: definition
                .nodes
                .iter()
                .map(|node| node.name.to_string())
                .collect(),
        };
        std::fs::write(cluster.at("cib.xml"), cib(definition, Dialect::Stonith)).expect("written");
        let mut arguments = vec!["--simulate".to_owned(), "--quorum=1".to_owned()];
        for node in &cluster.nodes {
            arguments.push(format!("--node-up={node}"));
        }
        cluster.simulate("cib.xml", "up.xml", &arguments)?;
        cluster.note_unfencing();
        let again = cluster.simulate("up.xml", "steady.xml", &["--simulate".to_owned()])?;
        assert_eq!(actions(&again), Vec::<String>::new(), "it comes to rest");
        Some(cluster)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn simulate(&self, from: &str, to: &str, arguments: &[String]) -> Option<String> {
        let mut all = vec![
            format!("--xml-file={}", self.at(from).display()),
            format!("--save-output={}", self.at(to).display()),
        ];
        all.extend_from_slice(arguments);
        let output = run("crm_simulate", &all)?;
        assert_accepted("crm_simulate", &output);
        Some(said(&output))
    }

    /// The simulation does not remember that a node was let in again; a real fencer notes it by this
    /// attribute.
    fn note_unfencing(&self) {
        let mut xml = std::fs::read_to_string(self.at("up.xml")).expect("a state");
        for node in &self.nodes {
            let start = xml
                .find(&format!("<node_state id=\"{node}\""))
                .expect("the node's state");
            let end = start + xml[start..].find('>').expect("its end") + 1;
            xml.insert_str(
                end,
                &format!(
                    "<transient_attributes id=\"{node}\"><instance_attributes id=\"status-{node}\"><nvpair id=\"status-{node}-unfenced\" name=\"#node-unfenced\" value=\"1700000000\"/></instance_attributes></transient_attributes>"
                ),
            );
        }
        std::fs::write(self.at("up.xml"), xml).expect("written");
    }

    /// What is done when a node fails, in its order, and where everything is afterwards.
    fn fail(&self, node: &str) -> (Vec<String>, String) {
        let failure = ["--simulate", "--quorum=1"]
            .map(ToOwned::to_owned)
            .into_iter()
            .chain([format!("--node-fail={node}")])
            .collect::<Vec<_>>();
        let said = self
            .simulate("up.xml", "down.xml", &failure)
            .expect("the tool was there");
        let after = said
            .rsplit("Revised Cluster Status:")
            .next()
            .unwrap_or_default();
        (actions(&said), after.to_owned())
    }

    /// The node on which a resource is started.
    fn place(&self, state: &Path, resource: &str) -> String {
        let output =
            run("crm_simulate", &[format!("--xml-file={}", state.display())]).expect("there");
        let said = said(&output);
        let line = said
            .lines()
            .find(|line| line.contains(&format!("* {resource}\t")));
        let line = line.unwrap_or_else(|| panic!("no {resource}:\n{said}"));
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    }
}

/// What `crm_simulate` says is carried out.
fn actions(said: &str) -> Vec<String> {
    said.lines()
        .skip_while(|line| !line.starts_with("Executing Cluster Transition"))
        .take_while(|line| !line.starts_with("Revised"))
        .filter_map(|line| line.trim().strip_prefix("* "))
        .filter(|action| !action.starts_with("Pseudo action"))
        .map(|action| action.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn position(actions: &[String], wanted: &str) -> usize {
    actions
        .iter()
        .position(|action| action == wanted)
        .unwrap_or_else(|| panic!("{wanted:?} is not among {actions:#?}"))
}

/// The node that runs `resource` fails: it is fenced before the resource starts anywhere else, and that
/// on another node.
fn recovers(name: &str, resource: &str) {
    let definition = example(name);
    let Some(cluster) = Simulated::up(&definition) else {
        return;
    };
    let failed = cluster.place(&cluster.at("up.xml"), resource);
    let (actions, after) = cluster.fail(&failed);
    let fenced = position(&actions, &format!("Fencing {failed} (reboot)"));
    let starts = format!("Resource action: {resource} start on ");
    let (started, survivor) = actions
        .iter()
        .enumerate()
        .find_map(|(at, action)| Some((at, action.strip_prefix(&starts)?)))
        .unwrap_or_else(|| panic!("{name}: {resource} starts nowhere: {actions:#?}"));
    assert!(fenced < started, "{name}: {actions:#?}");
    assert_ne!(survivor, failed, "{name}");
    for action in &actions[..fenced] {
        let touches_service = action.contains(resource.split('.').next().unwrap_or_default());
        assert!(
            !touches_service || action.contains(" stop on "),
            "{name}: before the fencing: {action}"
        );
    }
    assert!(
        after.contains("OFFLINE") && !after.contains("FAILED"),
        "{name}: {after}"
    );
}

#[test]
fn web_is_fenced_first_and_recovers_then() {
    recovers("web", "web.http");
}

#[test]
fn storage_is_fenced_first_and_recovers_then() {
    recovers("kvm-storage", "web.mount.ledger");
}

#[test]
fn a_mixed_cluster_is_fenced_first_and_recovers_then() {
    recovers("mixed", "web.http");
}

#[test]
fn a_bare_metal_node_is_fenced_by_its_own_device() {
    let Some(cluster) = Simulated::up(&example("mixed")) else {
        return;
    };
    let (actions, _) = cluster.fail("n3");
    position(&actions, "Fencing n3 (reboot)");
}

#[test]
fn a_clustered_file_system_stays_mounted_on_the_survivor() {
    let Some(cluster) = Simulated::up(&example("kvm-storage")) else {
        return;
    };
    let (actions, after) = cluster.fail("n1");
    let disturbed: Vec<_> = actions
        .iter()
        .filter(|action| {
            (action.contains("cluster.dlm") || action.contains("cluster.filesystem.data"))
                && action.ends_with("on n2")
        })
        .collect();
    assert_eq!(disturbed, Vec::<&String>::new());
    assert!(after.contains("Started: [ n2 ]"), "{after}");
}

/// The order in which a cluster with clustered storage starts: lock managers, volume, mount, service.
#[test]
fn storage_starts_from_the_bottom_up() {
    let definition = example("kvm-storage");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("cib.xml");
    std::fs::write(&path, cib(&definition, Dialect::Stonith)).expect("written");
    let arguments = [
        format!("--xml-file={}", path.display()),
        "--simulate".to_owned(),
        "--quorum=1".to_owned(),
        "--node-up=n1".to_owned(),
    ];
    let Some(output) = run("crm_simulate", &arguments) else {
        return;
    };
    let actions = actions(&said(&output));
    let at = |resource: &str| {
        position(
            &actions,
            &format!("Resource action: {resource} start on n1"),
        )
    };
    let order = [
        at("cluster.dlm:0"),
        at("cluster.lvmlockd:0"),
        at("cluster.filesystem.data.volume.data:0"),
        at("cluster.filesystem.data.mount.data:0"),
        at("web.volume.ledger"),
        at("web.mount.ledger"),
        at("web.ip"),
        at("web.http"),
    ];
    assert!(order.is_sorted(), "{order:?}: {actions:#?}");
}
