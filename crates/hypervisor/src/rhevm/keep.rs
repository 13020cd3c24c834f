//! A session kept in a file, for the next run of the program (I19), where nobody else can read or replace it (I35).
//!
//! The directory is made with mode 0700 where it does not exist. The file is made anew beside its place, by this process alone
//! (`O_EXCL`, mode 0600), and then renamed. A file or directory that somebody else owns or could have written is not used, and a
//! symbolic link is not followed.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::settings::Version;
use super::ticket::Ticket;

/// Where sessions are kept unless told otherwise: on systems of today a file system in memory, for root alone.
pub const DIRECTORY: &str = "/run/picket";

/// The first line of a session file.
const HEADING: &str = "picket session 1";
/// More than any session file has, in bytes.
const LONGEST: u64 = 16 * 1024;
/// How long a session is taken up again after its login, however busy it was: a password that has changed since shows by then.
const LONGEST_USE: Duration = Duration::from_mins(30);
/// The sticky bit: in such a directory only owners replace their files.
const STICKY: u32 = 0o1000;

/// The usual file for the sessions of this user with the engine at `url`.
#[must_use]
pub fn usual_file(url: &str, username: &str) -> PathBuf {
    let name = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || ".-@".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(90)
            .collect()
    };
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    Path::new(DIRECTORY).join(format!("rhevm-{}-{}", name(address), name(username)))
}

/// Why a session cannot be kept or taken up again. Reads after "failed: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} {why}", path.display())]
    Unsafe { path: PathBuf, why: &'static str },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Problem {
    let path = path.to_owned();
    move |source| Problem::Io { path, source }
}

/// The session of `username` with the engine `by`, if the file has one that is not too old.
pub(super) fn load(
    path: &Path,
    by: &str,
    username: &str,
) -> Result<Option<(Ticket, Version)>, Problem> {
    let file = match open(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(path)(error)),
    };
    let there = file.metadata().map_err(io_at(path))?;
    is_ours(path, &there)?;
    // Written once, at the login. A time to come says nothing.
    let written = there.modified().map_err(io_at(path))?;
    let age = SystemTime::now().duration_since(written);
    if age.is_err() || age.is_ok_and(|age| age > LONGEST_USE) {
        return Ok(None);
    }
    let mut text = Zeroizing::new(String::new());
    // What is not text is no session of ours.
    if file.take(LONGEST).read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    Ok(parse(&text, by, username))
}

fn parse(text: &str, by: &str, username: &str) -> Option<(Ticket, Version)> {
    let mut lines = text.lines();
    let mut next = |wanted: &str| lines.next().filter(|line| *line == wanted);
    next(HEADING)?;
    next(&one_line(by))?;
    next(&one_line(username))?;
    let version = match lines.next()? {
        "3" => Version::V3,
        "4" => Version::V4,
        _ => return None,
    };
    let (kind, secret) = lines.next()?.split_once(' ')?;
    Some((Ticket::restore(kind, secret)?, version))
}

/// Keeps a session for the next run.
pub(super) fn store(
    path: &Path,
    by: &str,
    username: &str,
    ticket: &Ticket,
    version: Version,
) -> Result<(), Problem> {
    let Some(secret) = ticket.secret() else {
        return Ok(());
    };
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    prepare(directory)?;
    if let Ok(there) = fs::symlink_metadata(path) {
        is_ours(path, &there)?;
    }
    let version = if version == Version::V3 { "3" } else { "4" };
    let (by, username, kind) = (one_line(by), one_line(username), ticket.kind());
    let text = Zeroizing::new(format!(
        "{HEADING}\n{by}\n{username}\n{version}\n{kind} {secret}\n"
    ));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = directory.join(name);
    // Left by a process of this number that was killed; if it is not ours, making it anew fails below.
    let _ = fs::remove_file(&beside);
    let mut file =
        open(&beside, OpenOptions::new().write(true).create_new(true)).map_err(io_at(&beside))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        io_at(path)(error)
    })
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    options.mode(0o600).custom_flags(flags).open(path)
}

