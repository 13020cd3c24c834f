//! The declared table of an agent, and the checks of the table itself.
//!
//! Everything else in this crate is derived from an [`Agent`]: parsing, defaults, validation,
//! metadata, help and man page. Tables are constants, so that an agent starts without building one.

use crate::log::Facility;

/// One agent: who it is, what it accepts, what it can do.
#[derive(Debug)]
pub struct Agent {
    /// Program base name, e.g. `fence_xvm`.
    pub name: &'static str,
    /// One line for `shortdesc` and the man page's NAME.
    pub shortdesc: &'static str,
    /// Paragraphs separated by an empty line.
    pub longdesc: &'static str,
    /// The vendor of what is switched.
    pub vendor_url: &'static str,
    /// What `--version` prints.
    pub version: &'static str,
    /// Other names under which the same program is installed, with their short description.
    pub symlinks: &'static [(&'static str, &'static str)],
    /// Every option.
    pub options: &'static [Opt],
    /// Every action, in the order metadata shows them.
    pub actions: &'static [Action],
    /// stdin names that are accepted and mean nothing to this agent (no warning).
    pub ignored: &'static [&'static str],
    /// Where syslog files the agent's messages.
    pub facility: Facility,
    /// Further paragraphs for the man page: heading and text.
    pub notes: &'static [(&'static str, &'static str)],
}

/// What an action may do and what it needs.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    /// Its name, lower case.
    pub name: &'static str,
    /// One line for the man page.
    pub help: &'static str,
    /// Other accepted names that mean the same (`enable` for `on`).
    pub aliases: &'static [&'static str],
    /// Whether an option marked [`Need::Plug`] must be given.
    pub plug: bool,
    /// Whether `delay` applies.
    pub delayed: bool,
    /// Whether it is answered by this crate alone, before options are checked.
    pub informative: bool,
    /// Metadata attribute `automatic`, where it is to be shown: the fencer unfences joining nodes.
    pub automatic: Option<bool>,
    /// Metadata attribute `on_target`: the action must run on the node it is for.
    pub on_target: bool,
}

impl Action {
    /// An action on a plug.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            aliases: &[],
            plug: true,
            delayed: false,
            informative: false,
            automatic: None,
            on_target: false,
        }
    }

    /// The same, needing no plug.
    #[must_use]
    pub const fn without_plug(mut self) -> Self {
        self.plug = false;
        self
    }

    /// The same, held back by `delay`.
    #[must_use]
    pub const fn delayed(mut self) -> Self {
        self.delayed = true;
        self
    }

    /// The same, answered from the table alone.
    #[must_use]
    pub const fn informative(mut self) -> Self {
        self.informative = true;
        self.plug = false;
        self
    }

    /// The same, with the metadata attribute `automatic`.
    #[must_use]
    pub const fn automatic(mut self, yes: bool) -> Self {
        self.automatic = Some(yes);
        self
    }

    /// The same, with the metadata attribute `on_target`.
    #[must_use]
    pub const fn on_target(mut self) -> Self {
        self.on_target = true;
        self
    }

    /// The same, also known by other names.
    #[must_use]
    pub const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }
}

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Present or not; on stdin 1/yes/on/true or 0/no/off/false. False means not set.
    Flag,
    /// A flag that counts on the command line and takes a number on stdin.
    Count,
    /// A decimal integer in these bounds, both included.
    Integer(i64, i64),
    /// A decimal number of seconds in these bounds, both included.
    Second(i64, i64),
    /// One of these, compared without regard to case.
    Select(&'static [&'static str]),
}

/// When an option must have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It may be missing.
    Optional,
    /// Always, informative actions excepted.
    Always,
    /// For actions that need a plug.
    Plug,
}

/// Another spelling of an option.
#[derive(Debug, Clone, Copy)]
pub struct Alias {
    /// stdin name; also the long name when `long` is set.
    pub name: &'static str,
    /// Short flag.
    pub short: Option<char>,
    /// Whether `--NAME` is accepted.
    pub long: bool,
    /// Place in metadata; the option's own when none.
    pub order: Option<u16>,
    /// Whether metadata shows it, as deprecated.
    pub shown: bool,
    /// Whether metadata shows the option's own flags for it, and its `required`, as fence-agents'
    /// library does.
    pub shares_flags: bool,
}

impl Alias {
    /// A deprecated spelling that metadata shows; on the command line only the current one exists.
    #[must_use]
    pub const fn deprecated(name: &'static str) -> Self {
        Self {
            name,
            short: None,
            long: false,
            order: None,
            shown: true,
            shares_flags: true,
        }
    }

