//! How a plan, its progress and its result look.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use deploy::{Action, Configuration, Event, FilePlan, MachinePlan, Plan, Report, Restart};
use indicatif::{ProgressBar, ProgressStyle};

use crate::plain;

/// Progress on standard error.
pub(super) struct Progress {
    shared: Rc<Handle>,
}

/// What interrupts the progress.
pub(super) struct Handle {
    bar: Option<RefCell<ProgressBar>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            RefCell::new(bar)
        });
        Self {
            shared: Rc::new(Handle { bar }),
        }
    }

    pub(super) fn handle(&self) -> Rc<Handle> {
        Rc::clone(&self.shared)
    }

    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::Started { phase, machines } => {
                let on = match machines {
                    1 => "1 machine".to_owned(),
                    count => format!("{count} machines"),
                };
                self.activity(format!("{} ({on})", phase.describe()));
            }
            Event::Progress { phase, detail } => {
                self.activity(format!("{}: {detail}", phase.describe()));
            }
            Event::Failed {
                phase,
                machine,
                reason,
            } => self.line(&format!("{}: {machine}: {reason}", phase.describe())),
            Event::Finished { phase, took } => {
                self.line(&format!(
                    "{}: {:.1} s",
                    phase.describe(),
                    took.as_secs_f64()
                ));
            }
            _ => {}
        }
    }

    fn activity(&self, text: String) {
        if let Some(bar) = &self.shared.bar {
            bar.borrow().set_message(plain::text(&text));
        }
    }

    /// What machines say is in it.
    fn line(&self, text: &str) {
        let text = plain::text(text);
        match &self.shared.bar {
            Some(bar) => bar.borrow().println(text),
            None => eprintln!("{text}"),
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = &self.shared.bar {
            bar.borrow().finish_and_clear();
        }
    }
}

impl Handle {
    /// Does something that writes to the terminal itself.
    pub(super) fn pause<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.borrow().suspend(work),
            None => work(),
        }
    }
}

/// Prints a plan.
pub(super) fn plan(plan: &Plan, verdict: Option<&str>) -> io::Result<()> {
    // Files as they are on the machines are shown in it.
    let text = plain::text(&plan_text(plan, verdict));
    io::stdout().lock().write_all(text.as_bytes())
}

fn plan_text(plan: &Plan, verdict: Option<&str>) -> String {
    let mut out = format!("Cluster {}", plan.cluster);
    if let Some(verdict) = verdict {
        out.push_str(&format!(", {verdict}"));
    }
    out.push('\n');
    for warning in &plan.warnings {
        out.push_str(&format!("warning: {warning}\n"));
    }
    if plan.is_empty() {
        out.push_str("Nothing is to be done: everything is as defined.\n");
        return out;
    }
    for line in table(plan).to_string().lines() {
        out.push_str(&format!("{}\n", line.trim_end()));
    }
    for (machines, diff) in diffs(plan) {
        out.push_str(&format!("\n{}:\n{diff}", machines.join(", ")));
    }
    out.push_str(&cluster(plan));
    out
}

/// Each different change once, with the machines that have it.
fn diffs(plan: &Plan) -> Vec<(Vec<&str>, &str)> {
    let mut out: Vec<(Vec<&str>, &str)> = Vec::new();
    for machine in &plan.machines {
        for file in &machine.files {
            let replaced = file
                .diff
                .as_ref()
                .filter(|_| file.action == Action::Replace);
            let Some(diff) = replaced else { continue };
            match out.iter_mut().find(|(_, known)| known == diff) {
                Some((machines, _)) => machines.push(&machine.name),
                None => out.push((vec![&machine.name], diff)),
            }
        }
    }
    out
}

fn table(plan: &Plan) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["MACHINE", "WHAT", "CHANGE"]);
    for machine in &plan.machines {
        for (what, change) in rows(machine) {
            table.add_row([machine.name.as_str(), &what, &change]);
        }
    }
    table
}

fn rows(machine: &MachinePlan) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |what: &str, change: &str| rows.push((what.to_owned(), change.to_owned()));
    if machine.replaces_package_default {
        row(
            "cluster",
            "stop the one-node cluster of its package, put its state aside",
        );
    }
    for file in &machine.files {
        row(&file.path, &file_change(file));
    }
    for unit in &machine.disable {
        row(unit, "disable: Pacemaker starts it");
    }
    for unit in &machine.enable {
        row(unit, "enable");
    }
    for unit in &machine.start {
        row(unit, "start");
    }
    for effect in &machine.effects {
        match effect {
            deploy::Effect::ReloadCorosync => row("corosync", "reload"),
            deploy::Effect::ReloadUnit(unit) => row(unit, "reload or restart"),
            deploy::Effect::ReloadSystemd => row("systemd", "read its units again"),
            _ => row("corosync, pacemaker", "restart"),
        }
    }
    for step in &machine.prepare {
        row("storage", &format!("{step}, if it is missing"));
    }
    if machine.leftovers {
        row("journal", "remove what an interrupted apply has left");
    }
    rows
}

