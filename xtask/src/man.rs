//! `cargo xtask man`: manual pages, derived from what the programs themselves parse.
//!
//! The agents' pages come from their option tables, the other programs' from their command-line
//! definitions, cluster.toml(5) from the schema of a definition, fence_virt.conf(5) from the commented
//! example, which the daemon's tests read; nothing is written by hand, so nothing can disagree with the
//! program.

mod definition;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::CommandFactory as _;
use hypervisor::address::{Form, KEYS, Platform, Transport};

use crate::repo::Repo;

/// One page.
struct Page {
    /// Name and section, such as `fence_xvm.8`.
    file: String,
    /// The source that `man` renders.
    text: String,
}

/// Where to, and whether to look at the result.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write the pages [default: man in cargo's target directory].
    directory: Option<PathBuf>,
    /// Have the installed formatters look for mistakes in them.
    #[arg(long)]
    check: bool,
}

/// Writes all pages.
///
/// # Errors
/// A page cannot be written, or a formatter complains.
pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let directory = options
        .directory
        .clone()
        .unwrap_or_else(|| repo.target().join("man"));
    let files = write(&directory)?;
    println!("wrote {} pages to {}", files.len(), directory.display());
    if options.check {
        complaints(&files)?;
    }
    Ok(())
}

/// Writes the pages to a scratch directory and has the installed formatters look at them.
///
/// # Errors
/// A formatter complains, or none is installed.
pub(crate) fn lint(_: &Repo) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    complaints(&write(scratch.path())?)
}

fn write(directory: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    let write = |page: Page| {
        let path = directory.join(page.file);
        std::fs::write(&path, page.text)
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    };
    pages()?.into_iter().map(write).collect()
}

/// Every page there is.
fn pages() -> Result<Vec<Page>> {
    let mut pages: Vec<Page> = agents::AGENTS
        .iter()
        .map(|entry| Page {
            file: format!("{}.8", entry.agent.name),
            text: fence_agent::man::render(entry.agent, entry.agent.name),
        })
        .collect();
    collect(virtd::cli::Options::command(), "8", &mut pages)?;
    collect(target::program::Options::command(), "8", &mut pages)?;
    collect(picket::command(), "1", &mut pages)?;
    pages.push(configuration());
    pages.push(Page {
        file: "cluster.toml.5".to_owned(),
        text: definition::page()?,
    });
    Ok(pages)
}

/// fence_virt.conf(5): the packaged example, which names and explains every key.
fn configuration() -> Page {
    let example: String = include_str!("../../packaging/fence_virt.conf")
        .lines()
        .map(|line| {
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            // A line that begins with a dot or a quote would be taken for a request.
            format!("\\&{line}\n")
        })
        .collect();
    Page {
        file: "fence_virt.conf.5".to_owned(),
        text: format!(
            ".TH fence_virt.conf 5 \"\" \"Picket\"\n\
             .SH NAME\nfence_virt.conf \\- which guests fence_virtd may fence, and how it is asked\n\
             .SH DESCRIPTION\nThe configuration of\n.BR fence_virtd (8).\n\
             Files of the C fence_virtd work unchanged.\n.B fence_virtd \\-\\-check\n\
             says what is wrong with a file, where, and how to mend it.\n\
             A key that is commented out below shows its default.\n\
             .SH KEYS\n.nf\n{example}.fi\n\
             {}\
             .SH SEE ALSO\n.BR fence_virtd (8),\n.BR fence_xvm (8),\n.BR fence_virt (8)\n",
            addresses()
        ),
    }
}

