//! How guests are called: names, inventory paths, and the three characters that names are stored without.

use std::borrow::Cow;

use crate::GuestRef;

/// What a caller's name means to this platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// A plain name, which must belong to one guest only.
    Name(&'a str),
    /// An inventory path, without the slash it began with: `DC/vm/folder/name`.
    Path(&'a str),
    /// The SMBIOS UUID, or vCenter's own one.
    Uuid(uuid::Uuid),
}

impl<'a> Wanted<'a> {
    /// Reads a reference. No stored name begins with a slash, so one that does is a path.
    pub(super) fn of(guest: &'a GuestRef) -> Self {
        match guest {
            GuestRef::Uuid(uuid) => Self::Uuid(*uuid),
            GuestRef::Name(name) => match name.strip_prefix('/') {
                Some(path) => Self::Path(path.trim_end_matches('/')),
                None => Self::Name(name),
            },
        }
    }
}

/// The name as vCenter stores it: `/`, `\` and `%` stand as `%2f`, `%5c` and `%25`, because paths are made of names.
pub(super) fn stored(name: &str) -> Cow<'_, str> {
    if !name.contains(['/', '\\', '%']) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        match character {
            '/' => out.push_str("%2f"),
            '\\' => out.push_str("%5c"),
            '%' => out.push_str("%25"),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The stored names that a caller may mean: what was written, as the interface shows it, and the same with the three
/// characters as people see them.
pub(super) fn candidates(name: &str) -> Vec<Cow<'_, str>> {
    let encoded = stored(name);
    if encoded == name {
        vec![encoded]
    } else {
        vec![Cow::Borrowed(name), encoded]
    }
}

/// Whether a guest that is stored under `found` is one the caller means by `wanted`.
pub(super) fn means(wanted: &str, found: &str) -> bool {
    found == wanted || found == stored(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leading_slash_makes_a_path() {
        let path = GuestRef::parse("/DC0/vm/web");
        assert_eq!(Wanted::of(&path), Wanted::Path("DC0/vm/web"));
        let name = GuestRef::parse("web");
        assert_eq!(Wanted::of(&name), Wanted::Name("web"));
        let uuid = GuestRef::parse("6695eb01-f6a4-8304-79aa-97f2502e193f");
        assert!(matches!(Wanted::of(&uuid), Wanted::Uuid(_)));
    }

    #[test]
    fn names_are_stored_without_three_characters() {
        assert_eq!(stored("a/b\\c%d"), "a%2fb%5cc%25d");
        assert!(means("a/b", "a%2fb"));
        assert!(means("a%2fb", "a%2fb"));
        assert!(means("a%2fb", "a%252fb"));
        assert!(!means("a/b", "A%2fb"));
        assert_eq!(candidates("web"), ["web"]);
        assert_eq!(candidates("a/b"), ["a/b", "a%2fb"]);
    }

    proptest! {
        #[test]
        fn what_is_stored_has_no_separator(name in ".*") {
            let stored = stored(&name);
            prop_assert!(!stored.contains(['/', '\\']));
            prop_assert!(means(&name, &stored));
        }
    }
}
