//! The daemon's life: start, reload, end.
//!
//! ```text
//!            keys, pid file, hypervisors, listeners
//! start ────────────────────────────────────────────▶ running ──TERM, INT, QUIT──▶ draining ──▶ end
//!   │ any of them fails (with -w only keys and pid file)  │ ▲                        at most DRAIN_LIMIT
//!   ▼                                                     └─┘
//!  exit                                        HUP: new rules, or the old ones if the file is wrong
//! ```

use std::sync::Arc;
use std::time::Duration;

use deadline::Deadline;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::{Auditor, Outcome, Record, Subject};
use crate::cli::Options;
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::fleet::Fleet;
use crate::listener::{Listener, Running};
use crate::pidfile::PidFile;
use crate::security;
use crate::service::{Rules, Service};
use crate::{background, descriptors, logging};

/// How long the hypervisors have to answer at the start.
const HEALTH_LIMIT: Duration = Duration::from_secs(10);
/// How long running requests have to end at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long sessions on management interfaces have to be closed at the end.
const FAREWELL_LIMIT: Duration = Duration::from_secs(8);
/// How often a listener that could not start is tried again. C's interval.
const RETRY: Duration = Duration::from_secs(5);

/// Reads and checks the configuration file with the keys it needs; remarks are printed for whoever
/// started the daemon.
///
/// # Errors
/// [`Failure`] with every remark.
pub fn configure(options: &Options, mend: bool) -> Result<(Config, Vec<String>), Failure> {
    let loaded = config::load(&options.config).map_err(Failure::configuration)?;
    let mut remarks = Vec::new();
    remarks.extend(loaded.warnings.lines().map(|(_, line)| line));
    let mut config = loaded.config;
    security::keep_private(&options.config, mend, &mut remarks);
    for listener in &mut config.listeners {
        listener
            .prepare(mend, &mut remarks)
            .map_err(Failure::configuration)?;
    }
    config.fleet.prepare().map_err(Failure::configuration)?;
    Ok((config, remarks))
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// [`Failure`] when it cannot start.
pub fn run(options: &Options) -> Result<(), Failure> {
    let (config, remarks) = configure(options, true)?;
    logging::start(options.debug.unwrap_or(config.debug), options.is_background);
    for remark in remarks {
        tracing::warn!("{remark}");
    }
    let pid_file = PidFile::take(&options.pid_file)?;
    let (auditor, thread) = Auditor::start(config.audit_log.as_deref()).map_err(Failure::start)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .thread_name("fence_virtd")
        .enable_all()
        .build()
        .map_err(|error| Failure::start(format!("cannot start: {error}")))?;
    let result = runtime.block_on(live(options, config, auditor.clone()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    auditor.flush();
    drop(auditor);
    // Others may hold the auditor while a hypervisor call hangs; the flush has waited for the disk.
    drop(thread);
    drop(pid_file);
    result
}

/// Sessions are short and wait most of the time; more threads than this only cost memory.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, 4))
}

/// The signals the daemon heeds.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

/// What runs.
struct Daemon<'a> {
    options: &'a Options,
    service: Arc<Service>,
    fleet_plan: String,
    /// Tells whether a reload needs another fleet.
    fleet_identity: String,
    running: Vec<Running>,
    /// Listeners that could not start and are tried again.
    pending: Vec<Box<dyn Listener>>,
}

async fn live(options: &Options, config: Config, auditor: Auditor) -> Result<(), Failure> {
    // Before anything that takes time: a signal must not kill a half-started daemon.
    let mut signals = Signals::new().map_err(Failure::start)?;
    let wait = options.wait || config.wait_for_init;
    let mut daemon = tokio::select! {
        daemon = Daemon::start(options, config, auditor, wait) => daemon?,
        _ = signals.terminate.recv() => return Ok(()),
        _ = signals.interrupt.recv() => return Ok(()),
        _ = signals.quit.recv() => return Ok(()),
    };
    daemon.ready()?;
    let mut retry = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.quit.recv() => break,
            _ = signals.hangup.recv() => daemon.reload().await,
            _ = retry.tick(), if !daemon.pending.is_empty() => daemon.start_pending().await,
        }
    }
    tokio::select! {
        () = daemon.end() => {}
        _ = signals.terminate.recv() => tracing::warn!("told again to end: not waiting for what runs"),
        _ = signals.interrupt.recv() => tracing::warn!("told again to end: not waiting for what runs"),
    }
    Ok(())
}

impl<'a> Daemon<'a> {
    async fn start(
        options: &'a Options,
        config: Config,
        auditor: Auditor,
        wait: bool,
    ) -> Result<Self, Failure> {
        let fleet = config.fleet.build(&auditor).map_err(Failure::start)?;
        check_health(&*fleet, wait).await?;
        let mut daemon = Self {
            options,
            fleet_plan: config.fleet.describe(),
            fleet_identity: config.fleet.identity(),
            service: Service::new(rules(&config, fleet), auditor),
            running: Vec::new(),
            pending: Vec::new(),
        };
        for listener in config.listeners {
            match listener.start(&daemon.service, None).await {
                Ok(running) => daemon.running.push(running),
                Err(error) if wait => {
                    tracing::warn!("{error}; trying again every {} s", RETRY.as_secs());
                    daemon.pending.push(listener);
                }
                Err(error) => return Err(Failure::start(error)),
            }
        }
        Ok(daemon)
    }

    /// Tells everybody that the daemon listens.
    fn ready(&self) -> Result<(), Failure> {
        if self.options.is_background {
            background::announce().map_err(Failure::start)?;
        }
        self.tell(&[NotifyState::Ready]);
        let listening: Vec<&str> = self
            .running
            .iter()
            .map(|running| running.endpoint.as_str())
            .collect();
        let listening = listening.join(", ");
        tracing::info!(fleet = self.fleet_plan, "listening: {listening}");
        self.audit(&format!("started, listening: {listening}"));
        Ok(())
    }

