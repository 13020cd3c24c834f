//! Saying what was rendered: for people, and as JSON. The field names are an interface.

use std::io::{self, Write as _};
use std::path::Path;

use cluster::{File, Phase};
use serde_json::{Value, json};

use super::check::{Check, Outcome, Verdict};
use super::{Error, Machine, Rendering, Role};

/// What there is to say.
pub(super) struct Shown<'a> {
    pub(super) rendering: &'a Rendering,
    pub(super) only: &'a [String],
    pub(super) output: Option<&'a Path>,
    pub(super) secrets: &'a Path,
    pub(super) checks: &'a [Check],
    pub(super) verdict: Verdict,
}

/// Prints the JSON schema of definitions.
pub(super) fn schema() -> Result<(), Error> {
    print(&pretty(&cluster::schema()))
}

/// Says what the tools said, on standard error.
fn checks(checks: &[Check]) {
    for check in checks {
        match &check.outcome {
            Outcome::Passed => eprintln!("{}: {} is content", check.subject, check.tool),
            Outcome::Failed { said } => {
                eprintln!(
                    "{}: {} finds fault:\n{}",
                    check.subject,
                    check.tool,
                    indented(said)
                );
            }
            Outcome::Unknown { why } => {
                eprintln!("{}: not checked by {}: {why}", check.subject, check.tool);
            }
        }
    }
}

fn indented(said: &str) -> String {
    let lines: Vec<String> = said
        .trim_end()
        .lines()
        .map(|line| format!("  {line}"))
        .collect();
    lines.join("\n")
}

impl Shown<'_> {
    /// Says what keeps it from being written.
    pub(super) fn rejection(&self) {
        checks(self.checks);
        let failed = self.checks.iter().filter(|check| check.is_failure());
        eprintln!(
            "picket render: {} of the checks failed; nothing was written",
            failed.count()
        );
    }

    pub(super) fn text(&self) -> Result<(), Error> {
        checks(self.checks);
        let mut out = String::new();
        for (machine, files) in self.rendering.wanted(self.only) {
            let what = match machine.role {
                Role::Node => "node",
                Role::Host => "host",
            };
            out.push_str(&format!("{what} {}\n", machine.name));
            for file in files {
                let owner = file.owner;
                out.push_str(&format!(
                    "  {:04o} {}:{} {}\n",
                    file.mode,
                    owner.user(),
                    owner.group(),
                    file.path.display()
                ));
            }
        }
        match self.output {
            Some(directory) => {
                out.push_str(&format!(
                    "Written to {}; the secrets are made from {}/seed.\n",
                    directory.display(),
                    self.secrets.display()
                ));
                if self.only.is_empty() {
                    out.push_str(&format!(
                        "What is left to do by hand is in {}.\n",
                        directory.join("instructions.md").display()
                    ));
                }
            }
            None => out.push_str("Nothing was written: give --output DIR for that.\n"),
        }
        print(&out)
    }

    pub(super) fn json(&self) -> Result<(), Error> {
        let machines: Vec<Value> = self
            .rendering
            .wanted(self.only)
            .map(|(machine, files)| machine_json(machine, &files))
            .collect();
        let setup: Vec<Value> = self
            .rendering
            .setup
            .iter()
            .map(|step| {
                let phase = match step.phase {
                    Phase::BeforeStart => "before-start",
                    Phase::Running => "running",
                };
                let on: Vec<&str> = step.on.iter().map(|name| name.as_str()).collect();
                json!({"title": step.title, "phase": phase, "on": on, "check": step.check, "make": step.make})
            })
            .collect();
        let document = json!({
            "cluster": self.rendering.cluster,
            "output": self.output.map(|path| path.to_string_lossy()),
            "secrets": self.output.map(|_| self.secrets.to_string_lossy()),
            "machines": machines,
            "setup": setup,
            "checks": self.checks,
            "verdict": self.verdict,
            "exit_code": self.verdict.exit_code(),
        });
        print(&pretty(&document))
    }
}

fn machine_json(machine: &Machine, files: &[&File]) -> Value {
    let role = match machine.role {
        Role::Node => "node",
        Role::Host => "host",
    };
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            json!({
                "path": file.path.to_string_lossy(),
                "mode": format!("{:04o}", file.mode),
                "owner": file.owner.user(),
                "group": file.owner.group(),
                "bytes": file.bytes.len(),
            })
        })
        .collect();
    json!({
        "name": machine.name,
        "role": role,
        "files": files,
        "enable": machine.units.enable,
        "disable": machine.units.disable,
    })
}

fn pretty(value: &Value) -> String {
    // A tree of JSON values can always be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A reader that has gone away wants no more.
fn print(text: &str) -> Result<(), Error> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", Path::new("standard output"))),
    }
}
