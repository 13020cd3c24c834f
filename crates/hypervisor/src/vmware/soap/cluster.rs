//! Clusters of hosts: what DRS and HA are told, and telling them (`ClusterConfigInfoEx`, `ClusterConfigSpecEx`).

use roxmltree::Node;

use super::envelope::Parts;
use super::reply::{
    Content, Malformed, Moref, child, children, flag_of, reference, text_of, type_of,
};

/// A cluster's configuration, as far as it concerns where guests run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) moref: Moref,
    pub(super) name: String,
    pub(super) hosts: Vec<Moref>,
    /// Whether DRS moves guests at all.
    pub(super) drs: bool,
    /// `manual`, `partiallyAutomated` or `fullyAutomated`.
    behaviour: String,
    /// Whether HA starts guests of a failed host on others.
    pub(super) ha: bool,
    pub(super) rules: Vec<Rule>,
    pub(super) groups: Vec<Group>,
    /// Guests that DRS treats differently: whether at all, and how.
    overrides: Vec<(Moref, bool, Option<String>)>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Its number, as the server wrote it.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) mandatory: bool,
    pub(super) kind: RuleKind,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RuleKind {
    /// These guests run on different hosts.
    Apart(Vec<Moref>),
    /// The guests of one group run on the hosts of another.
    On { guests: String, hosts: String },
    /// Something else.
    Other,
}

/// A group of guests or of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) of_hosts: bool,
    pub(super) members: Vec<Moref>,
}

impl Cluster {
    /// What is read of a cluster.
    pub(super) const PATHS: &'static [&'static str] = &["name", "host", "configurationEx"];

    pub(super) fn read(content: Content<'_, '_>) -> Result<Self, Malformed> {
        let mut cluster = Self {
            moref: content.object()?,
            name: content.text("name").unwrap_or_default(),
            hosts: content.references("host")?,
            drs: false,
            behaviour: String::new(),
            ha: false,
            rules: Vec::new(),
            groups: Vec::new(),
            overrides: Vec::new(),
        };
        let config = content.value("configurationEx");
        let config =
            config.ok_or_else(|| Malformed("a cluster has no `configurationEx`".to_owned()))?;
        if let Some(drs) = child(config, "drsConfig") {
            cluster.drs = flag_of(drs, "enabled").unwrap_or(false);
            cluster.behaviour = text_of(drs, "defaultVmBehavior").unwrap_or_default();
        }
        cluster.ha = child(config, "dasConfig")
            .and_then(|das| flag_of(das, "enabled"))
            .unwrap_or(false);
        cluster.rules = children(config, "rule")
            .map(Rule::read)
            .collect::<Result<_, _>>()?;
        cluster.groups = children(config, "group")
            .map(Group::read)
            .collect::<Result<_, _>>()?;
        for item in children(config, "drsVmConfig") {
            if let Some(key) = child(item, "key") {
                let enabled = flag_of(item, "enabled").unwrap_or(true);
                cluster
                    .overrides
                    .push((reference(key)?, enabled, text_of(item, "behavior")));
            }
        }
        Ok(cluster)
    }

    /// Whether DRS moves this guest by itself.
    pub(super) fn moves(&self, guest: &Moref) -> bool {
        let own = self.overrides.iter().find(|(key, ..)| key == guest);
        let (enabled, behaviour) = own.map_or((true, None), |(_, enabled, behaviour)| {
            (*enabled, behaviour.as_deref())
        });
        self.drs && enabled && behaviour.unwrap_or(&self.behaviour) == "fullyAutomated"
    }

    pub(super) fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    pub(super) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The only hosts that mandatory rules in force let this guest run on; none when it is free.
    pub(super) fn pinned(&self, guest: &Moref) -> Option<Vec<Moref>> {
        let mut left: Option<Vec<Moref>> = None;
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.enabled && rule.mandatory)
        {
            let RuleKind::On { guests, hosts } = &rule.kind else {
                continue;
            };
            let (Some(guests), Some(hosts)) = (self.group(guests), self.group(hosts)) else {
                continue;
            };
            if guests.members.contains(guest) {
                left = Some(match left {
                    None => hosts.members.clone(),
                    Some(left) => left
                        .into_iter()
                        .filter(|host| hosts.members.contains(host))
                        .collect(),
                });
            }
        }
        left
    }
}

