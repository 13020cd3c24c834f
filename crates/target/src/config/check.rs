//! From the file as it is written to a configuration that cannot be wrong.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use iscsi::login::{Credentials, MAX_SECRET, Secret};
use scsi::lu::BlockLength;
use toml::Spanned;

use crate::config::document::{self, Document};
use crate::config::error::Finding;
use crate::config::{
    Config, DEFAULT_CONTROL, DEFAULT_STATE, DiskOptions, InitiatorOptions, Limits, LunOptions,
    TargetOptions, Timeouts,
};
use crate::store;

/// The longest name of an account in bytes (RFC 7143: text values have at most 255).
const MAX_USER: usize = 255;

/// Mistakes that were found, and where relative paths begin.
struct Check<'a> {
    directory: &'a Path,
    findings: Vec<Finding>,
}

pub(super) fn check(document: Document, directory: &Path) -> Result<Config, Vec<Finding>> {
    let mut check = Check {
        directory,
        findings: Vec::new(),
    };
    if document.listen.get_ref().is_empty() {
        check.find(&document.listen, "no address to listen on");
    }
    let limits = check.limits(&document.limits);
    let timeouts = check.timeouts(&document.timeouts);
    let outside = |metrics: &&Spanned<std::net::SocketAddr>| !metrics.get_ref().ip().is_loopback();
    if let Some(metrics) = document.metrics.as_ref().filter(outside) {
        check.find(metrics, "metrics are served on loopback addresses only");
    }
    let discovery = document.discovery.iter();
    let discovery = discovery.filter_map(|one| check.account(one)).collect();
    let targets = check.targets(document.target);
    let config = Config {
        file: None,
        listen: check.portals(document.listen.into_inner()),
        control: Some(check.path(document.control.unwrap_or_else(|| DEFAULT_CONTROL.into()))),
        state: check.path(document.state.unwrap_or_else(|| DEFAULT_STATE.into())),
        metrics: document.metrics.map(Spanned::into_inner),
        limits,
        timeouts,
        discovery,
        targets,
    };
    if check.findings.is_empty() {
        Ok(config)
    } else {
        Err(check.findings)
    }
}

