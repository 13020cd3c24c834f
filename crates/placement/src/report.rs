//! What is the case: where the members are, what keeps them apart, and what is wrong with it. Its serialised form is an
//! interface: `picket placement show --json`, and what `picket check --placement` takes.

use std::fmt;

use hypervisor::placement::{Apart, Host, Whereabouts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::seen::{Rules, Seen, Trouble};
use crate::wish::{Member, Remedy, Wish};

/// The version of the serialised form of [`Report`].
pub const FORMAT: u32 = 1;

/// All in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No two members share a host, and something sees to it that it stays so.
    Kept,
    /// No two members share a host at present; nothing sees to it that it stays so.
    Apart,
    /// Two members share a host.
    Shared,
    /// Somebody who would have to be asked gave no answer: whether members share a host is not known.
    Unknown,
}

impl State {
    /// In the words of the serialised form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Apart => "apart",
            Self::Shared => "shared",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How much a [`Finding`] matters. The heaviest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// One failure may take several members now, or nobody knows whether.
    Alarm,
    /// Nothing prevents that it comes to that.
    Warning,
    /// Worth knowing.
    Note,
}

impl Weight {
    /// In the words of the serialised form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Members run on one host.
    MembersOnOneHost,
    /// Nobody can say where a member is.
    WhereaboutsUnknown,
    /// The platform knows no such guest.
    NoSuchGuest,
    /// Which hosts there are is not known.
    HostsUnknown,
    /// Which rules there are is not known.
    RulesUnknown,
    /// Fewer hosts take guests than there are members.
    NotEnoughHosts,
    /// A member runs on, or is pinned to, a host that takes no guests.
    HostUnusable,
    /// The definition names a host that the platform does not have.
    NoSuchHost,
    /// A member has to be pinned, and is not.
    NotPinned,
    /// A member is pinned to other hosts than the definition says.
    PinnedElsewhere,
    /// Members are pinned to the same host and nothing else.
    PinnedTogether,
    /// A member runs on another host than the definition says.
    RunsElsewhere,
    /// A member does not run.
    RunsNowhere,
    /// Nothing keeps members apart that the platform may move.
    NotKeptApart,
    /// A rule is there and does nothing.
    RuleNotInForce,
    /// The rule holds only as far as hosts suffice, and the definition says always.
    RuleTooSoft,
    /// The platform has no rules, or does not show them.
    NoRules,
}

impl FindingKind {
    /// In the words of the serialised form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MembersOnOneHost => "members-on-one-host",
            Self::WhereaboutsUnknown => "whereabouts-unknown",
            Self::NoSuchGuest => "no-such-guest",
            Self::HostsUnknown => "hosts-unknown",
            Self::RulesUnknown => "rules-unknown",
            Self::NotEnoughHosts => "not-enough-hosts",
            Self::HostUnusable => "host-unusable",
            Self::NoSuchHost => "no-such-host",
            Self::NotPinned => "not-pinned",
            Self::PinnedElsewhere => "pinned-elsewhere",
            Self::PinnedTogether => "pinned-together",
            Self::RunsElsewhere => "runs-elsewhere",
            Self::RunsNowhere => "runs-nowhere",
            Self::NotKeptApart => "not-kept-apart",
            Self::RuleNotInForce => "rule-not-in-force",
            Self::RuleTooSoft => "rule-too-soft",
            Self::NoRules => "no-rules",
        }
    }
}

/// Something that is wrong or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// What kind it is.
    pub kind: FindingKind,
    /// The nodes concerned.
    pub members: Vec<String>,
    /// The host concerned.
    pub host: Option<String>,
    /// For people.
    pub message: String,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSeen {
    /// What the platform's interface calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether it takes guests.
    pub usable: bool,
}

