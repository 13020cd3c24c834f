//! What tests change and read while the server runs.
//!
//! | request | does |
//! |---|---|
//! | `GET /-/engine` | one line for each guest, then `sessions open=… opened=… closed=…` |
//! | `PUT /-/engine/NAME` | changes the guest: lines `word=value`, the words of `--guest` |
//! | `DELETE /-/engine/NAME` | removes it |
//! | `PUT /-/engine/-host/NAME` | the body is the host's new state |
//! | `POST /-/engine/-expire` | forgets all sessions |

use super::State;
use super::settings::change_guest;
use crate::http::{Request, Response};

/// Answers one.
pub(super) fn answer(state: &mut State, request: &Request) -> Response {
    let name = request
        .path
        .trim_start_matches("/-/engine")
        .trim_start_matches('/');
    let body = request.text();
    match (request.method.as_str(), name) {
        ("GET", "") => Response::new(200, "text/plain", shown(state)),
        ("POST", "-expire") => {
            state.sessions.expire();
            Response::empty(204)
        }
        ("PUT", name) if name.starts_with("-host/") => {
            let name = &name["-host/".len()..];
            match state.world.hosts.iter_mut().find(|host| host.name == name) {
                Some(host) => {
                    body.trim().clone_into(&mut host.status);
                    Response::empty(204)
                }
                None => Response::empty(404),
            }
        }
        ("DELETE", name) => {
            state.world.guests.retain(|guest| guest.name != name);
            Response::empty(204)
        }
        ("PUT", name) => change(state, name, &body),
        _ => Response::empty(404),
    }
}

fn change(state: &mut State, name: &str, words: &str) -> Response {
    let world = &mut state.world;
    let Some(at) = world.guests.iter().position(|guest| guest.name == name) else {
        return Response::empty(404);
    };
    let mut guest = world.guests[at].clone();
    for line in words.lines() {
        let changed = line
            .split_once('=')
            .ok_or_else(|| format!("`{line}` has no value"));
        if let Err(why) =
            changed.and_then(|(word, value)| change_guest(world, &mut guest, word, value))
        {
            return Response::new(400, "text/plain", why);
        }
    }
    world.guests[at] = guest;
    Response::empty(204)
}

fn shown(state: &State) -> String {
    let guest = |guest: &super::world::Guest| {
        let host = guest
            .host
            .as_deref()
            .and_then(|id| state.world.host(id))
            .map_or("-", |host| &host.name);
        let status = guest.status.as_deref().unwrap_or("none");
        format!(
            "name={} id={} state={status} host={host} stops={} starts={} affinity={} reason={}\n",
            crate::text::encoded(&guest.name),
            guest.id,
            guest.stops,
            guest.starts,
            guest.placement.affinity,
            crate::text::encoded(&guest.reason)
        )
    };
    let sessions = &state.sessions;
    let (open, opened, closed) = (sessions.open(), sessions.opened, sessions.closed);
    let lines: String = state.world.guests.iter().map(guest).collect();
    format!("{lines}sessions open={open} opened={opened} closed={closed}\n")
}
