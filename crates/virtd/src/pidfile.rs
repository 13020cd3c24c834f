//! One daemon per pid file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
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
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut text = String::new();
        let _ = (&mut file).take(32).read_to_string(&mut text);
        let held = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        let number = text.trim().parse::<u32>().ok();
        let other = number.filter(|number| *number != std::process::id() && is_daemon(*number));
        if held || other.is_some() {
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
}
