//! Replies: what is read of an envelope. Elements are known by their local names, types by the attribute `type` of XML
//! Schema's instance namespace under whatever prefix.
//!
//! Everything here takes bytes from outside: it never panics, and what it does not find is [`Malformed`], not a default.

use roxmltree::{Document, Node, ParsingOptions};

use super::fault::{Fault, Meaning};
use crate::vmware::states::plain;

/// A reference to a managed object: type and identifier, both opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Moref {
    /// `VirtualMachine`, `HostSystem`, …
    pub(super) kind: String,
    /// `vm-42` and the like.
    pub(super) id: String,
}

impl Moref {
    pub(super) fn new(kind: &str, id: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
        }
    }
}

/// A reply that is not what the interface promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// What came back to a request.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// What was asked for.
    Result(T),
    /// The server's no.
    Fault(Fault),
}

/// Largest number of nodes of a reply. A page of the property collector has some tens of thousands.
const NODES: u32 = 8_000_000;

/// Reads an envelope; `read` gets the element `…Response` in its body.
pub(super) fn read<T>(
    bytes: &[u8],
    read: impl FnOnce(Node<'_, '_>) -> Result<T, Malformed>,
) -> Result<Answer<T>, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("it is not UTF-8".to_owned()))?;
    let text = text.trim_start_matches('\u{feff}');
    let options = ParsingOptions {
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| Malformed(format!("it is not XML: {}", plain(&error.to_string()))))?;
    let envelope = document.root_element();
    if envelope.tag_name().name() != "Envelope" {
        let name = plain(envelope.tag_name().name());
        return Err(Malformed(format!(
            "it is a document `{name}`, not a SOAP envelope"
        )));
    }
    let content = child(envelope, "Body")
        .and_then(|body| body.children().find(Node::is_element))
        .ok_or_else(|| Malformed("the envelope is empty".to_owned()))?;
    match content.tag_name().name() {
        "Fault" => Ok(Answer::Fault(Fault::of_envelope(content))),
        name if name.ends_with("Response") => read(content).map(Answer::Result),
        name => Err(Malformed(format!("the envelope holds `{}`", plain(name)))),
    }
}

/// The first child of this name.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children()
        .find(|child| child.is_element() && child.tag_name().name() == name)
}

/// Every child of this name.
pub(super) fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    name: &'a str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children()
        .filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The whole text of a node: a text may come in pieces.
pub(super) fn text(node: Node<'_, '_>) -> String {
    node.children()
        .filter(Node::is_text)
        .filter_map(|piece| piece.text())
        .collect()
}

/// The text of the first child of this name.
pub(super) fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).map(text)
}

/// A required text.
pub(super) fn need(node: Node<'_, '_>, name: &str) -> Result<String, Malformed> {
    text_of(node, name).ok_or_else(|| missing(node, name))
}

/// An `xsd:boolean`.
pub(super) fn flag_of(node: Node<'_, '_>, name: &str) -> Option<bool> {
    boolean(text_of(node, name)?.trim())
}

/// Reads an `xsd:boolean`.
pub(super) fn boolean(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// What a node refers to.
pub(super) fn reference(node: Node<'_, '_>) -> Result<Moref, Malformed> {
    let id = text(node);
    // The attribute has no prefix here: it is the referenced object's type, not the element's.
    let kind = node
        .attributes()
        .find(|attribute| attribute.namespace().is_none() && attribute.name() == "type");
    match kind.map(|attribute| attribute.value()) {
        Some(kind) if !kind.is_empty() && !id.is_empty() => Ok(Moref::new(kind, &id)),
        _ => Err(Malformed(format!(
            "`{}` refers to nothing",
            node.tag_name().name()
        ))),
    }
}

/// What the first child of this name refers to, if there is one.
pub(super) fn reference_of(node: Node<'_, '_>, name: &str) -> Result<Option<Moref>, Malformed> {
    child(node, name).map(reference).transpose()
}

/// The type an element says it has, without its prefix.
pub(super) fn type_of<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
    let kind = node.attribute((INSTANCE, "type"))?;
    Some(kind.rsplit_once(':').map_or(kind, |(_, local)| local))
}

/// `name` is missing in `node`.
pub(super) fn missing(node: Node<'_, '_>, name: &str) -> Malformed {
    Malformed(format!(
        "`{}` has no `{name}`",
        plain(node.tag_name().name())
    ))
}

/// One object of the property collector's answer (`ObjectContent`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a, 'i>(Node<'a, 'i>);

