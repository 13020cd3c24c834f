//! The course of a drill, on a site made of threads, files and captured logs.

use std::io;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;

/// A cluster of `n1` and `n2` that does what it is told to after the fault.
struct Staged {
    stack: Stack,
    directory: tempfile::TempDir,
    server: SocketAddr,
    /// Who answers clients; nobody while `None`.
    serving: Arc<Mutex<Option<&'static str>>>,
    /// After the fault: who serves then, and what the audit log says then.
    then: (Option<&'static str>, Option<&'static str>),
    log: &'static str,
}

impl Staged {
    fn new(stack: Stack, then: (Option<&'static str>, Option<&'static str>)) -> Self {
        let serving = Arc::new(Mutex::new(Some("n1")));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let who = Arc::clone(&serving);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                // A connection closed with an unread request would be reset.
                let _ = stream.read(&mut [0; 512]);
                if let Some(node) = *who.lock().unwrap() {
                    let page = format!("HTTP/1.0 200 OK\r\n\r\n<p>node: {node}</p>");
                    let _ = stream.write_all(page.as_bytes());
                }
            }
        });
        Self {
            stack,
            directory: tempfile::tempdir().unwrap(),
            server,
            serving,
            then,
            log: include_str!("../../../fixtures/pacemaker.log"),
        }
    }
}

impl Site for Staged {
    fn stack(&self) -> Stack {
        self.stack
    }

    fn nodes(&self) -> Vec<String> {
        vec!["n1".into(), "n2".into()]
    }

    fn connect(&self, _: SocketAddr, deadline: Deadline) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(
            &self.server,
            deadline.remaining().max(Duration::from_millis(1)),
        )
    }

    fn inject(&self, node: &str, fault: Fault, _: Deadline) -> Result<Injected, lab::Error> {
        let (serving, audit) = self.then;
        // The captured logs are of a node that was killed at this moment.
        let at: Timestamp = "2026-11-22T16:59:18.106Z".parse().unwrap();
        let instant = Instant::now();
        *self.serving.lock().unwrap() = None;
        let who = Arc::clone(&self.serving);
        let path = self.audit_log();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            if let Some(record) = audit {
                std::fs::write(path, record).unwrap();
            }
            *who.lock().unwrap() = serving;
        });
        Ok(Injected {
            node: node.to_owned(),
            fault,
            at,
            instant,
            evidence: "staged".into(),
        })
    }

    fn clock(&self, node: &str, _: Deadline) -> Result<ClockOffset, lab::Error> {
        assert_eq!(node, "n2", "a victim is not asked for its clock");
        Ok(ClockOffset {
            offset: SignedDuration::ZERO,
            uncertainty: Duration::from_millis(2),
            at: Timestamp::now(),
        })
    }

    fn log(&self, node: &str, which: GuestLog, _: Deadline) -> Result<String, String> {
        assert_eq!(node, "n2", "a victim is not asked for its logs");
        match which {
            GuestLog::Corosync => Ok(include_str!("../../../fixtures/corosync.log").to_owned()),
            _ => Ok(self.log.to_owned()),
        }
    }

    fn audit_log(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    fn reserved(&self, _: Deadline) -> Result<Vec<lab::Reserved>, String> {
        Ok(Vec::new())
    }
}

const PROOF: &str = r#"{"at":"2026-11-22T16:59:21.4Z","subject":"request","operation":"reboot","guest":"n1","outcome":"off","evidence":[{"means":"destroyed","observation":{"guest":{"name":"n1","uuid":"7069636b-6574-8000-8000-6c6162000001"},"state":"shut off","reason":"destroyed","active":false,"persistent":true,"resumable":false,"by":"qemu:///system on host","at":"2026-11-22T16:59:21.4Z"},"seconds":0.2}]}"#;

fn plan() -> Plan {
    let text = include_str!("../../../../../examples/web.toml");
    let definition = Definition::parse("web.toml", text).unwrap();
    Plan {
        spec: Spec::new(definition),
        fault: Fault::Panic,
        node: None,
        keep: false,
        limit: Duration::from_secs(20),
        lag: Duration::from_millis(500),
    }
}

fn drill(site: &Staged, plan: &Plan) -> (Result<Report, Error>, Vec<Event>) {
    let mut events = Vec::new();
    let service = check(plan).unwrap();
    let result = on_site(site, plan, service, &mut |event| events.push(event));
    (result, events)
}

