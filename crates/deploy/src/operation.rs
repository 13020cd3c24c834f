//! What is done on a machine: each operation is a value, and becomes one script.
//!
//! The scripts' functions are shell files beside this one; here only calls of them are generated, with
//! every argument quoted and every content in base64 in a here-document. Nothing secret is ever an
//! argument of a program.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::effect::Effect;

const COMMON: &str = include_str!("operation/common.sh");
const SURVEY: &str = include_str!("operation/survey.sh");
const CHANGE: &str = include_str!("operation/change.sh");
const DAEMONS: &str = include_str!("operation/daemons.sh");

/// Ends the here-documents; base64 holds no hyphen.
const END: &str = "end-of-content";

/// What a survey looks for on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// Path, wanted checksum, and whether its content may be shown.
    pub(crate) files: Vec<(String, String, bool)>,
    /// Programs, and the argument with which they print their version.
    pub(crate) programs: Vec<(String, Option<&'static str>)>,
    /// Owners of files, as user and group.
    pub(crate) owners: Vec<(&'static str, &'static str)>,
    /// systemd's units.
    pub(crate) units: Vec<String>,
    /// Addresses that must be the machine's own.
    pub(crate) addresses: Vec<String>,
    /// Whether Corosync and Pacemaker are looked at.
    pub(crate) cluster: bool,
}

/// A file to be staged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) user: &'static str,
    pub(crate) group: &'static str,
    pub(crate) sum: String,
    pub(crate) bytes: Vec<u8>,
}

/// Without the content: it may be secret.
impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {:04o} {} bytes",
            self.path,
            self.mode,
            self.bytes.len()
        )
    }
}

/// A check of staged files, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// `corosync -t`, with the key if that is staged too.
    Corosync { conf: usize, key: Option<usize> },
    /// `crm_verify`.
    Cib(usize),
}

/// What becomes of units, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Orders {
    pub(crate) stop: Vec<String>,
    pub(crate) disable: Vec<String>,
    /// Whether the one-node cluster's saved state is put aside once its daemons are stopped.
    pub(crate) put_aside: bool,
    /// Whether systemd reads its units again before anything else is done with them.
    pub(crate) reload_systemd: bool,
    pub(crate) enable: Vec<String>,
    pub(crate) reload: Vec<String>,
    pub(crate) start: Vec<String>,
    /// What has come about by that.
    pub(crate) settle: Vec<Effect>,
}

/// Something done on one machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Looks; changes nothing.
    Survey(Look),
    /// Copies files beside the journal.
    Stage { id: String, files: Vec<Staged> },
    /// Checks the copies.
    Verify { id: String, checks: Vec<Check> },
    /// Has Pacemaker judge a configuration that it is to be given later.
    Judge { xml: Vec<u8> },
    /// Puts the copies in their places.
    Install { id: String, effects: Vec<Effect> },
    /// Puts the former files back.
    RollBack { id: String },
    /// Gives systemd orders.
    Units(Orders),
    /// Makes all running Corosync read its configuration again, each its own node's file.
    ReloadCorosync,
    /// Waits until this node's Corosync has these settings in force, or has not those without a value.
    InForce {
        settings: Vec<(String, Option<String>)>,
        settle: Vec<Effect>,
    },
    /// Reads Pacemaker's configuration.
    ReadCib,
    /// Replaces Pacemaker's configuration if it still has that version.
    Configure { version: String, xml: Vec<u8> },
    /// Asks Pacemaker how the cluster is.
    Health,
    /// Lets Pacemaker forget what has failed, and try again.
    Retry,
    /// Waits until Pacemaker has nothing more to do.
    Settle,
    /// Runs a prepared script, to set up storage.
    Prepare { script: String },
    /// Writes down what was applied, and removes the copies.
    Finish { id: String, record: String },
}

