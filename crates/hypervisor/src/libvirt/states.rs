//! libvirt's numbers in words.

use virt::sys;

use crate::state::MIGRATED;
use crate::{Change, GuestState, Observation};

/// Reasons of `virDomainRunningReason`, in the order of their numbers.
const RUNNING: &[&str] = &[
    "",
    "booted",
    "arrived by migration",
    "restored",
    "from snapshot",
    "unpaused",
    "migration cancelled",
    "save cancelled",
    "woken up",
    "crashed",
    POST_COPY,
    POST_COPY_FAILED,
];
/// `virDomainPausedReason`.
const PAUSED: &[&str] = &[
    "",
    "by user",
    MIGRATING,
    "saving",
    "dumping",
    "I/O error",
    "watchdog",
    "from snapshot",
    "shutting down",
    "taking a snapshot",
    "crashed",
    "starting up",
    POST_COPY,
    POST_COPY_FAILED,
    "API error",
];
/// `virDomainShutoffReason`.
const SHUT_OFF: &[&str] = &[
    "",
    "shut down",
    "destroyed",
    "crashed",
    MIGRATED,
    "saved",
    "failed to start",
    "from snapshot",
    "by libvirtd",
];
/// `virDomainShutdownReason`.
const SHUTTING_DOWN: &[&str] = &["", "by user"];
/// `virDomainCrashedReason`.
const CRASHED: &[&str] = &["", "panicked"];

const MIGRATING: &str = "migrating";
const POST_COPY: &str = "post-copy migration";
const POST_COPY_FAILED: &str = "post-copy migration failed";

/// The reason with number `reason` of a guest in `state`; empty if libvirt knows none.
pub(super) fn reason(state: GuestState, reason: i32) -> String {
    let words = match state {
        GuestState::Running => RUNNING,
        GuestState::Paused => PAUSED,
        GuestState::ShutOff => SHUT_OFF,
        GuestState::ShuttingDown => SHUTTING_DOWN,
        GuestState::Crashed => CRASHED,
        GuestState::NoState
        | GuestState::Blocked
        | GuestState::PmSuspended
        | GuestState::Other(_) => &[""],
    };
    let word = usize::try_from(reason)
        .ok()
        .and_then(|number| words.get(number));
    word.map_or_else(|| format!("reason {reason}"), |&word| word.to_owned())
}

/// Whether `seen` is in the phase of a live migration in which the other host may let the guest run
/// although this instance is ended: the pause at its end, and all of a post-copy migration.
pub(super) fn is_in_flight(seen: &Observation) -> bool {
    [MIGRATING, POST_COPY, POST_COPY_FAILED].contains(&seen.reason.as_str())
}

/// What `virDomainEventType` `event` with `detail` means.
pub(super) fn change(event: i32, detail: i32) -> Change {
    let Ok(event) = u32::try_from(event) else {
        return Change::Other;
    };
    let detail = u32::try_from(detail).unwrap_or(u32::MAX);
    match event {
        sys::VIR_DOMAIN_EVENT_DEFINED => Change::Defined,
        sys::VIR_DOMAIN_EVENT_UNDEFINED => Change::Undefined,
        sys::VIR_DOMAIN_EVENT_STARTED if detail == sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED => {
            Change::MigratedIn
        }
        sys::VIR_DOMAIN_EVENT_STARTED => Change::Started,
        sys::VIR_DOMAIN_EVENT_SUSPENDED => Change::Suspended,
        sys::VIR_DOMAIN_EVENT_RESUMED => Change::Resumed,
        sys::VIR_DOMAIN_EVENT_STOPPED if detail == sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => {
            Change::MigratedOut
        }
        sys::VIR_DOMAIN_EVENT_STOPPED => Change::Stopped,
        sys::VIR_DOMAIN_EVENT_SHUTDOWN => Change::ShutDown,
        sys::VIR_DOMAIN_EVENT_PMSUSPENDED => Change::PmSuspended,
        sys::VIR_DOMAIN_EVENT_CRASHED => Change::Crashed,
        _ => Change::Other,
    }
}

