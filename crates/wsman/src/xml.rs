//! Reading and writing elements.

use std::fmt::Write as _;

use roxmltree::{Document, Node, ParsingOptions};

use crate::Error;

/// Bytes of a reply taken at most. Replies are asked to stay below 150 kB.
pub(crate) const LIMIT: usize = 4 << 20;
/// Nodes of a reply taken at most.
const NODES: u32 = 200_000;

/// Decodes a reply: UTF-8, or UTF-16 if it says so by its first bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, Error> {
    if bytes.len() > LIMIT {
        return Err(Error::malformed(format!("it is longer than {LIMIT} bytes")));
    }
    let units = |little: bool, rest: &[u8]| {
        let (pairs, odd) = rest.as_chunks::<2>();
        let unit = |pair: &[u8; 2]| {
            if little {
                u16::from_le_bytes(*pair)
            } else {
                u16::from_be_bytes(*pair)
            }
        };
        let text = odd.is_empty().then(|| {
            char::decode_utf16(pairs.iter().map(unit))
                .collect::<Result<String, _>>()
                .ok()
        });
        text.flatten()
            .ok_or_else(|| Error::malformed("it is not UTF-16"))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(true, rest),
        [0xfe, 0xff, rest @ ..] => units(false, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            String::from_utf8(rest.to_vec()).map_err(|_| Error::malformed("it is not UTF-8"))
        }
    }
}

/// Parses a document without document type.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, Error> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options)
        .map_err(|error| Error::malformed(format!("it is no XML: {error}")))
}

/// The child elements.
pub(crate) fn children<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// The first child element of this local name.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(node).find(|child| child.tag_name().name() == name)
}

/// The first element of this local name anywhere below.
pub(crate) fn find<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.descendants()
        .find(|below| below.is_element() && below.tag_name().name() == name)
}

/// The text directly in an element.
pub(crate) fn text(node: Node<'_, '_>) -> String {
    node.children()
        .filter(Node::is_text)
        .filter_map(|child| child.text())
        .collect()
}

/// Appends `text` so that it reads back as it is, in an element or an attribute.
pub(crate) fn escape(xml: &mut String, text: &str) -> Result<(), Error> {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                // Writing to a String cannot fail.
                let _ = write!(xml, "&#{};", u32::from(character));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err(Error::Unspeakable {
                    text: text.to_owned(),
                });
            }
            _ => xml.push(character),
        }
    }
    Ok(())
}

/// The same as a value.
pub(crate) fn escaped(text: &str) -> Result<String, Error> {
    let mut xml = String::with_capacity(text.len());
    escape(&mut xml, text)?;
    Ok(xml)
}

/// Whether `name` can be the name of an element: what is put into tags comes from replies, too.
pub(crate) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|next| next.is_alphanumeric() || ['_', '-', '.'].contains(&next))
}
