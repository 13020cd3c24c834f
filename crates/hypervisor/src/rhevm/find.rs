//! Looking a guest up, and looking at it.

use deadline::Deadline;
use https::Method;
use jiff::Timestamp;
use uuid::Uuid;

use super::reply::{self, Vm};
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
        let candidates = match search_for(name) {
            Some(search) => self.vms(
                &format!("vms?search={}", encode(&search)),
                name,
                filter,
                deadline,
            )?,
            None => self.all_vms(filter, deadline)?,
        };
        let mut found = candidates.into_iter().filter(|vm| vm.name == name);
        match (found.next(), found.count()) {
            (None, _) => Err(Error::NoSuchGuest {
                guest: wanted.clone(),
                by: self.by.clone(),
            }),
            (Some(vm), 0) => Ok(vm),
            (Some(_), more) => {
                let all = more + 1;
                Err(self.about(name).refused(format!(
                    "{all} guests have this name, in different data centers: name it by its UUID"
                )))
            }
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
    pub(super) fn all_vms(&self, filter: bool, deadline: Deadline) -> Result<Vec<Vm>, Error> {
        // Filtering happens after a page was cut out, so that pages would have holes; without pages it gives everything.
        let mut all = if filter {
            self.vms("vms", "", filter, deadline)?
        } else {
            self.pages("vms", |path| self.vms(path, "", filter, deadline))?
        };
        all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        // A guest that was renamed meanwhile may be on two pages.
        all.dedup_by_key(|vm| vm.id);
        Ok(all)
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

    fn vms(
        &self,
        path: &str,
        guest: &str,
        filter: bool,
        deadline: Deadline,
    ) -> Result<Vec<Vm>, Error> {
        let doing = if guest.is_empty() {
            "listing guests"
        } else {
            "looking a guest up"
        };
        let body = self.get(path, guest, doing, filter, deadline)?;
        reply::vms(&body).map_err(|why| self.about(guest).unusable(&why))
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
        match &vm.status {
            Some(status) => self.observed(vm, status),
            None => self.observed(vm, &Status::untold()),
        }
    }

    fn observed(&self, vm: &Vm, status: &Status) -> Observation {
        Observation {
            guest: Guest {
                name: xml::printable(&vm.name),
                uuid: vm.id,
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
