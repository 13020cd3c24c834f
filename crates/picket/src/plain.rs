//! Text from other machines, made safe to show: it must not move the cursor, or turn what follows around.

/// What stands for a character that a terminal or a browser would obey.
const REPLACEMENT: char = '\u{fffd}';

/// The character, or what stands for it.
#[must_use]
pub(crate) fn harmless(c: char) -> char {
    match c {
        // They would turn around the direction of what follows.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => REPLACEMENT,
        // XML cannot hold them.
        '\u{fffe}' | '\u{ffff}' => REPLACEMENT,
        c if c.is_control() => REPLACEMENT,
        c => c,
    }
}

/// A text of several lines.
#[must_use]
pub(crate) fn text(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c => harmless(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        let said = text("a\tb\n\u{1b}]0;owned\u{7}\r\u{9b}2J\u{202e}c");
        assert_eq!(
            said,
            "a\tb\n\u{fffd}]0;owned\u{fffd}\u{fffd}\u{fffd}2J\u{fffd}c"
        );
    }
}
