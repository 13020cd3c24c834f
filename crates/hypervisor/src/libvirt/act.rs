//! What switches guests: end one, start one. Each is one job on a worker thread.
//!
//! The order inside a job is fixed: look the guest up and read its state (so the daemon has just
//! answered), ask the [`Call`] whether the caller still waits and its deadline has not passed, act at
//! once. What is true afterwards is for a second job to see.

use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::sys;

use super::call::{Call, TooLate};
use super::link::Session;
use super::{ffi, look, states, trouble};
use crate::state::STARTING;
use crate::{Error, Guest, GuestRef, Observation, Power, Revival};

/// How an attempt to end a guest went.
#[derive(Debug)]
pub(super) enum Cut {
    /// There was nothing to do.
    AlreadyOff(Observation),
    /// It is shut off, and an order to start it has not ended: nothing was done.
    Starting(Observation),
    /// libvirt was told to end it, or to discard its saved memory.
    Tried {
        before: Observation,
        revival: Option<Revival>,
        /// libvirt's answer.
        answer: Result<(), String>,
    },
}

/// Ends `wanted`.
pub(super) fn cut(
    session: &Session<'_>,
    wanted: &GuestRef,
    call: &Call<Cut>,
) -> Result<Cut, Error> {
    let (domain, before) = look::look(session, wanted)?;
    match before.power() {
        Power::Off => return Ok(Cut::AlreadyOff(before)),
        Power::Unknown if before.reason == STARTING => return Ok(Cut::Starting(before)),
        // Not active and yet not off: it left for another host, or the answer is nonsense.
        Power::Unknown if !before.active => return Err(Error::not_confirmed(wanted, &before)),
        Power::Unknown | Power::On => {}
    }
    let revival = (before.active && !before.persistent)
        .then(|| definition(&domain))
        .flatten();
    if states::is_in_flight(&before) {
        session.doubts().raise(before.guest.uuid);
    }
    let doing = format!("powering off {wanted}");
    begin(call, session, &before.guest, &doing)?;
    let answer = if before.active {
        domain.destroy()
    } else {
        domain.managed_save_remove(0).map(drop)
    };
    let answer = answer.map_err(|error| {
        session.check();
        trouble::text(&error)
    });
    Ok(Cut::Tried {
        before,
        revival,
        answer,
    })
}

/// What a transient guest is started from again. Failing to read it must not keep the guest alive.
fn definition(domain: &Domain) -> Option<Revival> {
    match domain.get_xml_desc(sys::VIR_DOMAIN_XML_SECURE) {
        Ok(xml) => Some(Revival::new(xml)),
        Err(error) => {
            tracing::warn!(%error, "the definition of a transient guest cannot be read");
            None
        }
    }
}

/// How an attempt to start a guest went.
#[derive(Debug)]
pub(super) enum Start {
    /// There was nothing to do.
    AlreadyOn(Observation),
    /// libvirt was told to start it.
    Tried {
        guest: Guest,
        /// libvirt's answer.
        answer: Result<(), Error>,
    },
}

/// Starts `wanted`, from `revival` if libvirt does not know it.
pub(super) fn start(
    session: &Session<'_>,
    wanted: &GuestRef,
    revival: Option<&Revival>,
    call: &Call<Start>,
) -> Result<Start, Error> {
    let doing = format!("powering on {wanted}");
    let (domain, before) = match (look::look(session, wanted), revival) {
        (Err(Error::NoSuchGuest { .. }), Some(revival)) => {
            return revive(session, wanted, revival, call, &doing);
        }
        (seen, _) => seen?,
    };
    if before.active {
        return Ok(Start::AlreadyOn(before));
    }
    // It left for another host and may run there: started here too, it would run twice.
    if before.power() == Power::Unknown && before.reason != STARTING {
        return Err(Error::not_confirmed(wanted, &before));
    }
    let mut starting = session.doubts().starting(before.guest.uuid);
    begin(call, session, &before.guest, &doing)?;
    let answer = boot(&domain, before.resumable);
    let answer = answer.map_err(|error| trouble::meaning(session, Some(wanted), &error));
    if session.is_lost() {
        starting.is_lost();
    }
    Ok(Start::Tried {
        guest: before.guest,
        answer,
    })
}

/// Starts afresh: a saved memory image is never resumed. A driver that does not know the flag has no
/// such images either; should it show one nevertheless, the guest is not started.
fn boot(domain: &Domain, resumable: bool) -> Result<(), VirtError> {
    match domain.create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT) {
        Err(error)
            if !resumable
                && matches!(
                    error.code(),
                    ErrorNumber::InvalidArg
                        | ErrorNumber::ArgumentUnsupported
                        | ErrorNumber::NoSupport
                ) =>
        {
            domain.create_with_flags(0).map(drop)
        }
        other => other.map(drop),
    }
}

fn revive(
    session: &Session<'_>,
    wanted: &GuestRef,
    revival: &Revival,
    call: &Call<Start>,
    doing: &str,
) -> Result<Start, Error> {
    let guest = guest_of(revival)
        .filter(|guest| guest.is(wanted))
        .ok_or_else(|| {
            let (by, guest) = (session.by().to_owned(), wanted.to_string());
            let detail = "the definition it would be started from is of another guest".to_owned();
            Error::Refused { by, guest, detail }
        })?;
    let mut starting = session.doubts().starting(guest.uuid);
    begin(call, session, &guest, doing)?;
    let created = Domain::create_xml(session.connect(), revival.definition(), 0);
    let answer = match created {
        Ok(domain) => {
            let guest = ffi::identity(&domain);
            tracing::debug!(?guest, "transient guest started from its definition");
            Ok(())
        }
        Err(error) => Err(trouble::meaning(session, Some(wanted), &error)),
    };
    if session.is_lost() {
        starting.is_lost();
    }
    Ok(Start::Tried { guest, answer })
}

/// Whom a definition defines.
fn guest_of(revival: &Revival) -> Option<Guest> {
    let document = roxmltree::Document::parse(revival.definition()).ok()?;
    let child = |name: &str| {
        let found = document
            .root_element()
            .children()
            .find(|node| node.has_tag_name(name));
        found
            .and_then(|node| node.text())
            .map(|text| text.trim().to_owned())
    };
    let name = child("name")?;
    let uuid = uuid::Uuid::try_parse(&child("uuid")?).ok()?;
    Some(Guest { name, uuid })
}

/// The last gate before libvirt is told to switch something.
pub(super) fn begin<T>(
    call: &Call<T>,
    session: &Session<'_>,
    guest: &Guest,
    doing: &str,
) -> Result<(), Error> {
    call.act(guest).map_err(|TooLate| Error::DeadlinePassed {
        by: session.by().to_owned(),
        doing: doing.to_owned(),
        waited: call.age(),
        acted: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_names_its_guest() {
        let xml = "<domain type='test'><metadata><name>no</name></metadata><name>vm1</name>\
                   <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid></domain>";
        let guest = guest_of(&Revival::new(xml.to_owned())).unwrap();
        assert_eq!(
            guest.to_string(),
            "vm1 (6695eb01-f6a4-8304-79aa-97f2502e193f)"
        );
        for wrong in [
            "",
            "<domain/>",
            "<domain><name>a</name><uuid>b</uuid></domain>",
            "<a>\0</a>",
        ] {
            assert!(guest_of(&Revival::new(wrong.to_owned())).is_none());
        }
    }
}
