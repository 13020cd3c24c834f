//! Requests.

use std::time::Duration;

use uuid::Uuid;

use crate::wql::Query;
use crate::xml::{escape, escaped, is_name};
use crate::{Error, Instance, Resource, names};

/// What all requests have in common.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The URL the request is sent to.
    pub to: &'a str,
    /// A number never used before; the reply repeats it.
    pub id: Uuid,
    /// How long the server may take; rounded down to whole seconds, at least one.
    pub timeout: Duration,
}

/// Which instances are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter<'a> {
    /// Those a query selects.
    Wql(&'a Query),
    /// Those of class `result` that an association of class `association` ties to `object`.
    Associated {
        /// The instance.
        object: &'a Resource,
        /// The class of the association.
        association: &'a str,
        /// The class of the instances wanted.
        result: &'a str,
    },
}

/// What a method is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A text, a number, a truth value.
    Text(&'a str),
    /// A reference to an instance.
    Reference(&'a Resource),
}

impl Envelope<'_> {
    /// Bytes that a reply may have: what every version of Windows takes.
    const MAX_ENVELOPE: u32 = 153_600;
    /// Instances that one reply may have.
    const MAX_ELEMENTS: u32 = 100;

    fn build(&self, action: &str, resource: &Resource, body: &str) -> Result<String, Error> {
        let mut xml = String::with_capacity(2048 + body.len());
        xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope");
        for (prefix, uri) in [
            ("s", names::SOAP),
            ("a", names::ADDRESSING),
            ("w", names::WSMAN),
            ("n", names::ENUMERATION),
            ("xsi", names::XSI),
            ("cim", names::CIM),
            ("b", names::CIM_BINDING),
        ] {
            xml.push_str(&format!(" xmlns:{prefix}=\"{uri}\""));
        }
        xml.push_str("><s:Header><a:To>");
        escape(&mut xml, self.to)?;
        xml.push_str("</a:To><w:ResourceURI s:mustUnderstand=\"true\">");
        escape(&mut xml, resource.uri())?;
        xml.push_str("</w:ResourceURI><a:ReplyTo><a:Address s:mustUnderstand=\"true\">");
        xml.push_str(names::ANONYMOUS);
        xml.push_str("</a:Address></a:ReplyTo><a:Action s:mustUnderstand=\"true\">");
        escape(&mut xml, action)?;
        xml.push_str(&format!(
            "</a:Action><w:MaxEnvelopeSize s:mustUnderstand=\"true\">{}</w:MaxEnvelopeSize><a:MessageID>{}</a:MessageID>\
             <w:Locale xml:lang=\"en-US\" s:mustUnderstand=\"false\"/><w:OperationTimeout>PT{}S</w:OperationTimeout>",
            Self::MAX_ENVELOPE,
            message_id(self.id),
            self.timeout.as_secs().max(1),
        ));
        resource.write_selectors(&mut xml)?;
        xml.push_str("</s:Header><s:Body>");
        xml.push_str(body);
        xml.push_str("</s:Body></s:Envelope>");
        Ok(xml)
    }

    /// Asks for instances. `optimize` asks to send the first ones at once, which a server may ignore.
    ///
    /// # Errors
    /// When a text in it cannot be sent.
    pub fn enumerate(
        &self,
        resource: &Resource,
        filter: Option<&Filter<'_>>,
        optimize: bool,
    ) -> Result<String, Error> {
        let mut body = "<n:Enumerate>".to_owned();
        if optimize {
            body.push_str(&format!(
                "<w:OptimizeEnumeration/><w:MaxElements>{}</w:MaxElements>",
                Self::MAX_ELEMENTS
            ));
        }
        match filter {
            None => {}
            Some(Filter::Wql(query)) => {
                body.push_str(&format!("<w:Filter Dialect=\"{}\">", names::WQL));
                escape(&mut body, query.text())?;
                body.push_str("</w:Filter>");
            }
            Some(Filter::Associated {
                object,
                association,
                result,
            }) => {
                body.push_str(&format!("<w:Filter Dialect=\"{}\">", names::ASSOCIATION));
                body.push_str("<b:AssociatedInstances><b:Object>");
                object.write(&mut body)?;
                body.push_str(&format!(
                    "</b:Object><b:AssociationClassName>{}</b:AssociationClassName><b:ResultClassName>{}</b:ResultClassName>\
                     </b:AssociatedInstances></w:Filter>",
                    escaped(association)?,
                    escaped(result)?,
                ));
            }
        }
        body.push_str("</n:Enumerate>");
        self.build(names::ENUMERATE, resource, &body)
    }

    /// Asks for more instances.
    ///
    /// # Errors
    /// When a text in it cannot be sent.
    pub fn pull(&self, resource: &Resource, context: &str) -> Result<String, Error> {
        let body = format!(
            "<n:Pull><n:EnumerationContext>{}</n:EnumerationContext><n:MaxElements>{}</n:MaxElements></n:Pull>",
            escaped(context)?,
            Self::MAX_ELEMENTS
        );
        self.build(names::PULL, resource, &body)
    }

    /// Asks for one instance.
    ///
    /// # Errors
    /// When a text in it cannot be sent.
    pub fn get(&self, resource: &Resource) -> Result<String, Error> {
        self.build(names::GET, resource, "")
    }

    /// Replaces an instance.
    ///
    /// # Errors
    /// When a text in it cannot be sent.
    pub fn put(&self, resource: &Resource, instance: &Instance) -> Result<String, Error> {
        let mut body = String::new();
        instance.write(&mut body)?;
        self.build(names::PUT, resource, &declare(&body, resource)?)
    }

    /// Calls a method. An array is several arguments of one name.
    ///
    /// # Errors
    /// When a text in it cannot be sent.
    pub fn invoke(
        &self,
        resource: &Resource,
        method: &str,
        arguments: &[(&str, Argument<'_>)],
    ) -> Result<String, Error> {
        let mut body = format!("<p:{method}_INPUT>");
        for (name, argument) in arguments {
            if !is_name(name) {
                return Err(Error::Unspeakable {
                    text: (*name).to_owned(),
                });
            }
            body.push_str(&format!("<p:{name}>"));
            match argument {
                Argument::Text(text) => escape(&mut body, text)?,
                Argument::Reference(resource) => resource.write(&mut body)?,
            }
            body.push_str(&format!("</p:{name}>"));
        }
        body.push_str(&format!("</p:{method}_INPUT>"));
        let action = format!("{}/{method}", resource.uri());
        self.build(&action, resource, &declare(&body, resource)?)
    }
}

/// Declares the prefix `p` in the first tag of `body`.
fn declare(body: &str, resource: &Resource) -> Result<String, Error> {
    let at = body.find(['>', ' ']).unwrap_or(body.len());
    let (tag, rest) = body.split_at(at);
    Ok(format!(
        "{tag} xmlns:p=\"{}\"{rest}",
        escaped(resource.uri())?
    ))
}

/// A message id as it is written.
pub(crate) fn message_id(id: Uuid) -> String {
    format!("uuid:{}", id.hyphenated().to_string().to_uppercase())
}

/// Whether `text` is this message id: prefix and case differ between servers.
pub(crate) fn is_message_id(text: &str, id: Uuid) -> bool {
    let text = text.trim();
    let bare = text.rsplit_once(':').map_or(text, |(_, bare)| bare);
    Uuid::try_parse(bare) == Ok(id)
}
