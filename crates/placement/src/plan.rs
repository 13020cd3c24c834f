//! What would bring the members onto different hosts and keep them there.
//!
//! Members that run get the hosts they are on as far as possible, one each; the others the cheapest that is left. What the
//! definition pins is not given away. A member that cannot be found is neither moved nor pinned, and the host on which it
//! should be is left to it.
//!
//! The order: each move, once its host is free of other members, and the member's pin with it: before it if the present pin
//! forbids the move, after it otherwise. Then the rule: platforms take one that is broken at that moment, and do not keep it.

use hypervisor::GuestRef;
use hypervisor::placement::{Host, Whereabouts};
use serde::Serialize;

use crate::assign::{Cost, assign};
use crate::report::{Hold, hold, list};
use crate::seen::{Rules, Seen};
use crate::wish::{Member, Remedy, Wish};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Makes a rule keep these members, and nobody else, apart.
    KeepApart {
        /// The rule's name.
        rule: String,
        /// The guests.
        #[serde(skip)]
        guests: Vec<GuestRef>,
        /// Whether it holds even if a member then cannot run.
        mandatory: bool,
    },
    /// Lets a member run on this host only.
    Pin {
        /// The guest.
        #[serde(skip)]
        guest: GuestRef,
        /// The host.
        host: String,
        /// What the platform's interface calls it.
        host_id: String,
    },
    /// Moves a member while it runs.
    Move {
        /// The guest.
        #[serde(skip)]
        guest: GuestRef,
        /// Where it runs.
        from: String,
        /// Where it is to run.
        to: String,
        /// What the platform's interface calls that host.
        to_id: String,
        /// The other members. None of them may be there by then.
        #[serde(skip)]
        others: Vec<GuestRef>,
    },
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// The nodes concerned.
    pub members: Vec<String>,
    /// In words.
    pub text: String,
    /// Why it is not carried out but left to people; none: it may be.
    pub held: Option<String>,
}

/// What no step can remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The nodes concerned.
    pub members: Vec<String>,
    /// What it is, and what can be done about it.
    pub message: String,
}

/// What would be changed, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What stays wrong nevertheless.
    pub obstacles: Vec<Obstacle>,
}

impl Plan {
    /// Whether there is nothing to do and nothing in the way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.obstacles.is_empty()
    }
}

/// Of the cost of an assignment: moving one member weighs more than all pins together, and a pin more than all wishes.
const MOVE: u32 = 10_000;
const REPIN: u32 = 100;
const ELSEWHERE: u32 = 1;

/// What to do about `seen`.
#[must_use]
pub fn plan(wish: &Wish, seen: &Seen) -> Plan {
    let mut planner = Planner {
        wish,
        seen,
        hosts: seen.all_hosts(),
        plan: Plan::default(),
    };
    planner.unknown();
    if seen.hosts.is_err() || wish.members.len() < 2 && !wish.members.iter().any(|m| m.pinned) {
        return planner.plan;
    }
    let given = planner.assign();
    planner.moves(&given);
    planner.rule(&given);
    planner.plan
}

/// A member with what is known of it and the host it gets.
struct Given<'a> {
    at: usize,
    member: &'a Member,
    found: &'a Whereabouts,
    host: Host,
}

impl Given<'_> {
    /// Whether it runs on another host.
    fn is_elsewhere(&self) -> bool {
        let on = self.found.host.as_ref();
        on.is_some_and(|on| on.id != self.host.id)
    }

    fn is_pinned_right(&self) -> bool {
        matches!(self.found.pinned_to.as_slice(), [only] if only.id == self.host.id)
    }

    /// Whether its present pin forbids the host.
    fn is_barred(&self) -> bool {
        let pins = &self.found.pinned_to;
        !pins.is_empty() && !pins.iter().any(|pin| pin.id == self.host.id)
    }
}

/// Once a guest is found it is named by its UUID: a name may be a path, or change.
fn by_uuid(found: &Whereabouts) -> GuestRef {
    GuestRef::Uuid(found.guest.uuid)
}

