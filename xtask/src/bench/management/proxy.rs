//! `fence_virtd` in front of a platform: status requests of a cluster's guests, spread evenly over time, all through one
//! session. Beside it the usual set-up: an agent with a login of its own for each guest.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::Plan;
use super::agents::{Agents, arguments};
use super::manager::{HOST, Kind, Manager, PASSWORD, PORT, Servers, Traffic};
use crate::bench::cost::Cost;
use crate::bench::results::{Row, Summary, Unit};
use crate::bench::site::{Listener, Memory, Side, Site, private_file};

/// The packaged agent that is cheap enough to be asked so often.
const PACKAGED: &str = "fence_vmware_rest";

/// What came of one side's requests.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What each request that succeeded cost.
    costs: Vec<Cost>,
    /// How many did not.
    failed: u32,
    traffic: Traffic,
    /// Sessions that are still there when everything has ended.
    left: u32,
    /// The daemon's processor time meanwhile in milliseconds, and its memory.
    daemon: Option<(f64, Memory)>,
}

/// Asks for every guest's status once on each side, over the time of the plan.
pub(super) fn measure(
    servers: &Servers,
    agents: &Agents<'_>,
    daemon: Option<&Path>,
    plan: Plan,
) -> Result<[Option<Outcome>; 2]> {
    let mut manager = servers.start(Kind::Vcenter, plan.askers)?;
    let ours = match (daemon, agents.path(Side::Ours, "fence_virt")) {
        (Some(daemon), Some(agent)) => {
            manager.reset()?;
            Some(through_daemon(
                servers, &manager, agents, daemon, &agent, plan,
            )?)
        }
        _ => None,
    };
    manager.reset()?;
    let theirs = match agents.path(Side::C, PACKAGED) {
        Some(agent) => Some(by_themselves(&manager, agents, &agent, plan)?),
        None => None,
    };
    for (side, outcome) in Side::BOTH.into_iter().zip([&ours, &theirs]) {
        if let Some(outcome) = outcome {
            report(side, outcome);
        }
    }
    Ok([ours, theirs])
}

fn through_daemon(
    servers: &Servers,
    manager: &Manager,
    agents: &Agents<'_>,
    program: &Path,
    agent: &Path,
    plan: Plan,
) -> Result<Outcome> {
    let site = Site::new()?;
    let password = site.path("password");
    private_file(&password, PASSWORD.as_bytes())?;
    let backend = format!(
        "hypervisor = \"vmware://{}@{HOST}:{PORT}/?password_file={}&ca={}\";",
        Kind::Vcenter.user(),
        password.display(),
        servers.certificate().display()
    );
    let daemon = site.serve(Side::Ours, Listener::Tcp(HOST), program, &backend)?;
    let key = site.path("key").display().to_string();
    let ask = |guest: &str| {
        let words = [
            "-o", "status", "-H", guest, "-t", "10", "-k", &key, "-T", HOST,
        ];
        agents.cost(agent, &words.map(str::to_owned))
    };
    let before = daemon.processor_time()?;
    let (costs, failed) = over_time(&manager.guests(), plan.window, ask)?;
    let spent = daemon.processor_time()? - before;
    let memory = daemon.memory()?;
    let traffic = manager.traffic()?;
    // It logs out when it ends.
    drop(daemon);
    Ok(Outcome {
        costs,
        failed,
        traffic,
        left: manager.traffic()?.sessions,
        daemon: Some((spent, memory)),
    })
}

fn by_themselves(
    manager: &Manager,
    agents: &Agents<'_>,
    agent: &Path,
    plan: Plan,
) -> Result<Outcome> {
    let ask = |guest: &str| agents.cost(agent, &arguments(Kind::Vcenter, "status", guest));
    let (costs, failed) = over_time(&manager.guests(), plan.window, ask)?;
    let traffic = manager.traffic()?;
    Ok(Outcome {
        costs,
        failed,
        traffic,
        left: traffic.sessions,
        daemon: None,
    })
}

