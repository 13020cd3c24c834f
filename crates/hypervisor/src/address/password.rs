//! Passwords, from files that nobody else has access to.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::{Zeroize as _, Zeroizing};

/// Longest password that is taken, in bytes.
const MOST: usize = 1024;

/// A password. It is never printed, and its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password, to be kept by somebody else.
    #[must_use]
    pub fn into_inner(self) -> Zeroizing<String> {
        self.0
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why there is no password. Its bytes are never shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("the password file {} cannot be read: {error}; {}", path.display(), remedy(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is a directory, a pipe, a device.
    #[error("the password file {} is not a regular file; {}", path.display(), remedy(path))]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others may read or change it, or have read it already.
    #[error(
        "the password file {0} is open to others (owner {owner}, mode {mode:04o}): run chown root {0} and chmod 600 {0}, and change the password if others could read it",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// No password is like that.
    #[error("the password file {} {what}; {}", path.display(), remedy(path))]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        what: &'static str,
    },
}

fn remedy(path: &Path) -> String {
    let path = path.display();
    format!("write the password into its first line: (umask 077; cat > {path})")
}

/// The password in a file: its first line, without the end of the line. The file must belong to root or to whoever runs this
/// program, and nobody else may have access to it. Opening a pipe or a device never blocks.
///
/// # Errors
/// [`PasswordError`], with the remedy.
pub fn read_password(path: &Path) -> Result<Password, PasswordError> {
    let unreadable = |error| PasswordError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(PasswordError::NotAFile {
            path: path.to_owned(),
        });
    }
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let own = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 || (owner != 0 && owner != own) {
        return Err(PasswordError::Open {
            path: path.to_owned(),
            owner,
            mode,
        });
    }
    first_line(file)
        .map_err(unreadable)?
        .map_err(|what| PasswordError::Content {
            path: path.to_owned(),
            what,
        })
}

fn first_line(file: File) -> io::Result<Result<Password, &'static str>> {
    // One byte more than is taken, so that what is too long is not cut; and room for the end of the line.
    const ROOM: usize = MOST + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    file.take(u64::try_from(ROOM).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    bytes[end..].zeroize();
    bytes.truncate(end);
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Ok(Err("has an empty first line"));
    }
    if bytes.len() > MOST {
        return Ok(Err("has a first line of more than 1024 bytes"));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(Err("is not UTF-8"));
    };
    if text.chars().any(char::is_control) {
        return Ok(Err("holds control characters"));
    }
    Ok(Ok(Password::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), content).unwrap();
        set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_line_counts_whole() {
        let most = "x".repeat(MOST);
        for (content, password) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\nmore\n", "hunter2"),
            (" p\u{e4}ss w\u{f6}rd \n", " p\u{e4}ss w\u{f6}rd "),
            (&most, &most),
            (&format!("{most}\r\n"), &most),
        ] {
            let file = file(content.as_bytes(), 0o600);
            let read = read_password(file.path()).unwrap();
            assert_eq!(read.expose(), password);
            assert!(!format!("{read:?}").contains(password));
        }
    }

    #[test]
    fn what_is_no_password_is_refused_and_not_shown() {
        let long = "hunter2".repeat(MOST);
        for content in [
            &b""[..],
            b"\nhunter2",
            b"hunter2\0",
            b"hunter2\xff",
            long.as_bytes(),
        ] {
            let file = file(content, 0o400);
            let error = read_password(file.path()).unwrap_err();
            assert!(matches!(error, PasswordError::Content { .. }), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            assert!(error.to_string().contains("umask 077"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_have_access_to_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let file = file(b"hunter2", mode);
            let error = read_password(file.path()).unwrap_err();
            assert!(matches!(error, PasswordError::Open { .. }), "{error:?}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let file = file(b"hunter2", 0o600);
        std::os::unix::fs::chown(file.path(), Some(65_534), None).unwrap();
        let error = read_password(file.path()).unwrap_err();
        assert!(error.to_string().contains("owner 65534"), "{error}");
    }

    #[test]
    fn nothing_but_a_file_is_read_and_nothing_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        for path in [folder.path(), &pipe, Path::new("/dev/zero")] {
            let error = read_password(path).unwrap_err();
            assert!(matches!(error, PasswordError::NotAFile { .. }), "{error:?}");
        }
        let missing = read_password(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, PasswordError::Unreadable { .. }));
    }
}
