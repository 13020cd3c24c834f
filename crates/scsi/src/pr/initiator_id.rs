//! TransportIDs of every transport (SPC-4, "TransportID identifiers"): who is registered, as READ FULL STATUS names it. A
//! target of ours has only initiators of iSCSI; a disk that is reached otherwise names others.

use std::fmt;

use crate::pr::{TransportId, TransportIdError};

/// An initiator port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InitiatorId {
    /// iSCSI, and iSER.
    Iscsi(TransportId),
    /// Fibre Channel: N_PORT NAME, the world-wide name of the port.
    FibreChannel([u8; 8]),
    /// Parallel SCSI: SCSI ADDRESS, and the relative port identifier of the target's port.
    Parallel {
        /// SCSI ADDRESS
        address: u16,
        /// RELATIVE PORT IDENTIFIER
        port: u16,
    },
    /// IEEE 1394: EUI-64 NAME.
    Ieee1394([u8; 8]),
    /// RDMA (SRP): INITIATOR PORT IDENTIFIER.
    Rdma([u8; 16]),
    /// SAS: SAS ADDRESS.
    Sas([u8; 8]),
    /// SCSI over PCIe: ROUTING ID.
    Pcie(u16),
}

/// Length of a TransportID of any transport but iSCSI.
const LENGTH: usize = 24;

/// PROTOCOL IDENTIFIER (SPC-4, "Protocol specific parameters").
mod protocol {
    pub(super) const FIBRE_CHANNEL: u8 = 0x0;
    pub(super) const PARALLEL: u8 = 0x1;
    pub(super) const IEEE_1394: u8 = 0x3;
    pub(super) const RDMA: u8 = 0x4;
    pub(super) const ISCSI: u8 = 0x5;
    pub(super) const SAS: u8 = 0x6;
    pub(super) const PCIE: u8 = 0xA;
}

impl InitiatorId {
    /// Reads one from the beginning of `bytes`; also says how many bytes it has.
    ///
    /// # Errors
    /// If it is of a transport or format that is not known, or none at all.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), TransportIdError> {
        let first = *bytes.first().ok_or(TransportIdError::Length)?;
        if first & 0x0F == protocol::ISCSI {
            return TransportId::parse(bytes).map(|(id, length)| (Self::Iscsi(id), length));
        }
        if first >> 6 != 0 {
            return Err(TransportIdError::Format(first));
        }
        let bytes: &[u8; LENGTH] = bytes.first_chunk().ok_or(TransportIdError::Length)?;
        let id = match first & 0x0F {
            protocol::FIBRE_CHANNEL => Self::FibreChannel(part(bytes, 8)),
            protocol::PARALLEL => Self::Parallel {
                address: u16::from_be_bytes(part(bytes, 2)),
                port: u16::from_be_bytes(part(bytes, 6)),
            },
            protocol::IEEE_1394 => Self::Ieee1394(part(bytes, 8)),
            protocol::RDMA => Self::Rdma(part(bytes, 8)),
            protocol::SAS => Self::Sas(part(bytes, 4)),
            protocol::PCIE => Self::Pcie(u16::from_be_bytes(part(bytes, 2))),
            _ => return Err(TransportIdError::Format(first)),
        };
        Ok((id, LENGTH))
    }

    /// Its bytes: a multiple of four, at least 24.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [0; LENGTH];
        let mut put = |protocol, at: usize, field: &[u8]| {
            bytes[0] = protocol;
            bytes[at..at + field.len()].copy_from_slice(field);
        };
        match self {
            Self::Iscsi(id) => return id.encode(),
            Self::FibreChannel(name) => put(protocol::FIBRE_CHANNEL, 8, name),
            Self::Parallel { address, port } => {
                put(protocol::PARALLEL, 2, &address.to_be_bytes());
                put(protocol::PARALLEL, 6, &port.to_be_bytes());
            }
            Self::Ieee1394(name) => put(protocol::IEEE_1394, 8, name),
            Self::Rdma(port) => put(protocol::RDMA, 8, port),
            Self::Sas(address) => put(protocol::SAS, 4, address),
            Self::Pcie(routing) => put(protocol::PCIE, 2, &routing.to_be_bytes()),
        }
        bytes.to_vec()
    }

    /// The one of iSCSI.
    #[must_use]
    pub const fn iscsi(&self) -> Option<&TransportId> {
        match self {
            Self::Iscsi(id) => Some(id),
            _ => None,
        }
    }
}

