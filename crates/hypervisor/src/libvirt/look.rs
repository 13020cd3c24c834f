//! Questions that change nothing: one guest, all guests, anything at all.

use std::collections::HashSet;
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;
use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::sys;

use super::link::Session;
use super::{ffi, states, trouble};
use crate::{Error, Guest, GuestRef, GuestState, Observation};

/// Looks are repeated this often if the guest changed between the questions of one look.
const LOOKS: usize = 3;

/// Finds the guest, by the kind of name that was given and no other.
pub(super) fn find(session: &Session<'_>, wanted: &GuestRef) -> Result<Domain, Error> {
    let found = match wanted {
        GuestRef::Uuid(uuid) => Domain::lookup_by_uuid(session.connect(), *uuid),
        // libvirt takes names as C strings: none of its guests has a NUL in its name.
        GuestRef::Name(name) if name.contains('\0') => {
            let (guest, by) = (wanted.clone(), session.by().to_owned());
            return Err(Error::NoSuchGuest { guest, by });
        }
        GuestRef::Name(name) => Domain::lookup_by_name(session.connect(), name),
    };
    found.map_err(|error| trouble::meaning(session, Some(wanted), &error))
}

/// Finds the guest and looks at it.
pub(super) fn look(
    session: &Session<'_>,
    wanted: &GuestRef,
) -> Result<(Domain, Observation), Error> {
    let mut looks = 1;
    loop {
        let since = Instant::now();
        let domain = find(session, wanted)?;
        let mut seen = inspect(session, &domain)
            .map_err(|error| trouble::meaning(session, Some(wanted), &error))?;
        let settled = seen.active == (seen.state != GuestState::ShutOff);
        if settled || looks == LOOKS {
            session.doubts().judge(&mut seen, since);
            return Ok((domain, seen));
        }
        looks += 1;
    }
}

/// One look at a guest. The handle knows whether the guest was active when it was looked up; a guest
/// that is shut off is asked once more, and only then for its saved memory.
fn inspect(session: &Session<'_>, domain: &Domain) -> Result<Observation, VirtError> {
    let (state, reason) = domain.get_state()?;
    let state = GuestState::from_code(i32::try_from(state).unwrap_or(-1));
    let (active, resumable) = match state {
        GuestState::ShutOff => {
            let resumable = none_if_unsupported(domain.has_managed_save(0))?.unwrap_or(false);
            (domain.is_active()?, resumable)
        }
        _ => (domain.get_id().is_some(), false),
    };
    let persistent = domain.is_persistent()?;
    Ok(Observation {
        guest: ffi::identity(domain).ok_or_else(VirtError::last_error)?,
        state,
        reason: states::reason(state, reason),
        active,
        persistent,
        resumable,
        by: session.by().to_owned(),
        at: Timestamp::now(),
    })
}

/// All guests. Three round trips, whatever their number, with a driver that answers for many guests
/// at once; libvirt's own since 1.2.8 do.
pub(super) fn list(session: &Session<'_>) -> Result<Vec<Observation>, Error> {
    let since = Instant::now();
    let mut seen = match bulk(session) {
        Ok(seen) => seen,
        Err(error) if error.code() == ErrorNumber::NoSupport => one_by_one(session)?,
        Err(error) => return Err(trouble::meaning(session, None, &error)),
    };
    seen.iter_mut()
        .for_each(|seen| session.doubts().judge(seen, since));
    seen.sort_by(|a, b| a.guest.cmp(&b.guest));
    Ok(seen)
}

fn bulk(session: &Session<'_>) -> Result<Vec<Observation>, VirtError> {
    let rows = ffi::states(session.connect())?;
    // Asked after the states: an image that is there now was there or is being written.
    let resumable = uuids(session, sys::VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)?;
    let transient = uuids(session, sys::VIR_CONNECT_LIST_DOMAINS_TRANSIENT)?;
    let at = Timestamp::now();
    let observation = |row: ffi::Row| Observation {
        state: row.state,
        reason: states::reason(row.state, row.reason),
        active: row.active,
        persistent: !transient.contains(&row.guest.uuid),
        resumable: row.state == GuestState::ShutOff && resumable.contains(&row.guest.uuid),
        by: session.by().to_owned(),
        at,
        guest: row.guest,
    };
    Ok(rows.into_iter().map(observation).collect())
}

/// The UUIDs of the guests that `filter` (`virConnectListAllDomainsFlags`) lets through.
fn uuids(
    session: &Session<'_>,
    filter: sys::virConnectListAllDomainsFlags,
) -> Result<HashSet<Uuid>, VirtError> {
    let domains = session.connect().list_all_domains(filter)?;
    domains.iter().map(Domain::get_uuid).collect()
}

fn one_by_one(session: &Session<'_>) -> Result<Vec<Observation>, Error> {
    let domains = session.connect().list_all_domains(0);
    let domains = domains.map_err(|error| trouble::meaning(session, None, &error))?;
    let mut all = Vec::with_capacity(domains.len());
    for domain in &domains {
        match inspect(session, domain) {
            Ok(seen) => all.push(seen),
            // Gone since the list was made.
            Err(error) if error.code() == ErrorNumber::NoDomain => {}
            Err(error) => return Err(trouble::meaning(session, None, &error)),
        }
    }
    Ok(all)
}

/// Something only the hypervisor's driver can answer: how many guests are active.
pub(super) fn health(session: &Session<'_>) -> Result<(), Error> {
    let asked = session.connect().num_of_domains().map(drop);
    asked.map_err(|error| trouble::meaning(session, None, &error))
}

/// Makes "this driver has no such thing" a value.
pub(super) fn none_if_unsupported<T>(result: Result<T, VirtError>) -> Result<Option<T>, VirtError> {
    match result {
        Err(error) if error.code() == ErrorNumber::NoSupport => Ok(None),
        other => other.map(Some),
    }
}

/// The guest's UUID as a reference: what to ask for once a guest is identified, as names change.
pub(super) fn by_uuid(guest: &Guest) -> GuestRef {
    GuestRef::Uuid(guest.uuid)
}
