//! PERSISTENT RESERVE IN and OUT: commands, parameter lists and parameter data, in both directions.

use crate::AdditionalSense;
use crate::bytes::{field, length_u32};
use crate::opcode::Opcode;
use crate::pr::{
    Key, Refusal, RelativePort, ReservationType, TransportId, TransportIdError, Truncated,
};

/// What a PERSISTENT RESERVE IN asks for (SPC-4, "PERSISTENT RESERVE IN service actions").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InAction {
    /// The keys of all registrations.
    ReadKeys,
    /// The reservation.
    ReadReservation,
    /// What the device can do.
    ReportCapabilities,
    /// Every registration with its nexus.
    ReadFullStatus,
}

impl InAction {
    const ALL: [Self; 4] = [
        Self::ReadKeys,
        Self::ReadReservation,
        Self::ReportCapabilities,
        Self::ReadFullStatus,
    ];

    /// The SERVICE ACTION field.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::ReadKeys => 0x00,
            Self::ReadReservation => 0x01,
            Self::ReportCapabilities => 0x02,
            Self::ReadFullStatus => 0x03,
        }
    }

    /// The command, asking for at most `allocation` bytes.
    #[must_use]
    pub fn cdb(self, allocation: u16) -> [u8; 10] {
        let [high, low] = allocation.to_be_bytes();
        let opcode = Opcode::PERSISTENT_RESERVE_IN.0;
        [opcode, self.code(), 0, 0, 0, 0, 0, high, low, 0]
    }

    /// From a command; with the allocation length.
    ///
    /// # Errors
    /// INVALID FIELD IN CDB for a reserved service action, or a command that is too short.
    pub fn parse(cdb: &[u8]) -> Result<(Self, u16), Refusal> {
        let invalid = Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
        let code = cdb.get(1).ok_or(invalid)? & 0x1F;
        let action = Self::ALL
            .into_iter()
            .find(|action| action.code() == code)
            .ok_or(invalid)?;
        let allocation = field(cdb, 7).map_err(|_| invalid)?;
        Ok((action, u16::from_be_bytes(allocation)))
    }
}

/// What a PERSISTENT RESERVE OUT does (SPC-4, "PERSISTENT RESERVE OUT service actions").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutAction {
    /// Registers, changes or withdraws a key; the old one must be given.
    Register,
    /// Makes the reservation.
    Reserve,
    /// Gives the reservation up.
    Release,
    /// Removes the reservation and all registrations.
    Clear,
    /// Takes another's registrations, and the reservation if it was theirs.
    Preempt,
    /// The same, and aborts the commands of those who lost their registrations.
    PreemptAndAbort,
    /// Registers, changes or withdraws a key, whatever the old one was.
    RegisterAndIgnoreExistingKey,
    /// Registers another nexus and moves the reservation to it.
    RegisterAndMove,
    /// Replaces a reservation that the device has lost. Never lost here, hence refused.
    ReplaceLostReservation,
}

impl OutAction {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::Reserve,
        Self::Release,
        Self::Clear,
        Self::Preempt,
        Self::PreemptAndAbort,
        Self::RegisterAndIgnoreExistingKey,
        Self::RegisterAndMove,
        Self::ReplaceLostReservation,
    ];

    /// The SERVICE ACTION field.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Register => 0x00,
            Self::Reserve => 0x01,
            Self::Release => 0x02,
            Self::Clear => 0x03,
            Self::Preempt => 0x04,
            Self::PreemptAndAbort => 0x05,
            Self::RegisterAndIgnoreExistingKey => 0x06,
            Self::RegisterAndMove => 0x07,
            Self::ReplaceLostReservation => 0x08,
        }
    }

    /// Whether the command's scope and type count.
    #[must_use]
    pub const fn uses_type(self) -> bool {
        matches!(
            self,
            Self::Reserve | Self::Release | Self::Preempt | Self::PreemptAndAbort
        )
    }
}

