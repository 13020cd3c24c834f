//! The login of one connection, with one deadline for all of it.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use deadline::Deadline;
use iscsi::login::{
    Admission, Applicant, Authentication, Credentials, Directory, Established, LoginOutcome,
    LoginResponder, LoginStatus, Wishes,
};
use iscsi::pdu::FromInitiator;
use iscsi::session::{Body, Output};
use iscsi::{Framing, FramingError};
use scsi::lu::NexusId;
use scsi::pr::{InitiatorPort, Nexus, RelativePort};

use crate::server::Shared;
use crate::server::letter::Letter;
use crate::server::link::Link;
use crate::server::receiver::{Head, Received};
use crate::server::sessions::{Arrival, Presence};
use crate::server::slots::Slots;
use crate::server::targets::Target;
use crate::server::unit::Unit;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LoginFailure {
    /// The deadline has passed.
    #[error("the login took too long")]
    Late,
    /// The peer has closed the connection.
    #[error("the initiator hung up")]
    HungUp,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
    /// Not a login.
    #[error("something else than a login came")]
    NoLogin,
    /// The stream is out of step.
    #[error("a PDU that cannot be taken: {0}")]
    Framing(#[from] FramingError),
    /// The login was refused.
    #[error("refused to {initiator}: {status}")]
    Refused {
        /// Who, if that much was known.
        initiator: String,
        /// Why.
        status: LoginStatus,
    },
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A logical unit as one session sees it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) lun: u16,
    pub(crate) unit: Arc<Unit>,
    pub(crate) nexus: NexusId,
}

/// A session that is not only for discovery.
#[derive(Debug)]
pub(crate) struct Normal {
    pub(crate) target: Arc<Target>,
    pub(crate) nexus: Nexus,
    pub(crate) views: Vec<View>,
    /// Dropped last: who waits for the end of the session finds its disks closed.
    pub(crate) presence: Presence,
}

impl Drop for Normal {
    /// However it ends: a place that a session leaves taken would be taken for ever.
    fn drop(&mut self) {
        for view in &self.views {
            view.unit.nexus_lost(view.nexus);
        }
    }
}

/// What a login led to.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) established: Established,
    /// `None`: a discovery session.
    pub(crate) normal: Option<Normal>,
}

/// Who may come in through one portal.
struct Door<'a> {
    shared: &'a Shared,
    group: u16,
    /// Who came, for the log.
    name: RefCell<String>,
    /// The accounts of which it may prove to be one, as they were when it began.
    accounts: RefCell<Vec<Credentials>>,
}

impl Door<'_> {
    /// What the initiator proved itself with.
    fn account(&self, established: &Established) -> Option<Credentials> {
        let user = established.authenticated.as_deref()?;
        let accounts = self.accounts.borrow();
        accounts.iter().find(|one| one.name == user).cloned()
    }
}

impl Directory for Door<'_> {
    fn admit(&self, applicant: &Applicant<'_>) -> Result<Admission, LoginStatus> {
        *self.name.borrow_mut() = applicant.initiator.to_owned();
        if applicant.tsih != 0 {
            return Err(if self.shared.sessions.has_tsih(applicant.tsih) {
                LoginStatus::TOO_MANY_CONNECTIONS
            } else {
                LoginStatus::NO_SESSION
            });
        }
        let authentication = match applicant.target {
            Some(target) => self.shared.targets.admit(target, applicant.initiator)?.1,
            None => match self.shared.discovery() {
                accounts if accounts.is_empty() => Authentication::None,
                accounts => Authentication::Chap {
                    accounts,
                    own: None,
                },
            },
        };
        if let Authentication::Chap { accounts, .. } = &authentication {
            accounts.clone_into(&mut self.accounts.borrow_mut());
        }
        Ok(Admission {
            portal_group: self.group,
            tsih: self.shared.sessions.next_tsih(),
            authentication,
            window: self.shared.config.limits.commands,
        })
    }
}

