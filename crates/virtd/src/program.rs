//! What `main` does, as values.

use std::io::{self, Write as _};

use clap::Parser as _;
use hypervisor::address::Platform;

use crate::cli::Options;
use crate::exit::{self, Failure};
use crate::{background, config, daemon, fleet, interview, listener};

/// Runs the program and returns its exit code. What is wrong has been printed.
#[must_use]
pub fn run() -> u8 {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    let result = options
        .absolute()
        .map_err(|error| Failure::start(format!("the working directory is gone: {error}")))
        .and_then(|options| dispatch(&options));
    match result {
        Ok(()) => exit::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                let _ = writeln!(io::stderr(), "fence_virtd: {}", failure.message.trim_end());
            }
            failure.code
        }
    }
}

fn dispatch(options: &Options) -> Result<(), Failure> {
    if options.list {
        return list().map_err(Failure::start);
    }
    if options.configure {
        return interview::run(&options.config).map_err(Failure::start);
    }
    if options.check {
        return check(options);
    }
    if options.is_background {
        background::detach().map_err(Failure::start)?;
        return daemon::run(options);
    }
    if options.foreground {
        return daemon::run(options);
    }
    // Whatever is wrong with the configuration is said here, in pictures, before anything starts.
    let (config, _) = daemon::configure(options, false)?;
    if config.foreground {
        return daemon::run(options);
    }
    background::launch()
}

fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for kind in listener::KINDS {
        writeln!(out, "listener {}", kind.name)?;
    }
    for mode in fleet::MODES {
        writeln!(out, "backend {}", mode.backend)?;
    }
    for platform in Platform::ALL
        .into_iter()
        .filter(|platform| platform.is_in_this_build())
    {
        writeln!(out, "hypervisor {platform}://")?;
    }
    Ok(())
}

fn check(options: &Options) -> Result<(), Failure> {
    let loaded = config::load(&options.config).map_err(Failure::configuration)?;
    let pictures = loaded.warnings.to_string();
    let (config, remarks) = daemon::configure(options, false)?;
    let mut out = io::stdout().lock();
    let mut print = || -> io::Result<()> {
        write!(out, "{pictures}")?;
        for remark in remarks.iter().skip(loaded.warnings.remarks().len()) {
            writeln!(out, "warning: {remark}")?;
        }
        if config.policy.is_open() {
            writeln!(
                out,
                "warning: no groups: whoever holds the key may fence every guest; see `groups` in fence_virt.conf(5)"
            )?;
        }
        for listener in &config.listeners {
            writeln!(out, "listener {}", listener.endpoint())?;
        }
        writeln!(out, "fleet {}", config.fleet.describe())?;
        writeln!(out, "{}: ok", options.config.display())
    };
    print().map_err(Failure::start)
}
