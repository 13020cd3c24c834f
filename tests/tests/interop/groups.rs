//! Who may fence whom.

use picket_tests::{
    agent::Call,
    cases,
    daemon::{Config, Daemon, Route},
    guests::{self, VM1_UUID},
    net::{GUEST_V4, GUEST_V6},
    rig::Rig,
    skip::{PEERS, skipped},
    subject::pairs_over,
};

const DENIED: i32 = 3;

/// Calls of `status` and what they exit with, and how many guests are listed.
struct Rules {
    name: &'static str,
    groups: String,
    status: Vec<(&'static str, i32)>,
    listed: usize,
}

fn rules(requester: &str) -> Vec<Rules> {
    vec![
        Rules {
            name: "a guest by its name",
            groups: format!("group {{ name = \"a\"; ip = \"{requester}\"; uuid = \"vm1\"; }}"),
            status: vec![("vm1", 0), (VM1_UUID, DENIED), ("vm2", DENIED)],
            listed: 1,
        },
        Rules {
            name: "a guest by its UUID",
            groups: format!("group = \"a\" {{ ip = \"{requester}\"; uuid = \"{VM1_UUID}\"; }}"),
            status: vec![("vm1", DENIED), (VM1_UUID, 0), ("vm2", DENIED)],
            listed: 1,
        },
        Rules {
            name: "two groups, one guest each",
            groups: format!(
                "group {{ ip = \"{requester}\"; uuid = \"vm1\"; }}\n\
                 group {{ uuid = \"vm2\"; ip = \"192.0.2.1\"; ip = \"{requester}\"; }}"
            ),
            status: vec![("vm1", 0), ("vm2", 0)],
            listed: 2,
        },
        Rules {
            name: "somebody else's guests",
            groups: "group { ip = \"192.0.2.1\"; uuid = \"vm1\"; uuid = \"vm2\"; }".to_owned(),
            status: vec![("vm1", DENIED), ("vm2", DENIED), (VM1_UUID, DENIED)],
            listed: 0,
        },
        Rules {
            name: "addresses without guests lock everyone out",
            groups: format!("group {{ ip = \"{requester}\"; }}"),
            status: vec![("vm1", DENIED), ("vm2", DENIED)],
            listed: 0,
        },
    ]
}

#[test]
fn groups_decide_who_may_fence_whom() {
    if skipped(&PEERS) {
        return;
    }
    let all = pairs_over(&Route::NETWORK);
    cases::all(&all, 4, |&(agent, daemon, route)| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let v6 = matches!(route, Route::MulticastV6 | Route::TcpV6);
        let requester = if v6 {
            GUEST_V6.to_string()
        } else {
            GUEST_V4.to_string()
        };
        for Rules {
            name,
            groups,
            status,
            listed,
        } in rules(&requester)
        {
            let config = Config::new(&rig, route, &uri).groups(&groups);
            let running = Daemon::start(&rig, daemon, &config);
            let call = Call::over(&rig, agent, route);
            for (plug, code) in status {
                let ran = call.act(&rig, "status", Some(plug));
                assert_eq!(ran.code, Some(code), "{name}, {plug}: {ran:?}");
                if code == DENIED {
                    for action in ["off", "on", "reboot"] {
                        let ran = call.act(&rig, action, Some(plug));
                        assert_eq!(ran.code, Some(DENIED), "{name}, {action} {plug}: {ran:?}");
                    }
                }
            }
            let list = call.act(&rig, "list", None);
            assert_eq!(
                (list.code, list.results().len()),
                (Some(0), listed),
                "{name}: {list:?}"
            );
            assert_eq!(call.act(&rig, "monitor", None).code, Some(0), "{name}");
            assert_eq!(call.act(&rig, "null", Some("vm2")).code, Some(1), "{name}");
            running.stop();
        }
    });
}
