//! The login of one connection, with one deadline for all of it.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use deadline::Deadline;
use iscsi::login::{
    Admission, Applicant, Authentication, Directory, Established, LoginOutcome, LoginResponder,
    LoginStatus, Wishes,
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
            None if self.shared.config.discovery.is_empty() => Authentication::None,
            None => Authentication::Chap {
                accounts: self.shared.config.discovery.clone(),
                own: None,
            },
        };
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
            match welcome(shared, link, established, group, deadline) {
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
    shared: &Shared,
    link: &Link,
    established: &Established,
    group: u16,
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
        authenticated: established.authenticated.clone(),
        owner: Arc::clone(&link.owner),
    };
    let presence = shared
        .sessions
        .enter(arrival, deadline)
        .map_err(|_| LoginStatus::NO_RESOURCES)?;
    let mut views = Vec::new();
    for (lun, unit) in target.units().iter() {
        let Ok(id) = unit.attach(&nexus) else {
            views
                .iter()
                .for_each(|view: &View| view.unit.nexus_lost(view.nexus));
            return Err(LoginStatus::NO_RESOURCES);
        };
        views.push(View {
            lun: *lun,
            unit: Arc::clone(unit),
            nexus: id,
        });
    }
    Ok(Some(Normal {
        target,
        nexus,
        presence,
        views,
    }))
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
