//! Hosts, DRS rules and migration, by the crate `hypervisor` itself: no program uses them over vCenter alone.

use std::time::Duration;

use deadline::Deadline;
use hypervisor::{
    ErrorKind, GuestRef, Hypervisor as _, Managed as _, Means, Power,
    placement::{Changed, Placement as _},
    vmware::{Interface, Settings, Vmware},
};

use crate::{World, encoded, lacking};

fn vmware(world: &World, interface: Interface) -> Vmware {
    Vmware::new(&Settings {
        endpoint: https::Endpoint {
            scheme: https::Scheme::Http,
            host: "127.0.0.1".to_owned(),
            port: world.port,
            trust: https::Trust::System,
        },
        interface,
        username: "root".to_owned(),
        password: "secret".to_owned().into(),
        datacenter: None,
        request_limit: None,
        interrupt: None,
    })
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn names(guests: &[&str]) -> Vec<GuestRef> {
    guests.iter().map(|name| GuestRef::parse(name)).collect()
}

#[test]
fn guests_are_kept_apart() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    let vcenter = vmware(&world, Interface::Soap);
    let nodes = names(&["DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1"]);
    assert!(
        vcenter
            .rules(&nodes, soon())
            .expect("there are rules")
            .is_empty()
    );
    let apart =
        |guests: &[GuestRef], mandatory| vcenter.keep_apart("ha-nodes", guests, mandatory, soon());
    assert_eq!(apart(&nodes, false).expect("it is added"), Changed::Now);
    assert_eq!(apart(&nodes, false).expect("it is there"), Changed::Already);
    assert_eq!(apart(&nodes, true).expect("it is changed"), Changed::Now);
    let more = names(&["DC0_C0_RP0_VM2", "DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1"]);
    assert_eq!(apart(&more, true).expect("it is changed"), Changed::Now);
    let rules = vcenter.rules(&nodes[..1], soon()).expect("there are rules");
    let mut kept: Vec<&str> = rules[0]
        .guests
        .iter()
        .map(|guest| guest.name.as_str())
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, ["DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1", "DC0_C0_RP0_VM2"]);
    assert!(
        rules.len() == 1 && rules[0].mandatory && rules[0].name == "ha-nodes",
        "{rules:?}"
    );
    // Not in one cluster, or in none.
    let mixed = names(&["DC0_C0_RP0_VM0", "DC0_H0_VM0"]);
    assert_eq!(
        apart(&mixed, true)
            .expect_err("a host alone has no rules")
            .kind(),
        ErrorKind::Refused
    );
    assert_eq!(
        apart(&[], true).expect_err("nobody").kind(),
        ErrorKind::Refused
    );
    let unknown = names(&["DC0_C0_RP0_VM0", "nobody"]);
    assert_eq!(
        apart(&unknown, true).expect_err("no such guest").kind(),
        ErrorKind::NoSuchGuest
    );
    // The server says no, in the call and in the task.
    world.fault(
        "ReconfigureComputeResource_Task",
        "fault",
        1,
        &format!(
            "&detail={}",
            encoded("NoPermission <privilegeId>Host.Inventory.EditCluster</privilegeId>")
        ),
    );
    let error = vcenter
        .keep_apart("other", &nodes, true, soon())
        .expect_err("no");
    assert!(
        error.to_string().contains("Host.Inventory.EditCluster"),
        "{error}"
    );
}

