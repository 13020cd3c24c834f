//! Counters in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::server::Shared;
use crate::server::unit::{Counters, Unit};
use crate::store::Health;

/// One metric of a logical unit: name, kind, what it is, and where it is read.
type UnitMetric = (&'static str, &'static str, &'static str, fn(&Unit) -> u64);

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The metrics of logical units.
const OF_UNITS: [UnitMetric; 11] = {
    const fn counters(unit: &Unit) -> &Counters {
        &unit.counters
    }
    [
        (
            "reads_total",
            "counter",
            "READ commands let through",
            |unit| read(&counters(unit).reads),
        ),
        (
            "read_bytes_total",
            "counter",
            "Bytes they asked for",
            |unit| read(&counters(unit).read_bytes),
        ),
        (
            "writes_total",
            "counter",
            "Commands with data to the disk let through",
            |unit| read(&counters(unit).writes),
        ),
        (
            "written_bytes_total",
            "counter",
            "Bytes they announced",
            |unit| read(&counters(unit).written_bytes),
        ),
        (
            "other_total",
            "counter",
            "Other commands at the disk",
            |unit| read(&counters(unit).others),
        ),
        (
            "failures_total",
            "counter",
            "Commands that failed at the disk",
            |unit| read(&counters(unit).failures),
        ),
        (
            "conflicts_total",
            "counter",
            "Commands refused by RESERVATION CONFLICT",
            |unit| read(&counters(unit).conflicts),
        ),
        (
            "aborted_total",
            "counter",
            "Commands aborted at the disk",
            |unit| read(&counters(unit).aborted),
        ),
        ("tasks", "gauge", "Commands that have not ended", |unit| {
            unit.look()
                .map_or(0, |(_, tasks)| u64::try_from(tasks).unwrap_or(u64::MAX))
        }),
        (
            "registrations",
            "gauge",
            "Persistent reservation registrations",
            |unit| {
                unit.look().map_or(0, |(reservations, _)| {
                    u64::try_from(reservations.registrations().len()).unwrap_or(u64::MAX)
                })
            },
        ),
        (
            "sound",
            "gauge",
            "1 if disk and journal are as they should be",
            |unit| {
                u64::from(
                    unit.health() == Health::Sound
                        && unit.barred().is_none()
                        && unit.look().is_some(),
                )
            },
        ),
    ]
};

impl Shared {
    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(
                text,
                "# HELP picket_target_{name} {help}\n# TYPE picket_target_{name} {kind}\npicket_target_{name} {value}"
            );
        };
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (connections, logging_in) = self.guests.count();
        let counters = &self.counters;
        one("connections", "gauge", "Connections", number(connections));
        one(
            "logins_in_progress",
            "gauge",
            "Connections that have not logged in",
            number(logging_in),
        );
        one(
            "sessions",
            "gauge",
            "Sessions with a target",
            number(self.sessions.all().len()),
        );
        one(
            "connections_total",
            "counter",
            "Connections accepted",
            read(&counters.connections),
        );
        one(
            "turned_away_total",
            "counter",
            "Connections closed at once by a limit",
            read(&counters.turned_away),
        );
        one("logins_total", "counter", "Logins", read(&counters.logins));
        one(
            "logins_failed_total",
            "counter",
            "Logins that failed",
            read(&counters.logins_failed),
        );
        one(
            "sessions_ended_total",
            "counter",
            "Sessions that ended",
            read(&counters.sessions_ended),
        );
        let targets = self.targets.all();
        for (name, kind, help, value) in OF_UNITS {
            let _ = writeln!(
                text,
                "# HELP picket_target_lun_{name} {help}\n# TYPE picket_target_lun_{name} {kind}"
            );
            for target in &targets {
                for (lun, unit) in target.units().iter() {
                    let (target, value) = (target.name.as_str(), value(unit));
                    let _ = writeln!(
                        text,
                        "picket_target_lun_{name}{{target=\"{target}\",lun=\"{lun}\"}} {value}"
                    );
                }
            }
        }
        text
    }
}
