//! One daemon per pid file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::exit::Failure;

/// The file, held as long as the daemon runs and removed when it ends.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl PidFile {
    /// Takes the file and writes this process's number into it.
    ///
    /// # Errors
    /// [`Failure`] when another daemon holds it (a C daemon, which takes no lock, counts as long as
    /// it runs), or when it cannot be written.
    pub fn take(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::start(format!(
                "cannot write the pid file {}: {error}; start as root, or name another one with -p",
                path.display()
            ))
        };
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
        };
        let lock =
            |file: &File| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let mut file = open().map_err(failed)?;
        let mut is_ours = lock(&file);
        if is_ours && !is_at(&file, path) {
            // A daemon that was ending removed it in between; a lock on that file keeps nobody out.
            file = open().map_err(failed)?;
            is_ours = lock(&file) && is_at(&file, path);
        }
        let mut text = String::new();
        let _ = (&mut file).take(32).read_to_string(&mut text);
        let number = text.trim().parse::<u32>().ok();
        let other = number.filter(|number| *number != std::process::id() && is_daemon(*number));
        if !is_ours || other.is_some() {
            let who = number.map_or_else(String::new, |number| format!(" (process {number})"));
            return Err(Failure::start(format!(
                "another fence_virtd runs already{who}, says {}; stop it, or name another file with -p",
                path.display()
            )));
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            _file: file,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether `file` is what `path` names now.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => id(open) == id(named),
        _ => false,
    }
}

/// Whether that process is a fence_virtd, ours or C's.
fn is_daemon(number: u32) -> bool {
    std::fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| {
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        program.ends_with(b"fence_virtd")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_a_stale_file_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(&path, "4194304999\n").unwrap();
        let first = PidFile::take(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        let refused = PidFile::take(&path).unwrap_err();
        assert_eq!(refused.code, crate::exit::START_FAILURE);
        assert!(refused.message.contains("runs already"), "{refused}");
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_removed_file_is_not_the_one_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let old = File::create(&path).unwrap();
        assert!(is_at(&old, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&old, &path));
        let _new = File::create(&path).unwrap();
        assert!(!is_at(&old, &path));
    }
}
