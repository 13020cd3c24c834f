//! The framing of encrypted messages over plain HTTP (MS-WSMV 2.2.9.1.1.2.1).
//!
//! Two parts between boundary lines: the first tells the type and length of the plain message, the second is binary, a
//! signature and the encrypted message. The binary part may hold the boundary's text: its length decides where it ends, never
//! a search.

use crate::Error;

/// The type of a message encrypted by the session of SPNEGO or NTLM.
pub const CONTENT_TYPE: &str = "multipart/encrypted;protocol=\"application/HTTP-SPNEGO-session-encrypted\";boundary=\"Encrypted Boundary\"";
/// The type of the message inside.
pub const ORIGINAL: &str = "application/soap+xml;charset=UTF-8";
/// Bytes of an encrypted message taken at most.
pub const LIMIT: usize = crate::xml::LIMIT;

const BOUNDARY: &str = "Encrypted Boundary";
const PROTOCOL: &str = "application/HTTP-SPNEGO-session-encrypted";
/// Bytes of a signature of NTLM.
const SIGNATURE: usize = 16;

/// An encrypted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The signature.
    pub signature: [u8; SIGNATURE],
    /// The message, encrypted.
    pub cipher: &'a [u8],
}

/// Whether this `Content-Type` is that of encrypted messages.
#[must_use]
pub fn is_encrypted(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("multipart/encrypted")
}

/// Frames an encrypted message; a stream cipher keeps its length.
#[must_use]
pub fn encode(signature: &[u8; SIGNATURE], cipher: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\n\tContent-Type: {PROTOCOL}\r\n\tOriginalContent: type={ORIGINAL};Length={}\r\n--{BOUNDARY}\r\n\
         \tContent-Type: application/octet-stream\r\n",
        cipher.len()
    );
    let mut body = head.into_bytes();
    body.extend([16, 0, 0, 0]);
    body.extend(signature);
    body.extend(cipher);
    body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
    body
}

/// Takes the framing off.
///
/// # Errors
/// When `content_type` names another protocol, or the frame is not as it must be.
pub fn decode<'a>(content_type: &str, body: &'a [u8]) -> Result<Part<'a>, Error> {
    let problem =
        |detail: &str| Error::malformed(format!("its encryption cannot be read: {detail}"));
    if !is_encrypted(content_type) {
        return Err(problem("it has none"));
    }
    let boundary = parameter(content_type, "boundary").unwrap_or(BOUNDARY);
    let mut rest = body;
    let first = line(&mut rest).ok_or_else(|| problem("it has no first part"))?;
    if !is_boundary(first, boundary) {
        return Err(problem("it does not begin with its boundary"));
    }
    let mut length = None;
    loop {
        let next = line(&mut rest).ok_or_else(|| problem("it has no second part"))?;
        if is_boundary(next, boundary) {
            break;
        }
        match header(next) {
            Some((name, value)) if name.eq_ignore_ascii_case("OriginalContent") => {
                length = parameter(value, "Length").and_then(|text| text.parse::<usize>().ok());
            }
            Some((name, value))
                if name.eq_ignore_ascii_case("Content-Type")
                    && !value.eq_ignore_ascii_case(PROTOCOL) =>
            {
                return Err(problem("it is of another protocol"));
            }
            _ => {}
        }
    }
    let length = length
        .filter(|length| *length <= LIMIT)
        .ok_or_else(|| problem("it has no proper length"))?;
    let kind = line(&mut rest).and_then(header);
    if !kind.is_some_and(|(name, _)| name.eq_ignore_ascii_case("Content-Type")) {
        return Err(problem("its second part has no type"));
    }
    let short = || problem("it is cut off");
    let (size, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    if u32::from_le_bytes(*size) != 16 {
        return Err(problem(
            "its signature has another length than those of NTLM",
        ));
    }
    let (signature, after) = after.split_first_chunk::<SIGNATURE>().ok_or_else(short)?;
    let (cipher, mut end) = after.split_at_checked(length).ok_or_else(short)?;
    let last = line(&mut end).unwrap_or(end);
    if !is_boundary(last.strip_suffix(b"--").unwrap_or_default(), boundary) {
        return Err(problem("it does not end where its length says"));
    }
    Ok(Part {
        signature: *signature,
        cipher,
    })
}

/// Takes a line off, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    /// No line of this format comes near.
    const LONGEST: usize = 1024;
    let at = rest.iter().take(LONGEST).position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(at);
    *rest = after.get(1..).unwrap_or_default();
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Some servers put a blank after the dashes.
fn is_boundary(line: &[u8], boundary: &str) -> bool {
    let line = line.strip_prefix(b"--").map(<[u8]>::trim_ascii);
    line == Some(boundary.as_bytes())
}

fn header(line: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    Some((name.trim(), value.trim()))
}

/// The value of `name=value` or `name="value"` among what semicolons separate.
fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_framed_is_found_again(signature: [u8; 16], mut cipher: Vec<u8>, at in 0usize..200) {
            // With the boundary inside.
            let at = at.min(cipher.len());
            cipher.splice(at..at, *b"\r\n--Encrypted Boundary--\r\n");
            let framed = encode(&signature, &cipher);
            let part = decode(CONTENT_TYPE, &framed).unwrap();
            prop_assert_eq!(part.signature, signature);
            prop_assert_eq!(part.cipher, cipher.as_slice());
        }

        #[test]
        fn any_bytes_and_any_cut_end_in_an_answer(bytes: Vec<u8>, cut in 0usize..400) {
            let _ = decode(CONTENT_TYPE, &bytes);
            let framed = encode(&[1; 16], &bytes);
            let cut = cut.min(framed.len().saturating_sub(4));
            prop_assert!(decode(CONTENT_TYPE, &framed[..cut]).is_err());
            let _ = decode(&String::from_utf8_lossy(&bytes), &framed);
        }
    }

    /// As pypsrp and Windows write it: a blank after the dashes, no line end at the end.
    #[test]
    fn other_spellings_are_read() {
        let text = b"-- Encrypted Boundary\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\tOriginalContent: \
            type=application/soap+xml;charset=UTF-8;Length=3\r\n-- Encrypted Boundary\r\n\tContent-Type: \
            application/octet-stream\r\n\x10\0\0\0SSSSSSSSSSSSSSSSabc-- Encrypted Boundary--";
        let part = decode(CONTENT_TYPE, text).unwrap();
        assert_eq!(
            (part.signature, part.cipher),
            ([b'S'; 16], b"abc".as_slice())
        );
    }

    #[test]
    fn other_protocols_and_lengths_are_refused() {
        let framed = String::from_utf8(encode(&[b'S'; 16], b"abc")).unwrap();
        for (from, to) in [
            ("SPNEGO", "CredSSP"),
            ("Length=3", "Length=2"),
            ("Length=3", "Length=4"),
            ("Length=3", "Length=99999999999999999999"),
            ("Length=3", "Length=99999999"),
            (";Length=3", ""),
            ("\u{10}\0\0\0", "\u{11}\0\0\0"),
        ] {
            let changed = framed.replace(from, to);
            assert_ne!(changed, framed);
            assert!(
                decode(CONTENT_TYPE, changed.as_bytes()).is_err(),
                "{from} → {to}"
            );
        }
        assert!(decode("text/plain", framed.as_bytes()).is_err());
    }
}
