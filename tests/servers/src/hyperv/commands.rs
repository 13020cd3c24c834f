//! The world as text.
//!
//! One command a line, words separated by blanks, values percent-encoded where they hold blanks; `#` begins a comment.
//!
//! ```text
//! node NAME                                   a host
//! cluster NAME                                the hosts are a failover cluster of this name
//! guest NAME GUID NODE STATE [GROUP]          a guest (STATE as EnabledState; GROUP makes it a role of the cluster)
//! set GUID PROPERTY VALUE                     a property of its instance; `-` takes it back
//! state GUID STATE                            its state, at once
//! hung GUID yes|no                            whether its worker process ignores orders
//! resource GUID STATE|-                       the state of its resource in the cluster, until the guest has another
//! delete GUID
//! move GUID NODE MS                           a live migration that takes so long
//! kill NODE hang|close [NODE MS]              the node dies; its roles are started on that node after so long
//! revive NODE
//! nodestate NODE STATE                        its state in the cluster
//! behave NAME VALUE                           v1, v2, optimize, jobs, lazy, enforced (yes or no); start, stop (ms); page;
//!                                             notice, restart (ms): of the cluster, see `Behaviour`
//! ```
//!
//! `GET /-/world` shows one line for each guest: `GUID NAME NODE STATE starts=N stops=N apart=… owners=…`.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::world::{Change, Death, Guest, Node, Outcome, Role, World};
use crate::text::{decoded, encoded};

/// Carries out all lines, or none after the first that cannot be.
///
/// # Errors
/// The first line that cannot be carried out.
pub fn run(world: &mut World, lines: &str) -> Result<(), String> {
    for line in lines.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            one(world, line).ok_or_else(|| format!("cannot carry out `{line}`"))?;
        }
    }
    Ok(())
}

fn one(world: &mut World, line: &str) -> Option<()> {
    let words: Vec<String> = line
        .split_whitespace()
        .map(|word| decoded(word, false))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["node", name] => world.nodes.push(Node {
            name: (*name).to_owned(),
            dead: None,
            state: 0,
        }),
        ["cluster", name] => world.behaviour.cluster = Some((*name).to_owned()),
        ["guest", name, guid, node, state, rest @ ..] => {
            let node = world.node(node)?.name.clone();
            let group = rest.first().map(|group| (*group).to_owned());
            let owners: Vec<String> = world.nodes.iter().map(|node| node.name.clone()).collect();
            let state = state.parse().ok()?;
            let process = World::has_process(state)
                .then(|| 1000 + 4 * u32::try_from(world.guests.len()).unwrap_or(0));
            world.guests.push(Guest {
                name: (*name).to_owned(),
                guid: guid_of(guid)?,
                node,
                state,
                extra: std::collections::HashMap::new(),
                process,
                hung: false,
                role: group.map(|group| Role {
                    group,
                    owners,
                    ..Role::default()
                }),
                change: None,
                starts: 0,
                stops: 0,
            });
        }
        ["set", guid, property, value] => {
            let extra = &mut world.guest(guid_of(guid)?)?.extra;
            if *value == "-" {
                extra.remove(*property);
            } else {
                extra.insert((*property).to_owned(), (*value).to_owned());
            }
        }
        ["state", guid, state] => {
            let state = state.parse().ok()?;
            let guest = world.guest(guid_of(guid)?)?;
            guest.change = Some(Change {
                at: Instant::now(),
                to: Outcome::State(state),
            });
        }
        ["hung", guid, yes] => world.guest(guid_of(guid)?)?.hung = *yes == "yes",
        ["resource", guid, state] => {
            world.guest(guid_of(guid)?)?.role.as_mut()?.state = state.parse().ok();
        }
        ["delete", guid] => {
            let guid = guid_of(guid)?;
            world.guests.retain(|guest| guest.guid != guid);
        }
        ["move", guid, node, ms] => {
            let node = world.node(node)?.name.clone();
            let at = Instant::now() + time(ms)?;
            world.guest(guid_of(guid)?)?.change = Some(Change {
                at,
                to: Outcome::Node(node),
            });
        }
        ["kill", node, how, rest @ ..] => {
            let death = if *how == "hang" {
                Death::Hang
            } else {
                Death::Close
            };
            let failover = match rest {
                [to, ms] => Some((world.node(to)?.name.clone(), time(ms)?)),
                _ => None,
            };
            world.kill(node, death, failover);
        }
        ["revive", name] => {
            let node = world
                .nodes
                .iter_mut()
                .find(|node| node.name.eq_ignore_ascii_case(name))?;
            (node.dead, node.state) = (None, 0);
        }
        ["nodestate", name, state] => {
            let node = world
                .nodes
                .iter_mut()
                .find(|node| node.name.eq_ignore_ascii_case(name))?;
            node.state = state.parse().ok()?;
        }
        ["behave", name, value] => behave(world, name, value)?,
        _ => return None,
    }
    Some(())
}

fn behave(world: &mut World, name: &str, value: &str) -> Option<()> {
    let behaviour = &mut world.behaviour;
    let yes = value == "yes";
    match name {
        "v1" => behaviour.v1 = yes,
        "v2" => behaviour.v2 = yes,
        "optimize" => behaviour.optimize = yes,
        "jobs" => behaviour.jobs = yes,
        "lazy" => behaviour.lazy = yes,
        "enforced" => behaviour.enforced = yes,
        "start" => behaviour.start = time(value)?,
        "stop" => behaviour.stop = time(value)?,
        "notice" => behaviour.notice = time(value)?,
        "restart" => behaviour.restart = time(value)?,
        "page" => behaviour.page = value.parse().ok()?,
        _ => return None,
    }
    Some(())
}

fn time(ms: &str) -> Option<Duration> {
    ms.parse().ok().map(Duration::from_millis)
}

fn guid_of(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// One line for each guest.
#[must_use]
pub fn show(world: &World) -> String {
    let line = |guest: &Guest| {
        let role = guest.role.clone().unwrap_or_default();
        format!(
            "{} {} {} {} starts={} stops={} apart={} owners={}\n",
            guest.guid.hyphenated().to_string().to_uppercase(),
            encoded(&guest.name),
            guest.node,
            guest.state,
            guest.starts,
            guest.stops,
            encoded(&role.apart.join(",")),
            role.owners.join(","),
        )
    };
    world.guests.iter().map(line).collect()
}
