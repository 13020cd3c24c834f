//! What the engine says of things, in both versions of the interface.

use super::element::Element;
use super::world::{AffinityGroup, Guest, Host, Object, Permission, Placement, Role, User, World};

/// How to say it.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// The path of the interface.
    pub base: &'a str,
    /// The version of the interface: 3 or 4.
    pub version: u8,
    /// The version of the engine.
    pub engine: (u32, u32),
    /// Whether results are filtered for a plain user.
    pub filtered: bool,
}

impl Manner<'_> {
    /// A state: the word, or the word in an element of its own.
    fn status(&self, element: Element, word: &str) -> Element {
        if self.version < 4 {
            element.child(Element::new("status").text("state", word))
        } else {
            element.text("status", word)
        }
    }

    /// A guest.
    #[must_use]
    pub fn vm(&self, guest: &Guest, next_run: bool) -> Element {
        let Self { base, .. } = self;
        let id = &guest.id;
        let actions = [
            "migrate",
            "shutdown",
            "start",
            "stop",
            "suspend",
            "reboot",
            "reset",
            "cancelmigration",
            "detach",
        ];
        let link = |rel: &str| {
            Element::new("link")
                .attribute("href", format!("{base}/vms/{id}/{rel}"))
                .attribute("rel", rel)
        };
        let mut vm = Element::new("vm")
            .reference(base, "vms", id)
            .child(Element::new("actions").children(actions.map(link)))
            .text("name", &guest.name)
            .text("description", "")
            .children(["permissions", "snapshots", "nics"].map(link))
            .child(Element::new("bios").child(Element::new("boot_menu").text("enabled", "false")))
            .child(
                Element::new("cpu").text("architecture", "x86_64").child(
                    Element::new("topology")
                        .text("cores", 1)
                        .text("sockets", 2)
                        .text("threads", 1),
                ),
            )
            .child(
                Element::new("display")
                    .text("type", "spice")
                    .text("address", "10.0.0.1")
                    .text("allow_override", "false")
                    .text("disconnect_action", "LOCK_SCREEN")
                    .text("monitors", 1)
                    .text("port", 5900)
                    .text("smartcard_enabled", "false"),
            )
            .child(
                Element::new("high_availability")
                    .text("enabled", guest.available)
                    .text("priority", 0),
            )
            .text("memory", 2_147_483_648_u64)
            .child(Element::new("os").text("type", "rhel_9x64"))
            .text("stateless", "false")
            .text("type", "server")
            .child(Element::new("cluster").reference(base, "clusters", &guest.cluster));
        if let Some(host) = guest.host.as_deref().filter(|_| !self.filtered) {
            vm = vm.child(Element::new("host").reference(base, "hosts", host));
        }
        let placement = guest
            .next_run
            .as_ref()
            .filter(|_| next_run)
            .unwrap_or(&guest.placement);
        if !self.filtered {
            vm = vm.child(self.placement(placement));
        }
        vm = vm.text("next_run_configuration_exists", guest.next_run.is_some());
        if let Some(status) = &guest.status {
            vm = self.status(vm, status);
        }
        vm.text("stop_reason", &guest.reason)
    }

    /// Before 3.6 there was one host, since then a list; 3.6 told both.
    fn placement(&self, placement: &Placement) -> Element {
        let policy = Element::new("placement_policy").text("affinity", &placement.affinity);
        let host = |id: &String| Element::new("host").reference(self.base, "hosts", id);
        let many = |policy: Element| {
            if placement.hosts.is_empty() {
                policy
            } else {
                policy.child(Element::new("hosts").children(placement.hosts.iter().map(host)))
            }
        };
        let one = |policy: Element| policy.children(placement.hosts.first().map(host));
        match (self.version, self.engine) {
            (4, _) => many(policy),
            (_, engine) if engine >= (3, 6) => many(one(policy)),
            _ => one(policy),
        }
    }

    /// A host.
    #[must_use]
    pub fn host(&self, host: &Host) -> Element {
        let element = Element::new("host")
            .reference(self.base, "hosts", &host.id)
            .text("name", &host.name)
            .text("address", format!("{}.example", host.name))
            .child(Element::new("cluster").reference(self.base, "clusters", &host.cluster));
        self.status(element, &host.status)
    }

    /// A group of guests.
    #[must_use]
    pub fn group(&self, group: &AffinityGroup, world: &World, members: bool) -> Element {
        let collection = format!("clusters/{}/affinitygroups", group.cluster);
        let mut element = Element::new("affinity_group")
            .reference(self.base, &collection, &group.id)
            .text("name", &group.name);
        if self.engine >= (4, 4) {
            element = element.text("broken", world.is_broken(group));
        }
        element = element.text("enforcing", group.enforcing);
        if self.engine < (4, 1) || group.enabled {
            element = element.text("positive", group.positive);
        }
        if self.engine >= (4, 1) {
            element = element
                .child(
                    Element::new("hosts_rule")
                        .text("enabled", "false")
                        .text("enforcing", "true")
                        .text("positive", "true"),
                )
                .child(
                    Element::new("vms_rule")
                        .text("enabled", group.enabled)
                        .text("enforcing", group.enforcing)
                        .text("positive", group.positive),
                );
        }
        if members {
            let member = |id: &String| {
                let name = world.guest(id).map_or("", |guest| guest.name.as_str());
                Element::new("vm")
                    .reference(self.base, "vms", id)
                    .text("name", name)
            };
            return element.child(Element::new("vms").children(group.vms.iter().map(member)));
        }
        let href = format!("{}/{collection}/{}/vms", self.base, group.id);
        element.child(
            Element::new("link")
                .attribute("href", href)
                .attribute("rel", "vms"),
        )
    }

    /// A permission.
    #[must_use]
    pub fn permission(&self, permission: &Permission, world: &World) -> Element {
        let is_user = world
            .users
            .iter()
            .any(|user| user.id == permission.principal);
        let (name, collection) = if is_user {
            ("user", "users")
        } else {
            ("group", "groups")
        };
        let element = Element::new("permission")
            .reference(self.base, "permissions", &permission.id)
            .child(Element::new("role").reference(self.base, "roles", &permission.role))
            .child(Element::new(name).reference(self.base, collection, &permission.principal));
        let on = |name, collection: &str, id: &str| {
            Element::new(name).reference(self.base, collection, id)
        };
        match &permission.object {
            Object::System => element,
            Object::DataCenter(id) => element.child(on("data_center", "datacenters", id)),
            Object::Cluster(id) => element.child(on("cluster", "clusters", id)),
            Object::Vm(id) => element.child(on("vm", "vms", id)),
            Object::Template(id) => element.child(on("template", "templates", id)),
        }
    }

    /// What a role permits.
    #[must_use]
    pub fn permits(&self, role: &Role) -> Element {
        let permit = |(number, name): (usize, &&str)| {
            let collection = format!("roles/{}/permits", role.id);
            // Before there were separate permits for them, one stood for all that starts and stops guests.
            let name = if self.engine < (3, 5) && ["stop_vm", "run_vm"].contains(name) {
                "vm_basic_operations"
            } else {
                name
            };
            Element::new("permit")
                .reference(self.base, &collection, &(number + 1).to_string())
                .text("name", name)
                .text("administrative", role.administrative)
                .child(Element::new("role").reference(self.base, "roles", &role.id))
        };
        Element::new("permits").children(role.permits.iter().enumerate().map(permit))
    }

    /// A user.
    #[must_use]
    pub fn user(&self, user: &User) -> Element {
        let (name, domain) = user.name.rsplit_once('@').unwrap_or((&user.name, ""));
        let suffix = if self.engine.0 < 4 { "" } else { "-authz" };
        Element::new("user")
            .reference(self.base, "users", &user.id)
            .text("name", name)
            .text("principal", name)
            .text("user_name", format!("{name}@{domain}{suffix}"))
    }

    /// The root of the interface.
    #[must_use]
    pub fn root(&self, user: &User, world: &World) -> Element {
        let link = |rel: &str| {
            Element::new("link")
                .attribute("href", format!("{}/{rel}", self.base))
                .attribute("rel", rel)
        };
        let (major, minor) = self.engine;
        let version = if self.version < 4 {
            Element::new("version")
                .attribute("major", major.to_string())
                .attribute("minor", minor.to_string())
                .attribute("build", "0")
                .attribute("revision", "0")
        } else {
            Element::new("version")
                .text("build", 4)
                .text("full_version", format!("{major}.{minor}.4-1.el8"))
                .text("major", major)
                .text("minor", minor)
                .text("revision", 0)
        };
        let mut root = Element::new("api")
            .children(["clusters", "hosts", "vms", "roles", "users", "jobs"].map(link))
            .child(
                Element::new("product_info")
                    .text("name", "oVirt Engine")
                    .text("vendor", "ovirt.org")
                    .child(version),
            );
        if !self.filtered {
            let total = world.guests.len();
            let active = world.guests.iter().filter(|guest| guest.runs()).count();
            root = root.child(
                Element::new("summary").child(
                    Element::new("vms")
                        .text("active", active)
                        .text("total", total),
                ),
            );
        }
        if self.engine >= (4, 2) {
            for name in ["authenticated_user", "effective_user"] {
                root = root.child(Element::new(name).reference(self.base, "users", &user.id));
            }
        }
        root
    }
}
