//! Whether the cluster has formed, in the words of its own tools.

use std::time::Instant;

use deadline::Deadline;
use jiff::Timestamp;
use roxmltree::{Document, Node as Element};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::guest::Guest;
use crate::lab::Form;
use crate::spec::Node;

/// Asks one node. Quorum and ring come from Corosync, everything else from Pacemaker.
const QUESTION: &str =
    "corosync-quorumtool -s; echo '<!-- -->'; crm_mon --one-shot --output-as=xml";

/// A resource that has to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Its id.
    pub(crate) id: String,
    /// On every node, as a clone is, and not on one.
    pub(crate) everywhere: bool,
}

/// What a node says about its cluster.
pub(crate) struct View {
    quorate: bool,
    ring: String,
    members: usize,
    status: Option<Status>,
}

/// What Pacemaker says.
#[derive(Default)]
struct Status {
    dc: Option<String>,
    quorate: bool,
    online: Vec<String>,
    /// Nodes that are there but not quite: unclean, pending, in standby.
    troubled: Vec<String>,
    started: Vec<(String, String)>,
    failed: Vec<String>,
}

/// Asks `guest` and compares with what should be. `Err(NotFormed)` says what is missing.
pub(crate) fn ask(
    guest: &Guest<'_>,
    nodes: &[Node],
    resources: &[Wanted],
    deadline: Deadline,
) -> Result<Form, Error> {
    let began = Instant::now();
    let output = guest.run(QUESTION, deadline)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (quorum, status) = text.split_once("<!-- -->\n").unwrap_or((&text, ""));
    let view = View::parse(quorum, status);
    view.judge(nodes, resources)
        .map(|mut form| {
            form.took = began.elapsed();
            form
        })
        .map_err(|saw| Error::NotFormed { saw })
}

/// Asks a node only for its ring and the number of its members: cheap enough to ask all.
pub(crate) fn ask_membership(
    guest: &Guest<'_>,
    deadline: Deadline,
) -> Result<(String, usize), Error> {
    let output = guest.run("exec corosync-quorumtool -s", deadline)?;
    let view = View::parse(&output.text(), "");
    if view.quorate {
        Ok((view.ring, view.members))
    } else {
        Err(Error::NotFormed {
            saw: "a node without quorum".to_owned(),
        })
    }
}

impl View {
    fn parse(quorum: &str, status: &str) -> Self {
        let field = |name: &str| {
            quorum
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map_or("", |(_, value)| value.trim())
        };
        Self {
            quorate: field("Quorate") == "Yes",
            ring: field("Ring ID").to_owned(),
            members: field("Nodes").parse().unwrap_or(0),
            status: Document::parse(status)
                .ok()
                .map(|document| Status::parse(&document)),
        }
    }

    fn judge(self, nodes: &[Node], resources: &[Wanted]) -> Result<Form, String> {
        if !self.quorate || self.members != nodes.len() {
            return Err(format!(
                "{} of {} nodes in the membership",
                self.members,
                nodes.len()
            ));
        }
        let Some(status) = self.status else {
            return Err("Pacemaker does not answer yet".to_owned());
        };
        let Some(dc) = status.dc.filter(|_| status.quorate) else {
            return Err("no coordinator is elected yet".to_owned());
        };
        if let Some(node) = nodes
            .iter()
            .find(|node| !status.online.contains(&node.name))
        {
            return Err(format!("node {} is not online in Pacemaker", node.name));
        }
        if let Some(node) = status.troubled.first() {
            return Err(format!("node {node} is not ready"));
        }
        if let Some(resource) = status.failed.first() {
            return Err(format!("resource {resource} has failed"));
        }
        let started_on = |id: &str, node: &str| {
            let mut started = status.started.iter();
            started.any(|(name, on)| name == id && (node.is_empty() || on == node))
        };
        for Wanted { id, everywhere } in resources {
            if !everywhere && !started_on(id, "") {
                return Err(format!("resource {id} is not started"));
            }
            let lacks = |node: &&Node| *everywhere && !started_on(id, &node.name);
            if let Some(node) = nodes.iter().find(lacks) {
                return Err(format!("resource {id} is not started on {}", node.name));
            }
        }
        Ok(Form {
            dc,
            online: status.online,
            resources: status.started,
            ring: self.ring,
            at: Timestamp::now(),
            took: std::time::Duration::ZERO,
        })
    }
}

