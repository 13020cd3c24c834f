//! What `fence_rhevm`, `fence_vmware` and `fence_hyperv` share: each is a table and a [`Platform`].
//!
//! ```text
//! options ─ access ─▶ Access (server, whom to trust, as whom)  ─┐
//!         ─ Platform::check ─▶ the platform's own               ├─▶ Platform::connect ─▶ dyn Managed
//!         ─ password ─▶ given, or printed by a script           ─┘          │
//! engine (order of operations) ─▶ device ─▶ observe, power_off, power_on ───┤
//!                                                        log_out, always ◀──┘
//! ```
//!
//! Nothing here knows what a platform's interface looks like. Every wait ends at the run's deadline and at SIGTERM; the end of
//! the session has a little time of its own after either.

mod access;
mod device;
mod password;
mod table;

use std::marker::PhantomData;
use std::time::Duration;

use deadline::Deadline;
use fence_agent::engine::{self, Settings};
use fence_agent::{
    Behaviour, Exit, Failure, FailureKind, Options, RUN_LIMIT, Session, Stop, Surroundings,
};
use https::Interrupt;
use hypervisor::{Error, GuestRef, Managed};

pub use access::{Access, Login, Ports};
pub use device::Guests;
pub use table::{NOTE_LIMITS, NOTE_TLS, SSL_CA, options};

/// What is kept of the run's time for ending the session and reporting.
const REPORTING: Duration = Duration::from_secs(2);

/// One management platform.
pub trait Platform {
    /// Its own options, checked.
    type Config;

    /// Where its interface listens unless told otherwise.
    const PORTS: Ports;

    /// Whether TLS is used unless `ssl` is written and false.
    const ENCRYPTED: bool = false;

    /// Checks its own options. Nobody is contacted.
    ///
    /// # Errors
    /// Every problem.
    fn check(options: &Options, access: &Access) -> Result<Self::Config, Vec<String>>;

    /// What the log is to warn of, from what the options alone give reason to.
    fn doubts(config: &Self::Config, access: &Access) -> Vec<String> {
        let _ = config;
        access.doubts.clone()
    }

    /// Who can be asked, by that login. Nobody need be contacted yet.
    ///
    /// # Errors
    /// When it is certain already that nobody can.
    fn connect(
        config: Self::Config,
        login: Login,
        interrupt: Interrupt,
    ) -> Result<Box<dyn Managed>, Error>;

    /// Whom a plug means, where the platform has more ways of naming a guest than name and UUID.
    ///
    /// # Errors
    /// Why it can mean nobody.
    fn guest(config: &Self::Config, plug: &str) -> Result<GuestRef, String> {
        let _ = config;
        Ok(GuestRef::parse(plug))
    }
}

/// The behaviour of an agent for the guests of `P`.
#[derive(Debug)]
pub struct Through<P>(PhantomData<P>);

impl<P> Through<P> {
    /// The one value of its kind.
    pub const BEHAVIOUR: Self = Self(PhantomData);
}

/// Everything the options say.
pub struct Config<P: Platform> {
    access: Access,
    own: P::Config,
    settings: Settings,
    guests: Vec<(String, GuestRef)>,
    limit: Duration,
}

impl<P: Platform> Behaviour for Through<P> {
    type Config = Config<P>;

    fn check(&self, options: &Options) -> Result<Config<P>, Vec<String>> {
        let under_pacemaker = engine::is_under_pacemaker();
        let mut settings = Settings::from_options(options, under_pacemaker);
        // A switch is confirmed before it returns: there is nothing to wait for, unless somebody asks.
        if !options.is_written("power_wait") {
            settings.power_wait = Duration::ZERO;
        }
        let lifted = Settings::lifts_limits(options, under_pacemaker);
        let access = Access::new(options, P::PORTS, P::ENCRYPTED, lifted)?;
        let own = P::check(options, &access)?;
        let (mut guests, mut problems) = (Vec::new(), Vec::new());
        for plug in &settings.plugs {
            match P::guest(&own, plug) {
                Ok(guest) => guests.push((plug.clone(), guest)),
                Err(problem) => problems.push(format!("plug `{plug}`: {problem}")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let limit = limit(options);
        Ok(Config {
            access,
            own,
            settings,
            guests,
            limit,
        })
    }

    fn limit(&self, config: &Config<P>) -> Duration {
        config.limit
    }

    fn run(
        &self,
        config: Config<P>,
        options: &Options,
        session: &mut Session,
    ) -> Result<Exit, Failure> {
        for doubt in P::doubts(&config.own, &config.access) {
            session.log().warning(&doubt);
        }
        let interrupt = session.interrupt().map_err(|error| {
            Failure::unreachable(format!("no descriptor is left for signals: {error}"))
        })?;
        let end = session.deadline();
        let margin = REPORTING.min(end.remaining() / 4);
        session.set_deadline(end.within(end.remaining().saturating_sub(margin)));
        let login = config.access.login(session)?;
        let platform = P::connect(config.own, login, Interrupt::new(interrupt));
        let platform = platform.map_err(device::failure)?;
        let work = Work {
            platform: &*platform,
            settings: &config.settings,
            guests: &config.guests,
            deadline: session.deadline(),
        };
        let (outcome, evidence) = work.act(options.action().name, session);
        for seen in evidence {
            session.log().record(&seen);
        }
        for remark in platform.remarks() {
            session.log().warning(&remark);
        }
        if let Err(error) = platform.log_out(end.within(REPORTING)) {
            let text = format!("the session was not ended: {error}");
            session.log().warning(&text);
        }
        outcome.map_err(|failure| ended_by_signal(failure, session))
    }
}

/// How long a run may take: longer than usual only when the caller asks for more time for each switch; `reboot` has two.
fn limit(options: &Options) -> Duration {
    let usual = Duration::from_secs(20);
    let asked = options.seconds("power_timeout").unwrap_or(usual);
    RUN_LIMIT.saturating_add(asked.saturating_sub(usual).saturating_mul(2))
}

/// An action on guests that are reached already.
struct Work<'a> {
    platform: &'a dyn Managed,
    settings: &'a Settings,
    guests: &'a [(String, GuestRef)],
    deadline: Deadline,
}

impl Work<'_> {
    /// Carries it out; also what was seen after each switch.
    fn act(
        &self,
        action: &str,
        around: &mut dyn Surroundings,
    ) -> (Result<Exit, Failure>, Vec<String>) {
        let mut device = Guests::new(
            self.platform,
            self.guests,
            self.deadline,
            self.settings.power_timeout,
        )
        .doing(action);
        let outcome = engine::act(action, &mut device, self.settings, around);
        (outcome, device.into_evidence())
    }
}

/// A failure that a signal brought about says so; what may have been done stays in it.
fn ended_by_signal(failure: Failure, session: &Session) -> Failure {
    match session.check() {
        Err(Stop::Signal(name)) if failure.kind != FailureKind::Interrupted => {
            let kind = match failure.kind {
                FailureKind::CannotKnow => FailureKind::CannotKnow,
                _ => FailureKind::Interrupted,
            };
            Failure::new(kind, format!("ended by {name}: {failure}"))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests;