fn part<const N: usize>(bytes: &[u8; LENGTH], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

impl fmt::Display for InitiatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, what: &str, bytes: &[u8]| {
            write!(f, "{what} 0x")?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            Self::Iscsi(TransportId::Port(port)) => port.fmt(f),
            Self::Iscsi(TransportId::Device(name)) => f.write_str(name),
            Self::FibreChannel(name) => hex(f, "Fibre Channel port", name),
            Self::Parallel { address, port } => {
                write!(f, "parallel SCSI address {address} at port {port}")
            }
            Self::Ieee1394(name) => hex(f, "IEEE 1394 node", name),
            Self::Rdma(port) => hex(f, "RDMA port", port),
            Self::Sas(address) => hex(f, "SAS port", address),
            Self::Pcie(routing) => write!(f, "PCIe function {routing:#06x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pr::InitiatorPort;

    /// As `sg_persist` of sg3-utils shows them in its decoding, and LIO's fabric modules build them.
    #[test]
    fn each_transport_has_its_field_where_the_standard_puts_it() {
        let mut bytes = [0; LENGTH];
        let mut with = |protocol, at: usize, field: &[u8]| {
            bytes = [0; LENGTH];
            bytes[0] = protocol;
            bytes[at..at + field.len()].copy_from_slice(field);
            InitiatorId::parse(&bytes).unwrap().0
        };
        let name = [0x21, 0, 0, 0x24, 0xFF, 0x30, 0xAB, 0xCD];
        assert_eq!(with(0x0, 8, &name), InitiatorId::FibreChannel(name));
        assert_eq!(with(0x3, 8, &name), InitiatorId::Ieee1394(name));
        assert_eq!(with(0x6, 4, &name), InitiatorId::Sas(name));
        let wide = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(with(0x4, 8, &wide), InitiatorId::Rdma(wide));
        let parallel = InitiatorId::Parallel {
            address: 7,
            port: 1,
        };
        assert_eq!(with(0x1, 2, &[0, 7, 0, 0, 0, 1]), parallel);
        assert_eq!(with(0xA, 2, &[3, 0]), InitiatorId::Pcie(0x300));
        assert_eq!(
            InitiatorId::FibreChannel(name).to_string(),
            "Fibre Channel port 0x21000024ff30abcd"
        );
    }

    #[test]
    fn what_is_unknown_or_cut_is_refused() {
        let fibre = InitiatorId::FibreChannel([1; 8]).encode();
        assert_eq!(
            InitiatorId::parse(&fibre[..23]),
            Err(TransportIdError::Length)
        );
        assert_eq!(InitiatorId::parse(&[]), Err(TransportIdError::Length));
        for first in [0x02, 0x07, 0x0F, 0x40, 0x46] {
            let mut other = fibre.clone();
            other[0] = first;
            let wrong = TransportIdError::Format(first);
            assert_eq!(InitiatorId::parse(&other), Err(wrong), "{first:#x}");
        }
    }

    fn any_id() -> impl Strategy<Value = InitiatorId> {
        prop_oneof![
            any::<[u8; 8]>().prop_map(InitiatorId::FibreChannel),
            any::<[u8; 8]>().prop_map(InitiatorId::Ieee1394),
            any::<[u8; 8]>().prop_map(InitiatorId::Sas),
            any::<[u8; 16]>().prop_map(InitiatorId::Rdma),
            any::<u16>().prop_map(InitiatorId::Pcie),
            any::<(u16, u16)>().prop_map(|(address, port)| InitiatorId::Parallel { address, port }),
            ("[a-z0-9.:-]{1,223}", any::<[u8; 6]>()).prop_map(|(name, isid)| {
                let port = InitiatorPort::new(&name, isid).unwrap();
                InitiatorId::Iscsi(TransportId::Port(port))
            }),
        ]
    }

    proptest! {
        #[test]
        fn they_round_trip(id in any_id(), more: Vec<u8>) {
            let mut bytes = id.encode();
            let length = bytes.len();
            bytes.extend(more);
            prop_assert_eq!(InitiatorId::parse(&bytes), Ok((id, length)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok((id, length)) = InitiatorId::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert!(!id.to_string().is_empty());
            }
        }
    }
}