fn file_change(file: &FilePlan) -> String {
    let what = match file.action {
        Action::Create => "create",
        Action::Replace => "change",
        Action::Protect => "change mode and owner",
    };
    if file.secret {
        format!("{what} (not shown)")
    } else {
        what.to_owned()
    }
}

fn cluster(plan: &Plan) -> String {
    let mut out = String::from("\n");
    if !plan.starting.is_empty() {
        out.push_str(&format!(
            "The cluster starts on: {}.\n",
            plan.starting.join(", ")
        ));
    }
    if let Some(restart) = &plan.restart {
        out.push_str(&restart_text(restart));
    }
    match &plan.configuration {
        Configuration::Same => {}
        Configuration::Fresh => out.push_str("Pacemaker starts with a new configuration.\n"),
        Configuration::AfterStart => out.push_str(
            "Pacemaker's configuration is compared once it runs, and replaced if it differs.\n",
        ),
        Configuration::Replace(change) => {
            out.push_str("Pacemaker's configuration is replaced:\n");
            for (sign, ids) in [
                ('+', &change.added),
                ('-', &change.removed),
                ('~', &change.changed),
            ] {
                for id in ids {
                    out.push_str(&format!("  {sign} {id}\n"));
                }
            }
        }
    }
    out
}

fn restart_text(restart: &Restart) -> String {
    let effect = if restart.together {
        "services stand still meanwhile"
    } else {
        "services move meanwhile"
    };
    let mut out = format!(
        "The cluster's daemons are restarted, {} ({}); {effect}. That needs --restart. Why:\n",
        restart.describe(),
        restart.nodes.join(", ")
    );
    for reason in &restart.reasons {
        out.push_str(&format!("  {reason}\n"));
    }
    out
}

/// Prints what was done.
pub(super) fn report(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if report.changed {
        let seconds: f64 = report
            .phases
            .iter()
            .map(|took| took.took.as_secs_f64())
            .sum();
        let runs = if report.held.is_empty() {
            "every resource and fencing device started"
        } else {
            "and every resource and fencing device started that an administrator does not hold"
        };
        writeln!(
            out,
            "Cluster {} is applied: every node is online, {runs} ({seconds:.1} s).",
            report.cluster
        )?;
    }
    if !report.held.is_empty() {
        writeln!(out, "Held by an administrator, which is no failure:")?;
    }
    for held in &report.held {
        writeln!(out, "  {}", plain::text(held))?;
    }
    // Those of the plan have been shown with it.
    for warning in report.warnings.iter().filter(|_| !report.changed) {
        writeln!(out, "warning: {}", plain::text(warning))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cluster::{Definition, RenderOptions};
    use deploy::memory::{MemoryMachine, MemoryMachines};
    use deploy::{Decision, Desired, Keys, Options};

    use super::*;

    fn desired(change: impl Fn(&str) -> String) -> Desired {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/web.toml");
        let text = change(&std::fs::read_to_string(path).unwrap());
        let definition = Definition::parse("web.toml", &text).unwrap();
        Desired::of(
            &definition,
            &Keys::from_seed([7; 32]),
            &RenderOptions::default(),
        )
        .unwrap()
    }

    fn machines(desired: &Desired) -> MemoryMachines {
        let machines: BTreeMap<_, _> = desired
            .machines
            .iter()
            .map(|wanted| {
                let mut units = vec!["corosync.service", "pacemaker.service"];
                units.extend(wanted.units.iter().map(String::as_str));
                (
                    wanted.machine.name.clone(),
                    MemoryMachine::with_units(&units),
                )
            })
            .collect();
        MemoryMachines::new(machines)
    }

    fn shown(desired: &Desired, machines: &MemoryMachines) -> String {
        let plan = deploy::plan(desired, machines, &Options::default(), &mut |_| {}).unwrap();
        plan_text(&plan, Some("supported"))
    }

    /// A fresh cluster, one with nothing to do, and one of which everything changes.
    #[test]
    fn plans() {
        let wish = desired(str::to_owned);
        let machines = machines(&wish);
        insta::assert_snapshot!("fresh", shown(&wish, &machines));
        let mut agree = |_: &Plan| Decision::GoOn;
        deploy::apply(
            &wish,
            &machines,
            &Options::default(),
            "me",
            &mut agree,
            &mut |_| {},
        )
        .unwrap();
        insta::assert_snapshot!("nothing", shown(&wish, &machines));
        let other = desired(|text| {
            text.replace("token = \"5s\"", "token = \"3s\"\ntransport = \"udpu\"")
                .replace("dc_deadtime = \"4s\"", "dc_deadtime = \"9s\"")
                .replace("Kept available", "Still kept available")
        });
        insta::assert_snapshot!("changed", shown(&other, &machines));
    }
}
