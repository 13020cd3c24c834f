//! From text to a checked value, by the option's kind.

use crate::table::{Kind, Opt};

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text, integer choices excluded.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// An integer, a number of seconds or a count.
    Number(i64),
    /// The table's own spelling of the choice.
    Choice(&'static str),
}

/// Reads `text` as a value of `option`. The error says what would have been right, without
/// repeating the text (it may be a secret).
pub(crate) fn parse(option: &Opt, text: &str) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("must not contain a NUL byte".to_owned());
    }
    match option.kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Flag => boolean(text)
            .map(Value::Flag)
            .ok_or_else(|| "must be one of 1, yes, on, true, 0, no, off, false".to_owned()),
        Kind::Count => count(text)
            .map(Value::Number)
            .ok_or_else(|| "must be a number that is not negative".to_owned()),
        Kind::Integer(low, high) => bounded(text, low, high, ""),
        Kind::Second(low, high) => bounded(text, low, high, " of seconds"),
        Kind::Select(choices) => choices
            .iter()
            .find(|choice| choice.eq_ignore_ascii_case(text.trim()))
            .map(|choice| Value::Choice(choice))
            .ok_or_else(|| format!("must be one of {}", choices.join(", "))),
    }
}

/// The words for yes and no (facts: FenceAgentAPI 1.2), in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["1", "yes", "on", "true"]) {
        Some(true)
    } else if is(["0", "no", "off", "false"]) {
        Some(false)
    } else {
        None
    }
}

fn count(text: &str) -> Option<i64> {
    match boolean(text) {
        Some(yes) => Some(i64::from(yes)),
        None => text.trim().parse::<u32>().ok().map(i64::from),
    }
}

fn bounded(text: &str, low: i64, high: i64, unit: &str) -> Result<Value, String> {
    let wanted = || {
        if high == i64::MAX {
            format!("must be a whole number{unit}, at least {low}")
        } else {
            format!("must be a whole number{unit} from {low} to {high}")
        }
    };
    let number = integer(text.trim()).ok_or_else(wanted)?;
    if (low..=high).contains(&number) {
        Ok(Value::Number(number))
    } else {
        Err(wanted())
    }
}

/// Decimal, or hexadecimal after `0x` as the C clients accept it. A leading zero is refused rather
/// than guessed: C reads `010` as eight, people and Python read it as ten.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((digits, 10), |rest| (rest, 16));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_words_are_false() {
        for word in ["0", "no", "OFF", "False"] {
            assert_eq!(boolean(word), Some(false), "{word}");
        }
        for word in ["1", "Yes", "on", "TRUE"] {
            assert_eq!(boolean(word), Some(true), "{word}");
        }
        assert_eq!(boolean("maybe"), None);
    }

    #[test]
    fn integers_as_c_and_people_both_read_them() {
        assert_eq!(integer("1229"), Some(1229));
        assert_eq!(integer("0x4cd"), Some(1229));
        assert_eq!(integer("0"), Some(0));
        assert_eq!(integer("-7"), Some(-7));
        for wrong in [
            "",
            "010",
            "12a",
            "0x",
            "--1",
            "1 2",
            "99999999999999999999",
            "+-1",
        ] {
            assert_eq!(integer(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn bounds_hold_and_the_message_names_them() {
        let port = Opt::new("ipport", Kind::Integer(1, 65535));
        assert_eq!(parse(&port, "65535"), Ok(Value::Number(65535)));
        let error = parse(&port, "65536").expect_err("too large");
        assert!(error.contains("from 1 to 65535"), "{error}");
        let timeout = Opt::new("timeout", Kind::Second(1, i64::MAX));
        assert!(parse(&timeout, "0").is_err());
    }

    #[test]
    fn choices_keep_the_spelling_of_the_table() {
        let auth = Opt::new("auth", Kind::Select(&["none", "sha256"]));
        assert_eq!(parse(&auth, "SHA256"), Ok(Value::Choice("sha256")));
        assert!(
            parse(&auth, "md5")
                .expect_err("unknown")
                .contains("none, sha256")
        );
    }
}
