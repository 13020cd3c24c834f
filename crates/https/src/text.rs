//! What others sent, shown in a message.

/// The first bytes, in backquotes, escaped where they are not plain text: enough to recognise a protocol, too little to flood
/// or forge a log.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let start = &bytes[..bytes.len().min(SHOWN)];
    let dots = if bytes.len() > SHOWN { "…" } else { "" };
    format!("`{}{dots}`", start.trim_ascii().escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_forged() {
        assert_eq!(quoted(b"220 mail ready\r\n"), "`220 mail ready`");
        assert_eq!(quoted(b"\x1b[2Ja\nERROR"), "`\\x1b[2Ja\\nERROR`");
        assert_eq!(quoted(&[b'a'; 100]).chars().count(), 63);
    }
}
