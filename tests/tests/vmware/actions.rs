//! Every action, by every kind of name, on both servers, over both interfaces; each outcome looked at by pyvmomi.

use crate::{AGENTS, World, ended, lacking};

/// One guest through off, on and reboot, called `plug`.
fn all_actions(world: &World, agent: &str, plug: &str, guest: &str, other: &str) {
    let act = |action: &str| world.ours(agent, &["-o", action, "-n", plug]);
    ended(&act("status"), 0, "Status: ON\n", "");
    ended(&act("monitor"), 0, "", "");
    ended(&act("on"), 0, "Success: Already ON\n", "");
    ended(&act("off"), 0, "Success: Powered OFF\n", "");
    assert_eq!(world.state(guest), "poweredOff", "{agent} {plug}");
    assert_eq!(world.state(other), "poweredOn", "{agent} {plug}");
    ended(&act("status"), 2, "Status: OFF\n", "");
    ended(&act("off"), 0, "Success: Already OFF\n", "");
    ended(&act("on"), 0, "Success: Powered ON\n", "");
    assert_eq!(world.state(guest), "poweredOn", "{agent} {plug}");
    ended(&act("reboot"), 0, "Success: Rebooted\n", "");
    assert_eq!(world.state(guest), "poweredOn", "{agent} {plug}");
    let powered_off =
        world.count("PowerOffVM_Task") + world.count("POST /api/vcenter/vm/{vm}/power?stop");
    assert_eq!(powered_off, 2, "{agent} {plug}: off, and the reboot");
    assert_eq!(world.sessions(), (0, 0), "{agent} {plug}");
}

#[test]
fn vcenter_over_soap() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    let uuid = world.uuid("DC0_C0_RP0_VM1");
    let compact = uuid.replace('-', "").to_uppercase();
    for plug in ["DC0_C0_RP0_VM1", &uuid, &compact, "/DC0/vm/DC0_C0_RP0_VM1"] {
        world.forget();
        all_actions(
            &world,
            "fence_vmware_soap",
            plug,
            "DC0_C0_RP0_VM1",
            "DC0_C0_RP0_VM0",
        );
    }
}

#[test]
fn a_host_over_soap() {
    if lacking() {
        return;
    }
    let world = World::esx();
    let uuid = world.uuid("ha-host_VM2");
    for plug in ["ha-host_VM2", &uuid, "/ha-datacenter/vm/ha-host_VM2"] {
        world.forget();
        all_actions(
            &world,
            "fence_vmware_soap",
            plug,
            "ha-host_VM2",
            "ha-host_VM1",
        );
    }
}

#[test]
fn vcenter_over_rest() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    all_actions(
        &world,
        "fence_vmware_rest",
        "DC0_H0_VM1",
        "DC0_H0_VM1",
        "DC0_H0_VM0",
    );
    assert_eq!(
        world.count("POST /rest/com/vmware/cis/session"),
        0,
        "/api is there"
    );
}

/// Before vCenter 7.0 U2, or when told to, the older form.
#[test]
fn older_rest() {
    if lacking() {
        return;
    }
    let old = World::with(&["-no-api"]);
    let new = World::vcenter();
    for (world, args) in [(&old, &[][..]), (&new, &["--api-path=/rest"])] {
        let act = |action: &str| {
            world.ours(
                "fence_vmware_rest",
                &[&["-o", action, "-n", "DC0_H0_VM1"], args].concat(),
            )
        };
        ended(&act("off"), 0, "Success: Powered OFF\n", "");
        assert_eq!(world.state("DC0_H0_VM1"), "poweredOff");
        ended(&act("status"), 2, "Status: OFF\n", "");
        ended(&act("reboot"), 0, "Success: Rebooted\n", "");
        assert_eq!(world.state("DC0_H0_VM1"), "poweredOn");
        assert_eq!(world.sessions(), (0, 0));
        assert_eq!(world.count("POST /rest/vcenter/vm/{vm}/power/stop"), 1);
    }
    assert_eq!(new.count("POST /api/session"), 0);
}

/// The third name: TLS unless told otherwise, either interface, a datacenter to look in.
#[test]
fn fence_vmware_has_both_interfaces_and_tls() {
    if lacking() {
        return;
    }
    let world = World::encrypted();
    for args in [
        &[][..],
        &["--interface=rest"],
        &["-s", "DC0"],
        &["--interface=rest", "-s", "DC0"],
    ] {
        let act = |action: &str| {
            world.ours(
                "fence_vmware",
                &[&["-o", action, "-n", "DC0_H0_VM0"], args].concat(),
            )
        };
        ended(&act("off"), 0, "Success: Powered OFF\n", "");
        assert_eq!(world.state("DC0_H0_VM0"), "poweredOff", "{args:?}");
        ended(&act("on"), 0, "Success: Powered ON\n", "");
    }
    for args in [&["-s", "DC9"][..], &["-s", "DC9", "--interface=rest"]] {
        let ran = world.ours(
            "fence_vmware",
            &[&["-o", "off", "-n", "DC0_H0_VM0"], args].concat(),
        );
        ended(&ran, 1, "", "DC9");
    }
    let insecure = world.ours(
        "fence_vmware",
        &["-o", "status", "-n", "DC0_H0_VM0", "--ssl-insecure"],
    );
    ended(&insecure, 0, "Status: ON\n", "not verified");
    // Nobody vouches for the certificate, and nothing was sent.
    let logins = world.count("Login");
    let strange = world.ours(
        "fence_vmware",
        &["-o", "off", "-n", "DC0_H0_VM0", "--ssl-secure"],
    );
    ended(&strange, 1, "", "certificate");
    assert_eq!(world.count("Login"), logins);

    let plain = World::vcenter();
    ended(
        &plain.by_stdin("fence_vmware", "ssl=0\naction=status\nplug=DC0_H0_VM0"),
        0,
        "Status: ON\n",
        "not encrypted",
    );
    ended(
        &plain.by_stdin("fence_vmware", "action=status\nplug=DC0_H0_VM0"),
        1,
        "",
        "TLS",
    );
}

