//! Hosts of the in-memory hypervisor: where its guests run, and what keeps them apart.

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::thread;
use std::time::Instant;

use super::{MemoryHypervisor, World};
use crate::placement::{Apart, Changed, Host, Placement, Whereabouts};
use crate::{Deadline, Error, Guest, GuestRef, Observation};

/// What is wrong with the placement of the in-memory hypervisor, or what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlacementFaults {
    /// It has no rules that keep guests apart: asking for them is refused with this text.
    pub no_rules: Option<String>,
    /// Every change is refused with this text.
    pub refuse: Option<String>,
    /// Every change is answered with success and has no effect.
    pub ignore: bool,
    /// Pins of running guests are stored and take effect when the guest starts next.
    pub pins_wait: bool,
    /// Rules are there, and do nothing for this reason.
    pub ineffective: Option<String>,
    /// A guest that is moved gets stuck on its way: from then on nobody can say where it is.
    pub lose_guests: bool,
}

/// Where one guest is and may be. Hosts are named by their ids.
#[derive(Debug, Clone, Default)]
struct Place {
    host: Option<String>,
    pinned: Vec<String>,
    moves_by_itself: bool,
    in_flight: bool,
}

/// Hosts, who is where, and rules.
#[derive(Debug, Default)]
pub(super) struct Places {
    hosts: Vec<Host>,
    guests: BTreeMap<String, Place>,
    rules: Vec<Apart>,
    faults: PlacementFaults,
}

impl Places {
    fn find(&self, wanted: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.is(wanted))
    }

    fn by_ids(&self, ids: &[String]) -> Vec<Host> {
        ids.iter().filter_map(|id| self.find(id)).cloned().collect()
    }
}

impl MemoryHypervisor {
    /// Adds a host, usable or not, or says so of one that is there. Its id is `id-NAME`.
    pub fn add_host(&self, name: &str, usable: bool) {
        let mut world = self.world();
        world.places.hosts.retain(|host| host.name != name);
        world.places.hosts.push(Host {
            id: format!("id-{name}"),
            name: name.to_owned(),
            usable,
        });
        world.places.hosts.sort();
    }

    /// Puts a guest on a host, as if the platform had started or moved it there.
    pub fn put(&self, guest: &str, host: &str) {
        let mut world = self.world();
        let id = world.places.find(host).map(|host| host.id.clone());
        let place = world.places.guests.entry(guest.to_owned()).or_default();
        (place.host, place.in_flight) = (id, false);
    }

    /// Says whether the platform moves a guest by itself.
    pub fn let_move(&self, guest: &str, moves_by_itself: bool) {
        let mut world = self.world();
        let place = world.places.guests.entry(guest.to_owned()).or_default();
        place.moves_by_itself = moves_by_itself;
    }

    /// Lets a guest be on its way between two hosts, or arrive.
    pub fn set_in_flight(&self, guest: &str, in_flight: bool) {
        let mut world = self.world();
        let place = world.places.guests.entry(guest.to_owned()).or_default();
        place.in_flight = in_flight;
    }

    /// Sets what is wrong with the placement, or what it lacks.
    pub fn set_placement_faults(&self, faults: PlacementFaults) {
        self.world().places.faults = faults;
    }

    fn ask(&self, doing: &str, deadline: Deadline) -> Result<MutexGuard<'_, World>, Error> {
        self.enter(doing, deadline, |calls| &mut calls.places)
    }

    /// As [`Self::ask`], before a change.
    fn begin(
        &self,
        doing: &str,
        about: &str,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, World>, Error> {
        let world = self.enter(doing, deadline, |calls| &mut calls.changes)?;
        match world.places.faults.refuse.clone() {
            Some(detail) => Err(self.refused(about, detail)),
            None => Ok(world),
        }
    }

    fn refused(&self, about: &str, detail: String) -> Error {
        Error::Refused {
            by: self.0.name.clone(),
            guest: about.to_owned(),
            detail,
        }
    }

    fn known_host<'a>(&self, world: &'a World, about: &str, name: &str) -> Result<&'a Host, Error> {
        world
            .places
            .find(name)
            .ok_or_else(|| self.refused(about, format!("there is no host `{name}`")))
    }

    fn place_of(&self, world: &World, wanted: &GuestRef) -> Result<(Observation, Place), Error> {
        let seen = self.look(world, wanted)?;
        let place = world.places.guests.get(&seen.guest.name);
        Ok((seen, place.cloned().unwrap_or_default()))
    }

    fn where_is(&self, world: &World, wanted: &GuestRef) -> Result<Whereabouts, Error> {
        let (seen, place) = self.place_of(world, wanted)?;
        if place.in_flight {
            return Err(Error::NotConfirmed {
                guest: wanted.clone(),
                by: self.0.name.clone(),
                saw: "it is on its way between two hosts".to_owned(),
            });
        }
        let host = place.host.as_deref().filter(|_| seen.active);
        Ok(Whereabouts {
            guest: seen.guest,
            host: host.and_then(|id| world.places.find(id)).cloned(),
            pinned_to: world.places.by_ids(&place.pinned),
            moves_by_itself: place.moves_by_itself,
        })
    }

    /// What stands in the way of moving a guest to a host.
    fn obstacle(world: &World, guest: &Guest, place: &Place, host: &Host) -> Option<String> {
        if !host.usable {
            return Some(format!("the host `{}` takes no guests", host.name));
        }
        if !place.pinned.is_empty() && !place.pinned.contains(&host.id) {
            return Some(format!("it is pinned, and not to `{}`", host.name));
        }
        let binding = |rule: &&Apart| {
            rule.mandatory
                && world.places.faults.ineffective.is_none()
                && rule.guests.contains(guest)
        };
        let mut others = world.places.rules.iter().filter(binding);
        let met = others.find_map(|rule| {
            rule.guests.iter().find(|other| {
                let place = world.places.guests.get(&other.name);
                *other != guest && place.is_some_and(|place| place.host.as_ref() == Some(&host.id))
            })
        });
        met.map(|other| format!("a rule keeps it away from `{}`", other.name))
    }

    fn not_there(&self, guest: &GuestRef, saw: &str) -> Error {
        Error::NotConfirmed {
            guest: guest.clone(),
            by: self.0.name.clone(),
            saw: saw.to_owned(),
        }
    }
}

