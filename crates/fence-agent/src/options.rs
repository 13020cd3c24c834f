//! From what was written to checked options: precedence, defaults, validation.

use crate::given::{Given, Reading, spelling};
use crate::table::{Action, Agent, Need, Opt};
use crate::value::{Value, parse};

/// Checked options of one run. Ask by canonical name; a name that is not in the table has no value.
#[derive(Debug)]
pub struct Options {
    agent: &'static Agent,
    values: Vec<Option<Value>>,
    written: Vec<bool>,
    action: &'static Action,
}

/// What came out of reading the options: as far as it could be read, and everything that was wrong.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub options: Result<Options, String>,
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
    pub from_argv: bool,
}

impl Options {
    /// The requested action.
    #[must_use]
    pub const fn action(&self) -> &'static Action {
        self.action
    }

    /// The table these options belong to.
    #[must_use]
    pub const fn agent(&self) -> &'static Agent {
        self.agent
    }

    /// Whether the caller gave a value, as opposed to the default.
    #[must_use]
    pub fn is_written(&self, name: &str) -> bool {
        self.agent
            .position(name)
            .is_some_and(|index| self.written[index])
    }

    /// A text or choice.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            Value::Choice(choice) => Some(choice),
            Value::Flag(_) | Value::Number(_) => None,
        }
    }

    /// A flag: true only if given and not false.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Flag(true)))
    }

    /// An integer, a number of seconds or a count.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Number(number) => Some(*number),
            Value::Flag(yes) => Some(i64::from(*yes)),
            Value::Text(_) | Value::Choice(_) => None,
        }
    }

    /// A number of seconds as a duration; none when not given.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Option<std::time::Duration> {
        let seconds = u64::try_from(self.number(name)?).ok()?;
        Some(std::time::Duration::from_secs(seconds))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.agent
            .position(name)
            .and_then(|index| self.values[index].as_ref())
    }
}

/// Turns a reading into checked options.
pub(crate) fn assemble(agent: &'static Agent, reading: Reading) -> Assembled {
    let Reading {
        given,
        mut errors,
        mut warnings,
        from_argv,
    } = reading;
    let mut values = Vec::with_capacity(agent.options.len());
    let mut written = Vec::with_capacity(agent.options.len());
    for (index, option) in agent.options.iter().enumerate() {
        let mine: Vec<&Given> = given.iter().filter(|item| item.option == index).collect();
        let chosen = choose(option, &mine, from_argv, &mut errors, &mut warnings);
        written.push(chosen.is_some());
        values.push(chosen.or_else(|| option.default.and_then(|text| parse(option, text).ok())));
    }
    let options = match action_of(agent, &values) {
        Ok(action) => {
            if !action.informative {
                missing(agent, action, &values, &mut errors);
            }
            Ok(Options {
                agent,
                values,
                written,
                action,
            })
        }
        Err(problem) => Err(problem),
    };
    Assembled {
        options,
        errors,
        warnings,
        from_argv,
    }
}

/// The value of one option. The canonical spelling beats its aliases, an earlier alias a later one:
/// Pacemaker's line order is not under anybody's control, so order must not decide between them.
/// Within one spelling the last one wins, except where the option decides what is done to whom.
fn choose(
    option: &'static Opt,
    mine: &[&Given],
    from_argv: bool,
    errors: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Option<Value> {
    if matches!(option.kind, crate::table::Kind::Count) && from_argv && !mine.is_empty() {
        return i64::try_from(mine.len()).ok().map(Value::Number);
    }
    let best = mine.iter().map(|item| item.spelling).min()?;
    let name = spelling(option, best);
    let mut chosen: Option<Value> = None;
    for item in mine.iter().filter(|item| item.spelling == best) {
        let value = match checked(option, name, item, warnings) {
            Ok(value) => value,
            Err(problem) => {
                errors.push(problem);
                continue;
            }
        };
        if option.decisive && chosen.is_some() && value.is_some() && chosen != value {
            errors.push(format!(
                "option `{name}` is given twice with different values"
            ));
        }
        chosen = value.or(chosen);
    }
    for other in mine.iter().filter(|item| item.spelling != best) {
        let beaten = spelling(option, other.spelling);
        let value = other
            .value
            .as_deref()
            .and_then(|text| parse(option, text).ok());
        if value.is_none() || value == chosen {
            continue;
        }
        if option.decisive && from_argv {
            errors.push(format!(
                "options `{name}` and `{beaten}` mean the same and differ"
            ));
        } else {
            warnings.push(format!(
                "option `{beaten}` differs from `{name}`, which is used"
            ));
        }
    }
    chosen
}

/// One written value, checked. `None` when it was written without one and that can be ignored.
fn checked(
    option: &Opt,
    name: &str,
    item: &Given,
    warnings: &mut Vec<String>,
) -> Result<Option<Value>, String> {
    let flag = matches!(
        option.kind,
        crate::table::Kind::Flag | crate::table::Kind::Count
    );
    let text = match (item.value.as_deref(), option.bare) {
        (Some(text), _) => text,
        (None, Some(bare)) => bare,
        (None, None) if flag => "1",
        (None, None) if option.decisive => return Err(format!("option `{name}` needs a value")),
        (None, None) => {
            warnings.push(format!("option `{name}` has no value, ignored"));
            return Ok(None);
        }
    };
    if option.decisive && text.trim().is_empty() {
        return Err(format!("option `{name}` must not be empty"));
    }
    parse(option, text)
        .map(Some)
        .map_err(|problem| format!("option `{name}` {problem}"))
}

fn action_of(agent: &'static Agent, values: &[Option<Value>]) -> Result<&'static Action, String> {
    let asked = |name: &str| {
        agent
            .position(name)
            .is_some_and(|index| values[index] == Some(Value::Flag(true)))
    };
    for name in ["help", "version"] {
        if asked(name) {
            return Ok(if name == "help" { &HELP } else { &VERSION });
        }
    }
    let Some(Some(Value::Text(text))) = agent.position("action").map(|index| &values[index]) else {
        return Err("no action".to_owned());
    };
    agent.action(text.trim()).ok_or_else(|| {
        let known: Vec<&str> = agent.actions.iter().map(|action| action.name).collect();
        format!(
            "unsupported action `{}`: this agent has {}",
            text.trim(),
            known.join(", ")
        )
    })
}

/// What `--help` and `--version` amount to; not reachable as `action=`.
pub(crate) static HELP: Action = Action::new("help", "print usage").informative();
pub(crate) static VERSION: Action = Action::new("version", "print the version").informative();

fn missing(
    agent: &'static Agent,
    action: &Action,
    values: &[Option<Value>],
    errors: &mut Vec<String>,
) {
    for (option, value) in agent.options.iter().zip(values) {
        let needed = match option.need {
            Need::Optional => false,
            Need::Always => true,
            Need::Plug => action.plug,
        };
        let empty = value.is_none() || matches!(value, Some(Value::Text(text)) if text.is_empty());
        if needed
            && empty
            && !errors
                .iter()
                .any(|error| error.contains(&format!("`{}`", option.name)))
        {
            let flag = option
                .short
                .map(|short| format!(" (-{short})"))
                .unwrap_or_default();
            errors.push(format!(
                "action `{}` needs option `{}`{flag}",
                action.name, option.name
            ));
        }
    }
}