impl Status {
    /// `crm_mon --output-as=xml`, format 2.x of Pacemaker 2.1.
    fn parse(document: &Document<'_>) -> Self {
        let mut status = Self::default();
        for element in document.descendants() {
            match element.tag_name().name() {
                "current_dc" => {
                    status.dc = element.attribute("name").map(str::to_owned);
                    status.quorate = is(element, "with_quorum");
                }
                // Those within a resource name where it runs.
                "node" if element.has_attribute("online") => status.node(element),
                "resource" => status.resource(element),
                _ => {}
            }
        }
        status
    }

    fn node(&mut self, element: Element<'_, '_>) {
        let name = element.attribute("name").unwrap_or_default().to_owned();
        let trouble = ["unclean", "pending", "standby", "maintenance", "shutdown"];
        if trouble.into_iter().any(|flag| is(element, flag)) {
            self.troubled.push(name.clone());
        }
        if is(element, "online") {
            self.online.push(name);
        }
    }

    fn resource(&mut self, element: Element<'_, '_>) {
        let id = element.attribute("id").unwrap_or_default().to_owned();
        if is(element, "failed") || is(element, "blocked") {
            self.failed.push(id);
            return;
        }
        let started = element.attribute("role") == Some("Started") && is(element, "active");
        let node = element
            .children()
            .find(|child| child.has_tag_name("node"))
            .and_then(|child| child.attribute("name"));
        // A pending operation means that it is not started yet, whatever its role.
        if let (true, Some(node), None) = (started, node, element.attribute("pending")) {
            self.started.push((id, node.to_owned()));
        }
    }
}

fn is(element: Element<'_, '_>, attribute: &str) -> bool {
    element.attribute(attribute) == Some("true")
}

