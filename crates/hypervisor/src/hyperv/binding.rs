//! Which TLS connection a login is bound to: the hash of the server's certificate (RFC 5929 section 4.1).

use ntlm::ChannelBinding;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// DER of the object identifiers that end in a hash other than SHA-256 (RFC 4055, RFC 5758).
const SHA384: [&[u8]; 3] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
    &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
];
const SHA512: [&[u8]; 3] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04],
    &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
];
/// RSASSA-PSS: its parameters name the hash.
const PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// The binding to the connection on which the server showed `certificate` (DER).
pub(super) fn to(certificate: &[u8]) -> ChannelBinding {
    let hash = match signature_hash(certificate) {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    };
    ChannelBinding::tls_server_end_point(&hash)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The hash of the certificate's own signature; SHA-256 also where that has MD5 or SHA-1, and where it cannot be told.
fn signature_hash(certificate: &[u8]) -> Hash {
    // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, parameters }, … }
    let algorithm = || {
        let (certificate, _) = element(certificate, 0x30)?;
        let (_, rest) = element(certificate, 0x30)?;
        let (algorithm, _) = element(rest, 0x30)?;
        element(algorithm, 0x06)
    };
    let Some((identifier, parameters)) = algorithm() else {
        return Hash::Sha256;
    };
    let identifier = if identifier == PSS {
        pss_hash(parameters).unwrap_or(PSS)
    } else {
        identifier
    };
    if SHA384.contains(&identifier) {
        Hash::Sha384
    } else if SHA512.contains(&identifier) {
        Hash::Sha512
    } else {
        Hash::Sha256
    }
}

/// RSASSA-PSS-params ::= SEQUENCE { [0] AlgorithmIdentifier, … }
fn pss_hash(parameters: &[u8]) -> Option<&[u8]> {
    let (parameters, _) = element(parameters, 0x30)?;
    let (tagged, _) = element(parameters, 0xa0)?;
    let (algorithm, _) = element(tagged, 0x30)?;
    element(algorithm, 0x06).map(|(identifier, _)| identifier)
}

/// The content of the DER element at the start, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = bytes else {
        return None;
    };
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
            (
                digits
                    .iter()
                    .fold(0, |sum, digit| sum << 8 | usize::from(*digit)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut bytes = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length @ 0..=0x7f) => bytes.push(length),
            Ok(length) => bytes.extend([0x81, length]),
            Err(_) => {
                let length = u16::try_from(content.len()).unwrap().to_be_bytes();
                bytes.push(0x82);
                bytes.extend(length);
            }
        }
        bytes.extend(content);
        bytes
    }

    fn certificate(algorithm: &[u8], parameters: &[u8]) -> Vec<u8> {
        let to_be_signed = sequence(0x30, &[&[0; 300]]);
        let algorithm = sequence(0x30, &[&sequence(0x06, &[algorithm]), parameters]);
        sequence(
            0x30,
            &[&to_be_signed, &algorithm, &sequence(0x03, &[&[0; 65]])],
        )
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for identifier in SHA384 {
            assert_eq!(signature_hash(&certificate(identifier, &[])), Hash::Sha384);
        }
        for identifier in SHA512 {
            assert_eq!(
                signature_hash(&certificate(identifier, &[5, 0])),
                Hash::Sha512
            );
        }
        // sha1WithRSAEncryption, ecdsa-with-SHA256.
        let weak = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];
        let usual = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
        for identifier in [weak.as_slice(), &usual] {
            assert_eq!(signature_hash(&certificate(identifier, &[])), Hash::Sha256);
        }
        let named = sequence(
            0x30,
            &[&sequence(
                0xa0,
                &[&sequence(0x30, &[&sequence(0x06, &[SHA384[2]])])],
            )],
        );
        assert_eq!(signature_hash(&certificate(PSS, &named)), Hash::Sha384);
        assert_eq!(signature_hash(&certificate(PSS, &[])), Hash::Sha256);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_binding(bytes: Vec<u8>) {
            let _ = to(&bytes);
        }
    }
}
