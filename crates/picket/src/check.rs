//! `picket check`: is a definition supported, is it safe, why not, and what would make it so.
//!
//! Each file is measured first; text, JSON, SARIF and JUnit are ways to show the same result. The field
//! names of the JSON are an interface. The exit code is that of the worst file.

mod junit;
mod sarif;
mod show;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ::platforms::{Edition, Live, Outcome, Reason, Verdict};
use clap::{Args, ValueEnum};
use cluster::{Definition, DefinitionError, Places};
use jiff::Timestamp;
use serde::Serialize;

use crate::storage::saved::{self, Age, ProbeOf};
use crate::{exit, placement, platforms};

/// The options of `picket check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The definitions
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Measure against the requirement document, or against what is known today; without it, against
    /// the one whose time the definition is of
    #[arg(long, value_name = "EDITION", value_parser = platforms::edition_parser())]
    edition: Option<Edition>,

    /// Take the result that `picket storage probe --save FILE` kept as what the definition says of this
    /// storage, instead of that of its `probe`; can be given again
    #[arg(long, value_name = "STORAGE=FILE")]
    probe: Vec<ProbeOf>,

    /// Take no result of a probe that is so many days old, or older
    #[arg(long, value_name = "DAYS", default_value_t = saved::MAX_AGE, value_parser = clap::value_parser!(u32).range(1..=3650))]
    probe_max_age: u32,

    /// Go by what `picket placement show --json` printed into this file, where members run and what keeps
    /// them apart, instead of by what the definition says of it
    #[arg(long, value_name = "FILE")]
    placement: Option<PathBuf>,

    /// How old that file may be, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        requires = "placement"
    )]
    placement_max_age: u64,

    /// Warnings count: end with 24 if that is the worst there is
    #[arg(long, conflicts_with = "accept")]
    strict: bool,

    /// End with 0 up to this outcome. What is unsafe is never accepted
    #[arg(long, value_enum, value_name = "OUTCOME", default_value_t = Accept::Warnings)]
    accept: Accept,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Write SARIF 2.1.0 to a file, or with `-` to standard output instead of the text
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,

    /// Write a JUnit report to a file, or with `-` to standard output instead of the text
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// How bad an outcome may be for the exit code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Accept {
    /// Supported, with or without warnings
    Warnings,
    /// Technology previews as well
    Preview,
    /// Also what nobody confirmed
    Unverified,
    /// Also what is not supported
    Unsupported,
}

/// What became of one file.
#[derive(Debug, Serialize)]
struct Checked {
    /// The file as it was given.
    path: String,
    /// What was found out, if it is a definition.
    #[serde(flatten, serialize_with = "either")]
    result: Result<Judged, Refused>,
    #[serde(skip)]
    text: String,
}

/// The fields of whichever it is.
fn either<S: serde::Serializer>(
    result: &Result<Judged, Refused>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match result {
        Ok(judged) => judged.serialize(serializer),
        Err(refused) => refused.serialize(serializer),
    }
}

/// A definition with its verdict.
#[derive(Debug, Serialize)]
struct Judged {
    /// The cluster's name.
    cluster: String,
    /// What it was measured against.
    edition: Edition,
    /// What the reasons amount to.
    outcome: Outcome,
    /// Why, the heaviest first.
    reasons: Vec<Located>,
}

/// A reason, and where in the file that stands which it is about.
#[derive(Debug, Serialize)]
struct Located {
    #[serde(flatten)]
    reason: Reason,
    /// The line, counted from 1.
    line: Option<usize>,
    #[serde(skip)]
    span: Option<std::ops::Range<usize>>,
}

/// A file that is no definition.
#[derive(Debug, Serialize)]
struct Refused {
    /// What is wrong with it.
    problems: Vec<Problem>,
    /// For people: with pictures of the places.
    #[serde(skip)]
    report: String,
}

#[derive(Debug, Serialize)]
struct Problem {
    message: String,
    help: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
}

/// Everything that was checked.
#[derive(Debug, Serialize)]
struct Report {
    /// In the order in which they were given.
    files: Vec<Checked>,
    /// The code with which the program ends.
    exit_code: u8,
}

/// Runs `picket check`.
#[must_use]
pub fn run(args: &CheckArgs) -> ExitCode {
    let files: Vec<Checked> = args.files.iter().map(|path| check(path, args)).collect();
    let threshold = Threshold::of(args);
    let exit_code = threshold.worst(&files);
    let report = Report { files, exit_code };
    match print(args, &report, threshold) {
        Ok(()) => exit::code(exit_code),
        // A reader that has gone away wants no result, and no complaint.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::code(exit_code),
        Err(error) => {
            eprintln!("picket: cannot write the result: {error}");
            exit::code(exit::FAILED)
        }
    }
}

/// The worst outcome that still ends with 0.
#[derive(Debug, Clone, Copy)]
struct Threshold(Outcome);

