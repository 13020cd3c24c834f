//! The vSphere Automation API (REST) of vCenter: `/api` since 7.0 U2, `/rest` since 6.5.
//!
//! It shows a guest's power state and not whether vCenter still hears of its host, whether the guest's files can be reached, or
//! whether it is being started. So a guest is found and ordered about here, and looked at over SOAP, which the same server
//! serves and which calls it by the same identifier.
//!
//! Where nobody serves SOAP, a guest's state counts only when vCenter is connected to the host it is on, as the list of
//! connected hosts and of the guests on them tells, and off only when it is still so after that. A login that sees no hosts can
//! tell that a guest is on, or that it was powered off through this very login a moment ago, which vCenter cannot do without
//! its host.

mod link;
mod reply;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadline::Deadline;

use super::names::{Wanted, candidates, means};
use super::orders::{Ordered, Orders, Switch};
use super::soap::Soap;
use super::states::{PowerState, observation, plain};
use super::{Settings, name_of};
use crate::web::encode;
use crate::{Error, ErrorKind, Evidence, Guest, GuestRef, Observation, PoweredOff};
use link::{Call, Link, Session, Trouble};
use reply::{Listed, Meaning, Style, detail, guests, identifiers};

/// For how long a guest is taken to be the one that a name leads to, and an own order for a proof that its host is connected.
const TRUSTED: Duration = Duration::from_secs(30);
/// Hosts named in one request: their identifiers are in its address.
const HOSTS: usize = 50;

/// A server reached over REST.
pub(super) struct Rest {
    link: Link,
    /// For what REST cannot tell.
    soap: Soap,
    datacenter: Option<String>,
    /// Conditions of the list, name and value.
    filter: Vec<(String, String)>,
    found: Mutex<HashMap<GuestRef, (String, Instant)>>,
    /// What is to be told to the user.
    remarks: Mutex<Vec<String>>,
    /// Guests that were powered off through this login.
    cut: Mutex<HashMap<String, Instant>>,
}

/// One guest, as it was seen.
pub(super) struct Seen {
    id: String,
    observation: Observation,
}

