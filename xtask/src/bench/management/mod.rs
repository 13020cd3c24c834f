//! Management platforms: ours and the packaged agents on the same servers, and `fence_virtd` in front of one.

mod agents;
mod manager;
mod proxy;

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::site::Side;
use super::{Measured, Programs};
use crate::repo::Repo;
use agents::{Agents, SUBJECTS, Seen};
use manager::{Kind, Servers};

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds of an operation.
    rounds: usize,
    /// The same where the packaged agent takes seconds of processor time.
    slow_rounds: usize,
    /// Guests in vCenter.
    center: &'static [usize],
    /// Guests in the engine.
    engine: &'static [usize],
    /// Guests that ask `fence_virtd`: each once.
    askers: usize,
    /// In what time.
    window: Duration,
}

impl Plan {
    /// What goes into the report.
    pub(crate) const FULL: Self = Self {
        rounds: 15,
        slow_rounds: 3,
        center: &[10, 1000, 5000],
        engine: &[10, 1000],
        askers: 200,
        window: Duration::from_secs(60),
    };
    /// A trial.
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        slow_rounds: 1,
        center: &[10],
        engine: &[10],
        askers: 20,
        window: Duration::from_secs(6),
    };

    const fn sizes(self, kind: Kind) -> &'static [usize] {
        match kind {
            Kind::Vcenter => self.center,
            Kind::Engine => self.engine,
        }
    }
}

/// Measures the agents in turns, then the daemon.
///
/// # Errors
/// Not root, a program missing, or an agent that fails.
pub(crate) fn measure(repo: &Repo, programs: &Programs, plan: Plan) -> Result<Measured> {
    let agents = Agents::install(programs)?;
    let servers = Servers::find(repo)?;
    let network = Network::loopback()?;
    let _inside = network.enter_host()?;
    let mut seen = Seen::default();
    for kind in Kind::ALL {
        for &guests in plan.sizes(kind) {
            let mut manager = servers.start(kind, guests)?;
            for subject in SUBJECTS.iter().filter(|subject| subject.kind == kind) {
                agents.measure(subject, &mut manager, plan, &mut seen)?;
            }
        }
    }
    let outcomes = proxy::measure(&servers, &agents, programs.daemon(Side::Ours), plan)?;
    let mut rows = agents::rows(&seen);
    rows.extend(proxy::rows(&outcomes, plan)?);
    Ok(Measured {
        method: method(plan),
        rows,
    })
}

fn method(plan: Plan) -> Vec<String> {
    let Plan {
        rounds,
        slow_rounds,
        askers,
        ..
    } = plan;
    vec![
        format!(
            "{rounds} runs of each, the two sides taking turns; of the packaged `fence_vmware_soap`, which takes seconds \
             of CPU, {slow_rounds}, and five times as many of ours. Before, one run of each that does not count. User and \
             system time and peak resident memory of the agent with all its children, as the kernel accounts them (wait4); \
             the servers' share is not in these figures, but the time from start to end includes waiting for them."
        ),
        "vCenter is govmomi's simulator with the REST calls for guests added, the engine Picket's own test server \
         (`tests/servers`): both on the same machine, by TLS over a loopback interface in a network namespace. Ours and the \
         packaged agents (Debian's `fence-agents`, of the version given above for the C programs) get the same words on the \
         command line, `--ssl-insecure` among them, and name the guest that was created last by its name. Everything else \
         is each one's default: the packaged REST and RHEV agents sleep a second after an order."
            .to_owned(),
        "The simulator's REST list returns any number of guests here. vCenter's own refuses more than 1,000 (`/rest`) or \
         4,000 (`/api`), whereupon the packaged agent lists nothing and its monitor succeeds all the same."
            .to_owned(),
        "Requests, sessions, and bytes of HTTP (heads included, TLS not) as the servers count them. The packaged SOAP agent \
         downloads the interface's description each time. A session left open lasts until it has been idle for half an \
         hour; here each run begins without any."
            .to_owned(),
        format!(
            "fence_virtd in front of vCenter: {askers} guests ask for their status in {} s, one every {} ms, with \
             `fence_virt` over TCP; the daemon verifies the server's certificate. In the other column each guest runs \
             `fence_vmware_rest` with a login of its own. CPU is that of all agents and the daemon.",
            plan.window.as_secs(),
            plan.window.as_millis() / askers.max(1) as u128,
        ),
    ]
}
