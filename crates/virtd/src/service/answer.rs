//! What is answered to each operation.
//!
//! | operation | 0 | 1 | 2 | 3 |
//! |---|---|---|---|---|
//! | off | off everywhere, confirmed | anything else | | groups forbid it |
//! | on | on, confirmed | anything else | | groups forbid it |
//! | reboot | powered off, confirmed; or was off and stays off | anything else | | groups forbid it |
//! | status | on | unknown guest, cannot know (I05, W4) | off | groups forbid it |
//! | monitor | every hypervisor answers | one does not (W26) | | |
//! | null, unknown operations | | always | | |

use std::sync::Arc;
use std::time::Instant;

use fence_wire::{HostRecord, Operation, Plug, Reply, encode_list};
use hypervisor::{Evidence, GuestRef};

use super::Ticket;
use crate::audit::{Auditor, Outcome, Record, Subject};
use crate::fleet::{BoxFuture, Fleet, FleetError, Inventory, Order, Status};
use crate::identity::Identity;
use crate::policy::Policy;

/// What the requester gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One byte.
    Reply(Reply),
    /// The guests it may fence, and whether they are all.
    Hosts {
        /// The guests.
        hosts: Arc<[HostRecord]>,
        /// What ends the list: failure if some hypervisor did not answer.
        last: Reply,
    },
}

impl Answer {
    /// The bytes, for transports without frames of their own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Reply(reply) => vec![reply.0],
            Self::Hosts { hosts, last } => encode_list(hosts, *last),
        }
    }

    /// The byte that tells the outcome.
    #[must_use]
    pub const fn byte(&self) -> u8 {
        match self {
            Self::Reply(reply) => reply.0,
            Self::Hosts { last, .. } => last.0,
        }
    }
}

/// An answer and what is to be written down about it.
#[derive(Debug)]
pub struct Answered {
    /// What to send.
    pub answer: Answer,
    /// What to record once it has been sent.
    pub record: Record,
}

impl Answered {
    fn new(reply: Reply, outcome: Outcome) -> Self {
        Self {
            answer: Answer::Reply(reply),
            record: Record::new(Subject::Request, outcome),
        }
    }

    fn failed(error: &FleetError) -> Self {
        let mut failed = Self::new(Reply::FAILURE, error.outcome());
        failed.record.detail = Some(error.to_string());
        failed
    }

    fn proven(outcome: Outcome, evidence: Vec<Evidence>) -> Self {
        let mut proven = Self::new(Reply::SUCCESS, outcome);
        let texts: Vec<String> = evidence.iter().map(ToString::to_string).collect();
        proven.record.detail = Some(texts.join("; "));
        proven.record.evidence = evidence;
        proven.record.durable = true;
        proven
    }
}

impl Ticket {
    /// Carries the request out. It ends by its deadline and is not withdrawn by dropping the future
    /// but by nobody waiting any more ([`Ticket::wait`]).
    pub async fn answer(&self) -> Answered {
        let rules = self.service.rules();
        let deadline = self.deadline();
        let operation = self.request.operation;
        match operation {
            Operation::DEVICE_STATUS => health(&*rules.fleet, deadline).await,
            Operation::HOST_LIST => {
                let inventory = rules.fleet.list(deadline).await;
                list(inventory, &rules.policy, &self.requester.identity)
            }
            Operation::OFF | Operation::ON | Operation::REBOOT | Operation::STATUS => {
                let Some(plug) = &self.request.plug else {
                    let mut refused = Answered::new(Reply::FAILURE, Outcome::NoSuchGuest);
                    refused.record.detail = Some(format!("{operation} needs a guest's name"));
                    return refused;
                };
                if !rules.policy.may(&self.requester.identity, plug.as_str()) {
                    return self.denied(plug);
                }
                let order = Order {
                    guest: GuestRef::parse(plug.as_str()),
                    deadline,
                    given_up: self.interest.given_up.clone(),
                };
                let mut answered = self.switch(operation, order, &rules.fleet).await;
                answered.record.durable |= operation.is_power_action();
                answered
            }
            _ => Answered::new(Reply::FAILURE, Outcome::Unsupported),
        }
    }

    fn denied(&self, plug: &Plug) -> Answered {
        let mut denied = Answered::new(Reply::DENIED, Outcome::Denied);
        denied.record.detail = Some(format!(
            "no group allows {} to fence `{}`; see `groups` in fence_virt.conf(5)",
            self.requester,
            GuestRef::parse(plug.as_str()),
        ));
        denied
    }

    async fn switch(&self, operation: Operation, order: Order, fleet: &Arc<dyn Fleet>) -> Answered {
        match operation {
            Operation::STATUS => status(fleet.status(order).await),
            Operation::OFF => match fleet.off(order).await {
                Ok(evidence) => Answered::proven(Outcome::Off, evidence),
                Err(error) => Answered::failed(&error),
            },
            Operation::ON => match fleet.on(order).await {
                Ok(evidence) => Answered::proven(Outcome::On, evidence),
                Err(error) => Answered::failed(&error),
            },
            _ => match fleet.reboot(order).await {
                Ok(rebooting) => {
                    if let Some(restart) = rebooting.restart {
                        self.restart(restart);
                    }
                    Answered::proven(Outcome::Off, rebooting.evidence)
                }
                Err(error) => Answered::failed(&error),
            },
        }
    }