/// Logs an initiator in.
///
/// # Errors
/// [`LoginFailure`]. A refusal has been sent.
pub(crate) fn log_in<S>(
    shared: &Shared,
    link: &mut Link,
    slots: &mut Slots<S>,
    group: u16,
) -> Result<LoggedIn, LoginFailure> {
    let deadline = Deadline::after(shared.config.timeouts.login);
    let door = Door {
        shared,
        group,
        name: RefCell::new("somebody".to_owned()),
        accounts: RefCell::default(),
    };
    let mut responder = LoginResponder::new(Wishes::default());
    loop {
        let (head, text) = next_pdu(link, slots, deadline)?;
        let Ok(FromInitiator::Login(request)) = FromInitiator::parse(&head.header) else {
            return Err(LoginFailure::NoLogin);
        };
        let mut reply = responder.handle(&request, &text, &door, &mut |bytes| {
            shared.random(bytes);
        });
        let mut session = None;
        if let LoginOutcome::LoggedIn(established) = &reply.outcome {
            let account = door.account(established);
            match welcome(&door, link, established, account, deadline) {
                Ok(normal) => session = Some(normal),
                Err(status) => {
                    reply.response.status = status.0;
                    reply.response.next = None;
                    reply.text.clear();
                    reply.outcome = LoginOutcome::Refused(status);
                }
            }
        }
        let output = Output {
            header: reply.response.header(),
            body: if reply.text.is_empty() {
                Body::None
            } else {
                Body::Bytes(reply.text)
            },
            last_of: None,
        };
        link.sender.add(&output, slots);
        send_all(link, slots, deadline)?;
        match (reply.outcome, session) {
            (LoginOutcome::LoggedIn(established), Some(normal)) => {
                switch_framing(link, &established);
                return Ok(LoggedIn {
                    established: *established,
                    normal,
                });
            }
            (LoginOutcome::Refused(status), _) => {
                let initiator = door.name.take();
                return Err(LoginFailure::Refused { initiator, status });
            }
            _ => {}
        }
    }
}

/// What has been agreed on holds from now on.
fn switch_framing(link: &mut Link, established: &Established) {
    let agreed = established.parameters;
    let framing = |most: u32| Framing {
        digests: agreed.digests,
        max_data: usize::try_from(most).unwrap_or(usize::MAX),
    };
    link.receiver.set_framing(framing(agreed.max_receive));
    link.sender.set_framing(framing(agreed.max_send));
}

/// Gives a session its place: an old one of the same nexus has ended, and every logical unit knows of it.
fn welcome(
    &Door { shared, group, .. }: &Door<'_>,
    link: &Link,
    established: &Established,
    account: Option<Credentials>,
    deadline: Deadline,
) -> Result<Option<Normal>, LoginStatus> {
    let Some(name) = &established.target else {
        return Ok(None);
    };
    let target = shared.targets.find(name).ok_or(LoginStatus::NOT_FOUND)?;
    let initiator = InitiatorPort::new(&established.initiator, established.isid.0)
        .ok_or(LoginStatus::INITIATOR_ERROR)?;
    let nexus = Nexus {
        initiator,
        port: RelativePort(group),
    };
    let arrival = Arrival {
        tsih: established.tsih,
        target: target.name.as_str().to_owned(),
        nexus: nexus.clone(),
        peer: link.peer,
        local: link.local,
        authenticated: account.clone(),
        owner: Arc::clone(&link.owner),
    };
    let presence = shared
        .sessions
        .enter(arrival, deadline)
        .map_err(|_| LoginStatus::NO_RESOURCES)?;
    // Asked again: an administrator who changes who may log in, or where, ends the sessions that are there, and from now on
    // this is one of them.
    if !shared.listens_at(link.local, group) {
        return Err(LoginStatus::NO_RESOURCES);
    }
    let (target, _) = shared.targets.admit(name, &established.initiator)?;
    if !target.would_let_in(&established.initiator, account.as_ref()) {
        return Err(LoginStatus::AUTHENTICATION);
    }
    let mut normal = Normal {
        target,
        nexus,
        views: Vec::new(),
        presence,
    };
    for (lun, unit) in normal.target.units().iter() {
        let nexus = unit.attach(&normal.nexus);
        normal.views.push(View {
            lun: *lun,
            unit: Arc::clone(unit),
            nexus: nexus.map_err(|_| LoginStatus::NO_RESOURCES)?,
        });
    }
    Ok(Some(normal))
}

