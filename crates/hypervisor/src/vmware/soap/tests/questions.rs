//! Who is found, what is read, what the login may do.

use super::*;
use crate::{Error, ErrorKind, GuestRef, Hypervisor as _, Managed as _, Power};

#[test]
fn lists_come_in_pages() {
    let world = World::center(vec![
        (
            COLLECT,
            "<maxObjects>500</maxObjects>",
            page(&guest("objects", "vm-1", "b", "poweredOn"), Some("t1")),
        ),
        (
            GO_ON,
            "<token>t1</token>",
            page(&guest("objects", "vm-2", "c", "poweredOff"), Some("t2")),
        ),
        (
            GO_ON,
            "<token>t2</token>",
            page(&guest("objects", "vm-3", "a", "suspended"), None),
        ),
    ]);
    let listed = world.vmware.list(soon()).expect("three pages");
    let told: Vec<(&str, Power)> = listed
        .iter()
        .map(|seen| (seen.guest.name.as_str(), seen.power()))
        .collect();
    assert_eq!(
        told,
        [("a", Power::On), ("b", Power::On), ("c", Power::Off)]
    );
    world.end();
}

/// Pages belong to a session: one that expires in between makes the list begin anew, and nobody is in it twice.
#[test]
fn a_session_that_expires_between_pages() {
    let first = || page(&guest("objects", "vm-1", "a", "poweredOn"), Some("t"));
    let world = World::center(vec![
        (COLLECT, "", first()),
        (GO_ON, "<token>t</token>", Err("NotAuthenticated")),
        (COLLECT, "", first()),
        (
            GO_ON,
            "<token>t</token>",
            page(&guest("objects", "vm-2", "b", "poweredOn"), None),
        ),
    ]);
    assert_eq!(world.vmware.list(soon()).expect("both").len(), 2);
    let seen = world.end();
    assert_eq!(
        seen.iter().filter(|(method, _)| method == "Login").count(),
        2
    );
    let world = World::center(vec![
        (COLLECT, "", first()),
        (GO_ON, "", Err("NotAuthenticated")),
        (COLLECT, "", first()),
        (GO_ON, "", Err("NotAuthenticated")),
    ]);
    assert_eq!(
        world.vmware.list(soon()).expect_err("never").kind(),
        ErrorKind::Refused
    );
    world.end();
}

/// `monitor` without a plug: as few guests as needed, and the rest of the query is given back.
#[test]
fn some_guest_that_may_be_switched_is_enough() {
    let granted = |id: &str, yes: bool| {
        Ok(format!(
            "<returnval><entity type=\"VirtualMachine\">{id}</entity><privAvailability><privId>VirtualMachine.Interact.PowerOff\
             </privId><isGranted>{yes}</isGranted></privAvailability></returnval>"
        ))
    };
    const ASK: &str = "HasPrivilegeOnEntities";
    let world = World::center(vec![
        (
            COLLECT,
            "<maxObjects>100</maxObjects>",
            page(&guest("objects", "vm-1", "a", "poweredOn"), Some("t1")),
        ),
        (ASK, "<sessionId>52a</sessionId>", granted("vm-1", false)),
        (
            GO_ON,
            "",
            page(&guest("objects", "vm-2", "b", "poweredOn"), Some("t2")),
        ),
        (ASK, "vm-2", granted("vm-2", true)),
        ("CancelRetrievePropertiesEx", "<token>t2</token>", nobody()),
    ]);
    world.vmware.may_switch(None, soon()).expect("the second");
    world.end();
    // No page, no guest, no privilege.
    for (objects, words) in [
        (String::new(), "sees no guest"),
        (
            guest("objects", "vm-1", "a", "poweredOn"),
            "lacks the privilege",
        ),
    ] {
        let mut steps = vec![(COLLECT, "", page(&objects, None))];
        if !objects.is_empty() {
            steps.push((ASK, "vm-1", granted("vm-1", false)));
        }
        let world = World::center(steps);
        let error = world.vmware.may_switch(None, soon()).expect_err("nobody");
        assert!(error.to_string().contains(words), "{error}");
        world.end();
    }
}

/// Roles tell where the question is refused: on hosts, and to logins that see only a folder.
#[test]
fn privileges_by_roles() {
    let role = |id: &str, privilege: &str| {
        format!(
            "<AuthorizationRole><roleId>{id}</roleId><privilege>System.View</privilege><privilege>{privilege}</privilege></AuthorizationRole>"
        )
    };
    let roles = format!(
        "{}{}",
        role("-1", "VirtualMachine.Interact.PowerOff"),
        role("7", "VirtualMachine.Interact.PowerOn")
    );
    let roles = || {
        let list = property("roleList", "ArrayOfAuthorizationRole", &roles);
        page(
            &format!("<objects><obj type=\"AuthorizationManager\">a</obj>{list}</objects>"),
            None,
        )
    };
    for (role, may) in [("-1", true), ("7", false)] {
        let held = property("effectiveRole", "ArrayOfInt", &format!("<int>{role}</int>"));
        let world = World::center(vec![
            by_path(),
            (COLLECT, "", one("poweredOn")),
            ("HasPrivilegeOnEntities", "", Err("NoPermission")),
            (
                COLLECT,
                "effectiveRole",
                page(
                    &format!("<objects><obj type=\"VirtualMachine\">vm-1</obj>{held}</objects>"),
                    None,
                ),
            ),
            (COLLECT, "roleList", roles()),
        ]);
        assert_eq!(
            world
                .vmware
                .may_switch(Some(&GuestRef::parse(PATH)), soon())
                .is_ok(),
            may,
            "{role}"
        );
        world.end();
    }
}

