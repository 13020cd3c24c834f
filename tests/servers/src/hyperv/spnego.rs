//! As much of SPNEGO (RFC 4178, MS-SPNG) as carries NTLM: clients may wrap their messages, and then expect wrapped ones.

/// 1.3.6.1.5.5.2, SPNEGO.
const SPNEGO: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
/// 1.3.6.1.4.1.311.2.2.10, NTLM.
const NTLM: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a];

/// A token of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Token {
    /// The message of NTLM inside.
    pub(super) message: Vec<u8>,
    /// The list of mechanisms as it was sent: what both sides sign at the end.
    pub(super) mechanisms: Option<Vec<u8>>,
    /// The client's signature of that list.
    pub(super) mic: Option<Vec<u8>>,
}

/// Reads a token; none if it is no SPNEGO.
pub(super) fn read(bytes: &[u8]) -> Option<Token> {
    match bytes.first()? {
        0x60 => {
            let (content, _) = element(bytes, 0x60)?;
            let (oid, rest) = element(content, 0x06)?;
            let (init, _) = element(rest, 0xa0)?;
            let (sequence, _) = element(init, 0x30)?;
            let mechanisms = tagged(sequence, 0xa0)?.to_vec();
            let message = tagged(sequence, 0xa2)
                .and_then(|field| element(field, 0x04))
                .map(|(message, _)| message.to_vec());
            (oid == SPNEGO).then(|| Token {
                message: message.unwrap_or_default(),
                mechanisms: Some(mechanisms),
                mic: None,
            })
        }
        0xa1 => {
            let (response, _) = element(bytes, 0xa1)?;
            let (sequence, _) = element(response, 0x30)?;
            let octets = |tag| {
                tagged(sequence, tag)
                    .and_then(|field| element(field, 0x04))
                    .map(|(octets, _)| octets.to_vec())
            };
            Some(Token {
                message: octets(0xa2).unwrap_or_default(),
                mechanisms: None,
                mic: octets(0xa3),
            })
        }
        _ => None,
    }
}

/// "Go on": the server's message.
pub(super) fn incomplete(message: &[u8]) -> Vec<u8> {
    let state = wrap(0xa0, &wrap(0x0a, &[1]));
    let mechanism = wrap(0xa1, &wrap(0x06, NTLM));
    let token = wrap(0xa2, &wrap(0x04, message));
    wrap(0xa1, &wrap(0x30, &[state, mechanism, token].concat()))
}

/// "Done": the server's signature of the mechanisms.
pub(super) fn complete(mic: Option<&[u8]>) -> Vec<u8> {
    let state = wrap(0xa0, &wrap(0x0a, &[0]));
    let mic = mic.map_or_else(Vec::new, |mic| wrap(0xa3, &wrap(0x04, mic)));
    wrap(0xa1, &wrap(0x30, &[state, mic].concat()))
}

/// The content of the field with this tag in a sequence.
fn tagged(mut sequence: &[u8], tag: u8) -> Option<&[u8]> {
    while let [first, ..] = sequence {
        let (content, rest) = element(sequence, *first)?;
        if *first == tag {
            return Some(content);
        }
        sequence = rest;
    }
    None
}

/// The content of the element at the start, and what follows.
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

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => bytes.push(short),
        Ok(long) => bytes.extend([0x81, long]),
        Err(_) => {
            let long = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            bytes.extend([0x82, long[0], long[1]]);
        }
    }
    bytes.extend(content);
    bytes
}
