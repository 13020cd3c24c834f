//! argv and stdin, to checked options.

use std::ffi::OsString;

use proptest::prelude::*;

use super::SAMPLE;
use crate::options::{Assembled, assemble};
use crate::{argv, stdin};

fn from_argv(args: &[&str]) -> Assembled {
    assemble(
        &SAMPLE,
        argv::read(&SAMPLE, args.iter().map(OsString::from)),
    )
}

fn from_stdin(input: &str) -> Assembled {
    assemble(&SAMPLE, stdin::read(&SAMPLE, input.as_bytes()))
}

/// What a caller sees: the action, or the problems.
fn action(assembled: &Assembled) -> Result<&'static str, String> {
    let options = assembled.options.as_ref().map_err(Clone::clone)?;
    if assembled.errors.is_empty() {
        Ok(options.action().name)
    } else {
        Err(assembled.errors.join("; "))
    }
}

fn text<'a>(assembled: &'a Assembled, name: &str) -> Option<&'a str> {
    assembled
        .options
        .as_ref()
        .ok()
        .and_then(|options| options.text(name))
}

const COMPLETE: &str = "ip=10.0.0.1\nplug=p1\n";

#[test]
fn nothing_given_is_the_default_action_and_lacks_a_plug() {
    let problems = action(&from_stdin("")).expect_err("no plug");
    assert!(
        problems.contains("`plug`") && problems.contains("`ip`"),
        "{problems}"
    );
    assert_eq!(action(&from_stdin(COMPLETE)), Ok("reboot"));
}

/// I23: the Python agents ignore `option=` and reboot.
#[test]
fn option_means_action() {
    assert_eq!(
        action(&from_stdin(&format!("{COMPLETE}option=status\n"))),
        Ok("status")
    );
    let both = from_stdin(&format!("{COMPLETE}option=off\naction=status\n"));
    assert_eq!(action(&both), Ok("status"));
    assert!(
        both.warnings[0].contains("`option` differs from `action`"),
        "{:?}",
        both.warnings
    );
}

#[test]
fn an_unknown_or_empty_action_never_becomes_the_default() {
    for line in [
        "action=explode",
        "action=",
        "action",
        "ACTION=explode",
        "action=\"\"",
        "option=",
        "action= ",
    ] {
        let problems = action(&from_stdin(&format!("{COMPLETE}{line}\n"))).expect_err(line);
        assert!(
            problems.contains("action") || problems.contains("option"),
            "{line}: {problems}"
        );
    }
    let problems =
        action(&from_argv(&["-a", "1", "-n", "p", "-o", "explode"])).expect_err("unknown");
    assert!(problems.contains("unsupported action"), "{problems}");
}

#[test]
fn actions_in_any_case_and_old_spelling() {
    for (word, wanted) in [
        ("OFF", "off"),
        ("meta-data", "metadata"),
        ("List-Status", "list-status"),
    ] {
        assert_eq!(
            action(&from_stdin(&format!("{COMPLETE}action={word}\n"))),
            Ok(wanted)
        );
    }
}

#[test]
fn the_grammar_of_lines() {
    let input =
        "# comment\n\n  ip=10.0.0.1  \r\nplug=\"a b=c\"\naction=status\nserial-device='x y'\n";
    let assembled = from_stdin(input);
    assert_eq!(action(&assembled), Ok("status"));
    assert_eq!(text(&assembled, "plug"), Some("a b=c"));
    assert_eq!(text(&assembled, "ip"), Some("10.0.0.1"));
    assert_eq!(text(&assembled, "serial_device"), Some("'x y'"));
    assert_eq!(text(&from_stdin("plug= p1\n"), "plug"), Some(" p1"));
    assert_eq!(text(&from_stdin("plug = p1\n"), "plug"), Some("p1"));
}

/// I24: `ssl=0`, `missing_as_off=0` and `quiet=0` count as true in the Python agents.
#[test]
fn false_is_false() {
    for (line, wanted) in [
        ("ssl=0", false),
        ("ssl=no", false),
        ("ssl=1", true),
        ("ssl", true),
        ("", false),
    ] {
        let assembled = from_stdin(&format!("{COMPLETE}{line}\n"));
        let options = assembled.options.expect("options");
        assert_eq!(options.flag("ssl"), wanted, "{line}");
    }
    assert!(action(&from_stdin(&format!("{COMPLETE}ssl=perhaps\n"))).is_err());
}

#[test]
fn foreign_names_are_warned_about_and_slips_are_refused() {
    let foreign = from_stdin(&format!(
        "{COMPLETE}action=off\nwhatever=1\nnodename=n1\npcmk_host_map=a:b\n"
    ));
    assert_eq!(action(&foreign), Ok("off"));
    assert_eq!(foreign.warnings, ["unknown option `whatever`, ignored"]);
    for slip in [
        "plg=p1",
        "polt=p1",
        "missing_as_of=1",
        "acton=status",
        "pulg=x",
        "disable-timeot=1",
    ] {
        let problems = action(&from_stdin(&format!("{COMPLETE}{slip}\n"))).expect_err(slip);
        assert!(problems.contains("did you mean"), "{slip}: {problems}");
    }
}