/// The section on management addresses, from the table that their parser reads by.
fn addresses() -> String {
    let mut text = ".SH ADDRESSES\nA value of\n.B hypervisor\nis a libvirt URI, or the address of a management interface:\n\
         .PP\n.RS\n.IR SCHEME ://USER @ HOST [: PORT ]/[? KEY = VALUE [& KEY = VALUE ...]]\n.RE\n.PP\n\
         The last @ ends the user; %XX stands for the byte XX. An address with a password in it is refused.\n"
        .to_owned();
    for platform in Platform::ALL {
        let (https, http) = (
            platform.port(Transport::Https),
            platform.port(Transport::Http),
        );
        text += &format!(".TP\n.B {platform}://\nPort {https}, or {http} without TLS.\n");
    }
    text += ".PP\nKeys:\n";
    for key in KEYS {
        let value = match key.form {
            Form::Choice(words) => words.join("|"),
            Form::File => "FILE".to_owned(),
            Form::UrlPath => "PATH".to_owned(),
            Form::Text => "TEXT".to_owned(),
        };
        let platforms: Vec<&str> = key
            .platforms
            .iter()
            .map(|platform| platform.scheme())
            .collect();
        let about = format!("{} ({})", key.about, platforms.join(", "))
            .replace('\\', "\\e")
            .replace('-', "\\-");
        text += &format!(".TP\n.B {}={value}\n{about}\n", key.name);
    }
    text += "The first of several words holds unless the key is given.\n";
    text
}

/// A page for a command and, named like `picket-lab-up`, for each of its subcommands.
fn collect(command: clap::Command, section: &str, pages: &mut Vec<Page>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    descend(&command, section, pages)
}

fn descend(command: &clap::Command, section: &str, pages: &mut Vec<Page>) -> Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .section(section)
        .render(&mut text)?;
    pages.push(Page {
        file: format!("{name}.{section}"),
        text: String::from_utf8(text)?.replace(".SH EXTRA", ".SH NOTES"),
    });
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        descend(sub, section, pages)?;
    }
    Ok(())
}

/// A formatter, and how to make it complain.
struct Formatter {
    program: &'static str,
    arguments: &'static [&'static str],
}

const FORMATTERS: [Formatter; 3] = [
    Formatter {
        program: "man",
        arguments: &["--warnings", "--encoding=UTF-8", "--local-file"],
    },
    Formatter {
        program: "groff",
        arguments: &["-ww", "-z", "-man", "-Kutf8", "-Tutf8"],
    },
    Formatter {
        program: "mandoc",
        arguments: &["-T", "lint", "-W", "error"],
    },
];

/// What the installed formatters say about the pages.
fn complaints(files: &[PathBuf]) -> Result<()> {
    let mut found = Vec::new();
    let mut looked = Vec::new();
    for formatter in &FORMATTERS {
        let Some(said) = formatter.look(files)? else {
            continue;
        };
        looked.push(formatter.program);
        found.extend(said);
    }
    ensure!(
        !looked.is_empty(),
        "none of man, groff and mandoc is installed"
    );
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    println!(
        "{} pages, no complaints of {}",
        files.len(),
        looked.join(", ")
    );
    Ok(())
}

impl Formatter {
    /// Its complaints; none at all if it is not installed.
    fn look(&self, files: &[PathBuf]) -> Result<Option<Vec<String>>> {
        let mut found = Vec::new();
        for file in files {
            let output = Command::new(self.program)
                .args(self.arguments)
                .arg(file)
                .env("LC_ALL", "C.UTF-8")
                .env("MANPAGER", "cat")
                .env("MANWIDTH", "80")
                .stdin(Stdio::null())
                .output();
            let output = match output {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                other => other.with_context(|| format!("failed to run {}", self.program))?,
            };
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if !said.is_empty() || !output.status.success() {
                let file = file.display();
                found.push(format!(
                    "{} on {file}: {said} ({})",
                    self.program, output.status
                ));
            }
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_have_pages_of_their_own_under_their_full_name() {
        let command = clap::Command::new("a")
            .about("does a")
            .subcommand(clap::Command::new("b").subcommand(clap::Command::new("c")))
            .subcommand(clap::Command::new("secret").hide(true));
        let mut pages = Vec::new();
        collect(command, "1", &mut pages).unwrap();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files, ["a.1", "a-b.1", "a-b-c.1"]);
    }

    #[test]
    fn every_program_has_a_page() {
        let pages = pages().unwrap();
        for file in [
            "fence_xvm.8",
            "fence_virt.8",
            "fence_virtd.8",
            "picket-target.8",
            "picket.1",
        ] {
            let page = pages.iter().find(|page| page.file == file);
            assert!(
                page.is_some_and(|page| page.text.contains(".SH NAME")),
                "{file}"
            );
        }
    }
}
