//! A report and a plan, for people.

use ::placement::report::Place;
use ::placement::{Plan, Report, State};
use comfy_table::{ContentArrangement, Table, presets};

/// In one line, what a state means.
pub(super) const fn meaning(state: State) -> &'static str {
    match state {
        State::Kept => "no two members share a host, and it is seen to that it stays so",
        State::Apart => {
            "no two members share a host at present; nothing sees to it that it stays so"
        }
        State::Shared => "members share a host",
        State::Unknown => "whether members share a host is not known",
    }
}

pub(super) fn report(report: &Report) -> String {
    let mut text = format!(
        "Cluster {} on {} ({}): {}\n\n",
        report.cluster,
        report.platform,
        report.asked,
        meaning(report.state)
    );
    text.push_str(&members(report));
    text.push_str(&hosts(report));
    for rule in report.rules.iter().flatten() {
        let how = if rule.mandatory {
            "always"
        } else {
            "as far as hosts suffice"
        };
        let force = rule
            .ineffective
            .as_ref()
            .map_or_else(String::new, |why| format!("; not in force: {why}"));
        text.push_str(&format!(
            "rule {}: keeps {} apart, {how}{force}\n",
            rule.name,
            rule.guests.join(", ")
        ));
    }
    if !report.findings.is_empty() {
        text.push('\n');
    }
    for finding in &report.findings {
        text.push_str(&format!(
            "{}: {}\n",
            finding.weight.as_str(),
            finding.message
        ));
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    table
}

fn members(report: &Report) -> String {
    let mut table = table(&[
        "NODE",
        "GUEST",
        "RUNS ON",
        "MAY RUN ON",
        "MOVED BY THE PLATFORM",
    ]);
    for member in &report.members {
        let place = match &member.place {
            Place::Runs { host } => host.clone(),
            Place::Nowhere => "nowhere".to_owned(),
            Place::Unknown(_) => "unknown".to_owned(),
        };
        let known = !matches!(member.place, Place::Unknown(_));
        let pins = match member.pinned_to.as_slice() {
            _ if !known => "unknown".to_owned(),
            [] => "any host".to_owned(),
            pins => pins.join(", "),
        };
        let moves = match member.moves_by_itself {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        let guest = member.guest.as_ref().unwrap_or(&member.asked_for);
        table.add_row([member.node.as_str(), guest, &place, &pins, moves]);
    }
    trimmed(&table)
}

fn hosts(report: &Report) -> String {
    if report.hosts.is_empty() {
        return String::new();
    }
    let mut table = table(&["HOST", "TAKES GUESTS", "MEMBERS"]);
    for host in &report.hosts {
        let here = report
            .members
            .iter()
            .filter(|member| matches!(&member.place, Place::Runs { host: on } if *on == host.name));
        let here: Vec<&str> = here.map(|member| member.node.as_str()).collect();
        table.add_row([
            host.name.as_str(),
            if host.usable { "yes" } else { "no" },
            &here.join(", "),
        ]);
    }
    format!("\n{}", trimmed(&table))
}

/// Without blanks at the ends of lines.
fn trimmed(table: &Table) -> String {
    table
        .to_string()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

pub(super) fn plan(report: &Report, plan: &Plan) -> String {
    let mut text = format!(
        "Cluster {} on {} ({}): {}\n",
        report.cluster,
        report.platform,
        report.asked,
        meaning(report.state)
    );
    if plan.steps.is_empty() {
        text.push_str("Nothing would be changed.\n");
    }
    for (at, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!("{:>3}. {}\n", at + 1, step.text));
        if let Some(held) = &step.held {
            text.push_str(&format!("     left to you: {held}\n"));
        }
    }
    for obstacle in &plan.obstacles {
        text.push_str(&format!("not solved: {}\n", obstacle.message));
    }
    text
}
