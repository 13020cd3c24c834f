//! Free text.

use serde::Deserialize;

use super::{Invalid, text_type};

/// One line of printable text, at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Line(String);

impl Line {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Line {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.len() > 200 || text.chars().any(char::is_control) {
            return Err(Invalid::new(
                "the text must be one line of printable characters, at most 200 bytes",
            ));
        }
        Ok(Self(text))
    }
}

super::schema!(Line, "Line", { "type": "string", "pattern": "^[^\\x00-\\x1f\\x7f]*$", "maxLength": 200 });

text_type!(
    /// Mount options as mount(8) takes them: `noatime,nodiratime`.
    MountOptions,
    schema: { "pattern": "^[A-Za-z0-9_=.:/,+-]+$", "maxLength": 200 },
    |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_=.:/,+-".contains(&b);
        if text.is_empty() || text.len() > 200 || !text.bytes().all(plain) {
            return Err(format!(
                "`{text}` are not mount options, as in `noatime,nodev`"
            ));
        }
        Ok(())
    }
);

/// The value of an agent's option: text, a whole number, or true or false. At most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue(String);

impl OptionValue {
    /// The value as the agent reads it: true and false become `1` and `0`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = OptionValue;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, a whole number, true or false")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OptionValue, E> {
                if text.len() > 1024 || text.chars().any(|c| c.is_control() && c != '\t') {
                    return Err(E::custom(
                        "an option's value is one line of printable characters, at most 1024 bytes",
                    ));
                }
                Ok(OptionValue(text.to_owned()))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<OptionValue, E> {
                Ok(OptionValue(number.to_string()))
            }

            fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<OptionValue, E> {
                Ok(OptionValue(u8::from(flag).to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

super::schema!(OptionValue, "OptionValue", { "type": ["string", "integer", "boolean"], "maxLength": 1024 });