impl Operation {
    /// Its name, for messages.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Survey(_) => "survey",
            Self::Stage { .. } => "stage",
            Self::Verify { .. } => "verify",
            Self::Judge { .. } => "judge configuration",
            Self::Install { .. } => "install",
            Self::RollBack { .. } => "roll back",
            Self::Units(_) => "units",
            Self::ReloadCorosync => "reload Corosync",
            Self::InForce { .. } => "in force",
            Self::ReadCib => "read configuration",
            Self::Configure { .. } => "configure",
            Self::Health => "health",
            Self::Retry => "retry",
            Self::Settle => "settle",
            Self::Prepare { .. } => "prepare storage",
            Self::Finish { .. } => "finish",
        }
    }

    /// The script.
    pub(crate) fn script(&self) -> Vec<u8> {
        let mut out = String::from(COMMON);
        match self {
            Self::Survey(look) => {
                out.push_str(SURVEY);
                survey(&mut out, look);
            }
            Self::Stage { id, files } => {
                out.push_str(CHANGE);
                stage(&mut out, id, files);
            }
            Self::Verify { id, checks } => {
                out.push_str(CHANGE);
                verify(&mut out, id, checks);
            }
            Self::Judge { xml } => {
                out.push_str(CHANGE);
                call_with_content(&mut out, &["judge_cib"], &BASE64.encode(xml));
            }
            Self::Install { id, effects } => {
                out.push_str(CHANGE);
                call_with_effects(&mut out, &["install_files", id], effects);
            }
            Self::RollBack { id } => {
                out.push_str(CHANGE);
                call(&mut out, &["roll_back", id]);
            }
            Self::Units(orders) => {
                out.push_str(DAEMONS);
                units(&mut out, orders);
            }
            Self::ReloadCorosync => {
                out.push_str(DAEMONS);
                call(&mut out, &["reload_corosync"]);
            }
            Self::InForce { settings, settle } => {
                out.push_str(DAEMONS);
                in_force(&mut out, settings);
                call_with_effects(&mut out, &["settle"], settle);
            }
            Self::ReadCib => {
                out.push_str(SURVEY);
                out.push_str(DAEMONS);
                call(&mut out, &["read_cib"]);
            }
            Self::Configure { version, xml } => {
                out.push_str(SURVEY);
                out.push_str(DAEMONS);
                call_with_content(&mut out, &["configure", version], &BASE64.encode(xml));
            }
            Self::Health => {
                out.push_str(DAEMONS);
                call(&mut out, &["health"]);
            }
            Self::Retry => {
                out.push_str(DAEMONS);
                call(&mut out, &["retry_failed"]);
            }
            Self::Settle => {
                out.push_str(DAEMONS);
                call(&mut out, &["wait_until_settled"]);
            }
            // Nothing of ours in it: it is a program of its own.
            Self::Prepare { script } => out = format!("exec </dev/null\n{script}"),
            Self::Finish { id, record } => {
                out.push_str(CHANGE);
                call_with_content(&mut out, &["finish", id], record.trim_end());
            }
        }
        out.into_bytes()
    }
}

/// Without contents: they may be secret.
impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn call(out: &mut String, words: &[&str]) {
    let _ = writeln!(out, "{}", shell::command(words));
}

fn call_with_effects(out: &mut String, words: &[&str], effects: &[Effect]) {
    let texts: Vec<_> = effects.iter().map(ToString::to_string).collect();
    let mut all = words.to_vec();
    all.extend(texts.iter().map(String::as_str));
    call(out, &all);
}

fn call_with_content(out: &mut String, words: &[&str], content: &str) {
    let command = shell::command(words);
    let _ = writeln!(out, "{command} <<'{END}'\n{content}\n{END}");
}

fn survey(out: &mut String, look: &Look) {
    call(out, &["survey_begin"]);
    for (path, sum, shown) in &look.files {
        call(
            out,
            &["file", path, sum, if *shown { "show" } else { "hide" }],
        );
    }
    for (program, argument) in &look.programs {
        let mut words = vec!["program", program];
        words.extend(*argument);
        call(out, &words);
    }
    for (user, group) in &look.owners {
        call(out, &["owner", user, group]);
    }
    let units: Vec<_> = look.units.iter().map(String::as_str).collect();
    call(out, &[&["units"], &units[..]].concat());
    for address in &look.addresses {
        call(out, &["address", address]);
    }
    for place in ["/etc", "/var/lib/picket"] {
        call(out, &["space", place]);
    }
    if look.cluster {
        call(out, &["cluster"]);
    }
    call(out, &["journals"]);
    call(out, &["survey_end"]);
}

