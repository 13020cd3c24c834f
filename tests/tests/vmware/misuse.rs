//! What users get wrong, and names that would be something else where they are put.

use picket_tests::process::Ran;

use crate::{AGENTS, World, encoded, ended, lacking};

#[test]
fn wrong_credentials_are_named() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    for agent in AGENTS {
        for action in ["status", "off", "list", "monitor"] {
            let ran = world.ours(agent, &["-o", action, "-n", "DC0_H0_VM0", "-p", "hunter2"]);
            ended(&ran, 1, "", "user name or password is wrong");
            assert!(!ran.printed().contains("hunter2"), "{ran:?}");
        }
    }
    assert_eq!(world.sessions(), (0, 0));
}

/// The login works and must not: monitor says so before it matters.
#[test]
fn a_missing_privilege_is_found_by_monitor() {
    if lacking() {
        return;
    }
    for agent in AGENTS {
        let world = World::vcenter();
        ended(&world.ours(agent, &["-o", "monitor"]), 0, "", "");
        // Read-only on all of them; first as hosts answer, which know roles only.
        for guest in world.seen().keys() {
            world.tell(&format!("guest?name={guest}&role=-2"));
        }
        world.fault("HasPrivilegeOnEntities", "fault", 0, "&detail=NotSupported");
        for args in [
            &["-o", "monitor"][..],
            &["-o", "monitor", "-n", "DC0_H0_VM0"],
        ] {
            ended(
                &world.ours(agent, args),
                1,
                "",
                "VirtualMachine.Interact.PowerOff",
            );
        }
        world.tell("guest?name=DC0_C0_RP0_VM1&role=-1");
        ended(&world.ours(agent, &["-o", "monitor"]), 0, "", "");
        ended(
            &world.ours(agent, &["-o", "monitor", "-n", "DC0_C0_RP0_VM1"]),
            0,
            "",
            "",
        );
        ended(
            &world.ours(agent, &["-o", "monitor", "-n", "DC0_H0_VM0"]),
            1,
            "",
            "VirtualMachine.Interact.PowerOff",
        );
        // And as vCenter answers.
        world.forget();
        world.fault(
            "HasPrivilegeOnEntities",
            "replace",
            0,
            &format!("&detail={}", encoded("<isGranted>true=><isGranted>false")),
        );
        ended(
            &world.ours(agent, &["-o", "monitor"]),
            1,
            "",
            "VirtualMachine.Interact.PowerOff",
        );
        assert_eq!(world.sessions(), (0, 0));
        assert_eq!(world.count("PowerOffVM_Task"), 0);
    }
    // Where SOAP is not served, REST shows that the guest is seen, and says what it cannot tell.
    let world = World::vcenter();
    world.fault("RetrieveServiceContent", "status", 0, "&status=404");
    let ran = world.ours("fence_vmware_rest", &["-o", "monitor", "-n", "DC0_H0_VM0"]);
    ended(&ran, 0, "", "is not served there");
    let ran = world.ours("fence_vmware_rest", &["-o", "monitor", "-n", "nobody"]);
    ended(&ran, 1, "", "no guest `nobody`");
    // A login that sees nobody.
    let world = World::vcenter();
    world.fault(
        "RetrievePropertiesEx",
        "replace",
        0,
        &format!("&detail={}", encoded("<returnval>(?s:.*)</returnval>=>")),
    );
    ended(
        &world.ours("fence_vmware_soap", &["-o", "monitor"]),
        1,
        "",
        "sees no guest",
    );
}

#[test]
fn wrong_addresses_and_what_answers_there() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    for agent in AGENTS {
        let at = |args: &[&str]| {
            world.ours(
                agent,
                &[&["-o", "status", "-n", "DC0_H0_VM0"], args].concat(),
            )
        };
        ended(&at(&["-u", "1"]), 1, "", "127.0.0.1:1");
        ended(
            &at(&["-a", "no-such-host.invalid"]),
            1,
            "",
            "no-such-host.invalid",
        );
        ended(&at(&["-a", "https://vc.example/sdk"]), 1, "", "page");
        // Plain where TLS is spoken, and the other way round.
        ended(&at(&["--ssl-insecure"]), 1, "", "TLS");
        for method in ["RetrieveServiceContent", "POST /api/session"] {
            world.fault(method, "page", 0, "");
        }
        ended(&at(&[]), 1, "", "Web gateway: sign in");
        world.forget();
    }
    let encrypted = World::encrypted();
    let ran = encrypted.by_stdin("fence_vmware_soap", "action=status\nplug=DC0_H0_VM0");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    // A host of its own has no REST interface.
    let host = World::esx();
    ended(
        &host.ours("fence_vmware_rest", &["-o", "status", "-n", "ha-host_VM0"]),
        1,
        "",
        "404",
    );
}

