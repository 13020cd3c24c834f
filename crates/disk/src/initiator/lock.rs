//! One process at a time is a given initiator port.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use rustix::fs::{FlockOperation, flock};

use crate::DeviceError;
use crate::initiator::SessionOptions;

/// How soon a lock that was given up is noticed.
const LOOK: Duration = Duration::from_millis(10);

/// A lock, given up when dropped.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the initiator port at the target that `session` is about.
    ///
    /// # Errors
    /// If somebody else has it until `deadline`, or there can be none.
    pub(super) fn take(
        directory: &Path,
        session: &SessionOptions,
        deadline: Deadline,
    ) -> Result<Self, DeviceError> {
        let failed = |source| DeviceError::Node {
            device: format!("{}: the lock in {}", session.name, directory.display()),
            source,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        // The initiator session id is derived from the names of both ends and the logical unit.
        let id: String = session
            .isid
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(directory.join(format!("iscsi-{id}.lock")))
            .map_err(failed)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(failed(error.into()));
                }
                Err(_) if deadline.has_passed() => {
                    return Err(DeviceError::NotSent {
                        device: session.name.clone(),
                        reason: "another process of this machine has it open",
                    });
                }
                Err(_) => thread::sleep(LOOK.min(deadline.remaining())),
            }
        }
    }
}
