//! Which request reads or changes what.

use std::time::{Duration, Instant};

use super::body::{self, Action};
use super::element::Element;
use super::render::Manner;
use super::search::Search;
use super::settings::Settings;
use super::world::{AffinityGroup, Guest, Object, Placement, User};
use super::{State, error_page, orders};
use crate::http::{Request, Response};

/// The size of a page, unless the request says otherwise.
const PAGE: usize = 100;

/// What a request asks for, once it is known who asks and how to speak.
struct Call<'a> {
    settings: &'a Settings,
    state: &'a mut State,
    request: &'a Request,
    user: User,
    administrator: bool,
    manner: Manner<'a>,
}

/// Answers a request below the path of the interface.
#[must_use]
pub fn answer(settings: &Settings, state: &mut State, request: &Request, rest: &str) -> Response {
    let (prefixed, rest) = match rest.get(..3) {
        Some(prefix @ ("/v3" | "/v4")) if rest.len() == 3 || rest[3..].starts_with('/') => {
            (Some(&prefix[2..]), &rest[3..])
        }
        _ => (None, rest),
    };
    let asked = prefixed.or_else(|| request.header("version"));
    let Some(version) = settings.version(asked) else {
        return error_page(400, "The requested version is not supported");
    };
    let State { world, sessions } = &mut *state;
    let Some(admitted) = sessions.admit(request, world, settings.tokens(), settings.cookies())
    else {
        return error_page(401, "Unauthorized")
            .header("WWW-Authenticate", "Basic realm=\"RESTAPI\"");
    };
    let administrator = world.is_administrator(&admitted.user);
    let wanted = request
        .parameter("filter")
        .or_else(|| request.header("filter"));
    let filtered = wanted.map_or(!administrator, |wanted| wanted.eq_ignore_ascii_case("true"));
    let cookie = admitted
        .cookie
        .map(|key| format!("JSESSIONID={key}; Path={}; HttpOnly", settings.api_path));
    let manner = Manner {
        base: &settings.api_path,
        version,
        engine: settings.engine,
        filtered,
    };
    let mut call = Call {
        settings,
        state,
        request,
        user: admitted.user,
        administrator,
        manner,
    };
    let mut response = call.answer(rest);
    if let Some(id) = request.header("correlation-id") {
        response = response.header("Correlation-Id", id);
    }
    match cookie {
        Some(cookie) => response.header("Set-Cookie", cookie),
        None => response,
    }
}

/// A fault.
#[must_use]
pub fn fault(status: u16, reason: &str, detail: &str) -> Response {
    xml(
        status,
        &Element::new("fault")
            .text("detail", detail)
            .text("reason", reason),
    )
}

fn xml(status: u16, element: &Element) -> Response {
    Response::new(status, "application/xml;charset=UTF-8", element.document())
}

fn not_found() -> Response {
    Response::empty(404)
}

fn forbidden() -> Response {
    fault(
        403,
        "Operation Failed",
        "[User is not authorized to perform this action.]",
    )
}

fn invalid(detail: &str) -> Response {
    fault(400, "Operation Failed", &format!("[{detail}]"))
}