impl From<&Host> for HostSeen {
    fn from(host: &Host) -> Self {
        Self {
            id: host.id.clone(),
            name: host.name.clone(),
            usable: host.usable,
        }
    }
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Place {
    /// It runs on this host.
    Runs {
        /// Its name.
        host: String,
    },
    /// It does not run.
    Nowhere,
    /// Nobody can say.
    Unknown(Trouble),
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSeen {
    /// The node's name.
    pub node: String,
    /// What the platform was asked for.
    pub asked_for: String,
    /// What the platform calls it; none if it did not say.
    pub guest: Option<String>,
    /// Its UUID on the platform; none if it did not say.
    pub uuid: Option<String>,
    /// Where it is.
    pub place: Place,
    /// The names of the only hosts it may run on; empty: it is free, or not known.
    pub pinned_to: Vec<String>,
    /// Whether the platform would move it by itself; none if it did not say.
    pub moves_by_itself: Option<bool>,
    /// The host that the definition names.
    pub defined_host: Option<String>,
}

/// A rule that keeps guests apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSeen {
    /// Its name.
    pub name: String,
    /// The guests, by the platform's names.
    pub guests: Vec<String>,
    /// Whether it holds even if a guest then cannot run.
    pub mandatory: bool,
    /// Why it does nothing at present.
    pub ineffective: Option<String>,
}

/// What was seen at one moment, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The platform, as a definition calls it.
    pub platform: String,
    /// Who was asked.
    pub asked: String,
    /// When the answers were there, by this machine's clock.
    pub taken_at: Timestamp,
    /// All in all.
    pub state: State,
    /// Whether something keeps all members apart, as strictly as is wanted; none: not known, or the platform has nothing
    /// of the kind.
    pub kept_apart: Option<bool>,
    /// What is wrong or worth knowing, the heaviest first.
    pub findings: Vec<Finding>,
    /// The members that are guests, in the order of the definition.
    pub members: Vec<MemberSeen>,
    /// The platform's hosts, by name.
    pub hosts: Vec<HostSeen>,
    /// The rules that concern members; none: the platform has none, or they are not known.
    pub rules: Option<Vec<RuleSeen>>,
}

/// What `seen` means for `wish`. `asked` names who was asked, `taken_at` is when the answers were there.
#[must_use]
pub fn assess(wish: &Wish, seen: &Seen, asked: &str, taken_at: Timestamp) -> Report {
    let mut findings = Findings {
        wish,
        seen,
        hosts: seen.all_hosts(),
        found: Vec::new(),
    };
    findings.on_one_host();
    findings.members();
    findings.of_hosts();
    let kept = findings.kept_apart();
    let mut found = findings.found;
    let hosts = findings.hosts;
    found.sort_by_key(|finding| finding.weight);
    let shared = found
        .iter()
        .any(|finding| finding.kind == FindingKind::MembersOnOneHost);
    let known = seen.members.iter().all(Result::is_ok);
    let state = match (shared, known, kept) {
        (true, _, _) => State::Shared,
        (false, false, _) => State::Unknown,
        (false, true, true) => State::Kept,
        (false, true, false) => State::Apart,
    };
    let members = wish.members.iter().zip(&seen.members);
    Report {
        format: FORMAT,
        cluster: wish.cluster.clone(),
        platform: wish.platform.clone(),
        asked: asked.to_owned(),
        taken_at,
        state,
        kept_apart: (known
            && wish.remedy != Remedy::Moves
            && !matches!(seen.rules, Rules::Unknown(_)))
        .then_some(kept),
        findings: found,
        members: members
            .map(|(member, found)| member_seen(member, found))
            .collect(),
        hosts: hosts.iter().map(HostSeen::from).collect(),
        rules: match &seen.rules {
            Rules::Known(rules) => Some(rules.iter().map(rule_seen).collect()),
            Rules::Refused(_) | Rules::Unknown(_) => None,
        },
    }
}

fn member_seen(member: &Member, found: &Result<Whereabouts, Trouble>) -> MemberSeen {
    let known = found.as_ref().ok();
    let place = match found {
        Ok(Whereabouts {
            host: Some(host), ..
        }) => Place::Runs {
            host: host.name.clone(),
        },
        Ok(_) => Place::Nowhere,
        Err(trouble) => Place::Unknown(trouble.clone()),
    };
    MemberSeen {
        node: member.node.clone(),
        asked_for: member.guest.to_string(),
        guest: known.map(|found| found.guest.name.clone()),
        uuid: known.map(|found| found.guest.uuid.to_string()),
        place,
        pinned_to: known.map_or_else(Vec::new, |found| names(&found.pinned_to)),
        moves_by_itself: known.map(|found| found.moves_by_itself),
        defined_host: member.host.clone(),
    }
}