impl Rest {
    pub(super) fn new(
        settings: &Settings,
        path: Option<&str>,
        filter: Option<&str>,
        name: &str,
    ) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            link: Link::new(settings, path, name),
            soap: Soap::new(settings, &format!("{} (SOAP)", name_of(settings))),
            datacenter: settings.datacenter.clone(),
            filter: filter.split('&').filter_map(condition).collect(),
            found: Mutex::default(),
            remarks: Mutex::default(),
            cut: Mutex::default(),
        }
    }

    /// Every guest that the filter lets through. Only what shows guests as off is proved, and what is on a lost host is not known.
    ///
    /// vCenter returns 1,000 to 4,000 guests at once and an error beyond: then host by host.
    pub(super) fn list(&self, deadline: Deadline) -> Result<Vec<Observation>, Error> {
        let told = |trouble| self.link.error(trouble, None);
        let datacenter = self.datacenter(deadline)?;
        let datacenter = datacenter.as_deref();
        let connected = self.hosts(true, deadline).map_err(told)?;
        let mut lost = self.hosts(false, deadline).map_err(told)?;
        lost.retain(|host| !connected.contains(host));
        let on =
            |hosts: &[String], off: bool| self.guests_on_each(hosts, datacenter, off, deadline);
        let (listed, proved) = match self.guests_on(None, datacenter, false, deadline) {
            Ok(all) if all.iter().any(|guest| guest.power == PowerState::Off) => {
                (all, on(&connected, true).map_err(told)?)
            }
            Ok(all) => (all, Vec::new()),
            Err(Trouble::Refusal(refusal)) if refusal.meaning == Meaning::TooMany => {
                let mut all = on(&connected, false).map_err(told)?;
                let proved = all.clone();
                all.extend(on(&lost, false).map_err(told)?);
                (all, proved)
            }
            Err(trouble) => return Err(told(trouble)),
        };
        let id = |guest: Listed| guest.id;
        let proved: HashSet<String> = proved.into_iter().map(id).collect();
        let lost: HashSet<String> = match lost.is_empty() {
            true => HashSet::new(),
            false => on(&lost, false)
                .map_err(told)?
                .into_iter()
                .map(id)
                .collect(),
        };
        let observe = |listed: Listed| {
            let off = listed.power == PowerState::Off;
            let doubtful = lost.contains(&listed.id) || off && !proved.contains(&listed.id);
            let doubt = doubtful.then(|| unseen_host(&connected));
            let guest = Guest {
                name: listed.name,
                uuid: uuid::Uuid::nil(),
            };
            let by = self.link.by();
            observation(guest, Some(&listed.power), doubt.as_deref(), None, by)
        };
        // A guest that moved meanwhile may be on two hosts.
        let known: HashMap<String, Listed> = listed
            .into_iter()
            .map(|guest| (guest.id.clone(), guest))
            .collect();
        let mut all: Vec<Observation> = known.into_values().map(observe).collect();
        all.sort_by(|a, b| a.guest.cmp(&b.guest));
        Ok(all)
    }

    /// One guest.
    pub(super) fn observe(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Observation, Error> {
        Ok(self.look(guest, deadline)?.observation)
    }

    /// Cuts a guest's power.
    pub(super) fn power_off(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<PoweredOff, Error> {
        self.cut(guest, deadline)
    }

    /// Boots a guest.
    pub(super) fn power_on(&self, guest: &GuestRef, deadline: Deadline) -> Result<Evidence, Error> {
        self.boot(guest, deadline)
    }

    /// Whether the server answers to this login.
    pub(super) fn health(&self, deadline: Deadline) -> Result<(), Error> {
        let answer = self.link.ask(deadline, Link::who_am_i);
        answer
            .map(drop)
            .map_err(|trouble| self.link.error(trouble, None))
    }

    /// Whether the login may power off a guest. REST does not tell; `/sdk` of the same server does. Where nobody serves that,
    /// it is only shown that the login sees the guest, or any.
    pub(super) fn may_switch(
        &self,
        guest: Option<&GuestRef>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        match guest {
            Some(guest) => drop(self.look(guest, deadline)?),
            None => self.health(deadline)?,
        }
        if self.soap.is_served(deadline)? {
            return self.soap.may_switch(guest, deadline);
        }
        if guest.is_none() {
            self.sees_any(deadline)?;
        }
        let remark = "REST does not tell whether the login may power off, and SOAP, which does, is not served there";
        lock(&self.remarks).push(remark.to_owned());
        Ok(())
    }

    fn sees_any(&self, deadline: Deadline) -> Result<(), Error> {
        let datacenter = self.datacenter(deadline)?;
        match self.guests_on(None, datacenter.as_deref(), false, deadline) {
            Ok(guests) if guests.is_empty() => Err(self.link.refused(
                None,
                "the login sees no guest: it needs a role (System.Read, and the privileges to switch) on the guests or on a \
                 folder above them",
            )),
            Ok(_) => Ok(()),
            Err(Trouble::Refusal(refusal)) if refusal.meaning == Meaning::TooMany => Ok(()),
            Err(trouble) => Err(self.link.error(trouble, None)),
        }
    }

    /// What there is to tell.
    pub(super) fn remarks(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.remarks))
    }

    /// Ends the session.
    pub(super) fn log_out(&self, deadline: Deadline) -> Result<(), Error> {
        lock(&self.found).clear();
        lock(&self.cut).clear();
        let rest = self.link.log_out(deadline);
        self.soap.log_out(deadline).and(rest)
    }

    fn find(&self, guest: &GuestRef, deadline: Deadline) -> Result<String, Error> {
        let refused = |detail: &str| Err(self.link.refused(Some(guest), detail));
        let name = match Wanted::of(guest) {
            Wanted::Name(name) => name,
            Wanted::Uuid(_) => {
                return refused("REST finds no guest by its UUID: give its name, or use SOAP");
            }
            Wanted::Path(_) => {
                return refused(
                    "REST finds no guest by an inventory path: give its name, or use SOAP",
                );
            }
        };
        let datacenter = self.datacenter(deadline)?;
        let build = |session: &Session| {
            let mut conditions: Vec<(&str, &str)> = Vec::new();
            let names = candidates(name);
            conditions.extend(names.iter().map(|name| ("names", name.as_ref())));
            conditions.extend(datacenter.as_deref().map(|id| ("datacenters", id)));
            Call::get(listing(session, "vm", &conditions))
        };
        let answer = self
            .link
            .ask(deadline, build)
            .map_err(|trouble| self.link.error(trouble, Some(guest)))?;
        let mut found = guests(&answer).map_err(|detail| self.malformed(&detail))?;
        found.retain(|listed| means(name, &listed.name));
        match (found.len(), found.pop()) {
            (1, Some(listed)) => Ok(listed.id),
            (0, _) => Err(Error::NoSuchGuest {
                guest: guest.clone(),
                by: self.link.by().to_owned(),
            }),
            (count, _) => refused(&format!(
                "{count} guests are called so: use SOAP, which takes the inventory path (/datacenter/vm/folder/name) and the UUID"
            )),
        }
    }

    /// Looks at a guest under its identifier; none when there is no such one.
    fn look_at(
        &self,
        id: &str,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Seen>, Error> {
        let seen = if self.soap.is_served(deadline)? {
            self.soap.look_at_id(id, guest, deadline)?
        } else {
            self.look_without_soap(id, guest, deadline)?
        };
        Ok(seen.map(|observation| Seen {
            id: id.to_owned(),
            observation,
        }))
    }

    fn look_without_soap(
        &self,
        id: &str,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Observation>, Error> {
        let told = |trouble| self.link.error(trouble, Some(guest));
        let path = format!("vcenter/vm/{id}");
        let answer = match self.link.ask(deadline, |_| Call::get(path.as_str())) {
            Err(Trouble::Refusal(refusal)) if refusal.meaning == Meaning::NotFound => {
                return Ok(None);
            }
            Err(Trouble::Refusal(refusal)) if refusal.meaning == Meaning::Inaccessible => {
                let (by, saw) = (self.link.by().to_owned(), refusal.words());
                return Err(Error::NotConfirmed {
                    guest: guest.clone(),
                    by,
                    saw,
                });
            }
            other => other.map_err(told)?,
        };
        let mut detail = detail(&answer).map_err(|detail| self.malformed(&detail))?;
        let doubt = self.doubt(id, &detail.power, deadline).map_err(told)?;
        if doubt.is_none() && detail.power == PowerState::Off {
            // What was shown before may be from before vCenter heard of the host again.
            let power = self
                .link
                .ask(deadline, |_| Call::get(format!("{path}/power")))
                .map_err(told)?;
            detail.power = reply::power(&power).map_err(|detail| self.malformed(&detail))?;
        }
        let guest = Guest {
            name: detail.name,
            uuid: detail.uuid.unwrap_or_default(),
        };
        let by = self.link.by();
        Ok(Some(observation(
            guest,
            Some(&detail.power),
            doubt.as_deref(),
            None,
            by,
        )))
    }

    /// Why vCenter may not know the guest's state; none when it is on a host that vCenter is connected to.
    fn doubt(
        &self,
        id: &str,
        power: &PowerState,
        deadline: Deadline,
    ) -> Result<Option<String>, Trouble> {
        let hosts = self.hosts(true, deadline)?;
        if hosts.is_empty() && (*power == PowerState::On || self.was_cut(id)) {
            return Ok(None);
        }
        for chunk in hosts.chunks(HOSTS) {
            let build = |session: &Session| {
                let mut conditions = vec![("vms", id)];
                conditions.extend(chunk.iter().map(|host| ("hosts", host.as_str())));
                Call::get(listing(session, "vm", &conditions))
            };
            let answer = self.link.ask(deadline, build)?;
            let found = identifiers(&answer, "vm")
                .map_err(|detail| Trouble::Lost(self.malformed(&detail)))?;
            if found.iter().any(|found| found == id) {
                return Ok(None);
            }
        }
        Ok(Some(unseen_host(&hosts)))
    }

    /// Hosts, by identifier: all, or those that vCenter is connected to.
    fn hosts(&self, connected: bool, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        let build = |session: &Session| {
            let conditions = [("connection_states", "CONNECTED")];
            Call::get(listing(
                session,
                "host",
                if connected { &conditions } else { &[] },
            ))
        };
        match self.link.ask(deadline, build) {
            Ok(answer) => identifiers(&answer, "host")
                .map_err(|detail| Trouble::Lost(self.malformed(&detail))),
            Err(Trouble::Refusal(refusal)) if refusal.meaning == Meaning::Unauthorized => {
                Ok(Vec::new())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The guests on those of these hosts that the filter lets through, asked for with as many hosts at once as the server returns
    /// guests of.
    fn guests_on_each(
        &self,
        hosts: &[String],
        datacenter: Option<&str>,
        off: bool,
        deadline: Deadline,
    ) -> Result<Vec<Listed>, Trouble> {
        let named: Vec<&String> = self.conditions("hosts").collect();
        let hosts = hosts.iter();
        let hosts: Vec<String> = hosts
            .filter(|host| named.is_empty() || named.contains(host))
            .cloned()
            .collect();
        let mut guests = Vec::new();
        let mut parts: Vec<&[String]> = hosts.chunks(HOSTS).rev().collect();
        while let Some(part) = parts.pop() {
            match self.guests_on(Some(part), datacenter, off, deadline) {
                Ok(found) => guests.extend(found),
                Err(Trouble::Refusal(refusal))
                    if refusal.meaning == Meaning::TooMany && part.len() > 1 =>
                {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(guests)
    }

    /// The guests that the filter lets through: on these hosts or wherever it says, and only those that are off, or all.
    ///
    /// Conditions of one name add up, so what is named here stands in for what the filter says of it.
    fn guests_on(
        &self,
        hosts: Option<&[String]>,
        datacenter: Option<&str>,
        off: bool,
        deadline: Deadline,
    ) -> Result<Vec<Listed>, Trouble> {
        let mut own: Vec<(&str, &str)> = Vec::new();
        let hosts = hosts.into_iter().flatten();
        own.extend(hosts.map(|host| ("hosts", host.as_str())));
        own.extend(datacenter.map(|id| ("datacenters", id)));
        own.extend(off.then_some(("power_states", "POWERED_OFF")));
        let filter = self
            .filter
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let others = filter.filter(|(name, _)| !own.iter().any(|(named, _)| named == name));
        let conditions: Vec<(&str, &str)> = own.iter().copied().chain(others).collect();
        let build = |session: &Session| Call::get(listing(session, "vm", &conditions));
        let answer = self.link.ask(deadline, build)?;
        guests(&answer).map_err(|detail| Trouble::Lost(self.malformed(&detail)))
    }

    /// The values that the filter has for a condition.
    fn conditions(&self, wanted: &str) -> impl Iterator<Item = &String> {
        let filter = self.filter.iter();
        filter.filter_map(move |(name, value)| (name == wanted).then_some(value))
    }

    /// The identifier of the datacenter that searches are limited to, if they are.
    fn datacenter(&self, deadline: Deadline) -> Result<Option<String>, Error> {
        let Some(wanted) = &self.datacenter else {
            return Ok(None);
        };
        if self.conditions("datacenters").next().is_some() {
            let detail =
                "the filter names datacenters, and so does vmware_datacenter: give one of them";
            return Err(self.link.refused(None, detail));
        }
        let build =
            |session: &Session| Call::get(listing(session, "datacenter", &[("names", wanted)]));
        let answer = self
            .link
            .ask(deadline, build)
            .map_err(|trouble| self.link.error(trouble, None))?;
        let mut found =
            identifiers(&answer, "datacenter").map_err(|detail| self.malformed(&detail))?;
        match (found.len(), found.pop()) {
            (1, Some(id)) => Ok(Some(id)),
            (count, _) => {
                let detail = format!(
                    "there are {count} datacenters `{}` that the login sees",
                    plain(wanted)
                );
                Err(self.link.refused(None, detail))
            }
        }
    }

    fn malformed(&self, detail: &str) -> Error {
        Error::Unreachable {
            by: self.link.by().to_owned(),
            detail: format!("the answer is not one of vSphere: {detail}"),
        }
    }

    /// Whether vCenter powered it off for us a moment ago, and so had its host.
    fn was_cut(&self, id: &str) -> bool {
        lock(&self.cut)
            .get(id)
            .is_some_and(|at| at.elapsed() < TRUSTED)
    }
}

impl Orders for Rest {
    type Seen = Seen;

    fn by(&self) -> &str {
        self.link.by()
    }

    fn pause(&self, time: Duration, deadline: Deadline) {
        self.link.pause(time, deadline);
    }

    fn look(&self, guest: &GuestRef, deadline: Deadline) -> Result<Seen, Error> {
        let before = lock(&self.found)
            .get(guest)
            .filter(|(_, at)| at.elapsed() < TRUSTED)
            .map(|(id, _)| id.clone());
        if let (Some(id), Wanted::Name(name)) = (before, Wanted::of(guest)) {
            match self.look_at(&id, guest, deadline)? {
                Some(seen) if means(name, &seen.observation.guest.name) => return Ok(seen),
                _ => drop(lock(&self.found).remove(guest)),
            }
        }
        let id = self.find(guest, deadline)?;
        let seen = self
            .look_at(&id, guest, deadline)?
            .ok_or_else(|| Error::NoSuchGuest {
                guest: guest.clone(),
                by: self.link.by().to_owned(),
            })?;
        lock(&self.found).insert(guest.clone(), (id, Instant::now()));
        Ok(seen)
    }

    fn id<'a>(&self, seen: &'a Seen) -> &'a str {
        &seen.id
    }

    fn observation(&self, seen: &Seen) -> Observation {
        seen.observation.clone()
    }

    /// Power calls return when vCenter's task has ended.
    fn order(&self, seen: &Seen, guest: &GuestRef, to: Switch, deadline: Deadline) -> Ordered {
        let verb = match to {
            Switch::Off => "stop",
            Switch::On => "start",
        };
        lock(&self.cut).remove(&seen.id);
        let build = |session: &Session| {
            let separator = match session.style {
                Style::Api => "?action=",
                Style::Rest => "/",
            };
            Call::post(format!("vcenter/vm/{}/power{separator}{verb}", seen.id))
        };
        match self.link.ask(deadline, build) {
            Ok(_) => {
                if to == Switch::Off {
                    lock(&self.cut).insert(seen.id.clone(), Instant::now());
                }
                Ordered::Done
            }
            Err(Trouble::Refusal(refusal)) => match refusal.meaning {
                Meaning::Already => Ordered::Look,
                Meaning::NotFound => {
                    lock(&self.found).remove(guest);
                    Ordered::Look
                }
                Meaning::Busy => Ordered::Busy(refusal.words()),
                // It may have been carried out, or still be.
                Meaning::TimedOut => Ordered::Lost,
                Meaning::Failed => Ordered::Unknown(Error::NotConfirmed {
                    guest: guest.clone(),
                    by: self.link.by().to_owned(),
                    saw: format!("it was told to: {}", refusal.words()),
                }),
                _ => Ordered::No(self.link.error(Trouble::Refusal(refusal), Some(guest))),
            },
            Err(Trouble::Lost(error)) if deadline.has_passed() => Ordered::Unknown(error),
            Err(Trouble::Lost(error)) => {
                tracing::debug!(%error, "no answer to an order");
                Ordered::Lost
            }
            Err(Trouble::Error(error)) => {
                debug_assert_ne!(
                    error.kind(),
                    ErrorKind::CannotKnow,
                    "nothing left this machine"
                );
                Ordered::No(error)
            }
        }
    }
}

fn unseen_host(connected: &[String]) -> String {
    if connected.is_empty() {
        "the login sees no host that vCenter is connected to; it needs the privilege System.Read on the hosts, or use SOAP"
    } else {
        "it is on none of the hosts that vCenter is connected to and the login sees (System.Read on hosts); SOAP can tell more"
    }
    .to_owned()
}

/// The address of a list with conditions, each named as the style wants it.
fn listing(session: &Session, what: &str, conditions: &[(&str, &str)]) -> String {
    let mut path = format!("vcenter/{what}");
    for (place, (name, value)) in conditions.iter().enumerate() {
        path.push(if place == 0 { '?' } else { '&' });
        path.push_str(&session.condition(name));
        path.push('=');
        path.push_str(&encode(value));
    }
    path
}

/// One condition of a filter as users write it: `filter.names=node1`.
fn condition(text: &str) -> Option<(String, String)> {
    let (name, value) = text.trim().split_once('=')?;
    let name = name.trim().trim_start_matches("filter.");
    Some((name.to_owned(), decoded(value.trim())))
}

/// Undoes percent-encoding where there is one: users copy filters from addresses.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or_default() << 4 | hex(low).unwrap_or_default());
                rest = after;
            }
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a reply and everything in it, as the callers here do. For fuzzing.
pub(super) fn read_anything(bytes: &[u8]) {
    let _ = reply::Refusal::read(400, bytes);
    for style in [Style::Api, Style::Rest] {
        if let Ok(value) = reply::value(style, bytes) {
            let _ = guests(&value);
            let _ = detail(&value);
            let _ = reply::power(&value);
            let _ = reply::token(&value);
            let _ = identifiers(&value, "host");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_are_taken_in_either_spelling() {
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(condition("filter.names=node1"), pair("names", "node1"));
        assert_eq!(condition("names=node%201"), pair("names", "node 1"));
        assert_eq!(condition("names"), None);
    }

    proptest! {
        #[test]
        fn encoding_is_undone(text in ".*") {
            prop_assert_eq!(decoded(&encode(&text)), text);
        }

        #[test]
        fn decoding_never_panics(text in ".*") {
            let _ = decoded(&text);
        }
    }
}