/// Pacemaker sends `port=NODE` beside a configured `plug=`; its line order is that of a hash table.
#[test]
fn plug_beats_port_whatever_the_order() {
    for input in ["plug=p1\nport=node1\n", "port=node1\nplug=p1\n"] {
        let assembled = from_stdin(&format!("ip=x\naction=off\n{input}"));
        assert_eq!(action(&assembled), Ok("off"));
        assert_eq!(text(&assembled, "plug"), Some("p1"), "{input}");
    }
    assert_eq!(text(&from_stdin("port=node1\n"), "plug"), Some("node1"));
}

#[test]
fn two_different_plugs_of_one_name_are_refused() {
    assert!(action(&from_stdin("ip=x\nplug=a\nplug=b\n")).is_err());
    assert_eq!(action(&from_stdin("ip=x\nplug=a\nplug=a\n")), Ok("reboot"));
    assert!(action(&from_argv(&["-a", "x", "-n", "a", "--plug", "b"])).is_err());
    // Elsewhere the last one wins.
    assert_eq!(text(&from_stdin("ip=a\nip=b\n"), "ip"), Some("b"));
}

#[test]
fn getopt() {
    let forms: [&[&str]; 6] = [
        &["-a", "x", "-n", "p1", "-o", "status", "-vv"],
        &["-vax", "-np1", "-ostatus", "-v"],
        &[
            "--ip=x",
            "--plug",
            "p1",
            "--action=status",
            "--verbose",
            "-v",
        ],
        &[
            "--ip",
            "x",
            "operand",
            "--plug=p1",
            "--act",
            "status",
            "-v",
            "-v",
        ],
        &["-vv", "-a", "x", "-n", "p1", "-o", "status", "--", "-n"],
        &[
            "-vv", "-a", "x", "-n", "p1", "-o", "off", "-o", "off", "--action", "off",
        ],
    ];
    for form in forms {
        let assembled = from_argv(form);
        assert!(
            action(&assembled).is_ok(),
            "{form:?}: {:?}",
            action(&assembled)
        );
        assert_eq!(text(&assembled, "plug"), Some("p1"), "{form:?}");
        assert_eq!(
            assembled.options.expect("options").number("verbose"),
            Some(2),
            "{form:?}"
        );
    }
}

/// I08: the C agents print usage and exit 0.
#[test]
fn unknown_options_are_errors() {
    for wrong in [
        &["-Z"][..],
        &["--nope"],
        &["--p", "x"],
        &["-n"],
        &["--plug"],
        &["--quiet=1"],
        &["-vZ"],
        &["--=x"],
        &["-o", "metadata", "--bogus"],
    ] {
        assert!(!from_argv(wrong).errors.is_empty(), "{wrong:?}");
    }
    let ambiguous = from_argv(&["--s", "x"]).errors.join(" ");
    assert!(
        ambiguous.contains("ambiguous") && ambiguous.contains("--ssl"),
        "{ambiguous}"
    );
}

/// A device with `help=1` among its parameters would "succeed" without doing anything.
#[test]
fn help_and_version_are_not_reachable_from_stdin() {
    for line in ["help=1", "version=1", "help", "--help"] {
        assert_eq!(
            action(&from_stdin(&format!("{COMPLETE}action=off\n{line}\n"))),
            Ok("off"),
            "{line}"
        );
    }
    assert_eq!(action(&from_argv(&["-h"])), Ok("help"));
}

#[test]
fn an_optional_value_is_only_taken_when_attached() {
    for (args, wanted) in [
        (&["-K", "7"][..], 2),
        (&["-K7"], 7),
        (&["--cid"], 2),
        (&["--cid=9"], 9),
    ] {
        let options = from_argv(args).options.expect("options");
        assert_eq!(options.number("cid"), Some(wanted), "{args:?}");
    }
    assert!(!from_argv(&["-K100"]).errors.is_empty());
}

#[test]
fn defaults_are_not_written() {
    let options = from_stdin(&format!("{COMPLETE}delay=3\n"))
        .options
        .expect("options");
    assert!(options.is_written("delay") && !options.is_written("power_wait"));
    assert_eq!(options.number("power_timeout"), Some(20));
    assert_eq!(
        options.seconds("delay"),
        Some(std::time::Duration::from_secs(3))
    );
}

proptest! {
    #[test]
    fn no_input_panics(input in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = assemble(&SAMPLE, stdin::read(&SAMPLE, &input));
    }

    #[test]
    fn no_command_line_panics(args in prop::collection::vec(".{0,12}", 0..8)) {
        let _ = assemble(&SAMPLE, argv::read(&SAMPLE, args.into_iter().map(OsString::from)));
    }

    /// Whatever else is on the lines: an action other than the named one never comes out.
    #[test]
    fn the_named_action_or_none(noise in "[a-z_=0-9 \n]{0,80}") {
        let assembled = from_stdin(&format!("{noise}\naction=status\n"));
        if let Ok(options) = &assembled.options {
            let name = options.action().name;
            prop_assert!(name == "status" || !assembled.errors.is_empty() || noise.contains("action")
                || noise.contains("help") || noise.contains("version"), "{name}");
        }
    }
}
