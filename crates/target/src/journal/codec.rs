//! The bytes of a journal. All numbers are big-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0–7 | `PICKETPR` |
//! | 8–9 | version: 1 |
//! | 10–13 | length of everything, with the checksum |
//! | 14 | bit 0: APTPL |
//! | 15 | type of the reservation, 0 without one (SPC-4, "Persistent reservations type") |
//! | 16–19 | which registration holds it, counted from 0; all ones without one, and if every one does |
//! | 20–21 | length of the logical unit's identity, which follows |
//! | then 4 | how many registrations follow |
//! | each 8 | key |
//! | 2 | relative target port |
//! | 1 | bit 0: ALL_TG_PT |
//! | 6 | initiator session id |
//! | 1 | length of the initiator's name, which follows |
//! | last 4 | CRC-32C of all before it |
//!
//! Every version ends with such a checksum, so that a newer file can be told from a damaged one.

use scsi::pr::{
    Held, Holder, InitiatorPort, Key, Nexus, Registration, RelativePort, ReservationType,
    Reservations,
};

use super::{Damage, Identity};

const MAGIC: &[u8; 8] = b"PICKETPR";
const VERSION: u16 = 1;
const APTPL: u8 = 0x01;
const ALL_TG_PT: u8 = 0x01;
const NOBODY: u32 = u32::MAX;
const CHECKSUM: usize = 4;
/// Where the length of everything stands.
const LENGTH_AT: usize = 10;

/// The longest file that is read: some four thousand registrations.
pub(super) const MOST: usize = 1 << 20;

