//! Hosts, and on which of them guests run and may run.
//!
//! Everything here asks for unfiltered results: filtered ones have no hosts (facts, section 3.3).

use deadline::Deadline;
use https::Method;

use super::reply::{self, Affinity, HostEntry, PlacementPolicy, Vm};
use super::settings::Version;
use super::talk::{Order, Talk};
use super::trouble::Lost;
use crate::placement::{Changed, Host, Whereabouts};
use crate::web::encode;
use crate::{Error, Guest, GuestRef};

/// Hosts are told to administrators only.
pub(super) const UNFILTERED: bool = false;

/// The name of a change, for messages.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: &'a str,
    pub doing: &'a str,
}

impl Talk {
    pub(super) fn all_hosts(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        let mut hosts = self.host_entries(deadline)?;
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hosts.into_iter().map(host_of).collect())
    }

    fn host_entries(&self, deadline: Deadline) -> Result<Vec<HostEntry>, Error> {
        self.pages("hosts", |path| {
            let body = self.get(path, "", "listing hosts", UNFILTERED, deadline)?;
            reply::hosts(&body).map_err(|why| self.about("").unusable(&why))
        })
    }

    fn host(&self, id: &str, deadline: Deadline) -> Result<Host, Error> {
        let path = format!("hosts/{}", encode(id));
        let body = self.get(&path, "", "looking at a host", UNFILTERED, deadline)?;
        reply::host(&body)
            .map(host_of)
            .map_err(|why| self.about("").unusable(&why))
    }

    /// The host that people call by this name or id.
    fn host_called(&self, wanted: &str, deadline: Deadline) -> Result<Host, Error> {
        let all = self.host_entries(deadline)?;
        let mut found = all
            .iter()
            .filter(|host| host.id == wanted || host.name == wanted);
        match (found.next(), found.next()) {
            (Some(host), None) => Ok(host_of(host.clone())),
            (Some(_), Some(_)) => Err(self
                .about("")
                .refused(format!("more than one host is called `{wanted}`"))),
            (None, _) => {
                let names: Vec<&str> = all.iter().map(|host| host.name.as_str()).collect();
                Err(self.about("").refused(format!(
                    "there is no host `{wanted}`; there are {}",
                    names.join(", ")
                )))
            }
        }
    }

    pub(super) fn whereabouts(
        &self,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let vm = self.find(guest, UNFILTERED, deadline)?;
        self.where_is(&vm, deadline)
    }

    fn where_is(&self, vm: &Vm, deadline: Deadline) -> Result<Whereabouts, Error> {
        let runs = vm
            .status
            .as_ref()
            .is_some_and(super::states::Status::is_active);
        let host = match &vm.host {
            Some(id) if runs => Some(self.host(id, deadline)?),
            None if runs => {
                let name = vm.name.as_str();
                return Err(self.about(name).refused(
                    "the engine does not say on which host it runs: that is told to administrators only",
                ));
            }
            _ => None,
        };
        let policy = vm.placement.as_ref();
        let mut pinned_to = Vec::new();
        for id in policy
            .filter(|policy| policy.affinity == Affinity::Pinned)
            .map_or(&[][..], |policy| &policy.hosts)
        {
            pinned_to.push(self.host(id, deadline)?);
        }
        Ok(Whereabouts {
            guest: identity(vm),
            host,
            pinned_to,
            moves_by_itself: moves_by_itself(vm),
        })
    }

    pub(super) fn pin(
        &self,
        guest: &GuestRef,
        hosts: &[String],
        deadline: Deadline,
    ) -> Result<Changed, Error> {
        let vm = self.find(guest, UNFILTERED, deadline)?;
        let mut ids = Vec::new();
        for host in hosts {
            ids.push(self.host_called(host, deadline)?.id);
        }
        ids.sort_unstable();
        ids.dedup();
        let version = self.session(deadline)?.version;
        if version == Version::V3 && ids.len() > 1 {
            return Err(self
                .about(&vm.name)
                .refused("this version pins a guest to one host only"));
        }
        let wanted = if ids.is_empty() {
            PlacementPolicy {
                affinity: Affinity::Migratable,
                hosts: ids,
            }
        } else {
            PlacementPolicy {
                affinity: Affinity::Pinned,
                hosts: ids,
            }
        };
        if self.is_placed(&vm, &wanted, guest, deadline)? == Some(Changed::Now) {
            return Ok(Changed::Already);
        }
        let path = format!("vms/{}", vm.id);
        let body = pinning(&wanted, version);
        let change = Change {
            method: Method::Put,
            path: &path,
            body: &body,
            doing: "changing where a guest may run",
        };
        self.change(change, guest, deadline)?;
        let after = self.vm(vm.id, guest, UNFILTERED, deadline)?;
        self.is_placed(&after, &wanted, guest, deadline)?
            .ok_or_else(|| Error::NotConfirmed {
                guest: guest.clone(),
                by: self.by.clone(),
                saw: "the change was accepted, and the guest may still run where it could before"
                    .to_owned(),
            })
    }

    /// Whether a guest may run where it is `wanted` to: now and from now on, or from its next start on.
    fn is_placed(
        &self,
        vm: &Vm,
        wanted: &PlacementPolicy,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Option<Changed>, Error> {
        let now = vm.placement.as_ref() == Some(wanted);
        if now && !vm.next_run {
            return Ok(Some(Changed::Now));
        }
        let next = format!("vms/{}?next_run=true", vm.id);
        let later = self
            .vm_at(&next, guest, UNFILTERED, deadline)?
            .placement
            .as_ref()
            == Some(wanted);
        Ok(later.then_some(if now {
            Changed::Now
        } else {
            Changed::AtNextStart
        }))
    }

    /// Changes something and takes only success for an answer.
    pub(super) fn change(
        &self,
        change: Change<'_>,
        guest: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Error> {
        let name = guest.to_string();
        let Change {
            method,
            path,
            body,
            doing,
        } = change;
        let order = Order {
            method,
            path,
            body,
            filter: UNFILTERED,
            doing,
            guest: &name,
        };
        let answer = self
            .ask(&order, deadline)
            .map_err(|lost| lost.of_order(guest, &self.by))?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        let error = self.about(&name).no_success(&answer);
        // A failure inside the engine, or of the proxy before it, may have come after the order was carried out.
        let sent = answer.status >= 500;
        Err(Lost { error, sent }.of_order(guest, &self.by))
    }

    pub(super) fn migrate(
        &self,
        guest: &GuestRef,
        host: &str,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let vm = self.find(guest, UNFILTERED, deadline)?;
        let host = self.host_called(host, deadline)?;
        if self.is_at(&vm, &host) {
            return self.where_is(&vm, deadline);
        }
        if !vm
            .status
            .as_ref()
            .is_some_and(super::states::Status::is_active)
        {
            return Err(self
                .about(&vm.name)
                .refused("it does not run, so there is nothing to move"));
        }
        let version = self.session(deadline)?.version;
        let by_hand = vm
            .placement
            .as_ref()
            .is_some_and(|policy| policy.affinity == Affinity::UserMigratable);
        let force = if by_hand && version != Version::V3 {
            "<force>true</force>"
        } else {
            ""
        };
        let body = format!(
            "<action><host id=\"{}\"/>{force}</action>",
            escape(&host.id)
        );
        let path = format!("vms/{}/migrate", vm.id);
        let change = Change {
            method: Method::Post,
            path: &path,
            body: &body,
            doing: "moving a guest",
        };
        self.change(change, guest, deadline)?;
        self.until_there(&vm, guest, &host, deadline)
    }

    fn until_there(
        &self,
        vm: &Vm,
        guest: &GuestRef,
        host: &Host,
        deadline: Deadline,
    ) -> Result<Whereabouts, Error> {
        let unconfirmed = |saw| Error::NotConfirmed {
            guest: guest.clone(),
            by: self.by.clone(),
            saw,
        };
        let mut moved = false;
        let mut last = "nothing was seen of it since".to_owned();
        loop {
            match self.vm(vm.id, guest, UNFILTERED, deadline) {
                Ok(now) if self.is_at(&now, host) => return self.where_is(&now, deadline),
                Ok(now) => {
                    let word = now.status.map_or_else(String::new, |status| status.word);
                    // It moves, and then it does not, and is where it was: the engine gave up.
                    if moved && word != "migrating" {
                        return Err(unconfirmed(format!(
                            "the migration ended and it is {word} elsewhere than on {}",
                            host.name
                        )));
                    }
                    moved |= word == "migrating";
                    last = format!("it was {word}");
                }
                // The order was taken: a look that fails says nothing of it.
                Err(Error::DeadlinePassed { .. }) => {}
                Err(error) => last = error.to_string(),
            }
            if !self.pause_before_last_look(self.settings.poll, deadline) {
                return Err(unconfirmed(format!(
                    "told to move to {}; last: {last}",
                    host.name
                )));
            }
        }
    }

    fn is_at(&self, vm: &Vm, host: &Host) -> bool {
        let settled = vm
            .status
            .as_ref()
            .is_some_and(|status| status.is_active() && status.word != "migrating");
        settled && vm.host.as_deref() == Some(host.id.as_str())
    }
}

fn host_of(entry: HostEntry) -> Host {
    Host {
        usable: entry.status.eq_ignore_ascii_case("up"),
        id: entry.id,
        name: entry.name,
    }
}

pub(super) fn identity(vm: &Vm) -> Guest {
    Guest {
        name: vm.name.clone(),
        uuid: vm.id,
    }
}

/// Balancing and maintenance move what is migratable; a restart after a host's failure moves what is highly available and may run
/// on another host.
fn moves_by_itself(vm: &Vm) -> bool {
    let Some(policy) = &vm.placement else {
        return true;
    };
    match policy.affinity {
        Affinity::Migratable | Affinity::Unknown => true,
        Affinity::UserMigratable => vm.highly_available,
        Affinity::Pinned => vm.highly_available && policy.hosts.len() > 1,
    }
}

/// The element always has both parts: hosts that are not named in it are forgotten (facts, section 4).
fn pinning(policy: &PlacementPolicy, version: Version) -> String {
    let affinity = if policy.affinity == Affinity::Pinned {
        "pinned"
    } else {
        "migratable"
    };
    let hosts: String = policy
        .hosts
        .iter()
        .map(|id| format!("<host id=\"{}\"/>", escape(id)))
        .collect();
    let hosts = match version {
        Version::V3 => hosts,
        _ if hosts.is_empty() => hosts,
        _ => format!("<hosts>{hosts}</hosts>"),
    };
    format!("<vm><placement_policy><affinity>{affinity}</affinity>{hosts}</placement_policy></vm>")
}

/// Text for XML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(policy: &str, available: bool) -> Vm {
        let xml = format!(
            "<vm id=\"6695eb01-f6a4-8304-79aa-97f2502e193f\"><name>n</name><high_availability><enabled>{available}</enabled>\
             </high_availability>{policy}</vm>"
        );
        reply::vm(xml.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_sent_is_what_would_be_read() {
        for (policy, version) in [
            (
                PlacementPolicy {
                    affinity: Affinity::Pinned,
                    hosts: vec!["a&\"".to_owned(), "b".to_owned()],
                },
                Version::V4,
            ),
            (
                PlacementPolicy {
                    affinity: Affinity::Pinned,
                    hosts: vec!["a".to_owned()],
                },
                Version::V3,
            ),
            (
                PlacementPolicy {
                    affinity: Affinity::Migratable,
                    hosts: Vec::new(),
                },
                Version::V4,
            ),
        ] {
            let sent = pinning(&policy, version);
            let part = sent.trim_start_matches("<vm>").trim_end_matches("</vm>");
            assert_eq!(vm(part, false).placement, Some(policy), "{sent}");
        }
    }

    #[test]
    fn who_moves() {
        let of = |affinity: &str, hosts: &str, available| {
            let policy = format!(
                "<placement_policy><affinity>{affinity}</affinity><hosts>{hosts}</hosts></placement_policy>"
            );
            moves_by_itself(&vm(&policy, available))
        };
        let (one, two) = ("<host id=\"a\"/>", "<host id=\"a\"/><host id=\"b\"/>");
        assert!(
            of("migratable", "", false)
                && of("migratable", one, false)
                && of("strange", one, false)
        );
        assert!(!of("user_migratable", "", false) && of("user_migratable", "", true));
        assert!(!of("pinned", one, true) && !of("pinned", two, false) && of("pinned", two, true));
        assert!(moves_by_itself(&vm("", false)));
    }
}