/// Whether an event says that the guest leaves or has left for another host (true), that it runs here
/// (false), or neither.
pub(super) fn departs(event: i32, detail: i32) -> Option<bool> {
    let detail = u32::try_from(detail).ok()?;
    match u32::try_from(event).ok()? {
        sys::VIR_DOMAIN_EVENT_STARTED | sys::VIR_DOMAIN_EVENT_RESUMED => Some(false),
        sys::VIR_DOMAIN_EVENT_STOPPED => {
            (detail == sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED).then_some(true)
        }
        sys::VIR_DOMAIN_EVENT_SUSPENDED => [
            sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED,
            sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY,
            sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED,
        ]
        .contains(&detail)
        .then_some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of libvirt's own header, so that the order of our words is not its own witness.
    #[test]
    fn words_stand_at_libvirts_numbers() {
        for (state, number, word) in [
            (
                GuestState::Running,
                sys::VIR_DOMAIN_RUNNING_BOOTED,
                "booted",
            ),
            (
                GuestState::Running,
                sys::VIR_DOMAIN_RUNNING_UNPAUSED,
                "unpaused",
            ),
            (
                GuestState::Running,
                sys::VIR_DOMAIN_RUNNING_CRASHED,
                "crashed",
            ),
            (
                GuestState::Running,
                sys::VIR_DOMAIN_RUNNING_POSTCOPY,
                POST_COPY,
            ),
            (
                GuestState::Running,
                sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED,
                POST_COPY_FAILED,
            ),
            (GuestState::Paused, sys::VIR_DOMAIN_PAUSED_USER, "by user"),
            (
                GuestState::Paused,
                sys::VIR_DOMAIN_PAUSED_MIGRATION,
                MIGRATING,
            ),
            (
                GuestState::Paused,
                sys::VIR_DOMAIN_PAUSED_IOERROR,
                "I/O error",
            ),
            (
                GuestState::Paused,
                sys::VIR_DOMAIN_PAUSED_POSTCOPY,
                POST_COPY,
            ),
            (
                GuestState::Paused,
                sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
                POST_COPY_FAILED,
            ),
            (
                GuestState::Paused,
                sys::VIR_DOMAIN_PAUSED_API_ERROR,
                "API error",
            ),
            (
                GuestState::ShutOff,
                sys::VIR_DOMAIN_SHUTOFF_DESTROYED,
                "destroyed",
            ),
            (
                GuestState::ShutOff,
                sys::VIR_DOMAIN_SHUTOFF_MIGRATED,
                MIGRATED,
            ),
            (GuestState::ShutOff, sys::VIR_DOMAIN_SHUTOFF_SAVED, "saved"),
            (
                GuestState::ShutOff,
                sys::VIR_DOMAIN_SHUTOFF_DAEMON,
                "by libvirtd",
            ),
            (
                GuestState::Crashed,
                sys::VIR_DOMAIN_CRASHED_PANICKED,
                "panicked",
            ),
        ] {
            assert_eq!(reason(state, i32::try_from(number).unwrap()), word);
        }
        for state in GuestState::NAMED {
            let code = u32::try_from(state.code()).unwrap();
            assert_eq!(reason(state, 0), "");
            assert_eq!(reason(state, 99), "reason 99");
            assert_eq!(reason(state, -1), "reason -1");
            let header = [
                sys::VIR_DOMAIN_NOSTATE,
                sys::VIR_DOMAIN_RUNNING,
                sys::VIR_DOMAIN_BLOCKED,
                sys::VIR_DOMAIN_PAUSED,
                sys::VIR_DOMAIN_SHUTDOWN,
                sys::VIR_DOMAIN_SHUTOFF,
                sys::VIR_DOMAIN_CRASHED,
                sys::VIR_DOMAIN_PMSUSPENDED,
            ];
            assert_eq!(header[state.code() as usize], code);
        }
    }

    #[test]
    fn a_migration_is_told_from_a_start_and_a_stop() {
        assert_eq!(change(2, 0), Change::Started);
        assert_eq!(change(2, 1), Change::MigratedIn);
        assert_eq!(change(5, 1), Change::Stopped);
        assert_eq!(change(5, 3), Change::MigratedOut);
        assert_eq!(change(77, 0), Change::Other);
        assert_eq!(change(-1, -1), Change::Other);
    }

    #[test]
    fn a_departure_is_heard_and_so_is_a_return() {
        let heard = [
            ((5, 3), Some(true)),
            ((5, 1), None),
            ((3, 1), Some(true)),
            ((3, 0), None),
            ((3, 7), Some(true)),
            ((3, 8), Some(true)),
            ((4, 0), Some(false)),
            ((2, 1), Some(false)),
            ((0, 0), None),
            ((-1, 3), None),
            ((99, 3), None),
        ];
        for ((event, detail), expected) in heard {
            assert_eq!(departs(event, detail), expected, "{event} {detail}");
        }
    }
}
