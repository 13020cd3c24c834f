//! The property collector: which properties of which objects, page by page.
//!
//! What lies below a folder is seen through a view, which the server keeps for the session until it is destroyed: a walk from
//! folder to folder, by the collector alone, made vcsim take 0.7 s for 1,000 guests where a view takes 0.01 s.

use std::cell::Cell;

use deadline::Deadline;
use roxmltree::Node;

use super::envelope::{Parts, Request};
use super::fault::{Fault, Meaning};
use super::link::{Link, ServiceContent, Session, Trouble};
use super::reply::{Content, Malformed, Moref, child, children, missing, reference_of, text_of};
use crate::Error;

/// Objects that one query may return in all. vCenter manages 40,000 guests at most.
const MOST: usize = 200_000;

/// What to read.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// Type of objects, and which properties of them.
    properties: Vec<(&'static str, &'static [&'static str])>,
    from: From,
    /// Objects a page, where the server knows pages; none leaves it to the server.
    page: Option<u32>,
}

/// Of which objects.
#[derive(Debug, Clone)]
enum From {
    /// These.
    Objects(Vec<Moref>),
    /// Everything of these types below one of the inventory's folders or datacenters.
    Below(Moref),
    /// What the object is in, up to the root.
    Above(Moref),
    /// This guest, and the tasks it has had of late.
    WithTasks(Moref),
}

impl Query {
    pub(super) fn of(
        objects: Vec<Moref>,
        kind: &'static str,
        paths: &'static [&'static str],
    ) -> Self {
        Self {
            properties: vec![(kind, paths)],
            from: From::Objects(objects),
            page: None,
        }
    }

    pub(super) fn below(start: &Moref, kind: &'static str, paths: &'static [&'static str]) -> Self {
        Self {
            properties: vec![(kind, paths)],
            from: From::Below(start.clone()),
            page: None,
        }
    }

    pub(super) fn above(
        object: &Moref,
        kind: &'static str,
        paths: &'static [&'static str],
    ) -> Self {
        Self {
            properties: vec![(kind, paths)],
            from: From::Above(object.clone()),
            page: None,
        }
    }

    /// A guest and its tasks, read at once.
    pub(super) fn with_tasks(
        guest: &Moref,
        paths: &'static [&'static str],
        of_tasks: &'static [&'static str],
    ) -> Self {
        Self {
            properties: vec![("VirtualMachine", paths), ("Task", of_tasks)],
            from: From::WithTasks(guest.clone()),
            page: None,
        }
    }

    /// Also these properties of objects of another type.
    pub(super) fn and(mut self, kind: &'static str, paths: &'static [&'static str]) -> Self {
        self.properties.push((kind, paths));
        self
    }

    pub(super) const fn page(mut self, objects: u32) -> Self {
        self.page = Some(objects);
        self
    }

    /// `RetrievePropertiesEx`, or what servers before 4.1 have in its place.
    fn request(&self, content: &ServiceContent, view: Option<&Moref>, paged: bool) -> Request {
        let method = if paged {
            "RetrievePropertiesEx"
        } else {
            "RetrieveProperties"
        };
        Request::new(method, &content.collector, |parts| {
            parts.nest("specSet", |parts| self.write(view, parts));
            if paged {
                parts.nest("options", |parts| {
                    if let Some(objects) = self.page {
                        parts.text("maxObjects", &objects.to_string());
                    }
                });
            }
        })
    }

    fn write(&self, view: Option<&Moref>, parts: &mut Parts) {
        for (kind, paths) in &self.properties {
            parts.nest("propSet", |parts| {
                parts.text("type", kind);
                parts.flag("all", false);
                for path in *paths {
                    parts.text("pathSet", path);
                }
            });
        }
        match &self.from {
            From::Objects(objects) => {
                for object in objects {
                    parts.nest("objectSet", |parts| {
                        parts.reference("obj", object);
                        parts.flag("skip", false);
                    });
                }
            }
            // The view stands in for what is below.
            From::Below(start) => parts.nest("objectSet", |parts| {
                parts.reference("obj", view.unwrap_or(start));
                parts.flag("skip", true);
                step(parts, "view", "ContainerView", "view", &[]);
            }),
            From::Above(object) => parts.nest("objectSet", |parts| {
                parts.reference("obj", object);
                parts.flag("skip", false);
                step(parts, "up", "ManagedEntity", "parent", &["up"]);
            }),
            From::WithTasks(guest) => parts.nest("objectSet", |parts| {
                parts.reference("obj", guest);
                parts.flag("skip", false);
                step(parts, "tasks", "VirtualMachine", "recentTask", &[]);
            }),
        }
    }
}

/// One `TraversalSpec`: from objects of a type along a property, and on by the steps of these names.
fn step(parts: &mut Parts, name: &str, kind: &str, path: &str, then: &[&str]) {
    parts.typed("selectSet", "TraversalSpec", |parts| {
        parts.text("name", name);
        parts.text("type", kind);
        parts.text("path", path);
        parts.flag("skip", false);
        for next in then {
            parts.nest("selectSet", |parts| parts.text("name", next));
        }
    });
}

/// Whether a fault says that the server has forgotten a view, as it does when the session of it ends.
fn is_view_gone(fault: &Fault) -> bool {
    matches!(&fault.meaning, Meaning::Gone { object: Some(object) } if object.kind == "ContainerView")
}

