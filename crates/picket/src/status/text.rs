//! A page as lines of text.

use super::page::{Cell, Page, Section, Tone};

/// Two spaces between columns.
const GAP: usize = 2;

/// The page as lines. `colour` uses ANSI sequences; `width` cuts lines, so that none wraps.
pub(super) fn lines(page: &Page, colour: bool, width: Option<usize>) -> Vec<String> {
    let pen = Pen {
        colour,
        width: width.unwrap_or(usize::MAX),
    };
    let mut lines = vec![pen.line(&page.headline, &[])];
    if !page.seen.is_empty() {
        let seen = Cell {
            text: page.seen.clone(),
            tone: Tone::Faint,
        };
        lines.push(pen.line(&[seen], &[]));
    }
    for section in &page.sections {
        lines.push(String::new());
        lines.extend(pen.section(section));
    }
    lines
}

struct Pen {
    colour: bool,
    width: usize,
}

impl Pen {
    fn section(&self, section: &Section) -> Vec<String> {
        // A column that is empty everywhere tells nothing.
        let used: Vec<usize> = (0..section.columns.len())
            .filter(|&column| section.rows.iter().any(|row| !text(row, column).is_empty()))
            .collect();
        let widths: Vec<usize> = used
            .iter()
            .map(|&column| {
                let cells = section.rows.iter().map(|row| length(text(row, column)));
                cells
                    .max()
                    .unwrap_or(0)
                    .max(length(section.columns[column]))
            })
            .collect();
        let faint = |text: &str| Cell {
            text: text.to_owned(),
            tone: Tone::Faint,
        };
        let heading: Vec<Cell> = used
            .iter()
            .map(|&column| faint(section.columns[column]))
            .collect();
        let title: String = section.title.chars().take(self.width).collect();
        let mut lines = vec![self.paint(&title, "1"), self.line(&heading, &widths)];
        for row in &section.rows {
            let cells: Vec<Cell> = used
                .iter()
                .map(|&column| row.get(column).cloned().unwrap_or_else(|| faint("")))
                .collect();
            lines.push(self.line(&cells, &widths));
        }
        lines
    }

    /// One line; cells whose width is given are padded to it.
    fn line(&self, cells: &[Cell], widths: &[usize]) -> String {
        let indent = if widths.is_empty() {
            0
        } else {
            GAP.min(self.width)
        };
        let mut line = " ".repeat(indent);
        let mut used = indent;
        let mut pending = 0;
        for (index, cell) in cells.iter().enumerate() {
            let own = length(&cell.text);
            if own > 0 {
                let room = self.width.saturating_sub(used + pending);
                if room == 0 {
                    break;
                }
                line.push_str(&" ".repeat(pending));
                let shown: String = cell.text.chars().take(room).collect();
                used += pending + own.min(room);
                line.push_str(&self.paint(&shown, code(cell.tone)));
                pending = 0;
            }
            let (pad, gap) = match widths.get(index) {
                Some(width) => (width.saturating_sub(own), GAP),
                None => (0, 1),
            };
            pending += pad + gap;
        }
        line
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour && !code.is_empty() && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn text(row: &[Cell], column: usize) -> &str {
    row.get(column).map_or("", |cell| &cell.text)
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The sequence for a tone. Bad is bold too: red alone is hard to tell for some.
const fn code(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "1;31",
        Tone::Faint => "2",
    }
}
