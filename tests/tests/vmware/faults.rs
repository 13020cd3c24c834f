//! Everything that may go wrong between an agent and its server.

use std::time::Duration;

use crate::{AGENTS, World, encoded, ended, lacking};

const GUEST: &str = "DC0_H0_VM0";

fn off(world: &World, agent: &str) -> picket_tests::process::Ran {
    world.ours(agent, &["-o", "off", "-n", GUEST, "--power-timeout=6"])
}

/// The order of each interface.
fn order(agent: &str) -> &'static str {
    match agent {
        "fence_vmware_soap" => "PowerOffVM_Task",
        _ => "POST /api/vcenter/vm/{vm}/power?stop",
    }
}

/// An agent, and how it looks at guests: over SOAP, wherever that is served.
#[derive(Debug, Clone, Copy)]
struct Way {
    agent: &'static str,
    look: &'static str,
}

const SOAP: Way = Way {
    agent: "fence_vmware_soap",
    look: "RetrievePropertiesEx",
};
const REST: Way = Way {
    agent: "fence_vmware_rest",
    look: "RetrievePropertiesEx",
};
const REST_ALONE: Way = Way {
    agent: "fence_vmware_rest",
    look: "GET /api/vcenter/vm/{vm}",
};
const WAYS: [Way; 3] = [SOAP, REST, REST_ALONE];

impl Way {
    fn world(self) -> World {
        let world = World::vcenter();
        if self.look == REST_ALONE.look {
            world.fault("RetrieveServiceContent", "status", 0, "&status=404");
        }
        world
    }
}

/// A session that the server ends is opened again, once, at any point.
#[test]
fn an_expired_session_is_opened_again() {
    if lacking() {
        return;
    }
    for way in WAYS {
        let agent = way.agent;
        for method in [way.look, order(agent)] {
            let world = way.world();
            world.fault(method, "expire", 1, "");
            ended(&off(&world, agent), 0, "Success: Powered OFF\n", "");
            let logins = world.count("Login").max(world.count("POST /api/session"));
            assert_eq!(logins, 2, "{agent} {method}");
            assert_eq!(world.sessions(), (0, 0), "{agent} {method}");
            world.forget();
            assert_eq!(world.state(GUEST), "poweredOff", "{agent} {method}");
        }
        // One that never lasts is an error, not a loop.
        let world = way.world();
        world.fault(way.look, "expire", 0, "");
        let ran = off(&world, agent);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.took < Duration::from_secs(10), "{ran:?}");
        assert!(
            world.count("Login").max(world.count("POST /api/session")) <= 6,
            "{}",
            world.counts()
        );
    }
}

/// The answer to an order is lost: whoever looks afterwards knows.
#[test]
fn a_lost_answer_to_an_order_is_no_guess() {
    if lacking() {
        return;
    }
    for agent in AGENTS {
        // It was carried out.
        let world = World::vcenter();
        world.fault(order(agent), "drop", 1, "");
        ended(&off(&world, agent), 0, "Success: Powered OFF\n", "");
        assert_eq!(world.state(GUEST), "poweredOff", "{agent}");
        assert_eq!(
            world.count(order(agent)),
            1,
            "{agent}: it is seen to be off, and not ordered again"
        );
        // It was not: it is ordered again.
        for kind in ["status", "page", "truncate", "cut"] {
            let world = World::vcenter();
            let more = if kind == "status" {
                "&status=500&detail=oops"
            } else {
                ""
            };
            world.fault(order(agent), kind, 1, more);
            ended(&off(&world, agent), 0, "Success: Powered OFF\n", "");
            assert_eq!(world.state(GUEST), "poweredOff", "{agent} {kind}");
        }
        // Nobody looks any more: nobody knows.
        let world = World::vcenter();
        world.fault(order(agent), "hang", 0, "");
        let ran = off(&world, agent);
        ended(&ran, 1, "", "may still take effect");
        assert!(ran.took < Duration::from_secs(12), "{ran:?}");
        assert_eq!(world.sessions(), (0, 0), "{agent}");
    }
}

