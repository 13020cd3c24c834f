//! What the daemon's answer means: output, log record and exit status.

use std::fmt::Write;

use fence_agent::{Exit, Failure, FailureKind, Session};
use fence_wire::{Answer, HostRecord, Operation, Reply};

use super::config::Config;

/// Reports an answer.
pub(crate) fn report(
    config: &Config,
    action: &str,
    answer: Answer,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let question = config.question();
    match (config.operation, answer) {
        (Operation::HOST_LIST, Answer::Hosts(hosts)) => {
            session.print(&table(&hosts)).map(|()| Exit::OK)
        }
        (Operation::HOST_LIST, Answer::Reply(Reply::SUCCESS)) => Err(Failure::refused(format!(
            "operation failed: {action}: the host sent no list"
        ))),
        (_, Answer::Hosts(_)) => Err(Failure::refused(format!(
            "operation failed: {question}: the host sent a list instead of an answer"
        ))),
        (Operation::STATUS, Answer::Reply(Reply::SUCCESS)) => {
            session.print("Status: ON\n").map(|()| Exit::OK)
        }
        (Operation::STATUS, Answer::Reply(Reply::OFF)) => {
            session.print("Status: OFF\n").map(|()| Exit::OFF)
        }
        (operation, Answer::Reply(Reply::SUCCESS)) => {
            if operation.is_power_action() {
                session
                    .log()
                    .record(&format!("{question}: the host confirms success"));
            }
            Ok(Exit::OK)
        }
        (_, Answer::Reply(reply)) => Err(refusal(reply, &question)),
    }
}

fn refusal(reply: Reply, question: &str) -> Failure {
    match reply {
        Reply::FAILURE => Failure::refused(format!(
            "operation failed: the host answered no to {question}"
        )),
        Reply::DENIED => Failure::new(
            FailureKind::Denied,
            format!(
                "permission denied: the host's groups do not let this guest ask for {question}"
            ),
        ),
        Reply::OFF => Failure::cannot_know(format!(
            "operation failed: the host answered `off` to {question}"
        ))
        .with_exit(Exit::OFF),
        Reply(other) => Failure::cannot_know(format!(
            "operation failed: unknown response {other} to {question}"
        ))
        .with_exit(Exit::unknown_reply(other)),
    }
}

/// One line per guest: name in 32 columns, UUID, on or off. Only libvirt's state "running" is on.
fn table(hosts: &[HostRecord]) -> String {
    let mut text = String::new();
    for host in hosts {
        let state = if host.is_running() { "on" } else { "off" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<32} {} {state}",
            printable(&host.name),
            printable(&host.uuid)
        );
    }
    text
}

/// A guest's name cannot forge a line of the list.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_c_agents_print_them() {
        let host = |name: &str, state| HostRecord {
            name: name.to_owned(),
            uuid: "11111111-1111-4111-8111-111111111111".to_owned(),
            state,
        };
        let text = table(&[host("vm1", 1), host("paused\nvm", 3)]);
        assert_eq!(
            text,
            "vm1                              11111111-1111-4111-8111-111111111111 on\n\
             paused?vm                        11111111-1111-4111-8111-111111111111 off\n"
        );
    }

    #[test]
    fn no_answer_but_success_is_a_success() {
        for code in 1..=u8::MAX {
            let failure = refusal(Reply(code), "off of `vm1`");
            assert_ne!(failure.exit(), Exit::OK, "{code}");
        }
        assert_eq!(refusal(Reply::DENIED, "off").exit(), Exit::DENIED);
        assert_eq!(refusal(Reply(0xFE), "off").exit().code(), 0xFE);
    }
}
