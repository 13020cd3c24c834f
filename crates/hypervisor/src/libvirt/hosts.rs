//! Several libvirt URIs as the hosts of one platform.
//!
//! libvirt knows one host. Where a guest runs is found by asking all hosts; it is known only when exactly one has the guest
//! active and the guest is not on its way:
//!
//! | active on | otherwise | answer |
//! |---|---|---|
//! | one host | not on its way | that host |
//! | one host | a migration of it is under way | cannot know |
//! | several hosts | | cannot know: it is being migrated, or there are two of it |
//! | none | some host could not be asked | cannot know |
//! | none | it left one, or an order to start it is under way | cannot know |
//! | none | all asked, some know it | it runs nowhere |
//! | none | all asked, nobody knows it | no such guest |
//!
//! A name must mean the same guest on every host that knows it, else the answer is "cannot know", too.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::link::Link;
use super::migrate::{self, Job};
use super::{Libvirt, look};
use crate::placement::{Apart, Changed, Host, Placement, Whereabouts};
use crate::{Deadline, Error, Guest, GuestRef, Hypervisor as _, Observation, Power};

/// Of the time for a migration, what is kept back to end one that takes too long, and to see where the guest is then.
const KEPT_BACK: Duration = Duration::from_secs(10);
/// How long a guest may take to be seen in one place only after its migration ended.
const SETTLING: Duration = Duration::from_secs(5);
/// How often it is looked for then.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What one host said of a guest.
type Answer = Result<(Observation, Job), Error>;

/// Hosts that run libvirt, each reached by a URI.
#[derive(Debug)]
pub struct Hosts {
    name: String,
    hosts: Vec<(String, Libvirt)>,
}

impl Hosts {
    /// The hosts of these names and URIs. Nothing is connected yet.
    #[must_use]
    pub fn new(hosts: impl IntoIterator<Item = (String, String)>) -> Self {
        let hosts: Vec<_> = hosts
            .into_iter()
            .map(|(name, uri)| (name, Libvirt::new(&uri)))
            .collect();
        let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
        Self {
            name: format!("libvirt on {}", names.join(", ")),
            hosts,
        }
    }