/// Answers to questions that are none.
#[test]
fn no_answer_is_never_off() {
    if lacking() {
        return;
    }
    let cases = [
        ("status", "&status=500&detail=oops", "HTTP 500"),
        ("status", "&status=503", "HTTP 503"),
        ("status", "&status=407", "proxy"),
        ("status", "&status=404", "404"),
        ("page", "", "sign in"),
        ("cut", "", "vSphere"),
        ("truncate", "", "closed"),
        (
            "redirect",
            "&detail=https%3A%2F%2Felsewhere%2Fsdk",
            "redirection",
        ),
        (
            "replace",
            "&detail=VirtualMachine%3D%3EVirtuelleMaschine",
            "",
        ),
    ];
    for way in WAYS {
        let agent = way.agent;
        for (kind, more, words) in cases {
            let world = way.world();
            ended(
                &world.ours(agent, &["-o", "off", "-n", GUEST]),
                0,
                "Success: Powered OFF\n",
                "",
            );
            world.fault(way.look, kind, 0, more);
            for action in ["status", "off"] {
                let ran = world.ours(agent, &["-o", action, "-n", GUEST]);
                // JSON has no such word.
                if kind == "replace" && way.look == REST_ALONE.look {
                    continue;
                }
                ended(&ran, 1, "", words);
            }
            assert_eq!(world.sessions(), (0, 0), "{agent} {kind}");
        }
    }
}

/// Members that are missing, and states nobody knows.
#[test]
fn missing_and_unknown_states_are_never_off() {
    if lacking() {
        return;
    }
    let soap = [
        ">poweredOff<=>>poweredDown<",
        "runtime.powerState=>runtime.bootTime",
        "<propSet>(?s:.*)</propSet>=>",
    ];
    for (way, wordings) in [
        (SOAP, soap),
        (REST, soap),
        (
            REST_ALONE,
            [
                "POWERED_OFF=>POWERED_DOWN",
                "\"power_state\"=>\"power\"",
                "(?s).*=>{}",
            ],
        ),
    ] {
        let agent = way.agent;
        for wording in wordings {
            let world = way.world();
            ended(
                &world.ours(agent, &["-o", "off", "-n", GUEST]),
                0,
                "Success: Powered OFF\n",
                "",
            );
            world.fault(
                way.look,
                "replace",
                0,
                &format!("&detail={}", encoded(wording)),
            );
            for action in ["status", "off"] {
                let ran = world.ours(agent, &["-o", action, "-n", GUEST]);
                assert_eq!(
                    (ran.code, ran.stdout.as_str()),
                    (Some(1), ""),
                    "{agent} {wording}: {ran:?}"
                );
            }
        }
    }
}

/// vCenter has lost the host: it shows the last state, which proves nothing.
#[test]
fn the_state_of_a_lost_host_is_not_known() {
    if lacking() {
        return;
    }
    for agent in AGENTS {
        for state in ["disconnected", "notResponding"] {
            let world = World::vcenter();
            ended(&off(&world, agent), 0, "Success: Powered OFF\n", "");
            world.tell(&format!("host?name=DC0_H0&connection={state}"));
            ended(
                &world.ours(agent, &["-o", "status", "-n", GUEST]),
                1,
                "",
                "connected",
            );
            ended(&off(&world, agent), 1, "", "connected");
            let listed = world.ours(agent, &["-o", "list-status"]);
            let line = listed
                .stdout
                .lines()
                .find(|line| line.starts_with(GUEST))
                .expect("it is listed")
                .to_owned();
            assert!(line.ends_with("UNKNOWN"), "{line}");
            // One that was on cannot be switched off either.
            let ran = world.ours(
                agent,
                &["-o", "off", "-n", "DC0_H0_VM1", "--power-timeout=2"],
            );
            ended(&ran, 1, "", "connected");
            // Guests of other hosts are not concerned.
            ended(
                &world.ours(agent, &["-o", "off", "-n", "DC0_C0_RP0_VM0"]),
                0,
                "Success: Powered OFF\n",
                "",
            );
            world.tell("host?name=DC0_H0&connection=connected");
            ended(
                &world.ours(agent, &["-o", "status", "-n", GUEST]),
                2,
                "Status: OFF\n",
                "",
            );
        }
    }
    let world = World::vcenter();
    for state in ["orphaned", "inaccessible", "invalid"] {
        world.tell(&format!(
            "guest?name={GUEST}&power=poweredOff&connection={state}"
        ));
        for agent in AGENTS {
            ended(
                &world.ours(agent, &["-o", "status", "-n", GUEST]),
                1,
                "",
                state,
            );
        }
    }
}