fn rule_seen(rule: &Apart) -> RuleSeen {
    RuleSeen {
        name: rule.name.clone(),
        guests: rule.guests.iter().map(|guest| guest.name.clone()).collect(),
        mandatory: rule.mandatory,
        ineffective: rule.ineffective.clone(),
    }
}

fn names(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(|host| host.name.clone()).collect()
}

/// Several names in one sentence.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [rest @ .., last] => {
            let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", rest.join(", "), last.as_ref())
        }
    }
}

/// Whether something sees to it that two members never share a host, and how strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Nothing.
    Loose,
    /// A rule, as far as hosts suffice.
    BestEffort,
    /// A rule, or pins to different hosts, whatever happens.
    Always,
}

/// What keeps two members apart, of which both were found.
pub(crate) fn hold(seen: &Seen, one: &Whereabouts, other: &Whereabouts) -> Hold {
    let pinned = |found: &Whereabouts| !found.pinned_to.is_empty();
    let meet = |host: &Host| other.pinned_to.iter().any(|known| known.id == host.id);
    if pinned(one) && pinned(other) && !one.pinned_to.iter().any(meet) {
        return Hold::Always;
    }
    let Rules::Known(rules) = &seen.rules else {
        return Hold::Loose;
    };
    let both = |rule: &&Apart| {
        rule.ineffective.is_none()
            && [one, other].iter().all(|found| {
                rule.guests
                    .iter()
                    .any(|guest| guest.uuid == found.guest.uuid)
            })
    };
    let holds = rules.iter().filter(both).map(|rule| {
        if rule.mandatory {
            Hold::Always
        } else {
            Hold::BestEffort
        }
    });
    holds.max().unwrap_or(Hold::Loose)
}

