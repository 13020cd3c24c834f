//! `fence_scsi_check` and `fence_scsi_check_hardreboot`: the watchdog daemon's question whether this node has been fenced.
//!
//! | situation | exit |
//! |---|---|
//! | `repair N`: nothing is ever repaired | N |
//! | no device file, an empty one, or no key file: this node has not been unfenced | 0 |
//! | the key is on at least one of the devices | 0 |
//! | on none of them, or none of them can be read | 2; or reboot at once |
//!
//! Losing every path counts as fenced, as it always has: a node without its storage is of no use.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use fence_agent::{Exit, Facility, Level, Log};
use rustix::system::{RebootCommand, reboot};
use scsi::pr::Key;

use super::config::Device;
use super::reach::{Disk, Machine, Reach};
use super::state::{StateError, Store};

/// The administrator's settings, shared with fence-agents' check.
const SETTINGS: &str = "/etc/sysconfig/stonith";
/// How long one look at a device may take.
const LIMIT: Duration = Duration::from_secs(5);

/// `NAME = VALUE` lines of the settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Further looks when the key is not found.
    retry: u32,
    /// Time between two.
    pause: Duration,
    verbose: bool,
    suppress_errors: bool,
}

impl Settings {
    pub(super) fn parse(text: &str) -> Self {
        let mut settings = Self {
            retry: 0,
            pause: Duration::from_secs(1),
            verbose: false,
            suppress_errors: false,
        };
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim().to_ascii_lowercase();
            let yes = matches!(value.as_str(), "yes" | "1" | "true" | "on");
            // What is not understood is left at its default: the check has to work at the worst of times.
            match name
                .trim()
                .to_ascii_lowercase()
                .replace('_', "-")
                .trim_start_matches('-')
            {
                "retry" => settings.retry = value.parse().unwrap_or(settings.retry).min(100),
                "retry-sleep" => {
                    let seconds: f64 = value.parse().unwrap_or(1.0);
                    settings.pause = Duration::try_from_secs_f64(seconds)
                        .unwrap_or(settings.pause)
                        .min(LIMIT);
                }
                "verbose" => settings.verbose = yes,
                "suppress-errors" => settings.suppress_errors = yes,
                _ => {}
            }
        }
        settings
    }
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// There is nothing to find: this node has not been unfenced.
    NotConcerned,
    /// The key is there.
    Registered,
    /// It is not.
    Fenced,
}

/// Runs the check from process start to exit status.
pub fn check(program: &OsStr, args: impl Iterator<Item = OsString>) -> Exit {
    let program = Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned();
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let [first, error, ..] = args.as_slice()
        && first == "repair"
    {
        return Exit::not_repaired(error.parse().unwrap_or(Exit::FAILED.code()));
    }
    let settings = Settings::parse(&fs::read_to_string(SETTINGS).unwrap_or_default());
    let mut log = Log::new(&program, Facility::User);
    if settings.verbose {
        log.set_level(Level::Debug);
    }
    let finding = look_again(&Store::default(), &Machine::Check, &settings, &mut log);
    if finding != Finding::Fenced {
        return Exit::OK;
    }
    log.error("this node has been fenced: its key is on none of its devices");
    if program.ends_with("_hardreboot") {
        // Not a way to end well: the node must not go on. If it fails, the watchdog daemon is told.
        if let Err(error) = reboot(RebootCommand::Restart) {
            log.error(&format!("cannot reboot: {error}"));
        }
    }
    Exit::OFF
}

pub(super) fn look_again(
    store: &Store,
    reach: &dyn Reach,
    settings: &Settings,
    log: &mut Log,
) -> Finding {
    let mut left = settings.retry;
    loop {
        let finding = look(store, reach, settings, log);
        if finding != Finding::Fenced || left == 0 {
            return finding;
        }
        left -= 1;
        thread::sleep(settings.pause);
    }
}

fn look(store: &Store, reach: &dyn Reach, settings: &Settings, log: &mut Log) -> Finding {
    let mut complain = |text: String| {
        if !settings.suppress_errors {
            log.error(&text);
        }
    };
    let (devices, key) = match (store.devices(), store.key()) {
        (Ok(devices), Ok(key)) => (devices, key),
        (devices, key) => {
            let errors = [devices.err(), key.err()];
            for error in errors
                .iter()
                .flatten()
                .filter(|error| !StateError::is_missing(error))
            {
                complain(error.to_string());
            }
            return Finding::NotConcerned;
        }
    };
    if devices.is_empty() {
        return Finding::NotConcerned;
    }
    for name in devices {
        match shows(&name, key, reach) {
            Ok(true) => return Finding::Registered,
            Ok(false) => {}
            Err(text) => complain(text),
        }
    }
    Finding::Fenced
}

/// Whether a device lists the key.
fn shows(name: &str, key: Key, reach: &dyn Reach) -> Result<bool, String> {
    let device = Device::parse(name)?;
    let read =
        Disk::new(reach, &device, true, Deadline::after(LIMIT)).and_then(|mut disk| disk.keys());
    read.map(|keys| keys.contains(&key))
        .map_err(|failure| failure.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_as_administrators_write_them() {
        let settings = Settings::parse(
            "retry = 3\nretry-sleep=0.5\n# note\nverbose = YES\nSuppress-Errors=yes\nx\n",
        );
        let wanted = Settings {
            retry: 3,
            pause: Duration::from_millis(500),
            verbose: true,
            suppress_errors: true,
        };
        assert_eq!(settings, wanted);
        let odd = Settings::parse("retry=many\nretry-sleep=-1\nverbose=no\n");
        assert_eq!(odd, Settings::parse(""));
        assert_eq!(
            Settings::parse("retry-sleep=1e300").pause,
            Duration::from_secs(1)
        );
    }
}