/// Conditions of one name add up on the server: what is asked for a proof must not widen what the user asked for.
#[test]
fn a_filter_by_hosts_shows_their_guests_and_no_old_state_as_off() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    let list = |filter: &str| {
        let ran = world.ours(
            "fence_vmware_rest",
            &["-o", "list-status", "--filter", filter],
        );
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    world.tell(&format!("guest?name={GUEST}&power=poweredOff"));
    let host = world.host_of(GUEST);
    let filter = format!("hosts={host}");
    let before = list(&filter);
    assert!(before.contains(&format!("{GUEST},,OFF\n")), "{before}");
    assert!(!before.contains("DC0_C0"), "{before}");
    world.tell("host?name=DC0_H0&connection=disconnected");
    let after = list(&filter);
    assert!(
        !after.contains("OFF") && after.contains(&format!("{GUEST},,UNKNOWN\n")),
        "{after}"
    );
    assert_eq!(after.lines().count(), before.lines().count());
}

/// What is suspended goes on where it was when it is started: `on` boots it afresh.
#[test]
fn on_boots_a_suspended_guest_afresh() {
    if lacking() {
        return;
    }
    for agent in AGENTS {
        let world = World::vcenter();
        world.tell(&format!("guest?name={GUEST}&power=suspended"));
        ended(
            &world.ours(agent, &["-o", "on", "-n", GUEST]),
            0,
            "Success: Powered ON\n",
            "",
        );
        assert_eq!(world.state(GUEST), "poweredOn");
    }
}

/// `monitor` over REST asks SOAP for the right to power off. That nobody answers there is no answer.
#[test]
fn monitor_over_rest_passes_without_soap_only_where_there_is_none() {
    if lacking() {
        return;
    }
    let agent = "fence_vmware_rest";
    for (status, code) in [(503, 1), (502, 1), (404, 0)] {
        let world = World::vcenter();
        world.fault(
            "RetrieveServiceContent",
            "status",
            0,
            &format!("&status={status}"),
        );
        let ran = world.ours(agent, &["-o", "monitor"]);
        assert_eq!(ran.code, Some(code), "{status}: {ran:?}");
    }
    let world = World::vcenter();
    world.fault("RetrieveServiceContent", "status", 0, "&status=404");
    world.fault(
        "GET /api/vcenter/vm",
        "replace",
        0,
        &format!("&detail={}", encoded("(?s).*=>[]")),
    );
    ended(
        &world.ours(agent, &["-o", "monitor"]),
        1,
        "",
        "sees no guest",
    );
}

/// A login that may not see hosts cannot tell over REST whether a state is old, except after its own order.
#[test]
fn rest_without_sight_of_hosts() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    world.fault("RetrieveServiceContent", "status", 0, "&status=404");
    world.fault(
        "GET /api/vcenter/host",
        "replace",
        0,
        &format!("&detail={}", encoded("(?s).*=>[]")),
    );
    let agent = "fence_vmware_rest";
    ended(&off(&world, agent), 0, "Success: Powered OFF\n", "");
    ended(
        &world.ours(agent, &["-o", "status", "-n", GUEST]),
        1,
        "",
        "System.Read",
    );
    ended(&off(&world, agent), 1, "", "System.Read");
    ended(
        &world.ours(agent, &["-o", "status", "-n", "DC0_H0_VM1"]),
        0,
        "Status: ON\n",
        "",
    );
}