/// The primitive resources a CIB defines.
pub(crate) fn resources_of(cib: &[u8]) -> Vec<Wanted> {
    let text = String::from_utf8_lossy(cib);
    let wanted = |element: Element<'_, '_>| {
        Some(Wanted {
            id: element.attribute("id")?.to_owned(),
            everywhere: element.ancestors().any(|outer| outer.has_tag_name("clone")),
        })
    };
    Document::parse(&text).map_or_else(
        |_| Vec::new(),
        |document| {
            document
                .descendants()
                .filter(|element| element.has_tag_name("primitive"))
                .filter_map(wanted)
                .collect()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `corosync-quorumtool -s` of Corosync 3.1.7 and `crm_mon` of Pacemaker 2.1.5 print it, shortened.
    const QUORUM: &str = "Quorum information\n------------------\nDate:             Sun Nov 22 16:58:20 2026\n\
        Quorum provider:  corosync_votequorum\nNodes:            2\nNode ID:          1\nRing ID:          1.9\n\
        Quorate:          Yes\n";
    const STATUS: &str = r#"<pacemaker-result api-version="2.25"><summary>
        <current_dc present="true" version="2.1.5" name="n1" id="1" with_quorum="true"/></summary>
        <nodes><node name="n1" id="1" online="true" standby="false" maintenance="false" pending="false" unclean="false" shutdown="false"/>
        <node name="n2" id="2" online="true" standby="false" maintenance="false" pending="false" unclean="false" shutdown="false"/></nodes>
        <resources><resource id="fence.n1" role="Started" active="true" blocked="false" failed="false"><node name="n2" id="2"/></resource>
        <group id="web"><resource id="web.ip" role="Started" active="true" blocked="false" failed="false"><node name="n1" id="1"/></resource></group>
        </resources><status code="0" message="OK"/></pacemaker-result>"#;

    fn judge(quorum: &str, status: &str) -> Result<Form, String> {
        let node = |number: u8| Node {
            name: format!("n{number}"),
            address: [10, 9, 0, number].into(),
        };
        let once = |id: &str| Wanted {
            id: id.to_owned(),
            everywhere: false,
        };
        let wanted = [once("fence.n1"), once("web.ip")];
        View::parse(quorum, status).judge(&[node(1), node(2)], &wanted)
    }

    #[test]
    fn a_formed_cluster_is_recognised() {
        let form = judge(QUORUM, STATUS).unwrap();
        assert_eq!((form.dc.as_str(), form.ring.as_str()), ("n1", "1.9"));
        let runs =
            |id: &str, node: &str| form.resources.contains(&(id.to_owned(), node.to_owned()));
        assert!(runs("fence.n1", "n2") && runs("web.ip", "n1"));
    }

    #[test]
    fn whatever_is_missing_is_named() {
        let cases = [
            (
                "Quorate:          Yes",
                "Quorate:          No",
                "in the membership",
            ),
            ("Nodes:            2", "Nodes:            1", "1 of 2 nodes"),
        ];
        for (good, bad, words) in cases {
            let saw = judge(&QUORUM.replace(good, bad), STATUS).unwrap_err();
            assert!(saw.contains(words), "{saw}");
        }
        let cases = [
            (
                "with_quorum=\"true\"",
                "with_quorum=\"false\"",
                "no coordinator",
            ),
            (
                "name=\"n2\" id=\"2\" online=\"true\"",
                "name=\"n2\" id=\"2\" online=\"false\"",
                "n2 is not online",
            ),
            ("unclean=\"false\"", "unclean=\"true\"", "is not ready"),
            ("failed=\"false\"", "failed=\"true\"", "has failed"),
            (
                "\"web.ip\" role=\"Started\"",
                "\"web.ip\" role=\"Stopped\"",
                "web.ip is not started",
            ),
            (
                "\"web.ip\" role=\"Started\"",
                "\"web.ip\" pending=\"Starting\" role=\"Started\"",
                "web.ip is not started",
            ),
        ];
        for (good, bad, words) in cases {
            assert!(STATUS.contains(good), "{good}");
            let saw = judge(QUORUM, &STATUS.replace(good, bad)).unwrap_err();
            assert!(saw.contains(words), "{saw}");
        }
        assert!(judge(QUORUM, "").unwrap_err().contains("does not answer"));
        assert!(judge("", "").is_err());
        assert!(judge(QUORUM, "<pacemaker-result><summary>").is_err());
    }

    #[test]
    fn a_clone_has_to_run_on_every_node() {
        let clone = [Wanted {
            id: "web.ip".to_owned(),
            everywhere: true,
        }];
        let nodes = ["n1", "n2"].map(|name| Node {
            name: name.to_owned(),
            address: [10, 9, 0, 1].into(),
        });
        let saw = View::parse(QUORUM, STATUS)
            .judge(&nodes, &clone)
            .unwrap_err();
        assert_eq!(saw, "resource web.ip is not started on n2");
        assert!(View::parse(QUORUM, STATUS).judge(&nodes, &[]).is_ok());
    }

    #[test]
    fn resources_are_the_primitives() {
        let cib = b"<cib><configuration><resources><group id='g'><primitive id='a'/></group>\
            <clone id='c'><primitive id='b'/></clone></resources></configuration></cib>";
        let found: Vec<_> = resources_of(cib)
            .into_iter()
            .map(|wanted| (wanted.id, wanted.everywhere))
            .collect();
        assert_eq!(found, [("a".to_owned(), false), ("b".to_owned(), true)]);
        assert!(resources_of(b"<cib").is_empty());
    }
}
