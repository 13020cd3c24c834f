//! Switching guests.

use super::*;
use crate::{ErrorKind, GuestRef, Hypervisor as _, Means, Power};

/// Servers of version 4.0 know neither pages nor `FindAllByUuid`, and are spoken to in their version.
#[test]
fn version_4_0() {
    let old = |power: &str| Ok(guest("returnval", "vm-1", "web", power));
    let world = World::new(
        "4.0",
        "HostAgent",
        vec![
            (
                "FindByUuid",
                "<vmSearch>true</vmSearch></FindByUuid>",
                reference("VirtualMachine", "vm-1"),
            ),
            ("RetrieveProperties", "vm-1", old("poweredOn")),
            ("PowerOffVM_Task", "vm-1", reference("Task", "task-7")),
            (
                "RetrieveProperties",
                "task-7",
                Ok(format!(
                    "<returnval><obj type=\"Task\">task-7</obj>{}</returnval>",
                    property("info.state", "TaskInfoState", "success")
                )),
            ),
            ("RetrieveProperties", "vm-1", old("poweredOff")),
        ],
    );
    let off = world
        .vmware
        .power_off(&GuestRef::parse(UUID), soon())
        .expect("it is powered off");
    assert_eq!(off.evidence.means, Means::Destroyed);
    for (method, action) in world.end() {
        let expected = if method == "RetrieveServiceContent" {
            "\"urn:vim25\""
        } else {
            "\"urn:vim25/4.0\""
        };
        assert_eq!(action, expected, "{method}");
    }
}

/// Tasks are forgotten: then a look decides, as it does when the state was another one all along.
#[test]
fn orders_without_a_clear_end() {
    for (steps, means) in [
        (
            vec![
                ("PowerOffVM_Task", "vm-1", reference("Task", "task-7")),
                (COLLECT, "task-7", task("running")),
                (COLLECT, "task-7", Err("ManagedObjectNotFound")),
                by_path(),
                (COLLECT, "vm-1", one("poweredOff")),
            ],
            Means::WentOff,
        ),
        (
            vec![
                ("PowerOffVM_Task", "vm-1", Err("InvalidPowerState")),
                by_path(),
                (COLLECT, "vm-1", one("poweredOff")),
            ],
            Means::WentOff,
        ),
        (
            vec![
                ("PowerOffVM_Task", "", Err("NotAuthenticated")),
                ("PowerOffVM_Task", "vm-1", reference("Task", "task-7")),
                (COLLECT, "task-7", task("queued")),
                (COLLECT, "task-7", task("success")),
                by_path(),
                (COLLECT, "vm-1", one("poweredOn")),
                by_path(),
                (COLLECT, "vm-1", one("poweredOff")),
            ],
            Means::Destroyed,
        ),
    ] {
        let mut all = vec![by_path(), (COLLECT, "vm-1", one("poweredOn"))];
        all.extend(steps);
        let world = World::center(all);
        let off = world
            .vmware
            .power_off(&GuestRef::parse(PATH), soon())
            .expect("it is off");
        assert_eq!(off.evidence.means, means);
        world.end();
    }
}

/// What real servers send for a guest whose files are gone: no configuration at all.
#[test]
fn a_guest_without_configuration_is_not_off() {
    let bare = format!(
        "<objects><obj type=\"VirtualMachine\">vm-1</obj>{}{}{}</objects>",
        property("name", "xsd:string", "web"),
        property(
            "runtime.powerState",
            "VirtualMachinePowerState",
            "poweredOff"
        ),
        property(
            "runtime.connectionState",
            "VirtualMachineConnectionState",
            "inaccessible"
        ),
    );
    let hidden = "<objects><obj type=\"VirtualMachine\">vm-1</obj><propSet><name>name</name><val i:type=\"xsd:string\">web</val></propSet>\
                  <missingSet><path>runtime.connectionState</path><fault><fault i:type=\"NoPermission\"/><localizedMessage/></fault>\
                  </missingSet></objects>";
    for (objects, words) in [(bare.as_str(), "inaccessible"), (hidden, "NoPermission")] {
        let world = World::center(vec![by_path(), (COLLECT, "", page(objects, None))]);
        let error = world
            .vmware
            .power_off(&GuestRef::parse(PATH), soon())
            .expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::CannotKnow);
        assert!(error.to_string().contains(words), "{error}");
        world.end();
    }
}

/// A guest that is being started is off until the task for it has got so far.
#[test]
fn what_is_being_started_is_not_off() {
    let task = |state: &str, what: &str| {
        format!(
            "<objects><obj type=\"Task\">task-9</obj>{}{}</objects>",
            property("info.state", "TaskInfoState", state),
            property("info.descriptionId", "xsd:string", what)
        )
    };
    let off = guest("objects", "vm-1", "web", "poweredOff");
    for (state, what, power) in [
        ("running", "VirtualMachine.powerOn", Power::Unknown),
        ("queued", "Datacenter.powerOnVm", Power::Unknown),
        ("running", "VirtualMachine.revertToSnapshot", Power::Unknown),
        ("success", "VirtualMachine.powerOn", Power::Off),
        ("error", "VirtualMachine.powerOn", Power::Off),
        ("running", "VirtualMachine.reconfigure", Power::Off),
    ] {
        let world = World::center(vec![
            by_path(),
            (
                COLLECT,
                "recentTask",
                page(&format!("{off}{}", task(state, what)), None),
            ),
        ]);
        let seen = world.vmware.observe(&GuestRef::parse(PATH), soon());
        assert_eq!(seen.expect("it is seen").power(), power, "{state} {what}");
        world.end();
    }
    // Which is waited for, and then it is switched off.
    let starting = format!("{off}{}", task("running", "VirtualMachine.powerOn"));
    let world = World::center(vec![
        by_path(),
        (COLLECT, "recentTask", page(&starting, None)),
        by_path(),
        (COLLECT, "recentTask", one("poweredOn")),
        ("PowerOffVM_Task", "vm-1", reference("Task", "task-7")),
        (COLLECT, "task-7", super::task("success")),
        by_path(),
        (COLLECT, "recentTask", one("poweredOff")),
    ]);
    let off = world.vmware.power_off(&GuestRef::parse(PATH), soon());
    assert_eq!(off.expect("it is off").evidence.means, Means::Destroyed);
    world.end();
}

/// A task that breaks off midway may have done its work.
#[test]
fn a_task_that_failed_midway_is_no_refusal() {
    let failed = format!(
        "<objects><obj type=\"Task\">task-7</obj>{}<propSet><name>info.error</name><val><fault i:type=\"HostCommunication\"/>\
         <localizedMessage>gone</localizedMessage></val></propSet></objects>",
        property("info.state", "TaskInfoState", "error")
    );
    let world = World::center(vec![
        by_path(),
        (COLLECT, "vm-1", one("poweredOn")),
        ("PowerOffVM_Task", "vm-1", reference("Task", "task-7")),
        (COLLECT, "task-7", page(&failed, None)),
    ]);
    let error = world.vmware.power_off(&GuestRef::parse(PATH), soon());
    assert_eq!(error.expect_err("it failed").kind(), ErrorKind::CannotKnow);
    world.end();
}
