//! The program `fence_virtd`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    share_one_heap();
    ExitCode::from(virtd::program::run())
}

/// Makes all threads allocate from one arena. glibc gives each thread one of its own, which here is
/// memory for nothing: threads wait for peers and for libvirt, they do not compete for the heap.
fn share_one_heap() {
    // SAFETY: mallopt takes two integers and only sets a parameter of the allocator; no other thread
    // runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
