//! Where a status goes: a terminal, a pipe, a file.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use observe::Status;

use super::page::{Clocks, Page};
use super::screen::Screen;
use super::{Error, StatusArgs, html, is_stdout, text};

/// The form that was asked for.
enum Form {
    Text,
    Json,
    Html { path: PathBuf, refresh: Option<u64> },
}

/// Where a status goes, in which form.
pub(super) struct Output {
    form: Form,
    is_watching: bool,
    colour: bool,
    screen: Option<Screen>,
    last: Option<Page>,
}

impl Output {
    pub(super) fn new(args: &StatusArgs) -> Self {
        let form = match (&args.html, args.json) {
            (Some(path), false) => Form::Html {
                path: path.clone(),
                refresh: args.refresh,
            },
            (_, true) => Form::Json,
            (None, false) => Form::Text,
        };
        Self {
            form,
            is_watching: args.watch.is_some(),
            colour: args.colour.is_wanted(),
            screen: None,
            last: None,
        }
    }

    /// Shows a status. While watching, a terminal and a file always show the latest; a pipe gets only
    /// what differs from the one before.
    pub(super) fn show(&mut self, status: &Status) -> Result<(), Error> {
        let page = Page::of(status, Clocks::Shown);
        match &self.form {
            Form::Html { path, refresh } if !is_stdout(path) => {
                return replace(path, html::page(&page, *refresh).as_bytes()).map_err(|source| {
                    Error::Page {
                        path: path.clone(),
                        source,
                    }
                });
            }
            Form::Text if self.is_watching && io::stdout().is_terminal() => {
                return Ok(self.draw(&page)?);
            }
            _ => {}
        }
        let lasting = Page::of(status, Clocks::Hidden);
        let is_first = self.last.is_none();
        if self.last.as_ref() == Some(&lasting) {
            return Ok(());
        }
        self.last = Some(lasting);
        let text = match &self.form {
            Form::Text => {
                let lines = text::lines(&page, self.colour, None).join("\n");
                // A line between blocks.
                format!("{}{lines}\n", if is_first { "" } else { "\n" })
            }
            Form::Json if self.is_watching => json(serde_json::to_string(status))?,
            Form::Json => json(serde_json::to_string_pretty(status))?,
            Form::Html { refresh, .. } => html::page(&page, *refresh),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn draw(&mut self, page: &Page) -> io::Result<()> {
        let screen = match self.screen.take() {
            Some(screen) => screen,
            None => Screen::open()?,
        };
        let lines = text::lines(page, self.colour, Some(Screen::size().0));
        let drawn = screen.draw(&lines);
        self.screen = Some(screen);
        drawn
    }
}

fn json(text: serde_json::Result<String>) -> io::Result<String> {
    text.map(|text| text + "\n").map_err(io::Error::other)
}

/// Replaces the file at once: whoever reads it sees the old page or the new one, never a part.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".picket-status-")
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    // A web server that serves it is another user.
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