#[test]
fn guests_are_pinned_and_moved() {
    if lacking() {
        return;
    }
    let world = World::vcenter();
    let vcenter = vmware(&world, Interface::Soap);
    let hosts = vcenter.hosts(soon()).expect("there are hosts");
    let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(known, ["DC0_C0_H0", "DC0_C0_H1", "DC0_C0_H2", "DC0_H0"]);
    assert!(hosts.iter().all(|host| host.usable));
    let guest = GuestRef::parse("DC0_C0_RP0_VM0");
    let here = vcenter
        .whereabouts(&guest, soon())
        .expect("it is somewhere")
        .host
        .expect("it runs");
    assert_eq!(
        here.name,
        world.seen()["DC0_C0_RP0_VM0"][2],
        "as pyvmomi sees it"
    );
    let other = known[..3]
        .iter()
        .find(|name| **name != here.name)
        .expect("there are three");

    let moved = vcenter.migrate(&guest, other, soon()).expect("it is moved");
    assert_eq!(moved.host.expect("it runs").name, **other);
    assert_eq!(
        world.seen()["DC0_C0_RP0_VM0"][2],
        **other,
        "as pyvmomi sees it"
    );
    assert_eq!(
        vcenter
            .migrate(&guest, "nowhere", soon())
            .expect_err("no such host")
            .kind(),
        ErrorKind::Refused
    );

    let pin = |hosts: &[&str]| {
        vcenter.pin(
            &guest,
            &hosts
                .iter()
                .map(|&host| host.to_owned())
                .collect::<Vec<_>>(),
            soon(),
        )
    };
    assert_eq!(pin(&[other]).expect("it is pinned"), Changed::Now);
    assert_eq!(pin(&[other]).expect("it is so"), Changed::Already);
    let pinned = vcenter
        .whereabouts(&guest, soon())
        .expect("it is somewhere")
        .pinned_to;
    assert_eq!(
        pinned
            .iter()
            .map(|host| host.name.as_str())
            .collect::<Vec<_>>(),
        [*other]
    );
    assert_eq!(
        pin(&[&here.name]).expect("it is pinned elsewhere"),
        Changed::AtNextStart
    );
    assert_eq!(
        pin(&[&here.id, other]).expect("two, one by its identifier"),
        Changed::Now
    );
    assert_eq!(
        vcenter
            .whereabouts(&guest, soon())
            .expect("it is somewhere")
            .pinned_to
            .len(),
        2
    );
    assert_eq!(pin(&[]).expect("it is free"), Changed::Now);
    assert!(
        vcenter
            .whereabouts(&guest, soon())
            .expect("it is somewhere")
            .pinned_to
            .is_empty()
    );
    assert_eq!(pin(&[]).expect("it is free"), Changed::Already);
    assert_eq!(
        pin(&["DC0_H0"]).expect_err("another cluster's").kind(),
        ErrorKind::Refused
    );

    world.tell("host?name=DC0_C0_H0&connection=notResponding");
    let usable: Vec<String> = vcenter
        .hosts(soon())
        .expect("there are hosts")
        .into_iter()
        .filter(|host| !host.usable)
        .map(|host| host.name)
        .collect();
    assert_eq!(usable, ["DC0_C0_H0"]);
}

#[test]
fn what_has_no_placement_says_so() {
    if lacking() {
        return;
    }
    let world = World::esx();
    let guest = names(&["ha-host_VM0"]);
    let host = vmware(&world, Interface::Soap);
    assert_eq!(host.hosts(soon()).expect("it is one").len(), 1);
    assert!(
        host.whereabouts(&guest[0], soon())
            .expect("it is there")
            .host
            .is_some()
    );
    assert_eq!(
        host.rules(&guest, soon()).expect_err("no rules").kind(),
        ErrorKind::Refused
    );
    assert_eq!(
        host.keep_apart("x", &guest, true, soon())
            .expect_err("no rules")
            .kind(),
        ErrorKind::Refused
    );
    let world = World::vcenter();
    let rest = vmware(
        &world,
        Interface::Rest {
            path: None,
            filter: None,
        },
    );
    assert_eq!(
        rest.hosts(soon()).expect_err("not over REST").kind(),
        ErrorKind::Refused
    );
}

/// As `fence_virtd` uses it: many callers, one login, and everything closed at the end.
#[test]
fn one_session_serves_many_callers() {
    if lacking() {
        return;
    }
    for interface in [
        Interface::Soap,
        Interface::Rest {
            path: None,
            filter: None,
        },
    ] {
        let world = World::with(&["-vm", "20"]);
        let vcenter = vmware(&world, interface.clone());
        std::thread::scope(|scope| {
            for number in 0..20 {
                let vcenter = &vcenter;
                scope.spawn(move || {
                    let guest = GuestRef::parse(&format!("DC0_H0_VM{number}"));
                    let off = vcenter
                        .power_off(&guest, soon())
                        .expect("it is powered off");
                    assert_eq!(off.evidence.means, Means::Destroyed);
                    let seen = vcenter.observe(&guest, soon()).expect("it is seen");
                    assert_eq!(seen.power(), Power::Off);
                    vcenter
                        .may_switch(Some(&guest), soon())
                        .expect("it is allowed");
                });
            }
        });
        let logins = world.count("Login");
        assert_eq!(
            (logins, world.count("POST /api/session")),
            (1, u64::from(interface != Interface::Soap))
        );
        // The server forgets it: the next question opens another.
        world.tell("expire");
        vcenter.health(soon()).expect("it is healthy");
        drop(vcenter);
        assert_eq!(world.sessions(), (0, 0));
    }
}

/// Calls everything that changes a cluster, for the log of requests.
pub(crate) fn change_everything(world: &World) {
    let vcenter = vmware(world, Interface::Soap);
    let nodes = names(&["DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1"]);
    for mandatory in [false, true] {
        vcenter
            .keep_apart("apart", &nodes, mandatory, soon())
            .expect("it is changed");
    }
    for hosts in [&["DC0_C0_H0"][..], &["DC0_C0_H0", "DC0_C0_H1"], &[]] {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        vcenter
            .pin(&nodes[0], &hosts, soon())
            .expect("it is pinned");
    }
    for host in ["DC0_C0_H1", "DC0_C0_H2"] {
        vcenter
            .migrate(&nodes[0], host, soon())
            .expect("it is moved");
    }
    vcenter.health(soon()).expect("it is healthy");
}
