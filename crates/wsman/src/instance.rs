//! Instances: named values.

use roxmltree::Node;

use crate::xml::{children, escape, is_name, text};
use crate::{Error, Resource, names};

/// Elements inside elements taken at most.
const DEPTH: usize = 16;

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `xsi:nil`.
    Null,
    /// A text, a number, a truth value: as it was written.
    Text(String),
    /// A point in time or an interval; the element it stood in (`Datetime`, `Interval`), and what was written.
    Time(String, String),
    /// A reference to another instance.
    Reference(Resource),
    /// An instance within this one.
    Object(Instance),
}

/// An instance of a class, or a part of one. Properties are found without regard to case, as in WMI; an array is several
/// values of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    class: String,
    properties: Vec<(String, Value)>,
}

impl Instance {
    /// Reads the element of an instance.
    pub(crate) fn read(element: Node<'_, '_>) -> Result<Self, Error> {
        Self::at_depth(element, 0)
    }

    fn at_depth(element: Node<'_, '_>, depth: usize) -> Result<Self, Error> {
        if depth > DEPTH {
            return Err(Error::malformed("its elements are nested too deep"));
        }
        let read = |property: Node<'_, '_>| {
            Ok((
                property.tag_name().name().to_owned(),
                value(property, depth + 1)?,
            ))
        };
        Ok(Self {
            class: element.tag_name().name().to_owned(),
            properties: children(element).map(read).collect::<Result<_, _>>()?,
        })
    }

    /// The name of its class as it was sent; `XmlFragment` for a part.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }

    /// All values of a property.
    pub fn values<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a Value> + use<'a, 'n> {
        let named = move |(property, _): &&(String, Value)| property.eq_ignore_ascii_case(name);
        self.properties.iter().filter(named).map(|(_, value)| value)
    }

    /// The text of a property; none if it is missing or null.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values(name).find_map(|value| match value {
            Value::Text(text) | Value::Time(_, text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// All texts of an array.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.values(name).filter_map(|value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// The text of a property that must be there.
    ///
    /// # Errors
    /// When it is not, or is null.
    pub fn required(&self, name: &str) -> Result<&str, Error> {
        self.text(name)
            .ok_or_else(|| self.problem(name, "is missing"))
    }

    /// A number that may be missing or null.
    ///
    /// # Errors
    /// When it is there and no number.
    pub fn number(&self, name: &str) -> Result<Option<u32>, Error> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text
            .trim()
            .parse()
            .map_err(|_| self.problem(name, "is not a number"))?;
        Ok(Some(number))
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// When it is not, or is no number.
    pub fn required_number(&self, name: &str) -> Result<u32, Error> {
        self.number(name)?
            .ok_or_else(|| self.problem(name, "is missing"))
    }

    /// A reference to another instance.
    #[must_use]
    pub fn reference(&self, name: &str) -> Option<&Resource> {
        self.values(name).find_map(|value| match value {
            Value::Reference(resource) => Some(resource),
            _ => None,
        })
    }

    /// An instance within this one.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&Self> {
        self.values(name).find_map(|value| match value {
            Value::Object(object) => Some(object),
            _ => None,
        })
    }

    /// The same, with these values of an array in the place of the former ones; none leaves an empty array.
    #[must_use]
    pub fn with_texts(&self, name: &str, texts: &[String]) -> Self {
        let at = self
            .properties
            .iter()
            .position(|(property, _)| property.eq_ignore_ascii_case(name));
        let mut properties = self.properties.clone();
        properties.retain(|(property, _)| !property.eq_ignore_ascii_case(name));
        let mut new: Vec<(String, Value)> = texts
            .iter()
            .map(|text| (name.to_owned(), Value::Text(text.clone())))
            .collect();
        if new.is_empty() {
            new.push((name.to_owned(), Value::Null));
        }
        let at = at.unwrap_or(properties.len()).min(properties.len());
        properties.splice(at..at, new);
        Self {
            class: self.class.clone(),
            properties,
        }
    }

    fn problem(&self, name: &str, problem: &'static str) -> Error {
        Error::Property {
            class: self.class.clone(),
            name: name.to_owned(),
            problem,
        }
    }

    /// Writes it as an instance of the class with this URI, which the prefix `p` stands for.
    pub(crate) fn write(&self, xml: &mut String) -> Result<(), Error> {
        self.write_as(xml, &self.class)
    }

    fn write_as(&self, xml: &mut String, element: &str) -> Result<(), Error> {
        let (element, class) = (checked(element)?, checked(&self.class)?);
        xml.push_str(&format!("<p:{element} xsi:type=\"p:{class}_Type\">"));
        for (name, value) in &self.properties {
            write_value(xml, checked(name)?, value)?;
        }
        xml.push_str(&format!("</p:{element}>"));
        Ok(())
    }
}

fn checked(name: &str) -> Result<&str, Error> {
    if is_name(name) {
        Ok(name)
    } else {
        Err(Error::Unspeakable {
            text: name.to_owned(),
        })
    }
}

fn write_value(xml: &mut String, name: &str, value: &Value) -> Result<(), Error> {
    match value {
        Value::Null => xml.push_str(&format!("<p:{name} xsi:nil=\"true\"/>")),
        Value::Text(text) => {
            xml.push_str(&format!("<p:{name}>"));
            escape(xml, text)?;
            xml.push_str(&format!("</p:{name}>"));
        }
        Value::Time(kind, text) => {
            let kind = checked(kind)?;
            xml.push_str(&format!("<p:{name}><cim:{kind}>"));
            escape(xml, text)?;
            xml.push_str(&format!("</cim:{kind}></p:{name}>"));
        }
        Value::Reference(resource) => {
            xml.push_str(&format!("<p:{name}>"));
            resource.write(xml)?;
            xml.push_str(&format!("</p:{name}>"));
        }
        Value::Object(object) => object.write_as(xml, name)?,
    }
    Ok(())
}

fn value(property: Node<'_, '_>, depth: usize) -> Result<Value, Error> {
    let nil = property.attribute((names::XSI, "nil"));
    if nil.is_some_and(|nil| ["true", "1"].contains(&nil.trim())) {
        return Ok(Value::Null);
    }
    let mut inside = children(property);
    let (first, second) = (inside.next(), inside.next());
    let Some(first) = first else {
        return Ok(Value::Text(text(property)));
    };
    if second.is_none()
        && ["Datetime", "Interval", "Date", "Time"].contains(&first.tag_name().name())
    {
        return Ok(Value::Time(first.tag_name().name().to_owned(), text(first)));
    }
    let direct = children(property).any(|child| child.tag_name().name() == "ReferenceParameters");
    let wrapped = first.tag_name().name() == "EndpointReference";
    if direct || wrapped {
        let resource = Resource::read(property);
        return resource
            .map(Value::Reference)
            .ok_or_else(|| Error::malformed("a reference in it names nothing"));
    }
    let mut object = Instance::at_depth(property, depth)?;
    if let Some(kind) = property.attribute((names::XSI, "type")) {
        let local = kind.rsplit_once(':').map_or(kind, |(_, local)| local);
        local
            .strip_suffix("_Type")
            .unwrap_or(local)
            .clone_into(&mut object.class);
    }
    Ok(Value::Object(object))
}
