//! The order of operations of agents that switch plugs one at a time (FenceAgentAPI; facts 3.3).
//!
//! ```text
//! off     look ─ all off ──────────────────────────────────────────→ Success: Already OFF
//!           └─ switch each that is not off → look until all are off → Success: Powered OFF
//!                                              └─ power_timeout ────→ failure, names the plug
//! on      the same with "on", 1 + retry_on times
//! reboot  off as above (failure: on is not tried), then on retry_on times; a failure to power on
//!         is logged, and the result is still success: the node is fenced
//! status  look; on if any plug is on, off if all are off, a failure if any cannot tell
//! ```
//!
//! Different from fence-agents' library: `power_timeout` is seconds, not a number of looks; with
//! several plugs, each of them must reach the goal, for `on` too; a state that is neither on nor off
//! does not stop `off` and `reboot` from switching it off, but is never taken for off.

use std::time::Duration;

use crate::device::{Device, Listed, Power, Surroundings, Switch};
use crate::exit::Exit;
use crate::failure::{Failure, FailureKind};
use crate::log::Level;
use crate::options::Options;
use crate::value::boolean;

/// How the engine goes about it. Made from options by [`Settings::from_options`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The plugs; an action is done to all of them.
    pub plugs: Vec<String>,
    /// How long to look for the goal after a switch; none: until the run's deadline.
    pub power_timeout: Option<Duration>,
    /// How long to wait after each switch before looking.
    pub power_wait: Duration,
    /// Time between two looks.
    pub poll: Duration,
    /// Attempts to power on beyond the first (`on`), or in all (`reboot`).
    pub retry_on: u32,
    /// Whether to use the device's own power cycle for `reboot`.
    pub cycle: bool,
    /// Whether `on` is sent to plugs that are on already.
    pub force_on: bool,
    /// What separates plug and alias in a list.
    pub separator: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plugs: Vec::new(),
            power_timeout: Some(Duration::from_secs(20)),
            power_wait: Duration::ZERO,
            poll: Duration::from_secs(1),
            retry_on: 1,
            cycle: false,
            force_on: false,
            separator: ",".to_owned(),
        }
    }
}

impl Settings {
    /// The settings that the common options ask for. `under_pacemaker`: the library lifts its own
    /// limits then, unless told otherwise; here the run's deadline holds in any case.
    #[must_use]
    pub fn from_options(options: &Options, under_pacemaker: bool) -> Self {
        let default = Self::default();
        let separator = options.text("plug_separator").unwrap_or(",");
        let plugs = options
            .text("plug")
            .map(|text| split(text, separator))
            .unwrap_or_default();
        let lifted = Self::lifts_limits(options, under_pacemaker);
        let seconds = |name: &str, default: Duration| options.seconds(name).unwrap_or(default);
        let limit = seconds("power_timeout", Duration::from_secs(20));
        Self {
            plugs,
            power_timeout: (!lifted && !limit.is_zero()).then_some(limit),
            power_wait: seconds("power_wait", default.power_wait),
            poll: seconds("stonith_status_sleep", default.poll),
            retry_on: options
                .number("retry_on")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(default.retry_on),
            cycle: options.text("method") == Some("cycle"),
            force_on: false,
            separator: options.text("separator").unwrap_or(",").to_owned(),
        }
    }

    /// Whether the limits of single steps do not hold: `disable_timeout`, or Pacemaker as the caller.
    #[must_use]
    pub fn lifts_limits(options: &Options, under_pacemaker: bool) -> bool {
        options
            .text("disable_timeout")
            .map_or(under_pacemaker, |text| boolean(text) == Some(true))
    }
}

/// Whether Pacemaker's fencer started this process.
#[must_use]
pub fn is_under_pacemaker() -> bool {
    std::env::var_os("PCMK_service").is_some_and(|service| service == "pacemaker-fenced")
}

fn split(text: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        return vec![text.to_owned()];
    }
    text.split(separator)
        .map(str::trim)
        .filter(|plug| !plug.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Carries out one of `on`, `off`, `reboot`, `status`, `monitor`, `list` and `list-status`.
///
/// # Errors
/// When the action did not end in what it promises, seen by the device.
pub fn act(
    action: &str,
    device: &mut dyn Device,
    settings: &Settings,
    around: &mut dyn Surroundings,
) -> Result<Exit, Failure> {
    let mut run = Run {
        device,
        settings,
        around,
    };
    match action {
        "on" => run.on(),
        "off" => run.off(),
        "reboot" => run.reboot(),
        "status" => run.status(),
        "monitor" => run.device.monitor().map(|()| Exit::OK),
        "list" => run.list(false),
        "list-status" => run.list(true),
        other => Err(Failure::usage(format!("unsupported action `{other}`"))),
    }
}

struct Run<'a> {
    device: &'a mut dyn Device,
    settings: &'a Settings,
    around: &'a mut dyn Surroundings,
}

