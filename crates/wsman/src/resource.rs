//! What a request is about, and what a reply may refer to.

use roxmltree::Node;

use crate::xml::{child, children, escape, find, text};
use crate::{Error, names};

/// A class, or one instance of it by its keys: an endpoint reference without its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    uri: String,
    selectors: Vec<(String, String)>,
}

impl Resource {
    /// A class in a namespace of WMI, such as `root/virtualization/v2`; `*` is what queries are about.
    #[must_use]
    pub fn wmi(namespace: &str, class: &str) -> Self {
        Self {
            uri: format!("{}{namespace}/{class}", names::WMI),
            selectors: Vec::new(),
        }
    }

    /// The instance of which this key has this value.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.selectors.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The URI of the class.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The class's name.
    #[must_use]
    pub fn class(&self) -> &str {
        self.uri
            .rsplit_once('/')
            .map_or(self.uri.as_str(), |(_, class)| class)
    }

    /// The value of a key.
    #[must_use]
    pub fn selector(&self, key: &str) -> Option<&str> {
        let mut selectors = self.selectors.iter();
        selectors
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }

    /// Reads an endpoint reference, if `element` holds one.
    pub(crate) fn read(element: Node<'_, '_>) -> Option<Self> {
        let parameters = find(element, "ReferenceParameters")?;
        let uri = child(parameters, "ResourceURI")
            .map(text)?
            .trim()
            .to_owned();
        let selectors = child(parameters, "SelectorSet")
            .into_iter()
            .flat_map(children);
        let selectors = selectors.filter_map(|selector| {
            let name = selector
                .attributes()
                .find(|attribute| attribute.name() == "Name")?;
            Some((name.value().to_owned(), text(selector)))
        });
        Some(Self {
            selectors: selectors.collect(),
            uri,
        })
    }

    /// `SelectorSet`, or nothing.
    pub(crate) fn write_selectors(&self, xml: &mut String) -> Result<(), Error> {
        if self.selectors.is_empty() {
            return Ok(());
        }
        xml.push_str("<w:SelectorSet>");
        for (name, value) in &self.selectors {
            xml.push_str("<w:Selector Name=\"");
            escape(xml, name)?;
            xml.push_str("\">");
            escape(xml, value)?;
            xml.push_str("</w:Selector>");
        }
        xml.push_str("</w:SelectorSet>");
        Ok(())
    }

    /// The content of an endpoint reference.
    pub(crate) fn write(&self, xml: &mut String) -> Result<(), Error> {
        xml.push_str("<a:Address>");
        xml.push_str(names::ANONYMOUS);
        xml.push_str("</a:Address><a:ReferenceParameters><w:ResourceURI>");
        escape(xml, &self.uri)?;
        xml.push_str("</w:ResourceURI>");
        self.write_selectors(xml)?;
        xml.push_str("</a:ReferenceParameters>");
        Ok(())
    }
}
