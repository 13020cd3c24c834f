//! Reading XML by structure: the engine's answers, and nothing that is not one.

use roxmltree::{Document, Node, ParsingOptions};

/// Elements, texts and comments of one answer; an engine with some ten thousand guests stays below it.
const NODES: u32 = 4_000_000;

/// Why an answer cannot be used. Reads after "the answer ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It is a web page.
    #[error(
        "is a web page{}, not the interface's: another server or a proxy answers at this address, or the path of the \
         interface is wrong", title(.0)
    )]
    Page(
        /// Its title, if it has one.
        String,
    ),
    /// It is not XML, or not all of it came.
    #[error("is not whole XML: {0}")]
    NotXml(
        /// What the parser says.
        String,
    ),
    /// It is XML of another kind.
    #[error("is `{found}` where `{wanted}` was expected")]
    Other {
        /// The element that was expected.
        wanted: &'static str,
        /// The element that came.
        found: String,
    },
    /// Something that every answer of this kind has is not there, or is not what it must be.
    #[error("has no usable {what} in `{within}`")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// In which element.
        within: &'static str,
    },
}

fn title(title: &str) -> String {
    if title.is_empty() {
        String::new()
    } else {
        format!(" titled \"{title}\"")
    }
}

/// Parses `body` and hands its root element, which must be called `wanted`, to `read`.
pub(super) fn read<T>(
    body: &[u8],
    wanted: &'static str,
    read: impl FnOnce(Node<'_, '_>) -> Result<T, Unusable>,
) -> Result<T, Unusable> {
    let text = std::str::from_utf8(body)
        .map_err(|error| page(body).unwrap_or_else(|| Unusable::NotXml(error.to_string())))?;
    // No document type: nothing an engine says has one, and entities could make a small answer large.
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text.trim_start_matches('\u{feff}'), options)
        .map_err(|error| page(body).unwrap_or_else(|| Unusable::NotXml(error.to_string())))?;
    let root = document.root_element();
    if root.tag_name().name() == wanted {
        return read(root);
    }
    Err(page(body).unwrap_or_else(|| Unusable::Other {
        wanted,
        found: printable(root.tag_name().name()),
    }))
}

/// Whether `body` is a web page, and what it calls itself.
pub(super) fn page(body: &[u8]) -> Option<Unusable> {
    let start = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_lowercase();
    if !start.contains("<html") && !start.contains("<!doctype html") {
        return None;
    }
    let title = start
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"))
        .map(|(title, _)| printable(title.trim()))
        .unwrap_or_default();
    Some(Unusable::Page(title))
}

/// The first child element of this name.
pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    children(node, name).next()
}

/// All child elements of this name.
pub(super) fn children<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children()
        .filter(move |node| node.is_element() && node.tag_name().name() == name)
}

/// The text of the first child of this name; none when it is missing or empty.
pub(super) fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    own_text(child(node, name)?)
}

/// The text of an element; none when it is empty.
pub(super) fn own_text<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().map(str::trim).filter(|text| !text.is_empty())
}

/// The text of the first child of this name, as a truth value.
pub(super) fn truth(node: Node<'_, '_>, name: &str) -> Option<bool> {
    match text(node, name)? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A text of the other side on one line of bounded length, without what could forge another.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 400;
    let line: String = text
        .chars()
        .take(LONGEST + 1)
        .map(|c| if is_plain(c) { c } else { ' ' })
        .collect();
    if line.chars().count() > LONGEST {
        let cut: String = line.chars().take(LONGEST).collect();
        return format!("{cut}…");
    }
    line
}

fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
