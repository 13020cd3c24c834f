//! Fencing: whether it is on, and what became of it.

use super::Alarms;
use crate::pacemaker::{FenceEvent, Outcome, Resource, View};

pub(super) fn check(alarms: &mut Alarms, view: &View) {
    match view.options.fencing {
        Some(true) => {}
        Some(false) => alarms.critical(
            "fencing-disabled",
            "",
            "fencing is disabled: a node that is lost may go on writing",
        ),
        None => alarms.warn(
            "fencing-unknown",
            "",
            "Pacemaker does not tell whether fencing is enabled",
        ),
    }
    let devices: Vec<&Resource> = view.resources.iter().filter(|r| r.is_fencing()).collect();
    if view.options.fencing == Some(true) && devices.is_empty() {
        alarms.critical("no-fencing-device", "", "there is no fencing device");
    }
    for event in latest(&view.fencing) {
        of_event(alarms, event);
    }
}

/// The events that no later one of the same node makes obsolete: what is under way, and the last that
/// has ended.
fn latest(events: &[FenceEvent]) -> Vec<&FenceEvent> {
    let mut latest: Vec<&FenceEvent> = Vec::new();
    for event in events {
        let is_pending = event.outcome == Outcome::Pending;
        let is_known = latest.iter().any(|other| {
            other.target == event.target && (other.outcome == Outcome::Pending) == is_pending
        });
        if !is_known {
            latest.push(event);
        }
    }
    latest
}

fn of_event(alarms: &mut Alarms, event: &FenceEvent) {
    let node = event.target.as_str();
    let action = event.action.as_deref().unwrap_or("fencing");
    match &event.outcome {
        Outcome::Success => {
            alarms.note("fenced", node, format!("{node} was fenced ({action})"));
        }
        Outcome::Pending => alarms.critical(
            "fencing-pending",
            node,
            format!("{node} is being fenced ({action}); its services wait for that"),
        ),
        Outcome::Failed => {
            let reason = event
                .reason
                .as_deref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            alarms.critical(
                "fencing-failed",
                node,
                format!("fencing {node} failed ({action}){reason}"),
            );
        }
        Outcome::Other(word) => alarms.warn(
            "fencing-unknown-outcome",
            node,
            format!("fencing {node} ({action}) ended with `{word}`, which is not known"),
        ),
    }
    alarms.aged(event.age);
}
