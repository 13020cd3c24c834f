//! The password: given, or printed by a program.

use std::fmt;

use deadline::Deadline;
use fence_agent::{Failure, Options, Session};
use zeroize::Zeroizing;

use crate::scsi::program;

/// Where the password comes from.
pub(crate) enum Password {
    /// It was given.
    Given(Zeroizing<String>),
    /// This program prints it.
    Printed(Vec<String>),
}

impl Password {
    /// From the options; a script goes before a password, as in fence-agents' library.
    ///
    /// # Errors
    /// When there is neither, or the script is none that can be run.
    pub(crate) fn from_options(options: &Options) -> Result<Self, String> {
        let script = options
            .text("password_script")
            .filter(|script| !script.trim().is_empty());
        if let Some(script) = script {
            return words(script).map(Self::Printed);
        }
        match options.text("password") {
            Some(password) => Ok(Self::Given(Zeroizing::new(password.to_owned()))),
            None => Err(
                "a password is needed: option `password` (-p) or `password_script` (-S)".to_owned(),
            ),
        }
    }

    pub(crate) fn none() -> Self {
        Self::Given(Zeroizing::default())
    }

    /// The password itself.
    ///
    /// # Errors
    /// When the program fails, takes longer than the run, or prints nothing.
    pub(crate) fn get(&self, session: &Session) -> Result<Zeroizing<String>, Failure> {
        let command = match self {
            Self::Given(password) => return Ok(password.clone()),
            Self::Printed(command) => command,
        };
        let [program, args @ ..] = command.as_slice() else {
            return Err(Failure::usage("password_script names no program"));
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let limit = Deadline::at(session.deadline().instant());
        let printed = Zeroizing::new(program::output(program, &args, limit, session)?);
        let password = printed.trim_end();
        if password.is_empty() {
            return Err(Failure::refused(format!(
                "password_script `{program}` printed no password"
            )));
        }
        Ok(Zeroizing::new(password.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given(_) => "Given(…)",
            Self::Printed(_) => "Printed(…)",
        })
    }
}

/// Splits a command as a shell would, without being one: quotes and backslashes count, and whatever would need a shell is refused.
fn words(command: &str) -> Result<Vec<String>, String> {
    const NEEDS_SHELL: &str = "|&;<>()$`*?\n";
    let refused = |character: char| {
        format!(
            "password_script is run without a shell, where `{}` means nothing: put the command into a file of its own",
            character.escape_debug()
        )
    };
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = command.trim().chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => {
                            return Err("password_script has a quote without its end".to_owned());
                        }
                        Some(end) if end == character => break,
                        Some(inner @ ('$' | '`')) if character == '"' => {
                            return Err(refused(inner));
                        }
                        Some('\\') if character == '"' => quoted.extend(characters.next()),
                        Some(inner) => quoted.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ if NEEDS_SHELL.contains(character) => return Err(refused(character)),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err("password_script names no program".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_without_a_shell() {
        for (command, expected) in [
            ("/etc/pw.sh", &["/etc/pw.sh"][..]),
            (" cat  /etc/pw ", &["cat", "/etc/pw"]),
            (
                "echo 'a b' \"c d\"e f\\ g ''",
                &["echo", "a b", "c de", "f g", ""],
            ),
            ("printf '$x'", &["printf", "$x"]),
        ] {
            assert_eq!(words(command).unwrap(), expected, "{command}");
        }
        for command in [
            "",
            "''",
            "cat x | y",
            "echo $(x)",
            "echo \"$x\"",
            "a; b",
            "a > b",
            "echo 'x",
            "`x`",
        ] {
            assert!(words(command).is_err(), "{command}");
        }
    }
}
