//! The program `fence_virtd`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(virtd::program::run())
}
