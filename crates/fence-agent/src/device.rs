//! What the engine switches: a device with plugs, and what surrounds a run.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::log::Level;
use crate::session::{Session, Stop};

/// The power state of a plug, as something that can know saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// It has power, or can get it back by itself: suspended and paused guests are on.
    On,
    /// It has none, and cannot continue where it was.
    Off,
    /// The device answered, but not with on or off; its own words. Never taken for off.
    Unknown(String),
}

/// Where to switch a plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Give it power.
    On,
    /// Take its power at once, without asking its system.
    Off,
}

impl Switch {
    /// The state that proves it.
    #[must_use]
    pub const fn goal(self) -> Power {
        match self {
            Self::On => Power::On,
            Self::Off => Power::Off,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// A plug in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What an action takes as plug.
    pub plug: String,
    /// A name for people; may be empty. Pacemaker takes it for a plug as well.
    pub alias: String,
    /// Its state, where the list tells; otherwise it shows as UNKNOWN.
    pub power: Option<Power>,
}

/// Something with plugs that can be listed, observed and switched: a power switch, a hypervisor, a
/// management server.
///
/// Every method asks the device anew; nothing is answered from memory. "Could not reach", "answered
/// no" and "cannot tell" are [`Failure`]s of different kinds; a plug the device does not know is a
/// failure, never "off".
pub trait Device {
    /// Looks at a plug.
    ///
    /// # Errors
    /// When no answer was got, or there is no such plug.
    fn power(&mut self, plug: &str) -> Result<Power, Failure>;

    /// Tells the device to switch a plug. Success means that it took the order, not that it is done:
    /// the engine looks afterwards.
    ///
    /// # Errors
    /// When the order was not taken.
    fn switch(&mut self, plug: &str, to: Switch) -> Result<(), Failure>;

    /// Power-cycles a plug in one order. `None` when the device has no such order, or has one but
    /// does not confirm that the power was off in between: then off and on are used.
    ///
    /// # Errors
    /// When it has, and it failed.
    fn cycle(&mut self, plug: &str) -> Result<Option<()>, Failure> {
        let _ = plug;
        Ok(None)
    }

    /// Every plug.
    ///
    /// # Errors
    /// When no answer was got.
    fn list(&mut self) -> Result<Vec<Listed>, Failure>;

    /// Finds out whether the device can be used: reached, logged in, answering.
    ///
    /// # Errors
    /// When it cannot.
    fn monitor(&mut self) -> Result<(), Failure> {
        self.list().map(|_| ())
    }
}

/// What surrounds a run of the engine: time, output and log. [`Session`] is the real one,
/// [`memory::Memory`](crate::memory::Memory) one with a clock of its own.
pub trait Surroundings {
    /// The time on the monotonic clock.
    fn now(&self) -> Instant;

    /// When the run must have ended.
    fn deadline(&self) -> Instant;

    /// Lets time pass.
    ///
    /// # Errors
    /// When the run has to end before `time` has passed.
    fn pause(&mut self, time: Duration) -> Result<(), Stop>;

    /// Writes to standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    fn print(&mut self, text: &str) -> Result<(), Failure>;

    /// Logs.
    fn log(&mut self, level: Level, text: &str);
}

impl Surroundings for Session {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn deadline(&self) -> Instant {
        Self::deadline(self).instant()
    }

    fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        Self::pause(self, time)
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        Self::print(self, text)
    }

    fn log(&mut self, level: Level, text: &str) {
        Self::log(self).write(level, text);
    }
}