/// The objects of one page, and what leads to the next.
pub(super) fn page<'a, 'i: 'a>(response: Node<'a, 'i>) -> (Vec<Content<'a, 'i>>, Option<String>) {
    let mut objects = Vec::new();
    let mut token = None;
    for value in children(response, "returnval") {
        if child(value, "obj").is_some() {
            objects.push(Content::new(value));
        } else {
            objects.extend(children(value, "objects").map(Content::new));
            token = text_of(value, "token").filter(|token| !token.is_empty());
        }
    }
    (objects, token)
}

impl Link {
    /// Reads every object of a query; `read` picks out of each what is wanted, or none.
    pub(super) fn collect<T>(
        &self,
        query: &Query,
        deadline: Deadline,
        read: impl Fn(Content<'_, '_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, Trouble> {
        self.collect_until(query, deadline, read, |_| Ok(false))
    }

    /// The same, page by page, until `enough` says so of what came last.
    ///
    /// Pages belong to a session: when it expires in between, everything begins anew, once.
    pub(super) fn collect_until<T>(
        &self,
        query: &Query,
        deadline: Deadline,
        read: impl Fn(Content<'_, '_>) -> Result<Option<T>, Malformed>,
        mut enough: impl FnMut(&[T]) -> Result<bool, Trouble>,
    ) -> Result<Vec<T>, Trouble> {
        let (mut again, mut once_more) = (true, true);
        loop {
            let session = self.session(deadline)?;
            match self.collect_through(&session, query, deadline, &read, &mut enough) {
                Err(Trouble::Fault(fault)) if fault.meaning == Meaning::Session && again => {
                    again = false;
                    self.forget(&session);
                }
                Err(Trouble::Fault(fault)) if is_view_gone(&fault) && once_more => {
                    once_more = false;
                }
                other => return other,
            }
        }
    }

    /// The same, with a view if one is needed. It is destroyed whatever came of the query; the end of the session does that too.
    fn collect_through<T>(
        &self,
        session: &Session,
        query: &Query,
        deadline: Deadline,
        read: &impl Fn(Content<'_, '_>) -> Result<Option<T>, Malformed>,
        enough: &mut impl FnMut(&[T]) -> Result<bool, Trouble>,
    ) -> Result<Vec<T>, Trouble> {
        let From::Below(start) = &query.from else {
            return self.collect_in(session, query, None, deadline, read, enough);
        };
        let create = Request::new("CreateContainerView", &session.content.views, |parts| {
            parts.reference("container", start);
            for (kind, _) in &query.properties {
                parts.text("type", kind);
            }
            parts.flag("recursive", true);
        });
        let view = self.ask_in(session, &create, deadline, |response| {
            reference_of(response, "returnval")?.ok_or_else(|| missing(response, "returnval"))
        })?;
        let result = self.collect_in(session, query, Some(&view), deadline, read, enough);
        // With its session a view is gone.
        let expired = matches!(&result, Err(Trouble::Fault(fault)) if fault.meaning == Meaning::Session || is_view_gone(fault));
        let destroy = Request::new("DestroyView", &view, |_| {});
        if !expired && let Err(trouble) = self.ask_in(session, &destroy, deadline, |_| Ok(())) {
            tracing::debug!(?trouble, "a view was not destroyed");
        }
        result
    }

    fn collect_in<T>(
        &self,
        session: &Session,
        query: &Query,
        view: Option<&Moref>,
        deadline: Deadline,
        read: &impl Fn(Content<'_, '_>) -> Result<Option<T>, Malformed>,
        enough: &mut impl FnMut(&[T]) -> Result<bool, Trouble>,
    ) -> Result<Vec<T>, Trouble> {
        let expired = Cell::new(None);
        let take = |response: Node<'_, '_>| {
            let (objects, token) = page(response);
            if let Some(fault) = objects.iter().find_map(|object| object.expired()) {
                expired.set(Some(fault));
            }
            let wanted = objects
                .into_iter()
                .filter_map(|object| read(object).transpose());
            Ok((wanted.collect::<Result<Vec<T>, Malformed>>()?, token))
        };
        let first = |paged| {
            self.ask_in(
                session,
                &query.request(&session.content, view, paged),
                deadline,
                take,
            )
        };
        let (mut all, mut token) = if session.content.is_at_least(4, 1) {
            match first(true) {
                Err(Trouble::Fault(fault)) if fault.meaning == Meaning::NoMethod => first(false)?,
                other => other?,
            }
        } else {
            first(false)?
        };
        let mut seen = 0;
        loop {
            if let Some(fault) = expired.take() {
                return Err(Trouble::Fault(fault));
            }
            let Some(next) = token else { return Ok(all) };
            if enough(all.get(seen..).unwrap_or_default())? {
                self.cancel(session, &next, deadline);
                return Ok(all);
            }
            seen = all.len();
            if seen > MOST {
                self.cancel(session, &next, deadline);
                let detail = format!("it returns more than {MOST} objects");
                return Err(Trouble::Error(Error::Unreachable {
                    by: self.by().to_owned(),
                    detail,
                }));
            }
            let go_on = Request::new(
                "ContinueRetrievePropertiesEx",
                &session.content.collector,
                |parts| {
                    parts.text("token", &next);
                },
            );
            let (more, then) = self.ask_in(session, &go_on, deadline, take)?;
            all.extend(more);
            token = then;
        }
    }

    /// Tells the server that the rest is not wanted. It would forget it with the session anyway.
    fn cancel(&self, session: &Session, token: &str, deadline: Deadline) {
        let request = Request::new(
            "CancelRetrievePropertiesEx",
            &session.content.collector,
            |parts| {
                parts.text("token", token);
            },
        );
        if let Err(trouble) = self.ask_in(session, &request, deadline, |_| Ok(())) {
            tracing::debug!(?trouble, "the rest of a query was not cancelled");
        }
    }
}
