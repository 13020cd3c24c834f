//! Secrets for CHAP: from files that only their owner reads, or from the environment.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use iscsi::login::{MAX_SECRET, Secret, SecretLength};
use zeroize::Zeroize as _;

/// Why there is no secret. Its bytes are never shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("the secret in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others may read or change the file.
    #[error(
        "the secret in {path} can be read or changed by others (mode {mode:04o}): use chmod 600"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not a file: a FIFO would be waited for, and what a device gives is no secret.
    #[error("the secret in {}: not a regular file", .0.display())]
    NoFile(PathBuf),
    /// Too short or too long.
    #[error("the secret in {place}")]
    Length {
        /// The file or variable.
        place: String,
        /// Why.
        #[source]
        source: SecretLength,
    },
    /// A name without a secret, or one direction without the other.
    #[error("{0}")]
    Incomplete(String),
}

/// The secret in a file: its first line, without the end of the line.
pub(crate) fn from_file(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    // Opening a FIFO would wait until somebody writes to it.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretError::NoFile(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(SecretError::Mode { path, mode });
    }
    let mut bytes = Vec::with_capacity(MAX_SECRET + 3);
    let most = u64::try_from(MAX_SECRET + 2).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let mut line = bytes[..end.unwrap_or(bytes.len())].to_vec();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    bytes.zeroize();
    make(line, &path.display().to_string())
}

/// The secret in `bytes`, which came from `place`.
pub(crate) fn make(bytes: Vec<u8>, place: &str) -> Result<Secret, SecretError> {
    Secret::new(bytes).map_err(|source| SecretError::Length {
        place: place.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn secrets_come_from_regular_files_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        let fifo = at("fifo");
        std::thread::spawn(move || done.send(from_file(&fifo).map(drop)));
        let ended = ended.recv_timeout(std::time::Duration::from_secs(10));
        let refused = ended.expect("the FIFO is waited for");
        assert!(
            matches!(refused, Err(SecretError::NoFile(_))),
            "{refused:?}"
        );
        assert!(matches!(
            from_file(Path::new("/dev/zero")),
            Err(SecretError::NoFile(_))
        ));
        assert!(matches!(
            from_file(directory.path()),
            Err(SecretError::NoFile(_))
        ));
        write(at("secret"), "a secret of some length\r\nmore\n").unwrap();
        set_permissions(at("secret"), Permissions::from_mode(0o600)).unwrap();
        let wanted = Secret::new(b"a secret of some length".to_vec()).unwrap();
        assert!(from_file(&at("secret")).unwrap().same(&wanted));
        set_permissions(at("secret"), Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            from_file(&at("secret")),
            Err(SecretError::Mode { mode: 0o640, .. })
        ));
    }
}
