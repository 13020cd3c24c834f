//! Looking a guest up, and looking at it.

use deadline::Deadline;
use https::Method;
use jiff::Timestamp;
use uuid::Uuid;

use super::reply::{self, Listed, Vm};
use super::states::Status;
use super::talk::{Order, Talk};
use super::xml;
use crate::web::encode;
use crate::{Error, Guest, GuestRef, Observation};

/// Guests asked for at a time.
const PAGE: usize = 100;
/// Pages asked for at most.
const PAGES: usize = 1000;

impl Talk {
    /// The one guest that `wanted` means.
    pub(super) fn find(
        &self,
        wanted: &GuestRef,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vm, Error> {
        match wanted {
            GuestRef::Uuid(id) => self.vm(*id, wanted, filter, deadline),
            GuestRef::Name(name) => self.find_named(name, wanted, filter, deadline),
        }
    }

    /// By name. The search of the engine ignores case and expands wildcards; what it finds is compared here, exactly (I34).
    fn find_named(
        &self,
        name: &str,
        wanted: &GuestRef,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vm, Error> {
        let Some(search) = search_for(name) else {
            return self.find_listed(name, wanted, filter, deadline);
        };
        let path = format!("vms?search={}", encode(&search));
        let body = self.get(&path, name, "looking a guest up", filter, deadline)?;
        let found = reply::vms_named(&body, name).map_err(|why| self.about(name).unusable(&why))?;
        self.the_one(found, wanted)
    }

    /// By a name that no search can be relied upon to find.
    fn find_listed(
        &self,
        name: &str,
        wanted: &GuestRef,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vm, Error> {
        let mut all = self.all_vms(filter, deadline)?;
        all.retain(|listed| listed.name == name);
        let id = self.the_one(all, wanted)?.id;
        self.vm(id, wanted, filter, deadline)
    }

    fn the_one<T>(&self, found: Vec<T>, wanted: &GuestRef) -> Result<T, Error> {
        let all = found.len();
        let mut found = found.into_iter();
        match (found.next(), all) {
            (Some(one), 1) => Ok(one),
            (Some(_), _) => Err(self.about(&wanted.to_string()).refused(format!(
                "{all} guests have this name, in different data centers: name it by its UUID"
            ))),
            (None, _) => Err(Error::NoSuchGuest {
                guest: wanted.clone(),
                by: self.by.clone(),
            }),
        }
    }

    /// By id, as the engine knows it now.
    pub(super) fn vm(
        &self,
        id: Uuid,
        wanted: &GuestRef,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vm, Error> {
        self.vm_at(&format!("vms/{id}"), wanted, filter, deadline)
    }

    /// The guest at this path below the interface's.
    pub(super) fn vm_at(
        &self,
        path: &str,
        wanted: &GuestRef,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vm, Error> {
        let guest = wanted.to_string();
        let doing = format!("looking at {guest}");
        let order = Order {
            method: Method::Get,
            path,
            body: "",
            filter,
            doing: &doing,
            guest: &guest,
        };
        let answer = self.ask(&order, deadline)?;
        if answer.status == 404 {
            // An engine says so of guests it does not know, any web server of everything: which is it?
            self.root(filter, deadline)?;
            return Err(Error::NoSuchGuest {
                guest: wanted.clone(),
                by: self.by.clone(),
            });
        }
        let about = self.about(&guest);
        if !answer.is_success() {
            return Err(about.no_success(&answer));
        }
        reply::vm(&answer.body).map_err(|why| about.unusable(&why))
    }

    /// What the engine says of itself.
    pub(super) fn root(&self, filter: bool, deadline: Deadline) -> Result<reply::Root, Error> {
        let doing = "asking the engine for its version";
        let body = self.get("", "", doing, filter, deadline)?;
        reply::root(&body).map_err(|why| self.about("").unusable(&why))
    }

    /// Every guest, by name.
    pub(super) fn all_vms(&self, filter: bool, deadline: Deadline) -> Result<Vec<Listed>, Error> {
        // Filtering happens after a page was cut out, so that pages would have holes; without pages it gives everything.
        let all = if filter {
            self.vms("vms", filter, deadline)?
        } else {
            self.pages("vms", |path| self.vms(path, filter, deadline))?
        };
        Ok(one_each(all))
    }

    /// Everything in a collection, page by page.
    pub(super) fn pages<T>(
        &self,
        collection: &str,
        fetch: impl Fn(&str) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let search = encode(&format!("sortby name asc page {page}"));
            let part = fetch(&format!("{collection}?search={search}&max={PAGE}"))?;
            let last = part.len() < PAGE;
            all.extend(part);
            if last {
                return Ok(all);
            }
        }
        Err(self.about("").unreachable(format!(
            "its list of {collection} does not end after {PAGES} pages"
        )))
    }

    /// The guests at this path below the interface's.
    pub(super) fn vms(
        &self,
        path: &str,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vec<Listed>, Error> {
        let body = self.get(path, "", "listing guests", filter, deadline)?;
        reply::vms(&body).map_err(|why| self.about("").unusable(&why))
    }

    /// Reads what must be there.
    pub(super) fn get(
        &self,
        path: &str,
        guest: &str,
        doing: &str,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Error> {
        let answer = self.ask(
            &Order {
                method: Method::Get,
                path,
                body: "",
                filter,
                doing,
                guest,
            },
            deadline,
        )?;
        if answer.is_success() {
            Ok(answer.body)
        } else {
            Err(self.about(guest).no_success(&answer))
        }
    }

    /// What was seen of a guest. One without a state is neither on nor off (I09).
    pub(super) fn observation(&self, vm: &Vm) -> Observation {
        self.observed(vm.id, &vm.name, vm.status.as_ref())
    }

    /// The same, of one in a list.
    pub(super) fn listed(&self, listed: &Listed) -> Observation {
        self.observed(listed.id, &listed.name, listed.status.as_ref())
    }

    fn observed(&self, uuid: Uuid, name: &str, status: Option<&Status>) -> Observation {
        let untold = Status::untold();
        let status = status.unwrap_or(&untold);
        Observation {
            guest: Guest {
                name: xml::printable(name),
                uuid,
            },
            state: status.state(),
            reason: status.word.clone(),
            active: status.is_active(),
            persistent: true,
            resumable: status.is_resumable(),
            by: self.by.clone(),
            at: Timestamp::now(),
        }
    }
}

/// By name. A guest that was renamed meanwhile may be on two pages: the later one counts.
fn one_each(mut all: Vec<Listed>) -> Vec<Listed> {
    all.reverse();
    all.sort_by_key(|vm| vm.id);
    all.dedup_by_key(|vm| vm.id);
    all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    all
}

/// The search that finds at least the guest of this name; none when no search can be relied upon.
fn search_for(name: &str) -> Option<String> {
    if name
        .chars()
        .any(|c| c.is_control() || c == '"' || c == '\\')
        || name.is_empty()
    {
        return None;
    }
    // Beyond the characters that names have, words and signs of the search language are possible.
    let is_word = ["and", "or", "sortby", "page", "asc", "desc"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(name));
    if !is_word
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "._-*".contains(c))
    {
        Some(format!("name={name}"))
    } else {
        Some(format!("name=\"{name}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_renamed_between_two_pages_is_listed_once_as_it_was_last() {
        let listed = |name: &str, id| Listed {
            name: name.to_owned(),
            id: Uuid::from_u128(id),
            status: None,
        };
        let pages = vec![listed("a", 1), listed("b", 2), listed("z", 1)];
        let names: Vec<String> = one_each(pages).into_iter().map(|vm| vm.name).collect();
        assert_eq!(names, ["b", "z"]);
    }

    #[test]
    fn a_name_cannot_become_another_search() {
        assert_eq!(search_for("node1"), Some("name=node1".to_owned()));
        assert_eq!(search_for("nöde-1.a_b"), Some("name=nöde-1.a_b".to_owned()));
        assert_eq!(search_for("Or"), Some("name=\"Or\"".to_owned()));
        assert_eq!(
            search_for("a or name=b"),
            Some("name=\"a or name=b\"".to_owned())
        );
        for name in ["a\" or name=\"b", "a\\", "a\nb", ""] {
            assert_eq!(search_for(name), None, "{name:?}");
        }
    }
}