    /// The second half of a reboot, in the background: the requester's safety rests on the first.
    fn restart(&self, restart: BoxFuture<'static, Result<Evidence, FleetError>>) {
        let auditor = self.service.auditor().clone();
        let mut record = Record::new(Subject::Restart, Outcome::On).from(&self.requester);
        record.request = Some(Arc::clone(&self.id));
        record.operation = Some(self.request.operation.to_string());
        record.guest = self
            .request
            .plug
            .as_ref()
            .map(|plug| plug.as_str().to_owned());
        record.durable = true;
        self.service
            .tasks()
            .spawn(finish_restart(restart, record, auditor));
    }
}

/// Writes down how a restart ended, also if it did not: the daemon ends before it does when the
/// hypervisor hangs, and somebody must hear that the guest may be off.
struct RestartRecord {
    record: Option<Record>,
    auditor: Auditor,
    begun: Instant,
}

impl RestartRecord {
    fn write(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(mut record) = self.record.take() {
            change(&mut record);
            record.at = jiff::Timestamp::now();
            record.took_ms = Some(self.begun.elapsed().as_secs_f64() * 1000.0);
            self.auditor.record(record);
        }
    }
}

impl Drop for RestartRecord {
    fn drop(&mut self) {
        self.write(|record| {
            let guest = record.guest.clone().unwrap_or_default();
            let problem =
                "fence_virtd ended before it was known whether the guest was started again";
            tracing::error!(guest, "{problem}");
            record.outcome = Outcome::OffButNotRestarted;
            record.detail = Some(problem.to_owned());
        });
    }
}

async fn finish_restart(
    restart: BoxFuture<'static, Result<Evidence, FleetError>>,
    record: Record,
    auditor: Auditor,
) {
    let guest = record.guest.clone().unwrap_or_default();
    let mut written = RestartRecord {
        record: Some(record),
        auditor,
        begun: Instant::now(),
    };
    let result = restart.await;
    written.write(|record| match result {
        Ok(evidence) => {
            tracing::info!(guest, "started again: {evidence}");
            record.evidence = vec![evidence];
        }
        Err(error) => {
            tracing::error!(guest, "off, but not restarted: {error}");
            record.outcome = Outcome::OffButNotRestarted;
            record.detail = Some(error.to_string());
        }
    });
}

fn status(report: Result<crate::fleet::StatusReport, FleetError>) -> Answered {
    let report = match report {
        Ok(report) => report,
        Err(error) => return Answered::failed(&error),
    };
    let mut answered = match report.status {
        Status::On => Answered::new(Reply::SUCCESS, Outcome::On),
        Status::Off => Answered::new(Reply::OFF, Outcome::Off),
    };
    let seen: Vec<String> = report
        .observations
        .iter()
        .map(ToString::to_string)
        .collect();
    answered.record.detail = Some(seen.join("; "));
    answered
}

async fn health(fleet: &dyn Fleet, deadline: deadline::Deadline) -> Answered {
    let health = fleet.health(deadline).await;
    if health.ill.is_empty() {
        return Answered::new(Reply::SUCCESS, Outcome::Done);
    }
    let mut ill = Answered::new(Reply::FAILURE, Outcome::Unreachable);
    ill.record.detail = Some(health.ill.join("; "));
    ill
}

fn list(inventory: Inventory, policy: &Policy, requester: &Identity) -> Answered {
    if inventory.guests.is_empty() && !inventory.silent.is_empty() {
        return Answered::failed(&FleetError::Unreachable(inventory.silent.join("; ")));
    }
    let hosts: Arc<[HostRecord]> = inventory
        .guests
        .iter()
        .filter(|seen| policy.may_see(requester, &seen.guest.name, &seen.guest.uuid))
        .map(|seen| HostRecord {
            name: seen.guest.name.clone(),
            uuid: seen.guest.uuid.hyphenated().to_string(),
            state: seen.state.wire_code(),
        })
        .collect();
    let complete = inventory.silent.is_empty();
    let (last, outcome) = if complete {
        (Reply::SUCCESS, Outcome::Done)
    } else {
        (Reply::FAILURE, Outcome::Unreachable)
    };
    let mut record = Record::new(Subject::Request, outcome);
    if !complete {
        record.detail = Some(format!(
            "the list lacks guests: {}",
            inventory.silent.join("; ")
        ));
    }
    Answered {
        answer: Answer::Hosts { hosts, last },
        record,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The daemon ends while the hypervisor hangs: the record says so instead of being missing.
    #[tokio::test]
    async fn a_restart_that_was_left_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let (auditor, _thread) = Auditor::start(Some(&path)).unwrap();
        let record = Record::new(Subject::Restart, Outcome::On);
        let task = tokio::spawn(finish_restart(
            Box::pin(std::future::pending()),
            record,
            auditor.clone(),
        ));
        tokio::task::yield_now().await;
        task.abort();
        task.await.unwrap_err();
        auditor.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("off_but_not_restarted"), "{text}");
    }
}
