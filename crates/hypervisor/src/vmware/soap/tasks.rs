//! Tasks: what the server does after it has taken an order.

use std::time::Duration;

use deadline::Deadline;
use roxmltree::Node;

use super::Soap;
use super::collect::Query;
use super::fault::{Fault, Meaning};
use super::link::Trouble;
use super::reply::{Content, Malformed, Moref, child, missing, reference_of};
use crate::vmware::states::plain;

/// Between two looks at a task: short at first, for most take less than a second.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];

/// What [`is_start`] reads of a task.
pub(super) const PATHS: &[&str] = &["info.state", "info.descriptionId"];
/// What tasks after which a guest may run are called (`TaskInfo.descriptionId`): a power-on, of one or of several at once, by the
/// caller or by DRS, and going back to a snapshot, which may have been taken of a running guest.
const STARTS: [&str; 5] = [
    "VirtualMachine.powerOn",
    "Datacenter.powerOnVm",
    "Drm.ExecuteVMPowerOnLRO",
    "VirtualMachine.revertToSnapshot",
    "VirtualMachine.revertToCurrentSnapshot",
];

/// A task as it was seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    Running,
    Success,
    Error(Fault),
}

/// How following a task ended.
#[derive(Debug)]
pub(super) enum End<T> {
    /// It succeeded.
    Success,
    /// It failed.
    Failed(Fault),
    /// The server knows it no more, as it does some time after a task's end.
    Forgotten,
    /// Something else made further waiting pointless.
    Stopped(T),
    /// The deadline passed first.
    Late,
    /// It cannot be asked about any more.
    Broken(Trouble),
}

impl Soap {
    /// Follows a task to its end. `between` is asked between two looks whether waiting is pointless.
    pub(super) fn follow<T>(
        &self,
        task: &Moref,
        deadline: Deadline,
        mut between: impl FnMut() -> Option<T>,
    ) -> End<T> {
        let mut pauses = LOOKS.iter();
        let query = Query::of(vec![task.clone()], "Task", &["info.state", "info.error"]);
        loop {
            let states = self
                .link
                .collect(&query, deadline, |content| read_task(content).map(Some));
            match states.map(|states| states.into_iter().next()) {
                Ok(Some(TaskState::Success)) => return End::Success,
                Ok(Some(TaskState::Error(fault))) => return End::Failed(fault),
                Ok(Some(TaskState::Running)) => {}
                Ok(None) => return End::Forgotten,
                Err(Trouble::Fault(fault)) if matches!(fault.meaning, Meaning::Gone { .. }) => {
                    return End::Forgotten;
                }
                Err(trouble) => return End::Broken(trouble),
            }
            if let Some(stop) = between() {
                return End::Stopped(stop);
            }
            if deadline.has_passed() {
                return End::Late;
            }
            let pause = pauses.next().unwrap_or(&LOOKS[4]);
            self.link.pause(*pause, deadline);
        }
    }
}

/// Whether a task may start its guest and has not ended.
pub(super) fn is_start(content: Content<'_, '_>) -> bool {
    let text = |path| content.text(path).unwrap_or_default();
    let ended = ["success", "error"].contains(&text("info.state").trim());
    !ended && STARTS.contains(&text("info.descriptionId").trim())
}

/// Reads the answer to an order: its task.
pub(super) fn read_order(response: Node<'_, '_>) -> Result<Moref, Malformed> {
    reference_of(response, "returnval")?.ok_or_else(|| missing(response, "returnval"))
}

/// Reads how far a task is.
pub(super) fn read_task(content: Content<'_, '_>) -> Result<TaskState, Malformed> {
    match content.text("info.state").as_deref().map(str::trim) {
        Some("queued" | "running") => Ok(TaskState::Running),
        Some("success") => Ok(TaskState::Success),
        Some("error") => {
            let error = content.value("info.error");
            let fault = error
                .filter(|error| child(*error, "fault").is_some())
                .map(Fault::of_localized);
            Ok(TaskState::Error(fault.unwrap_or_else(|| Fault {
                name: "an error without details".to_owned(),
                meaning: Meaning::Other,
                text: String::new(),
            })))
        }
        Some(other) => Err(Malformed(format!("a task is `{}`", plain(other)))),
        None => Err(Malformed("a task has no state".to_owned())),
    }
}
