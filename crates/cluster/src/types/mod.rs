//! The values a definition is made of. Each is checked when it is read and cannot be wrong later.

mod names;
mod network;
mod path;
mod quantity;
mod text;
mod time;
mod version;

#[cfg(test)]
mod tests;

/// Why a piece of text is not the value it should be: a fragment that reads after the offending value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

pub use names::{AgentName, GuestName, Iqn, Name, NodeName, OptionName, ResourceAgent, Word};
pub use network::{
    Address, Addresses, Endpoint, Group, Interface, Port, Portal, SshDestination, Uri,
};
pub use path::{Backing, DevicePath, NearbyFile, PlainPath};
pub use quantity::{Count, Size};
pub use text::{Line, MountOptions, OptionValue};
pub use time::{Delay, Span};
pub use version::{Os, Version};

/// Writes the JSON schema of a type that is read from text: what it means and how it looks.
macro_rules! schema {
    ($type:ty, $name:expr, { $($json:tt)+ }) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ $($json)+ })
            }
        }
    };
}

/// Declares a type for text that `check` accepts, with everything such a type needs.
macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, schema: { $($json:tt)+ }, $check:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map_err(Invalid::new)?;
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                text.to_owned().try_into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        $crate::types::schema!($name, stringify!($name), { "type": "string", $($json)+ });
    };
}

pub(crate) use schema;
pub(crate) use text_type;
