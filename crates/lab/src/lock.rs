//! Locks between processes: files that the kernel unlocks when their holder ends, however it ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use deadline::Deadline;

use crate::command::{Cancel, wait_for};
use crate::error::Error;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Who holds a lock that we did not get.
pub(crate) struct Held {
    pub(crate) by: Option<u32>,
}

impl Lock {
    /// Takes the lock `path` if nobody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Result<Self, Held>, Error> {
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io("open the lock", path))?;
        match file.try_lock() {
            Ok(()) => {
                // For whoever finds it locked; nothing depends on it.
                let _ = file
                    .set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()));
                Ok(Ok(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file
                    .seek(SeekFrom::Start(0))
                    .and_then(|_| file.take(32).read_to_string(&mut text));
                Ok(Err(Held {
                    by: text.trim().parse().ok(),
                }))
            }
            Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
        }
    }

    /// Takes the lock, waiting for its holder. `waiting` is called once if that is needed.
    pub(crate) fn wait(
        path: &Path,
        deadline: Deadline,
        cancel: &Cancel,
        mut waiting: impl FnMut(Option<u32>),
    ) -> Result<Self, Error> {
        let mut told = false;
        wait_for(
            "waiting for another process to build the image",
            deadline,
            cancel,
            || {
                Self::try_take(path).map(|taken| match taken {
                    Ok(lock) => Some(lock),
                    Err(held) => {
                        if !told {
                            told = true;
                            waiting(held.by);
                        }
                        None
                    }
                })
            },
            String::new,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::try_take(&path).unwrap().ok().unwrap();
        let held = Lock::try_take(&path).unwrap().err().unwrap();
        assert_eq!(held.by, Some(std::process::id()));
        drop(first);
        assert!(Lock::try_take(&path).unwrap().is_ok());
    }
}
