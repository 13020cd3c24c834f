//! What happens on the hypervisors without anybody having asked for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hypervisor::{Change, Event, Hypervisor};
use uuid::Uuid;

use crate::audit::{Auditor, Outcome, Record, Subject};

/// Guests that left by live migration, and whom they left. Bounded by forgetting all of them should
/// there ever be more than any host can have had.
#[derive(Debug, Default)]
pub(super) struct Departures(Mutex<HashMap<Uuid, String>>);

const MAX_DEPARTURES: usize = 65_536;

impl Departures {
    /// Whom the guest left, if it has not come back since.
    pub(super) fn from(&self, uuid: &Uuid) -> Option<String> {
        self.map().get(uuid).cloned()
    }

    /// The guest is accounted for.
    pub(super) fn forget(&self, uuid: &Uuid) {
        self.map().remove(uuid);
    }

    fn note(&self, uuid: Uuid, by: &str) {
        let mut map = self.map();
        if map.len() >= MAX_DEPARTURES {
            map.clear();
        }
        map.insert(uuid, by.to_owned());
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows one hypervisor's events on a thread of its own, as long as the hypervisor exists.
pub(super) fn start(hypervisor: &dyn Hypervisor, departures: &Arc<Departures>, auditor: &Auditor) {
    let events = hypervisor.watch();
    let departures = Arc::downgrade(departures);
    let auditor = auditor.clone();
    let thread = std::thread::Builder::new()
        .name("events".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            for event in events {
                handle(&event, &departures, &auditor);
            }
        });
    if let Err(error) = thread {
        tracing::error!(%error, "cannot watch {}: migrations will not be noticed", hypervisor.name());
    }
}

fn handle(event: &Event, departures: &Weak<Departures>, auditor: &Auditor) {
    match event {
        Event::Guest {
            guest, change, by, ..
        } => match change {
            Change::MigratedOut => {
                if let Some(departures) = departures.upgrade() {
                    departures.note(guest.uuid, by);
                }
                let detail = format!(
                    "{guest} left {by} by live migration; its hosts form no cluster, so whether it runs cannot be known from here on"
                );
                tracing::warn!("{detail}");
                let mut record =
                    Record::new(Subject::Migration, Outcome::CannotKnow).because(detail);
                record.guest = Some(guest.name.clone());
                record.durable = true;
                auditor.record(record);
            }
            Change::Started | Change::MigratedIn => {
                if let Some(departures) = departures.upgrade() {
                    departures.forget(&guest.uuid);
                }
                tracing::info!(%guest, ?change, by, "guest appeared");
            }
            _ => tracing::debug!(%guest, ?change, by, "guest changed"),
        },
        Event::ConnectionLost { by, detail, .. } => {
            tracing::warn!("{by} is out of reach, connecting again: {detail}");
        }
        Event::ConnectionBack { by, .. } => tracing::info!("{by} is reached"),
        Event::LateCompletion {
            guest,
            doing,
            outcome,
            late_by,
            by,
            ..
        } => {
            let detail = format!(
                "{doing} on {by} ended {:.1} s after its request had been answered with failure: {outcome}",
                late_by.as_secs_f64()
            );
            tracing::warn!(%guest, "{detail}");
            let mut record =
                Record::new(Subject::LateCompletion, Outcome::EndedLate).because(detail);
            record.guest = Some(guest.to_string());
            record.durable = true;
            auditor.record(record);
        }
        other => tracing::debug!(?other, "hypervisor event"),
    }
}
