//! `fence_rhevm`: guests of RHEV-M and oVirt engines.

mod table;

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadline::Deadline;
use fence_agent::Options;
use https::Interrupt;
use hypervisor::rhevm::{Rhevm, Settings, Version, usual_file};
use hypervisor::{
    Error, Event, Evidence, GuestRef, Hypervisor, Managed, Observation, PoweredOff, Revival,
};

use crate::managed::{Access, Login, Platform, Ports, Through};
pub use table::{FENCE_RHEV, FENCE_RHEVM};

/// The behaviour of both names.
pub const BEHAVIOUR: Through<Engines> = Through::BEHAVIOUR;

/// RHEV-M and oVirt engines.
#[derive(Debug)]
pub struct Engines;

/// What only this agent has.
#[derive(Debug)]
pub struct Config {
    api_path: String,
    version: Version,
    filter: bool,
    poll: Duration,
    keep: Keep,
}

/// What becomes of the session at the end.
#[derive(Debug)]
enum Keep {
    /// It is ended.
    Not,
    /// It is kept in this file; none: the usual one.
    In(Option<PathBuf>),
}

impl Platform for Engines {
    type Config = Config;

    const PORTS: Ports = Ports {
        plain: 80,
        tls: 443,
    };

    fn check(options: &Options, _: &Access) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let mut checked =
            |result: Result<_, String>| result.map_err(|problem| problems.push(problem)).ok();
        let version = checked(version(options.text("api_version").unwrap_or("auto")));
        let path = options.text("api_path").unwrap_or(Settings::API_PATH);
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/-._~%".contains(c);
        if !path.chars().all(is_path) {
            problems.push(format!(
                "api_path `{}` is no path: /ovirt-engine/api is the usual one, /api that of RHEV-M 3.0 and older",
                path.escape_debug()
            ));
        }
        let file = options.text("cookie_file").filter(|file| !file.is_empty());
        if file.is_some_and(|file| !file.starts_with('/')) {
            problems.push("cookie_file must begin with a slash".to_owned());
        }
        match version {
            Some(version) if problems.is_empty() => Ok(Config {
                api_path: path.to_owned(),
                version,
                filter: !options.flag("disable_http_filter"),
                poll: options
                    .seconds("stonith_status_sleep")
                    .filter(|pause| !pause.is_zero())
                    .unwrap_or(Duration::from_secs(1)),
                keep: match options.flag("use_cookies") {
                    true => Keep::In(file.map(PathBuf::from)),
                    false => Keep::Not,
                },
            }),
            _ => Err(problems),
        }
    }

    fn connect(
        config: Config,
        login: Login,
        interrupt: Interrupt,
    ) -> Result<Box<dyn Managed>, Error> {
        let mut settings = Settings::new(login.endpoint, &login.username, login.password);
        settings.api_path = config.api_path;
        settings.version = config.version;
        settings.filter = config.filter;
        settings.poll = config.poll;
        settings.request_limit = login.request_limit;
        settings.interrupt = Some(interrupt);
        settings.session_file = match config.keep {
            Keep::Not => None,
            Keep::In(Some(file)) => Some(file),
            Keep::In(None) => Some(usual_file(&settings.url(), &settings.username)),
        };
        Ok(Box::new(Lenient {
            engine: Rhevm::new(settings),
            untold: Mutex::default(),
        }))
    }
}

/// `auto`, `3`, `4`, or a version with dots whose first number counts.
fn version(text: &str) -> Result<Version, String> {
    match text.split('.').next().unwrap_or_default().trim() {
        "auto" | "" => Ok(Version::Auto),
        "3" | "2" => Ok(Version::V3),
        "4" => Ok(Version::V4),
        _ => Err(format!(
            "api_version `{}` is none of auto, 3 and 4",
            text.escape_debug()
        )),
    }
}

/// An engine whose `monitor` does not fail because the engine does not show who may do what: it says so instead. What the engine
/// shows to be forbidden fails as ever.
struct Lenient {
    engine: Rhevm,
    untold: Mutex<Vec<String>>,
}

impl Hypervisor for Lenient {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        self.engine.list(deadline)
    }

    fn observe(&self, guest: &GuestRef, deadline: Deadline) -> Result<Observation, Error> {
        self.engine.observe(guest, deadline)
    }

    fn power_off(&self, guest: &GuestRef, deadline: Deadline) -> Result<PoweredOff, Error> {
        self.engine.power_off(guest, deadline)
    }

    fn power_on(
        &self,
        guest: &GuestRef,
        revival: Option<&Revival>,
        deadline: Deadline,
    ) -> Result<Evidence, Error> {
        self.engine.power_on(guest, revival, deadline)
    }

    fn health(&self, deadline: Deadline) -> Result<(), Error> {
        self.engine.health(deadline)
    }

    fn watch(&self) -> Receiver<Event> {
        self.engine.watch()
    }
}

impl Managed for Lenient {
    fn may_switch(&self, guest: Option<&GuestRef>, deadline: Deadline) -> Result<(), Error> {
        match self.engine.may_switch(guest, deadline) {
            Err(Error::NotConfirmed { saw, .. }) => {
                let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
                untold.push(saw);
                Ok(())
            }
            other => other,
        }
    }

    fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        self.engine.log_out(deadline)
    }

    fn remarks(&self) -> Vec<String> {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::mem::take(&mut *untold);
        all.extend(self.engine.remarks());
        all
    }
}

#[cfg(test)]
mod tests;