/// Faults of an order, from the call and from its task: what they mean, not what they say.
#[test]
fn refusals_are_explained() {
    if lacking() {
        return;
    }
    let cases = [
        (
            "NoPermission",
            "<privilegeId>VirtualMachine.Interact.PowerOff</privilegeId>",
            "VirtualMachine.Interact.PowerOff",
        ),
        ("RestrictedVersion", "", "only to read"),
        ("HostNotConnected", "", "not connected"),
        ("FileLocked", "", "another host"),
        ("SystemError", "", "SystemError"),
    ];
    for (name, elements, words) in cases {
        let world = World::vcenter();
        world.fault(
            "PowerOffVM_Task",
            "fault",
            1,
            &format!("&detail={}", encoded(&format!("{name} {elements}"))),
        );
        ended(&off(&world, "fence_vmware_soap"), 1, "", words);
        world.fault("PowerOffVM_Task", "task", 1, &format!("&detail={name}"));
        ended(&off(&world, "fence_vmware_soap"), 1, "", words);
        assert_eq!(world.state(GUEST), "poweredOn", "{name}");
    }
    let world = World::vcenter();
    for (status, kind, words) in [
        (403, "UNAUTHORIZED", "privilege"),
        (500, "ERROR", "error"),
        (503, "RESOURCE_INACCESSIBLE", "cannot be reached"),
    ] {
        let detail = format!("{{\"error_type\":\"{kind}\",\"messages\":[]}}");
        world.fault(
            order("fence_vmware_rest"),
            "status",
            1,
            &format!("&status={status}&detail={}", encoded(&detail)),
        );
        ended(&off(&world, "fence_vmware_rest"), 1, "", words);
    }
}

/// Another task holds the guest: it is tried again until the time is over.
#[test]
fn a_busy_guest_is_tried_again() {
    if lacking() {
        return;
    }
    for name in ["TaskInProgress", "InvalidState"] {
        let world = World::vcenter();
        world.fault("PowerOffVM_Task", "fault", 2, &format!("&detail={name}"));
        world.fault("PowerOffVM_Task", "task", 1, &format!("&detail={name}"));
        ended(
            &off(&world, "fence_vmware_soap"),
            0,
            "Success: Powered OFF\n",
            "",
        );
        assert_eq!(
            (world.count("PowerOffVM_Task"), world.state(GUEST).as_str()),
            (4, "poweredOff")
        );
    }
    let busy = encoded("{\"error_type\":\"RESOURCE_BUSY\",\"messages\":[]}");
    let world = World::vcenter();
    world.fault(
        order("fence_vmware_rest"),
        "status",
        2,
        &format!("&status=503&detail={busy}"),
    );
    ended(
        &off(&world, "fence_vmware_rest"),
        0,
        "Success: Powered OFF\n",
        "",
    );
    for (agent, kind, more) in [
        (
            "fence_vmware_soap",
            "fault",
            "&detail=TaskInProgress".to_owned(),
        ),
        (
            "fence_vmware_rest",
            "status",
            format!("&status=503&detail={busy}"),
        ),
    ] {
        let world = World::vcenter();
        world.fault(order(agent), kind, 0, &more);
        let ran = world.ours(agent, &["-o", "off", "-n", GUEST, "--power-timeout=2"]);
        ended(&ran, 1, "", "busy");
        assert!(ran.took < Duration::from_secs(5), "{ran:?}");
    }
}

/// Tasks that take their time are followed to their end, or to the deadline.
#[test]
fn slow_tasks_are_followed() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    world.fault("PowerOffVM_Task", "task", 1, "&delay=2500");
    let ran = off(&world, "fence_vmware_soap");
    ended(&ran, 0, "Success: Powered OFF\n", "");
    assert!(ran.took > Duration::from_secs(2), "{ran:?}");
    assert_eq!(world.state(GUEST), "poweredOff");
    world.fault(
        "POST /api/vcenter/vm/{vm}/power?start",
        "delay",
        1,
        "&delay=2500",
    );
    let on = world.ours("fence_vmware_rest", &["-o", "on", "-n", GUEST]);
    ended(&on, 0, "Success: Powered ON\n", "");

    world.fault("PowerOffVM_Task", "task", 1, "&delay=20000");
    let ran = world.ours(
        "fence_vmware_soap",
        &["-o", "off", "-n", GUEST, "--power-timeout=2"],
    );
    ended(&ran, 1, "", "may still take effect");
    assert!(ran.took < Duration::from_secs(6), "{ran:?}");
}

