//! `fence_xvm` and `fence_virt`: a guest asks the `fence_virtd` of its host to switch a guest.
//!
//! The daemon carries out off, on and reboot and reports the result; these agents carry the question
//! there and the answer back. Four ways lead there ([`config::Transport`]): multicast with a
//! connection back, TCP, vsock, and a serial line or VMChannel.

mod addresses;
mod config;
mod exchange;
mod key;
mod multicast;
mod outcome;
mod serial;
mod stream;
mod table;

use std::time::Duration;

use fence_agent::{Behaviour, Exit, Failure, Options, Session};

pub use config::Config;
use config::Transport;
pub use table::{FENCE_VIRT, FENCE_XVM};

/// The behaviour of both agents; they differ in their ways to the daemon.
#[derive(Debug)]
pub struct Virt {
    multicast: bool,
}

impl Virt {
    /// `fence_xvm`: multicast.
    pub const MULTICAST: Self = Self { multicast: true };
    /// `fence_virt`: TCP, vsock, serial line or VMChannel, whichever is configured.
    pub const CHANNEL: Self = Self { multicast: false };
}

impl Behaviour for Virt {
    type Config = Config;

    fn check(&self, options: &Options) -> Result<Config, Vec<String>> {
        Config::new(options, self.multicast)
    }

    fn limit(&self, config: &Config) -> Duration {
        config.timeout
    }

    fn run(
        &self,
        config: Config,
        options: &Options,
        session: &mut Session,
    ) -> Result<Exit, Failure> {
        let answer = match &config.transport {
            Transport::Multicast(group) => multicast::ask(&config, group, session),
            Transport::Stream(address) => stream::ask(&config, address, session),
            Transport::Serial(line) => serial::ask_line(&config, line, session),
            Transport::Channel(address) => serial::ask_channel(&config, *address, session),
        }?;
        outcome::report(&config, options.action().name, answer, session)
    }
}

/// Random bytes from the kernel.
fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Failure::cannot_know(format!(
            "no random numbers from the kernel: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests;
