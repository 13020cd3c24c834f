//! Enough file descriptors for as many connections as the configuration allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For listeners, logs, hypervisor connections and libraries.
const OTHERS: usize = 128;

/// Raises this process's limit, if need be, to what `connections` take; returns how many connections
/// there can be.
#[must_use]
pub fn provide_for(connections: usize) -> usize {
    let wanted = u64::try_from(connections + OTHERS).unwrap_or(u64::MAX);
    let limit = getrlimit(Resource::Nofile);
    // None stands for no limit at all.
    if limit.current.is_none_or(|current| current >= wanted) {
        return connections;
    }
    let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let new = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    let granted = match setrlimit(Resource::Nofile, new) {
        Ok(()) => raised,
        Err(_) => limit.current.unwrap_or(raised),
    };
    possible(granted, connections)
}

/// How many of the wanted connections `granted` descriptors are enough for.
fn possible(granted: u64, connections: usize) -> usize {
    let granted = usize::try_from(granted).unwrap_or(usize::MAX);
    granted.saturating_sub(OTHERS).clamp(1, connections.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_bounds_the_connections() {
        assert_eq!(possible(10_000, 1024), 1024);
        assert_eq!(possible(1024, 1024), 1024 - OTHERS);
        assert_eq!(possible(10, 1024), 1);
    }

    #[test]
    fn the_limit_is_raised_where_it_may_be() {
        let before = getrlimit(Resource::Nofile);
        let wanted = before.current.unwrap_or(1024).saturating_add(10);
        let connections = usize::try_from(wanted).unwrap() - OTHERS;
        let granted = provide_for(connections);
        let raised = getrlimit(Resource::Nofile).current;
        if before.maximum.is_none_or(|most| most >= wanted) {
            assert_eq!(granted, connections);
            assert!(raised.is_none_or(|raised| raised >= wanted));
        } else {
            assert!(granted < connections);
        }
    }
}
