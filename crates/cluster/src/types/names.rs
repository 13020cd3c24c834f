//! Names that Picket gives to things or hands on to others.

use std::fmt;

use serde::Deserialize;

use super::{Invalid, text_type};

/// A node's name: a valid host name (RFC 1123) of at most 63 bytes, in lower case.
///
/// The limit is that of the domain name in a fencing request; lower case because Pacemaker compares
/// node names without regard to case while libvirt does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The longest name: what fits into a fencing request.
    pub const MAX: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its trailing number, and that number: `n1` is (`n`, 1).
    pub(crate) fn split_number(&self) -> Option<(&str, u32)> {
        let stem = self.0.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &self.0[stem.len()..];
        if stem.is_empty() || digits.starts_with('0') {
            return None;
        }
        Some((stem, digits.parse().ok()?))
    }
}

impl TryFrom<String> for NodeName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(Invalid::new(format!(
                "a node name has 1 to {} characters, this one has {}",
                Self::MAX,
                text.len()
            )));
        }
        let label_is_valid = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !text.split('.').all(label_is_valid) {
            return Err(Invalid::new(format!(
                "`{text}` is not a host name: use lower-case letters, digits and inner hyphens, parts separated by dots"
            )));
        }
        Ok(Self(text))
    }
}

impl AsRef<str> for NodeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a cluster or a service: a letter, then letters, digits, `_` or `-`; at most 32 bytes.
///
/// DLM and GFS2 take no more than 32 bytes for a cluster's name, and such a name is a valid XML id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The longest name.
    pub const MAX: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let goes_on_well = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !starts_well || !goes_on_well || text.len() > Self::MAX {
            return Err(Invalid::new(format!(
                "`{text}` is not a name: use a letter, then letters, digits, `_` or `-`, at most {} in all",
                Self::MAX
            )));
        }
        Ok(Self(text))
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::schema!(NodeName, "NodeName", {
    "type": "string",
    "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    "minLength": 1,
    "maxLength": 63
});

super::schema!(Name, "Name", {
    "type": "string",
    "pattern": "^[A-Za-z][A-Za-z0-9_-]*$",
    "maxLength": 32
});

text_type!(
    /// What a platform calls a guest: what an agent is given as its plug.
    ///
    /// A name, an id, or a path in an inventory; up to 255 bytes on one line, without quotation marks or
    /// backslashes, so that it can be written anywhere.
    GuestName,
    schema: { "pattern": "^[^\\s\"'\\\\\\x00-\\x1f]([^\"'\\\\\\x00-\\x1f]*[^\\s\"'\\\\\\x00-\\x1f])?$", "maxLength": 255 },
    |text| {
        let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\'' | '\\');
        if text.is_empty() || text.len() > 255 || text.trim() != text || !text.chars().all(plain) {
            return Err(format!(
                "`{text}` is not the name of a guest: use 1 to 255 bytes on one line, without quotation marks, backslashes and outer blanks"
            ));
        }
        Ok(())
    }
);

text_type!(
    /// The name of a fencing agent's program: `fence_` and then letters, digits, `_` or `-`.
    AgentName,
    schema: { "pattern": "^fence_[a-z0-9_-]+$", "maxLength": 64 },
    |text| {
        let rest = text.strip_prefix("fence_").unwrap_or_default();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if rest.is_empty() || text.len() > 64 || !rest.bytes().all(plain) {
            return Err(format!(
                "`{text}` is not a fencing agent: its program's name begins with `fence_`, as `fence_xvm` does"
            ));
        }
        Ok(())
    }
);

impl AgentName {
    /// Whether the agent asks `fence_virtd`.
    #[must_use]
    pub fn is_virt(&self) -> bool {
        matches!(self.as_str(), "fence_xvm" | "fence_virt")
    }

    /// Whether the agent removes a node's persistent reservations instead of switching the node.
    #[must_use]
    pub fn is_reservation(&self) -> bool {
        matches!(self.as_str(), "fence_scsi" | "fence_mpath")
    }
}

