//! Envelopes: requests read, replies written. Written apart from the client's, so that both can be wrong only in ways that
//! pywinrm and pypsrp would show.

use roxmltree::{Document, Node};

use super::wmi::{Instance, Value};

/// A request.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) action: String,
    pub(super) uri: String,
    pub(super) selectors: Vec<(String, String)>,
    pub(super) dialect: String,
    pub(super) filter: String,
    /// Of an association filter: the object's keys, the association's class, the result's class.
    pub(super) object: Vec<(String, String)>,
    pub(super) association: String,
    pub(super) result: String,
    pub(super) optimize: bool,
    pub(super) max: Option<usize>,
    pub(super) context: String,
    /// A method's arguments, or the properties of an instance that is put.
    pub(super) arguments: Vec<(String, String)>,
}

impl Message {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let document = Document::parse(text).ok()?;
        let envelope = document.root_element();
        let (header, body) = (child(envelope, "Header")?, child(envelope, "Body")?);
        let one = |name: &str| {
            child(header, name)
                .map(text_of)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let content = body.children().find(Node::is_element);
        let mut message = Self {
            id: one("MessageID"),
            action: one("Action"),
            uri: one("ResourceURI"),
            selectors: child(header, "SelectorSet")
                .map(selectors)
                .unwrap_or_default(),
            ..Self::default()
        };
        let Some(content) = content else {
            return Some(message);
        };
        let below = |name: &str| {
            content
                .descendants()
                .find(|node| node.is_element() && node.tag_name().name() == name)
        };
        message.optimize = below("OptimizeEnumeration").is_some();
        message.max = below("MaxElements").and_then(|node| text_of(node).trim().parse().ok());
        message.context = below("EnumerationContext").map(text_of).unwrap_or_default();
        if let Some(filter) = below("Filter") {
            message.dialect = filter.attribute("Dialect").unwrap_or_default().to_owned();
            message.filter = text_of(filter);
            message.object = below("SelectorSet").map(selectors).unwrap_or_default();
            message.association = below("AssociationClassName")
                .map(text_of)
                .unwrap_or_default();
            message.result = below("ResultClassName").map(text_of).unwrap_or_default();
        }
        let argument = |node: Node<'_, '_>| (node.tag_name().name().to_owned(), text_of(node));
        message.arguments = content
            .children()
            .filter(Node::is_element)
            .map(argument)
            .collect();
        Some(message)
    }

    /// The namespace in lower case, and the class.
    pub(super) fn class(&self) -> (String, String) {
        let path = self
            .uri
            .strip_prefix("http://schemas.microsoft.com/wbem/wsman/1/wmi/")
            .unwrap_or_default();
        let (namespace, class) = path.rsplit_once('/').unwrap_or(("", path));
        (namespace.to_lowercase(), class.to_owned())
    }

    /// What a fault table calls it.
    pub(super) fn operation(&self) -> (String, String) {
        let action = self
            .action
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let (_, class) = self.class();
        let class = if class == "*" {
            super::wql::Query::parse(&self.filter).map_or(class, |query| query.class)
        } else {
            class
        };
        (action, class)
    }

    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        let found = self.arguments.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children()
        .find(|child| child.is_element() && child.tag_name().name() == name)
}

fn text_of(node: Node<'_, '_>) -> String {
    node.children()
        .filter(Node::is_text)
        .filter_map(|text| text.text())
        .collect()
}

fn selectors(set: Node<'_, '_>) -> Vec<(String, String)> {
    let selector = |node: Node<'_, '_>| {
        (
            node.attribute("Name").unwrap_or_default().to_owned(),
            text_of(node),
        )
    };
    set.children()
        .filter(Node::is_element)
        .map(selector)
        .collect()
}

/// Escapes a text.
pub(super) fn escaped(text: &str) -> String {
    let mut xml = String::new();
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '\r' => xml.push_str("&#13;"),
            _ => xml.push(c),
        }
    }
    xml
}

/// A reply with this body.
pub(super) fn reply(action: &str, relates: &str, body: &str) -> String {
    format!(
        "<s:Envelope xml:lang=\"en-US\" xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
         xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" xmlns:x=\"http://schemas.xmlsoap.org/ws/2004/09/transfer\" \
         xmlns:cim=\"http://schemas.dmtf.org/wbem/wscim/1/common\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
         <s:Header><a:Action>{}</a:Action><a:MessageID>uuid:6F0D1D3B-3F9A-4C5B-9D1B-000000000001</a:MessageID>\
         <a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:RelatesTo>{}</a:RelatesTo></s:Header>\
         <s:Body>{body}</s:Body></s:Envelope>",
        escaped(action),
        escaped(relates),
    )
}