fn prepare(directory: &Path) -> Result<(), Problem> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io_at(directory))?;
    let unsafe_because = |why| {
        Err(Problem::Unsafe {
            path: directory.to_owned(),
            why,
        })
    };
    let there = fs::symlink_metadata(directory).map_err(io_at(directory))?;
    if !there.is_dir() {
        return unsafe_because("is no directory");
    }
    if there.uid() != own_uid() && there.uid() != 0 {
        return unsafe_because("belongs to somebody else");
    }
    if there.mode() & 0o022 != 0 && there.mode() & STICKY == 0 {
        return unsafe_because("can be written by others");
    }
    Ok(())
}

fn is_ours(path: &Path, there: &Metadata) -> Result<(), Problem> {
    let unsafe_because = |why| {
        Err(Problem::Unsafe {
            path: path.to_owned(),
            why,
        })
    };
    if !there.is_file() {
        return unsafe_because("is no file");
    }
    if there.uid() != own_uid() {
        return unsafe_because("belongs to somebody else");
    }
    if there.mode() & 0o077 != 0 {
        return unsafe_because("can be read or written by others: remove it");
    }
    Ok(())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const BY: &str = "https://m:443/ovirt-engine/api";

    fn ticket() -> Ticket {
        Ticket::restore("token", "s3cret").unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_session_comes_back_to_the_same_user_of_the_same_engine_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions/one");
        assert!(matches!(load(&path, BY, "u"), Ok(None)));
        store(&path, BY, "u", &ticket(), Version::V4).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(load(&path, BY, "u").unwrap(), Some((ticket(), Version::V4)));
        assert_eq!(load(&path, BY, "v").unwrap(), None);
        assert_eq!(load(&path, "https://n:443/api", "u").unwrap(), None);
        let other = Ticket::restore("cookie", "JSESSIONID=1").unwrap();
        store(&path, BY, "u", &other, Version::V3).unwrap();
        assert_eq!(load(&path, BY, "u").unwrap(), Some((other, Version::V3)));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_could_have_made_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        store(&path, BY, "u", &ticket(), Version::V4).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            load(&path, BY, "u")
                .unwrap_err()
                .to_string()
                .contains("others")
        );
        assert!(store(&path, BY, "u", &ticket(), Version::V4).is_err());

        let (link, aim) = (dir.path().join("link"), dir.path().join("aim"));
        fs::write(&aim, "precious").unwrap();
        symlink(&aim, &link).unwrap();
        assert!(
            load(&link, BY, "u").is_err() && store(&link, BY, "u", &ticket(), Version::V4).is_err()
        );
        assert_eq!(fs::read_to_string(&aim).unwrap(), "precious");

        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(store(&open.join("one"), BY, "u", &ticket(), Version::V4).is_err());
        assert!(
            load(&dir.path().join(""), BY, "u").is_err(),
            "a directory is no session"
        );
    }

    #[test]
    fn an_old_session_is_not_taken_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        store(&path, BY, "u", &ticket(), Version::V4).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let minutes = |minutes| Duration::from_mins(minutes);
        for (written, taken) in [
            (SystemTime::now() - minutes(29), true),
            (SystemTime::now() - minutes(31), false),
            (SystemTime::now() + minutes(5), false),
        ] {
            file.set_modified(written).unwrap();
            assert_eq!(load(&path, BY, "u").unwrap().is_some(), taken);
        }
    }

    #[test]
    fn nonsense_is_no_session() {
        for text in [
            "",
            HEADING,
            "picket session 2\nx",
            &format!("{HEADING}\n{BY}\nu\n5\ntoken a"),
            "\u{0}",
        ] {
            assert_eq!(parse(text, BY, "u"), None, "{text:?}");
        }
    }

    #[test]
    fn the_usual_file_stays_in_its_directory() {
        let path = usual_file("https://../../etc:443/api", "../x@internal");
        assert_eq!(path.parent(), Some(Path::new(DIRECTORY)));
        assert_eq!(
            path,
            Path::new("/run/picket/rhevm-.._.._etc_443_api-.._x@internal")
        );
    }
}
