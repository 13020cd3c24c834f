//! This host's network interfaces, as `/proc/net` shows them to this process's network namespace.

use std::collections::BTreeSet;
use std::io;

use socket2::Socket;

/// The number of the interface called `name`.
///
/// # Errors
/// When there is none.
pub(super) fn index_of(socket: &Socket, name: &str) -> io::Result<u32> {
    rustix::net::netdevice::name_to_index(socket, name).map_err(io::Error::from)
}

/// The names of all interfaces, for messages.
pub(super) fn all_names() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    names_in_dev(&text)
}

/// Interfaces that IPv4 guests can reach: those with a route, and the loopback interface for agents
/// on the host itself. Interfaces of guests that are only ports of a bridge have none, which matters:
/// the kernel lets a socket join on 20 interfaces.
pub(super) fn with_ipv4() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut names = names_in_routes(&text);
    names.insert("lo".to_owned());
    names
}

/// Interfaces with an IPv6 address.
pub(super) fn with_ipv6() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .map(str::to_owned)
        .collect()
}

fn names_in_dev(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

fn names_in_routes(text: &str) -> BTreeSet<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n virbr0: 3 4\n";
        assert_eq!(names_in_dev(dev), ["lo", "virbr0"]);
        let routes = "Iface\tDestination\tGateway\nh0\t004D0A\t0\nh0\t00\t0\nvirbr0\t1\t1\n";
        assert_eq!(
            names_in_routes(routes).into_iter().collect::<Vec<_>>(),
            ["h0", "virbr0"]
        );
    }
}
