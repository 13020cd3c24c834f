//! `cargo xtask check`: everything that a change must pass, each by its name; all failures are
//! reported, not only the first.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::repo::Repo;

/// No source file has more lines; longer ones are split by subject.
const MAX_LINES: usize = 800;
/// Where all dependencies come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One check.
struct Check {
    name: &'static str,
    about: &'static str,
    run: fn(&Repo) -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "fmt",
        about: "the sources are formatted",
        run: |repo| repo.cargo(&["fmt", "--all", "--check"]),
    },
    Check {
        name: "length",
        about: "no source file has more than 800 lines",
        run: length,
    },
    Check {
        name: "words",
        about: "no file names the machine it was written on",
        run: words,
    },
    Check {
        name: "sources",
        about: "every dependency comes from crates.io",
        run: sources,
    },
    Check {
        name: "report",
        about: "docs/benchmarks.md is what docs/benchmarks.json says",
        run: crate::bench::check_report,
    },
    Check {
        name: "clippy",
        about: "no lint has anything to say",
        run: |repo| {
            repo.cargo(&[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Check {
        name: "man",
        about: "the manual pages are well-formed",
        run: crate::man::lint,
    },
    Check {
        name: "test",
        about: "all tests pass",
        run: |repo| repo.cargo(&["test", "--quiet", "--workspace"]),
    },
];

/// Which checks to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Names of checks; all of them if none is given.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(CHECKS.iter().map(|check| {
        clap::builder::PossibleValue::new(check.name).help(check.about)
    })))]
    names: Vec<String>,
}

/// Runs the checks and names every one that failed.
///
/// # Errors
/// At least one failed.
pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let wanted = |check: &&Check| {
        options.names.is_empty() || options.names.iter().any(|name| name == check.name)
    };
    let mut failed = Vec::new();
    for check in CHECKS.iter().filter(wanted) {
        let began = Instant::now();
        let result = (check.run)(repo);
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("ok      {:8} {took:6.1} s  {}", check.name, check.about),
            Err(error) => {
                println!("FAILED  {:8} {took:6.1} s  {error:#}", check.name);
                failed.push(check.name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// All files of the repository, those not yet committed included.
fn files(repo: &Repo) -> Result<Vec<PathBuf>> {
    let output = repo
        .command("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .context("failed to run git")?;
    ensure!(output.status.success(), "git ls-files failed");
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(names
        .split_terminator('\0')
        .map(|name| repo.root().join(name))
        .filter(|path| path.is_file())
        .collect())
}

fn length(repo: &Repo) -> Result<()> {
    let mut long = Vec::new();
    for path in files(repo)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = std::fs::read_to_string(&path)?.lines().count();
            if lines > MAX_LINES {
                long.push(format!("{} ({lines})", shown(repo, &path)));
            }
        }
    }
    none("more than 800 lines", &long)
}

fn words(repo: &Repo) -> Result<()> {
    let forbidden = forbidden(repo.root());
    let mut found = Vec::new();
    for path in files(repo)? {
        // What is not text (captured packets, say) cannot name anything by accident.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = forbidden.iter().find(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {word}", shown(repo, &path), number + 1));
            }
        }
    }
    none("machine paths", &found)
}

/// What no file may contain: the path of this checkout, and the top directory it lies in unless every
/// Linux system has one of that name.
fn forbidden(root: &Path) -> Vec<String> {
    const STANDARD: [&str; 18] = [
        "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run",
        "sbin", "srv", "sys", "tmp", "usr", "var",
    ];
    let mut words = vec![root.display().to_string()];
    let top = root.iter().nth(1).and_then(|part| part.to_str());
    if let Some(top) = top.filter(|top| !STANDARD.contains(top)) {
        words.push(format!("/{top}/"));
    }
    words
}

fn sources(repo: &Repo) -> Result<()> {
    let lock = std::fs::read_to_string(repo.root().join("Cargo.lock"))?;
    let mut strange: Vec<String> = foreign_sources(&lock).map(str::to_owned).collect();
    let config = repo.root().join(".cargo/config.toml");
    if config.exists() {
        let text = std::fs::read_to_string(&config)?;
        let sections = text.lines().map(str::trim);
        strange.extend(
            sections
                .filter(|line| line.starts_with("[source") || line.starts_with("[registr"))
                .map(|line| format!(".cargo/config.toml: {line}")),
        );
    }
    none("other sources than crates.io", &strange)
}

fn foreign_sources(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(|source| source.trim_matches('"'))
        .filter(|source| *source != CRATES_IO)
}

fn none(what: &str, found: &[String]) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    bail!("{what}: {}", found.join(", "))
}

fn shown(repo: &Repo, path: &Path) -> String {
    let path = path.strip_prefix(repo.root()).unwrap_or(path);
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_in_a_directory_of_its_own_forbids_that_directory() {
        let words = forbidden(Path::new("/project/picket"));
        assert_eq!(words, ["/project/picket", "/project/"]);
    }

    #[test]
    fn a_checkout_under_home_does_not_forbid_home() {
        assert_eq!(forbidden(Path::new("/home/me/p")), ["/home/me/p"]);
    }

    #[test]
    fn git_dependencies_and_other_registries_are_foreign() {
        let lock = format!("source = \"{CRATES_IO}\"\nsource = \"git+https://example.org/x\"\n");
        let foreign: Vec<&str> = foreign_sources(&lock).collect();
        assert_eq!(foreign, ["git+https://example.org/x"]);
    }

    #[test]
    fn no_two_checks_have_one_name() {
        let names: std::collections::BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }
}
