//! A device and surroundings in memory, for tests and for trying things out without hardware.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::device::{Device, Listed, Power, Surroundings, Switch};
use crate::failure::Failure;
use crate::log::Level;
use crate::session::Stop;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing answers.
    pub unreachable: bool,
    /// Orders are refused.
    pub refuse: bool,
    /// Orders to this state are taken and nothing happens.
    pub ignore: Option<Switch>,
    /// Orders take effect only after this many looks.
    pub looks_until_effect: u32,
}

/// Plugs in memory.
#[derive(Debug, Default)]
pub struct Plugs {
    /// Each plug's state.
    pub states: BTreeMap<String, Power>,
    /// What goes wrong.
    pub faults: Faults,
    /// Every order, in sequence.
    pub orders: Vec<(String, Switch)>,
    pending: BTreeMap<String, (Switch, u32)>,
}

impl Plugs {
    /// Plugs with these states.
    #[must_use]
    pub fn new<const N: usize>(states: [(&str, Power); N]) -> Self {
        let states = states
            .into_iter()
            .map(|(plug, power)| (plug.to_owned(), power))
            .collect();
        Self {
            states,
            ..Self::default()
        }
    }

    fn reach(&self) -> Result<(), Failure> {
        if self.faults.unreachable {
            Err(Failure::unreachable("nothing answers"))
        } else {
            Ok(())
        }
    }

    fn settle(&mut self, plug: &str) {
        match self.pending.get_mut(plug) {
            Some((to, 0)) => {
                self.states.insert(plug.to_owned(), to.goal());
                self.pending.remove(plug);
            }
            Some((_, looks)) => *looks -= 1,
            None => {}
        }
    }
}

impl Device for Plugs {
    fn power(&mut self, plug: &str) -> Result<Power, Failure> {
        self.reach()?;
        self.settle(plug);
        self.states
            .get(plug)
            .cloned()
            .ok_or_else(|| Failure::refused(format!("no plug `{plug}`")))
    }

    fn switch(&mut self, plug: &str, to: Switch) -> Result<(), Failure> {
        self.reach()?;
        if self.faults.refuse || !self.states.contains_key(plug) {
            return Err(Failure::refused(format!("`{plug}` cannot be switched")));
        }
        self.orders.push((plug.to_owned(), to));
        if self.faults.ignore != Some(to) {
            self.pending
                .insert(plug.to_owned(), (to, self.faults.looks_until_effect));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        self.reach()?;
        let listed = |(plug, power): (&String, &Power)| Listed {
            plug: plug.clone(),
            alias: String::new(),
            power: Some(power.clone()),
        };
        Ok(self.states.iter().map(listed).collect())
    }
}

/// Surroundings with a clock of their own: pausing takes no time.
#[derive(Debug)]
pub struct Memory {
    now: Instant,
    deadline: Instant,
    /// What was printed.
    pub output: String,
    /// What was logged.
    pub logged: Vec<String>,
}

impl Memory {
    /// A run that must end after `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            now,
            deadline: now + limit,
            output: String::new(),
            logged: Vec::new(),
        }
    }
}

impl Surroundings for Memory {
    fn now(&self) -> Instant {
        self.now
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        let end = self.now + time;
        self.now = end.min(self.deadline);
        if end >= self.deadline {
            Err(Stop::DeadlinePassed)
        } else {
            Ok(())
        }
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.output.push_str(text);
        Ok(())
    }

    fn log(&mut self, _: Level, text: &str) {
        self.logged.push(text.to_owned());
    }
}
