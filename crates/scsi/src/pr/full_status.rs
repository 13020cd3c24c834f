//! READ FULL STATUS data (SPC-4, "READ FULL STATUS parameter data").

use crate::bytes::field;
use crate::pr::command::promised;
use crate::pr::{InitiatorId, Key, RelativePort, ReservationType, TransportIdError, Truncated};

/// One registration, as READ FULL STATUS tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullStatus {
    /// Its key.
    pub key: Option<Key>,
    /// ALL_TG_PT: registered with every port of the target.
    pub all_target_ports: bool,
    /// The reservation's type, if this registration holds it.
    pub holds: Option<ReservationType>,
    /// The target port.
    pub port: RelativePort,
    /// The initiator port; or why what the device sent is none that is known.
    pub initiator: Result<InitiatorId, TransportIdError>,
}

/// Length of a descriptor without its TransportID.
const DESCRIPTOR: usize = 24;

/// The data.
#[must_use]
pub fn encode_full_status(generation: u32, registrations: &[FullStatus]) -> Vec<u8> {
    let mut bytes = generation.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    for registration in registrations {
        let id = registration
            .initiator
            .as_ref()
            .map_or_else(|_| Vec::new(), InitiatorId::encode);
        let mut descriptor = [0; DESCRIPTOR];
        descriptor[..8].copy_from_slice(&registration.key.map_or(0, Key::get).to_be_bytes());
        descriptor[12] =
            u8::from(registration.all_target_ports) << 1 | u8::from(registration.holds.is_some());
        descriptor[13] = registration.holds.map_or(0, ReservationType::code);
        descriptor[18..20].copy_from_slice(&registration.port.0.to_be_bytes());
        let length = u32::try_from(id.len()).unwrap_or(u32::MAX);
        descriptor[20..24].copy_from_slice(&length.to_be_bytes());
        bytes.extend(descriptor);
        bytes.extend(id);
    }
    let length = u32::try_from(bytes.len() - 8).unwrap_or(u32::MAX);
    bytes[4..8].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads the data: the generation and the registrations.
///
/// # Errors
/// If the data end before what their header promises.
pub fn parse_full_status(bytes: &[u8]) -> Result<(u32, Vec<FullStatus>), Truncated> {
    let generation = u32::from_be_bytes(field(bytes, 0)?);
    let mut rest = promised(bytes)?;
    let mut registrations = Vec::new();
    while !rest.is_empty() {
        let [flags, scope_type] = field(rest, 12)?;
        let length = u32::from_be_bytes(field(rest, 20)?);
        let end = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .saturating_add(DESCRIPTOR);
        let id = rest.get(DESCRIPTOR..end).ok_or(Truncated {
            need: end,
            have: rest.len(),
        })?;
        registrations.push(FullStatus {
            key: Key::new(u64::from_be_bytes(field(rest, 0)?)),
            all_target_ports: flags & 0x02 != 0,
            holds: ReservationType::from_code(scope_type & 0x0F).filter(|_| flags & 0x01 != 0),
            port: RelativePort(u16::from_be_bytes(field(rest, 18)?)),
            initiator: InitiatorId::parse(id).map(|(id, _)| id),
        });
        rest = &rest[end..];
    }
    Ok((generation, registrations))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pr::TransportId;

    #[test]
    fn registrations_round_trip() {
        let one = FullStatus {
            key: Key::new(0x6e31_0000),
            all_target_ports: true,
            holds: Some(ReservationType::WriteExclusiveRegistrantsOnly),
            port: RelativePort(2),
            initiator: Ok(InitiatorId::Iscsi(TransportId::Device(
                "iqn.2026-11.example:n1".into(),
            ))),
        };
        let other = FullStatus {
            holds: None,
            all_target_ports: false,
            ..one.clone()
        };
        let bytes = encode_full_status(9, &[one.clone(), other.clone()]);
        assert_eq!(parse_full_status(&bytes), Ok((9, vec![one, other])));
        assert!(parse_full_status(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn a_registration_over_any_transport_is_a_registration() {
        let fibre = InitiatorId::FibreChannel([0x21, 0, 0, 0x24, 0xFF, 0x30, 0xAB, 0xCD]);
        let mut bytes = encode_full_status(
            1,
            &[FullStatus {
                key: Key::new(5),
                all_target_ports: false,
                holds: None,
                port: RelativePort(1),
                initiator: Ok(fibre.clone()),
            }],
        );
        let (_, registrations) = parse_full_status(&bytes).unwrap();
        assert_eq!(registrations[0].initiator, Ok(fibre));
        // One that nobody knows yet.
        bytes[32] = 0x0D;
        let (_, registrations) = parse_full_status(&bytes).unwrap();
        assert_eq!(registrations[0].key, Key::new(5));
        assert!(registrations[0].initiator.is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse_full_status(&bytes);
        }
    }
}
