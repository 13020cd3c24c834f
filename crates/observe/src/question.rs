//! The script a machine is asked with, and its output taken apart again.
//!
//! One script per machine and look: over ssh a single round trip. It runs several tools, each with a
//! time limit of its own, and tags every line with the tool's name, so that no output of one tool can
//! be taken for another's:
//!
//! ```text
//! crm_mon  <pacemaker-result …
//! crm_mon ?0                      the exit status is the last line of a tool
//! crm_mon !crm_mon: warning …     up to 20 lines of standard error
//! end
//! ```
//!
//! Lines of output have a second space after the tag, so no tool can forge the marks `?` and `!` either.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Runs a command and tags what it prints. `$limit` is in seconds.
const PRELUDE: &str = r#"LC_ALL=C.UTF-8; export LC_ALL
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"; export PATH
if command -v timeout >/dev/null 2>&1; then t="timeout -k 1 $limit"; else t=; fi
ask() {
    tag=$1; shift
    { said=$( { { $t "$@" </dev/null; printf '\n%s\n' "$?"; } | sed -e "\$!s/^/$tag  /" -e "\$s/^/$tag ?/" >&4; } 2>&1 ); } 4>&1
    [ -z "$said" ] || printf '%s\n' "$said" | sed -n "1,20s/^/$tag !/p"
}
"#;

/// A script that asks with several tools.
#[derive(Debug, Clone)]
pub struct Question(String);

impl Question {
    /// A script that asks nothing yet and lets each tool take at most `limit`, in whole seconds.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self(format!("limit={}\n{PRELUDE}", limit.as_secs().max(1)))
    }

    /// Asks with the command `argv` as well. `tag` is a word of letters, digits and underscores.
    #[must_use]
    pub fn with(mut self, tag: &str, argv: &[&str]) -> Self {
        debug_assert!(
            tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "a tag is one plain word"
        );
        let _ = writeln!(self.0, "ask {tag} {}", shell::command(argv));
        self
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> String {
        format!("{}echo end\n", self.0)
    }
}

/// What a node of a cluster is asked. Configuration is not: it may hold passwords of fencing devices.
#[must_use]
pub fn of_node(limit: Duration) -> Question {
    Question::new(limit)
        .with("clock", &["date", "+%s"])
        .with("name", &["uname", "-n"])
        .with("crm_mon", &["crm_mon", "--inactive", "--output-as=xml"])
        .with(
            "history",
            // Without -V only successes are listed.
            &["stonith_admin", "--history", "*", "-V", "--output-as=xml"],
        )
        .with("cluster", &["corosync-cmapctl", "-g", "totem.cluster_name"])
        .with("quorum", &["corosync-quorumtool", "-s"])
        .with("links", &["corosync-cfgtool", "-s"])
}

/// What one tool said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its exit status; `None` when its output was cut off before its end.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// The beginning of standard error.
    pub stderr: String,
}

impl Said {
    /// Whether the tool is not there: what a shell and `timeout` say of a program they cannot find.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.status == Some(127)
    }

    /// Whether the tool did not end within its limit: what `timeout` says then, also after a kill.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self.status, Some(124 | 137))
    }

    /// In a few words, how it failed.
    #[must_use]
    pub fn trouble(&self) -> String {
        let how = match self.status {
            None => "its output was cut off".to_owned(),
            Some(_) if self.is_missing() => "it is not installed".to_owned(),
            Some(_) if self.is_late() => "it took too long".to_owned(),
            Some(status) => format!("exit status {status}"),
        };
        match self.stderr.lines().find(|line| !line.trim().is_empty()) {
            Some(line) if !self.is_missing() => format!("{how}: {}", line.trim()),
            _ => how,
        }
    }
}

/// What the tools of one machine said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    tools: HashMap<String, Said>,
    /// Whether the script came to its end.
    pub is_complete: bool,
}

impl Answers {
    /// Takes the output of a [`Question`] apart. Lines that bear no tag are dropped: a login script
    /// may have printed them.
    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let mut answers = Self::default();
        for line in text.split('\n') {
            if line == "end" {
                answers.is_complete = true;
                continue;
            }
            let Some((tag, rest)) = line.split_once(' ') else {
                continue;
            };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if tag.is_empty() || tag.len() > 32 || !tag.bytes().all(plain) {
                continue;
            }
            let mut chars = rest.chars();
            let mark = chars.next();
            if !matches!(mark, Some(' ' | '?' | '!')) {
                continue;
            }
            answers
                .tools
                .entry(tag.to_owned())
                .or_default()
                .take(mark, chars.as_str());
        }
        answers
    }

    /// What the tool with this tag said; `None` if it left no trace.
    #[must_use]
    pub fn of(&self, tag: &str) -> Option<&Said> {
        self.tools.get(tag)
    }
}

impl Said {
    fn take(&mut self, mark: Option<char>, rest: &str) {
        let stream = match mark {
            Some('?') => {
                self.status = rest.parse().ok();
                // The script sets the status off with an empty line where the tool ended its last one.
                if self.stdout.ends_with("\n\n") {
                    self.stdout.pop();
                }
                return;
            }
            Some('!') => &mut self.stderr,
            _ => &mut self.stdout,
        };
        stream.push_str(rest);
        stream.push('\n');
    }
}
