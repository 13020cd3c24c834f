//! Where guests are, and where they may be.

use super::*;
use crate::placement::Placement as _;
use crate::{ErrorKind, GuestRef};

fn host(id: &str, parent: &str) -> Result<String, &'static str> {
    let (kind, parent) = parent.split_once(' ').expect("a type and an identifier");
    page(
        &format!(
            "<objects><obj type=\"HostSystem\">{id}</obj>{}<propSet><name>parent</name><val type=\"{kind}\" \
             i:type=\"ManagedObjectReference\">{parent}</val></propSet>{}{}</objects>",
            property("name", "xsd:string", &format!("esx-{id}")),
            property(
                "runtime.connectionState",
                "HostSystemConnectionState",
                "connected"
            ),
            property("runtime.inMaintenanceMode", "xsd:boolean", "false"),
        ),
        None,
    )
}

/// DRS and HA settings as vCenter has them; `behaviour` is that of the guest `vm-1` alone.
fn cluster(drs: bool, ha: bool, behaviour: &str) -> Result<String, &'static str> {
    let config = format!(
        "<dasConfig><enabled>{ha}</enabled></dasConfig><drsConfig><enabled>{drs}</enabled>\
         <defaultVmBehavior>fullyAutomated</defaultVmBehavior></drsConfig><drsVmConfig><key type=\"VirtualMachine\">vm-1</key>{behaviour}\
         </drsVmConfig><rule i:type=\"ClusterAntiAffinityRuleSpec\"><key>4</key><status>green</status><enabled>true</enabled>\
         <name>nodes</name><mandatory>false</mandatory><vm type=\"VirtualMachine\">vm-1</vm><vm type=\"VirtualMachine\">vm-2</vm></rule>\
         <rule i:type=\"ClusterAffinityRuleSpec\"><key>5</key><name>together</name><vm type=\"VirtualMachine\">vm-1</vm></rule>\
         <rule i:type=\"ClusterVmHostRuleInfo\"><key>6</key><enabled>true</enabled><name>licence</name><mandatory>true</mandatory>\
         <vmGroupName>dbs</vmGroupName><affineHostGroupName>licensed</affineHostGroupName></rule>\
         <group i:type=\"ClusterVmGroup\"><name>dbs</name><vm type=\"VirtualMachine\">vm-1</vm></group>\
         <group i:type=\"ClusterHostGroup\"><name>licensed</name><host type=\"HostSystem\">host-1</host></group>"
    );
    let hosts = property(
        "host",
        "ArrayOfManagedObjectReference",
        "<ManagedObjectReference type=\"HostSystem\">host-1</ManagedObjectReference>",
    );
    page(
        &format!(
            "<objects><obj type=\"ClusterComputeResource\">domain-c7</obj>{}{hosts}{}</objects>",
            property("name", "xsd:string", "prod"),
            property("configurationEx", "ClusterConfigInfoEx", &config)
        ),
        None,
    )
}

#[test]
fn what_drs_and_ha_do_by_themselves() {
    for (drs, ha, behaviour, moves) in [
        (true, false, "", true),
        (true, false, "<behavior>manual</behavior>", false),
        (true, false, "<enabled>false</enabled>", false),
        (false, false, "", false),
        (false, true, "", true),
    ] {
        let world = World::center(vec![
            by_path(),
            (COLLECT, "vm-1", one("poweredOn")),
            (
                COLLECT,
                "host-1",
                host("host-1", "ClusterComputeResource domain-c7"),
            ),
            (COLLECT, "domain-c7", cluster(drs, ha, behaviour)),
            (
                COLLECT,
                "host-1",
                host("host-1", "ClusterComputeResource domain-c7"),
            ),
        ]);
        let where_it_is = world
            .vmware
            .whereabouts(&GuestRef::parse(PATH), soon())
            .expect("it is there");
        assert_eq!(where_it_is.moves_by_itself, moves, "{drs} {ha} {behaviour}");
        assert_eq!(where_it_is.pinned_to.len(), 1, "by somebody else's rule");
        world.end();
    }
    let world = World::center(vec![
        by_path(),
        (COLLECT, "vm-1", one("poweredOff")),
        (
            COLLECT,
            "host-1",
            host("host-1", "ClusterComputeResource domain-c7"),
        ),
        (COLLECT, "domain-c7", cluster(false, false, "")),
        (
            COLLECT,
            "vm-2",
            page(
                &format!(
                    "{}{}",
                    guest("objects", "vm-1", "web", "poweredOff"),
                    guest("objects", "vm-2", "db", "poweredOn")
                ),
                None,
            ),
        ),
    ]);
    let rules = world
        .vmware
        .rules(&[GuestRef::parse(PATH)], soon())
        .expect("there is one");
    let rule = &rules[0];
    assert_eq!(
        (
            rules.len(),
            rule.name.as_str(),
            rule.guests.len(),
            rule.mandatory
        ),
        (1, "nodes", 2, false)
    );
    assert!(
        rule.ineffective
            .as_deref()
            .is_some_and(|why| why.contains("DRS is off")),
        "{rule:?}"
    );
    world.end();
}

/// To a host of its own, whose pool has to be named, by `MigrateVM_Task`.
#[test]
fn a_guest_is_migrated() {
    let on = |host: &str| {
        page(
            &guest("objects", "vm-1", "web", "poweredOn").replace("host-1", host),
            None,
        )
    };
    let alone = |id: &str| host(id, "ComputeResource domain-s2");
    let pool = "<propSet><name>resourcePool</name><val type=\"ResourcePool\" i:type=\"ManagedObjectReference\">resgroup-2</val></propSet>";
    let steps = |end: &str| -> Vec<Step> {
        vec![
            by_path(),
            (COLLECT, "vm-1", on("host-1")),
            (
                COLLECT,
                "host-1",
                host("host-1", "ComputeResource domain-s1"),
            ),
            (COLLECT, "ContainerView", alone("host-2")),
            (
                COLLECT,
                "domain-s2",
                page(
                    &format!(
                        "<objects><obj type=\"ComputeResource\">domain-s2</obj>{pool}</objects>"
                    ),
                    None,
                ),
            ),
            (
                "MigrateVM_Task",
                "<pool type=\"ResourcePool\">resgroup-2</pool><host type=\"HostSystem\">host-2</host><priority>highPriority</priority>\
                 <state>poweredOn</state>",
                reference("Task", "task-7"),
            ),
            (COLLECT, "task-7", task("running")),
            (COLLECT, "task-7", task(end)),
        ]
    };
    let mut all = steps("success");
    // What vCenter shows may lag behind.
    for place in ["host-1", "host-2"] {
        all.push(by_path());
        all.push((COLLECT, "vm-1", on(place)));
        all.push((COLLECT, "host-", alone(place)));
    }
    let world = World::center(all);
    let moved = world
        .vmware
        .migrate(&GuestRef::parse(PATH), "esx-host-2", soon())
        .expect("it is moved");
    assert_eq!(moved.host.expect("it runs").id, "host-2");
    world.end();
    let world = World::center(steps("error"));
    let error = world
        .vmware
        .migrate(&GuestRef::parse(PATH), "esx-host-2", soon())
        .expect_err("the task failed");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    world.end();
}