#[test]
fn a_recovery_with_evidence() {
    let site = Staged::new(Stack::Picket, (Some("n2"), Some(PROOF)));
    let (result, events) = drill(&site, &plan());
    let report = result.unwrap();
    assert_eq!(report.verdict, Verdict::Recovered);
    assert_eq!(
        (report.victim.as_str(), report.survivor.as_deref()),
        ("n1", Some("n2"))
    );
    let proof = report.power_off.unwrap();
    assert_eq!(proof.means, "destroyed");
    // From the captured logs; the client's part runs in real time.
    assert_eq!(report.stages.membership, Some(2.069));
    assert_eq!(report.stages.pacemaker, Some(1.012));
    assert_eq!(report.stages.fence_call, Some(0.312));
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);
    let seen = |wanted| {
        events
            .iter()
            .any(|event| matches!(event, Event::Seen { milestone, .. } if *milestone == wanted))
    };
    assert!(seen(Milestone::ServiceLost));
    assert!(seen(Milestone::PowerOffConfirmed));
    assert!(seen(Milestone::ServiceAnswering));
}

#[test]
fn a_recovery_without_evidence_has_failed() {
    let site = Staged::new(Stack::Picket, (Some("n2"), None));
    let report = drill(&site, &plan()).0.unwrap();
    assert_eq!(report.verdict, Verdict::NotProven);
    assert_eq!(report.power_off, None);
    assert!(
        report.gaps.iter().any(|gap| gap.contains("no evidence")),
        "{:?}",
        report.gaps
    );
}

#[test]
fn evidence_about_another_guest_is_none() {
    let other: &'static str = PROOF.replace("\"n1\"", "\"n3\"").leak();
    let site = Staged::new(Stack::Picket, (Some("n2"), Some(other)));
    assert_eq!(drill(&site, &plan()).0.unwrap().verdict, Verdict::NotProven);
}

#[test]
fn of_the_c_stack_only_its_word_can_be_had() {
    let site = Staged::new(Stack::C, (Some("n2"), None));
    let report = drill(&site, &plan()).0.unwrap();
    assert_eq!(report.verdict, Verdict::RecoveredUnproven);
    let silent = Staged {
        log: "",
        ..Staged::new(Stack::C, (Some("n2"), None))
    };
    assert_eq!(
        drill(&silent, &plan()).0.unwrap().verdict,
        Verdict::NotProven
    );
}

#[test]
fn a_service_that_stays_away_is_not_recovered() {
    let site = Staged::new(Stack::Picket, (None, Some(PROOF)));
    let began = Instant::now();
    let plan = Plan {
        limit: Duration::from_secs(2),
        ..plan()
    };
    let report = drill(&site, &plan).0.unwrap();
    assert_eq!(report.verdict, Verdict::NotRecovered);
    assert_eq!((report.survivor, report.stages.total), (None, None));
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_victim_that_goes_on_is_no_recovery() {
    let site = Staged::new(Stack::Picket, (Some("n1"), Some(PROOF)));
    let plan = Plan {
        limit: Duration::from_secs(2),
        ..plan()
    };
    assert_eq!(
        drill(&site, &plan).0.unwrap().verdict,
        Verdict::NotRecovered
    );
}

#[test]
fn a_node_that_does_not_serve_can_fail_too() {
    let site = Staged::new(Stack::Picket, (Some("n1"), Some(PROOF)));
    let plan = Plan {
        node: Some(NodeName::try_from("n1".to_owned()).unwrap()),
        ..plan()
    };
    *site.serving.lock().unwrap() = Some("n2");
    let site = Staged {
        then: (Some("n2"), Some(PROOF)),
        ..site
    };
    let report = drill(&site, &plan).0.unwrap();
    assert_eq!(report.verdict, Verdict::Recovered);
    assert_eq!(report.victim, "n1");
}

#[test]
fn cancelling_ends_the_watch() {
    let site = Staged::new(Stack::Picket, (None, None));
    let plan = plan();
    let cancel = plan.spec.cancel.clone();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            cancel.set();
        });
        drill(&site, &plan).0
    });
    assert!(matches!(result, Err(Error::Cancelled)));
}

#[test]
fn a_service_that_does_not_answer_at_all_is_not_drilled() {
    let site = Staged::new(Stack::Picket, (None, None));
    *site.serving.lock().unwrap() = None;
    let plan = plan();
    let cancel = plan.spec.cancel.clone();
    // The wait for the first answer is long; giving up is as good as its end.
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(400));
            cancel.set();
        });
        drill(&site, &plan).0
    });
    assert!(matches!(result, Err(Error::Cancelled)));
}

#[test]
fn impossible_plans_are_refused_before_anything_is_started() {
    let plan = plan();
    let alone = Plan {
        spec: Spec::new(plan.spec.definition.with_nodes(1).unwrap()),
        ..plan.clone()
    };
    assert!(matches!(
        perform(&alone, &mut |_| ()),
        Err(Error::NoSurvivor(1))
    ));
    let nobody = Plan {
        node: Some(NodeName::try_from("n9".to_owned()).unwrap()),
        ..plan
    };
    let error = perform(&nobody, &mut |_| ()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"there is no node `n9`; the nodes are n1, n2");
}
