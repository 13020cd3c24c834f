//! What must be done by hand: one text for the whole cluster, in Markdown.
//!
//! Each point about a platform names what it rests on: a statement of the requirement document (S…), or
//! the key of a public fact, with `unverified` where nobody could check it.

mod machines;
mod platform;

use std::fmt::Write as _;

use crate::definition::Definition;

/// A text of sections with numbered points.
struct Text {
    out: String,
    point: usize,
}

impl Text {
    fn section(&mut self, title: &str) {
        let _ = write!(self.out, "\n## {title}\n\n");
        self.point = 0;
    }

    fn say(&mut self, text: &str) {
        let _ = write!(self.out, "{text}\n\n");
    }

    /// A point. Its further lines (commands, lists) follow indented.
    fn point(&mut self, text: &str) {
        self.point += 1;
        let mut lines = text.split('\n');
        let _ = writeln!(
            self.out,
            "{}. {}",
            self.point,
            lines.next().unwrap_or_default()
        );
        for line in lines {
            let indent = if line.is_empty() { "" } else { "   " };
            let _ = writeln!(self.out, "{indent}{line}");
        }
    }
}

/// The instructions.
pub(super) fn text(definition: &Definition) -> String {
    let mut text = Text {
        out: format!("# Cluster {}: what must be done by hand\n", definition.name),
        point: 0,
    };
    platform::write(&mut text, definition);
    machines::hosts(&mut text, definition);
    machines::nodes(&mut text, definition);
    machines::fencing(&mut text, definition);
    machines::storage(&mut text, definition);
    text.out
}