/// The next PDU with all of its data.
fn next_pdu<S>(
    link: &mut Link,
    slots: &mut Slots<S>,
    deadline: Deadline,
) -> Result<(Head, Vec<u8>), LoginFailure> {
    let mut head = None;
    loop {
        if head.is_none() {
            head = link.receiver.head()?;
        }
        if let Some(found) = head.take() {
            match link.receiver.whole_segment(found.lengths)? {
                Some(text) => return Ok((found, text)),
                None => head = Some(found),
            }
        }
        if !pause(link, (true, false), deadline)? {
            continue;
        }
        if link.receive(slots)? == Received::End {
            return Err(LoginFailure::HungUp);
        }
    }
}

fn send_all<S>(
    link: &mut Link,
    slots: &mut Slots<S>,
    deadline: Deadline,
) -> Result<(), LoginFailure> {
    while !link.flush(slots)? {
        pause(link, (false, true), deadline)?;
    }
    Ok(())
}

/// Waits for the socket. Whether it is readable.
fn pause(link: &Link, what: (bool, bool), deadline: Deadline) -> Result<bool, LoginFailure> {
    if deadline.has_passed() {
        return Err(LoginFailure::Late);
    }
    let ready = link.wait(what, None, deadline.instant())?;
    let mut letters = Vec::new();
    link.owner.take(&mut letters);
    if letters
        .iter()
        .any(|letter| matches!(letter, Letter::End(_)))
    {
        return Err(LoginFailure::Stopping);
    }
    Ok(ready.readable)
}

#[cfg(test)]
mod tests {
    use scsi::lu::Limits;

    use super::*;
    use crate::config::DiskOptions;
    use crate::server::mailbox::Mailbox;
    use crate::server::sessions::Sessions;
    use crate::server::targets::{Access, Units};
    use crate::server::unit::Surroundings;

    #[test]
    fn logins_that_come_to_nothing_leave_no_place_taken() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DiskOptions::new(directory.path().join("disk"));
        options.store.size = Some(1 << 20);
        let name = "iqn.2026-11.org.example:disks";
        let around = Surroundings {
            target: name,
            ports: vec![RelativePort(1)],
            journals: directory.path(),
            claimed: &std::collections::BTreeSet::new(),
            gate: None,
        };
        let unit = Arc::new(Unit::open(&options, &around).unwrap());
        let units = Units::from([(0, Arc::clone(&unit))]);
        let target = Arc::new(Target::new(name.parse().unwrap(), Access::default(), units));
        let sessions = Arc::new(Sessions::default());
        for number in 0..=u16::try_from(Limits::default().nexuses).unwrap() {
            let [high, low] = number.to_be_bytes();
            let initiator =
                InitiatorPort::new("iqn.2026-11.org.example:flood", [0, 0, 0, 0, high, low]);
            let nexus = Nexus {
                initiator: initiator.unwrap(),
                port: RelativePort(1),
            };
            let arrival = Arrival {
                tsih: 1,
                target: name.to_owned(),
                nexus: nexus.clone(),
                peer: "127.0.0.1:1".parse().unwrap(),
                local: "127.0.0.1:2".parse().unwrap(),
                authenticated: None,
                owner: Arc::new(Mailbox::new().unwrap()),
            };
            let presence = sessions.enter(arrival, Deadline::after(std::time::Duration::ZERO));
            let view = View {
                lun: 0,
                unit: Arc::clone(&unit),
                nexus: unit.attach(&nexus).unwrap(),
            };
            drop(Normal {
                target: Arc::clone(&target),
                nexus,
                views: vec![view],
                presence: presence.unwrap(),
            });
        }
    }
}