impl Rule {
    fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        let kind = match type_of(node) {
            Some("ClusterAntiAffinityRuleSpec") => RuleKind::Apart(
                children(node, "vm")
                    .map(reference)
                    .collect::<Result<_, _>>()?,
            ),
            Some("ClusterVmHostRuleInfo") => match (
                text_of(node, "vmGroupName"),
                text_of(node, "affineHostGroupName"),
            ) {
                (Some(guests), Some(hosts)) => RuleKind::On { guests, hosts },
                _ => RuleKind::Other,
            },
            _ => RuleKind::Other,
        };
        Ok(Self {
            key: text_of(node, "key").unwrap_or_default(),
            name: text_of(node, "name").unwrap_or_default(),
            enabled: flag_of(node, "enabled").unwrap_or(false),
            mandatory: flag_of(node, "mandatory").unwrap_or(false),
            kind,
        })
    }
}

impl Group {
    fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        let of_hosts = type_of(node) == Some("ClusterHostGroup");
        let members = children(node, if of_hosts { "host" } else { "vm" })
            .map(reference)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: text_of(node, "name").unwrap_or_default(),
            of_hosts,
            members,
        })
    }
}

/// What to do with an item of a list (`ArrayUpdateOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Edit,
    Remove,
}

impl Change {
    const fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Edit => "edit",
            Self::Remove => "remove",
        }
    }
}

/// One change of a cluster's configuration.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// A rule; its key is that of the rule to edit or remove.
    Rule(Change, Rule),
    /// A group; its name is that of the group to edit or remove.
    Group(Change, Group),
}

/// Writes a `ClusterConfigSpecEx` with these changes. Rules come before groups, as the schema demands; the server takes them
/// together.
pub(super) fn write(parts: &mut Parts, edits: &[Edit]) {
    parts.typed("spec", "ClusterConfigSpecEx", |parts| {
        for edit in edits {
            if let Edit::Rule(change, rule) = edit {
                parts.nest("rulesSpec", |parts| write_rule(parts, *change, rule));
            }
        }
        for edit in edits {
            if let Edit::Group(change, group) = edit {
                parts.nest("groupSpec", |parts| write_group(parts, *change, group));
            }
        }
    });
    parts.flag("modify", true);
}

fn write_rule(parts: &mut Parts, change: Change, rule: &Rule) {
    parts.text("operation", change.word());
    if change == Change::Remove {
        parts.typed_text("removeKey", "xsd:int", &rule.key);
        return;
    }
    let head = |parts: &mut Parts| {
        if change == Change::Edit {
            parts.text("key", &rule.key);
        }
        parts.flag("enabled", rule.enabled);
        parts.text("name", &rule.name);
        parts.flag("mandatory", rule.mandatory);
    };
    match &rule.kind {
        RuleKind::Apart(guests) => parts.typed("info", "ClusterAntiAffinityRuleSpec", |parts| {
            head(parts);
            for guest in guests {
                parts.reference("vm", guest);
            }
        }),
        RuleKind::On { guests, hosts } => parts.typed("info", "ClusterVmHostRuleInfo", |parts| {
            head(parts);
            parts.text("vmGroupName", guests);
            parts.text("affineHostGroupName", hosts);
        }),
        // Nothing here makes one.
        RuleKind::Other => {}
    }
}

fn write_group(parts: &mut Parts, change: Change, group: &Group) {
    parts.text("operation", change.word());
    if change == Change::Remove {
        parts.typed_text("removeKey", "xsd:string", &group.name);
        return;
    }
    let (kind, member) = if group.of_hosts {
        ("ClusterHostGroup", "host")
    } else {
        ("ClusterVmGroup", "vm")
    };
    parts.typed("info", kind, |parts| {
        parts.text("name", &group.name);
        for moref in &group.members {
            parts.reference(member, moref);
        }
    });
}