impl Placement for MemoryHypervisor {
    fn hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        let world = self.ask("listing hosts", deadline)?;
        Ok(world.places.hosts.clone())
    }

    fn whereabouts(&self, guest: &GuestRef, deadline: Deadline) -> Result<Whereabouts, Error> {
        let world = self.ask(&format!("looking for {guest}"), deadline)?;
        self.where_is(&world, guest)
    }

    fn rules(&self, guests: &[GuestRef], deadline: Deadline) -> Result<Vec<Apart>, Error> {
        let world = self.ask("listing rules", deadline)?;
        if let Some(detail) = world.places.faults.no_rules.clone() {
            return Err(self.refused("", detail));
        }
        let concerns = |rule: &&Apart| {
            let mut named = rule.guests.iter();
            named.any(|known| guests.iter().any(|wanted| known.is(wanted)))
        };
        let mut rules: Vec<Apart> = world
            .places
            .rules
            .iter()
            .filter(concerns)
            .cloned()
            .collect();
        for rule in &mut rules {
            rule.ineffective = world.places.faults.ineffective.clone();
        }
        Ok(rules)
    }

    fn keep_apart(
        &self,
        name: &str,
        guests: &[GuestRef],
        mandatory: bool,
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let mut world = self.begin(&format!("setting the rule {name}"), name, deadline)?;
        if let Some(detail) = world.places.faults.no_rules.clone() {
            return Err(self.refused(name, detail));
        }
        let mut named = Vec::new();
        for guest in guests {
            named.push(self.look(&world, guest)?.guest);
        }
        named.sort();
        let wanted = Apart {
            name: name.to_owned(),
            guests: named,
            mandatory,
            ineffective: None,
        };
        if world.places.rules.contains(&wanted) {
            return Ok(Changed::Already);
        }
        if world.places.faults.ignore {
            let about = GuestRef::Name(name.to_owned());
            return Err(self.not_there(&about, "the rule is as it was before"));
        }
        world.places.rules.retain(|rule| rule.name != name);
        world.places.rules.push(wanted);
        Ok(Changed::Now)
    }

    fn pin(
        &self,
        guest: &GuestRef,
        hosts: &[String],
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let about = guest.to_string();
        let mut world = self.begin(&format!("pinning {guest}"), &about, deadline)?;
        let mut ids = Vec::new();
        for host in hosts {
            ids.push(self.known_host(&world, &about, host)?.id.clone());
        }
        let (seen, mut place) = self.place_of(&world, guest)?;
        if place.pinned == ids {
            return Ok(Changed::Already);
        }
        if world.places.faults.ignore {
            return Err(self.not_there(guest, "it is pinned as it was before"));
        }
        if world.places.faults.pins_wait && seen.active {
            return Ok(Changed::AtNextStart);
        }
        place.pinned = ids;
        world.places.guests.insert(seen.guest.name, place);
        Ok(Changed::Now)
    }

    fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let begun = Instant::now();
        let (about, doing) = (guest.to_string(), format!("moving {guest} to {host}"));
        let world = self.begin(&doing, &about, deadline)?;
        let target = self.known_host(&world, &about, host)?.clone();
        let (seen, place) = self.place_of(&world, guest)?;
        if !seen.active {
            return Err(self.refused(&about, "it does not run".to_owned()));
        }
        if !place.in_flight && place.host.as_ref() == Some(&target.id) {
            return self.where_is(&world, guest);
        }
        if let Some(detail) = Self::obstacle(&world, &seen.guest, &place, &target) {
            return Err(self.refused(&about, detail));
        }
        let (slow, lost) = (world.faults.slow_action, world.places.faults.lose_guests);
        let ignore = world.places.faults.ignore;
        drop(world);
        if slow > deadline.remaining() || lost {
            self.set_in_flight(&seen.guest.name, true);
            thread::sleep(slow.min(deadline.remaining()));
            return Err(self.late(&doing, begun, true));
        }
        thread::sleep(slow);
        if !ignore {
            self.put(&seen.guest.name, &target.id);
            self.world().calls.moved += 1;
        }
        let found = self.where_is(&self.world(), guest)?;
        if found.host.as_ref() == Some(&target) {
            return Ok(found);
        }
        Err(self.not_there(guest, "it runs where it ran before"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Faults, MemoryGuest};
    use super::*;
    use crate::ErrorKind;

    fn ample() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn name(guest: &str) -> GuestRef {
        GuestRef::Name(guest.to_owned())
    }

    /// Two running guests on the first of three hosts.
    fn crowded() -> MemoryHypervisor {
        let platform = MemoryHypervisor::new("memory");
        for (host, usable) in [("h1", true), ("h2", true), ("h3", false)] {
            platform.add_host(host, usable);
        }
        for guest in ["n1", "n2"] {
            platform.add(MemoryGuest::running(guest));
            platform.put(guest, "h1");
        }
        platform
    }

    fn host_of(platform: &MemoryHypervisor, guest: &str) -> Option<String> {
        let seen = platform.whereabouts(&name(guest), ample()).unwrap();
        seen.host.map(|host| host.name)
    }

    #[test]
    fn a_guest_is_moved_and_seen_there() {
        let platform = crowded();
        let moved = platform.migrate(&name("n2"), "H2", ample()).unwrap();
        assert_eq!(moved.host.unwrap().id, "id-h2");
        assert_eq!(host_of(&platform, "n2").as_deref(), Some("h2"));
        assert_eq!(platform.calls().moved, 1);
        platform.migrate(&name("n2"), "id-h2", ample()).unwrap();
        assert_eq!(platform.calls().moved, 1, "it was there already");
        platform.change("n2", |guest| guest.active = false);
        assert_eq!(host_of(&platform, "n2"), None);
    }

    #[test]
    fn what_a_host_a_pin_or_a_rule_forbids_is_refused() {
        let platform = crowded();
        let refused = |guest: &str, host: &str| {
            let error = platform.migrate(&name(guest), host, ample()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        };
        refused("n1", "h3");
        refused("n1", "h9");
        assert_eq!(
            platform
                .pin(&name("n1"), &["h1".to_owned()], ample())
                .unwrap(),
            Changed::Now
        );
        assert_eq!(
            platform
                .pin(&name("n1"), &["id-h1".to_owned()], ample())
                .unwrap(),
            Changed::Already
        );
        refused("n1", "h2");
        platform.put("n2", "h2");
        let both = [name("n1"), name("n2")];
        assert_eq!(
            platform.keep_apart("r", &both, true, ample()).unwrap(),
            Changed::Now
        );
        assert_eq!(
            platform.keep_apart("r", &both, true, ample()).unwrap(),
            Changed::Already
        );
        refused("n2", "h1");
        assert_eq!(platform.rules(&both[..1], ample()).unwrap().len(), 1);
        assert!(platform.rules(&[name("x")], ample()).unwrap().is_empty());
    }

    #[test]
    fn faults_are_told_apart() {
        let platform = crowded();
        let kind = |error: Error| error.kind();
        platform.set_placement_faults(PlacementFaults {
            ignore: true,
            ..PlacementFaults::default()
        });
        let moved = platform.migrate(&name("n2"), "h2", ample());
        assert_eq!(moved.map_err(kind), Err(ErrorKind::CannotKnow));
        platform.set_placement_faults(PlacementFaults {
            no_rules: Some("libvirt has none".to_owned()),
            lose_guests: true,
            pins_wait: true,
            ..PlacementFaults::default()
        });
        let rules = platform.rules(&[name("n1")], ample());
        assert_eq!(rules.map_err(kind), Err(ErrorKind::Refused));
        let pin = platform.pin(&name("n1"), &["h1".to_owned()], ample());
        assert_eq!(pin.unwrap(), Changed::AtNextStart);
        let moved = platform.migrate(&name("n2"), "h2", ample());
        assert_eq!(moved.map_err(kind), Err(ErrorKind::CannotKnow));
        let seen = platform.whereabouts(&name("n2"), ample());
        assert_eq!(seen.map_err(kind), Err(ErrorKind::CannotKnow));
        platform.set_faults(Faults {
            unreachable: Some("down".to_owned()),
            ..Faults::default()
        });
        assert_eq!(
            platform.hosts(ample()).map_err(kind),
            Err(ErrorKind::Unreachable)
        );
    }
}
