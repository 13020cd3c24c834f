//! The same to every device at once.

use std::thread;

use deadline::Deadline;
use fence_agent::{Failure, FailureKind, Level, Surroundings};

use super::config::Device;
use super::reach::{Disk, Reach};

/// What was done to one device, and what there is to say about it.
struct Outcome<T> {
    result: Result<T, Failure>,
    notes: Vec<(Level, String)>,
}

/// Does the same to every device, each on a thread of its own, so that a slow device does not use up the time of the
/// others. All results, in the order of the devices, or what failed.
///
/// # Errors
/// If it failed for any device; all failures are named.
pub(crate) fn each<T: Send>(
    devices: &[Device],
    reach: &dyn Reach,
    read_only: bool,
    around: &mut dyn Surroundings,
    work: impl Fn(&mut Disk<'_>) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let deadline = Deadline::at(around.deadline());
    let one = |device: &Device| match Disk::new(reach, device, read_only, deadline) {
        Ok(mut disk) => Outcome {
            result: work(&mut disk),
            notes: disk.into_notes(),
        },
        Err(failure) => Outcome {
            result: Err(failure),
            notes: Vec::new(),
        },
    };
    let mut done = Vec::with_capacity(devices.len());
    let mut failures = Vec::new();
    for outcome in all(devices, &one) {
        for (level, text) in outcome.notes {
            around.log(level, &text);
        }
        match outcome.result {
            Ok(value) => done.push(value),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() {
        Ok(done)
    } else {
        Err(together(&failures, devices.len()))
    }
}

/// What every device calls itself, as far as it says so by `deadline`.
pub(crate) fn designators(
    devices: &[Device],
    reach: &dyn Reach,
    deadline: Deadline,
) -> Vec<Option<String>> {
    let one = |device: &Device| {
        let result = Disk::new(reach, device, true, deadline).map(|mut disk| disk.designator());
        Outcome {
            result,
            notes: Vec::new(),
        }
    };
    let told = all(devices, &one).into_iter();
    told.map(|outcome| outcome.result.ok().flatten()).collect()
}

fn all<T: Send>(
    devices: &[Device],
    one: &(impl Fn(&Device) -> Outcome<T> + Sync),
) -> Vec<Outcome<T>> {
    match devices {
        [device] => vec![one(device)],
        _ => on_threads(devices, one),
    }
}

fn on_threads<T: Send>(
    devices: &[Device],
    one: &(impl Fn(&Device) -> Outcome<T> + Sync),
) -> Vec<Outcome<T>> {
    thread::scope(|scope| {
        let started: Vec<_> = devices
            .iter()
            .map(|device| {
                let thread = thread::Builder::new().name("device".to_owned());
                thread.spawn_scoped(scope, move || one(device))
            })
            .collect();
        let ended = started.into_iter().zip(devices);
        ended
            .map(|(started, device)| match started {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|_| unfinished(device, "broke off")),
                Err(error) => unfinished(device, &format!("could not be started: {error}")),
            })
            .collect()
    })
}

fn unfinished<T>(device: &Device, why: &str) -> Outcome<T> {
    let text = format!("{}: the work on it {why}", device.name);
    Outcome {
        result: Err(Failure::cannot_know(text)),
        notes: Vec::new(),
    }
}

/// Several failures as one: not knowing weighs more than a refusal.
fn together(failures: &[Failure], devices: usize) -> Failure {
    let texts: Vec<&str> = failures
        .iter()
        .map(|failure| failure.message.as_str())
        .collect();
    let unknown = failures
        .iter()
        .find(|failure| failure.kind == FailureKind::CannotKnow);
    let kind = unknown
        .or_else(|| failures.first())
        .map_or(FailureKind::CannotKnow, |failure| failure.kind);
    let text = if devices == 1 {
        texts.concat()
    } else {
        format!(
            "{} of {devices} devices failed: {}",
            failures.len(),
            texts.join("; ")
        )
    };
    Failure::new(kind, text)
}
