//! The keys of a cluster.

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Every secret that is written to a file of the cluster. Wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    corosync: Vec<u8>,
    pacemaker: Vec<u8>,
    fencing: Vec<u8>,
}

impl Secrets {
    /// Length of Corosync's and Pacemaker's keys in bytes: what `corosync-keygen` writes.
    pub const AUTHKEY_LEN: usize = 256;
    /// Length of the fencing key in bytes. The protocol uses up to 4096.
    pub const FENCING_KEY_LEN: usize = 512;

    /// Derives all keys from `seed`, which must itself be secret and random (32 bytes from the
    /// operating system, say). The same seed gives the same keys, so that whoever keeps the seed can
    /// render a cluster again without changing its keys.
    #[must_use]
    pub fn derive(seed: &[u8]) -> Self {
        Self {
            corosync: expand(seed, b"corosync", Self::AUTHKEY_LEN),
            pacemaker: expand(seed, b"pacemaker", Self::AUTHKEY_LEN),
            fencing: expand(seed, b"fencing", Self::FENCING_KEY_LEN),
        }
    }

    /// The key of the membership protocol (`/etc/corosync/authkey`).
    #[must_use]
    pub fn corosync(&self) -> &[u8] {
        &self.corosync
    }

    /// The key of Pacemaker's remote connections (`/etc/pacemaker/authkey`).
    #[must_use]
    pub fn pacemaker(&self) -> &[u8] {
        &self.pacemaker
    }

    /// The key that guests and `fence_virtd` share.
    #[must_use]
    pub fn fencing(&self) -> &[u8] {
        &self.fencing
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// SHA-256 in counter mode: block i is H(length of label, label, i, seed).
fn expand(seed: &[u8], label: &[u8], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut counter: u64 = 0;
    while out.len() < len {
        let mut hash = Sha256::new();
        hash.update((label.len() as u64).to_be_bytes());
        hash.update(label);
        hash.update(counter.to_be_bytes());
        hash.update(seed);
        out.extend_from_slice(&hash.finalize());
        counter += 1;
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_reproducible_and_unlike_each_other() {
        let (one, again, other) = (
            Secrets::derive(b"1"),
            Secrets::derive(b"1"),
            Secrets::derive(b"2"),
        );
        assert_eq!(one.corosync(), again.corosync());
        assert_eq!(one.corosync().len(), Secrets::AUTHKEY_LEN);
        assert_eq!(one.fencing().len(), Secrets::FENCING_KEY_LEN);
        assert_ne!(one.corosync(), other.corosync());
        assert_ne!(one.corosync(), one.pacemaker());
        assert_ne!(one.corosync(), &one.fencing()[..Secrets::AUTHKEY_LEN]);
        assert_eq!(format!("{one:?}"), "Secrets(..)");
    }
}
