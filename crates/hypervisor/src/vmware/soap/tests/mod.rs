//! What the simulator of vCenter lacks, against a script: pages, servers of version 4.0, migration, vCenter's own UUIDs, and what
//! real servers answer and simulators do not. Replies are written after the WSDL.

mod orders;
mod placement;
mod questions;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadline::Deadline;
use https::{Endpoint, Scheme, Trust};
use test_servers::faults::Faults;
use test_servers::http::{Reply, Request, Response, Server, Service, Session};

use crate::Managed as _;
use crate::vmware::{Interface, Settings, Vmware};

/// One exchange: the method that is expected, what the request must contain, and the content of the response, or a fault.
type Step = (&'static str, &'static str, Result<String, &'static str>);

/// A server that answers by a script. Logging in and out is not part of it, and neither are views, which are counted.
struct Script {
    version: &'static str,
    api: &'static str,
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<(String, String)>>,
    troubles: Mutex<Vec<String>>,
    /// Views that are open in the session.
    views: Mutex<u32>,
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
            "CreateContainerView" => {
                *lock(&script.views) += 1;
                Ok("<returnval type=\"ContainerView\">session[52a]7</returnval>".to_owned())
            }
            "DestroyView" => {
                *lock(&script.views) -= 1;
                Ok(String::new())
            }
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
        if reply == Err("NotAuthenticated") {
            // With a session its views are gone.
            *lock(&script.views) = 0;
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
        "<returnval>{}{}<about><name>VMware</name><apiType>{api}</apiType><apiVersion>{version}</apiVersion></about>{}{}{}{}</returnval>",
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
        reference("viewManager", "ViewManager", "ViewManager"),
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
            views: Mutex::default(),
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
        assert_eq!(*lock(&self.script.views), 0, "views that are left");
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