fn stage(out: &mut String, id: &str, files: &[Staged]) {
    call(out, &["stage_begin", id]);
    for (number, file) in files.iter().enumerate() {
        let (number, mode) = (number.to_string(), format!("{:04o}", file.mode));
        call_with_content(
            out,
            &[
                "put", &number, &mode, file.user, file.group, &file.sum, &file.path,
            ],
            &BASE64.encode(&file.bytes),
        );
    }
    call(out, &["stage_end"]);
}

fn verify(out: &mut String, id: &str, checks: &[Check]) {
    for check in checks {
        match check {
            Check::Corosync { conf, key } => {
                let (conf, key) = (conf.to_string(), key.map(|key| key.to_string()));
                let mut words = vec!["check_corosync", id, &conf];
                words.extend(key.as_deref());
                call(out, &words);
            }
            Check::Cib(number) => call(out, &["check_cib", id, &number.to_string()]),
        }
    }
}

/// Corosync knows no empty values: one stands for a setting that must not be there.
fn in_force(out: &mut String, settings: &[(String, Option<String>)]) {
    let mut words = vec!["in_force"];
    for (key, value) in settings {
        words.extend([key.as_str(), value.as_deref().unwrap_or_default()]);
    }
    call(out, &words);
}

fn units(out: &mut String, orders: &Orders) {
    if orders.reload_systemd {
        call(out, &["reload_systemd"]);
    }
    order(out, "stop", &orders.stop);
    if orders.put_aside {
        call(out, &["put_aside"]);
    }
    order(out, "disable", &orders.disable);
    order(out, "enable", &orders.enable);
    order(out, "reload-or-restart", &orders.reload);
    order(out, "start", &orders.start);
    call_with_effects(out, &["settle"], &orders.settle);
}

fn order(out: &mut String, verb: &str, units: &[String]) {
    if !units.is_empty() {
        let units: Vec<_> = units.iter().map(String::as_str).collect();
        call(out, &[&["order", verb], &units[..]].concat());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command as Process, Stdio};

    use super::*;
    use crate::facts::{Facts, Found};
    use crate::transport::Command;

    /// Runs a script as a machine would, and returns what it printed.
    fn run(shell: &[&str], operation: Operation) -> Option<String> {
        let mut child = Process::new(shell[0])
            .args(&shell[1..])
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let text = Command::of(operation).text();
        child.stdin.take()?.write_all(&text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{shell:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// A survey changes nothing, so this machine may be looked at. The shells are those that are `sh`
    /// somewhere; one that is not here is left out, but for the first.
    #[test]
    fn every_shell_prints_a_survey_that_is_understood() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("a"), "hello\n").unwrap();
        std::os::unix::fs::symlink("a", path("link")).unwrap();
        let file = |name: &str, shown| (path(name), "-".to_owned(), shown);
        let look = Look {
            files: vec![file("a", true), file("link", true), file("none", false)],
            programs: vec![("sh".to_owned(), None), ("no-such-thing".to_owned(), None)],
            owners: vec![("root", "root")],
            units: vec!["no-such-thing.service".to_owned()],
            addresses: vec!["127.0.0.1".to_owned(), "192.0.2.77".to_owned()],
            cluster: true,
        };
        let shells: [&[&str]; 3] = [&["sh"], &["dash"], &["bash", "--posix"]];
        for (number, shell) in shells.into_iter().enumerate() {
            let Some(text) = run(shell, Operation::Survey(look.clone())) else {
                assert!(number > 0, "there is always a sh");
                continue;
            };
            let facts =
                Facts::parse(&text).unwrap_or_else(|error| panic!("{shell:?}: {error}\n{text}"));
            let Found::Regular { text, mode, .. } = &facts.files[&path("a")] else {
                panic!("{shell:?}: {facts:?}");
            };
            assert_eq!(
                (text.as_deref(), mode & 0o400),
                (Some(&b"hello\n"[..]), 0o400)
            );
            assert_eq!(facts.files[&path("link")], Found::Link);
            assert_eq!(facts.files[&path("none")], Found::Absent);
            assert_eq!(facts.programs["no-such-thing"], None);
            assert!(facts.programs["sh"].is_some());
            assert!(!facts.units["no-such-thing.service"].exists());
            assert_ne!(facts.addresses["192.0.2.77"], Some(true));
            assert!(facts.clock > 1.7e9 && facts.space["/etc"] > 0);
        }
    }
}
