//! What is done to the world.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::login::Rights;
use super::soap::{self, Message};
use super::wmi::{Instance, Value, View, instances};
use super::world::{Change, Outcome, Quirk, Shared, World};
use super::wql::Query;

const ACCESS_DENIED: u32 = 0x8004_1003;
const NOT_FOUND: u32 = 0x8004_1002;
const INVALID_NAMESPACE: u32 = 0x8004_100e;
const FAILED: u32 = 0x8004_1001;

/// Lists that were begun: what is left of them.
pub(super) type Lists = Mutex<HashMap<String, Vec<String>>>;

/// One node as it is asked.
pub(super) struct Desk<'a> {
    pub(super) world: &'a Shared,
    pub(super) node: &'a str,
    pub(super) lists: &'a Lists,
    pub(super) rights: Rights,
    /// The fault to play.
    pub(super) fault: Option<&'a str>,
    /// Whether what is asked is carried out all the same, and only the answer suffers.
    pub(super) after: bool,
}

type Answer = (u16, String);

impl Desk<'_> {
    /// Status and envelope.
    pub(super) fn answer(&self, message: &Message) -> Answer {
        let id = message.id.as_str();
        if self.after && matches!(self.fault, Some("error" | "timeout")) {
            self.carry_out(message);
        }
        match self.fault {
            Some("denied") => return denied(id),
            Some("error") => return fail(id, FAILED, "Generic failure"),
            Some("timeout") => {
                return (
                    500,
                    soap::fault(
                        id,
                        "w:TimedOut",
                        2_150_858_793,
                        None,
                        "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.",
                    ),
                );
            }
            _ => {}
        }
        let (status, mut xml) = self.carry_out(message);
        match self.fault {
            Some("truncated") => xml.truncate(xml.len() * 2 / 3),
            Some("unrelated") => xml = xml.replace(id, "uuid:00000000-1111-2222-3333-444444444444"),
            Some("prefixes") => xml = soap::other_prefixes(&xml),
            _ => {}
        }
        (status, xml)
    }

    fn carry_out(&self, message: &Message) -> Answer {
        match message.action.rsplit('/').next().unwrap_or_default() {
            "Enumerate" => self.enumerate(message),
            "Pull" => self.pull(message),
            "Get" => self.get(message),
            "Put" => self.put(message),
            "Release" => (200, soap::reply("", &message.id, "")),
            method => self.invoke(message, method),
        }
    }

    fn view<'a>(&'a self, namespace: &'a str) -> View<'a> {
        View {
            node: self.node,
            namespace,
            sees: self.rights.sees && self.fault != Some("empty"),
        }
    }

    /// Instances of a class, as this login sees them.
    fn instances(&self, id: &str, namespace: &str, class: &str) -> Result<Vec<Instance>, Answer> {
        if !self.rights.may_read(namespace) {
            return Err(denied(id));
        }
        let found = self.known(namespace, class);
        found.ok_or_else(|| fail(id, INVALID_NAMESPACE, "Invalid namespace or class"))
    }

    /// None for a namespace or class that is not there.
    fn known(&self, namespace: &str, class: &str) -> Option<Vec<Instance>> {
        let world = self.world.now();
        let mut found = instances(&world, self.view(namespace), class)?;
        if self.fault == Some("no-host") {
            found.retain(|instance| {
                instance.text("Caption").as_deref() != Some("Hosting Computer System")
            });
        }
        Some(found)
    }

    /// An instance as it goes out.
    fn element(&self, instance: &Instance, uri: &str, properties: &[String]) -> String {
        let mut instance = instance.clone();
        if let Some(name) = self.fault.and_then(|fault| fault.strip_prefix("without:")) {
            instance.remove(name);
        }
        soap::element(&instance, uri, properties)
    }

    fn enumerate(&self, message: &Message) -> Answer {
        match self.select(message) {
            Ok(items) => self.first_page(message, items),
            Err(answer) => answer,
        }
    }

    fn select(&self, message: &Message) -> Result<Vec<String>, Answer> {
        let (namespace, class) = message.class();
        let id = message.id.as_str();
        let uri = |class: &str| {
            let base = message.uri.rsplit_once('/').map_or("", |(base, _)| base);
            format!("{base}/{class}")
        };
        if message.dialect.ends_with("associationFilter") {
            let owners = self.associated(message)?;
            return Ok(owners
                .iter()
                .map(|node| self.element(node, &uri(&node.class), &[]))
                .collect());
        }
        if class != "*" {
            let all = self.instances(id, &namespace, &class)?;
            return Ok(all
                .iter()
                .map(|instance| self.element(instance, &message.uri, &[]))
                .collect());
        }
        let query = Query::parse(message.filter.trim())
            .filter(|_| message.dialect.ends_with("/WQL"))
            .ok_or_else(|| unprocessable(id))?;
        if !self.rights.may_read(&namespace) {
            return Err(denied(id));
        }
        let all = self
            .known(&namespace, &query.class)
            .ok_or_else(|| unprocessable(id))?;
        let selected = all.iter().filter(|instance| query.selects(instance));
        let mut properties = query.properties.clone();
        Ok(selected
            .map(|instance| {
                if self.fault == Some("fragment") {
                    properties = instance
                        .properties
                        .iter()
                        .map(|(name, _)| name.clone())
                        .collect();
                }
                self.element(instance, &uri(&instance.class), &properties)
            })
            .collect())
    }

    /// The possible owners of a resource: the one association that is asked for.
    fn associated(&self, message: &Message) -> Result<Vec<Instance>, Answer> {
        let id = message.id.as_str();
        if message.association != "MSCluster_ResourceToPossibleOwner" {
            return Err(fail(id, INVALID_NAMESPACE, "Invalid class"));
        }
        let (namespace, _) = message.class();
        let resources = self.instances(id, &namespace, "MSCluster_Resource")?;
        let resource = resources
            .iter()
            .find(|resource| resource.has_keys(&message.object));
        let resource = resource.ok_or_else(|| fail(id, NOT_FOUND, "Not found"))?;
        let group = resource.text("OwnerGroup").unwrap_or_default();
        let nodes = self.instances(id, &namespace, "MSCluster_Node")?;
        let world = self.world.now();
        let role = world
            .guests
            .iter()
            .filter_map(|guest| guest.role.as_ref())
            .find(|role| role.group == group);
        let owners = role.map(|role| role.owners.clone()).unwrap_or_default();
        Ok(nodes
            .into_iter()
            .filter(|node| node.text("Name").is_some_and(|name| owners.contains(&name)))
            .collect())
    }

    fn first_page(&self, message: &Message, mut items: Vec<String>) -> Answer {
        let action = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/EnumerateResponse";
        let (optimize, page) = {
            let world = self.world.now();
            (
                world.behaviour.optimize && message.optimize,
                world.behaviour.page,
            )
        };
        let first: String = if optimize {
            let count = message.max.unwrap_or(1).min(page).min(items.len());
            items.drain(..count).collect()
        } else {
            String::new()
        };
        let body = if optimize && items.is_empty() {
            format!(
                "<n:EnumerateResponse><n:EnumerationContext/><w:Items>{first}</w:Items><w:EndOfSequence/></n:EnumerateResponse>"
            )
        } else {
            let context = self.keep(items);
            let given = if optimize {
                format!("<w:Items>{first}</w:Items>")
            } else {
                String::new()
            };
            format!(
                "<n:EnumerateResponse><n:EnumerationContext>{context}</n:EnumerationContext>{given}</n:EnumerateResponse>"
            )
        };
        (200, soap::reply(action, &message.id, &body))
    }

    fn keep(&self, items: Vec<String>) -> String {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let context = format!(
            "uuid:{}",
            Uuid::from_u128(u128::try_from(lists.len() + 1).unwrap_or(1))
        );
        lists.insert(context.clone(), items);
        context
    }

    fn pull(&self, message: &Message) -> Answer {
        let action = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/PullResponse";
        let context = message.context.trim();
        let page = self.world.now().behaviour.page;
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut items) = lists.remove(context) else {
            let text = "The WS-Management service cannot process the request. The enumeration context is not valid.";
            return (
                500,
                soap::fault(
                    &message.id,
                    "n:InvalidEnumerationContext",
                    2_150_858_779,
                    None,
                    text,
                ),
            );
        };
        let mut count = message.max.unwrap_or(1).min(page).min(items.len());
        if self.fault == Some("endless") {
            count = 0;
        }
        let given: String = items.drain(..count).collect();
        let end = if items.is_empty() {
            "<n:EndOfSequence/>".to_owned()
        } else {
            lists.insert(context.to_owned(), items);
            String::new()
        };
        let context = if end.is_empty() {
            format!("<n:EnumerationContext>{context}</n:EnumerationContext>")
        } else {
            String::new()
        };
        let body =
            format!("<n:PullResponse>{context}<n:Items>{given}</n:Items>{end}</n:PullResponse>");
        (200, soap::reply(action, &message.id, &body))
    }

    fn one(&self, message: &Message) -> Result<Instance, Answer> {
        let (namespace, class) = message.class();
        let all = self.instances(&message.id, &namespace, &class)?;
        let found = all
            .into_iter()
            .find(|instance| instance.has_keys(&message.selectors));
        found.ok_or_else(|| {
            fail(
                &message.id,
                NOT_FOUND,
                "The requested object could not be found",
            )
        })
    }

    fn get(&self, message: &Message) -> Answer {
        match self.one(message) {
            Ok(instance) => {
                let body = self.element(&instance, &message.uri, &[]);
                (
                    200,
                    soap::reply(
                        "http://schemas.xmlsoap.org/ws/2004/09/transfer/GetResponse",
                        &message.id,
                        &body,
                    ),
                )
            }
            Err(answer) => answer,
        }
    }

    /// Only the names that keep a group apart can be changed; all other properties must be as they are.
    fn put(&self, message: &Message) -> Answer {
        let instance = match self.one(message) {
            Ok(instance) => instance,
            Err(answer) => return answer,
        };
        if !self.rights.cluster || instance.class != "MSCluster_ResourceGroup" {
            return denied(&message.id);
        }
        for (name, value) in &instance.properties {
            if let Value::Text(text) = value
                && message.argument(name) != Some(text)
            {
                return fail(
                    &message.id,
                    0x8004_1008,
                    &format!("Invalid parameter: {name}"),
                );
            }
        }
        let names = message
            .arguments
            .iter()
            .filter(|(name, _)| name == "AntiAffinityClassNames");
        let names: Vec<String> = names
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
            .collect();
        let mut world = self.world.now();
        let roles = world
            .guests
            .iter_mut()
            .filter_map(|guest| guest.role.as_mut());
        let group = instance.text("Name").unwrap_or_default();
        roles
            .filter(|role| role.group == group)
            .for_each(|role| role.apart.clone_from(&names));
        drop(world);
        match self.one(message) {
            Ok(after) => {
                let body = self.element(&after, &message.uri, &[]);
                (
                    200,
                    soap::reply(
                        "http://schemas.xmlsoap.org/ws/2004/09/transfer/PutResponse",
                        &message.id,
                        &body,
                    ),
                )
            }
            Err(answer) => answer,
        }
    }

    fn invoke(&self, message: &Message, method: &str) -> Answer {
        let (namespace, class) = message.class();
        // WMI asks for the right to call methods before it looks for the instance.
        if !self.rights.calls || !self.rights.may_read(&namespace) {
            return denied(&message.id);
        }
        let instance = match self.one(message) {
            Ok(instance) => instance,
            Err(answer) => return answer,
        };
        let mut outputs: Vec<(&str, Value)> = Vec::new();
        let value = match (class.to_lowercase().as_str(), method) {
            ("msvm_computersystem", "RequestStateChange") => {
                let (value, job) = self.request_state_change(message, &instance);
                let base = message.uri.rsplit_once('/').map_or("", |(base, _)| base);
                outputs.push((
                    "Job",
                    job.map_or(Value::Null, |id| {
                        Value::Reference(
                            format!("{base}/Msvm_ConcreteJob"),
                            vec![("InstanceID".to_owned(), id)],
                        )
                    }),
                ));
                Some(value)
            }
            ("win32_process", "Terminate") => Some(self.terminate(&instance)),
            ("mscluster_resource", _) if !self.rights.cluster => return denied(&message.id),
            ("mscluster_resource", _) => match self.on_resource(message, &instance, method) {
                Some(()) => None,
                None => {
                    return fail(
                        &message.id,
                        FAILED,
                        "The group or resource is not in the correct state",
                    );
                }
            },
            _ => return fail(&message.id, 0x8004_1037, "Invalid method"),
        };
        if let Some(value) = value {
            let value = ("ReturnValue", Value::Text(value.to_string()));
            if self.fault == Some("value-first") {
                outputs.insert(0, value);
            } else {
                outputs.push(value);
            }
        }
        let suffix = if self.fault == Some("value-first") {
            ""
        } else {
            "_OUTPUT"
        };
        let inside: String = outputs
            .iter()
            .map(|(name, value)| soap::property(name, value))
            .collect();
        let body = format!(
            "<p:{method}{suffix} xmlns:p=\"{}\">{inside}</p:{method}{suffix}>",
            message.uri
        );
        (
            200,
            soap::reply(&format!("{}Response", message.action), &message.id, &body),
        )
    }

    fn request_state_change(
        &self,
        message: &Message,
        instance: &Instance,
    ) -> (u32, Option<String>) {
        let returned = self.fault.and_then(|fault| fault.strip_prefix("return:"));
        let returned = returned.and_then(|value| value.parse().ok());
        if let Some(value) = returned.filter(|_| !self.after) {
            return (value, None);
        }
        let quirk = match self.fault {
            Some("stuck") => Quirk::Stuck,
            Some("vanished") => Quirk::Vanished,
            Some("failed") => Quirk::Failed,
            _ => Quirk::None,
        };
        let guid = instance
            .text("Name")
            .and_then(|name| Uuid::try_parse(&name).ok());
        let wanted = message
            .argument("RequestedState")
            .and_then(|state| state.trim().parse().ok());
        match (guid, wanted) {
            (Some(guid), Some(wanted)) => {
                let answer = self.world.now().request(guid, wanted, quirk);
                returned.map_or(answer, |value| (value, None))
            }
            _ => (32773, None),
        }
    }

    fn terminate(&self, instance: &Instance) -> u32 {
        if !self.rights.processes {
            return 2;
        }
        let handle = instance
            .text("Handle")
            .and_then(|handle| handle.parse().ok());
        let ended = handle.is_some_and(|handle| self.world.now().terminate(handle));
        if ended { 0 } else { 9 }
    }

    fn on_resource(&self, message: &Message, instance: &Instance, method: &str) -> Option<()> {
        let group = instance.text("OwnerGroup")?;
        let mut world = self.world.now();
        let nodes: Vec<String> = world.nodes.iter().map(|node| node.name.clone()).collect();
        let guest = world
            .guests
            .iter_mut()
            .find(|guest| guest.role.as_ref().is_some_and(|role| role.group == group))?;
        let running = World::has_process(guest.state);
        let owner = guest.node.clone();
        let named = |name: &str| {
            nodes
                .iter()
                .find(|node| node.eq_ignore_ascii_case(name))
                .cloned()
        };
        match method {
            "AddPossibleOwner" => {
                let node = named(message.argument("NodeName")?)?;
                let owners = &mut guest.role.as_mut()?.owners;
                owners.retain(|known| *known != node);
                owners.push(node);
            }
            "RemovePossibleOwner" => {
                let node = named(message.argument("NodeName")?)?;
                if running && node == owner {
                    return None;
                }
                guest.role.as_mut()?.owners.retain(|known| *known != node);
            }
            // CLUSCTL_RESOURCE_VM_START_MIGRATION, at the owner only.
            "ExecuteResourceControl" if message.argument("ControlCode") == Some("23068676") => {
                let bytes = message
                    .arguments
                    .iter()
                    .filter(|(name, _)| name == "InputBuffer");
                let bytes: Vec<u8> = bytes
                    .map(|(_, byte)| byte.parse())
                    .collect::<Result<_, _>>()
                    .ok()?;
                let (units, rest) = bytes.as_chunks::<2>();
                let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
                let name = String::from_utf16(units.strip_suffix(&[0])?)
                    .ok()
                    .filter(|_| rest.is_empty())?;
                let node =
                    named(&name).filter(|_| running && owner.eq_ignore_ascii_case(self.node))?;
                let at = std::time::Instant::now() + std::time::Duration::from_millis(300);
                guest.change = Some(Change {
                    at,
                    to: Outcome::Node(node),
                });
            }
            _ => return None,
        }
        Some(())
    }
}

fn fail(id: &str, code: u32, text: &str) -> Answer {
    let subcode = if code == NOT_FOUND {
        "a:DestinationUnreachable"
    } else {
        "w:InternalError"
    };
    (500, soap::fault(id, subcode, code, Some(code), text))
}

/// What Windows says of a query it cannot read, and as well of one for a class or in a namespace that is not there.
fn unprocessable(id: &str) -> Answer {
    const CODE: u32 = 2_150_858_778;
    let text = "The WS-Management service cannot process the request. The query, its class or its namespace is not valid.";
    (
        500,
        soap::fault(id, "n:CannotProcessFilter", CODE, None, text),
    )
}

fn denied(id: &str) -> Answer {
    (
        500,
        soap::fault(
            id,
            "w:AccessDenied",
            5,
            Some(ACCESS_DENIED),
            "Access is denied.",
        ),
    )
}
