//! Replies.

use roxmltree::Node;
use uuid::Uuid;

use crate::fault::{Fault, is_fault};
use crate::request::is_message_id;
use crate::xml::{child, children, decode, parse, text};
use crate::{Error, Instance};

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The instances in it.
    pub items: Vec<Instance>,
    /// What to ask for the rest with; none at the end.
    pub next: Option<String>,
}

/// Hands the content of the body to `read`, if `bytes` is a reply to the message `id` and no fault.
fn open<T>(
    bytes: &[u8],
    id: Uuid,
    read: impl FnOnce(Option<Node<'_, '_>>) -> Result<T, Error>,
) -> Result<T, Error> {
    let text_of_reply = decode(bytes)?;
    let document = parse(&text_of_reply)?;
    let envelope = document.root_element();
    if envelope.tag_name().name() != "Envelope" {
        return Err(Error::malformed("it is no envelope"));
    }
    let relates = child(envelope, "Header")
        .and_then(|header| child(header, "RelatesTo"))
        .map(text);
    let body = child(envelope, "Body").ok_or_else(|| Error::malformed("it has no body"))?;
    let content = children(body).next();
    let fault = content
        .filter(|content| is_fault(*content))
        .map(Fault::read);
    match (relates, fault) {
        // A server that could not read the request cannot say which it answers.
        (None, Some(fault)) => Err(Error::Fault(fault)),
        (Some(relates), _) if !is_message_id(&relates, id) => Err(Error::Unrelated),
        (Some(_), Some(fault)) => Err(Error::Fault(fault)),
        (None, None) => Err(Error::Unrelated),
        (Some(_), None) => read(content),
    }
}

fn named<'a, 'i>(content: Option<Node<'a, 'i>>, name: &str) -> Result<Node<'a, 'i>, Error> {
    content
        .filter(|content| content.tag_name().name() == name)
        .ok_or_else(|| Error::malformed(format!("it has no {name}")))
}

/// The fault in a reply, whatever it relates to: for replies whose HTTP status is an error.
#[must_use]
pub fn fault(bytes: &[u8]) -> Option<Fault> {
    let text_of_reply = decode(bytes).ok()?;
    let document = parse(&text_of_reply).ok()?;
    let body = child(document.root_element(), "Body")?;
    children(body)
        .find(|content| is_fault(*content))
        .map(Fault::read)
}

/// The reply to [`Envelope::enumerate`](crate::Envelope::enumerate) or [`Envelope::pull`](crate::Envelope::pull).
///
/// # Errors
/// A fault; a reply that is none, or to another request; one that neither ends the list nor says how it goes on.
pub fn page(bytes: &[u8], id: Uuid) -> Result<Page, Error> {
    open(bytes, id, |content| {
        let response = content
            .filter(|content| {
                ["EnumerateResponse", "PullResponse"].contains(&content.tag_name().name())
            })
            .ok_or_else(|| Error::malformed("it is no list"))?;
        let items = child(response, "Items").into_iter().flat_map(children);
        let items = items.map(Instance::read).collect::<Result<_, _>>()?;
        let next = child(response, "EnumerationContext")
            .map(text)
            .filter(|context| !context.trim().is_empty());
        let ended = child(response, "EndOfSequence").is_some();
        match (ended, next) {
            (true, _) => Ok(Page { items, next: None }),
            (false, Some(next)) => Ok(Page {
                items,
                next: Some(next),
            }),
            (false, None) => Err(Error::malformed("the list neither ends nor goes on")),
        }
    })
}

/// The reply to [`Envelope::get`](crate::Envelope::get).
///
/// # Errors
/// A fault; a reply that is none, or to another request.
pub fn instance(bytes: &[u8], id: Uuid) -> Result<Instance, Error> {
    open(bytes, id, |content| {
        let content = content.ok_or_else(|| Error::malformed("it has no instance"))?;
        Instance::read(content)
    })
}

/// The reply to [`Envelope::put`](crate::Envelope::put), of which only the absence of a fault matters.
///
/// # Errors
/// A fault; a reply that is none, or to another request.
pub fn accepted(bytes: &[u8], id: Uuid) -> Result<(), Error> {
    open(bytes, id, |_| Ok(()))
}

/// What the method `method` gave back.
///
/// # Errors
/// A fault; a reply that is none, to another request, or of another method.
pub fn output(bytes: &[u8], id: Uuid, method: &str) -> Result<Instance, Error> {
    open(bytes, id, |content| {
        // Some servers leave out the suffix.
        let output =
            named(content, &format!("{method}_OUTPUT")).or_else(|_| named(content, method))?;
        Instance::read(output)
    })
}

#[cfg(test)]
mod tests;