impl Check<'_> {
    fn find<T>(&mut self, place: &Spanned<T>, message: impl Into<String>) {
        self.findings.push(Finding::new(place.span(), message));
    }

    fn path(&self, path: PathBuf) -> PathBuf {
        self.directory.join(path)
    }

    /// A number within bounds, or what holds if nothing is said.
    fn number<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        given: Option<&Spanned<T>>,
        (least, most): (T, T),
        default: T,
    ) -> T {
        let Some(given) = given else {
            return default;
        };
        let number = *given.get_ref();
        if number < least || number > most {
            self.find(given, format!("{number} is not between {least} and {most}"));
        }
        number
    }

    fn limits(&mut self, given: &document::Limits) -> Limits {
        let default = Limits::default();
        let memory = given
            .memory
            .as_ref()
            .map(|memory| Spanned::new(memory.span(), memory.get_ref().0));
        let memory = self.number(memory.as_ref(), (1 << 20, 1 << 32), 32 << 20);
        Limits {
            connections: self.number(given.connections.as_ref(), (1, 65_536), default.connections),
            logins: self.number(given.logins.as_ref(), (1, 4096), default.logins),
            commands: self.number(given.commands.as_ref(), (1, 4096), default.commands),
            memory: usize::try_from(memory).unwrap_or(default.memory),
        }
    }

    fn timeouts(&mut self, given: &document::Timeouts) -> Timeouts {
        let default = Timeouts::default();
        let mut seconds = |given: Option<&Spanned<u64>>, default: Duration| {
            let seconds = self.number(given, (1, 3600), default.as_secs());
            Duration::from_secs(seconds)
        };
        Timeouts {
            login: seconds(given.login.as_ref(), default.login),
            ping: seconds(given.ping.as_ref(), default.ping),
            silence: seconds(given.silence.as_ref(), default.silence),
            drain: seconds(given.drain.as_ref(), default.drain),
            journal: seconds(given.journal.as_ref(), default.journal),
            stop: seconds(given.stop.as_ref(), default.stop),
        }
    }

    fn portals(
        &mut self,
        given: Vec<Spanned<crate::config::PortalAddress>>,
    ) -> Vec<crate::config::PortalAddress> {
        let mut seen = BTreeSet::new();
        for portal in &given {
            let address = portal.get_ref().address;
            if address.port() != 0 && !seen.insert(address) {
                self.find(portal, format!("{address} is listened on already"));
            }
        }
        given.into_iter().map(Spanned::into_inner).collect()
    }

    fn account(&mut self, given: &document::Account) -> Option<Credentials> {
        self.credentials(&given.user, &given.secret_file)
    }

    fn credentials(&mut self, user: &str, file: &Spanned<PathBuf>) -> Option<Credentials> {
        let found = account(user, &self.path(file.get_ref().clone()));
        found.map_err(|message| self.find(file, message)).ok()
    }

    fn targets(&mut self, given: Vec<document::Target>) -> Vec<TargetOptions> {
        let mut names = BTreeSet::new();
        let mut paths = BTreeSet::new();
        let mut targets = Vec::new();
        for target in given {
            if !names.insert(target.name.get_ref().clone()) {
                self.find(&target.name, "there is a target of this name already");
            }
            let own = target.own.as_ref().and_then(|own| self.account(own));
            let initiators = self.initiators(&target, own.as_ref());
            let mut numbers = BTreeSet::new();
            let mut serials = BTreeSet::new();
            let mut luns = Vec::new();
            for lun in target.lun {
                if let Some(serial) = &lun.serial
                    && !serials.insert(serial.get_ref().clone())
                {
                    // They would be taken for one disk, and have one journal.
                    self.find(
                        serial,
                        "the target has a disk of this serial number already",
                    );
                }
                if !numbers.insert(*lun.number.get_ref()) {
                    self.find(&lun.number, "the target has a disk of this number already");
                }
                luns.push(self.lun(lun, &mut paths));
            }
            targets.push(TargetOptions {
                name: target.name.into_inner(),
                own,
                initiators,
                luns,
            });
        }
        targets
    }

    fn initiators(
        &mut self,
        target: &document::Target,
        own: Option<&Credentials>,
    ) -> Vec<InitiatorOptions> {
        let mut initiators = Vec::new();
        for given in &target.initiator {
            let account = match (&given.user, &given.secret_file) {
                (None, None) => None,
                (Some(user), Some(file)) => {
                    let account = self.credentials(user.get_ref(), file);
                    if account.is_none() {
                        continue;
                    }
                    account
                }
                (Some(user), None) => {
                    self.find(user, "a user without a secret-file");
                    continue;
                }
                (None, Some(file)) => {
                    self.find(file, "a secret-file without a user");
                    continue;
                }
            };
            let same =
                |(own, account): (&Credentials, &Credentials)| own.secret.same(&account.secret);
            if own.zip(account.as_ref()).is_some_and(same) {
                // RFC 7143, "CHAP Considerations".
                self.find(
                    &given.name,
                    "the initiator and the target must not have the same secret",
                );
            }
            initiators.push(InitiatorOptions {
                name: given.name.get_ref().clone(),
                account,
            });
        }
        initiators
    }

    fn lun(&mut self, given: document::Lun, paths: &mut BTreeSet<PathBuf>) -> LunOptions {
        let number = *given.number.get_ref();
        if number >= 1 << 14 {
            self.find(&given.number, "the number of a disk is at most 16383");
        }
        let path = self.path(given.path.get_ref().clone());
        let known = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !paths.insert(known) {
            // Two logical units would know nothing of each other's reservations.
            self.find(&given.path, "this disk is served already");
        }
        let mut options = DiskOptions::new(path);
        let block_length = given
            .block_length
            .as_ref()
            .map_or(Ok(BlockLength::B512), |length| {
                BlockLength::from_bytes(*length.get_ref()).ok_or(length)
            });
        let block_length = block_length.unwrap_or_else(|place| {
            self.find(place, "blocks have 512 or 4096 bytes");
            BlockLength::B512
        });
        options.store = store::Options {
            direct: given.direct.unwrap_or(false),
            read_only: given.read_only.unwrap_or(false),
            thin: given.thin.unwrap_or(options.store.thin),
            block_length,
            size: given.size.map(|size| size.0),
            patience: options.store.patience,
        };
        if let Some(physical) = given.physical_block_length {
            let blocks = physical.get_ref() / block_length.bytes();
            let whole = blocks * block_length.bytes() == *physical.get_ref();
            if whole && blocks.is_power_of_two() && blocks <= 1 << 15 {
                options.physical_exponent = u8::try_from(blocks.trailing_zeros()).unwrap_or(0);
            } else {
                self.find(&physical, "a power of two blocks, at most 32768");
            }
        }
        options.write_cache = given.write_cache.unwrap_or(options.write_cache);
        options.removable = given.removable.unwrap_or(false);
        for (text, most, into) in [
            (given.vendor, 8, &mut options.vendor),
            (given.product, 16, &mut options.product),
        ] {
            if let Some(text) = text {
                self.printable(&text, most);
                *into = text.into_inner();
            }
        }
        if let Some(serial) = given.serial {
            self.printable(&serial, 32);
            options.serial = Some(serial.into_inner());
        }
        LunOptions {
            number,
            disk: options,
        }
    }

    fn printable(&mut self, text: &Spanned<String>, most: usize) {
        let printable = text
            .get_ref()
            .bytes()
            .all(|byte| (0x20..=0x7E).contains(&byte));
        if !printable || text.get_ref().len() > most {
            self.find(text, format!("at most {most} printable ASCII characters"));
        }
    }
}

/// An account whose secret is in a file. A fragment that says what is wrong.
pub(crate) fn account(user: &str, file: &Path) -> Result<Credentials, String> {
    if user.is_empty() || user.len() > MAX_USER || user.contains(char::is_control) {
        return Err("the user of an account has 1 to 255 printable characters".to_owned());
    }
    Ok(Credentials {
        name: user.to_owned(),
        secret: secret(file)?,
    })
}

/// Reads a secret from a file that nobody but its owner may read. The line's end does not count.
fn secret(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("cannot read {shown}: {error}");
    // Opening a FIFO would wait until somebody writes to it.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(format!(
            "{shown} has mode {mode:03o}: others may read it; chmod 600 it"
        ));
    }
    let mut bytes = Vec::with_capacity(MAX_SECRET + 2);
    let most = u64::try_from(MAX_SECRET + 2).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    while bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        bytes.pop();
    }
    Secret::new(bytes).map_err(|error| format!("{shown}: {error}"))
}
