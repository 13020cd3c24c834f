//! Binary values in text: hexadecimal digits after `0x`, base64 after `0b` (RFC 7143, "Text Format").

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest binary value, in bytes (RFC 7143, "Text Format").
pub(super) const MAX_BINARY: usize = 1024;

/// Writes bytes as hexadecimal digits.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads either form; `None` for what is neither, is empty or too long.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let (mark, digits) = text.split_at_checked(2)?;
    let bytes = match mark {
        "0x" | "0X" => hexadecimal(digits)?,
        "0b" | "0B" => STANDARD.decode(digits).ok()?,
        _ => return None,
    };
    (1..=MAX_BINARY).contains(&bytes.len()).then_some(bytes)
}

/// An odd number of digits lacks a leading zero.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| {
        let value = char::from(digit).to_digit(16)?;
        u8::try_from(value).ok()
    };
    let (first, rest) = digits.as_bytes().split_at(digits.len() % 2);
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    for digit in first {
        bytes.push(value(*digit)?);
    }
    for pair in rest.chunks_exact(2) {
        bytes.push(value(pair[0])? << 4 | value(pair[1])?);
    }
    Some(bytes)
}

/// A number in decimal, or in hexadecimal digits after `0x`.
pub(super) fn number(text: &str) -> Option<u32> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((text, 10), |digits| (digits, 16));
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !plain {
        // `from_str_radix` takes a sign.
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        assert_eq!(decode("0x0aFF"), Some(vec![0x0A, 0xFF]));
        assert_eq!(decode("0xaFF"), Some(vec![0x0A, 0xFF]));
        assert_eq!(decode("0bCv8="), Some(vec![0x0A, 0xFF]));
        for bad in [
            "",
            "0x",
            "0",
            "0aff",
            "0b%",
            "0xg0",
            "é0",
            &format!("0x{}", "00".repeat(1025)),
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_have_no_sign() {
        assert_eq!(number("8192"), Some(8192));
        assert_eq!(number("0x2000"), Some(8192));
        for bad in ["", "+1", "-1", "0x", "4294967296", "1a"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn bytes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode(&format!("0b{}", STANDARD.encode(&bytes))), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (decode(&text), number(&text));
        }
    }
}
