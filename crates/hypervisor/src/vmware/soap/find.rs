//! From what a caller calls a guest to one managed object, without listing the inventory where that can be avoided (I20).
//!
//! | called by | asked | answers kept apart |
//! |---|---|---|
//! | UUID | `FindAllByUuid`: SMBIOS UUIDs, then vCenter's own ones (`FindByUuid` before 4.1) | two guests of one UUID are an error |
//! | path | `FindByInventoryPath` | |
//! | name, on vCenter | `FindChild` in each folder of guests, if they are few: names are unique within a folder | the same name in two folders is an error |
//! | name otherwise | the name alone of every guest | the same |
//!
//! Templates are no guests.

use std::time::{Duration, Instant};

use deadline::Deadline;
use roxmltree::Node;

use super::Soap;
use super::collect::Query;
use super::envelope::Request;
use super::fault::Meaning;
use super::link::{Session, Trouble};
use super::look::Seen;
use super::reply::{Content, Malformed, Moref, children, reference, text};
use crate::vmware::names::{Wanted, candidates, means};
use crate::vmware::states::plain;
use crate::{Error, GuestRef};

/// Folders up to which each is asked for its child: beyond, one list of names is cheaper.
const FOLDERS: usize = 24;
/// For how long a guest is taken to be the one that a name or UUID leads to. Its own name is checked at each look.
const TRUSTED: Duration = Duration::from_secs(30);

impl Soap {
    /// The one guest that `guest` means, as it is now.
    pub(super) fn find(&self, guest: &GuestRef, deadline: Deadline) -> Result<Seen, Error> {
        let bearers = match Wanted::of(guest) {
            Wanted::Uuid(uuid) => self.by_uuid(uuid, guest, deadline),
            Wanted::Path(path) => self.by_path(path, guest, deadline),
            Wanted::Name(name) => self.by_name(name, guest, deadline),
        }?;
        let (templates, mut guests): (Vec<_>, Vec<_>) =
            bearers.into_iter().partition(|bearer| bearer.template);
        match (guests.len(), guests.pop()) {
            (1, Some(bearer)) => Ok(bearer),
            (0, _) if !templates.is_empty() => Err(self
                .link
                .refused(Some(guest), "it is a template, not a guest")),
            (0, _) => Err(self.no_such(guest)),
            (count, last) => Err(self.ambiguous(guest, count, guests.iter().chain(&last))),
        }
    }

