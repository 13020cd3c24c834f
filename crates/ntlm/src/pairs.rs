//! Target information: a list of attributes (AV_PAIR, MS-NLMP 2.2.2.1).

use crate::Error;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What it is.
    pub id: u16,
    /// Its value.
    pub value: Vec<u8>,
}

/// Attributes in the order they were sent, without the one that ends the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs(pub Vec<Pair>);

impl Pairs {
    const END: u16 = 0;
    /// The server's NetBIOS name.
    pub const COMPUTER: u16 = 1;
    /// The NetBIOS name of its domain.
    pub const DOMAIN: u16 = 2;
    /// The server's DNS name.
    pub const DNS_COMPUTER: u16 = 3;
    /// The DNS name of its domain.
    pub const DNS_DOMAIN: u16 = 4;
    /// 32 bits; see [`Pairs::HAS_MIC`].
    pub const FLAGS: u16 = 6;
    /// The server's clock, as FILETIME.
    pub const TIMESTAMP: u16 = 7;
    /// The service the client wants.
    pub const TARGET_NAME: u16 = 9;
    /// MD5 of the channel bindings.
    pub const BINDING: u16 = 10;
    /// In [`Pairs::FLAGS`]: the client's message carries an integrity code.
    pub const HAS_MIC: u32 = 2;

    const MESSAGE: &'static str = "target information";

    /// Reads a list. What follows its end is ignored, as everybody does: clients add four zero bytes there.
    ///
    /// # Errors
    /// When it does not end, or a value is cut off.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        loop {
            let Some((&[a, b, c, d], rest)) = bytes.split_first_chunk() else {
                return Err(Error::Malformed {
                    message: Self::MESSAGE,
                    detail: "it has no end",
                });
            };
            let (id, length) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            if id == Self::END {
                return Ok(Self(pairs));
            }
            let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else {
                return Err(Error::Malformed {
                    message: Self::MESSAGE,
                    detail: "a value is cut off",
                });
            };
            pairs.push(Pair {
                id,
                value: value.to_vec(),
            });
            bytes = rest;
        }
    }

    /// The list as bytes, its end included.
    ///
    /// # Errors
    /// When a value is longer than 65535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for pair in &self.0 {
            let length = u16::try_from(pair.value.len()).map_err(|_| Error::TooLong {
                what: "target information",
            })?;
            bytes.extend(pair.id.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend(&pair.value);
        }
        bytes.extend([0; 4]);
        Ok(bytes)
    }

    /// The value of the first attribute of this kind.
    #[must_use]
    pub fn get(&self, id: u16) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|pair| pair.id == id)
            .map(|pair| pair.value.as_slice())
    }

    /// A text, if there is one and it is UTF-16.
    #[must_use]
    pub fn text(&self, id: u16) -> Option<String> {
        text(self.get(id)?)
    }

    /// Puts this in the place of every attribute of its kind.
    pub(crate) fn set(&mut self, id: u16, value: Vec<u8>) {
        self.0.retain(|pair| pair.id != id);
        self.0.push(Pair { id, value });
    }

    /// The server's clock, if it told: 100 ns since 1601.
    pub(crate) fn timestamp(&self) -> Option<u64> {
        self.get(Self::TIMESTAMP)?
            .try_into()
            .ok()
            .map(u64::from_le_bytes)
    }

    pub(crate) fn flags(&self) -> u32 {
        let value = self
            .get(Self::FLAGS)
            .and_then(|value| value.try_into().ok());
        value.map_or(0, u32::from_le_bytes)
    }
}

/// UTF-16, little endian.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .ok()
}
