//! What the login may do: monitor proves the privilege to power off, without powering off.

use std::collections::HashSet;

use deadline::Deadline;
use roxmltree::Node;

use super::Soap;
use super::collect::Query;
use super::envelope::Request;
use super::link::{Session, Trouble};
use super::reply::{Content, Moref, boolean, children, reference_of, text, text_of};
use crate::{Error, GuestRef};

/// What powering off needs (vSphere security, "Defined privileges").
const POWER_OFF: &str = "VirtualMachine.Interact.PowerOff";
/// Guests that are asked about at a time, when any will do.
const SAMPLE: u32 = 100;

impl Soap {
    /// Whether the login may power off `guest`, or any guest at all.
    pub(in crate::vmware) fn may_switch(
        &self,
        guest: Option<&GuestRef>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Some(guest) = guest else {
            return self.may_switch_any(deadline);
        };
        let seen = self.look(guest, deadline)?;
        let granted = self.granted(&[seen.moref], deadline);
        if granted
            .map_err(|trouble| self.link.error(trouble, Some(guest)))?
            .is_empty()
        {
            let detail = format!(
                "the login lacks the privilege {POWER_OFF} on it; it is granted by a role on the guest or on a folder above it"
            );
            return Err(self.link.refused(Some(guest), detail));
        }
        Ok(())
    }

    fn may_switch_any(&self, deadline: Deadline) -> Result<(), Error> {
        let start = self.start(deadline)?;
        let query = Query::below(&start, "VirtualMachine", &["config.template"]).page(SAMPLE);
        let read = |content: Content<'_, '_>| {
            let template = content.flag("config.template") == Some(true);
            (!template).then(|| content.object()).transpose()
        };
        // By identifier, not by number: a query may begin anew.
        let (mut asked, mut may) = (HashSet::new(), false);
        let enough = |guests: &[Moref]| {
            asked.extend(guests.iter().cloned());
            may = !self.granted(guests, deadline)?.is_empty();
            Ok(may)
        };
        let told = |trouble| self.link.error(trouble, None);
        let guests = self
            .link
            .collect_until(&query, deadline, read, enough)
            .map_err(told)?;
        // The last page, or all of them from a server that knows no pages.
        let rest = guests.iter().filter(|guest| !asked.contains(guest));
        let rest: Vec<Moref> = rest.cloned().collect();
        let mut rest = rest.chunks(SAMPLE as usize);
        while let (false, Some(chunk)) = (may, rest.next()) {
            may = !self.granted(chunk, deadline).map_err(told)?.is_empty();
        }
        match (may, guests.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => {
                let detail = "the login sees no guest: it needs a role (System.Read, and the privileges to switch) on the guests \
                              or on a folder above them";
                Err(self.link.refused(None, detail))
            }
            (false, false) => {
                let detail = format!(
                    "the login sees {} guests and lacks the privilege {POWER_OFF} on them",
                    guests.len()
                );
                Err(self.link.refused(None, detail))
            }
        }
    }

    /// Those of the guests that the login may power off.
    fn granted(&self, guests: &[Moref], deadline: Deadline) -> Result<Vec<Moref>, Trouble> {
        if guests.is_empty() {
            return Ok(Vec::new());
        }
        let session = self.link.session(deadline)?;
        let authorization = session.content.authorization.clone();
        if let Some(authorization) = &authorization
            && session.content.is_at_least(5, 5)
            && !session.key.is_empty()
        {
            let build = |session: &Session| {
                Request::new("HasPrivilegeOnEntities", authorization, |parts| {
                    for guest in guests {
                        parts.reference("entity", guest);
                    }
                    parts.text("sessionId", &session.key);
                    parts.text("privId", POWER_OFF);
                })
            };
            match self
                .link
                .ask(deadline, build, |response| Ok(read_granted(response)))
            {
                Ok(granted) => return Ok(granted),
                // Hosts do not have it, and vCenter refuses it to logins that may not see the root folder.
                Err(Trouble::Fault(fault)) => {
                    tracing::debug!(?fault, "privileges are read from roles");
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.granted_by_roles(guests, authorization, deadline)
    }

    /// The same by the roles that the login has on each guest (`effectiveRole`) and what is in them (`roleList`).
    fn granted_by_roles(
        &self,
        guests: &[Moref],
        authorization: Option<Moref>,
        deadline: Deadline,
    ) -> Result<Vec<Moref>, Trouble> {
        let query = Query::of(guests.to_vec(), "VirtualMachine", &["effectiveRole"]);
        let read = |content: Content<'_, '_>| {
            let roles = content.value("effectiveRole").map(|roles| {
                roles
                    .children()
                    .filter(Node::is_element)
                    .map(text)
                    .collect()
            });
            Ok(Some((content.object()?, roles.unwrap_or_default())))
        };
        let held: Vec<(Moref, Vec<String>)> = self.link.collect(&query, deadline, read)?;
        let Some(authorization) = authorization else {
            return Ok(Vec::new());
        };
        let query = Query::of(vec![authorization], "AuthorizationManager", &["roleList"]);
        let roles = self
            .link
            .collect(&query, deadline, |content| Ok(Some(read_roles(content))))?;
        let sufficient: Vec<String> = roles.into_iter().flatten().collect();
        let fitting = held
            .into_iter()
            .filter(|(_, held)| held.iter().any(|role| sufficient.contains(role)));
        Ok(fitting.map(|(guest, _)| guest).collect())
    }
}

/// Reads `HasPrivilegeOnEntitiesResponse`: the entities on which everything asked for is granted.
pub(super) fn read_granted(response: Node<'_, '_>) -> Vec<Moref> {
    let granted = |value: &Node<'_, '_>| {
        let mut answers = children(*value, "privAvailability").peekable();
        answers.peek().is_some()
            && answers.all(|answer| {
                text_of(answer, "isGranted").and_then(|word| boolean(word.trim())) == Some(true)
            })
    };
    let values = children(response, "returnval").filter(granted);
    values
        .filter_map(|value| reference_of(value, "entity").ok().flatten())
        .collect()
}

/// Reads `roleList`: identifiers of the roles that allow powering off.
pub(super) fn read_roles(content: Content<'_, '_>) -> Vec<String> {
    let Some(list) = content.value("roleList") else {
        return Vec::new();
    };
    let roles = list.children().filter(|role| {
        role.is_element() && children(*role, "privilege").any(|id| text(id) == POWER_OFF)
    });
    roles.filter_map(|role| text_of(role, "roleId")).collect()
}