    /// Takes the configuration anew; keeps what runs if it is wrong.
    async fn reload(&mut self) {
        tracing::info!("reloading {}", self.options.config.display());
        let mut state = vec![NotifyState::Reloading];
        // systemd wants both in one message, to tell this reload from an earlier one.
        state.extend(NotifyState::monotonic_usec_now().ok());
        self.tell(&state);
        match self.try_reload().await {
            Ok(()) => {
                tracing::info!("reloaded");
                self.audit("configuration reloaded");
            }
            Err(failure) => {
                tracing::error!("the new configuration is not used: {failure}");
                self.audit(&format!("new configuration not used: {failure}"));
            }
        }
        self.tell(&[NotifyState::Ready]);
    }

    async fn try_reload(&mut self) -> Result<(), Failure> {
        let (config, remarks) = configure(self.options, true)?;
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        let auditor = self.service.auditor();
        let identity = config.fleet.identity();
        let fleet = if identity == self.fleet_identity {
            let fleet = Arc::clone(&self.service.rules().fleet);
            fleet.afresh();
            fleet
        } else {
            let fleet = config.fleet.build(auditor).map_err(Failure::start)?;
            // It ends with the last request that uses it; the end of the daemon waits for that.
            let farewell = self.service.rules().fleet.farewell();
            self.service.tasks().spawn(farewell);
            fleet
        };
        auditor.reopen(config.audit_log.clone());
        (self.fleet_plan, self.fleet_identity) = (config.fleet.describe(), identity);
        self.service.set_rules(rules(&config, fleet));
        self.pending.clear();
        let mut old = Vec::new();
        for running in std::mem::take(&mut self.running) {
            let mut endpoints = config.listeners.iter().map(|listener| listener.endpoint());
            if endpoints.any(|endpoint| endpoint == running.endpoint) {
                old.push(running);
            } else {
                // Let go first: its address may be needed.
                running.end().await;
            }
        }
        for listener in config.listeners {
            let endpoint = listener.endpoint();
            let previous = old.iter().position(|running| running.endpoint == endpoint);
            let previous = previous.map(|index| old.swap_remove(index));
            let started = listener.start(&self.service, previous.as_ref()).await;
            if let Some(previous) = previous {
                previous.end().await;
            }
            match started {
                Ok(running) => self.running.push(running),
                Err(error) => {
                    tracing::error!("{error}; trying again every {} s", RETRY.as_secs());
                    self.pending.push(listener);
                }
            }
        }
        Ok(())
    }

    async fn start_pending(&mut self) {
        for listener in std::mem::take(&mut self.pending) {
            match listener.start(&self.service, None).await {
                Ok(running) => {
                    tracing::info!("listening: {}", running.endpoint);
                    self.running.push(running);
                }
                Err(error) => {
                    tracing::debug!("{error}");
                    self.pending.push(listener);
                }
            }
        }
    }

    /// Takes no more requests and waits for those that run, but not for ever.
    async fn end(mut self) {
        self.tell(&[NotifyState::Stopping]);
        tracing::info!("ending");
        for running in std::mem::take(&mut self.running) {
            running.end().await;
        }
        let tasks = self.service.tasks();
        tasks.close();
        let drained = tokio::time::timeout(DRAIN_LIMIT, tasks.wait()).await;
        if drained.is_err() {
            tracing::error!(
                "{} requests had not ended after {} s and were left",
                tasks.len(),
                DRAIN_LIMIT.as_secs()
            );
        }
        self.close_sessions().await;
        self.audit("ended");
        tracing::info!("ended");
    }

    /// Lets go of the fleet, whose sessions then end.
    async fn close_sessions(&self) {
        let farewell = self.service.end_fleet();
        if tokio::time::timeout(FAREWELL_LIMIT, farewell)
            .await
            .is_err()
        {
            tracing::warn!(
                "the sessions on the management interfaces could not be closed; they last until their idle limit there"
            );
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!(%error, "cannot notify the service manager");
        }
    }

    fn audit(&self, what: &str) {
        let mut record = Record::new(Subject::Daemon, Outcome::Done).because(what);
        record.durable = true;
        self.service.auditor().record(record);
    }
}

fn rules(config: &Config, fleet: Arc<dyn Fleet>) -> Rules {
    if config.policy.is_open() {
        tracing::warn!(
            "no groups are configured: whoever holds the key may fence every guest; see `groups` in fence_virt.conf(5)"
        );
    }
    let mut limits = config.limits;
    limits.max_connections = descriptors::provide_for(limits.max_connections);
    if limits.max_connections < config.limits.max_connections {
        tracing::warn!(
            "only {} connections at once instead of {}, for want of file descriptors; raise the hard limit (ulimit -Hn, LimitNOFILE=)",
            limits.max_connections,
            config.limits.max_connections
        );
    }
    Rules {
        policy: Arc::new(config.policy.clone()),
        fleet,
        limits,
    }
}

/// A daemon that reaches nobody is of no use, unless it was told to wait.
async fn check_health(fleet: &dyn Fleet, wait: bool) -> Result<(), Failure> {
    let health = fleet.health(Deadline::after(HEALTH_LIMIT)).await;
    if health.well.is_empty() && !wait {
        return Err(Failure::start(format!(
            "no hypervisor can be reached: {}; start libvirtd, correct `uri` or `hypervisor` in backends/libvirt, or wait for it with -w",
            health.ill.join("; ")
        )));
    }
    for ill in health.ill {
        tracing::warn!("{ill}; trying for ever");
    }
    Ok(())
}
