//! Where log lines go and which of them.
//!
//! | level | for whom |
//! |---|---|
//! | error | something needs a person now: off but not restarted, no audit log, no listener |
//! | warn | something was refused, or is not as it should be |
//! | info | what was switched, and the daemon's own life |
//! | debug | every request; `-d 1` |
//! | trace | everything; `-d 50` |

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

/// Levels by module here, such as `info,virtd=debug`, override `-d`.
const VARIABLE: &str = "FENCE_VIRTD_LOG";
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Begins to log: to the journal where there is one and nobody looks at standard error, else to
/// standard error.
pub fn start(debug: u8, in_background: bool) {
    let wanted = std::env::var(VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    let filter: Targets = wanted.unwrap_or_else(|| targets(debug));
    let stderr_is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let to_journal = Path::new(JOURNAL).exists() && (in_background || stderr_is_journal);
    let journal = to_journal
        .then(tracing_journald::layer)
        .and_then(Result::ok)
        .map(|layer| {
            layer
                .with_syslog_identifier("fence_virtd".to_owned())
                .with_field_prefix(Some("FENCE".to_owned()))
        });
    let layer = match journal {
        Some(layer) => layer.boxed(),
        None => fmt::layer()
            .with_writer(|| Patient(io::stderr()))
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    // A second daemon in one process (a test's) logs where the first one does.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
}

/// Writes what is taken at once and loses the rest: nobody may have to wait for whoever reads the log,
/// least of all the guests that are to be fenced.
struct Patient<T>(T);

/// What a pipe that is ready takes without blocking (POSIX: PIPE_BUF).
const AT_ONCE: usize = 4096;

impl<T: AsFd> io::Write for Patient<T> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // Two that found room for one line would have to wait.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        for part in text.chunks(AT_ONCE) {
            let ready = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&now));
            if ready != Ok(1) || rustix::io::write(&self.0, part).is_err() {
                break;
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn targets(debug: u8) -> Targets {
    let ours = match debug {
        0 => LevelFilter::INFO,
        1..50 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets([("virtd", ours), ("hypervisor", ours)])
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Without a reader a pipe is full after some lines; a writer that waited would hang here.
    #[test]
    fn a_log_that_nobody_reads_stops_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = Patient(writer);
        for _ in 0..3000 {
            log.write_all(&[b'x'; 100]).unwrap();
        }
        log.write_all(&[b'x'; 3 * AT_ONCE]).unwrap();
        drop(log);
        let mut kept = Vec::new();
        reader.read_to_end(&mut kept).unwrap();
        assert!(
            kept.len() >= AT_ONCE && kept.len() < 300_000,
            "{}",
            kept.len()
        );
    }
}
