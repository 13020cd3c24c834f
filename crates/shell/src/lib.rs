//! Words for a POSIX shell: what turns a program's arguments into a script.
#![forbid(unsafe_code)]

/// A word that a POSIX shell reads back as exactly `text`, whatever is in it but a NUL, which no argument
/// can hold. Words that mean nothing else to a shell stay as they are, for those who read the script.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Words with blanks between them: a command with its arguments.
#[must_use]
pub fn command<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_words_are_readable() {
        assert_eq!(command(&["ip", "-4", "a b", ""]), "ip -4 'a b' ''");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\0]{0,40}", more in "[^\0]{0,9}") {
            let script = format!("printf '%s|' {}", command(&[&text, &more]));
            let read = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(read.stdout, format!("{text}|{more}|").into_bytes());
        }
    }
}
