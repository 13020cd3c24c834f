//! TransportIDs of iSCSI (SPC-4, "TransportID for initiator ports using SCSI over iSCSI").

use std::fmt;

/// PROTOCOL IDENTIFIER of iSCSI.
const PROTOCOL_ISCSI: u8 = 0x5;
/// FORMAT CODE: the name of an initiator device.
const FORMAT_DEVICE: u8 = 0b00;
/// FORMAT CODE: the name of an initiator port, that is with the initiator session id.
const FORMAT_PORT: u8 = 0b01;
/// The shortest and the longest ADDITIONAL LENGTH: a name has at most 223 bytes (RFC 7143, "iSCSI Name Structure").
const ADDITIONAL: std::ops::RangeInclusive<usize> = 20..=244;
/// The longest iSCSI name.
const MAX_NAME: usize = 223;
/// What stands between name and session id.
const SEPARATOR: &str = ",i,0x";

/// An iSCSI initiator port: name and initiator session id (ISID).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InitiatorPort {
    name: String,
    isid: [u8; 6],
}

impl InitiatorPort {
    /// A port. Names are compared in lower case (RFC 7143, "iSCSI Names"); `None` if `name` is empty, too long or
    /// holds anything but printable ASCII without blanks and commas.
    #[must_use]
    pub fn new(name: &str, isid: [u8; 6]) -> Option<Self> {
        plain(name).then(|| Self {
            name: name.to_ascii_lowercase(),
            isid,
        })
    }

    /// The initiator's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The initiator session id.
    #[must_use]
    pub const fn isid(&self) -> [u8; 6] {
        self.isid
    }
}

impl fmt::Display for InitiatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, g] = {
            let mut wide = [0; 8];
            wide[2..].copy_from_slice(&self.isid);
            wide
        };
        write!(
            f,
            "{}{SEPARATOR}{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{g:02x}",
            self.name
        )
    }
}

impl fmt::Debug for InitiatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

/// Whom a TransportID names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TransportId {
    /// One initiator port.
    Port(InitiatorPort),
    /// Every port of the initiator device of this name.
    Device(String),
}

/// Why bytes are not a TransportID of iSCSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportIdError {
    /// The bytes end within it, or its length is not one the standard allows.
    #[error("a TransportID of this length cannot be")]
    Length,
    /// Not iSCSI, or an unknown format.
    #[error("a TransportID of format and protocol {0:02x}h is not one of iSCSI")]
    Format(u8),
    /// The name or the session id is not one.
    #[error("the TransportID names no iSCSI initiator")]
    Name,
}

impl TransportId {
    /// Its bytes: a multiple of four, at least 24.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (format, text) = match self {
            Self::Port(port) => (FORMAT_PORT, port.to_string()),
            Self::Device(name) => (FORMAT_DEVICE, name.clone()),
        };
        // At least one NUL ends the text.
        let length = (text.len() + 1)
            .next_multiple_of(4)
            .max(*ADDITIONAL.start());
        let mut bytes = vec![format << 6 | PROTOCOL_ISCSI, 0];
        bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(text.bytes());
        bytes.resize(4 + length, 0);
        bytes
    }

    /// Reads one from the beginning of `bytes`; also says how many bytes it has.
    ///
    /// # Errors
    /// If it is not one of iSCSI.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), TransportIdError> {
        let [first, _, high, low, rest @ ..] = bytes else {
            return Err(TransportIdError::Length);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if !ADDITIONAL.contains(&length) || !length.is_multiple_of(4) {
            return Err(TransportIdError::Length);
        }
        let text = rest.get(..length).ok_or(TransportIdError::Length)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| TransportIdError::Name)?;
        if first & 0x0F != PROTOCOL_ISCSI {
            return Err(TransportIdError::Format(*first));
        }
        let id = match first >> 6 {
            FORMAT_PORT => Self::Port(port(text).ok_or(TransportIdError::Name)?),
            FORMAT_DEVICE if plain(text) => Self::Device(text.to_ascii_lowercase()),
            FORMAT_DEVICE => return Err(TransportIdError::Name),
            _ => return Err(TransportIdError::Format(*first)),
        };
        Ok((id, 4 + length))
    }

    /// Whether it names `port`.
    #[must_use]
    pub fn names(&self, port: &InitiatorPort) -> bool {
        match self {
            Self::Port(named) => named == port,
            Self::Device(name) => *name == port.name,
        }
    }
}

fn port(text: &str) -> Option<InitiatorPort> {
    let (name, digits) = text.split_once(SEPARATOR)?;
    if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, 16).ok()?;
    let mut isid = [0; 6];
    isid.copy_from_slice(&value.to_be_bytes()[2..]);
    InitiatorPort::new(name, isid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_port_as_the_standard_writes_it() {
        let port = InitiatorPort::new("iqn.2026-11.example:n1", [0, 2, 0x3D, 0, 0, 1]).unwrap();
        let bytes = TransportId::Port(port.clone()).encode();
        assert_eq!(bytes[..4], [0x45, 0, 0, 40]);
        assert_eq!(&bytes[4..44], b"iqn.2026-11.example:n1,i,0x00023d000001\0");
        assert_eq!(
            TransportId::parse(&bytes),
            Ok((TransportId::Port(port), bytes.len()))
        );
    }

    #[test]
    fn what_is_not_one_of_iscsi_is_refused() {
        let device = TransportId::Device("iqn.x".into()).encode();
        assert_eq!(device.len(), 24);
        let mut fibre = device.clone();
        fibre[0] = 0;
        assert_eq!(TransportId::parse(&fibre), Err(TransportIdError::Format(0)));
        assert_eq!(
            TransportId::parse(&device[..23]),
            Err(TransportIdError::Length)
        );
        let mut odd = device.clone();
        odd[3] = 21;
        assert_eq!(TransportId::parse(&odd), Err(TransportIdError::Length));
        let mut nameless = device;
        nameless[4] = 0;
        assert_eq!(TransportId::parse(&nameless), Err(TransportIdError::Name));
    }

    #[test]
    fn names_do_not_differ_by_case() {
        let upper = InitiatorPort::new("IQN.2026-11.Example:N1", [0; 6]);
        assert_eq!(upper, InitiatorPort::new("iqn.2026-11.example:n1", [0; 6]));
        for bad in ["", "a b", "a,b", &"x".repeat(224)] {
            assert_eq!(InitiatorPort::new(bad, [0; 6]), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok((id, length)) = TransportId::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(TransportId::parse(&id.encode()).map(|(id, _)| id), Ok(id));
            }
        }

        #[test]
        fn ports_round_trip(name in "[a-z0-9.:-]{1,223}", isid: [u8; 6]) {
            let id = TransportId::Port(InitiatorPort::new(&name, isid).unwrap());
            let bytes = id.encode();
            prop_assert_eq!(bytes.len() % 4, 0);
            prop_assert_eq!(TransportId::parse(&bytes), Ok((id, bytes.len())));
        }
    }
}
