//! `picket storage serve` and `picket storage control`: the program `picket-target` in this one.

use std::process::ExitCode;

use target::cli::ServeOptions;
use target::control::ControlCommand;
use target::exit::Failure;

use crate::exit;

/// Serves disks until a signal comes.
pub(crate) fn run(options: &ServeOptions) -> ExitCode {
    finish(target::program::serve(options))
}

/// Asks a running server, or changes it.
pub(crate) fn control(command: &ControlCommand) -> ExitCode {
    finish(command.clone().run().map(|text| print!("{text}")))
}

fn finish(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::from(exit::SUCCESS),
        Err(failure) => {
            eprintln!("picket: {failure}");
            ExitCode::from(code(failure.code))
        }
    }
}

/// The codes of `picket-target` in the words of this program.
const fn code(of_target: u8) -> u8 {
    match of_target {
        target::exit::SUCCESS => exit::SUCCESS,
        target::exit::USAGE => exit::USAGE,
        target::exit::CONFIGURATION => exit::DEFINITION,
        target::exit::UNREACHABLE => exit::NOT_REACHED,
        target::exit::UNKNOWN => exit::INCOMPLETE,
        _ => exit::FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_becomes_a_success_and_what_is_unknown_stays_so() {
        for failure in 1..=u8::MAX {
            assert_ne!(code(failure), exit::SUCCESS, "{failure}");
        }
        assert_eq!(code(target::exit::UNKNOWN), exit::INCOMPLETE);
        assert_eq!(code(target::exit::REFUSED), exit::FAILED);
    }
}
