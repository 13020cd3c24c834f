//! What both sides agree on (MS-NLMP 2.2.2.5).

use crate::Error;

/// NEGOTIATE flags. Bits without a name here survive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Texts are UTF-16.
    pub const UNICODE: Self = Self(0x0000_0001);
    /// Texts may be in the system's 8-bit character set.
    pub const OEM: Self = Self(0x0000_0002);
    /// The server is to name itself.
    pub const REQUEST_TARGET: Self = Self(0x0000_0004);
    /// Messages are signed.
    pub const SIGN: Self = Self(0x0000_0010);
    /// Messages are encrypted.
    pub const SEAL: Self = Self(0x0000_0020);
    /// NTLM, as opposed to LAN Manager.
    pub const NTLM: Self = Self(0x0000_0200);
    /// A session key exists even if nothing is signed.
    pub const ALWAYS_SIGN: Self = Self(0x0000_8000);
    /// The server's target name is a server's, not a domain's.
    pub const TARGET_TYPE_SERVER: Self = Self(0x0002_0000);
    /// Extended session security: keys per direction.
    pub const EXTENDED: Self = Self(0x0008_0000);
    /// The challenge carries target information.
    pub const TARGET_INFO: Self = Self(0x0080_0000);
    /// The message carries a version.
    pub const VERSION: Self = Self(0x0200_0000);
    /// 128-bit keys.
    pub const KEY_128: Self = Self(0x2000_0000);
    /// The client chooses the session key.
    pub const KEY_EXCHANGE: Self = Self(0x4000_0000);
    /// 56-bit keys; named beside 128 bits by everybody, and without effect then.
    pub const KEY_56: Self = Self(0x8000_0000);

    /// What a client of ours asks for.
    pub(crate) const OURS: Self = Self(
        Self::UNICODE.0
            | Self::REQUEST_TARGET.0
            | Self::SIGN.0
            | Self::SEAL.0
            | Self::NTLM.0
            | Self::ALWAYS_SIGN.0
            | Self::EXTENDED.0
            | Self::TARGET_INFO.0
            | Self::VERSION.0
            | Self::KEY_128.0
            | Self::KEY_EXCHANGE.0
            | Self::KEY_56.0,
    );

    /// What either side must offer, and what it is called when it does not.
    const NEEDED: [(Self, &'static str); 6] = [
        (Self::UNICODE, "Unicode"),
        (Self::NTLM, "NTLM"),
        (Self::EXTENDED, "extended session security"),
        (Self::KEY_128, "128-bit keys"),
        (Self::SIGN, "signing"),
        (Self::SEAL, "encryption"),
    ];

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those set in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those set in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        match Self::NEEDED.iter().find(|(flag, _)| !self.has(*flag)) {
            Some((_, missing)) => Err(Error::Weak {
                missing,
                flags: self.0,
            }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flags({:#010x})", self.0)
    }
}