/// A PERSISTENT RESERVE OUT as it was received: the command, and its parameter list not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutRequest {
    /// What to do.
    pub action: OutAction,
    /// The type; `None` where it does not count.
    pub kind: Option<ReservationType>,
    /// PARAMETER LIST LENGTH in bytes.
    pub length: u32,
}

/// Length of the parameter list without TransportIDs.
const LIST_LEN: usize = 24;

/// The longest parameter list that is accepted: about a hundred TransportIDs.
const MAX_LIST: u32 = 24 * 1024;

impl OutRequest {
    /// The command.
    #[must_use]
    pub fn cdb(&self) -> [u8; 10] {
        let [a, b, c, d] = self.length.to_be_bytes();
        let kind = self.kind.map_or(0, ReservationType::code);
        let opcode = Opcode::PERSISTENT_RESERVE_OUT.0;
        [opcode, self.action.code(), kind, 0, 0, a, b, c, d, 0]
    }

    /// From a command.
    ///
    /// # Errors
    /// INVALID FIELD IN CDB for a reserved service action, scope or type; PARAMETER LIST LENGTH ERROR for a list
    /// that is too short or absurdly long.
    pub fn parse(cdb: &[u8]) -> Result<Self, Refusal> {
        let invalid = Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
        let [_, action, scope_type, ..] = cdb else {
            return Err(invalid);
        };
        let action = OutAction::ALL
            .into_iter()
            .find(|known| known.code() == action & 0x1F)
            .ok_or(invalid)?;
        let kind = if action.uses_type() {
            // Scope 0, the logical unit, is the only one in use.
            let kind = ReservationType::from_code(scope_type & 0x0F);
            Some(kind.filter(|_| scope_type >> 4 == 0).ok_or(invalid)?)
        } else {
            None
        };
        let length = u32::from_be_bytes(field(cdb, 5).map_err(|_| invalid)?);
        let least = u32::try_from(LIST_LEN).unwrap_or(u32::MAX);
        if !(least..=MAX_LIST).contains(&length) {
            return Err(Refusal::illegal(
                AdditionalSense::PARAMETER_LIST_LENGTH_ERROR,
            ));
        }
        Ok(Self {
            action,
            kind,
            length,
        })
    }
}

/// The parameter list of every service action but REGISTER AND MOVE, and that of REGISTER AND MOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutParameters {
    /// RESERVATION KEY: the issuer's; `None` for zero.
    pub key: Option<Key>,
    /// SERVICE ACTION RESERVATION KEY: what it means depends on the action; `None` for zero.
    pub action_key: Option<Key>,
    /// APTPL: registrations and reservation outlast a loss of power.
    pub aptpl: bool,
    /// ALL_TG_PT: register with every port of the target.
    pub all_target_ports: bool,
    /// SPEC_I_PT: register these as well. Empty unless the bit is set.
    pub initiators: Option<Vec<TransportId>>,
    /// REGISTER AND MOVE: whom to move the reservation to, at which port, and whether the issuer is unregistered.
    pub move_to: Option<(TransportId, RelativePort, bool)>,
}

/// Why a parameter list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutError {
    /// PARAMETER LIST LENGTH ERROR.
    #[error("the parameter list has a wrong length")]
    Length,
    /// INVALID FIELD IN PARAMETER LIST.
    #[error("the parameter list names no iSCSI initiator: {0}")]
    Initiator(#[from] TransportIdError),
}

impl From<Truncated> for OutError {
    fn from(_: Truncated) -> Self {
        Self::Length
    }
}

impl From<OutError> for Refusal {
    fn from(error: OutError) -> Self {
        Self::illegal(match error {
            OutError::Length => AdditionalSense::PARAMETER_LIST_LENGTH_ERROR,
            OutError::Initiator(_) => AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST,
        })
    }
}

/// Bits of byte 20.
const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;
/// Bits of byte 17 of REGISTER AND MOVE.
const UNREG: u8 = 0x02;

