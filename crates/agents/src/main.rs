//! `picket-agents`: every agent in one program. Called through a link or copy named like an agent, or
//! like a watchdog check, it is that; called by its own name, the first argument names the agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    agents::run(std::env::args_os()).into()
}