/// A question that nobody answers keeps a guest from starting; the agent says so at once.
#[test]
fn a_pending_question_is_reported() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    ended(
        &off(&world, "fence_vmware_soap"),
        0,
        "Success: Powered OFF\n",
        "",
    );
    world.tell(&format!(
        "guest?name={GUEST}&question={}",
        encoded("Did you move it or copy it?")
    ));
    world.fault("PowerOnVM_Task", "task", 0, "&delay=60000");
    let ran = world.ours(
        "fence_vmware_soap",
        &["-o", "on", "-n", GUEST, "--retry-on=0"],
    );
    ended(&ran, 1, "", "Did you move it or copy it?");
    assert!(ran.took < Duration::from_secs(10), "{ran:?}");
}

/// Two guests of one name, or of one UUID: an error that names the remedy, and neither is switched.
#[test]
fn duplicates_are_errors() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    world.tell("guest?name=DC0_H0_VM1&rename=DC0_H0_VM0&folder=other");
    for agent in AGENTS {
        ended(&off(&world, agent), 1, "", "2 guests");
    }
    let world = World::vcenter();
    world.tell("guest?name=DC0_H0_VM1&rename=DC0_H0_VM0&folder=other");
    let path = world.ours(
        "fence_vmware_soap",
        &["-o", "off", "-n", "/DC0/vm/other/DC0_H0_VM0"],
    );
    ended(&path, 0, "Success: Powered OFF\n", "");
    assert_eq!(world.count("PowerOffVM_Task"), 1);
    let uuid = world.uuid("DC0_H0_VM2");
    world.tell(&format!("guest?name=DC0_H0_VM3&uuid={uuid}"));
    ended(
        &world.ours("fence_vmware_soap", &["-o", "off", "-n", &uuid]),
        1,
        "",
        "2 guests",
    );
    for guest in ["DC0_H0_VM2", "DC0_H0_VM3"] {
        assert_eq!(world.state(guest), "poweredOn");
    }
    // A template of the same name is no guest.
    world.tell("guest?name=DC0_C0_RP0_VM1&rename=DC0_C0_RP0_VM0&folder=other&template=true");
    ended(
        &world.ours("fence_vmware_soap", &["-o", "off", "-n", "DC0_C0_RP0_VM0"]),
        0,
        "Success: Powered OFF\n",
        "",
    );
    world.tell("guest?name=DC0_C0_RP0_VM2&template=true");
    ended(
        &world.ours("fence_vmware_soap", &["-o", "off", "-n", "DC0_C0_RP0_VM2"]),
        1,
        "",
        "template",
    );
}

/// A guest that is removed, or registered anew, while it is being fenced.
#[test]
fn a_guest_that_disappears_is_looked_up_again() {
    if lacking() {
        return;
    }
    let gone = "ManagedObjectNotFound <obj type=\"VirtualMachine\">vm-1</obj>";
    let world = World::vcenter();
    world.fault(
        "PowerOffVM_Task",
        "fault",
        1,
        &format!("&detail={}", encoded(gone)),
    );
    ended(
        &off(&world, "fence_vmware_soap"),
        0,
        "Success: Powered OFF\n",
        "",
    );
    let world = World::vcenter();
    let gone = encoded("{\"error_type\":\"NOT_FOUND\",\"messages\":[]}");
    world.fault(
        order("fence_vmware_rest"),
        "status",
        1,
        &format!("&status=404&detail={gone}"),
    );
    ended(
        &off(&world, "fence_vmware_rest"),
        0,
        "Success: Powered OFF\n",
        "",
    );
    for agent in AGENTS {
        ended(
            &world.ours(agent, &["-o", "off", "-n", "nobody"]),
            1,
            "",
            "no guest `nobody`",
        );
    }
}