text_type!(
    /// The name of an option that is handed to an agent: letters, digits, `_` and `-`.
    OptionName,
    schema: { "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength": 64 },
    |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text.is_empty() || text.len() > 64 || text.starts_with('-') || !text.bytes().all(plain) {
            return Err(format!(
                "`{text}` is not the name of an agent's option: use letters, digits, `_` and `-`"
            ));
        }
        Ok(())
    }
);

impl OptionName {
    /// Whether what is given by this name is likely to be a secret.
    #[must_use]
    pub fn smells_of_a_secret(&self) -> bool {
        let name = self.0.to_ascii_lowercase();
        // What ends in these names a file or a program that gives the secret, not the secret itself.
        if ["_script", "_file", "_path", "-script", "-file", "-path"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            return false;
        }
        let parts = || name.split(['_', '-']);
        [
            "password",
            "passwd",
            "passphrase",
            "secret",
            "token",
            "credential",
            "apikey",
            "privatekey",
        ]
        .iter()
        .any(|word| name.contains(word))
            || parts().any(|part| matches!(part, "pwd" | "pass" | "psk" | "pw"))
            || [
                "api_key",
                "api-key",
                "private_key",
                "access_key",
                "snmp_priv",
            ]
            .iter()
            .any(|word| name.contains(word))
    }
}

text_type!(
    /// A resource agent as Pacemaker names it: `ocf:PROVIDER:TYPE`, or `systemd:UNIT`, `service:NAME`,
    /// `lsb:NAME`.
    ResourceAgent,
    schema: { "pattern": "^(ocf:[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+|(systemd|service|lsb):[A-Za-z0-9_.@-]+)$", "maxLength": 128 },
    |text| {
        let plain = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let known = match parts.as_slice() {
            ["ocf", provider, kind] => !provider.contains('@') && !kind.contains('@'),
            ["systemd" | "service" | "lsb", _] => true,
            _ => false,
        };
        if !known || text.len() > 128 || !parts.iter().all(plain) {
            return Err(format!(
                "`{text}` is not a resource agent: write `ocf:PROVIDER:TYPE`, as `ocf:heartbeat:pgsql`, or `systemd:UNIT`"
            ));
        }
        Ok(())
    }
);

impl ResourceAgent {
    /// The standard: `ocf`, `systemd`, `service` or `lsb`.
    #[must_use]
    pub fn class(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The provider of an `ocf` agent.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        let mut parts = self.0.split(':');
        (parts.clone().count() == 3).then(|| parts.nth(1)).flatten()
    }

    /// The agent's own name within its standard and provider.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }
}

text_type!(
    /// The world-wide name of an iSCSI target (RFC 3720, 3.2.6): `iqn.…`, `eui.…` or `naa.…`.
    Iqn,
    schema: { "pattern": "^(iqn\\.[0-9]{4}-[0-9]{2}\\.|eui\\.|naa\\.)[a-z0-9.:_-]+$", "maxLength": 223 },
    |text| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".:_-".contains(&b);
        let dated = |rest: &str| {
            let b = rest.as_bytes();
            b.len() > 8
                && b[..4].iter().all(u8::is_ascii_digit)
                && b[4] == b'-'
                && b[5..7].iter().all(u8::is_ascii_digit)
                && b[7] == b'.'
        };
        let known = match text.split_once('.') {
            Some(("iqn", rest)) => dated(rest),
            Some(("eui" | "naa", rest)) => !rest.is_empty(),
            _ => false,
        };
        if !known || text.len() > 223 || !text.bytes().all(plain) {
            return Err(format!(
                "`{text}` is not the name of an iSCSI target, as `iqn.2026-11.org.example:shared` is"
            ));
        }
        Ok(())
    }
);

text_type!(
    /// A short word: a letter, then letters, digits, `.`, `_` or `-`.
    Word,
    schema: { "pattern": "^[A-Za-z][A-Za-z0-9._-]*$", "maxLength": 64 },
    |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !text.starts_with(|c: char| c.is_ascii_alphabetic())
            || text.len() > 64
            || !text.bytes().all(plain)
        {
            return Err(format!("`{text}` is not a word of letters, digits, `.`, `_` and `-`"));
        }
        Ok(())
    }
);
