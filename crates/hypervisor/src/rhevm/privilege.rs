//! Whether the login may stop guests, found out without stopping one.
//!
//! The engine shows permissions: who has which role on what. Those that concern a guest, the ones of its cluster and data center
//! among them, are at `vms/ID/permissions`; those of a user, by membership in groups too, at `users/ID/permissions`; what is in both
//! is what the user has on the guest. A role's permits are at `roles/ID/permits`. All three are shown to plain users as well.
//!
//! Whose login it is says the root of the interface since 4.2. Before, the user's name is looked at for every permission that was
//! given to a user; what came by a group cannot be told apart there.

use std::collections::BTreeSet;

use deadline::Deadline;
use https::Method;
use uuid::Uuid;

use super::reply::{self, Listed, Permission};
use super::talk::{Order, Talk};
use super::xml;
use crate::web::encode;
use crate::{Error, GuestRef};

/// Permits that include the order `stop`: the first since there are separate ones, the second before.
const STOP: [&str; 2] = ["stop_vm", "vm_basic_operations"];
/// Roles looked into at most.
const ROLES: usize = 64;

const DOING: &str = "asking for permissions";

/// What was found out.
enum Found {
    Allowed,
    Forbidden,
    /// Cannot be told: why.
    Untold(String),
}

impl Talk {
    pub(super) fn may_switch(
        &self,
        guest: Option<&GuestRef>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let filter = self.settings.filter;
        let name = guest.map(GuestRef::to_string).unwrap_or_default();
        let (vm, vm_name) = match guest {
            Some(guest) => {
                let vm = self.find(guest, filter, deadline)?;
                (vm.id, vm.name)
            }
            None => {
                let vm = self.any_vm(deadline)?;
                (vm.id, vm.name)
            }
        };
        let me = self.root(filter, deadline)?.user;
        let user = xml::printable(&self.settings.username);
        let found = match &me {
            Some(me) => self.by_id(me, guest.is_some().then_some(vm), deadline)?,
            None => self.by_name(vm, deadline)?,
        };
        match found {
            Found::Allowed => Ok(()),
            Found::Forbidden => Err(self.about(&name).refused(format!(
                "`{user}` has no role there with the permit stop_vm, so the guest could be looked at and not be fenced: give the \
                 user the role UserVmManager on the guests of the cluster, or another with this permit"
            ))),
            Found::Untold(why) => Err(Error::NotConfirmed {
                guest: guest.cloned().unwrap_or(GuestRef::Name(vm_name)),
                by: self.by.clone(),
                saw: format!("whether `{user}` may stop it cannot be told without stopping it: {why}"),
            }),
        }
    }

    fn any_vm(&self, deadline: Deadline) -> Result<Listed, Error> {
        let filter = self.settings.filter;
        let mut vms = self.vms("vms?max=1", filter, deadline)?;
        // A user's own guests are picked out after a page was cut out: the first page may have none of them.
        if filter && vms.is_empty() {
            vms = self.vms("vms", filter, deadline)?;
        }
        vms.into_iter().next().ok_or_else(|| {
            self.about("").refused(format!(
                "`{}` sees no guest at all: give the user a role on the guests of the cluster, UserVmManager for instance",
                xml::printable(&self.settings.username)
            ))
        })
    }

    /// For an engine that says who we are; without a guest, for any that there may be.
    fn by_id(&self, me: &str, vm: Option<Uuid>, deadline: Deadline) -> Result<Found, Error> {
        let mine = match self.permissions(&format!("users/{}/permissions", encode(me)), deadline)? {
            Ok(mine) => mine,
            Err(why) => return Ok(Found::Untold(why)),
        };
        let Some(vm) = vm else {
            return self.any_allows(
                mine.iter().filter(|permission| permission.covers_guests),
                deadline,
            );
        };
        let there = match self.permissions(&format!("vms/{vm}/permissions"), deadline)? {
            Ok(there) => there,
            Err(why) => return Ok(Found::Untold(why)),
        };
        let ids: BTreeSet<&str> = mine
            .iter()
            .map(|permission| permission.id.as_str())
            .collect();
        let is_mine = |permission: &&Permission| {
            permission.user.as_deref() == Some(me) || ids.contains(permission.id.as_str())
        };
        self.any_allows(there.iter().filter(is_mine), deadline)
    }

