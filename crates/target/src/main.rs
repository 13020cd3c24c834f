//! The program `picket-target`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(target::program::run())
}
