//! Hashes and keys (MS-NLMP 3.3.2, 3.4.5).

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::Md4;
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

/// A key: wiped when it goes.
pub(crate) type Key = Zeroizing<[u8; 16]>;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Server,
}

/// HMAC-MD5 over the parts one after another.
pub(crate) fn hmac(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    // A key shorter than MD5's block is filled up with zeros (RFC 2104 section 2).
    let mut block = Zeroizing::new([0; 64]);
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Md5>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// MD5 over the parts one after another.
pub(crate) fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The text as UTF-16, little endian.
pub(crate) fn utf16(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.encode_utf16().flat_map(u16::to_le_bytes).collect())
}

/// Upper case as Windows does it: one character becomes one character, or stays.
fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(only), None) => only,
            _ => c,
        }
    };
    text.chars().map(one).collect()
}

/// NTOWFv2: what an account's password is to this protocol.
pub(crate) fn owf(user: &str, domain: &str, password: &str) -> Key {
    let password = utf16(password);
    let hash: Key = Zeroizing::new(Md4::digest(password.as_slice()).into());
    Zeroizing::new(hmac(&hash, &[&utf16(&upper(user)), &utf16(domain)]))
}

/// SIGNKEY (MS-NLMP 3.4.5.2).
pub(crate) fn signing(session: &Key, from: From) -> Key {
    let text: &[u8] = match from {
        From::Client => b"session key to client-to-server signing key magic constant\0",
        From::Server => b"session key to server-to-client signing key magic constant\0",
    };
    Zeroizing::new(md5(&[session.as_slice(), text]))
}

/// SEALKEY for 128 bits (MS-NLMP 3.4.5.3).
pub(crate) fn sealing(session: &Key, from: From) -> Key {
    let text: &[u8] = match from {
        From::Client => b"session key to client-to-server sealing key magic constant\0",
        From::Server => b"session key to server-to-client sealing key magic constant\0",
    };
    Zeroizing::new(md5(&[session.as_slice(), text]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_never_changes_the_number_of_characters() {
        assert_eq!(upper("jürgen.straße"), "JÜRGEN.STRAßE");
        assert_eq!(upper("ﬁ"), "ﬁ");
    }
}