impl OutParameters {
    /// Only keys: the list of most commands.
    #[must_use]
    pub const fn keys(key: Option<Key>, action_key: Option<Key>) -> Self {
        Self {
            key,
            action_key,
            aptpl: false,
            all_target_ports: false,
            initiators: None,
            move_to: None,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; LIST_LEN];
        bytes[..8].copy_from_slice(&self.key.map_or(0, Key::get).to_be_bytes());
        bytes[8..16].copy_from_slice(&self.action_key.map_or(0, Key::get).to_be_bytes());
        if let Some((to, port, unregister)) = &self.move_to {
            let id = to.encode();
            bytes[17] = (u8::from(*unregister) * UNREG) | (u8::from(self.aptpl) * APTPL);
            bytes[18..20].copy_from_slice(&port.0.to_be_bytes());
            bytes[20..24].copy_from_slice(&length_u32(id.len()));
            bytes.extend(id);
            return bytes;
        }
        bytes[20] = (u8::from(self.initiators.is_some()) * SPEC_I_PT)
            | (u8::from(self.all_target_ports) * ALL_TG_PT)
            | (u8::from(self.aptpl) * APTPL);
        if let Some(initiators) = &self.initiators {
            let ids: Vec<u8> = initiators.iter().flat_map(TransportId::encode).collect();
            bytes.extend(length_u32(ids.len()));
            bytes.extend(ids);
        }
        bytes
    }

    /// Reads the list of `action`. Reserved and obsolete fields are ignored.
    ///
    /// # Errors
    /// If its length is wrong or it names what is no initiator.
    pub fn parse(action: OutAction, bytes: &[u8]) -> Result<Self, OutError> {
        let key = |at| Ok::<_, Truncated>(Key::new(u64::from_be_bytes(field(bytes, at)?)));
        let mut parameters = Self::keys(key(0)?, key(8)?);
        let [flags] = field(bytes, 20)?;
        if action == OutAction::RegisterAndMove {
            let [flags] = field(bytes, 17)?;
            let port = RelativePort(u16::from_be_bytes(field(bytes, 18)?));
            let ids = sized(bytes, 20)?;
            let (to, used) = TransportId::parse(ids)?;
            if used != ids.len() {
                return Err(OutError::Length);
            }
            parameters.aptpl = flags & APTPL != 0;
            parameters.move_to = Some((to, port, flags & UNREG != 0));
            return Ok(parameters);
        }
        parameters.aptpl = flags & APTPL != 0;
        parameters.all_target_ports = flags & ALL_TG_PT != 0;
        if flags & SPEC_I_PT == 0 {
            return match bytes.len() {
                LIST_LEN => Ok(parameters),
                _ => Err(OutError::Length),
            };
        }
        let mut ids = sized(bytes, LIST_LEN)?;
        let mut initiators = Vec::new();
        while !ids.is_empty() {
            let (id, used) = TransportId::parse(ids)?;
            initiators.push(id);
            ids = &ids[used..];
        }
        parameters.initiators = Some(initiators);
        Ok(parameters)
    }
}

/// The bytes after the four-byte length at `at`. They must be all that follows.
fn sized(bytes: &[u8], at: usize) -> Result<&[u8], Truncated> {
    let length = u32::from_be_bytes(field(bytes, at)?);
    let rest = &bytes[at + 4..];
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if rest.len() == length {
        Ok(rest)
    } else {
        Err(Truncated {
            need: at.saturating_add(4).saturating_add(length),
            have: bytes.len(),
        })
    }
}

/// READ KEYS data. The header tells the whole length even if the caller cuts the bytes.
#[must_use]
pub fn encode_keys(generation: u32, keys: impl Iterator<Item = Key>) -> Vec<u8> {
    let mut bytes = generation.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    for key in keys {
        bytes.extend(key.get().to_be_bytes());
    }
    let length = length_u32(bytes.len() - 8);
    bytes[4..8].copy_from_slice(&length);
    bytes
}

/// Where the keys begin in READ KEYS data.
const KEYS: usize = 8;

