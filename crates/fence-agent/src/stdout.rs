//! Standard output that tells when it fails.
//!
//! Rust's runtime opens `/dev/null` in place of a closed standard output before `main`, and its
//! `println!` panics or stays silent on errors. An agent whose metadata or `Status:` line went
//! nowhere must not exit 0, so output is written here, to the descriptor, and every error counts.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Whether descriptor 1 was closed when the process started.
static CLOSED_AT_START: AtomicBool = AtomicBool::new(false);

extern "C" fn look_before_the_runtime_repairs_it() {
    // SAFETY: descriptor 1 is only asked for its flags; if it is not open the kernel answers EBADF.
    let stdout = unsafe { std::os::fd::BorrowedFd::borrow_raw(1) };
    if rustix::io::fcntl_getfd(stdout) == Err(Errno::BADF) {
        CLOSED_AT_START.store(true, Ordering::SeqCst);
    }
}

// SAFETY: the section holds pointers to C functions that the C runtime calls once before main; this
// function takes no arguments, allocates nothing and touches nothing but one atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look_before_the_runtime_repairs_it;

/// Writes all of `text`.
pub(crate) fn write(mut text: &[u8], until: Deadline) -> io::Result<()> {
    if CLOSED_AT_START.load(Ordering::SeqCst) {
        return Err(Errno::BADF.into());
    }
    let stdout = rustix::stdio::stdout();
    while !text.is_empty() {
        let mut fds = [PollFd::from_borrowed_fd(stdout, PollFlags::OUT)];
        let left = until.remaining();
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut fds, Some(&time)) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "timed out: nobody reads it",
                ));
            }
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // A pipe that is ready takes at least PIPE_BUF bytes without blocking; more might block.
        match rustix::io::write(stdout, &text[..text.len().min(4096)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => text = &text[count..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