#[test]
fn wrong_options_are_named_before_anybody_is_asked() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    let check = |agent: &str, args: &[&str], words: &str| {
        let ran: Ran = world.ours(agent, args);
        ended(&ran, 1, "", words);
    };
    check(
        "fence_vmware_rest",
        &["-o", "off", "-n", "/DC0/vm/DC0_H0_VM0"],
        "SOAP",
    );
    check(
        "fence_vmware_rest",
        &["-o", "off", "-n", "265104de-1472-547c-b873-6dc7883fb6cb"],
        "SOAP",
    );
    check(
        "fence_vmware_rest",
        &["-o", "off", "-n", "x", "--api-path=/a b"],
        "api_path",
    );
    check(
        "fence_vmware",
        &["-o", "off", "-n", "x", "-d", "server2"],
        "not supported",
    );
    check(
        "fence_vmware",
        &["-o", "off", "-n", "x", "--port-as-ip"],
        "port_as_ip",
    );
    check(
        "fence_vmware",
        &["-o", "off", "-n", "x", "--interface=xmlrpc"],
        "soap, rest",
    );
    check("fence_vmware_soap", &["-o", "off"], "plug");
    assert_eq!(world.requests(), 0, "{}", world.counts());
}

/// Names with characters that mean something in XML, in addresses, or in paths, and in every script.
#[test]
fn names_stay_names() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    let names = [
        "web <1> & \"2\"",
        "it's</name><name>DC0_H0_VM1",
        "a?b=c&names=DC0_H0_VM1#d",
        "größe-测试-сервер",
        "..",
        "a+b%20c",
        " leading",
    ];
    for name in names {
        // As the server stores it.
        let stored = name
            .replace('%', "%25")
            .replace('/', "%2f")
            .replace('\\', "%5c");
        world.tell(&format!(
            "guest?name=DC0_H0_VM0&rename={}",
            encoded(&stored)
        ));
        for agent in AGENTS {
            let by =
                |action: &str| world.ours(agent, &["-o", action, "-n", name, "--plug-separator=;"]);
            if name.starts_with(' ') {
                // Blanks around plugs are not part of them.
                ended(&by("off"), 1, "", "no guest");
                continue;
            }
            ended(&by("off"), 0, "Success: Powered OFF\n", "");
            assert_eq!(world.state(&stored), "poweredOff", "{agent} {name}");
            ended(&by("on"), 0, "Success: Powered ON\n", "");
        }
        world.tell(&format!(
            "guest?name={}&rename=DC0_H0_VM0",
            encoded(&stored)
        ));
    }
    assert_eq!(world.state("DC0_H0_VM1"), "poweredOn");
    // A separator of paths in a name.
    world.tell(&format!(
        "guest?name=DC0_H0_VM0&rename={}",
        encoded("a%2fb%5cc")
    ));
    for plug in ["a/b\\c", "a%2fb%5cc", "/DC0/vm/a%2fb%5cc"] {
        ended(
            &world.ours("fence_vmware_soap", &["-o", "status", "-n", plug]),
            0,
            "Status: ON\n",
            "",
        );
    }
    for plug in ["a/b\\c", "a%2fb%5cc"] {
        ended(
            &world.ours("fence_vmware_rest", &["-o", "status", "-n", plug]),
            0,
            "Status: ON\n",
            "",
        );
    }
    // Characters that XML cannot carry name nobody.
    let control = "DC0_H0_VM1\u{1}";
    for agent in AGENTS {
        ended(
            &world.ours(agent, &["-o", "off", "-n", control]),
            1,
            "",
            "no guest",
        );
    }
}

/// No secret in what is printed or in a debug file, whatever goes wrong.
#[test]
fn secrets_are_kept() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    for agent in AGENTS {
        for (method, kind) in [
            ("Login", "page"),
            ("POST /api/session", "page"),
            ("PowerOffVM_Task", "truncate"),
            ("*", "status"),
        ] {
            world.forget();
            world.fault(method, kind, 0, "&status=500&detail=secret-free");
            let file = world.dir.path().join("debug");
            let debug = format!("--debug-file={}", file.display());
            let ran = world.ours(
                agent,
                &[
                    "-o",
                    "off",
                    "-n",
                    "DC0_H0_VM0",
                    "-p",
                    "hunter2",
                    "-vvv",
                    &debug,
                    "--power-timeout=2",
                ],
            );
            assert_eq!(ran.code, Some(1), "{ran:?}");
            let written = std::fs::read_to_string(&file).unwrap_or_default();
            for secret in ["hunter2", "vmware_soap_session", "aHVudGVyMg"] {
                assert!(
                    !ran.printed().contains(secret) && !written.contains(secret),
                    "{secret}: {ran:?} {written}"
                );
            }
        }
    }
}
