//! `picket platforms`: what each platform supports, with which agents and storage, and who says so.
//!
//! What is shown is gathered first; a table and JSON are two ways to show the same. The field names of
//! the JSON are an interface.

mod gather;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;

use ::platforms::{Edition, UnknownEdition};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use cluster::PlatformKind;
use serde::Serialize;

use crate::drill::Console;
use crate::exit;
pub(crate) use text::width;

/// The options of `picket platforms`.
#[derive(Debug, Args)]
pub struct PlatformsArgs {
    /// Show one platform: its rows, agents, storage and what is known besides
    #[arg(value_parser = platform_parser())]
    platform: Option<PlatformKind>,

    /// Show one edition only: the requirement document's, or today's
    #[arg(long, value_name = "EDITION", value_parser = edition_parser())]
    edition: Option<Edition>,

    /// List all facts of today that are known, with how sure each is
    #[arg(long, conflicts_with_all = ["platform", "edition"])]
    facts: bool,

    /// List the public sources of the facts
    #[arg(long, conflicts_with_all = ["platform", "edition", "facts"])]
    sources: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What people call a platform besides its name in a definition.
const fn aliases(platform: PlatformKind) -> &'static [&'static str] {
    match platform {
        PlatformKind::Rhev => &["ovirt", "rhv"],
        PlatformKind::Vmware => &["vsphere", "esx", "esxi"],
        PlatformKind::HyperV => &["hyperv"],
        PlatformKind::Kubevirt => &["openshift"],
        PlatformKind::Nutanix => &["ahv"],
        PlatformKind::Proxmox => &["pve"],
        PlatformKind::Xen => &["xcp-ng", "xenserver"],
        _ => &[],
    }
}

/// Knows the platforms, so that a misspelt one gets a suggestion.
fn platform_parser() -> impl TypedValueParser<Value = PlatformKind> {
    let values = PlatformKind::ALL.map(|platform| {
        PossibleValue::new(platform.as_str()).aliases(aliases(platform).iter().copied())
    });
    PossibleValuesParser::new(values).try_map(|name| {
        PlatformKind::ALL
            .into_iter()
            .find(|platform| {
                platform.as_str() == name || aliases(*platform).contains(&name.as_str())
            })
            .ok_or("no such platform")
    })
}

/// Knows the editions.
pub(crate) fn edition_parser() -> impl TypedValueParser<Value = Edition> {
    PossibleValuesParser::new(Edition::ALL.map(Edition::as_str))
        .try_map(|name| -> Result<Edition, UnknownEdition> { name.parse() })
}

/// Runs `picket platforms`.
#[must_use]
pub fn run(args: &PlatformsArgs) -> ExitCode {
    match print(args) {
        Ok(()) => exit::code(exit::SUCCESS),
        // A reader that has gone away wants no result, and no complaint.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::code(exit::SUCCESS),
        Err(error) => {
            Console::new(true).error(&format!("cannot write the result: {error}"));
            exit::code(exit::FAILED)
        }
    }
}

fn print(args: &PlatformsArgs) -> io::Result<()> {
    let editions = args
        .edition
        .map_or_else(|| Edition::ALL.to_vec(), |edition| vec![edition]);
    if args.sources {
        let sources = gather::sources();
        return show(args.json, &sources, || text::sources(&sources));
    }
    if args.facts {
        let facts = gather::all_facts();
        return show(args.json, &facts, || text::facts(&facts, width()));
    }
    match args.platform {
        Some(platform) => {
            let details = gather::details(platform, &editions);
            show(args.json, &details, || text::details(&details, width()))
        }
        None => {
            let listing = gather::listing(&editions);
            show(args.json, &listing, || text::listing(&listing, width()))
        }
    }
}

fn show(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
    let mut text = if json {
        serde_json::to_string_pretty(value)?
    } else {
        text()
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    io::stdout().write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: PlatformsArgs,
    }

    fn parse(words: &str) -> Result<PlatformsArgs, clap::Error> {
        let words = ["platforms"].into_iter().chain(words.split_whitespace());
        Program::try_parse_from(words).map(|program| program.args)
    }

    #[test]
    fn platforms_go_by_their_other_names_too() {
        for (name, platform) in [
            ("kvm", PlatformKind::Kvm),
            ("ovirt", PlatformKind::Rhev),
            ("vsphere", PlatformKind::Vmware),
            ("hyperv", PlatformKind::HyperV),
        ] {
            assert_eq!(parse(name).unwrap().platform, Some(platform), "{name}");
        }
    }

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        let error = parse("vmwrae").unwrap_err().to_string();
        assert!(
            error.contains("a similar value exists: 'vmware'"),
            "{error}"
        );
        let error = parse("--edition toady").unwrap_err().to_string();
        assert!(error.contains("today"), "{error}");
        assert!(parse("kvm --sources").is_err());
    }

    #[test]
    fn the_list_of_platforms() {
        insta::assert_snapshot!(text::listing(&gather::listing(&Edition::ALL), text::WIDTH));
    }

    #[test]
    fn a_platform_of_the_document() {
        let details = gather::details(PlatformKind::Kvm, &[Edition::Document]);
        insta::assert_snapshot!(text::details(&details, text::WIDTH));
    }

    #[test]
    fn a_platform_of_today() {
        let details = gather::details(PlatformKind::Vmware, &[Edition::Today]);
        insta::assert_snapshot!(text::details(&details, text::WIDTH));
    }

    #[test]
    fn a_platform_that_an_edition_does_not_know() {
        let details = gather::details(PlatformKind::Aws, &Edition::ALL);
        insta::assert_snapshot!(text::details(&details, text::WIDTH));
    }

    #[test]
    fn lines_fit_the_terminal() {
        for width in [80, text::WIDTH, 160] {
            let mut texts = vec![
                text::listing(&gather::listing(&Edition::ALL), width),
                text::facts(&gather::all_facts(), width),
            ];
            texts.extend(
                PlatformKind::ALL.map(|platform| {
                    text::details(&gather::details(platform, &Edition::ALL), width)
                }),
            );
            for line in texts.iter().flat_map(|text| text.lines()) {
                assert!(line.chars().count() <= width.into(), "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_json_names_rows_and_how_sure_they_are() {
        let details = gather::details(PlatformKind::Xen, &[Edition::Document]);
        insta::assert_json_snapshot!(details);
    }

    #[test]
    fn every_source_is_listed_with_what_rests_on_it() {
        let sources = gather::sources();
        assert!(
            sources
                .sources
                .iter()
                .all(|source| !source.facts.is_empty())
        );
        let text = text::sources(&sources);
        for source in &sources.sources {
            assert!(text.contains(&source.urls[0]), "{}", source.id);
        }
    }
}
