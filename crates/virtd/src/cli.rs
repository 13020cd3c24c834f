//! The command line.

use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser};

use crate::config::DEFAULT_PATH;

/// Where the pid file is unless `-p` says otherwise.
pub const DEFAULT_PID_FILE: &str = "/var/run/fence_virtd.pid";

/// Fencing daemon for virtual machines, on the host that runs them.
///
/// Answers the requests of fence_xvm and fence_virt. Exit codes: 0 ended as told, or listening in
/// the background; 1 cannot start; 2 wrong command line; 255 wrong configuration.
#[derive(Debug, Clone, Parser)]
#[command(name = "fence_virtd", version, disable_help_flag = true)]
pub struct Options {
    /// Stay in the foreground
    #[arg(short = 'F', long = "foreground")]
    pub foreground: bool,
    /// Read this configuration
    #[arg(short = 'f', long = "config", value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Log more: 1 to 99, overriding the configuration
    #[arg(short = 'd', long = "debug", value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub debug: Option<u8>,
    /// Make a configuration by answering questions
    #[arg(short = 'c', long = "configure", conflicts_with_all = ["check", "list"])]
    pub configure: bool,
    /// List the listeners and back ends of this build
    #[arg(short = 'l', long = "list")]
    pub list: bool,
    /// Start although a hypervisor or an interface is not there yet, and wait for it
    #[arg(short = 'w', long = "wait")]
    pub wait: bool,
    /// Write the process number into this file
    #[arg(short = 'p', long = "pid-file", value_name = "FILE", default_value = DEFAULT_PID_FILE)]
    pub pid_file: PathBuf,
    /// Say what is wrong with the configuration, and do nothing else
    #[arg(long)]
    pub check: bool,
    /// Print help
    #[arg(short = 'h', short_alias = '?', long = "help", action = ArgAction::Help)]
    help: Option<bool>,
    /// This is the background process that a first one has started
    #[arg(long = crate::background::CHILD, hide = true)]
    pub is_background: bool,
}

impl Options {
    /// The same with paths that mean the same after a change of the working directory.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn absolute(mut self) -> io::Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path);
        self.config = absolute(&self.config)?;
        self.pid_file = absolute(&self.pid_file)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn takes_what_the_c_daemon_takes() {
        let options = Options::try_parse_from([
            "fence_virtd",
            "-F",
            "-d99",
            "-w",
            "-f",
            "a.conf",
            "-p",
            "a.pid",
        ])
        .unwrap();
        assert!(options.foreground && options.wait);
        assert_eq!(options.debug, Some(99));
        assert_eq!(options.config, Path::new("a.conf"));
        for help in ["-h", "-?", "-V"] {
            let shown = Options::try_parse_from(["fence_virtd", help]).unwrap_err();
            assert_eq!(shown.exit_code(), 0, "{help}");
        }
        let wrong = Options::try_parse_from(["fence_virtd", "-x"]).unwrap_err();
        assert_eq!(wrong.exit_code(), i32::from(crate::exit::USAGE));
    }
}