/// A server whose version promises a method that it does not have.
#[test]
fn methods_that_are_missing_have_older_ones() {
    let world = World::center(vec![
        ("FindAllByUuid", "", Err("MethodNotFound")),
        ("FindByUuid", "", reference("VirtualMachine", "vm-1")),
        (COLLECT, "", Err("InvalidRequest")),
        (
            "RetrieveProperties",
            "",
            Ok(guest("returnval", "vm-1", "web", "poweredOff")),
        ),
    ]);
    assert_eq!(
        world
            .vmware
            .observe(&GuestRef::parse(UUID), soon())
            .expect("it is seen")
            .power(),
        Power::Off
    );
    world.end();
}

/// A guest of no SMBIOS UUID that fits may have it as vCenter's own.
#[test]
fn vcenters_own_uuids() {
    let own =
        guest("objects", "vm-1", "web", "poweredOn").replace("config.uuid", "config.instanceUuid");
    let world = World::center(vec![
        (
            "FindAllByUuid",
            "<vmSearch>true</vmSearch></FindAllByUuid>",
            nobody(),
        ),
        (
            "FindAllByUuid",
            "<instanceUuid>true</instanceUuid></FindAllByUuid>",
            reference("VirtualMachine", "vm-1"),
        ),
        (COLLECT, "", page(&own, None)),
    ]);
    assert_eq!(
        world
            .vmware
            .observe(&GuestRef::parse(UUID), soon())
            .expect("it is seen")
            .power(),
        Power::On
    );
    world.end();
    let world = World::center(vec![
        ("FindAllByUuid", "", nobody()),
        ("FindAllByUuid", "", nobody()),
    ]);
    let error = world
        .vmware
        .observe(&GuestRef::parse(UUID), soon())
        .expect_err("nobody has it");
    assert!(matches!(error, Error::NoSuchGuest { .. }), "{error}");
    world.end();
}

/// A folder called like the guest beside it hides it from `FindChild`: then names are listed, page by page.
#[test]
fn a_folder_of_the_same_name() {
    let folder = |id: &str| {
        let kinds = property(
            "childType",
            "ArrayOfString",
            "<string>Folder</string><string>VirtualMachine</string>",
        );
        format!("<objects><obj type=\"Folder\">{id}</obj>{kinds}</objects>")
    };
    let world = World::center(vec![
        (COLLECT, "childType", page(&folder("group-v3"), None)),
        (
            "FindChild",
            "<entity type=\"Folder\">group-v3</entity><name>web</name>",
            reference("Folder", "group-v9"),
        ),
        (
            COLLECT,
            "<maxObjects>1000</maxObjects>",
            page(&guest("objects", "vm-3", "WEB", "poweredOff"), Some("t")),
        ),
        (
            GO_ON,
            "",
            page(&guest("objects", "vm-1", "web", "poweredOff"), None),
        ),
        (COLLECT, "vm-1", one("poweredOn")),
    ]);
    assert_eq!(
        world
            .vmware
            .observe(&GuestRef::parse("web"), soon())
            .expect("it is found")
            .power(),
        Power::On
    );
    world.end();
}

/// The guest is looked up anew when its identifier leads to another one, or nowhere.
#[test]
fn identifiers_are_not_trusted_blindly() {
    let by_uuid = |id: &str| match id {
        "" => ("FindAllByUuid", UUID, nobody()),
        id => ("FindAllByUuid", UUID, reference("VirtualMachine", id)),
    };
    let bears = |id: &str, number: u32, power: &str| {
        let own = format!("{:0>12}", id.trim_start_matches("vm-"));
        let guest = guest("objects", id, "web", power);
        page(&guest.replace(&own, &format!("{number:0>12}")), None)
    };
    let world = World::center(vec![
        by_uuid("vm-1"),
        (COLLECT, "", one("poweredOn")),
        // Has another UUID now, and another one has its.
        (COLLECT, "vm-1", bears("vm-1", 9, "poweredOff")),
        by_uuid("vm-2"),
        (COLLECT, "vm-2", bears("vm-2", 1, "poweredOn")),
        // Removed, and nobody has its UUID.
        (COLLECT, "vm-2", Err("ManagedObjectNotFound")),
        by_uuid(""),
        by_uuid(""),
    ]);
    let guest = GuestRef::parse(UUID);
    for _ in 0..2 {
        assert_eq!(
            world
                .vmware
                .observe(&guest, soon())
                .expect("it is seen")
                .power(),
            Power::On
        );
    }
    assert_eq!(
        world
            .vmware
            .observe(&guest, soon())
            .expect_err("gone")
            .kind(),
        ErrorKind::NoSuchGuest
    );
    world.end();
}