impl<'a, 'i: 'a> Content<'a, 'i> {
    pub(super) const fn new(node: Node<'a, 'i>) -> Self {
        Self(node)
    }

    /// The object.
    pub(super) fn object(self) -> Result<Moref, Malformed> {
        reference_of(self.0, "obj")?.ok_or_else(|| missing(self.0, "obj"))
    }

    /// The value of a property, if it was sent.
    pub(super) fn value(self, path: &str) -> Option<Node<'a, 'i>> {
        let mut properties = self
            .0
            .children()
            .filter(|node| node.tag_name().name() == "propSet");
        let property = properties
            .find(|property| child(*property, "name").is_some_and(|name| text(name) == path))?;
        child(property, "val")
    }

    /// The value of a simple property.
    pub(super) fn text(self, path: &str) -> Option<String> {
        self.value(path).map(text)
    }

    /// The value of a boolean property.
    pub(super) fn flag(self, path: &str) -> Option<bool> {
        boolean(self.text(path)?.trim())
    }

    /// The value of a property that refers to an object.
    pub(super) fn reference(self, path: &str) -> Result<Option<Moref>, Malformed> {
        self.value(path).map(reference).transpose()
    }

    /// The items of a property that is an array of references.
    pub(super) fn references(self, path: &str) -> Result<Vec<Moref>, Malformed> {
        match self.value(path) {
            Some(value) => children(value, "ManagedObjectReference")
                .map(reference)
                .collect(),
            None => Ok(Vec::new()),
        }
    }

    /// The fault for which properties were not sent, if it is that the session has expired: some servers say so here, and not by a
    /// fault of the call.
    pub(super) fn expired(self) -> Option<Fault> {
        let mut faults = children(self.0, "missingSet")
            .filter_map(|missing| child(missing, "fault"))
            .map(Fault::of_localized);
        faults.find(|fault| fault.meaning == Meaning::Session)
    }

    /// Properties that were asked for and not sent, each with the type of the fault that prevented it.
    pub(super) fn refused(self) -> Vec<(String, String)> {
        let refused = self
            .0
            .children()
            .filter(|node| node.tag_name().name() == "missingSet");
        let named = refused.filter_map(|node| {
            let path = text_of(node, "path")?;
            let fault = child(node, "fault")?;
            Some((path, Fault::of_localized(fault).name))
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NS: &str = "xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"";

    fn envelope(content: &str) -> String {
        format!("<s:Envelope {NS}><s:Body>{content}</s:Body></s:Envelope>")
    }

    fn properties(xml: &str) -> Vec<(Moref, Option<String>)> {
        let answer = read(envelope(xml).as_bytes(), |response| {
            let contents = children(response, "returnval").map(Content::new);
            contents
                .map(|content| Ok((content.object()?, content.text("name"))))
                .collect()
        });
        match answer {
            Ok(Answer::Result(all)) => all,
            other => panic!("{other:?}"),
        }
    }

    /// As vcsim writes it, with a prefix of its own for XML Schema's instance namespace.
    #[test]
    fn prefixes_are_the_servers_choice() {
        let read = properties(
            "<RetrievePropertiesResponse xmlns=\"urn:vim25\"><returnval><obj type=\"VirtualMachine\">vm-57</obj><propSet>\
             <name>name</name><val xmlns:XMLSchema-instance=\"http://www.w3.org/2001/XMLSchema-instance\" \
             XMLSchema-instance:type=\"xsd:string\">a&amp;b</val></propSet></returnval></RetrievePropertiesResponse>",
        );
        assert_eq!(
            read,
            [(
                Moref::new("VirtualMachine", "vm-57"),
                Some("a&b".to_owned())
            )]
        );
        let read = properties(
            "<v:RetrievePropertiesResponse xmlns:v=\"urn:vim25\"><v:returnval><v:obj type=\"VirtualMachine\">7</v:obj>\
             </v:returnval></v:RetrievePropertiesResponse>",
        );
        assert_eq!(read, [(Moref::new("VirtualMachine", "7"), None)]);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for wrong in [
            "",
            "<html><body>Proxy</body></html>",
            "{\"value\": 1}",
            "<a><b></a>",
            "<!DOCTYPE x [<!ENTITY y \"z\">]><x>&y;</x>",
            &envelope(""),
            &envelope("<Login/>"),
            &format!("<s:Envelope {NS}/>"),
        ] {
            let answer = read(wrong.as_bytes(), |_| Ok(()));
            assert!(answer.is_err(), "{wrong}: {answer:?}");
        }
        assert!(read(b"\xff\xfe", |_| Ok(())).is_err());
    }

    /// The element's own type comes with a prefix, that of the object without.
    #[test]
    fn a_reference_has_two_types() {
        let xml = "<val xmlns:x=\"http://www.w3.org/2001/XMLSchema-instance\" x:type=\"ManagedObjectReference\" \
                   type=\"HostSystem\">host-34</val>";
        let document = Document::parse(xml).expect("well-formed");
        assert_eq!(
            reference(document.root_element()),
            Ok(Moref::new("HostSystem", "host-34"))
        );
        assert_eq!(
            type_of(document.root_element()),
            Some("ManagedObjectReference")
        );
    }

    #[test]
    fn a_reference_without_type_or_text_is_none() {
        for wrong in [
            "<obj>vm-1</obj>",
            "<obj type=\"VirtualMachine\"/>",
            "<obj type=\"\">1</obj>",
        ] {
            let document = Document::parse(wrong).expect("well-formed");
            assert!(reference(document.root_element()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes, |node| Ok(Content::new(node).refused()));
        }
    }
}
