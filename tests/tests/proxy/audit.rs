//! The audit log.

use std::fs;

use picket_tests::{
    process::{PATIENCE, wait_for},
    rig::Rig,
};
use serde_json::Value;

/// Its records so far.
pub(crate) fn records(rig: &Rig) -> Vec<Value> {
    let text = fs::read_to_string(rig.path("audit.jsonl")).unwrap_or_default();
    // The last line may be being written.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits for a record of this operation on this guest with this outcome.
pub(crate) fn record(rig: &Rig, operation: &str, guest: &str, outcome: &str) -> Value {
    wait_for(
        &format!("a record: {operation} {guest} {outcome}"),
        PATIENCE,
        || {
            records(rig).into_iter().find(|record| {
                record["operation"] == operation
                    && record["guest"] == guest
                    && record["outcome"] == outcome
            })
        },
    )
}
