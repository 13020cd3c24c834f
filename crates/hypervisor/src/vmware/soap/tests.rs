//! What the simulator of vCenter lacks, against a script: pages, servers of version 4.0, migration, vCenter's own UUIDs, and what
//! real servers answer and simulators do not. Replies are written after the WSDL.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadline::Deadline;
use https::{Endpoint, Scheme, Trust};
use test_servers::faults::Faults;
use test_servers::http::{Reply, Request, Response, Server, Service, Session};

use crate::placement::Placement as _;
use crate::vmware::{Interface, Settings, Vmware};
use crate::{Error, ErrorKind, GuestRef, Hypervisor as _, Managed as _, Means, Power};

/// One exchange: the method that is expected, what the request must contain, and the content of the response, or a fault.
type Step = (&'static str, &'static str, Result<String, &'static str>);

/// A server that answers by a script. Logging in and out is not part of it.
struct Script {
    version: &'static str,
    api: &'static str,
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<(String, String)>>,
    troubles: Mutex<Vec<String>>,
}

impl Service for Script {
    fn connect(&self) -> Box<dyn Session + '_> {
        Box::new(Answering(self))
    }
}

struct Answering<'a>(&'a Script);

impl Session for Answering<'_> {
    fn answer(&mut self, request: &Request) -> Reply {
        let script = self.0;
        let body = request.text();
        let method = body.split_once("<e:Body><").map(|(_, rest)| rest);
        let method = method
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or("nothing")
            .to_owned();
        let action = request.header("SOAPAction").unwrap_or_default().to_owned();
        lock(&script.seen).push((method.clone(), action));
        let trouble = |text: String| lock(&script.troubles).push(text);
        let reply = match method.as_str() {
            "RetrieveServiceContent" => Ok(content(script.version, script.api)),
            "Login" => {
                Ok("<returnval><key>52a</key><userName>root</userName></returnval>".to_owned())
            }
            "Logout" => Ok(String::new()),
            _ => match lock(&script.steps).pop_front() {
                Some((expected, part, reply)) => {
                    if expected != method || !body.contains(part) {
                        trouble(format!("expected {expected} with {part}, got {body}"));
                    }
                    reply
                }
                None => {
                    trouble(format!("nothing expected, got {body}"));
                    Err("SystemError")
                }
            },
        };
        let cookie = request.header("Cookie").unwrap_or_default();
        if !["RetrieveServiceContent", "Login"].contains(&method.as_str())
            && cookie != "vmware_soap_session=\"52-a\""
        {
            trouble(format!("{method} came with the cookie `{cookie}`"));
        }
        let (status, inner) = match reply {
            Ok(inner) => (
                200,
                format!("<{method}Response xmlns=\"urn:vim25\">{inner}</{method}Response>"),
            ),
            Err(fault) => (
                500,
                format!(
                    "<s:Fault><faultcode>ServerFaultCode</faultcode><faultstring>Nein.</faultstring><detail>\
                     <RuntimeFaultFault xmlns=\"urn:vim25\" i:type=\"{fault}\"/></detail></s:Fault>"
                ),
            ),
        };
        let envelope = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\"><s:Body>{inner}</s:Body></s:Envelope>"
        );
        let mut response = Response::new(status, "text/xml; charset=utf-8", envelope);
        if method == "Login" {
            response = response.header(
                "Set-Cookie",
                "vmware_soap_session=\"52-a\"; Path=/; HttpOnly; Secure;",
            );
        }
        response.into()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn content(version: &str, api: &str) -> String {
    let reference =
        |name: &str, kind: &str, id: &str| format!("<{name} type=\"{kind}\">{id}</{name}>");
    format!(
        "<returnval>{}{}<about><name>VMware</name><apiType>{api}</apiType><apiVersion>{version}</apiVersion></about>{}{}{}</returnval>",
        reference("rootFolder", "Folder", "group-d1"),
        reference(
            "propertyCollector",
            "PropertyCollector",
            "propertyCollector"
        ),
        reference("sessionManager", "SessionManager", "SessionManager"),
        reference(
            "authorizationManager",
            "AuthorizationManager",
            "AuthorizationManager"
        ),
        reference("searchIndex", "SearchIndex", "SearchIndex"),
    )
}

/// The server, and a client of it.
struct World {
    script: Arc<Script>,
    _server: Server,
    vmware: Vmware,
}

impl World {
    fn new(version: &'static str, api: &'static str, steps: Vec<Step>) -> Self {
        let script = Arc::new(Script {
            version,
            api,
            steps: Mutex::new(steps.into()),
            seen: Mutex::default(),
            troubles: Mutex::default(),
        });
        let server = Server::start(
            "127.0.0.1:0",
            None,
            Faults::default(),
            Arc::clone(&script) as Arc<dyn Service>,
        );
        let server = server.expect("it listens");
        let vmware = Vmware::new(&Settings {
            endpoint: Endpoint {
                scheme: Scheme::Http,
                host: "127.0.0.1".to_owned(),
                port: server.address().port(),
                trust: Trust::System,
            },
            interface: Interface::Soap,
            username: "root".to_owned(),
            password: "x".to_owned().into(),
            datacenter: None,
            request_limit: None,
            interrupt: None,
        });
        Self {
            script,
            _server: server,
            vmware,
        }
    }

