//! How guests are named.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// What a caller calls a guest: a name or a UUID, never a guess between the two.
///
/// A text of exactly 36 characters that reads as a UUID *is* a UUID and is looked up as nothing
/// else. Somebody who names a guest like the UUID of another one gains nothing by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestRef {
    /// The name the hypervisor knows the guest by.
    Name(String),
    /// The UUID the hypervisor knows the guest by.
    Uuid(Uuid),
}

impl GuestRef {
    /// Length of the hyphenated form, the only one taken for a UUID.
    const UUID_TEXT: usize = 36;

    /// Reads what a user or a peer wrote.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.len() == Self::UUID_TEXT
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Self::Uuid(uuid);
        }
        Self::Name(text.to_owned())
    }
}

/// For people: what could forge a line of a log, or reverse one, is shown escaped. The text comes
/// from whoever asks.
impl fmt::Display for GuestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.chars().try_for_each(|character| match character {
                _ if character.is_control() => write!(f, "{}", character.escape_default()),
                // Line and paragraph separators, and what changes the direction of writing.
                '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", character.escape_default())
                }
                _ => write!(f, "{character}"),
            }),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

/// A guest the hypervisor has identified: it has both names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Guest {
    /// Its name, unique on one hypervisor.
    pub name: String,
    /// Its UUID, which it keeps when it migrates.
    pub uuid: Uuid,
}

impl Guest {
    /// Whether `wanted` means this guest.
    #[must_use]
    pub fn is(&self, wanted: &GuestRef) -> bool {
        match wanted {
            GuestRef::Name(name) => *name == self.name,
            GuestRef::Uuid(uuid) => *uuid == self.uuid,
        }
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "6695eb01-f6a4-8304-79aa-97f2502e193f";

    #[test]
    fn names_cannot_forge_lines() {
        let shown = GuestRef::parse("vm1\nWARN \x1b[31m\u{202e}é漢").to_string();
        assert_eq!(shown, "vm1\\nWARN \\u{1b}[31m\\u{202e}é漢");
    }

    #[test]
    fn only_the_hyphenated_form_is_a_uuid() {
        assert!(matches!(GuestRef::parse(TEXT), GuestRef::Uuid(_)));
        assert!(matches!(
            GuestRef::parse(&TEXT.to_uppercase()),
            GuestRef::Uuid(_)
        ));
        for name in [
            "vm1",
            "",
            &TEXT.replace('-', ""),
            &TEXT.replace('6', "g"),
            &format!("{{{TEXT}}}"),
            &format!("{TEXT} "),
            "ääääääääääääääääää",
        ] {
            assert_eq!(GuestRef::parse(name), GuestRef::Name(name.to_owned()));
        }
    }

    #[test]
    fn a_guest_named_like_anothers_uuid_is_not_that_guest() {
        let impostor = Guest {
            name: TEXT.to_owned(),
            uuid: Uuid::nil(),
        };
        assert!(!impostor.is(&GuestRef::parse(TEXT)));
        assert!(impostor.is(&GuestRef::Uuid(Uuid::nil())));
    }
}
