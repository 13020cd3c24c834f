//! One node's HTTP service.

use std::sync::Mutex;

use ntlm::{ChannelBinding, Names};
use sha2::{Digest as _, Sha256};

use super::commands;
use super::login::Login;
pub use super::login::{Policy, Rights, User};
use super::operations::{Desk, Lists};
use super::soap::Message;
use super::world::{Death, Shared};
use crate::faults::{Faults, What};
use crate::http::{Reply, Request, Response, Service, Session};

/// A node as clients reach it.
pub struct Host {
    name: String,
    domain: String,
    world: Shared,
    policy: Policy,
    bound: Option<ChannelBinding>,
    /// Faults in operations, one table for all nodes.
    operations: Faults,
    lists: Lists,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// The node `name` of a world. `certificate` is its own (DER, signed with SHA-256) where there is TLS.
    #[must_use]
    pub fn new(
        name: &str,
        domain: &str,
        world: Shared,
        policy: Policy,
        certificate: Option<&[u8]>,
        operations: Faults,
    ) -> Self {
        let bound = certificate
            .map(|certificate| ChannelBinding::tls_server_end_point(&Sha256::digest(certificate)));
        Self {
            name: name.to_owned(),
            domain: domain.to_owned(),
            world,
            policy,
            bound,
            operations,
            lists: Mutex::default(),
        }
    }

    fn names(&self) -> Names {
        Names {
            computer: self.name.clone(),
            domain: self.domain.clone(),
            dns_computer: format!("{}.corp.example", self.name.to_lowercase()),
        }
    }

    /// The world, and faults in operations, from outside.
    fn steer(&self, request: &Request) -> Option<Response> {
        let text = |status, text: String| Response::new(status, "text/plain", text);
        Some(match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/-/world") => match commands::run(&mut self.world.now(), &request.text()) {
                Ok(()) => Response::empty(204),
                Err(problem) => text(400, format!("{problem}\n")),
            },
            ("GET", "/-/world") => text(200, commands::show(&self.world.now())),
            (_, path) if path.starts_with("/-/ops") => {
                let mut inner = request.clone();
                inner.path = if path == "/-/ops/log" {
                    "/-/log"
                } else {
                    "/-/faults"
                }
                .to_owned();
                let (status, body) = self.operations.answer(&inner)?;
                text(status, body)
            }
            _ => return None,
        })
    }
}

impl Service for Host {
    fn connect(&self) -> Box<dyn Session + '_> {
        Box::new(Conversation {
            host: self,
            login: Login::new(&self.policy, self.names(), self.bound),
        })
    }
}

struct Conversation<'a> {
    host: &'a Host,
    login: Login<'a>,
}

impl Session for Conversation<'_> {
    fn answer(&mut self, request: &Request) -> Reply {
        if let Some(response) = self.host.steer(request) {
            return response.into();
        }
        let dead = self
            .host
            .world
            .now()
            .node(&self.host.name)
            .and_then(|node| node.dead);
        match dead {
            Some(Death::Hang) => return Reply::Hang,
            Some(Death::Close) => return Reply::Close,
            None => {}
        }
        if request.path != "/wsman" || request.method != "POST" {
            return Response::empty(404).into();
        }
        let admitted = match self.login.admit(request) {
            Ok(admitted) => admitted,
            Err(response) => return response.into(),
        };
        if admitted.message.is_empty() {
            return self.login.seal(&admitted, 200, "", None).into();
        }
        let Some(message) = std::str::from_utf8(&admitted.message)
            .ok()
            .and_then(Message::parse)
        else {
            return Response::empty(400).into();
        };
        let (action, class) = message.operation();
        let operation = format!("{action}:{class}");
        let hit = self.host.operations.hit(request, &operation);
        let (what, after) = hit.map_or((None, false), |(what, after)| (Some(what), after));
        let fault = match &what {
            Some(What::Is(name)) => Some(name.as_str()),
            _ => None,
        };
        if fault == Some("401") {
            self.login.forget();
            return self.login.unauthorized().into();
        }
        if let (Some(what), false) = (&what, after)
            && let Some(reply) = instead(what)
        {
            return reply;
        }
        let desk = Desk {
            world: &self.host.world,
            node: &self.host.name,
            lists: &self.host.lists,
            rights: admitted.rights,
            fault,
            after,
        };
        let (status, xml) = desk.answer(&message);
        let response = self.login.seal(&admitted, status, &xml, fault);
        match what {
            Some(What::Delay(time)) => response.delay(time).into(),
            Some(What::Truncate(at)) => Reply::Truncated(response, at),
            Some(What::Trickle(each)) => Reply::Trickling(response, each),
            Some(what) if after => instead(&what).unwrap_or_else(|| response.into()),
            _ => response.into(),
        }
    }
}

/// What goes out in the place of an answer.
fn instead(what: &What) -> Option<Reply> {
    Some(match what {
        What::Status(status) => Response::empty(*status).into(),
        What::Body(text) => Response::new(200, "text/html", text.clone()).into(),
        What::Raw(text) => Reply::Raw(text.clone().into_bytes()),
        What::Hang => Reply::Hang,
        What::Close => Reply::Close,
        What::Reset => Reply::Reset,
        What::Truncate(_) | What::Trickle(_) | What::Delay(_) | What::Is(_) => return None,
    })
}