struct Findings<'a> {
    wish: &'a Wish,
    seen: &'a Seen,
    hosts: Vec<Host>,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(
        &mut self,
        weight: Weight,
        kind: FindingKind,
        members: &[&str],
        host: Option<&str>,
        message: String,
    ) {
        self.found.push(Finding {
            weight,
            kind,
            members: members.iter().map(|&name| name.to_owned()).collect(),
            host: host.map(str::to_owned),
            message,
        });
    }

    fn nodes(&self, places: &[usize]) -> Vec<String> {
        let members = places.iter().filter_map(|at| self.wish.members.get(*at));
        members.map(|member| member.node.clone()).collect()
    }

    fn on_one_host(&mut self) {
        for host in self.hosts.clone() {
            let here = self.nodes(&self.seen.on(&host));
            if here.len() > 1 {
                let names: Vec<&str> = here.iter().map(String::as_str).collect();
                let message = format!(
                    "{} run on the same host {}: when it fails, they fail together",
                    list(&here),
                    host.name
                );
                self.add(
                    Weight::Alarm,
                    FindingKind::MembersOnOneHost,
                    &names,
                    Some(&host.name),
                    message,
                );
            }
        }
    }

    fn members(&mut self) {
        let (wish, seen) = (self.wish, self.seen);
        for (member, found) in wish.members.iter().zip(&seen.members) {
            match found {
                Err(trouble) => self.not_found(member, trouble),
                Ok(found) => {
                    self.of_member(member, found);
                    self.pin_of(member, found);
                }
            }
        }
        self.pinned_together();
    }

    fn not_found(&mut self, member: &Member, trouble: &Trouble) {
        let (kind, message) = if trouble.kind == crate::seen::TroubleKind::NoSuchGuest {
            (
                FindingKind::NoSuchGuest,
                format!("{}: {}", member.node, trouble.detail),
            )
        } else {
            (
                FindingKind::WhereaboutsUnknown,
                format!(
                    "where {} runs is not known: {}",
                    member.node, trouble.detail
                ),
            )
        };
        self.add(Weight::Alarm, kind, &[&member.node], None, message);
    }

    fn of_member(&mut self, member: &Member, found: &Whereabouts) {
        let node = member.node.as_str();
        let Some(host) = &found.host else {
            let message = format!("{node} does not run");
            self.add(
                Weight::Note,
                FindingKind::RunsNowhere,
                &[node],
                None,
                message,
            );
            return;
        };
        // Which hosts there are and what they take may be unknown.
        let Ok(hosts) = &self.seen.hosts else { return };
        if !hosts
            .iter()
            .any(|known| known.id == host.id && known.usable)
        {
            let message = format!(
                "{node} runs on {}, which takes no guests at present",
                host.name
            );
            self.add(
                Weight::Warning,
                FindingKind::HostUnusable,
                &[node],
                Some(&host.name),
                message,
            );
        }
        let Some(defined) = &member.host else { return };
        match self.wish.find(defined, &self.hosts) {
            None => {
                let message = format!(
                    "the definition puts {node} on {defined}, and the platform has no such host"
                );
                self.add(
                    Weight::Warning,
                    FindingKind::NoSuchHost,
                    &[node],
                    Some(defined),
                    message,
                );
            }
            Some(at) if self.hosts[at].id != host.id => {
                let (weight, more) = if member.pinned {
                    (Weight::Warning, " and nowhere else")
                } else {
                    (Weight::Note, "")
                };
                let message = format!(
                    "{node} runs on {}; the definition says on {defined}{more}",
                    host.name
                );
                self.add(
                    weight,
                    FindingKind::RunsElsewhere,
                    &[node],
                    Some(&host.name),
                    message,
                );
            }
            Some(_) => {}
        }
    }

    /// Whether pins are what keeps the members of this platform apart.
    fn by_pins(&self) -> bool {
        self.wish.remedy == Remedy::RuleOrPins && matches!(self.seen.rules, Rules::Refused(_))
    }

    fn pin_of(&mut self, member: &Member, found: &Whereabouts) {
        let node = member.node.as_str();
        if self.wish.remedy == Remedy::Moves {
            return;
        }
        if found.pinned_to.is_empty() {
            let why = if member.pinned {
                "the definition says that it is"
            } else if self.by_pins() && self.wish.members.len() > 1 {
                "the platform has no rule to keep members apart (S29)"
            } else {
                return;
            };
            let message = format!("{node} is not pinned to a host; {why}");
            self.add(
                Weight::Warning,
                FindingKind::NotPinned,
                &[node],
                None,
                message,
            );
            return;
        }
        let usable = |host: &Host| {
            let known = self.hosts.iter().find(|known| known.id == host.id);
            known.is_some_and(|known| known.usable)
        };
        let pins = list(&names(&found.pinned_to));
        if self.seen.hosts.is_ok() && !found.pinned_to.iter().any(usable) {
            let message =
                format!("{node} may run on {pins} only, which takes no guests at present");
            self.add(
                Weight::Warning,
                FindingKind::HostUnusable,
                &[node],
                None,
                message,
            );
        }
        let wanted = member.host.as_ref().filter(|_| member.pinned);
        let Some(wanted) = wanted else { return };
        let at = self.wish.find(wanted, &self.hosts);
        let right = at.is_some_and(
            |at| matches!(found.pinned_to.as_slice(), [only] if only.id == self.hosts[at].id),
        );
        if !right {
            let message =
                format!("{node} is pinned to {pins}; the definition says to {wanted} alone");
            self.add(
                Weight::Warning,
                FindingKind::PinnedElsewhere,
                &[node],
                None,
                message,
            );
        }
    }

    fn pinned_together(&mut self) {
        for host in self.hosts.clone() {
            let all = self.seen.members.iter().enumerate();
            let only_there = all.filter(|(_, found)| {
                let found = found.as_ref().ok();
                found.is_some_and(
                    |found| matches!(found.pinned_to.as_slice(), [only] if only.id == host.id),
                )
            });
            let places: Vec<usize> = only_there.map(|(at, _)| at).collect();
            if places.len() > 1 {
                let nodes = self.nodes(&places);
                let members: Vec<&str> = nodes.iter().map(String::as_str).collect();
                let message = format!("{} may run on {} only", list(&nodes), host.name);
                self.add(
                    Weight::Warning,
                    FindingKind::PinnedTogether,
                    &members,
                    Some(&host.name),
                    message,
                );
            }
        }
    }

    fn of_hosts(&mut self) {
        match &self.seen.hosts {
            Err(trouble) => {
                let message = format!("which hosts there are is not known: {}", trouble.detail);
                self.add(Weight::Alarm, FindingKind::HostsUnknown, &[], None, message);
            }
            Ok(hosts) => {
                let usable = hosts.iter().filter(|host| host.usable).count();
                let members = self.wish.members.len();
                if usable < members {
                    let message = format!(
                        "{usable} {} guests, and the cluster has {members} members: not all can have a host of their own",
                        if usable == 1 {
                            "host takes"
                        } else {
                            "hosts take"
                        }
                    );
                    self.add(
                        Weight::Warning,
                        FindingKind::NotEnoughHosts,
                        &[],
                        None,
                        message,
                    );
                }
            }
        }
    }

    /// Whether something keeps all members apart, as strictly as is wanted.
    fn kept_apart(&mut self) -> bool {
        self.of_rules();
        let (wish, seen) = (self.wish, self.seen);
        let found: Vec<(&Member, &Whereabouts)> = wish
            .members
            .iter()
            .zip(&seen.members)
            .filter_map(|(member, found)| Some((member, found.as_ref().ok()?)))
            .collect();
        let (mut loose, mut soft): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for (at, (one, place)) in found.iter().enumerate() {
            for (other, its_place) in &found[at + 1..] {
                let list = match hold(seen, place, its_place) {
                    Hold::Loose => &mut loose,
                    Hold::BestEffort if wish.mandatory => &mut soft,
                    Hold::BestEffort | Hold::Always => continue,
                };
                for node in [one.node.as_str(), other.node.as_str()] {
                    if !list.contains(&node) {
                        list.push(node);
                    }
                }
            }
        }
        if !loose.is_empty() && !matches!(seen.rules, Rules::Unknown(_)) {
            self.loose(&loose, &found);
        }
        if !soft.is_empty() {
            let message = format!(
                "what keeps {} apart holds as far as hosts suffice; the definition says always",
                list(&soft)
            );
            self.add(
                Weight::Warning,
                FindingKind::RuleTooSoft,
                &soft,
                None,
                message,
            );
        }
        loose.is_empty() && soft.is_empty() && found.len() == wish.members.len()
    }

    fn loose(&mut self, nodes: &[&str], found: &[(&Member, &Whereabouts)]) {
        let moves = |node: &&str| {
            let found = found.iter().find(|(member, _)| member.node == **node);
            found.is_some_and(|(_, place)| place.moves_by_itself)
        };
        let moved = nodes.iter().any(moves);
        let (weight, why) = if self.wish.remedy == Remedy::Moves && !moved {
            (
                Weight::Note,
                "libvirt has no rule for it, so whoever starts or moves them has to; \
                 `picket placement watch` tells when they meet",
            )
        } else if moved {
            (
                Weight::Warning,
                "the platform may move them to one host at any time",
            )
        } else {
            (Weight::Warning, "a restart may bring them onto one host")
        };
        let message = format!("nothing keeps {} apart: {why}", list(nodes));
        self.add(weight, FindingKind::NotKeptApart, nodes, None, message);
    }

    fn of_rules(&mut self) {
        match &self.seen.rules {
            Rules::Known(rules) => {
                for rule in rules {
                    let Some(why) = &rule.ineffective else {
                        continue;
                    };
                    let message =
                        format!("the rule {} is there and not in force: {why}", rule.name);
                    self.add(
                        Weight::Warning,
                        FindingKind::RuleNotInForce,
                        &[],
                        None,
                        message,
                    );
                }
            }
            Rules::Refused(_) if self.wish.remedy == Remedy::Moves => {}
            Rules::Refused(detail) => {
                let message = format!("no rules: {detail}");
                self.add(Weight::Note, FindingKind::NoRules, &[], None, message);
            }
            Rules::Unknown(trouble) => {
                let message = format!("which rules there are is not known: {}", trouble.detail);
                self.add(Weight::Alarm, FindingKind::RulesUnknown, &[], None, message);
            }
        }
    }
}