    /// Asks every host at the same time.
    fn ask_all<T: Send>(&self, ask: impl Fn(&Libvirt) -> T + Sync) -> Vec<(&str, T)> {
        thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = self
                .hosts
                .iter()
                .map(|(name, libvirt)| (name.as_str(), scope.spawn(move || ask(libvirt))))
                .collect();
            asked
                .into_iter()
                .map(|(name, answer)| match answer.join() {
                    Ok(answer) => (name, answer),
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    }

    fn host(&self, name: &str) -> Option<Host> {
        let (name, libvirt) = self.hosts.iter().find(|(known, _)| known == name)?;
        Some(Host {
            id: libvirt.name().to_owned(),
            name: name.clone(),
            usable: true,
        })
    }

    fn refuse(&self, about: &str, detail: &str) -> Error {
        Error::Refused {
            by: self.name.clone(),
            guest: about.to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// Which of the hosts is meant.
    fn named(&self, guest: &GuestRef, wanted: &str) -> Result<(Host, &Libvirt), Error> {
        let all = self.hosts.iter().filter_map(|(name, libvirt)| {
            let host = self.host(name)?;
            host.is(wanted).then_some((host, libvirt))
        });
        let mut found: Vec<_> = all.collect();
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(_), false) => {
                Err(self.refuse(&guest.to_string(), "several hosts bear that name"))
            }
            (None, _) => {
                let names: Vec<&str> = self.hosts.iter().map(|(name, _)| name.as_str()).collect();
                let detail = format!(
                    "there is no host `{wanted}`; the hosts are {}",
                    names.join(", ")
                );
                Err(self.refuse(&guest.to_string(), &detail))
            }
        }
    }

    /// The whereabouts, and each host that has the guest active.
    fn find(&self, guest: &GuestRef, deadline: Deadline) -> Result<Found, Error> {
        let answers = self.ask_all(|libvirt| {
            let wanted = guest.clone();
            libvirt.question("looking for a guest", deadline, move |session| {
                migrate::look(session, &wanted)
            })
        });
        judge(&self.name, guest, &answers)
    }

    /// Waits until the guest is seen in one place, at most until the deadline.
    fn settle(&self, guest: &GuestRef, deadline: Deadline) -> Result<Found, Error> {
        let until = deadline.within(SETTLING);
        loop {
            let found = self.find(guest, deadline);
            if found.is_ok() || until.has_passed() {
                return found;
            }
            thread::sleep(LOOK_AGAIN.min(until.remaining()));
        }
    }

    fn located(&self, found: Found) -> Whereabouts {
        Whereabouts {
            host: found.host.and_then(|name| self.host(&name)),
            guest: found.guest,
            pinned_to: Vec::new(),
            moves_by_itself: false,
        }
    }

    fn source(&self, name: &str) -> Option<&Libvirt> {
        let found = self.hosts.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// Orders the migration and waits for it, keeping time back to abort it. The error of an attempt that
    /// changed nothing.
    fn carry(
        &self,
        from: &Libvirt,
        to: Arc<Link>,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let left = deadline.remaining();
        let inner = deadline.within(left.saturating_sub(KEPT_BACK.min(left / 3)));
        let wanted = guest.clone();
        let doing = format!("moving {guest}");
        let tried = from.ask(
            &doing,
            inner,
            move |session, call| migrate::go(session, &to, &wanted, call),
            |_, _, _| {},
        );
        match tried {
            Ok(tried) => tried.answer,
            Err(Error::DeadlinePassed {
                by, waited, acted, ..
            }) => {
                if acted {
                    self.abort(from, guest, deadline);
                }
                Err(Error::DeadlinePassed {
                    by,
                    doing,
                    waited,
                    acted,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn abort(&self, from: &Libvirt, guest: &GuestRef, deadline: Deadline) {
        let wanted = guest.clone();
        let aborted = from.question("ending a migration", deadline, move |session| {
            migrate::abort(session, &wanted)
        });
        if let Err(error) = aborted {
            tracing::warn!(%guest, %error, "the migration could not be ended");
        }
    }
}

/// What the hosts' answers come to.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    guest: Guest,
    /// The name of the host.
    host: Option<String>,
}

/// See the module's documentation.
fn judge(by: &str, wanted: &GuestRef, answers: &[(&str, Answer)]) -> Result<Found, Error> {
    let unknown = |saw: String| Error::NotConfirmed {
        guest: wanted.clone(),
        by: by.to_owned(),
        saw,
    };
    let seen: Vec<(&str, &Observation, Job)> = answers
        .iter()
        .filter_map(|(name, answer)| answer.as_ref().ok().map(|(seen, job)| (*name, seen, *job)))
        .collect();
    let silent: Vec<(&str, &Error)> = answers
        .iter()
        .filter_map(|(name, answer)| Some((*name, answer.as_ref().err()?)))
        .filter(|(_, error)| !matches!(error, Error::NoSuchGuest { .. }))
        .collect();
    let Some((_, first, _)) = seen.first() else {
        return Err(match silent.as_slice() {
            [] => Error::NoSuchGuest {
                guest: wanted.clone(),
                by: by.to_owned(),
            },
            [(_, error)] if answers.len() == 1 => (*error).clone(),
            [(_, error), ..] if silent.len() == answers.len() => (*error).clone(),
            [(name, error), ..] => unknown(format!(
                "no host that answered knows it, and {name} could not be asked: {error}"
            )),
        });
    };
    let guest = first.guest.clone();
    if let Some((other, ..)) = seen
        .iter()
        .find(|(_, seen, _)| seen.guest.uuid != guest.uuid)
    {
        return Err(unknown(format!(
            "{other} has another guest of that name: name it by its UUID"
        )));
    }
    let on: Vec<&str> = seen
        .iter()
        .filter(|(_, seen, _)| seen.active)
        .map(|(name, ..)| *name)
        .collect();
    if let Some((from, ..)) = seen.iter().find(|(_, _, job)| *job == Job::Moving) {
        return Err(unknown(format!("a migration of it is under way on {from}")));
    }
    match on.as_slice() {
        [one] => Ok(Found {
            guest,
            host: Some((*one).to_owned()),
        }),
        [] => nowhere(guest, &seen, &silent).map_err(unknown),
        several => Err(unknown(format!(
            "it is active on {}: it is being migrated, or there are two of it",
            several.join(" and ")
        ))),
    }
}

/// No host that answered has it active.
fn nowhere(
    guest: Guest,
    seen: &[(&str, &Observation, Job)],
    silent: &[(&str, &Error)],
) -> Result<Found, String> {
    if let Some((name, error)) = silent.first() {
        return Err(format!(
            "no host that answered runs it, and {name} could not be asked: {error}"
        ));
    }
    let doubtful = seen
        .iter()
        .find(|(_, seen, _)| seen.power() == Power::Unknown);
    match doubtful {
        Some((_, seen, _)) => Err(seen.to_string()),
        None => Ok(Found { guest, host: None }),
    }
}

impl Placement for Hosts {
    fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        let answers = self.ask_all(|libvirt| libvirt.health(deadline));
        let host = |(name, answer): (&str, Result<(), Error>)| {
            let host = self.host(name)?;
            if let Err(error) = &answer {
                tracing::warn!(host = name, %error, "it cannot be asked");
            }
            Some(Host {
                usable: answer.is_ok(),
                ..host
            })
        };
        Ok(answers.into_iter().filter_map(host).collect())
    }

    fn whereabouts(&self, guest: &GuestRef, deadline: Deadline) -> Result<Whereabouts, Error> {
        self.find(guest, deadline).map(|found| self.located(found))
    }

    fn rules(&self, _: &[GuestRef], _: Deadline) -> Result<Vec<Apart>, Error> {
        Err(self.refuse("", "libvirt has no rules that keep guests apart"))
    }

    fn keep_apart(
        &self,
        name: &str,
        _: &[GuestRef],
        _: bool,
        _: Deadline,
    ) -> Result<Changed, Error> {
        Err(self.refuse(name, "libvirt has no rules that keep guests apart"))
    }

    fn pin(&self, guest: &GuestRef, _: &[String], _: Deadline) -> Result<Changed, Error> {
        let detail = "libvirt pins no guest to a host: it runs where it is started or migrated to";
        Err(self.refuse(&guest.to_string(), detail))
    }

    /// A live migration, guarded: the guest must run on exactly one host and stand under no other job, the other host must
    /// answer; it is ended when it takes too long; and afterwards all hosts are asked where the guest is.
    fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let begun = Instant::now();
        let (target, to) = self.named(guest, host)?;
        let found = self.find(guest, deadline)?;
        let Some(source) = found.host.clone() else {
            return Err(self.refuse(&guest.to_string(), "it runs nowhere"));
        };
        if source == target.name {
            return Ok(self.located(found));
        }
        let Some(from) = self.source(&source) else {
            return Err(self.refuse(&guest.to_string(), "its host is not one of these"));
        };
        // Names may differ between hosts; from here on the same guest is meant everywhere.
        let uuid = look::by_uuid(&found.guest);
        to.health(deadline)?;
        let link = to.links.get(deadline)?;
        let carried = self.carry(from, link, &uuid, deadline);
        let seen = self.settle(&uuid, deadline);
        match (seen, carried) {
            (Ok(seen), _) if seen.host.as_deref() == Some(target.name.as_str()) => {
                Ok(self.located(seen))
            }
            // It was ended in time, and all hosts agree that it goes on where it was.
            (Ok(seen), Err(Error::DeadlinePassed { by, doing, .. }))
                if seen.host.as_deref() == Some(source.as_str()) =>
            {
                Err(Error::DeadlinePassed {
                    by,
                    doing,
                    waited: begun.elapsed(),
                    acted: false,
                })
            }
            (Ok(seen), Err(error)) if seen.host.as_deref() == Some(source.as_str()) => Err(error),
            (Ok(seen), _) => Err(Error::NotConfirmed {
                guest: guest.clone(),
                by: self.name.clone(),
                saw: seen.host.map_or_else(
                    || "after its migration it runs nowhere".to_owned(),
                    |host| format!("after its migration it runs on {host}"),
                ),
            }),
            (Err(error), _) => Err(Error::NotConfirmed {
                guest: guest.clone(),
                by: self.name.clone(),
                saw: format!("after its migration was begun: {error}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
