//! What a host told its guest: who it is, and where it runs.
//!
//! Hyper-V's data exchange writes key-value pairs into files of the guest (`hv_kvp_daemon`). The pool named
//! [`FROM_HOST`] belongs to the host; nobody in the guest writes it. A record is 2560 bytes: the key in 512, the value in 2048,
//! both filled up with zeros.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use uuid::Uuid;

/// Where the Linux daemon keeps what the host wrote.
pub const FROM_HOST: &str = "/var/lib/hyperv/.kvp_pool_3";

const KEY: usize = 512;
const VALUE: usize = 2048;
/// Records read at most. A host writes about a dozen.
const RECORDS: usize = 1024;

/// The pairs of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool(Vec<(String, String)>);

/// What the host says of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The guest's GUID on its host: `Msvm_ComputerSystem.Name`. Not the one in DMI, which is another.
    pub guest: Option<Uuid>,
    /// Its name on its host.
    pub name: Option<String>,
    /// The host's name, fully qualified if the host has such a name. It is some seconds old after a migration.
    pub host: Option<String>,
}

impl Pool {
    /// Reads a pool, usually [`FROM_HOST`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let limit = u64::try_from((KEY + VALUE) * RECORDS).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(Self::decode(&bytes))
    }

    /// Reads the bytes of a pool. A record that is not text, or is cut off, is left out: the daemon may be writing it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let records = bytes.chunks_exact(KEY + VALUE).take(RECORDS);
        let pairs = records.filter_map(|record| {
            let (key, value) = record.split_at_checked(KEY)?;
            let key = text(key).filter(|key| !key.is_empty())?;
            Some((key, text(value)?))
        });
        Self(pairs.collect())
    }

    /// The value of a key; the last one counts, as for the daemon. None if it is empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == key);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// What the host says of the guest.
    #[must_use]
    pub fn told(&self) -> Told {
        let host = self
            .get("PhysicalHostNameFullyQualified")
            .or_else(|| self.get("PhysicalHostName"));
        let guest = self
            .get("VirtualMachineId")
            .map(|id| id.trim().trim_matches(['{', '}']));
        Told {
            guest: guest.and_then(|id| Uuid::try_parse(id).ok()),
            name: self.get("VirtualMachineName").map(str::to_owned),
            host: host.map(str::to_owned),
        }
    }
}

/// The text up to the first zero.
fn text(field: &[u8]) -> Option<String> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    let text = std::str::from_utf8(field.get(..end)?).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut record = key.to_vec();
        record.resize(KEY, 0);
        record.extend(value);
        record.resize(KEY + VALUE, 0);
        record
    }

    #[test]
    fn a_guest_learns_who_it_is() {
        let pool = [
            record(b"HostName", b"HV1"),
            record(b"PhysicalHostName", b"HV1"),
            record(b"PhysicalHostNameFullyQualified", b"hv1.corp.example"),
            record(b"VirtualMachineId", b"564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1"),
            record(b"VirtualMachineName", "n\u{e9}ud 1".as_bytes()),
            record(b"\xff\xfe", b"not text"),
            b"cut".to_vec(),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        std::fs::write(&path, pool.concat()).unwrap();
        let told = Pool::read(&path).unwrap().told();
        assert_eq!(
            told.guest,
            Uuid::try_parse("564d1fcb-2b1c-4b8e-8c52-9b54d1a9b2e1").ok()
        );
        assert_eq!(told.name.as_deref(), Some("n\u{e9}ud 1"));
        assert_eq!(told.host.as_deref(), Some("hv1.corp.example"));
        assert!(Pool::read(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_host_without_a_domain_has_its_short_name() {
        let pool = [
            record(b"PhysicalHostName", b"HV1"),
            record(b"PhysicalHostNameFullyQualified", b""),
        ];
        let told = Pool::decode(&pool.concat()).told();
        assert_eq!(told.host.as_deref(), Some("HV1"));
        assert_eq!(Pool::default().told(), Told::default());
    }

    #[test]
    fn a_full_field_has_no_zero() {
        let pool = Pool::decode(&record(&[b'k'; KEY], &[b'v'; VALUE]));
        assert_eq!(pool.get(&"k".repeat(KEY)).map(str::len), Some(VALUE));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let _ = Pool::decode(&bytes).told();
        }
    }
}
