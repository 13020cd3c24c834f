//! The audit log: one line of JSON for the outcome of every request, with its evidence.
//!
//! Records are handed to a thread of their own, so that no request waits for a disk. What the disk
//! does not take (it is full, say) is put into the daemon's log in full, kept in bounded memory, and
//! written once there is room. Fencing never depends on it.

mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use hypervisor::Evidence;
use jiff::Timestamp;
use serde::Serialize;

use crate::identity::Requester;
use writer::{Command, Writer};

/// Where the log is unless `audit_log` says otherwise.
pub const DEFAULT_PATH: &str = "/var/log/fence_virtd/audit.jsonl";

/// Records on their way to the thread, at most.
const QUEUE: usize = 4096;

/// How long the end of the daemon waits for the disk.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A request was answered, or refused.
    Request,
    /// The second half of a reboot: the guest was started again, or was not.
    Restart,
    /// An action ended after its request had been answered with failure.
    LateCompletion,
    /// A guest left this host although its hosts form no cluster.
    Migration,
    /// Requests that proved no knowledge of the key.
    Unauthenticated,
    /// The daemon started, reloaded its configuration or ended.
    Daemon,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Done and confirmed; or the question was answered.
    Done,
    /// The guest is on.
    On,
    /// The guest is off.
    Off,
    /// The groups forbid it.
    Denied,
    /// Nobody knows such a guest.
    NoSuchGuest,
    /// Whoever knows could not be asked; nothing was switched.
    Unreachable,
    /// Whoever knows said no; nothing was switched.
    Refused,
    /// Something may have been switched, or may run elsewhere; nobody can tell.
    CannotKnow,
    /// Nothing was done: the requester had given up before it could be.
    Withdrawn,
    /// Nothing was done: the deadline had passed before it could be.
    TooLate,
    /// The guest was powered off for a reboot and did not start again.
    OffButNotRestarted,
    /// It ended only after the request had been answered with failure; the detail says how.
    EndedLate,
    /// An operation that never succeeds, such as `null`.
    Unsupported,
    /// The peer did not authenticate itself.
    Rejected,
}

/// One line of the log.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// When it was written, by the wall clock.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// The request it belongs to: unique for this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
    /// The listener that heard the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Arc<str>>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Which guest, as the request names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The byte that was sent, if the requester was still there to get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<u8>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What proves it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// From the arrival of the request to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Whether the line must be on the disk at once: it tells of a guest being switched.
    #[serde(skip)]
    pub durable: bool,
}

impl Record {
    /// A record without details, of now.
    #[must_use]
    pub fn new(subject: Subject, outcome: Outcome) -> Self {
        Self {
            at: Timestamp::now(),
            subject,
            request: None,
            listener: None,
            requester: None,
            operation: None,
            guest: None,
            outcome,
            reply: None,
            detail: None,
            evidence: Vec::new(),
            took_ms: None,
            durable: false,
        }
    }

    /// Adds who asked.
    #[must_use]
    pub fn from(mut self, requester: &Requester) -> Self {
        self.listener = Some(Arc::clone(&requester.listener));
        self.requester = Some(requester.identity.to_string());
        self
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// The line without its end.
    fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            format!("{{\"subject\":\"unprintable\",\"detail\":\"{error}\"}}")
        })
    }
}

/// Takes records. Cheap to clone; the log is closed when the last one is gone.
#[derive(Debug, Clone)]
pub struct Auditor(Option<SyncSender<Command>>);

impl Auditor {
    /// Opens the log and starts its thread; without a path nothing is kept. A log that cannot be opened is tried again and again
    /// and does not keep the daemon from starting.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(path: Option<&Path>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let mut writer = Writer::new(path.map(Path::to_owned));
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&receiver))?;
        Ok((Self(Some(sender)), thread))
    }

    /// An auditor that keeps nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Hands a record over. Never blocks: if the thread is far behind, the record goes to the
    /// daemon's log instead.
    pub fn record(&self, record: Record) {
        let Some(sender) = &self.0 else { return };
        match sender.try_send(Command::Record(Box::new(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => {
                if let Command::Record(record) = command {
                    tracing::error!(record = %record.line(), "the audit log is far behind; this record is only here");
                }
            }
        }
    }

    /// Closes the file and opens it anew, perhaps elsewhere: after a rotation or a reload.
    pub fn reopen(&self, path: Option<PathBuf>) {
        if let Some(sender) = &self.0
            && sender.try_send(Command::Reopen(path)).is_err()
        {
            tracing::error!("the audit log is far behind and was not reopened");
        }
    }

    /// Waits, but not for long, until everything handed over so far has been written or given up.
    pub fn flush(&self) {
        let Some(sender) = &self.0 else { return };
        let (done, written) = mpsc::sync_channel(1);
        if sender.try_send(Command::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_LIMIT);
        }
    }
}
