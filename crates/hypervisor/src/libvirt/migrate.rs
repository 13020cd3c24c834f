//! Moving a running guest to another host. One job on a worker thread of the host it leaves, as in `act`.
//!
//! What is asked of libvirt is the plain live migration that both sides' daemons support since 1.1: the source's QEMU
//! sends, this process leads both daemons. Never post-copy, in which a guest that loses either host is lost; never
//! "unsafe"; an I/O error ends the migration, not the guest.

use std::sync::Arc;

use virt::domain::{Domain, MigrateParameters};
use virt::sys;

use super::call::Call;
use super::link::{Link, Session};
use super::{act, ffi, look, states, trouble};
use crate::{Error, Guest, GuestRef, GuestState, Observation};

/// What is being done to a guest, as far as it matters to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// Nothing, or nothing that moves it.
    Still,
    /// It leaves for another host, or arrives from one.
    Moving,
    /// Something that has to end before it can be moved.
    Busy,
}

/// Looks at a guest, and whether it is on its way.
pub(super) fn look(session: &Session<'_>, wanted: &GuestRef) -> Result<(Observation, Job), Error> {
    let (domain, seen) = look::look(session, wanted)?;
    let job = job(session, &domain, &seen)?;
    Ok((seen, job))
}

fn job(session: &Session<'_>, domain: &Domain, seen: &Observation) -> Result<Job, Error> {
    if states::is_in_flight(seen) {
        return Ok(Job::Moving);
    }
    if !seen.active {
        return Ok(Job::Still);
    }
    let asked = look::none_if_unsupported(ffi::job(domain));
    match asked {
        Ok(job) => Ok(meaning(job.flatten())),
        // It has ended since it was looked up: the next look says what of it.
        Err(error) if error.code() == virt::error::ErrorNumber::OperationInvalid => Ok(Job::Still),
        Err(error) => {
            let guest = look::by_uuid(&seen.guest);
            Err(trouble::meaning(session, Some(&guest), &error))
        }
    }
}

/// What a job (`virDomainJobOperation`) means. libvirt before 3.3 does not say what it does.
const fn meaning(operation: Option<sys::virDomainJobOperation>) -> Job {
    match operation {
        None => Job::Still,
        Some(
            sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN
            | sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
            | sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN,
        ) => Job::Moving,
        Some(_) => Job::Busy,
    }
}

/// How an attempt to move a guest went.
#[derive(Debug)]
pub(super) struct Tried {
    /// libvirt's answer.
    pub(super) answer: Result<(), Error>,
}

/// Moves `wanted` to the host behind `to`.
pub(super) fn go(
    session: &Session<'_>,
    to: &Arc<Link>,
    wanted: &GuestRef,
    call: &Call<Tried>,
) -> Result<Tried, Error> {
    let refuse = |detail: &str| Error::Refused {
        by: session.by().to_owned(),
        guest: wanted.to_string(),
        detail: detail.to_owned(),
    };
    let (domain, seen) = look::look(session, wanted)?;
    match (job(session, &domain, &seen)?, seen.state) {
        _ if !seen.active => return Err(refuse("it does not run here any more")),
        (Job::Moving, _) => return Err(refuse("it is being migrated already")),
        (Job::Busy, _) => {
            return Err(refuse(
                "something else is being done to it: a backup, a snapshot, a dump",
            ));
        }
        (Job::Still, GuestState::Running | GuestState::Blocked | GuestState::NoState) => {}
        // Somebody or something stopped it; where it stands still is where that can be found out.
        (Job::Still, state) => return Err(refuse(&format!("it is {state}, and not running"))),
    }
    let there = to.session()?;
    let starts_with_host = domain.get_autostart().unwrap_or(false);
    act::begin(call, session, &seen.guest, &format!("moving {wanted}"))?;
    let moved = domain.migrate3(
        there.connect(),
        MigrateParameters::default(),
        flags(seen.persistent),
    );
    let answer = match moved {
        Ok(domain) => {
            keep_autostart(&domain, &seen.guest, starts_with_host);
            Ok(())
        }
        Err(error) => Err(trouble::meaning(session, Some(wanted), &error)),
    };
    Ok(Tried { answer })
}

/// A persistent guest takes its definition along: left behind, it could be started there as well.
const fn flags(persistent: bool) -> sys::virDomainMigrateFlags {
    let always = sys::VIR_MIGRATE_LIVE | sys::VIR_MIGRATE_ABORT_ON_ERROR;
    if persistent {
        always | sys::VIR_MIGRATE_PERSIST_DEST | sys::VIR_MIGRATE_UNDEFINE_SOURCE
    } else {
        always
    }
}

/// libvirt forgets that a guest is to start with its host.
fn keep_autostart(domain: &Domain, guest: &Guest, wanted: bool) {
    if wanted && let Err(error) = domain.set_autostart(true) {
        tracing::warn!(%guest, %error, "it does not start with its new host");
    }
}

/// Ends a migration that takes too long: the guest then goes on where it was.
pub(super) fn abort(session: &Session<'_>, wanted: &GuestRef) -> Result<(), Error> {
    let domain = look::find(session, wanted)?;
    ffi::abort_job(&domain).map_err(|error| trouble::meaning(session, Some(wanted), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_migration_counts_as_one() {
        for number in 0..=20 {
            let expected = match number {
                0 | 4 | 5 => Job::Moving,
                _ => Job::Busy,
            };
            assert_eq!(meaning(Some(number)), expected, "{number}");
        }
        assert_eq!(meaning(None), Job::Still);
    }

    /// Numbers of libvirt's header: LIVE 1, PERSIST_DEST 8, UNDEFINE_SOURCE 16, ABORT_ON_ERROR 4096.
    #[test]
    fn the_definition_goes_along() {
        assert_eq!(flags(false), 4097);
        assert_eq!(flags(true), 4097 + 8 + 16);
    }
}
