//! The property collector: which properties of which objects, page by page.
//!
//! Inventories are walked from folder to folder instead of through a view: a view is an object in the server's session that
//! has to be destroyed again, and lives on when its owner is killed.

use deadline::Deadline;
use roxmltree::Node;

use super::envelope::{Parts, Request};
use super::fault::Meaning;
use super::link::{Link, ServiceContent, Session, Trouble};
use super::reply::{Content, Malformed, Moref, child, children, text_of};
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
    /// Everything below one of the inventory's folders or datacenters.
    Below(Moref, Tree),
    /// What the object is in, up to the root.
    Above(Moref),
}

/// Which part of the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// Folders of guests, guests, vApps.
    Guests,
    /// Hosts and what they form.
    Hosts,
    /// Datacenters, and the folders above them.
    Datacenters,
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

    pub(super) fn below(
        start: &Moref,
        tree: Tree,
        kind: &'static str,
        paths: &'static [&'static str],
    ) -> Self {
        Self {
            properties: vec![(kind, paths)],
            from: From::Below(start.clone(), tree),
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
    fn request(&self, content: &ServiceContent, paged: bool) -> Request {
        let method = if paged {
            "RetrievePropertiesEx"
        } else {
            "RetrieveProperties"
        };
        Request::new(method, &content.collector, |parts| {
            parts.nest("specSet", |parts| self.write(parts));
            if paged {
                parts.nest("options", |parts| {
                    if let Some(objects) = self.page {
                        parts.text("maxObjects", &objects.to_string());
                    }
                });
            }
        })
    }

    fn write(&self, parts: &mut Parts) {
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
            From::Below(start, tree) => parts.nest("objectSet", |parts| {
                parts.reference("obj", start);
                parts.flag("skip", true);
                tree.write(parts);
            }),
            From::Above(object) => parts.nest("objectSet", |parts| {
                parts.reference("obj", object);
                parts.flag("skip", false);
                step(parts, "up", "ManagedEntity", "parent", &["up"]);
            }),
        }
    }
}

impl Tree {
    fn write(self, parts: &mut Parts) {
        match self {
            Self::Guests => {
                step(
                    parts,
                    "folder",
                    "Folder",
                    "childEntity",
                    &["folder", "datacenter", "app", "apps"],
                );
                step(parts, "datacenter", "Datacenter", "vmFolder", &["folder"]);
                step(parts, "app", "VirtualApp", "vm", &[]);
                step(
                    parts,
                    "apps",
                    "VirtualApp",
                    "resourcePool",
                    &["app", "apps"],
                );
            }
            Self::Hosts => {
                step(
                    parts,
                    "folder",
                    "Folder",
                    "childEntity",
                    &["folder", "datacenter", "compute"],
                );
                step(parts, "datacenter", "Datacenter", "hostFolder", &["folder"]);
                step(parts, "compute", "ComputeResource", "host", &[]);
            }
            Self::Datacenters => step(parts, "folder", "Folder", "childEntity", &["folder"]),
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
        let mut again = true;
        loop {
            let session = self.session(deadline)?;
            match self.collect_in(&session, query, deadline, &read, &mut enough) {
                Err(Trouble::Fault(fault)) if fault.meaning == Meaning::Session && again => {
                    again = false;
                    self.forget(&session);
                }
                other => return other,
            }
        }
    }

    fn collect_in<T>(
        &self,
        session: &Session,
        query: &Query,
        deadline: Deadline,
        read: &impl Fn(Content<'_, '_>) -> Result<Option<T>, Malformed>,
        enough: &mut impl FnMut(&[T]) -> Result<bool, Trouble>,
    ) -> Result<Vec<T>, Trouble> {
        let take = |response: Node<'_, '_>| {
            let (objects, token) = page(response);
            let wanted = objects
                .into_iter()
                .filter_map(|object| read(object).transpose());
            Ok((wanted.collect::<Result<Vec<T>, Malformed>>()?, token))
        };
        let first = |paged| {
            self.ask_in(
                session,
                &query.request(&session.content, paged),
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