impl Threshold {
    const fn of(args: &CheckArgs) -> Self {
        if args.strict {
            return Self(Outcome::Supported);
        }
        Self(match args.accept {
            Accept::Warnings => Outcome::SupportedWithWarnings,
            Accept::Preview => Outcome::TechnologyPreview,
            Accept::Unverified => Outcome::Unverified,
            Accept::Unsupported => Outcome::Unsupported,
        })
    }

    fn accepts(self, outcome: Outcome) -> bool {
        outcome <= self.0
    }

    /// The exit code of the worst file: one that is no definition is worse than any verdict.
    fn worst(self, files: &[Checked]) -> u8 {
        if files.iter().any(|file| file.result.is_err()) {
            return exit::DEFINITION;
        }
        let worst = files
            .iter()
            .filter_map(|file| Some(file.result.as_ref().ok()?.outcome))
            .max();
        worst
            .filter(|outcome| !self.accepts(*outcome))
            .map_or(exit::SUCCESS, exit::of_outcome)
    }
}

/// More than any definition may have; what is longer is refused without being read to its end.
const MAX_READ: u64 = 2 << 20;

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ).read_to_end(&mut bytes)?;
    // The end of what was cut off may not be text; it is refused for its length.
    if bytes.len() as u64 == MAX_READ {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads and measures one file.
fn check(path: &Path, args: &CheckArgs) -> Checked {
    let name = path.to_string_lossy().into_owned();
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => {
            return Checked {
                result: Err(Refused::unreadable(&name, &error)),
                path: name,
                text: String::new(),
            };
        }
    };
    let result = match Definition::parse_with_places(&name, &text) {
        Ok((mut definition, places)) => match taken(&mut definition, path, args) {
            Err(why) => Err(Refused::because(why)),
            Ok(live) => {
                let fitting = || Edition::fitting(&definition);
                let edition = args.edition.unwrap_or_else(fitting);
                let verdict = ::platforms::check_live(&definition, edition, live.as_ref());
                Ok(Judged::new(&definition, verdict, &places))
            }
        },
        Err(error) => Err(Refused::wrong(&error)),
    };
    Checked {
        path: name,
        result,
        text,
    }
}

/// Lets the definition say what was probed; what was seen of where its members run.
fn taken(
    definition: &mut Definition,
    file: &Path,
    args: &CheckArgs,
) -> Result<Option<Live>, String> {
    let age = Age::of_days(args.probe_max_age);
    saved::take_all(definition, file, &args.probe, age).map_err(|error| error.to_string())?;
    let Some(path) = &args.placement else {
        return Ok(None);
    };
    let max_age = Duration::from_secs(args.placement_max_age);
    placement::saved::take(definition, path, max_age, Timestamp::now())
        .map(Some)
        .map_err(|error| error.to_string())
}

impl Judged {
    fn new(definition: &Definition, verdict: Verdict, places: &Places) -> Self {
        let locate = |reason: Reason| {
            let subject = reason.subject.as_deref();
            Located {
                line: subject.and_then(|path| places.line(path)),
                span: subject.and_then(|path| places.find(path)),
                reason,
            }
        };
        Self {
            cluster: definition.name.to_string(),
            edition: verdict.edition,
            outcome: verdict.outcome,
            reasons: verdict.reasons.into_iter().map(locate).collect(),
        }
    }
}

impl Refused {
    fn unreadable(path: &str, error: &io::Error) -> Self {
        Self::because(format!("cannot read the definition {path}: {error}"))
    }

    fn because(message: String) -> Self {
        Self {
            report: format!("error: {message}"),
            problems: vec![Problem {
                message,
                help: None,
                line: None,
                column: None,
            }],
        }
    }

    fn wrong(error: &DefinitionError) -> Self {
        let problems = error.problems().iter().map(|problem| Problem {
            message: problem.message.clone(),
            help: problem.help.clone(),
            line: Some(problem.line),
            column: Some(problem.column),
        });
        Self {
            problems: problems.collect(),
            report: error.report(io::stdout().is_terminal()),
        }
    }
}

fn print(args: &CheckArgs, report: &Report, threshold: Threshold) -> io::Result<()> {
    let standard = Path::new("-");
    let mut taken = args.json;
    let mut write = |to: &Option<PathBuf>, text: &dyn Fn() -> String| match to.as_deref() {
        None => Ok(()),
        Some(path) if path == standard => {
            taken = true;
            io::stdout().write_all(text().as_bytes())
        }
        Some(path) => std::fs::write(path, text())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    };
    write(&args.sarif, &|| sarif::document(report))?;
    write(&args.junit, &|| junit::document(report, threshold))?;
    if args.json {
        let mut text = serde_json::to_string_pretty(report)?;
        text.push('\n');
        return io::stdout().write_all(text.as_bytes());
    }
    if taken {
        return Ok(());
    }
    let text = show::text(report, io::stdout().is_terminal());
    io::stdout().write_all(text.as_bytes())
}
