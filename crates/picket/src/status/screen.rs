//! A terminal whose content is replaced in place.
//!
//! Each line is written over the old one and the rest of it cleared; nothing is ever blank in between,
//! so nothing flickers. All goes out in one write.

use std::io::{self, Write};

use rustix::termios::tcgetwinsize;

/// The alternate screen of a terminal, without a cursor. Dropping it brings the old content back.
pub(super) struct Screen {
    _private: (),
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        write(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(Self { _private: () })
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok();
        // A terminal that does not know its size says 0.
        let or =
            |value: Option<u16>, usual| value.filter(|value| *value > 0).map_or(usual, usize::from);
        (
            or(size.map(|size| size.ws_col), 80),
            or(size.map(|size| size.ws_row), 24),
        )
    }

    /// Shows `lines`, as far as they fit; they must not be wider than the terminal.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        write(frame(lines, Self::size().1).as_bytes())
    }
}

/// What is sent to a terminal of `height` lines.
pub(super) fn frame(lines: &[String], height: usize) -> String {
    let mut frame = String::from("\x1b[H");
    let fits = lines.len() <= height;
    let shown = if fits {
        lines.len()
    } else {
        height.saturating_sub(1)
    };
    for (index, line) in lines.iter().take(shown).enumerate() {
        if index > 0 {
            frame.push_str("\r\n");
        }
        frame.push_str(line);
        frame.push_str("\x1b[K");
    }
    if !fits {
        frame.push_str(&format!("\r\n… {} lines more\x1b[K", lines.len() - shown));
    }
    frame.push_str("\x1b[J");
    frame
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no repair.
        let _ = write(b"\x1b[?25h\x1b[?1049l");
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
