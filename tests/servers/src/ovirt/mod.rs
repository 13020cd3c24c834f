//! An oVirt engine, as far as its XML interface tells: versions 3 and 4, from RHEV-M 3.0 to oVirt 4.5.
//!
//! Checked against clients that were not written here: oVirt's Python SDK and the packaged `fence_rhevm` (`tests/tests/rhevm`).
//!
//! | module | is |
//! |---|---|
//! | [`access`] | users, tokens, cookies, sessions and their limit |
//! | [`world`] | guests, hosts, groups, roles, and what becomes of them as time passes |
//! | [`orders`] | start, stop, migrate … and when they are refused |
//! | [`routes`] | which request reads or changes what |
//! | [`render`], [`element`], [`body`], [`search`] | XML out, XML in, the search language |
//! | [`control`] | what tests change and read while it runs: `/-/engine` |
//! | [`settings`] | the command line |
//!
//! Faults of its own (`do=is:NAME`, see [`crate::faults`]): `expire` (all sessions are forgotten), `deleted` (the guest of the
//! request is removed first), `migrates` (it begins to migrate first), `no-status`, `no-name`, `no-id` (these are missing in the
//! answer), `refused` (403), `broken` (500 with a fault), `starting` (503 with a page), `page` (200 with a proxy's page), `login`
//! (a redirection to a login page).

pub mod access;
pub mod body;
pub mod control;
pub mod element;
pub mod orders;
pub mod render;
pub mod routes;
pub mod search;
pub mod settings;
pub mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

use access::Sessions;
use settings::Settings;
use world::World;

use crate::http::{Reply, Request, Response, Service, Session};

/// The server.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    state: Mutex<State>,
}

/// What all connections share.
#[derive(Debug)]
pub struct State {
    /// What is managed.
    pub world: World,
    /// Who is logged in.
    pub sessions: Sessions,
}

impl Engine {
    /// An engine with what `settings` says.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (world, sessions) = settings.build();
        Self {
            settings,
            state: Mutex::new(State { world, sessions }),
        }
    }

    /// What it manages, up to date.
    pub fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.world.settle();
        state
    }

    fn serve(&self, request: &Request) -> Response {
        if request.path.starts_with("/-/engine") {
            return control::answer(&mut self.state(), request);
        }
        if let Some(fault) = request.fault.as_deref()
            && let Some(response) = self.play(fault, request)
        {
            return response;
        }
        let root = self.settings.web_root();
        let mut state = self.state();
        let State { world, sessions } = &mut *state;
        if self.settings.tokens() && request.method == "POST" {
            if request.path == format!("{root}/sso/oauth/token") {
                return sessions.token(request, world);
            }
            if request.path == format!("{root}/services/sso-logout") {
                return sessions.revoke(request);
            }
        }
        match request.path.strip_prefix(&self.settings.api_path) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                routes::answer(&self.settings, &mut state, request, rest)
            }
            _ => error_page(404, "404 - Page not found"),
        }
    }

    /// Plays a fault; the response, if there is nothing left to answer.
    fn play(&self, fault: &str, request: &Request) -> Option<Response> {
        let mut state = self.state();
        let State { world, sessions } = &mut *state;
        let id = request
            .path
            .split("/vms/")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default();
        match fault {
            "expire" => sessions.expire(),
            "deleted" => world.guests.retain(|guest| guest.id != id),
            "migrates" => {
                let _ = orders::carry_out(world, id, "migrate", &body::Action::default());
            }
            "refused" => {
                let detail = "[User is not authorized to perform this action.]";
                return Some(routes::fault(403, "Operation Failed", detail));
            }
            "broken" => {
                return Some(routes::fault(
                    500,
                    "Operation Failed",
                    "[Internal Engine Error]",
                ));
            }
            "starting" => return Some(error_page(503, "503 Service Unavailable")),
            "page" => return Some(page(200, "Welcome to the proxy")),
            "login" => {
                return Some(
                    Response::empty(302)
                        .header("Location", "https://portal.example/login?from=engine"),
                );
            }
            _ => {}
        }
        None
    }
}

impl Service for Engine {
    fn connect(&self) -> Box<dyn Session + '_> {
        Box::new(Connection(self))
    }
}

struct Connection<'a>(&'a Engine);

impl Session for Connection<'_> {
    fn answer(&mut self, request: &Request) -> Reply {
        self.0.serve(request).into()
    }
}

/// A page with this title.
fn page(status: u16, title: &str) -> Response {
    let body = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n</body>\n</html>\n"
    );
    Response::new(status, "text/html;charset=UTF-8", body)
}

/// The page that comes with a refusal before the interface is reached. Its title is what the packaged agent looks for.
fn error_page(status: u16, text: &str) -> Response {
    let body =
        format!("<html>\n<head>\n<title>Error</title>\n</head>\n<body>{text}</body>\n</html>\n");
    Response::new(status, "text/html;charset=UTF-8", body)
}