    /// A spelling that is accepted on stdin and not advertised.
    #[must_use]
    pub const fn silent(name: &'static str) -> Self {
        Self {
            shown: false,
            ..Self::deprecated(name)
        }
    }

    /// The same, with flags on the command line.
    #[must_use]
    pub const fn flags(mut self, short: Option<char>, long: bool) -> Self {
        self.short = short;
        self.long = long;
        self.shares_flags = false;
        self
    }

    /// The same, shown without any flags.
    #[must_use]
    pub const fn stdin_only(mut self) -> Self {
        self.shares_flags = false;
        self
    }

    /// The same, at a place of its own in metadata.
    #[must_use]
    pub const fn order(mut self, order: u16) -> Self {
        self.order = Some(order);
        self
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// stdin name, and the name by which code asks for the value. `_` and `-` are the same.
    pub name: &'static str,
    /// Whether `--NAME` is accepted (with `-` for `_`).
    pub long: bool,
    /// Short flag.
    pub short: Option<char>,
    /// A second short flag that means the same.
    pub short_too: Option<char>,
    /// Other spellings, the preferred one first.
    pub aliases: &'static [Alias],
    /// Whether metadata says that this name obsoletes the first alias.
    pub obsoletes: bool,
    /// What values it takes.
    pub kind: Kind,
    /// Type shown in metadata where it differs from what `kind` would say.
    pub xml_type: Option<&'static str>,
    /// Value when not given; also advertised.
    pub default: Option<&'static str>,
    /// Value when given without one: on the command line such an option takes only an attached value.
    pub bare: Option<&'static str>,
    /// Metadata attribute `required`.
    pub required: bool,
    /// When it must have a value.
    pub need: Need,
    /// Whether it decides what is done to whom: then an empty value, or two different values for
    /// the same spelling, is an error instead of "last one wins".
    pub decisive: bool,
    /// Sort key of metadata and help.
    pub order: u16,
    /// Placeholder of the value in help.
    pub value: &'static str,
    /// One line.
    pub help: &'static str,
    /// Whether metadata shows it.
    pub shown: bool,
    /// Whether stdin accepts it.
    pub stdin: bool,
    /// Whether its value is a secret, never to be logged.
    pub secret: bool,
}

impl Opt {
    /// An optional text option with a long name.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            long: true,
            short: None,
            short_too: None,
            aliases: &[],
            obsoletes: false,
            kind: Kind::Text,
            xml_type: None,
            default: None,
            bare: None,
            required: false,
            need: Need::Optional,
            decisive: false,
            order: 1,
            value: "value",
            help: "",
            shown: true,
            stdin: true,
            secret: false,
        }
    }

    /// An option of the given kind.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            kind,
            ..Self::text(name)
        }
    }

    /// A flag.
    #[must_use]
    pub const fn flag(name: &'static str) -> Self {
        Self::new(name, Kind::Flag)
    }

    /// With a short flag.
    #[must_use]
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// With a second short flag.
    #[must_use]
    pub const fn short_too(mut self, short: char) -> Self {
        self.short_too = Some(short);
        self
    }

    /// With other spellings.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Metadata: this name obsoletes the first alias.
    #[must_use]
    pub const fn obsoletes(mut self) -> Self {
        self.obsoletes = true;
        self
    }

    /// Metadata shows this type.
    #[must_use]
    pub const fn xml_type(mut self, name: &'static str) -> Self {
        self.xml_type = Some(name);
        self
    }

    /// With a default.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// With a value to assume when none is written.
    #[must_use]
    pub const fn bare(mut self, value: &'static str) -> Self {
        self.bare = Some(value);
        self
    }

    /// Metadata attribute `required="1"`.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// When it must have a value.
    #[must_use]
    pub const fn need(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    /// Decides what is done to whom.
    #[must_use]
    pub const fn decisive(mut self) -> Self {
        self.decisive = true;
        self
    }

    /// Sort key.
    #[must_use]
    pub const fn order(mut self, order: u16) -> Self {
        self.order = order;
        self
    }

    /// Placeholder and description.
    #[must_use]
    pub const fn help(mut self, value: &'static str, help: &'static str) -> Self {
        self.value = value;
        self.help = help;
        self
    }

    /// Accepted on the command line only: what ends a run without doing anything must not be within
    /// reach of a device's parameters.
    #[must_use]
    pub const fn not_on_stdin(mut self) -> Self {
        self.stdin = false;
        self
    }

    /// Accepted everywhere, and metadata does not show it.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.shown = false;
        self
    }

    /// Accepted on the command line only, and not advertised (`--help`).
    #[must_use]
    pub const fn command_line_only(mut self) -> Self {
        self.shown = false;
        self.stdin = false;
        self
    }

    /// Its value is never logged.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Whether the option takes a value on the command line.
    #[must_use]
    pub const fn takes_value(&self) -> bool {
        !matches!(self.kind, Kind::Flag | Kind::Count)
    }
}

