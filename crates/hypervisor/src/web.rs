//! What implementations behind a web interface share: encodings, what a missing answer means, waiting.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use deadline::Deadline;
use https::Interrupt;
use zeroize::Zeroizing;

use crate::{Error, GuestRef};

/// Percent-encodes everything but the characters that mean themselves everywhere in an address (RFC 3986 section 2.3): for one
/// segment of a path, or one name or value of a query.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    push_encoded(&mut encoded, text, "%20");
    encoded
}

/// A form's body (`application/x-www-form-urlencoded`). It may hold a password.
#[must_use]
pub fn form(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    let length = pairs
        .iter()
        .map(|(name, value)| 3 * (name.len() + value.len()) + 2);
    // Whole at once: a buffer that grows leaves copies behind.
    let mut form = Zeroizing::new(String::with_capacity(length.sum()));
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            form.push('&');
        }
        push_encoded(&mut form, name, "+");
        form.push('=');
        push_encoded(&mut form, value, "+");
    }
    form
}

fn push_encoded(into: &mut String, text: &str, blank: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            b' ' => into.push_str(blank),
            // Writing to a String cannot fail.
            _ => drop(write!(into, "%{byte:02X}")),
        }
    }
}

/// The value of an `Authorization` header line with a name and a password (RFC 7617, UTF-8).
#[must_use]
pub fn basic(username: &str, password: &str) -> Zeroizing<String> {
    const SCHEME: &str = "Basic ";
    let mut pair = Zeroizing::new(String::with_capacity(username.len() + password.len() + 1));
    pair.push_str(username);
    pair.push(':');
    pair.push_str(password);
    let length = SCHEME.len() + pair.len().div_ceil(3) * 4;
    let mut line = Zeroizing::new(String::with_capacity(length));
    line.push_str(SCHEME);
    BASE64_STANDARD.encode_string(pair.as_bytes(), &mut line);
    line
}

/// What a server said, for a message: one line, at most about 200 characters, nothing in it that a terminal or a log obeys.
#[must_use]
pub fn printable(said: &[u8]) -> String {
    const SHOWN: usize = 200;
    let said = String::from_utf8_lossy(&said[..said.len().min(4 * SHOWN)]);
    let mut shown = String::new();
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for (at, character) in words.chars().enumerate() {
        if at == SHOWN {
            shown.push('…');
            break;
        }
        match character {
            // Line and paragraph separators, and what changes the direction of writing.
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(character.escape_default());
            }
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

/// What it means that a request has no answer. `order`: the guest, if the request was to switch it; then an answer that is missing
/// after the request went out leaves the outcome unknown, and is never "not done".
#[must_use]
pub fn unanswered(error: &https::Error, by: &str, doing: &str, order: Option<&GuestRef>) -> Error {
    let by = by.to_owned();
    let order = order.filter(|_| error.may_have_been_carried_out());
    match (error, order) {
        (https::Error::DeadlinePassed { waited, .. }, _) => Error::DeadlinePassed {
            by,
            doing: doing.to_owned(),
            waited: *waited,
            acted: order.is_some(),
        },
        (_, Some(guest)) => Error::NotConfirmed {
            guest: guest.clone(),
            by,
            saw: format!("the order may have been carried out, its answer is missing: {error}"),
        },
        (_, None) => Error::Unreachable {
            by,
            detail: format!("{error}, {doing}"),
        },
    }
}

/// A pause between two looks: ends at the deadline at the latest, and when whoever asked is to end. False in that case.
pub fn pause(time: Duration, interrupt: Option<&Interrupt>, deadline: Deadline) -> bool {
    let until = deadline.within(time);
    match interrupt {
        Some(interrupt) => !interrupt.wait(until),
        None => {
            std::thread::sleep(until.remaining());
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn encodings() {
        assert_eq!(encode("vm 1/ä&<%>+"), "vm%201%2F%C3%A4%26%3C%25%3E%2B");
        let form = form(&[("username", "admin@internal"), ("password", "a b+&=é")]);
        assert_eq!(
            &**form,
            "username=admin%40internal&password=a+b%2B%26%3D%C3%A9"
        );
        // RFC 7617 section 2.
        assert_eq!(
            &**basic("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        // RFC 7617 section 2.1.
        assert_eq!(&**basic("test", "123£"), "Basic dGVzdDoxMjPCow==");
    }

    #[test]
    fn what_a_server_says_stays_on_one_short_line() {
        assert_eq!(printable(b" <html>\r\n  <b>no</b>\n"), "<html> <b>no</b>");
        assert_eq!(
            printable("a\u{1b}[2J\u{202e}b".as_bytes()),
            "a\\u{1b}[2J\\u{202e}b"
        );
        assert_eq!(printable(&[b'x'; 1000]).chars().count(), 201);
        assert_eq!(printable(&[0xff, b'a']), "\u{fffd}a");
    }

    fn closed(sent: bool) -> https::Error {
        https::Error::Closed {
            peer: "host:443".to_owned(),
            when: "without an answer",
            sent,
        }
    }

    #[test]
    fn a_lost_answer_to_an_order_leaves_the_outcome_unknown() {
        let guest = GuestRef::parse("vm1");
        let kind = |error: &https::Error, order| unanswered(error, "x", "stopping", order).kind();
        assert_eq!(kind(&closed(true), Some(&guest)), ErrorKind::CannotKnow);
        assert_eq!(kind(&closed(false), Some(&guest)), ErrorKind::Unreachable);
        assert_eq!(kind(&closed(true), None), ErrorKind::Unreachable);
        let late = |sent| https::Error::DeadlinePassed {
            peer: "host:443".to_owned(),
            doing: "waiting for the answer",
            waited: Duration::from_secs(1),
            sent,
        };
        assert_eq!(kind(&late(true), Some(&guest)), ErrorKind::CannotKnow);
        assert_eq!(kind(&late(false), Some(&guest)), ErrorKind::Unreachable);
        assert_eq!(kind(&late(true), None), ErrorKind::Unreachable);
        let interrupted = |sent| https::Error::Interrupted {
            doing: "waiting for the answer",
            sent,
        };
        assert_eq!(
            kind(&interrupted(true), Some(&guest)),
            ErrorKind::CannotKnow
        );
        assert_eq!(
            kind(&interrupted(false), Some(&guest)),
            ErrorKind::Unreachable
        );
        let text = unanswered(&closed(true), "x", "stopping", Some(&guest)).to_string();
        assert!(
            text.contains("vm1") && text.contains("may have been carried out"),
            "{text}"
        );
    }

    #[test]
    fn a_pause_ends_by_time_by_deadline_and_by_interrupt() {
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(60));
        let begun = std::time::Instant::now();
        assert!(pause(short, None, Deadline::after(long)));
        assert!(begun.elapsed() >= short);
        assert!(pause(long, None, Deadline::after(short)));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let interrupt = Interrupt::new(ours.into());
        assert!(pause(short, Some(&interrupt), Deadline::after(long)));
        drop(theirs);
        assert!(!pause(long, Some(&interrupt), Deadline::after(long)));
        assert!(begun.elapsed() < long);
    }

    proptest! {
        #[test]
        fn encoded_text_has_no_metacharacters(text: String) {
            let harmless = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
            prop_assert!(encode(&text).chars().all(harmless));
        }

        #[test]
        fn printable_text_is_bounded(said: Vec<u8>) {
            let shown = printable(&said);
            prop_assert!(!shown.contains(char::is_control));
            prop_assert!(shown.chars().count() <= 200 * 10 + 1);
        }
    }
}
