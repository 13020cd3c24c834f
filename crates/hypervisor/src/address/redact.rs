//! Blotting out passwords where an address is quoted.

use std::ops::Range;

/// Names under which people write a password into a query.
pub(super) const PASSWORD_KEYS: [&str; 7] =
    ["password", "passwd", "pass", "pw", "pwd", "secret", "token"];

/// The text with every byte of what could be a password in a URL replaced by `*`; as long as before, so that places in one are
/// places in the other.
///
/// In every `…://…`: what stands between the first `:` and the last `@`; a port that is no number; the values of keys such as
/// `password`. A URL ends at a blank or a quotation mark, but a password in it may hold blanks.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut out = text.to_owned();
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("://")) {
        let start = from + found + 3;
        let length_to = |stop: fn(char) -> bool| {
            text[start..]
                .find(stop)
                .map_or(text.len() - start, |length| length)
        };
        let quoted = length_to(|character| matches!(character, '"' | '`' | '\n'));
        let plain =
            length_to(|character| character.is_whitespace() || matches!(character, '"' | '`'))
                .min(quoted);
        for secret in secrets(&text[start..start + quoted], plain) {
            let place = start + secret.start..start + secret.end;
            let blot = "*".repeat(place.len());
            out.replace_range(place, &blot);
        }
        from = start;
    }
    out
}

/// The places of what could be a password in what follows `://`. As a rule the address ends at `plain`; a password may hold blanks.
pub(super) fn secrets(rest: &str, plain: usize) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    let address = &rest[..plain];
    if let Some(colon) = first_colon(rest) {
        let end = rest[colon..plain.max(colon)]
            .find(['/', '?', '#'])
            .map_or_else(|| plain.max(colon + 1), |length| colon + length);
        match rest.rfind('@') {
            Some(at) if colon < at => secrets.push(colon + 1..at),
            _ if rest[colon + 1..end]
                .bytes()
                .all(|byte| byte.is_ascii_digit()) => {}
            // Not a port, so it may be a password whose owner was forgotten.
            _ => secrets.push(colon + 1..end),
        }
    }
    let mut from = address.find('?').map_or(plain, |mark| mark + 1);
    while from < plain {
        let end = address[from..]
            .find('&')
            .map_or(plain, |length| from + length);
        if let Some((key, _)) = address[from..end].split_once('=')
            && PASSWORD_KEYS
                .iter()
                .any(|name| key.eq_ignore_ascii_case(name))
        {
            secrets.push(from + key.len() + 1..end);
        }
        from = end + 1;
    }
    secrets
}

/// The colon that ends a user or a host: the first one outside the brackets of an IPv6 address, before any slash, question mark or
/// hash.
fn first_colon(rest: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let place = from + rest[from..].find([':', '/', '?', '#', '['])?;
        match rest.as_bytes()[place] {
            b':' => return Some(place),
            // An address in brackets stands at the start, or behind the user.
            b'[' if place == 0 || rest[..place].ends_with('@') => {
                from = place + rest[place..].find(']')?;
            }
            b'[' => from = place + 1,
            _ => return None,
        }
    }
}