/// The bytes of a state; without APTPL nothing of it is kept.
pub(super) fn encode(identity: &Identity, state: &Reservations) -> Vec<u8> {
    let kept = if state.aptpl() {
        state.registrations()
    } else {
        &[]
    };
    let held = state.held().filter(|_| state.aptpl());
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.push(u8::from(state.aptpl()) * APTPL);
    bytes.push(held.map_or(0, |held| held.kind.code()));
    bytes.extend(holder(kept, held).to_be_bytes());
    let name = identity.as_str();
    bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(name.bytes());
    bytes.extend(u32::try_from(kept.len()).unwrap_or(u32::MAX).to_be_bytes());
    for registration in kept {
        encode_registration(&mut bytes, registration);
    }
    let length = u32::try_from(bytes.len() + CHECKSUM).unwrap_or(u32::MAX);
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

fn holder(kept: &[Registration], held: Option<&Held>) -> u32 {
    let Some(Holder::One(nexus)) = held.map(|held| &held.holder) else {
        return NOBODY;
    };
    let at = kept.iter().position(|one| one.nexus == *nexus);
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(NOBODY)
}

fn encode_registration(bytes: &mut Vec<u8>, registration: &Registration) {
    let initiator = &registration.nexus.initiator;
    bytes.extend(registration.key.get().to_be_bytes());
    bytes.extend(registration.nexus.port.0.to_be_bytes());
    bytes.push(u8::from(registration.all_target_ports) * ALL_TG_PT);
    bytes.extend(initiator.isid());
    // An iSCSI name has at most 223 bytes.
    bytes.push(u8::try_from(initiator.name().len()).unwrap_or(u8::MAX));
    bytes.extend(initiator.name().bytes());
}

/// The state that `bytes` tell of.
pub(super) fn decode(identity: &Identity, bytes: &[u8]) -> Result<Reservations, Damage> {
    let body = checked(bytes)?;
    let mut reader = Reader(body);
    reader.take(MAGIC.len())?;
    let version = u16::from_be_bytes(reader.array()?);
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let length = u32::from_be_bytes(reader.array()?);
    if usize::try_from(length).ok() != Some(bytes.len()) {
        return Err(Damage::Torn);
    }
    let [flags, kind] = reader.array()?;
    let holder = u32::from_be_bytes(reader.array()?);
    let name = u16::from_be_bytes(reader.array()?);
    let name = reader.take(usize::from(name))?;
    if name != identity.as_str().as_bytes() {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(Damage::Foreign(name));
    }
    let registrations = registrations(&mut reader)?;
    if !reader.0.is_empty() || flags & !APTPL != 0 {
        return Err(Damage::Malformed);
    }
    let held = held(kind, holder, &registrations)?;
    if flags & APTPL != 0 {
        return Ok(Reservations::restore(registrations, held)?);
    }
    if registrations.is_empty() && held.is_none() {
        Ok(Reservations::default())
    } else {
        Err(Damage::Malformed)
    }
}

/// Everything before the checksum, if that is right.
fn checked(bytes: &[u8]) -> Result<&[u8], Damage> {
    let (body, checksum) = bytes.split_last_chunk().ok_or(Damage::Torn)?;
    let right = body.starts_with(MAGIC) && crc32c::crc32c(body) == u32::from_be_bytes(*checksum);
    right.then_some(body).ok_or(Damage::Torn)
}

fn registrations(reader: &mut Reader<'_>) -> Result<Vec<Registration>, Damage> {
    let count = u32::from_be_bytes(reader.array()?);
    let mut registrations = Vec::new();
    for _ in 0..count {
        let key = u64::from_be_bytes(reader.array()?);
        let port = u16::from_be_bytes(reader.array()?);
        let [flags] = reader.array()?;
        let isid = reader.array()?;
        let [length] = reader.array()?;
        let name = reader.take(usize::from(length))?;
        let name = std::str::from_utf8(name).map_err(|_| Damage::Malformed)?;
        let initiator = InitiatorPort::new(name, isid).ok_or(Damage::Malformed)?;
        registrations.push(Registration {
            nexus: Nexus {
                initiator,
                port: RelativePort(port),
            },
            key: Key::new(key).ok_or(Damage::Malformed)?,
            all_target_ports: flags & ALL_TG_PT != 0,
        });
    }
    Ok(registrations)
}

fn held(kind: u8, holder: u32, among: &[Registration]) -> Result<Option<Held>, Damage> {
    if kind == 0 {
        return if holder == NOBODY {
            Ok(None)
        } else {
            Err(Damage::Malformed)
        };
    }
    let kind = ReservationType::from_code(kind).ok_or(Damage::Malformed)?;
    let holder = if holder == NOBODY {
        Holder::Everyone
    } else {
        let at = usize::try_from(holder).map_err(|_| Damage::Malformed)?;
        let registration = among.get(at).ok_or(Damage::Malformed)?;
        Holder::One(registration.nexus.clone())
    };
    Ok(Some(Held { kind, holder }))
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damage::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Damage::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::memory::tests::state;

    fn identity() -> Identity {
        Identity::new("naa.3000000000000001").unwrap()
    }

    /// A file as it was laid out by hand from the table above.
    #[test]
    fn the_bytes_are_those_of_the_table() {
        let initiator = InitiatorPort::new("iqn.a:b", [1, 2, 3, 4, 5, 6]).unwrap();
        let nexus = Nexus {
            initiator,
            port: RelativePort(2),
        };
        let registration = Registration {
            nexus: nexus.clone(),
            key: Key::new(0x6e31_0001).unwrap(),
            all_target_ports: true,
        };
        let held = Held {
            kind: ReservationType::WriteExclusiveRegistrantsOnly,
            holder: Holder::One(nexus),
        };
        let state = Reservations::restore(vec![registration], Some(held)).unwrap();
        let identity = Identity::new("lu").unwrap();
        let mut by_hand =
            b"PICKETPR\x00\x01\x00\x00\x00\x39\x01\x05\x00\x00\x00\x00\x00\x02lu".to_vec();
        by_hand.extend(b"\x00\x00\x00\x01\x00\x00\x00\x00\x6e\x31\x00\x01\x00\x02\x01\x01\x02\x03\x04\x05\x06\x07iqn.a:b");
        let bytes = encode(&identity, &state);
        assert_eq!(bytes[..bytes.len() - 4], by_hand[..]);
        assert_eq!(decode(&identity, &bytes), Ok(state));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let whole = encode(&identity(), &state(7));
        assert!(decode(&identity(), &whole).is_ok());
        for length in 0..whole.len() {
            let cut = decode(&identity(), &whole[..length]);
            assert_eq!(cut, Err(Damage::Torn), "cut to {length} bytes");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                decode(&identity(), &flipped),
                Err(Damage::Torn),
                "bit {bit}"
            );
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(decode(&identity(), &longer), Err(Damage::Torn));
    }

    /// A new file written over an old one in place, as far as any byte.
    #[test]
    fn every_mixture_of_two_files_is_noticed() {
        let (old, new) = (state(3), state(4));
        let (old, new) = (encode(&identity(), &old), encode(&identity(), &new));
        for at in 1..new.len().min(old.len()) {
            let mixed = [&new[..at], &old[at..]].concat();
            if mixed != old && mixed != new {
                assert_eq!(decode(&identity(), &mixed), Err(Damage::Torn), "at {at}");
            }
        }
    }

    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - CHECKSUM);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn other_versions_are_called_by_their_number() {
        for version in [0_u16, 2, 0xFFFF] {
            let mut bytes = encode(&identity(), &state(1));
            bytes[8..10].copy_from_slice(&version.to_be_bytes());
            let found = decode(&identity(), &resealed(bytes));
            assert_eq!(found, Err(Damage::Version(version)));
        }
    }

    #[test]
    fn another_units_file_is_not_taken_for_ones_own() {
        let other = Identity::new("naa.3000000000000002").unwrap();
        let bytes = encode(&other, &state(1));
        let foreign = Damage::Foreign(other.as_str().to_owned());
        assert_eq!(decode(&identity(), &bytes), Err(foreign));
    }

    #[test]
    fn states_that_cannot_be_are_refused_though_their_checksum_is_right() {
        let twice = {
            let mut bytes = encode(&identity(), &state(2));
            let one = encode(&identity(), &state(1));
            // The first registration again, in place of the second one.
            let start = 20 + 2 + identity().as_str().len() + 4;
            let length = one.len() - CHECKSUM - start;
            let first = bytes[start..start + length].to_vec();
            bytes[start + length..start + 2 * length].copy_from_slice(&first);
            resealed(bytes)
        };
        assert!(matches!(
            decode(&identity(), &twice),
            Err(Damage::Impossible(_))
        ));
        let mut kind = encode(&identity(), &state(2));
        kind[15] = 2;
        assert_eq!(decode(&identity(), &resealed(kind)), Err(Damage::Malformed));
        let mut holder = encode(&identity(), &state(2));
        holder[16..20].copy_from_slice(&2_u32.to_be_bytes());
        assert_eq!(
            decode(&identity(), &resealed(holder)),
            Err(Damage::Malformed)
        );
    }

    #[test]
    fn without_aptpl_nothing_is_kept() {
        let bytes = encode(&identity(), &Reservations::default());
        assert_eq!(decode(&identity(), &bytes), Ok(Reservations::default()));
    }

    proptest! {
        #[test]
        fn states_round_trip(number in 0_u64..400) {
            let state = state(number);
            prop_assert_eq!(decode(&identity(), &encode(&identity(), &state)), Ok(state));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let bytes = [MAGIC.as_slice(), &VERSION.to_be_bytes(), &body].concat();
            prop_assert!(decode(&identity(), &bytes).is_err());
            let sealed = resealed([bytes.as_slice(), &[0; CHECKSUM]].concat());
            let _ = decode(&identity(), &sealed);
        }
    }
}