impl Run<'_> {
    fn off(&mut self) -> Result<Exit, Failure> {
        if self.away_from(Switch::Off)?.is_empty() {
            return self.say("Success: Already OFF\n");
        }
        self.reach(Switch::Off)?;
        self.say("Success: Powered OFF\n")
    }

    fn on(&mut self) -> Result<Exit, Failure> {
        let states = self.look()?;
        if let Some((plug, state)) = states
            .iter()
            .find(|(_, state)| matches!(state, Power::Unknown(_)))
        {
            return Err(cannot_tell(plug, state));
        }
        if !self.settings.force_on && states.iter().all(|(_, state)| *state == Power::On) {
            return self.say("Success: Already ON\n");
        }
        self.power_on(1 + self.settings.retry_on)?;
        self.say("Success: Powered ON\n")
    }

    fn reboot(&mut self) -> Result<Exit, Failure> {
        let away = self.away_from(Switch::Off)?;
        if self.settings.cycle && !away.is_empty() && self.cycle()? {
            return self.say("Success: Rebooted\n");
        }
        if !away.is_empty() {
            self.reach(Switch::Off)?;
        }
        if let Err(failure) = self.power_on(self.settings.retry_on) {
            self.around.log(
                Level::Error,
                &format!("powered off, but not on again: {failure}"),
            );
        }
        self.say("Success: Rebooted\n")
    }

    fn status(&mut self) -> Result<Exit, Failure> {
        let states = self.look()?;
        if let Some((plug, state)) = states
            .iter()
            .find(|(_, state)| matches!(state, Power::Unknown(_)))
        {
            return Err(cannot_tell(plug, state));
        }
        if states.iter().any(|(_, state)| *state == Power::On) {
            return self.say("Status: ON\n");
        }
        self.around.print("Status: OFF\n").map(|()| Exit::OFF)
    }

    fn list(&mut self, with_state: bool) -> Result<Exit, Failure> {
        let separator = &self.settings.separator;
        let mut text = String::new();
        for Listed { plug, alias, power } in self.device.list()? {
            let mut line = format!("{plug}{separator}{alias}");
            if with_state {
                let state = match power {
                    Some(Power::On) => "ON",
                    Some(Power::Off) => "OFF",
                    Some(Power::Unknown(_)) | None => "UNKNOWN",
                };
                line = format!("{line}{separator}{state}");
            }
            text.extend(line.chars().map(|c| if c.is_control() { '?' } else { c }));
            text.push('\n');
        }
        self.say(&text)
    }

    /// All plugs cycled by orders of their own; false when the device has none that proves itself.
    fn cycle(&mut self) -> Result<bool, Failure> {
        for plug in &self.settings.plugs {
            let mut left = self.settings.retry_on;
            loop {
                match self.device.cycle(plug) {
                    Ok(Some(())) => break,
                    Ok(None) => return Ok(false),
                    Err(failure) if left == 0 => return Err(failure),
                    Err(failure) => self.around.log(
                        Level::Warning,
                        &format!("cycle of `{plug}`: {failure}; again"),
                    ),
                }
                left -= 1;
                self.rest("between two power cycles")?;
            }
        }
        Ok(true)
    }

    fn power_on(&mut self, attempts: u32) -> Result<(), Failure> {
        let mut last = Err(Failure::cannot_know(
            "no attempt to power on was allowed (retry_on)",
        ));
        for _ in 0..attempts {
            last = self.reach(Switch::On);
            match &last {
                Ok(()) => return Ok(()),
                Err(failure) if failure.kind == FailureKind::Interrupted => return last,
                Err(_) => {}
            }
        }
        last
    }

    /// Switches every plug that is not there yet, then looks until all are.
    fn reach(&mut self, to: Switch) -> Result<(), Failure> {
        let mut away = if to == Switch::On && self.settings.force_on {
            self.settings.plugs.clone()
        } else {
            self.away_from(to)?
        };
        for plug in &away {
            self.device.switch(plug, to)?;
            let waited = self.around.pause(self.settings.power_wait);
            waited.map_err(|stop| {
                Failure::stopped(stop, format!("after switching `{plug}` {}", to.name()))
            })?;
        }
        let limit = self
            .settings
            .power_timeout
            .and_then(|limit| self.around.now().checked_add(limit));
        loop {
            away = self.away_from(to)?;
            if away.is_empty() {
                return Ok(());
            }
            let waiting = format!("waiting for `{}` to power {}", away.join("`, `"), to.name());
            if limit.is_some_and(|limit| self.around.now() >= limit) {
                return Err(Failure::new(
                    FailureKind::TimedOut,
                    format!("timed out {waiting}"),
                ));
            }
            self.rest(&waiting)?;
        }
    }

    /// Pauses between two looks, long enough that even a poll of 0 does not spin.
    fn rest(&mut self, doing: &str) -> Result<(), Failure> {
        let time = self.settings.poll.max(Duration::from_millis(100));
        self.around
            .pause(time)
            .map_err(|stop| Failure::stopped(stop, doing))
    }

    /// The plugs that are not where they should be.
    fn away_from(&mut self, goal: Switch) -> Result<Vec<String>, Failure> {
        let states = self.look()?;
        Ok(states
            .into_iter()
            .filter(|(_, state)| *state != goal.goal())
            .map(|(plug, _)| plug)
            .collect())
    }

    fn look(&mut self) -> Result<Vec<(String, Power)>, Failure> {
        if self.settings.plugs.is_empty() {
            return Err(Failure::usage("no plug was named"));
        }
        if self.around.now() >= self.around.deadline() {
            return Err(Failure::stopped(
                crate::Stop::DeadlinePassed,
                "before the state could be read",
            ));
        }
        let plugs = self.settings.plugs.iter();
        plugs
            .map(|plug| Ok((plug.clone(), self.device.power(plug)?)))
            .collect()
    }

    fn say(&mut self, text: &str) -> Result<Exit, Failure> {
        self.around.print(text).map(|()| Exit::OK)
    }
}

fn cannot_tell(plug: &str, state: &Power) -> Failure {
    let said = match state {
        Power::Unknown(words) => words.as_str(),
        Power::On => "on",
        Power::Off => "off",
    };
    Failure::cannot_know(format!(
        "cannot tell whether `{plug}` is on or off: the device says `{said}`"
    ))
}