#[test]
fn lists_show_names_uuids_and_states() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    for guest in ["DC0_H0_VM3", "DC0_C0_RP0_VM2"] {
        ended(
            &world.ours("fence_vmware_soap", &["-o", "off", "-n", guest]),
            0,
            "Success: Powered OFF\n",
            "",
        );
    }
    world.tell("guest?name=DC0_H0_VM4&power=suspended");
    world.tell("guest?name=DC0_H0_VM2&template=true");
    let seen = world.seen();
    let expected = |separator: &str, with_uuid: bool, with_state: bool| -> String {
        let guests = seen.iter().filter(|(name, _)| *name != "DC0_H0_VM2");
        let line = |(name, told): (&String, &Vec<String>)| {
            let uuid = if with_uuid { told[1].as_str() } else { "" };
            let state = if told[0] == "poweredOff" { "OFF" } else { "ON" };
            let state = if with_state {
                format!("{separator}{state}")
            } else {
                String::new()
            };
            format!("{name}{separator}{uuid}{state}\n")
        };
        guests.map(line).collect()
    };
    for (agent, uuid) in AGENTS.into_iter().zip([true, false]) {
        ended(
            &world.ours(agent, &["-o", "list"]),
            0,
            &expected(",", uuid, false),
            "",
        );
        ended(
            &world.ours(agent, &["-o", "list-status"]),
            0,
            &expected(",", uuid, true),
            "",
        );
        ended(
            &world.ours(agent, &["-o", "list-status", "-C", "|"]),
            0,
            &expected("|", uuid, true),
            "",
        );
    }
    // The filter of the packaged agent, in its form and in that of /api.
    for filter in [
        "filter.names=DC0_H0_VM0&filter.names=DC0_H0_VM1",
        "names=DC0_H0_VM0&names=DC0_H0_VM1",
    ] {
        let ran = world.ours(
            "fence_vmware_rest",
            &["-o", "list", &format!("--filter={filter}")],
        );
        ended(&ran, 0, "DC0_H0_VM0,\nDC0_H0_VM1,\n", "");
    }
}

/// I29: each of several plugs.
#[test]
fn several_plugs_are_all_switched() {
    if lacking() {
        return;
    }
    for agent in AGENTS {
        let world = World::vcenter();
        let both = "DC0_H0_VM0,DC0_C0_RP0_VM0";
        ended(
            &world.ours(agent, &["-o", "off", "-n", both]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        for guest in both.split(',') {
            assert_eq!(world.state(guest), "poweredOff", "{agent} {guest}");
        }
        let unknown = world.ours(agent, &["-o", "on", "-n", "DC0_H0_VM0,nobody"]);
        ended(&unknown, 1, "", "nobody");
        ended(
            &world.ours(agent, &["-o", "reboot", "-n", both]),
            0,
            "Success: Rebooted\n",
            "",
        );
        for guest in both.split(',') {
            assert_eq!(world.state(guest), "poweredOn", "{agent} {guest}");
        }
    }
}

/// Guests in vApps, and in datacenters that lie in folders.
#[test]
fn guests_anywhere_in_the_inventory() {
    if lacking() {
        return;
    }
    let world = World::with(&["-app", "1", "-folder", "1"]);
    let seen = world.seen();
    let in_app = seen
        .keys()
        .find(|name| name.contains("APP"))
        .expect("the vApp has guests");
    for guest in [in_app.as_str(), "DC0_H0_VM0"] {
        ended(
            &world.ours("fence_vmware_soap", &["-o", "off", "-n", guest]),
            0,
            "Success: Powered OFF\n",
            "",
        );
        assert_eq!(world.state(guest), "poweredOff");
    }
    let listed = world.ours("fence_vmware_soap", &["-o", "list"]);
    assert_eq!(listed.stdout.lines().count(), seen.len(), "{listed:?}");
    // Many folders: names are listed instead of each folder being asked.
    for number in 0..30 {
        world.tell(&format!("guest?name=DC0_H0_VM1&folder=f{number}"));
        world.tell(&format!("guest?name=DC0_H0_VM2&folder=f{number}"));
    }
    ended(
        &world.ours("fence_vmware_soap", &["-o", "status", "-n", "DC0_H0_VM1"]),
        0,
        "Status: ON\n",
        "",
    );
}