impl Call<'_> {
    fn answer(&mut self, rest: &str) -> Response {
        let (rest, matrix) = rest.split_once(';').unwrap_or((rest, ""));
        let parts: Vec<String> = rest
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        // A plain user may only ask for what is filtered.
        if !self.administrator && !self.manner.filtered {
            return forbidden();
        }
        let method = self.request.method.as_str();
        match (method, parts.as_slice()) {
            ("GET", []) => xml(200, &self.manner.root(&self.user, &self.state.world)),
            ("GET", ["vms"]) => self.list_vms(),
            ("GET", ["vms", id]) => self.show_vm(id, matrix == "next_run"),
            ("PUT", ["vms", id]) => self.change_vm(id),
            ("GET", ["vms", id, "permissions"]) => self.vm_permissions(id),
            ("POST", ["vms", id, order]) => self.order(id, order),
            ("GET", ["users", id]) => self.show_user(id),
            ("GET", ["users", id, "permissions"]) => self.user_permissions(id),
            ("GET", ["roles", id, "permits"]) => match self.state.world.role(id) {
                Some(role) => xml(200, &self.manner.permits(role)),
                None => not_found(),
            },
            ("GET", ["jobs", id]) => self.job(id),
            // The rest is for administrators.
            _ if self.manner.filtered && !self.administrator => forbidden(),
            ("GET", ["hosts"]) => self.list_hosts(),
            ("GET", ["hosts", id]) => {
                match self.state.world.hosts.iter().find(|host| host.id == *id) {
                    Some(host) => xml(200, &self.manner.host(host)),
                    None => not_found(),
                }
            }
            ("GET", ["clusters"]) => {
                let clusters = self.state.world.clusters.iter().map(|cluster| {
                    Element::new("cluster")
                        .reference(self.manner.base, "clusters", &cluster.id)
                        .text("name", &cluster.name)
                });
                xml(200, &Element::new("clusters").children(clusters))
            }
            (_, ["clusters", cluster, "affinitygroups", rest @ ..])
                if self.manner.engine >= (3, 4) =>
            {
                let known = self
                    .state
                    .world
                    .clusters
                    .iter()
                    .any(|known| known.id == *cluster);
                if known {
                    self.groups(method, cluster, rest)
                } else {
                    not_found()
                }
            }
            _ => not_found(),
        }
    }

    /// The guests that the caller may see.
    fn visible(&self) -> Vec<Guest> {
        let world = &self.state.world;
        let seen = |guest: &&Guest| !self.manner.filtered || world.may(&self.user, "", guest);
        world.guests.iter().filter(seen).cloned().collect()
    }

    fn guest(&self, id: &str) -> Option<Guest> {
        self.visible().into_iter().find(|guest| guest.id == id)
    }

    fn list_vms(&self) -> Response {
        let (request, world) = (self.request, &self.state.world);
        let search = match request.parameter("search").map(Search::parse) {
            None => None,
            Some(Some(search)) => Some(search),
            Some(None) => return invalid("The search query is not valid"),
        };
        let sensitive = request.parameter("case_sensitive") == Some("true");
        let mut found: Vec<&Guest> = world.guests.iter().collect();
        if let Some(search) = &search {
            found.retain(|guest| {
                search.finds(sensitive, |field| match field {
                    "name" => &guest.name,
                    "id" => &guest.id,
                    "status" => guest.status.as_deref().unwrap_or_default(),
                    "cluster" => {
                        let cluster = world
                            .clusters
                            .iter()
                            .find(|cluster| cluster.id == guest.cluster);
                        cluster.map_or("", |cluster| &cluster.name)
                    }
                    _ => guest
                        .host
                        .as_deref()
                        .and_then(|id| world.host(id))
                        .map_or("", |host| &host.name),
                })
            });
            if search.sorted {
                found.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        let found = self.page(found, search.as_ref());
        // The page was cut out before anything is hidden.
        let visible: Vec<String> = self.visible().into_iter().map(|guest| guest.id).collect();
        let visible: std::collections::HashSet<&str> = visible.iter().map(String::as_str).collect();
        let shown = found
            .into_iter()
            .filter(|guest| visible.contains(guest.id.as_str()));
        self.mangled(xml(
            200,
            &Element::new("vms").children(shown.map(|guest| self.manner.vm(guest, false))),
        ))
    }

    fn page<T>(&self, all: Vec<T>, search: Option<&Search>) -> Vec<T> {
        let max = self
            .request
            .parameter("max")
            .and_then(|max| max.parse::<usize>().ok());
        match (search.and_then(|search| search.page), max) {
            (Some(page), max) => {
                let size = max.unwrap_or(PAGE);
                all.into_iter()
                    .skip((page - 1).saturating_mul(size))
                    .take(size)
                    .collect()
            }
            (None, Some(max)) => all.into_iter().take(max).collect(),
            (None, None) => all,
        }
    }

    /// Lets parts be missing, when a fault says so.
    fn mangled(&self, mut response: Response) -> Response {
        let without = match self.request.fault.as_deref() {
            Some("no-status") => ["<status>", "<state>"],
            Some("no-name") => ["<name>", "<name>"],
            Some("no-id") => ["<vm ", "<vm "],
            _ => return response,
        };
        let text = String::from_utf8_lossy(&response.body).into_owned();
        let line = |line: &str| match line.trim_start() {
            trimmed if trimmed.starts_with("<vm ") && without[0] == "<vm " => {
                Some("<vm>".to_owned())
            }
            trimmed if without.iter().any(|start| trimmed.starts_with(start)) => {
                // An element that has children keeps its end.
                trimmed
                    .contains("</")
                    .then_some(())
                    .map_or_else(|| Some(line.to_owned()), |()| None)
            }
            _ => Some(line.to_owned()),
        };
        response.body = text
            .lines()
            .filter_map(line)
            .collect::<Vec<_>>()
            .join("\n")
            .into_bytes();
        response
    }

    fn show_vm(&self, id: &str, next_run: bool) -> Response {
        let next_run = next_run || self.request.parameter("next_run") == Some("true");
        match self.guest(id) {
            Some(guest) => self.mangled(xml(200, &self.manner.vm(&guest, next_run))),
            None => not_found(),
        }
    }

    fn change_vm(&mut self, id: &str) -> Response {
        let Some(guest) = self.guest(id) else {
            return not_found();
        };
        if !self
            .state
            .world
            .may(&self.user, "edit_vm_properties", &guest)
        {
            return forbidden();
        }
        let change = match body::Vm::parse(&self.request.text()) {
            Ok(change) => change,
            Err(why) => return invalid(&why),
        };
        // Filtered, the element is ignored.
        if let Some(policy) = change.placement.filter(|_| !self.manner.filtered) {
            let mut hosts = Vec::new();
            for name in &policy.hosts {
                match self.state.world.host(name) {
                    Some(host) => hosts.push(host.id.clone()),
                    None => {
                        return invalid(&format!("Cannot edit VM. Host {name} does not exist."));
                    }
                }
            }
            let affinity = if policy.affinity.is_empty() {
                guest.placement.affinity.clone()
            } else {
                policy.affinity
            };
            if !["migratable", "user_migratable", "pinned"].contains(&affinity.as_str()) {
                return invalid("affinity");
            }
            let placement = Placement { affinity, hosts };
            if let Some(guest) = self.state.world.guest_mut(id) {
                if guest.is(&["down"]) {
                    guest.placement = placement;
                } else {
                    guest.next_run = (guest.placement != placement).then_some(placement);
                }
            }
        }
        self.show_vm(id, false)
    }

    fn order(&mut self, id: &str, order: &str) -> Response {
        let permit = match order {
            "stop" => "stop_vm",
            "start" => "run_vm",
            "shutdown" => "shut_down_vm",
            "reboot" => "reboot_vm",
            "reset" => "reset_vm",
            "suspend" => "hibernate_vm",
            "migrate" | "cancelmigration" => "migrate_vm",
            "detach" => "login",
            _ => return not_found(),
        };
        let Some(guest) = self.guest(id) else {
            return not_found();
        };
        // An order may be given a reason and forced since 4.4.
        let action = match Action::parse(
            &self.request.text(),
            self.settings.engine < (4, 4) && order != "migrate",
        ) {
            Ok(action) => action,
            Err(why) => return invalid(&why),
        };
        if !self.state.world.may(&self.user, permit, &guest) {
            return refused(403, "[User is not authorized to perform this action.]");
        }
        match orders::carry_out(&mut self.state.world, id, order, &action) {
            Ok(()) => self.taken(),
            Err((404, _)) => not_found(),
            Err((status, detail)) => refused(status, &detail),
        }
    }

    fn taken(&mut self) -> Response {
        let world = &mut self.state.world;
        let job = world.new_id();
        world
            .jobs
            .insert(job.clone(), Instant::now() + world.transition);
        let action = Element::new("action").child(Element::new("job").reference(
            self.manner.base,
            "jobs",
            &job,
        ));
        let action = if self.manner.version < 4 {
            action.child(Element::new("status").text("state", "complete"))
        } else {
            action.text("status", "complete")
        };
        xml(200, &action)
    }

    fn job(&self, id: &str) -> Response {
        let Some(end) = self.state.world.jobs.get(id) else {
            return not_found();
        };
        let status = if *end > Instant::now() + Duration::ZERO {
            "started"
        } else {
            "finished"
        };
        xml(
            200,
            &Element::new("job")
                .reference(self.manner.base, "jobs", id)
                .text("status", status),
        )
    }

    fn list_hosts(&self) -> Response {
        let search = match self.request.parameter("search").map(Search::parse) {
            None => None,
            Some(Some(search)) => Some(search),
            Some(None) => return invalid("The search query is not valid"),
        };
        let mut hosts: Vec<_> = self.state.world.hosts.iter().collect();
        if let Some(search) = &search {
            hosts.retain(|host| {
                search.finds(false, |field| {
                    if field == "name" {
                        &host.name
                    } else {
                        &host.id
                    }
                })
            });
        }
        let hosts = self.page(hosts, search.as_ref());
        xml(
            200,
            &Element::new("hosts").children(hosts.into_iter().map(|host| self.manner.host(host))),
        )
    }

    /// Those on the guest itself, all of them as soon as one is the caller's; and those on what it belongs to, filtered the
    /// caller's own only.
    fn vm_permissions(&self, id: &str) -> Response {
        let Some(guest) = self.guest(id) else {
            return not_found();
        };
        let world = &self.state.world;
        let direct = |object: &Object| *object == Object::Vm(guest.id.clone());
        let own = |permission: &super::world::Permission| world.is_of(permission, &self.user);
        let all_direct = !self.manner.filtered
            || world
                .permissions
                .iter()
                .any(|permission| direct(&permission.object) && own(permission));
        let shown = world.permissions.iter().filter(|permission| {
            let covers = world.covers(&permission.object, &guest);
            covers
                && (!self.manner.filtered
                    || own(permission)
                    || (direct(&permission.object) && all_direct))
        });
        let shown = shown.map(|permission| self.manner.permission(permission, world));
        xml(200, &Element::new("permissions").children(shown))
    }

    fn show_user(&self, id: &str) -> Response {
        let world = &self.state.world;
        match world.users.iter().find(|user| user.id == id) {
            Some(user) if !self.manner.filtered || *id == self.user.id => {
                xml(200, &self.manner.user(user))
            }
            _ => not_found(),
        }
    }

    fn user_permissions(&self, id: &str) -> Response {
        let world = &self.state.world;
        let Some(user) = world.users.iter().find(|user| user.id == id) else {
            return not_found();
        };
        if self.manner.filtered && user.id != self.user.id {
            return not_found();
        }
        let shown = world
            .permissions
            .iter()
            .filter(|permission| world.is_of(permission, user));
        let shown = shown.map(|permission| self.manner.permission(permission, world));
        xml(200, &Element::new("permissions").children(shown))
    }

    fn groups(&mut self, method: &str, cluster: &str, rest: &[&str]) -> Response {
        let follow =
            self.request.parameter("follow") == Some("vms") && self.manner.engine >= (4, 2);
        let (manner, rules) = (self.manner, self.manner.engine >= (4, 1));
        let world = &mut self.state.world;
        let at = |world: &super::world::World, id: &str| {
            world
                .groups
                .iter()
                .position(|group| group.id == id && group.cluster == cluster)
        };
        match (method, rest) {
            ("GET", []) => {
                let groups = world.groups.iter().filter(|group| group.cluster == cluster);
                let groups = groups.map(|group| manner.group(group, world, follow));
                xml(200, &Element::new("affinity_groups").children(groups))
            }
            ("POST", []) => {
                let change = match body::Group::parse(&self.request.text(), rules) {
                    Ok(change) => change,
                    Err(why) => return invalid(&why),
                };
                let Some(name) = change.name.clone() else {
                    return invalid("AffinityGroup name is required");
                };
                if world.groups.iter().any(|group| group.name == name) {
                    return fault(
                        409,
                        "Operation Failed",
                        "[Cannot add Affinity Group. Affinity Group name already exists.]",
                    );
                }
                let id = world.new_id();
                let mut group = AffinityGroup {
                    id,
                    name,
                    cluster: cluster.to_owned(),
                    enabled: true,
                    positive: true,
                    enforcing: true,
                    vms: Vec::new(),
                };
                apply(&mut group, change);
                let shown = manner.group(&group, world, false);
                world.groups.push(group);
                xml(201, &shown)
            }
            (_, [id, rest @ ..]) => match at(world, id) {
                Some(at) => self.group(method, at, rest),
                None => not_found(),
            },
            _ => Response::empty(405),
        }
    }

    fn group(&mut self, method: &str, at: usize, rest: &[&str]) -> Response {
        let (manner, rules) = (self.manner, self.manner.engine >= (4, 1));
        let world = &mut self.state.world;
        match (method, rest) {
            ("GET", []) => xml(200, &manner.group(&world.groups[at], world, false)),
            ("DELETE", []) => {
                world.groups.remove(at);
                xml(200, &Element::new("action").text("status", "complete"))
            }
            ("PUT", []) => match body::Group::parse(&self.request.text(), rules) {
                Ok(change) => {
                    apply(&mut world.groups[at], change);
                    xml(200, &manner.group(&world.groups[at], world, false))
                }
                Err(why) => invalid(&why),
            },
            ("GET", ["vms"]) => {
                let members = world.groups[at].vms.iter().filter_map(|id| world.guest(id));
                // Members are told without their state.
                let member = |guest: &Guest| {
                    Element::new("vm")
                        .reference(manner.base, "vms", &guest.id)
                        .text("name", &guest.name)
                };
                xml(200, &Element::new("vms").children(members.map(member)))
            }
            ("POST", ["vms"]) => {
                let name = match body::Vm::parse(&self.request.text()) {
                    Ok(vm) => vm.reference.unwrap_or_default(),
                    Err(why) => return invalid(&why),
                };
                let found = world
                    .guests
                    .iter()
                    .find(|guest| guest.id == name || guest.name == name);
                let Some(guest) = found.cloned() else {
                    return not_found();
                };
                let group = &world.groups[at];
                if group.vms.contains(&guest.id) {
                    return fault(
                        409,
                        "Operation Failed",
                        "[VM is already in the Affinity Group.]",
                    );
                }
                if group.cluster != guest.cluster {
                    return fault(
                        409,
                        "Operation Failed",
                        "[VM is not in the same cluster as the Affinity Group.]",
                    );
                }
                world.groups[at].vms.push(guest.id.clone());
                xml(
                    201,
                    &Element::new("vm")
                        .reference(manner.base, "vms", &guest.id)
                        .text("name", &guest.name),
                )
            }
            ("DELETE", ["vms", id]) => {
                let group = &mut world.groups[at];
                let before = group.vms.len();
                group.vms.retain(|member| member != id);
                if group.vms.len() == before {
                    return not_found();
                }
                xml(200, &Element::new("action").text("status", "complete"))
            }
            _ => Response::empty(405),
        }
    }
}

fn apply(group: &mut AffinityGroup, change: body::Group) {
    group.name = change.name.unwrap_or_else(|| group.name.clone());
    group.enabled = change.enabled.unwrap_or(group.enabled);
    group.positive = change.positive.unwrap_or(group.positive);
    group.enforcing = change.enforcing.unwrap_or(group.enforcing);
}

/// An order that is refused: the fault stands within the answer to it.
fn refused(status: u16, detail: &str) -> Response {
    let fault = Element::new("fault")
        .text("detail", detail)
        .text("reason", "Operation Failed");
    xml(
        status,
        &Element::new("action").child(fault).text("status", "failed"),
    )
}