/// Asks for one guest after the other at even intervals, whether those before have their answers or not.
fn over_time(
    guests: &[String],
    window: Duration,
    ask: impl Fn(&str) -> Result<Cost> + Sync,
) -> Result<(Vec<Cost>, u32)> {
    let interval = window / u32::try_from(guests.len())?.max(1);
    let ask = &ask;
    let results = std::thread::scope(|scope| {
        let mut next = Instant::now();
        let mut asking = Vec::new();
        for guest in guests {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += interval;
            asking.push(scope.spawn(move || ask(guest)));
        }
        let results = asking.into_iter().map(|thread| thread.join());
        results.collect::<Result<Vec<_>, _>>()
    });
    let results = results.map_err(|_| anyhow!("a client panicked"))?;
    let (mut costs, mut failed) = (Vec::new(), 0);
    for result in results {
        match result {
            Ok(cost) => costs.push(cost),
            Err(error) => {
                eprintln!("management: proxy: {error:#}");
                failed += 1;
            }
        }
    }
    ensure!(!costs.is_empty(), "no request was answered");
    Ok((costs, failed))
}

fn report(side: Side, outcome: &Outcome) {
    eprintln!(
        "management: proxy, {:6}: {} answered, {} failed, {} logins, {} requests, {:.0} ms of CPU",
        side.name(),
        outcome.costs.len(),
        outcome.failed,
        outcome.traffic.logins,
        outcome.traffic.requests,
        outcome.cpu(),
    );
}

impl Outcome {
    /// Processor time of agents and daemon in milliseconds.
    fn cpu(&self) -> f64 {
        let agents: f64 = self.costs.iter().map(|cost| cost.cpu).sum();
        agents + self.daemon.as_ref().map_or(0.0, |(spent, _)| *spent)
    }
}

pub(super) fn rows(outcomes: &[Option<Outcome>; 2], plan: Plan) -> Result<Vec<Row>> {
    type Figure = (
        &'static str,
        &'static str,
        Unit,
        fn(&Outcome) -> Option<Summary>,
    );
    let figures: [Figure; 9] = [
        ("logins", "logins", Unit::Count, |it| {
            once(it.traffic.logins)
        }),
        ("failed", "failed", Unit::Count, |it| once(it.failed)),
        (
            "left",
            "sessions left when all have ended",
            Unit::Count,
            |it| once(it.left),
        ),
        ("requests", "requests at the server", Unit::Count, |it| {
            once(it.traffic.requests)
        }),
        ("sent", "sent to the server", Unit::Kilobytes, |it| {
            Summary::of(&[f64::from(it.traffic.sent) / 1e3])
        }),
        ("received", "received from it", Unit::Kilobytes, |it| {
            Summary::of(&[f64::from(it.traffic.received) / 1e3])
        }),
        (
            "cpu",
            "CPU of agents and daemon",
            Unit::Milliseconds,
            |it| Summary::of(&[it.cpu()]),
        ),
        ("wall", "start to end of one", Unit::Milliseconds, |it| {
            Summary::of(&it.costs.iter().map(|cost| cost.wall).collect::<Vec<_>>())
        }),
        (
            "memory",
            "peak memory of the daemon",
            Unit::Mebibytes,
            |it| Summary::of(&[it.daemon.as_ref()?.1.peak]),
        ),
    ];
    let [ours, theirs] = outcomes;
    let scene = format!(
        "status of {} guests in {} s",
        plan.askers,
        plan.window.as_secs()
    );
    ensure!(ours.is_some() || theirs.is_some(), "nobody was measured");
    Ok(figures
        .into_iter()
        .map(|(id, words, unit, pick)| Row {
            id: format!("proxy/{id}"),
            what: format!("{scene}: {words}"),
            unit,
            ours: ours.as_ref().and_then(pick),
            theirs: theirs.as_ref().and_then(pick),
        })
        .collect())
}

fn once(count: u32) -> Option<Summary> {
    Summary::of(&[f64::from(count)])
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    const COST: Cost = Cost {
        cpu: 1.0,
        memory: 2.0,
        wall: 3.0,
    };

    #[test]
    fn requests_are_spread_over_the_time_and_failures_counted() {
        let guests: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        let began = Instant::now();
        let ask = |guest: &str| (guest != "3").then_some(COST).context("it is the third");
        let (costs, failed) = over_time(&guests, Duration::from_millis(100), ask).unwrap();
        assert_eq!((costs.len(), failed), (4, 1));
        assert!(began.elapsed() >= Duration::from_millis(80));
        let nobody = |_: &str| Err(anyhow!("no"));
        assert!(over_time(&guests, Duration::ZERO, nobody).is_err());
    }
}