struct Planner<'a> {
    wish: &'a Wish,
    seen: &'a Seen,
    hosts: Vec<Host>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn obstacle(&mut self, members: Vec<String>, message: String) {
        self.plan.obstacles.push(Obstacle { members, message });
    }

    /// Says what is not known, and so not acted on.
    fn unknown(&mut self) {
        if let Err(trouble) = &self.seen.hosts {
            let message = format!(
                "which hosts there are is not known, so nothing is planned: {}",
                trouble.detail
            );
            self.obstacle(Vec::new(), message);
        }
        for (member, found) in self.wish.members.iter().zip(&self.seen.members) {
            if let Err(trouble) = found {
                let message = format!(
                    "{} is left alone, because it cannot be found: {}",
                    member.node, trouble.detail
                );
                self.obstacle(vec![member.node.clone()], message);
            }
        }
    }

    /// Whether pins keep the members of this platform apart.
    fn by_pins(&self) -> bool {
        self.wish.remedy == Remedy::RuleOrPins && matches!(self.seen.rules, Rules::Refused(_))
    }

    /// Whether this member has to be pinned.
    fn must_pin(&self, member: &Member) -> bool {
        let defined = member.pinned && member.host.is_some();
        self.wish.remedy != Remedy::Moves && (defined || self.by_pins())
    }

    /// What each host would cost a member.
    fn costs(&self, member: &Member, found: Option<&Whereabouts>) -> Vec<Cost> {
        let defined = member
            .host
            .as_ref()
            .and_then(|name| self.wish.find(name, &self.hosts));
        let cost = |(at, host): (usize, &Host)| {
            let stays = found.is_some_and(|found| {
                let on = found.host.as_ref();
                on.is_some_and(|on| on.id == host.id)
            });
            if (member.pinned && member.host.is_some() && defined != Some(at))
                || !(host.usable || stays)
            {
                return None;
            }
            let mut cost = 0;
            if defined.is_some_and(|defined| defined != at) {
                cost += ELSEWHERE;
            }
            let Some(found) = found else {
                return Some(cost);
            };
            let pins = &found.pinned_to;
            if !pins.is_empty() && !pins.iter().any(|pin| pin.id == host.id) {
                // Somebody's pin is only changed where pins are the remedy.
                if !self.must_pin(member) {
                    return None;
                }
                cost += REPIN;
            }
            if found.host.is_some() && !stays {
                cost += MOVE;
            }
            Some(cost)
        };
        self.hosts.iter().enumerate().map(cost).collect()
    }

    /// Gives each member that was found a host of its own, as far as there are.
    fn assign(&mut self) -> Vec<Given<'a>> {
        let (wish, seen) = (self.wish, self.seen);
        // Who runs comes first, and who may be running somewhere after them.
        let rank = |at: &usize| match &seen.members[*at] {
            Ok(found) if found.host.is_some() => 0,
            Err(_) => 1,
            Ok(_) => 2,
        };
        let mut order: Vec<usize> = (0..wish.members.len()).collect();
        order.sort_by_key(rank);
        let costs: Vec<Vec<Cost>> = order
            .iter()
            .map(|at| self.costs(&wish.members[*at], seen.members[*at].as_ref().ok()))
            .collect();
        let mut given = Vec::new();
        for (at, host) in order.into_iter().zip(assign(&costs)) {
            let member = &wish.members[at];
            let Ok(found) = &seen.members[at] else {
                continue;
            };
            match host {
                Some(host) => given.push(Given {
                    at,
                    member,
                    found,
                    host: self.hosts[host].clone(),
                }),
                None => self.no_host(member, found),
            }
        }
        given.sort_by_key(|given| given.at);
        given
    }

    fn no_host(&mut self, member: &Member, found: &Whereabouts) {
        let node = &member.node;
        let defined = member.host.as_ref().filter(|_| member.pinned);
        let message = match defined {
            Some(host) => format!(
                "{node} may run on {host} only, which the platform does not have, or takes no guests, or is another member's"
            ),
            None if !found.pinned_to.is_empty() => {
                let pins: Vec<&str> = found
                    .pinned_to
                    .iter()
                    .map(|host| host.name.as_str())
                    .collect();
                format!(
                    "{node} may run on {} only, and no such host is left for it: change the pins, or add hosts",
                    list(&pins)
                )
            }
            None => format!("no usable host is left for {node}: add hosts, or bring some back"),
        };
        self.obstacle(vec![node.clone()], message);
    }

    /// The rule that keeps all members apart, where the platform has rules and pins do not do it.
    fn rule(&mut self, given: &[Given<'_>]) {
        let wish = self.wish;
        if wish.remedy == Remedy::Moves || self.by_pins() || wish.members.len() < 2 {
            return;
        }
        let rules = match &self.seen.rules {
            Rules::Known(rules) => rules,
            Rules::Refused(detail) => {
                let message = format!("no rule can keep the members apart: {detail}");
                self.obstacle(Vec::new(), message);
                return;
            }
            Rules::Unknown(trouble) => {
                let message = format!(
                    "which rules there are is not known, so none is planned: {}",
                    trouble.detail
                );
                self.obstacle(Vec::new(), message);
                return;
            }
        };
        let wanted = if wish.mandatory {
            Hold::Always
        } else {
            Hold::BestEffort
        };
        let found: Vec<&Whereabouts> = self.seen.members.iter().flatten().collect();
        if found.len() < wish.members.len() {
            // Said already: somebody cannot be found, and a rule without that member is not what is wanted.
            return;
        }
        let pinned = self.once_pinned(given);
        let held = pinned.iter().enumerate().all(|(at, one)| {
            let mut others = pinned[at + 1..].iter();
            others.all(|other| hold(self.seen, one, other) >= wanted)
        });
        if held {
            return;
        }
        let name = wish.rule_name();
        let covers = |rule: &&hypervisor::placement::Apart| {
            rule.mandatory == wish.mandatory
                && found.len() == rule.guests.len()
                && found.iter().all(|found| {
                    rule.guests
                        .iter()
                        .any(|guest| guest.uuid == found.guest.uuid)
                })
        };
        let own = rules.iter().filter(|rule| rule.name == name).find(covers);
        if let Some(rule) = own {
            if let Some(why) = &rule.ineffective {
                let message = format!("the rule {name} is as it should be and not in force: {why}");
                self.obstacle(Vec::new(), message);
            }
            return;
        }
        let members: Vec<String> = wish.members.iter().map(|m| m.node.clone()).collect();
        let how = if wish.mandatory {
            "always"
        } else {
            "as far as hosts suffice"
        };
        self.plan.steps.push(Step {
            text: format!("keep {} apart, {how}: rule {name}", list(&members)),
            action: Action::KeepApart {
                rule: name,
                guests: found.iter().map(|found| by_uuid(found)).collect(),
                mandatory: wish.mandatory,
            },
            members,
            held: None,
        });
    }

    /// The members that were found, pinned as they will be.
    fn once_pinned(&self, given: &[Given<'_>]) -> Vec<Whereabouts> {
        let members = self.seen.members.iter().enumerate();
        members
            .filter_map(|(at, found)| {
                let mut found = found.as_ref().ok()?.clone();
                let own = given.iter().find(|given| given.at == at);
                if let Some(own) = own.filter(|own| self.must_pin(own.member)) {
                    found.pinned_to = vec![own.host.clone()];
                }
                Some(found)
            })
            .collect()
    }

    /// Moves and pins.
    fn moves(&mut self, given: &[Given<'_>]) {
        for given in given.iter().filter(|given| !given.is_elsewhere()) {
            self.pin(given);
        }
        // Who is where while the steps are carried out; those who got no host stay where they are.
        let mut on: Vec<Option<String>> = self
            .seen
            .members
            .iter()
            .map(|found| Some(found.as_ref().ok()?.host.as_ref()?.id.clone()))
            .collect();
        let mut left: Vec<&Given<'_>> = given.iter().filter(|given| given.is_elsewhere()).collect();
        loop {
            let free = |given: &&Given<'_>| {
                let mut others = on.iter().enumerate().filter(|(at, _)| *at != given.at);
                !others.any(|(_, host)| host.as_ref() == Some(&given.host.id))
            };
            let Some(next) = left.iter().position(free) else {
                break;
            };
            let given = left.remove(next);
            on[given.at] = Some(given.host.id.clone());
            if given.is_barred() {
                self.pin(given);
                self.shift(given);
            } else {
                self.shift(given);
                self.pin(given);
            }
        }
        if !left.is_empty() {
            let members: Vec<String> = left.iter().map(|given| given.member.node.clone()).collect();
            let message = format!(
                "{} would have to swap hosts: move one of them out of the way by hand first",
                list(&members)
            );
            self.obstacle(members, message);
        }
    }

    fn shift(&mut self, given: &Given<'_>) {
        let Some(from) = &given.found.host else {
            return;
        };
        let node = given.member.node.clone();
        let held = (!self.wish.may_move).then(|| {
            "the definition says `live_migration = false`: stop the cluster on the node, migrate it, start it again"
                .to_owned()
        });
        self.plan.steps.push(Step {
            text: format!("move {node} from {} to {}", from.name, given.host.name),
            action: Action::Move {
                guest: by_uuid(given.found),
                from: from.name.clone(),
                to: given.host.name.clone(),
                to_id: given.host.id.clone(),
                others: self.others(given.at),
            },
            members: vec![node],
            held,
        });
    }

    /// All members but this one, as they were found.
    fn others(&self, at: usize) -> Vec<GuestRef> {
        let all = self.wish.members.iter().zip(&self.seen.members).enumerate();
        all.filter(|(other, _)| *other != at)
            .map(|(_, (member, found))| match found {
                Ok(found) => by_uuid(found),
                Err(_) => member.guest.clone(),
            })
            .collect()
    }

    fn pin(&mut self, given: &Given<'_>) {
        if !self.must_pin(given.member) || given.is_pinned_right() {
            return;
        }
        let node = given.member.node.clone();
        self.plan.steps.push(Step {
            text: format!("pin {node} to {}", given.host.name),
            action: Action::Pin {
                guest: by_uuid(given.found),
                host: given.host.name.clone(),
                host_id: given.host.id.clone(),
            },
            members: vec![node],
            held: None,
        });
    }
}
