//! `picket-agents`: every agent in one program. Called through a link or copy named like an agent, or
//! like a watchdog check, it is that; called by its own name, the first argument names the agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    keep_to_what_is_linked_in();
    agents::run(std::env::args_os()).into()
}

/// A static program of glibc loads what `nsswitch.conf` names beyond "files" and "dns" from the system it runs on, whose C library
/// may be another one: looking a name up then crashes it. These two are in the program itself, and are all that is asked.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
fn keep_to_what_is_linked_in() {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        /// nss.h
        fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
    }
    // SAFETY: both are strings that end with a zero byte and last for ever, and no other thread runs yet. It fails for want of
    // memory only, and then the system's configuration stays.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
const fn keep_to_what_is_linked_in() {}
