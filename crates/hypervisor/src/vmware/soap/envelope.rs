//! Requests: SOAP 1.1 envelopes with one element of `urn:vim25` in the body.
//!
//! The order of elements is part of the interface (they are `xsd:sequence`s), so every request is written in one place and
//! checked against VMware's own schema by the suite `vmware`.

use quick_xml::Writer;
use quick_xml::events::{BytesStart, BytesText, Event};
use zeroize::Zeroizing;

use super::reply::Moref;

/// One request, ready to be sent. Wiped when dropped: one of them carries the password.
pub(super) struct Request {
    /// The method, for messages.
    pub(super) method: &'static str,
    /// The envelope.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What may stand inside an element.
pub(super) struct Parts {
    writer: Writer<Vec<u8>>,
}

impl Request {
    /// A call of `method` on the object `this`; `fill` writes what follows `_this`.
    pub(super) fn new(method: &'static str, this: &Moref, fill: impl FnOnce(&mut Parts)) -> Self {
        const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
        const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
        const XSD: &str = "http://www.w3.org/2001/XMLSchema";
        let mut parts = Parts {
            // Large enough that the one with the password does not grow and leave a copy behind.
            writer: Writer::new(Vec::with_capacity(2048)),
        };
        let envelope = BytesStart::new("e:Envelope").with_attributes([
            ("xmlns:e", SOAP),
            ("xmlns:xsi", XSI),
            ("xmlns:xsd", XSD),
        ]);
        parts.element(envelope, |parts| {
            parts.element(BytesStart::new("e:Body"), |parts| {
                let call = BytesStart::new(method).with_attributes([("xmlns", "urn:vim25")]);
                parts.element(call, |parts| {
                    parts.reference("_this", this);
                    fill(parts);
                });
            });
        });
        let body = Zeroizing::new(parts.writer.into_inner());
        Self { method, body }
    }
}

impl Parts {
    /// An element with a text. Characters that XML cannot carry become U+FFFD: no name on the server has them.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let fits = |character: char| matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
        if text.chars().all(fits) {
            self.text_of(BytesStart::new(name), text);
        } else {
            let mended: String = text
                .chars()
                .map(|character| {
                    if fits(character) {
                        character
                    } else {
                        '\u{fffd}'
                    }
                })
                .collect();
            self.text_of(BytesStart::new(name), &mended);
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str, yes: bool) {
        self.text(name, if yes { "true" } else { "false" });
    }

    /// A reference to a managed object.
    pub(super) fn reference(&mut self, name: &str, to: &Moref) {
        let element = BytesStart::new(name).with_attributes([("type", to.kind.as_str())]);
        self.text_of(element, &to.id);
    }

    /// An element of a type that the schema alone does not tell, with a text.
    pub(super) fn typed_text(&mut self, name: &str, kind: &str, text: &str) {
        self.text_of(
            BytesStart::new(name).with_attributes([("xsi:type", kind)]),
            text,
        );
    }

    /// An element with others in it.
    pub(super) fn nest(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.element(BytesStart::new(name), fill);
    }

    /// The same, of a type that the schema alone does not tell.
    pub(super) fn typed(&mut self, name: &str, kind: &str, fill: impl FnOnce(&mut Self)) {
        self.element(
            BytesStart::new(name).with_attributes([("xsi:type", kind)]),
            fill,
        );
    }

    fn text_of(&mut self, start: BytesStart<'_>, text: &str) {
        self.element(start, |parts| {
            parts.event(Event::Text(BytesText::new(text)));
        });
    }

    fn element(&mut self, start: BytesStart<'_>, fill: impl FnOnce(&mut Self)) {
        let end = start.to_end().into_owned();
        self.event(Event::Start(start));
        fill(self);
        self.event(Event::End(end));
    }

    fn event(&mut self, event: Event<'_>) {
        // Writing to a Vec cannot fail.
        let _ = self.writer.write_event(event);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(text: &str) -> Request {
        Request::new(
            "FindByInventoryPath",
            &Moref::new("SearchIndex", "SearchIndex"),
            |parts| {
                parts.text("inventoryPath", text);
            },
        )
    }

    #[test]
    fn a_request_as_the_interface_has_it() {
        let request = find("DC/vm/<a&b>");
        assert_eq!(
            std::str::from_utf8(&request.body),
            Ok(
                "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" \
                xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\
                <e:Body><FindByInventoryPath xmlns=\"urn:vim25\"><_this type=\"SearchIndex\">SearchIndex</_this>\
                <inventoryPath>DC/vm/&lt;a&amp;b&gt;</inventoryPath></FindByInventoryPath></e:Body></e:Envelope>"
            )
        );
    }

    proptest! {
        /// Whatever a name contains, it stays one text of one element.
        #[test]
        fn names_stay_names(name in any::<String>()) {
            let request = find(&name);
            let text = std::str::from_utf8(&request.body).expect("it was written from texts");
            let document = roxmltree::Document::parse(text).expect("it is well-formed");
            let element = document.descendants().find(|node| node.has_tag_name(("urn:vim25", "inventoryPath")));
            let read = element.and_then(|node| node.text()).unwrap_or_default();
            let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
            let expected: String = name.chars().map(|c| if fits(c) { c } else { '\u{fffd}' }).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