/// A fault: SOAP's subcode, Windows' code, WMI's code, the text.
pub(super) fn fault(
    relates: &str,
    subcode: &str,
    code: u32,
    wmi: Option<u32>,
    text: &str,
) -> String {
    let provider = wmi.map_or_else(String::new, |wmi| {
        format!(
            "<f:ProviderFault provider=\"WMI Provider\" path=\"%systemroot%\\system32\\WsmWmiPl.dll\"><f:ExtendedError>\
             <p:__ExtendedStatus xmlns:p=\"http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/__ExtendedStatus\">\
             </p:__ExtendedStatus></f:ExtendedError></f:ProviderFault><p:MSFT_WmiError \
             xmlns:p=\"http://schemas.microsoft.com/wbem/wsman/1/wmi/root/microsoft/wmi/MSFT_WmiError\">\
             <p:error_Code>{wmi}</p:error_Code></p:MSFT_WmiError>"
        )
    });
    let body = format!(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>\
         <s:Reason><s:Text xml:lang=\"en-US\">{}</s:Text></s:Reason><s:Detail><f:WSManFault \
         xmlns:f=\"http://schemas.microsoft.com/wbem/wsman/1/wsmanfault\" Code=\"{code}\" Machine=\"host\"><f:Message>{}\
         {provider}</f:Message></f:WSManFault></s:Detail></s:Fault>",
        escaped(text),
        escaped(text),
    );
    reply(
        "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
        relates,
        &body,
    )
}

/// An instance as an element; `properties` leaves out all others, and makes it a fragment.
pub(super) fn element(instance: &Instance, uri: &str, properties: &[String]) -> String {
    let class = &instance.class;
    let wanted = |name: &str| {
        properties.is_empty() || properties.iter().any(|one| one.eq_ignore_ascii_case(name))
    };
    let inside: String = instance
        .properties
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| property(name, value))
        .collect();
    if properties.is_empty() {
        format!(
            "<p:{class} xmlns:p=\"{uri}\" xsi:type=\"p:{class}_Type\" xml:lang=\"en-US\">{inside}</p:{class}>"
        )
    } else {
        format!("<w:XmlFragment xmlns:p=\"{uri}\">{inside}</w:XmlFragment>")
    }
}

pub(super) fn property(name: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("<p:{name} xsi:nil=\"true\"/>"),
        Value::Text(text) => format!("<p:{name}>{}</p:{name}>", escaped(text)),
        Value::Time(text) => format!("<p:{name}><cim:Datetime>{text}</cim:Datetime></p:{name}>"),
        Value::Array(texts) => texts
            .iter()
            .map(|text| format!("<p:{name}>{}</p:{name}>", escaped(text)))
            .collect(),
        Value::Object(object) => {
            let inside: String = object
                .properties
                .iter()
                .map(|(name, value)| property(name, value))
                .collect();
            format!(
                "<p:{name} xsi:type=\"p:{}_Type\">{inside}</p:{name}>",
                object.class
            )
        }
        Value::Reference(uri, keys) => {
            let keys: String = keys
                .iter()
                .map(|(name, value)| {
                    format!(
                        "<w:Selector Name=\"{name}\">{}</w:Selector>",
                        escaped(value)
                    )
                })
                .collect();
            format!(
                "<p:{name}><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>\
                 <a:ReferenceParameters><w:ResourceURI>{uri}</w:ResourceURI><w:SelectorSet>{keys}</w:SelectorSet>\
                 </a:ReferenceParameters></p:{name}>"
            )
        }
    }
}

/// The same reply with prefixes nobody has seen.
pub(super) fn other_prefixes(xml: &str) -> String {
    let mut xml = xml.to_owned();
    for (from, to) in [
        ("s", "SOAP-ENV"),
        ("p", "zz9"),
        ("w", "_w.m"),
        ("n", "q-1"),
        ("a", "adr"),
    ] {
        for (before, after) in [("<", ":"), ("</", ":"), ("xmlns:", "="), ("\"", ":")] {
            xml = xml.replace(
                &format!("{before}{from}{after}"),
                &format!("{before}{to}{after}"),
            );
        }
    }
    xml
}
