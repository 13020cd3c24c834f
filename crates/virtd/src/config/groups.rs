//! The section `groups`.

use super::diagnose::Diagnostic;
use super::section::View;
use crate::policy::{Group, Policy};

/// Reads the groups; none if the file has no group.
pub(super) fn read(root: &View<'_>) -> Policy {
    let Some(section) = root.section("groups") else {
        return Policy::default();
    };
    let groups: Vec<Group> = section.sections("group").iter().map(read_group).collect();
    section.report_unknown();
    if groups.is_empty() {
        section.remarks().add(
            Diagnostic::warning(section.place(), "`groups` holds no group")
                .label("so every holder of a key may fence every guest")
                .help("add `group { ip = \"…\"; uuid = \"…\"; }`, or remove the section"),
        );
    }
    Policy::new(groups)
}

fn read_group(view: &View<'_>) -> Group {
    let name = view
        .text("name")
        .or_else(|| view.label())
        .map(|name| name.text.clone());
    let texts = |key| {
        view.values(key)
            .into_iter()
            .map(|value| value.text.clone())
            .collect::<Vec<_>>()
    };
    let (ips, uuids) = (texts("ip"), texts("uuid"));
    view.report_unknown();
    let title = name
        .as_ref()
        .map_or_else(|| "this group".to_owned(), |name| format!("group `{name}`"));
    if ips.is_empty() && uuids.is_empty() {
        // The C daemon stops reading groups here, which lets everyone fence everyone (W17).
        view.remarks().add(
            Diagnostic::error(view.place(), format!("{title} has no members"))
                .label("neither `ip` nor `uuid` inside")
                .help("name its members, or remove the group"),
        );
    } else if uuids.is_empty() {
        view.remarks().add(
            Diagnostic::warning(view.place(), format!("{title} lists no guest"))
                .label("its members may fence nothing")
                .help("add `uuid = \"…\";` with the UUID or the name of each guest, or both"),
        );
    }
    Group { name, ips, uuids }
}
