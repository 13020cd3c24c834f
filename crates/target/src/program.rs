//! The program `picket-target`.

use std::io;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::ServeOptions;
use crate::control::{ControlCommand, ControlSocket, MetricsListener};
use crate::exit::{self, Failure};
use crate::server::{Admin, Server, chain};

/// iSCSI storage server with persistent reservations that keep fenced nodes off the disk.
///
/// SIGHUP has it read its configuration again, as `control reload` does, which also says what came of it. SIGTERM ends it;
/// a second one does not wait for sessions.
///
/// Exit codes: 0 ended as told; 1 cannot start; 2 wrong command line; 3 wrong configuration; 4 the server said no;
/// 5 the server cannot be reached; 6 the server has not answered, and what was asked for may or may not have been done;
/// 7 ended as told, or read its configuration again, but what initiators had written could not be made durable, or
/// commands are still at a disk.
#[derive(Debug, Parser)]
#[command(
    name = "picket-target",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Options {
    #[command(flatten)]
    serve: ServeOptions,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Ask a running server, or change it
    Control(ControlCommand),
}

/// Runs the program. The exit code.
#[must_use]
pub fn run() -> u8 {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::SUCCESS
            };
        }
    };
    let done = match options.what {
        Some(What::Control(command)) => command.run().map(|text| print!("{text}")),
        None => serve(&options.serve),
    };
    match done {
        Ok(()) => exit::SUCCESS,
        Err(failure) => {
            eprintln!("picket-target: {failure}");
            failure.code
        }
    }
}

/// Serves until a signal comes.
///
/// # Errors
/// [`Failure`] if the configuration is wrong, the server cannot start, or it did not end cleanly.
pub fn serve(options: &ServeOptions) -> Result<(), Failure> {
    let config = options.configuration()?;
    if options.check {
        return Ok(());
    }
    start_logging();
    ignore_file_limit();
    use_all_descriptors();
    let failed = |error: io::Error| Failure::new(exit::START_FAILURE, error.to_string());
    // Before anything that takes time: a signal must not kill a half-started server.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP]).map_err(failed)?;
    let (control, metrics) = (config.control.clone(), config.metrics);
    let server =
        Server::start(config).map_err(|error| Failure::new(exit::START_FAILURE, chain(&error)))?;
    let control = control.map(|path| {
        ControlSocket::open(&path, server.admin()).map_err(|error| {
            let path = path.display();
            Failure::new(
                exit::START_FAILURE,
                format!("cannot listen at {path}: {error}"),
            )
        })
    });
    let control = control.transpose()?;
    let metrics = metrics.map(|address| {
        MetricsListener::open(address, server.admin()).map_err(|error| {
            let message = format!("cannot serve metrics at {address}: {error}");
            Failure::new(exit::START_FAILURE, message)
        })
    });
    let metrics = metrics.transpose()?;
    for address in server.portals() {
        tracing::info!(%address, "listening");
    }
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    await_end(&mut signals, &server.admin());
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    // A second signal ends it at once.
    std::thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            tracing::warn!("told again to end: not waiting for sessions");
            std::thread::sleep(Duration::from_millis(50));
            std::process::abort();
        }
    });
    let stopped = server.stop();
    drop((control, metrics));
    stopped.map_err(|error| Failure::new(exit::UNCLEAN, chain(&error)))
}

/// Waits for a signal to end. Meanwhile SIGHUP has the configuration read again, on a thread of its own: a disk that does not
/// come must not keep the server from ending.
fn await_end(signals: &mut Signals, admin: &Admin) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            return;
        }
        let admin = admin.clone();
        let reload = move || match admin.reload() {
            Ok(changes) if changes.done.is_empty() => {
                tracing::info!("configuration read again: nothing has changed");
            }
            Ok(_) => {}
            Err(error) => tracing::error!("the configuration is not taken: {error}"),
        };
        let thread = std::thread::Builder::new().name("reload".to_owned());
        if let Err(error) = thread.spawn(reload) {
            tracing::error!("the configuration is not read again: {error}");
        }
    }
}

/// A limit on the size of files is then an error of the write, which an initiator is told, and not the end of the server.
fn ignore_file_limit() {
    // SAFETY: no handler is installed; ignoring this signal changes what write(2) returns, and nothing else.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// A connection takes several descriptors and a disk some twenty: as many as this process may have, and not only as many
/// as programs that use `select` can bear.
fn use_all_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of descriptors stays as it is: {error}");
    }
}

fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("PICKET_TARGET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false);
    // In a test's process there may be one already.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        layer.without_time().try_init()
    } else {
        layer.try_init()
    };
}
