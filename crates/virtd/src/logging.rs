//! Where log lines go and which of them.
//!
//! | level | for whom |
//! |---|---|
//! | error | something needs a person now: off but not restarted, no audit log, no listener |
//! | warn | something was refused, or is not as it should be |
//! | info | what was switched, and the daemon's own life |
//! | debug | every request; `-d 1` |
//! | trace | everything; `-d 50` |

use std::io::IsTerminal as _;
use std::path::Path;

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
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    // A second daemon in one process (a test's) logs where the first one does.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
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