/// Reads READ KEYS data: the generation and the keys, in their order, repetitions included. A key of zero, which
/// cannot be registered, is left out.
///
/// # Errors
/// If the data end before what their header promises: the allocation length was too short, and keys are missing. Also if
/// what it promises ends within a key: that one, cut or not, may be the key that is looked for.
pub fn parse_keys(bytes: &[u8]) -> Result<(u32, Vec<Key>), Truncated> {
    let generation = u32::from_be_bytes(field(bytes, 0)?);
    let body = promised(bytes)?;
    let (whole, rest) = body.as_chunks::<8>();
    if !rest.is_empty() {
        let have = KEYS + body.len();
        let need = have.next_multiple_of(8);
        return Err(Truncated { need, have });
    }
    let keys = whole
        .iter()
        .filter_map(|key| Key::new(u64::from_be_bytes(*key)))
        .collect();
    Ok((generation, keys))
}

/// What follows the eight-byte header, as long as the header says.
pub(crate) fn promised(bytes: &[u8]) -> Result<&[u8], Truncated> {
    let length = u32::from_be_bytes(field(bytes, 4)?);
    let need = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .saturating_add(8);
    bytes.get(8..need).ok_or(Truncated {
        need,
        have: bytes.len(),
    })
}

/// The reservation, as READ RESERVATION tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservationData {
    /// The holder's key; `None` with the all-registrants types.
    pub key: Option<Key>,
    /// The TYPE field as it came: [`ReservationType::from_code`] knows the valid ones.
    pub type_code: u8,
}

impl ReservationData {
    /// The type, if it is a valid one.
    #[must_use]
    pub fn kind(&self) -> Option<ReservationType> {
        ReservationType::from_code(self.type_code)
    }
}

/// READ RESERVATION data.
#[must_use]
pub fn encode_reservation(generation: u32, reservation: Option<ReservationData>) -> Vec<u8> {
    let mut bytes = generation.to_be_bytes().to_vec();
    let Some(reservation) = reservation else {
        bytes.extend([0; 4]);
        return bytes;
    };
    bytes.extend(length_u32(16));
    bytes.extend(reservation.key.map_or(0, Key::get).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, reservation.type_code, 0, 0]);
    bytes
}

/// Reads READ RESERVATION data: the generation, and the reservation if there is one.
///
/// # Errors
/// If the data end too early.
pub fn parse_reservation(bytes: &[u8]) -> Result<(u32, Option<ReservationData>), Truncated> {
    let generation = u32::from_be_bytes(field(bytes, 0)?);
    if promised(bytes)?.is_empty() {
        return Ok((generation, None));
    }
    let key = Key::new(u64::from_be_bytes(field(bytes, 8)?));
    let [scope_type] = field(bytes, 21)?;
    let reservation = ReservationData {
        key,
        type_code: scope_type & 0x0F,
    };
    Ok((generation, Some(reservation)))
}

/// REPORT CAPABILITIES data, as far as they are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// CRH: RESERVE and RELEASE of SPC-2 do not conflict for registrants.
    pub compatible_reservation_handling: bool,
    /// SIP_C: SPEC_I_PT is supported.
    pub specify_initiator_ports: bool,
    /// ATP_C: ALL_TG_PT is supported.
    pub all_target_ports: bool,
    /// PTPL_C: APTPL is supported.
    pub persist_through_power_loss: bool,
    /// PTPL_A: APTPL is in force.
    pub persist_active: bool,
    /// Which types are supported, by the six bits of the type mask; `None` if the device does not say (TMV = 0).
    pub types: Option<TypeMask>,
}

/// The supported types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TypeMask(u16);

impl TypeMask {
    /// Every type.
    pub const ALL: Self = Self(0xEA01);

    /// Whether `kind` is among them.
    #[must_use]
    pub const fn holds(self, kind: ReservationType) -> bool {
        let bit = match kind {
            ReservationType::WriteExclusiveAllRegistrants => 0x8000,
            ReservationType::ExclusiveAccessRegistrantsOnly => 0x4000,
            ReservationType::WriteExclusiveRegistrantsOnly => 0x2000,
            ReservationType::ExclusiveAccess => 0x0800,
            ReservationType::WriteExclusive => 0x0200,
            ReservationType::ExclusiveAccessAllRegistrants => 0x0001,
        };
        self.0 & bit != 0
    }
}