    fn ambiguous<'a>(
        &self,
        guest: &GuestRef,
        count: usize,
        bearers: impl Iterator<Item = &'a Seen>,
    ) -> Error {
        let shown: Vec<String> = bearers
            .take(5)
            .map(|it| format!("{} ({})", plain(&it.name), plain(&it.moref.id)))
            .collect();
        let remedy = match Wanted::of(guest) {
            Wanted::Uuid(_) => "give the name or the inventory path, and one of them another UUID",
            _ => "give the UUID, or the inventory path (/datacenter/vm/folder/name)",
        };
        let detail = format!(
            "{count} guests are called so, {}: {remedy}",
            shown.join(", ")
        );
        self.link.refused(Some(guest), detail)
    }

    fn by_uuid(
        &self,
        uuid: uuid::Uuid,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<Seen>, Error> {
        let datacenter = self.datacenter(deadline)?;
        let text = uuid.to_string();
        for instance in [false, true] {
            let ask = |all: bool| {
                let method = if all { "FindAllByUuid" } else { "FindByUuid" };
                let build = |session: &Session| {
                    Request::new(method, &session.content.search, |parts| {
                        if let Some(datacenter) = &datacenter {
                            parts.reference("datacenter", datacenter);
                        }
                        parts.text("uuid", &text);
                        parts.flag("vmSearch", true);
                        if instance {
                            parts.flag("instanceUuid", true);
                        }
                    })
                };
                self.link.ask(deadline, build, references)
            };
            let has_all = self.content_is_at_least(4, 1, deadline)?;
            let found = match if has_all { ask(true) } else { ask(false) } {
                Err(Trouble::Fault(fault)) if has_all && fault.meaning == Meaning::NoMethod => {
                    ask(false)
                }
                other => other,
            };
            let found = found.map_err(|trouble| self.link.error(trouble, Some(guest)))?;
            if !found.is_empty() {
                return self.bearers(found, guest, deadline);
            }
        }
        Ok(Vec::new())
    }

    fn by_path(
        &self,
        path: &str,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<Seen>, Error> {
        let build = |session: &Session| {
            Request::new("FindByInventoryPath", &session.content.search, |parts| {
                parts.text("inventoryPath", path);
            })
        };
        let found = self.link.ask(deadline, build, references);
        let found = found.map_err(|trouble| self.link.error(trouble, Some(guest)))?;
        if let Some(other) = found.iter().find(|found| found.kind != "VirtualMachine") {
            let detail = format!("the path leads to a {}, not to a guest", plain(&other.kind));
            return Err(self.link.refused(Some(guest), detail));
        }
        if let (Some(datacenter), Some(moref)) = (&self.datacenter, found.first()) {
            let query = Query::above(moref, "Datacenter", &["name"]);
            let above = self
                .link
                .collect(&query, deadline, |content| Ok(content.text("name")));
            let above = above.map_err(|trouble| self.link.error(trouble, Some(guest)))?;
            if !above.iter().any(|name| means(datacenter, name)) {
                let detail = format!(
                    "it is not in the datacenter `{}`, to which the search is limited",
                    plain(datacenter)
                );
                return Err(self.link.refused(Some(guest), detail));
            }
        }
        self.bearers(found, guest, deadline)
    }

    fn by_name(
        &self,
        name: &str,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<Seen>, Error> {
        let told = |trouble| self.link.error(trouble, Some(guest));
        let session = self.link.session(deadline).map_err(told)?;
        let start = self.start(deadline)?;
        if session.content.is_center()
            && let Some(folders) = self.folders(&start, deadline).map_err(told)?
        {
            let mut found = Vec::new();
            for folder in &folders {
                for name in candidates(name) {
                    found.extend(self.child_of(folder, &name, deadline).map_err(told)?);
                }
            }
            // A folder may be called like the guest beside it, and only one of them be found.
            if !found.is_empty() && found.iter().all(|found| found.kind == "VirtualMachine") {
                found.sort();
                found.dedup();
                let mut bearers = self.bearers(found, guest, deadline)?;
                bearers.retain(|bearer| means(name, &bearer.name));
                if !bearers.is_empty() {
                    return Ok(bearers);
                }
            }
        }
        let query = Query::below(&start, "VirtualMachine", &["name"]).page(1000);
        let read = |content: Content<'_, '_>| {
            let is_it = content
                .text("name")
                .is_some_and(|found| means(name, &found));
            is_it.then(|| content.object()).transpose()
        };
        let found = self.link.collect(&query, deadline, read).map_err(told)?;
        self.bearers(found, guest, deadline)
    }

    /// The folders that guests can be in; none when they are many, or when guests may be in vApps.
    fn folders(&self, start: &Moref, deadline: Deadline) -> Result<Option<Vec<Moref>>, Trouble> {
        let query = Query::below(start, "Folder", &["childType"]).and("VirtualApp", &["name"]);
        let read = |content: Content<'_, '_>| {
            let object = content.object()?;
            let holds_guests = content
                .value("childType")
                .is_none_or(|types| types.children().any(|kind| text(kind) == "VirtualMachine"));
            Ok((object.kind == "VirtualApp" || holds_guests).then_some(object))
        };
        let folders = self.link.collect(&query, deadline, read)?;
        let few = folders.len() <= FOLDERS && folders.iter().all(|folder| folder.kind == "Folder");
        Ok(few.then_some(folders))
    }

    fn child_of(
        &self,
        folder: &Moref,
        name: &str,
        deadline: Deadline,
    ) -> Result<Vec<Moref>, Trouble> {
        let build = |session: &Session| {
            Request::new("FindChild", &session.content.search, |parts| {
                parts.reference("entity", folder);
                parts.text("name", name);
            })
        };
        match self.link.ask(deadline, build, references) {
            // Removed since it was seen.
            Err(Trouble::Fault(fault)) if matches!(fault.meaning, Meaning::Gone { .. }) => {
                Ok(Vec::new())
            }
            other => other,
        }
    }

    /// Looks at these. Those that are gone meanwhile are left out.
    fn bearers(
        &self,
        found: Vec<Moref>,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<Seen>, Error> {
        let mut bearers = Vec::new();
        for moref in found {
            bearers.extend(self.look_at(&moref, guest, deadline)?);
        }
        Ok(bearers)
    }

    /// Where a search begins: the datacenter it is limited to, or the root.
    pub(super) fn start(&self, deadline: Deadline) -> Result<Moref, Error> {
        if let Some(datacenter) = self.datacenter(deadline)? {
            return Ok(datacenter);
        }
        let session = self
            .link
            .session(deadline)
            .map_err(|trouble| self.link.error(trouble, None))?;
        Ok(session.content.root.clone())
    }

    /// The datacenter that searches are limited to, if they are.
    fn datacenter(&self, deadline: Deadline) -> Result<Option<Moref>, Error> {
        let Some(wanted) = &self.datacenter else {
            return Ok(None);
        };
        let told = |trouble| self.link.error(trouble, None);
        let session = self.link.session(deadline).map_err(told)?;
        let query = Query::below(&session.content.root, "Datacenter", &["name"]);
        let read = |content: Content<'_, '_>| {
            Ok(Some((
                content.object()?,
                content.text("name").unwrap_or_default(),
            )))
        };
        let all = self.link.collect(&query, deadline, read).map_err(told)?;
        let mut fitting = all.iter().filter(|(_, name)| means(wanted, name));
        match (fitting.next(), fitting.next()) {
            (Some((moref, _)), None) => Ok(Some(moref.clone())),
            (None, _) => {
                let names: Vec<String> = all.iter().take(10).map(|(_, name)| plain(name)).collect();
                let detail = format!(
                    "there is no datacenter `{}`; there are: {}",
                    plain(wanted),
                    names.join(", ")
                );
                Err(self.link.refused(None, detail))
            }
            (Some(_), Some(_)) => {
                let detail = format!(
                    "there are several datacenters `{}`: give the guest's inventory path",
                    plain(wanted)
                );
                Err(self.link.refused(None, detail))
            }
        }
    }

    fn content_is_at_least(
        &self,
        major: u32,
        minor: u32,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        let session = self
            .link
            .session(deadline)
            .map_err(|trouble| self.link.error(trouble, None))?;
        Ok(session.content.is_at_least(major, minor))
    }

    pub(super) fn found_before(&self, guest: &GuestRef) -> Option<Moref> {
        let mut found = self.found();
        found.retain(|_, (_, at)| at.elapsed() < TRUSTED);
        found.get(guest).map(|(moref, _)| moref.clone())
    }

    pub(super) fn remember(&self, guest: &GuestRef, moref: Moref) {
        self.found().insert(guest.clone(), (moref, Instant::now()));
    }

    pub(super) fn lose(&self, guest: &GuestRef) {
        self.found().remove(guest);
    }
}

/// What a search returned.
fn references(response: Node<'_, '_>) -> Result<Vec<Moref>, Malformed> {
    children(response, "returnval").map(reference).collect()
}
