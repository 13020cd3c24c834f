//! Locks on files that other programs respect.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Beside other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// Locks the whole of `file` until it is closed; false if somebody else has a lock that forbids it.
///
/// An open file description lock (`fcntl`), not `flock`: it also meets those that virtual machine monitors put on
/// their images, and counts between two servers within one process.
///
/// # Errors
/// If the file system has no locks.
pub(crate) fn try_lock(file: &File, mode: Mode) -> io::Result<bool> {
    let kind = match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    };
    let whole = libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `whole` is what F_OFD_SETLK reads.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) };
    if answer == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}