impl Capabilities {
    /// The eight bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 8] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let [types_high, types_low] = self.types.unwrap_or_default().0.to_be_bytes();
        let first = bit(self.compatible_reservation_handling, 0x10)
            | bit(self.specify_initiator_ports, 0x08)
            | bit(self.all_target_ports, 0x04)
            | bit(self.persist_through_power_loss, 0x01);
        let second = bit(self.types.is_some(), 0x80) | bit(self.persist_active, 0x01);
        [0, 8, first, second, types_high, types_low, 0, 0]
    }

    /// Reads the data.
    ///
    /// # Errors
    /// If the data end too early.
    pub fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let [_, _, first, second, types_high, types_low] = field(bytes, 0)?;
        let types = TypeMask(u16::from_be_bytes([types_high, types_low]));
        Ok(Self {
            compatible_reservation_handling: first & 0x10 != 0,
            specify_initiator_ports: first & 0x08 != 0,
            all_target_ports: first & 0x04 != 0,
            persist_through_power_loss: first & 0x01 != 0,
            persist_active: second & 0x01 != 0,
            types: (second & 0x80 != 0).then_some(types),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pr::InitiatorPort;

    fn key(value: u64) -> Option<Key> {
        Key::new(value)
    }

    #[test]
    fn commands_have_their_fields_where_the_standard_has_them() {
        assert_eq!(
            InAction::ReadFullStatus.cdb(0x1234),
            [0x5E, 3, 0, 0, 0, 0, 0, 0x12, 0x34, 0]
        );
        let preempt = OutRequest {
            action: OutAction::PreemptAndAbort,
            kind: Some(ReservationType::WriteExclusiveRegistrantsOnly),
            length: 24,
        };
        assert_eq!(preempt.cdb(), [0x5F, 5, 5, 0, 0, 0, 0, 0, 24, 0]);
        assert_eq!(OutRequest::parse(&preempt.cdb()), Ok(preempt));
    }

    #[test]
    fn reserved_actions_scopes_and_types_are_refused() {
        let invalid = Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
        for action in 4..0x20 {
            assert_eq!(
                InAction::parse(&[0x5E, action, 0, 0, 0, 0, 0, 0, 8, 0]),
                Err(invalid)
            );
        }
        for action in 9..0x20 {
            let cdb = [0x5F, action, 5, 0, 0, 0, 0, 0, 24, 0];
            assert_eq!(OutRequest::parse(&cdb), Err(invalid));
        }
        for scope_type in [0, 2, 4, 9, 0x15] {
            let cdb = [0x5F, 1, scope_type, 0, 0, 0, 0, 0, 24, 0];
            assert_eq!(OutRequest::parse(&cdb), Err(invalid), "{scope_type:#x}");
            // REGISTER ignores scope and type.
            assert!(OutRequest::parse(&[0x5F, 0, scope_type, 0, 0, 0, 0, 0, 24, 0]).is_ok());
        }
        let length = Refusal::illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
        assert_eq!(
            OutRequest::parse(&[0x5F, 0, 0, 0, 0, 0, 0, 0, 23, 0]),
            Err(length)
        );
        assert_eq!(
            OutRequest::parse(&[0x5F, 0, 0, 0, 0, 0xFF, 0, 0, 0, 0]),
            Err(length)
        );
    }

    #[test]
    fn a_parameter_list_of_another_length_is_refused() {
        let bytes = OutParameters::keys(key(1), key(2)).encode();
        let parse = |bytes: &[u8]| OutParameters::parse(OutAction::Register, bytes);
        assert!(parse(&bytes).is_ok());
        assert_eq!(parse(&bytes[..23]), Err(OutError::Length));
        assert_eq!(
            parse(&[bytes.as_slice(), &[0]].concat()),
            Err(OutError::Length)
        );
    }

    #[test]
    fn capabilities_as_a_known_target_answers_them() {
        // tgt 1.0.85, asked on a running target: no APTPL, all six types.
        let tgt = Capabilities::parse(&[0, 8, 0, 0x80, 0xEA, 0x01, 0, 0]).unwrap();
        assert!(!tgt.persist_through_power_loss);
        let mask = tgt.types.unwrap();
        assert_eq!(mask, TypeMask::ALL);
        assert!(
            ReservationType::ALL
                .into_iter()
                .all(|kind| mask.holds(kind))
        );
        assert_eq!(tgt.encode(), [0, 8, 0, 0x80, 0xEA, 0x01, 0, 0]);
    }

    #[test]
    fn keys_that_do_not_fit_are_an_error_and_not_a_shorter_list() {
        let bytes = encode_keys(7, [1, 2, 3].into_iter().filter_map(Key::new));
        assert_eq!(bytes.len(), 32);
        assert_eq!(parse_keys(&bytes).unwrap().1.len(), 3);
        assert_eq!(
            parse_keys(&bytes[..24]),
            Err(Truncated { need: 32, have: 24 })
        );
    }

    /// ADDITIONAL LENGTH counts whole keys. Whoever sends another number may have left out the victim's.
    #[test]
    fn a_length_that_ends_within_a_key_is_an_error_and_not_a_shorter_list() {
        let whole = encode_keys(7, [1, 2].into_iter().filter_map(Key::new));
        for length in (1..16_u8).filter(|length| length % 8 != 0) {
            let mut bytes = whole.clone();
            bytes[7] = length;
            let cut = 8 + usize::from(length);
            let wrong = Err(Truncated {
                need: cut.next_multiple_of(8),
                have: cut,
            });
            assert_eq!(parse_keys(&bytes[..cut]), wrong, "{length}");
            // Bytes that nobody promised do not make it whole.
            assert_eq!(parse_keys(&bytes), wrong, "{length}");
        }
    }

    fn port() -> impl Strategy<Value = TransportId> {
        ("[a-z0-9.:-]{1,223}", any::<[u8; 6]>(), any::<bool>()).prop_map(|(name, isid, whole)| {
            if whole {
                TransportId::Device(name)
            } else {
                TransportId::Port(InitiatorPort::new(&name, isid).unwrap())
            }
        })
    }

    proptest! {
        #[test]
        fn parameter_lists_round_trip(
            keys: (u64, u64), aptpl: bool, all: bool,
            initiators in proptest::option::of(proptest::collection::vec(port(), 0..5)),
            moved in proptest::option::of((port(), any::<u16>(), any::<bool>())),
        ) {
            let moved = moved.map(|(to, at, unregister)| (to, RelativePort(at), unregister));
            let action = if moved.is_some() { OutAction::RegisterAndMove } else { OutAction::Register };
            let parameters = OutParameters {
                aptpl,
                all_target_ports: all && moved.is_none(),
                initiators: initiators.filter(|_| moved.is_none()),
                move_to: moved,
                ..OutParameters::keys(key(keys.0), key(keys.1))
            };
            prop_assert_eq!(OutParameters::parse(action, &parameters.encode()), Ok(parameters));
        }

        #[test]
        fn reservations_round_trip(generation: u32, holder: u64, code in 0_u8..16, none: bool) {
            let data = (!none).then_some(ReservationData { key: key(holder), type_code: code });
            prop_assert_eq!(parse_reservation(&encode_reservation(generation, data)), Ok((generation, data)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, action in 0_usize..9) {
            let _ = OutRequest::parse(&bytes);
            let _ = InAction::parse(&bytes);
            let _ = OutParameters::parse(OutAction::ALL[action], &bytes);
            let _ = parse_keys(&bytes);
            let _ = parse_reservation(&bytes);
            let _ = Capabilities::parse(&bytes);
        }
    }
}