    /// For an engine that does not.
    fn by_name(&self, vm: Uuid, deadline: Deadline) -> Result<Found, Error> {
        let there = match self.permissions(&format!("vms/{vm}/permissions"), deadline)? {
            Ok(there) => there,
            Err(why) => return Ok(Found::Untold(why)),
        };
        let (mut ours, mut hidden, mut seen) = (Vec::new(), None, BTreeSet::new());
        for permission in &there {
            let Some(user) = permission.user.as_deref() else {
                continue;
            };
            if !seen.insert(user) {
                continue;
            }
            match self.is_us(user, deadline)? {
                Ok(true) => ours.push(user),
                Ok(false) => {}
                Err(why) => hidden = Some(why),
            }
        }
        // Whoever is shown himself is not among those who are hidden from him.
        let is_ours = |permission: &&Permission| {
            let user = permission.user.as_deref();
            user.is_some_and(|user| ours.contains(&user))
        };
        match (
            self.any_allows(there.iter().filter(is_ours), deadline)?,
            hidden,
        ) {
            (Found::Forbidden, Some(why)) if ours.is_empty() => return Ok(Found::Untold(why)),
            (Found::Forbidden, _) => {}
            (found, _) => return Ok(found),
        }
        let groups = there.iter().filter(|permission| permission.user.is_none());
        Ok(match self.any_allows(groups, deadline)? {
            Found::Allowed => {
                let why = "a group may, and this version does not say who belongs to it";
                Found::Untold(why.to_owned())
            }
            other => other,
        })
    }

    /// Whether the user with this id logs in by the name we do, `admin@internal`, since 4.0 followed by `-authz`; or why that is not
    /// shown.
    fn is_us(&self, user: &str, deadline: Deadline) -> Result<Result<bool, String>, Error> {
        let path = format!("users/{}", encode(user));
        let order = Order {
            method: Method::Get,
            path: &path,
            body: "",
            filter: self.settings.filter,
            doing: DOING,
            guest: "",
        };
        let answer = self.ask(&order, deadline)?;
        match answer.status {
            200..=299 => {}
            status @ (403 | 404) => return Ok(Err(not_shown(&path, status))),
            _ => return Err(self.about("").no_success(&answer)),
        }
        let name = reply::user_name(&answer.body).map_err(|why| self.about("").unusable(&why))?;
        let us = &self.settings.username;
        Ok(Ok(name.is_some_and(|name| {
            name.eq_ignore_ascii_case(us) || name.eq_ignore_ascii_case(&format!("{us}-authz"))
        })))
    }

    /// The permissions at `path`, or why they are not shown.
    fn permissions(
        &self,
        path: &str,
        deadline: Deadline,
    ) -> Result<Result<Vec<Permission>, String>, Error> {
        let order = Order {
            method: Method::Get,
            path,
            body: "",
            filter: self.settings.filter,
            doing: DOING,
            guest: "",
        };
        let answer = self.ask(&order, deadline)?;
        match answer.status {
            200..=299 => reply::permissions(&answer.body)
                .map(Ok)
                .map_err(|why| self.about("").unusable(&why)),
            status @ (403 | 404) => Ok(Err(not_shown(path, status))),
            _ => Err(self.about("").no_success(&answer)),
        }
    }

    /// Whether one of these permissions lets its holder stop guests.
    fn any_allows<'a>(
        &self,
        permissions: impl Iterator<Item = &'a Permission>,
        deadline: Deadline,
    ) -> Result<Found, Error> {
        let roles: BTreeSet<&str> = permissions
            .map(|permission| permission.role.as_str())
            .collect();
        let mut hidden = None;
        for role in roles.into_iter().take(ROLES) {
            let path = format!("roles/{}/permits", encode(role));
            let order = Order {
                method: Method::Get,
                path: &path,
                body: "",
                filter: self.settings.filter,
                doing: DOING,
                guest: "",
            };
            let answer = self.ask(&order, deadline)?;
            match answer.status {
                200..=299 => {
                    let permits = reply::permits(&answer.body)
                        .map_err(|why| self.about("").unusable(&why))?;
                    if permits.iter().any(|permit| STOP.contains(&permit.as_str())) {
                        return Ok(Found::Allowed);
                    }
                }
                status @ (403 | 404) => hidden = Some(not_shown(&path, status)),
                _ => return Err(self.about("").no_success(&answer)),
            }
        }
        Ok(hidden.map_or(Found::Forbidden, Found::Untold))
    }
}

fn not_shown(path: &str, status: u16) -> String {
    format!("the engine does not show {path} to this user (HTTP {status})")
}
