//! The metadata document of an agent (FenceAgentAPI; schema: fence-agents' `metadata.rng`).

use std::fmt::Write;

use crate::given::spelling;
use crate::table::{Action, Agent, Alias, Kind, Opt};

/// The whole document, under the name by which the program was called.
#[must_use]
pub fn render(agent: &'static Agent, program: &str) -> String {
    let mut xml = String::with_capacity(8 * 1024);
    xml.push_str("<?xml version=\"1.0\" ?>\n");
    line(
        &mut xml,
        format_args!(
            "<resource-agent name=\"{}\" shortdesc=\"{}\">",
            escape(program),
            escape(agent.shortdesc)
        ),
    );
    for (name, shortdesc) in agent.symlinks {
        line(
            &mut xml,
            format_args!(
                "<symlink name=\"{}\" shortdesc=\"{}\" />",
                escape(name),
                escape(shortdesc)
            ),
        );
    }
    line(
        &mut xml,
        format_args!("<longdesc>{}</longdesc>", escape(agent.longdesc)),
    );
    line(
        &mut xml,
        format_args!("<vendor-url>{}</vendor-url>", escape(agent.vendor_url)),
    );
    xml.push_str("<parameters>\n");
    for shown in parameters(agent) {
        parameter(&mut xml, &shown);
    }
    xml.push_str("</parameters>\n<actions>\n");
    for action in agent.actions {
        line(
            &mut xml,
            format_args!(
                "\t<action name=\"{}\"{} />",
                escape(action.name),
                traits(action)
            ),
        );
    }
    xml.push_str("</actions>\n</resource-agent>\n");
    xml
}

/// One `parameter` element: an option under one of its spellings.
struct Shown {
    option: &'static Opt,
    /// 0 the option's own name, n its n-th alias.
    spelling: usize,
}

impl Shown {
    fn name(&self) -> &'static str {
        spelling(self.option, self.spelling)
    }

    fn alias(&self) -> Option<&'static Alias> {
        self.spelling
            .checked_sub(1)
            .and_then(|index| self.option.aliases.get(index))
    }

    fn flags(&self) -> String {
        match self.alias() {
            Some(alias) if alias.shares_flags => flags(self.option, 0),
            _ => flags(self.option, self.spelling),
        }
    }

    /// Options sort by order and by their oldest name; a deprecated spelling without a place of its
    /// own comes just before the name that replaces it.
    fn key(&self) -> (u16, &'static str, bool) {
        let order = self
            .alias()
            .and_then(|alias| alias.order)
            .unwrap_or(self.option.order);
        let oldest = self
            .option
            .aliases
            .first()
            .filter(|_| self.option.obsoletes);
        (
            order,
            oldest.map_or(self.option.name, |alias| alias.name),
            self.alias().is_none(),
        )
    }
}

fn parameters(agent: &'static Agent) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for option in agent.options.iter().filter(|option| option.shown) {
        all.push(Shown {
            option,
            spelling: 0,
        });
        for (index, alias) in option.aliases.iter().enumerate() {
            if alias.shown {
                all.push(Shown {
                    option,
                    spelling: index + 1,
                });
            }
        }
    }
    all.sort_by_key(Shown::key);
    all
}

fn parameter(xml: &mut String, shown: &Shown) {
    let option = shown.option;
    let relation = match option.aliases.first() {
        _ if shown.spelling > 0 => " deprecated=\"1\"".to_owned(),
        Some(first) if option.obsoletes => format!(" obsoletes=\"{}\"", escape(first.name)),
        _ => String::new(),
    };
    let flags = shown.flags();
    // A spelling that stdin alone accepts must not look mandatory beside the real one.
    let required = u8::from(option.required && !flags.is_empty());
    line(
        xml,
        format_args!(
            "\t<parameter name=\"{}\" unique=\"0\" required=\"{required}\"{relation}>",
            escape(shown.name())
        ),
    );
    line(
        xml,
        format_args!("\t\t<getopt mixed=\"{}\" />", escape(&flags)),
    );
    content(xml, option);
    line(
        xml,
        format_args!(
            "\t\t<shortdesc lang=\"en\">{}</shortdesc>",
            escape(option.help)
        ),
    );
    xml.push_str("\t</parameter>\n");
}

fn content(xml: &mut String, option: &Opt) {
    let kind = option.xml_type.unwrap_or(match option.kind {
        Kind::Text => "string",
        Kind::Flag | Kind::Count => "boolean",
        Kind::Integer(..) => "integer",
        Kind::Second(..) => "second",
        Kind::Select(_) => "select",
    });
    let default = option
        .default
        .map(|text| format!(" default=\"{}\"", escape(text)))
        .unwrap_or_default();
    match option.kind {
        Kind::Select(choices) if kind == "select" => {
            line(xml, format_args!("\t\t<content type=\"select\"{default}>"));
            for choice in choices {
                line(
                    xml,
                    format_args!("\t\t\t<option value=\"{}\" />", escape(choice)),
                );
            }
            xml.push_str("\t\t</content>\n");
        }
        _ => line(
            xml,
            format_args!("\t\t<content type=\"{kind}\"{default} />"),
        ),
    }
}

fn traits(action: &Action) -> String {
    let mut text = String::new();
    if action.on_target {
        text.push_str(" on_target=\"1\"");
    }
    if let Some(yes) = action.automatic {
        text.push_str(if yes {
            " automatic=\"1\""
        } else {
            " automatic=\"0\""
        });
    }
    text
}

/// How a spelling is written on the command line: `-n, --plug=[name]`. Empty when it cannot be.
pub(crate) fn flags(option: &Opt, spelling: usize) -> String {
    let (short, long) = match spelling
        .checked_sub(1)
        .and_then(|index| option.aliases.get(index))
    {
        Some(alias) => (alias.short, alias.long.then_some(alias.name)),
        None => (option.short, option.long.then_some(option.name)),
    };
    let value = match (option.takes_value(), option.bare) {
        (false, _) => String::new(),
        (true, None) => format!("[{}]", option.value),
        (true, Some(_)) => format!("[{}]", option.value),
    };
    match (short, long) {
        (None, None) => String::new(),
        (Some(short), None) if value.is_empty() => format!("-{short}"),
        (Some(short), None) => format!("-{short} {value}"),
        (short, Some(long)) => {
            let lead = short.map(|short| format!("-{short}, ")).unwrap_or_default();
            let long = long.replace('_', "-");
            if value.is_empty() {
                format!("{lead}--{long}")
            } else {
                format!("{lead}--{long}={value}")
            }
        }
    }
}

/// Escaped for text and attribute values; characters XML 1.0 cannot carry become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn line(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = xml.write_fmt(text);
    xml.push('\n');
}
