//! `hypervisor::rhevm` against an oVirt engine of the tests, which its own SDK and the packaged agent were used on.

mod access;
mod faults;
mod placement;
mod power;
mod privileges;

use std::sync::Arc;
use std::time::Duration;

use hypervisor::rhevm::{Rhevm, Settings, Version};
use hypervisor::{Deadline, ErrorKind, GuestRef, Hypervisor as _};
use test_servers::faults::{Entry, Faults};
use test_servers::http::Server;
use test_servers::ovirt::{Engine, settings};
use zeroize::Zeroizing;

/// A running engine.
struct World {
    engine: Arc<Engine>,
    server: Server,
}

impl World {
    /// One as the words of the command line say.
    fn new(words: &str) -> Self {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let mut settings = settings::Settings::parse(&words).expect("right words");
        if !words.iter().any(|word| word == "--transition") {
            settings.transition = Duration::from_millis(60);
        }
        let engine = Arc::new(Engine::new(settings));
        let server = Server::start("127.0.0.1:0", None, Faults::default(), engine.clone());
        Self {
            engine,
            server: server.expect("a free port"),
        }
    }

    fn settings(&self, user: &str) -> Settings {
        let address = self.server.address();
        let endpoint = https::Endpoint {
            scheme: https::Scheme::Http,
            host: address.ip().to_string(),
            port: address.port(),
            trust: https::Trust::System,
        };
        let mut settings = Settings::new(endpoint, user, Zeroizing::new("secret".to_owned()));
        settings.poll = Duration::from_millis(20);
        settings
    }

    fn as_user(&self, user: &str) -> Rhevm {
        Rhevm::new(self.settings(user))
    }

    fn admin(&self) -> Rhevm {
        self.as_user("admin@internal")
    }

    fn faults(&self, lines: &str) {
        self.server.faults().set(lines).expect("right faults");
    }

    fn log(&self) -> Vec<Entry> {
        self.server.faults().log()
    }

    /// Requests whose target has this in it.
    fn asked(&self, part: &str) -> usize {
        self.log()
            .iter()
            .filter(|entry| entry.target.contains(part))
            .count()
    }

    fn guest(&self, name: &str) -> test_servers::ovirt::world::Guest {
        let state = self.engine.state();
        state
            .world
            .guests
            .iter()
            .find(|guest| guest.name == name)
            .expect("a guest of the test")
            .clone()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut test_servers::ovirt::world::Guest)) {
        let mut state = self.engine.state();
        change(
            state
                .world
                .guests
                .iter_mut()
                .find(|guest| guest.name == name)
                .expect("a guest of the test"),
        );
    }

    fn state(&self, name: &str, word: &str) {
        self.change(name, |guest| {
            let host = guest.host.clone();
            guest.become_now(word, host);
        });
    }

    /// Sessions open, opened and closed.
    fn sessions(&self) -> (usize, u64, u64) {
        let state = self.engine.state();
        (
            state.sessions.open(),
            state.sessions.opened,
            state.sessions.closed,
        )
    }
}

/// Longer than anything takes that is not waited for, on a busy machine too.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// Long enough to get to what is waited for, and then to wait in vain.
fn in_vain() -> Deadline {
    Deadline::after(Duration::from_secs(3))
}

fn named(name: &str) -> GuestRef {
    GuestRef::parse(name)
}

/// The error must be of this kind and its message must have these words.
#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T, hypervisor::Error>, kind: ErrorKind, words: &str) {
    let error = result.expect_err("this must fail");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        error.to_string().contains(words),
        "`{words}` is not in: {error}"
    );
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// Engines of all ages, and which version of the interface is spoken with each.
const AGES: [(&str, Version); 9] = [
    ("2.2", Version::Auto),
    ("3.0", Version::Auto),
    ("3.4", Version::Auto),
    ("3.6", Version::Auto),
    ("4.0", Version::Auto),
    ("4.0", Version::V3),
    ("4.1", Version::Auto),
    ("4.3", Version::V4),
    ("4.5", Version::Auto),
];

#[test]
fn every_age_of_engine_is_understood() {
    for (engine, version) in AGES {
        let world = World::new(&format!("--engine {engine}"));
        let rhevm = Rhevm::new(Settings {
            version,
            ..world.settings("admin@internal")
        });
        let names: Vec<String> = rhevm
            .list(soon())
            .expect("a list")
            .into_iter()
            .map(|seen| seen.guest.name)
            .collect();
        assert_eq!(names, ["node1", "node2", "node3"], "{engine}");
        let off = rhevm
            .power_off(&named("node2"), soon())
            .unwrap_or_else(|error| panic!("{engine}: {error}"));
        assert!(off.was_active && off.evidence.observation.power() == hypervisor::Power::Off);
        rhevm
            .power_on(&named("node2"), None, soon())
            .unwrap_or_else(|error| panic!("{engine}: {error}"));
        let guest = world.guest("node2");
        assert_eq!((guest.stops, guest.starts), (1, 1), "{engine}");
        drop(rhevm);
        let (open, opened, closed) = world.sessions();
        assert_eq!(open, 0, "{engine}: a session was left");
        // Before 3.1 there are none: each request is a login.
        assert!(
            engine < "3.1" || (opened, closed) == (1, 1),
            "{engine}: {opened} {closed}"
        );
    }
}