/// Equality of option names: `-` and `_` are the same, case is not significant.
#[must_use]
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(x, y)| fold(x) == fold(y))
}

/// One byte of an option name in its canonical spelling.
pub(crate) const fn fold(byte: u8) -> u8 {
    if byte == b'-' {
        b'_'
    } else {
        byte.to_ascii_lowercase()
    }
}

impl Agent {
    /// The option with this canonical name.
    #[must_use]
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.options.iter().position(|option| option.name == name)
    }

    /// The action of this name or alias. `meta-data` is `metadata`.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&'static Action> {
        let name = if name.eq_ignore_ascii_case("meta-data") {
            "metadata"
        } else {
            name
        };
        self.actions.iter().find(|action| {
            action.name.eq_ignore_ascii_case(name)
                || action
                    .aliases
                    .iter()
                    .any(|alias| alias.eq_ignore_ascii_case(name))
        })
    }

    /// What is wrong with the table itself; empty when nothing is. Every agent's tests call this.
    #[must_use]
    pub fn self_check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_names(&mut problems);
        for option in self.options {
            check_option(option, &mut problems);
        }
        self.check_actions(&mut problems);
        problems
    }

    fn check_names(&self, problems: &mut Vec<String>) {
        let mut names: Vec<&str> = Vec::new();
        let mut shorts: Vec<char> = Vec::new();
        for option in self.options {
            names.push(option.name);
            // The same name with other dashes may be shown as its deprecated spelling: it is found under either.
            let spellings = option.aliases.iter().map(|alias| alias.name);
            names.extend(
                spellings.filter(|name| *name == option.name || !same_name(name, option.name)),
            );
            shorts.extend(option.short.iter().chain(&option.short_too));
            shorts.extend(option.aliases.iter().filter_map(|alias| alias.short));
        }
        names.extend(self.ignored);
        for (index, name) in names.iter().enumerate() {
            if names
                .iter()
                .skip(index + 1)
                .any(|other| same_name(name, other))
            {
                problems.push(format!("name `{name}` is declared twice"));
            }
        }
        for (index, short) in shorts.iter().enumerate() {
            if shorts.iter().skip(index + 1).any(|other| short == other) {
                problems.push(format!("flag `-{short}` is declared twice"));
            }
            if !short.is_ascii_graphic() || *short == '-' {
                problems.push(format!("flag `{short}` is not usable"));
            }
        }
    }

    fn check_actions(&self, problems: &mut Vec<String>) {
        let action_option = self.options.iter().find(|option| option.name == "action");
        match action_option.map(|option| option.default) {
            Some(Some(default)) if self.action(default).is_none() => {
                problems.push(format!("default action `{default}` is not an action"));
            }
            Some(Some(_)) => {}
            _ => problems.push("there is no option `action` with a default".to_owned()),
        }
        for name in ["metadata", "validate-all", "monitor"] {
            if self.action(name).is_none() {
                problems.push(format!("action `{name}` is missing"));
            }
        }
        for (index, action) in self.actions.iter().enumerate() {
            if self
                .actions
                .iter()
                .skip(index + 1)
                .any(|other| other.name == action.name)
            {
                problems.push(format!("action `{}` is declared twice", action.name));
            }
            if action.name.bytes().any(|byte| byte.is_ascii_uppercase()) || action.help.is_empty() {
                problems.push(format!(
                    "action `{}` needs a lower-case name and a description",
                    action.name
                ));
            }
        }
    }
}

fn check_option(option: &Opt, problems: &mut Vec<String>) {
    let mut complain = |text: &str| problems.push(format!("option `{}` {text}", option.name));
    if option.help.is_empty() {
        complain("has no description");
    }
    if option.takes_value() && option.value.is_empty() {
        complain("has no placeholder for its value");
    }
    if option.kind == Kind::Flag && option.default.is_some() {
        complain("is a flag with a default");
    }
    if matches!(option.kind, Kind::Select(choices) if choices.is_empty()) {
        complain("has no choices");
    }
    if option.obsoletes && option.aliases.is_empty() {
        complain("obsoletes nothing");
    }
    for text in [option.default, option.bare].into_iter().flatten() {
        if crate::value::parse(option, text).is_err() {
            complain("has a default outside its own bounds");
        }
    }
    if !option.long && option.short.is_none() && !option.stdin {
        complain("cannot be given at all");
    }
}