    fn center(steps: Vec<Step>) -> Self {
        Self::new("6.7.3", "VirtualCenter", steps)
    }

    /// Ends the session; everything came as expected.
    #[track_caller]
    fn end(self) -> Vec<(String, String)> {
        self.vmware.log_out(soon()).expect("it is confirmed");
        assert_eq!(*lock(&self.script.troubles), Vec::<String>::new());
        assert_eq!(lock(&self.script.steps).len(), 0, "steps that never came");
        let seen = lock(&self.script.seen).clone();
        assert_eq!(
            seen.last().map(|(method, _)| method.as_str()),
            Some("Logout")
        );
        seen
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn property(name: &str, kind: &str, value: &str) -> String {
    format!("<propSet><name>{name}</name><val i:type=\"{kind}\">{value}</val></propSet>")
}

/// A guest as the property collector describes it.
fn guest(tag: &str, id: &str, name: &str, power: &str) -> String {
    let uuid = format!(
        "6695eb01-f6a4-8304-79aa-{:0>12}",
        id.trim_start_matches("vm-")
    );
    format!(
        "<{tag}><obj type=\"VirtualMachine\">{id}</obj>{}{}{}{}{}<propSet><name>runtime.host</name>\
         <val type=\"HostSystem\" i:type=\"ManagedObjectReference\">host-1</val></propSet></{tag}>",
        property("name", "xsd:string", name),
        property("config.uuid", "xsd:string", &uuid),
        property("config.template", "xsd:boolean", "false"),
        property("runtime.powerState", "VirtualMachinePowerState", power),
        property(
            "runtime.connectionState",
            "VirtualMachineConnectionState",
            "connected"
        ),
    )
}

/// A page of objects, and the token of the next.
fn page(objects: &str, token: Option<&str>) -> Result<String, &'static str> {
    let token = token
        .map(|token| format!("<token>{token}</token>"))
        .unwrap_or_default();
    Ok(format!("<returnval>{token}{objects}</returnval>"))
}

fn one(power: &str) -> Result<String, &'static str> {
    page(&guest("objects", "vm-1", "web", power), None)
}

fn reference(kind: &str, id: &str) -> Result<String, &'static str> {
    Ok(format!("<returnval type=\"{kind}\">{id}</returnval>"))
}

fn nobody() -> Result<String, &'static str> {
    Ok(String::new())
}

fn task(state: &str) -> Result<String, &'static str> {
    page(
        &format!(
            "<objects><obj type=\"Task\">task-7</obj>{}</objects>",
            property("info.state", "TaskInfoState", state)
        ),
        None,
    )
}

const COLLECT: &str = "RetrievePropertiesEx";
const GO_ON: &str = "ContinueRetrievePropertiesEx";
const UUID: &str = "6695eb01-f6a4-8304-79aa-000000000001";
const PATH: &str = "/DC/vm/web";

fn by_path() -> Step {
    (
        "FindByInventoryPath",
        "<inventoryPath>DC/vm/web</inventoryPath>",
        reference("VirtualMachine", "vm-1"),
    )
}

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
            "<maxObjects>16</maxObjects>",
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
    let world = World::center(vec![
        by_path(),
        (COLLECT, "", one("poweredOn")),
        // Renamed, and another one has its name and path.
        (
            COLLECT,
            "",
            page(&guest("objects", "vm-1", "old-web", "poweredOff"), None),
        ),
        (
            "FindByInventoryPath",
            "",
            reference("VirtualMachine", "vm-2"),
        ),
        (
            COLLECT,
            "vm-2",
            page(&guest("objects", "vm-2", "web", "poweredOn"), None),
        ),
        // Removed, and nobody has its path.
        (COLLECT, "vm-2", Err("ManagedObjectNotFound")),
        ("FindByInventoryPath", "", nobody()),
    ]);
    let path = GuestRef::parse(PATH);
    for _ in 0..2 {
        assert_eq!(
            world
                .vmware
                .observe(&path, soon())
                .expect("it is seen")
                .power(),
            Power::On
        );
    }
    assert_eq!(
        world
            .vmware
            .observe(&path, soon())
            .expect_err("gone")
            .kind(),
        ErrorKind::NoSuchGuest
    );
    world.end();
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
                (COLLECT, "vm-1", one("poweredOff")),
            ],
            Means::WentOff,
        ),
        (
            vec![
                ("PowerOffVM_Task", "vm-1", Err("InvalidPowerState")),
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
                (COLLECT, "vm-1", one("poweredOn")),
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
            (COLLECT, "hostFolder", alone("host-2")),
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
