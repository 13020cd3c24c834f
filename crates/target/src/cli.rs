//! The command line of the server, shared by `picket-target` and `picket storage serve`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{
    self, Config, DEFAULT_PATH, DiskOptions, InitiatorName, InitiatorOptions, Limits, LunOptions,
    Name, PortalAddress, TargetOptions, Timeouts,
};
use crate::exit::{self, Failure};

/// What to serve: a configuration file, or a target on the command line.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// Read this configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Say what is wrong with the configuration, and do nothing else
    #[arg(long)]
    pub check: bool,
    /// Listen here: address and port, or `address:port,portal-group`
    #[arg(short, long, value_name = "ADDRESS", requires = "target")]
    pub listen: Vec<PortalAddress>,
    /// Serve the disks of the command line as this target, without any configuration file
    #[arg(
        short,
        long,
        value_name = "IQN",
        requires = "listen",
        requires = "disks",
        conflicts_with = "config"
    )]
    pub target: Option<Name>,
    /// Let this initiator log in; anybody, unless given
    #[arg(short, long, value_name = "IQN", requires = "target")]
    pub initiator: Vec<InitiatorName>,
    /// Create disks that do not exist with this size, such as 10GiB
    #[arg(long, value_name = "BYTES", requires = "target")]
    pub size: Option<config::Bytes>,
    /// Serve disks for reading only
    #[arg(long, requires = "target")]
    pub read_only: bool,
    /// Answer writes only when they are durable
    #[arg(long, requires = "target")]
    pub no_write_cache: bool,
    /// Go past the page cache
    #[arg(long, requires = "target")]
    pub direct: bool,
    /// Keep all space of disks: no thin provisioning
    #[arg(long, requires = "target")]
    pub thick: bool,
    /// Keep journals of reservations here instead of beside the first disk
    #[arg(long, value_name = "DIRECTORY", requires = "target")]
    pub state: Option<PathBuf>,
    /// Be administered through this socket; without a configuration file there is none unless given
    #[arg(long, value_name = "SOCKET", requires = "target")]
    pub control: Option<PathBuf>,
    /// Serve metrics at this loopback address
    #[arg(long, value_name = "ADDRESS", requires = "target")]
    pub metrics: Option<std::net::SocketAddr>,
    /// The disks: files or block devices; the first is LUN 0
    #[arg(value_name = "DISK", requires = "target")]
    pub disks: Vec<PathBuf>,
}

impl ServeOptions {
    /// The configuration that is asked for.
    ///
    /// # Errors
    /// [`Failure`] if the file is wrong.
    pub fn configuration(&self) -> Result<Config, Failure> {
        let Some(name) = &self.target else {
            return config::load(&self.config)
                .map_err(|error| Failure::new(exit::CONFIGURATION, error.to_string()));
        };
        if let Some(metrics) = self.metrics.filter(|metrics| !metrics.ip().is_loopback()) {
            let message = format!("{metrics} is not a loopback address");
            return Err(Failure::new(exit::USAGE, message));
        }
        let anybody = [InitiatorName::Anybody];
        let initiators = match self.initiator.as_slice() {
            [] => &anybody,
            named => named,
        };
        let mut luns = Vec::new();
        for (number, path) in (0..1 << 14).zip(&self.disks) {
            if self.disks[..usize::from(number)].contains(path) {
                let message = format!("{} is named twice", path.display());
                return Err(Failure::new(exit::USAGE, message));
            }
            luns.push(LunOptions {
                number,
                disk: self.disk(path),
            });
        }
        Ok(Config {
            file: None,
            listen: self.listen.clone(),
            control: self.control.clone(),
            state: self.state.clone().unwrap_or_else(|| beside(&self.disks)),
            metrics: self.metrics,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            discovery: Vec::new(),
            targets: vec![TargetOptions {
                name: name.clone(),
                own: None,
                initiators: initiators
                    .iter()
                    .map(|name| InitiatorOptions {
                        name: name.clone(),
                        account: None,
                    })
                    .collect(),
                luns,
            }],
        })
    }

    fn disk(&self, path: &Path) -> DiskOptions {
        let mut disk = DiskOptions::new(path.to_owned());
        disk.store.size = self.size.map(|size| size.0);
        disk.store.read_only = self.read_only;
        disk.store.direct = self.direct;
        disk.store.thin = !self.thick;
        disk.write_cache = !self.no_write_cache;
        disk
    }
}

/// Where journals are kept if nobody says: beside the first disk if that is a file, so that its reservations stay with
/// it.
fn beside(disks: &[PathBuf]) -> PathBuf {
    let first = disks.first().filter(|disk| !disk.starts_with("/dev"));
    first.map_or_else(
        || config::DEFAULT_STATE.into(),
        |disk| {
            let mut name = disk.clone().into_os_string();
            name.push(".reservations");
            name.into()
        },
    )
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        serve: ServeOptions,
    }

    fn read(arguments: &str) -> Result<Config, String> {
        let arguments = ["program"].into_iter().chain(arguments.split(' '));
        let program = Program::try_parse_from(arguments).map_err(|error| error.to_string())?;
        let config = program.serve.configuration();
        config.map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_table_is_sound() {
        Program::command().debug_assert();
    }

    #[test]
    fn a_target_needs_no_file() {
        let config =
            read("--listen 127.0.0.1:3260 --target iqn.2026-11.example:a a.img b.img").unwrap();
        let target = &config.targets[0];
        assert_eq!(target.initiators[0].name, InitiatorName::Anybody);
        let numbers: Vec<_> = target.luns.iter().map(|lun| lun.number).collect();
        assert_eq!(numbers, [0, 1]);
        assert_eq!(config.state, Path::new("a.img.reservations"));
        assert_eq!(config.control, None);
    }

    #[test]
    fn half_a_target_is_refused() {
        for wrong in [
            "--listen 127.0.0.1:3260 a.img",
            "--target iqn.a a.img",
            "--listen 127.0.0.1:3260 --target iqn.a",
            "--listen 127.0.0.1:3260 --target disk a.img",
            "--listen 127.0.0.1:3260 --target iqn.a a.img a.img",
            "--listen 127.0.0.1:3260 --target iqn.a --config x a.img",
            "--listen 127.0.0.1:3260 --target iqn.a --metrics 10.0.0.1:1 a.img",
            "a.img",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
