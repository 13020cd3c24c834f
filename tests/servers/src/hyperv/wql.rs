//! The part of WQL that is asked for: `select … from CLASS [where …]` with `=`, `<>`, `!=`, `like`, `is [not] null`, `not`,
//! `and`, `or` and parentheses.

use super::wmi::Instance;

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// The properties wanted; empty for all.
    pub(super) properties: Vec<String>,
    /// The class.
    pub(super) class: String,
    condition: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Is {
        property: String,
        value: String,
        not: bool,
    },
    Like {
        property: String,
        pattern: String,
    },
    Null {
        property: String,
        not: bool,
    },
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

impl Query {
    /// Reads a query.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut tokens = Tokens {
            all: tokens(text)?,
            at: 0,
        };
        tokens.word("select")?;
        let mut properties = Vec::new();
        if tokens.sign("*").is_none() {
            loop {
                properties.push(tokens.name()?);
                if tokens.sign(",").is_none() {
                    break;
                }
            }
        }
        tokens.word("from")?;
        let class = tokens.name()?;
        let condition = match tokens.word("where") {
            Some(()) => Some(tokens.or()?),
            None => None,
        };
        (tokens.at == tokens.all.len()).then_some(Self {
            properties,
            class,
            condition,
        })
    }

    /// Whether an instance is selected.
    pub(super) fn selects(&self, instance: &Instance) -> bool {
        self.condition
            .as_ref()
            .is_none_or(|condition| condition.holds(instance))
    }
}

impl Condition {
    fn holds(&self, instance: &Instance) -> bool {
        match self {
            Self::Is {
                property,
                value,
                not,
            } => {
                let is = instance.text(property).is_some_and(|text| {
                    text.eq_ignore_ascii_case(value) || lower(&text) == lower(value)
                });
                is != *not
            }
            Self::Like { property, pattern } => {
                let pattern: Vec<char> = lower(pattern).chars().collect();
                instance
                    .text(property)
                    .is_some_and(|text| like(&lower(&text).chars().collect::<Vec<_>>(), &pattern))
            }
            Self::Null { property, not } => instance.text(property).is_none() != *not,
            Self::Not(inner) => !inner.holds(instance),
            Self::And(a, b) => a.holds(instance) && b.holds(instance),
            Self::Or(a, b) => a.holds(instance) || b.holds(instance),
        }
    }
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        (['%', rest @ ..], _) => (0..=text.len()).any(|at| like(&text[at..], rest)),
        (['_', rest @ ..], [_, tail @ ..]) => like(tail, rest),
        ([c, rest @ ..], [d, tail @ ..]) => c == d && like(tail, rest),
        (_, []) => false,
    }
}

struct Tokens {
    all: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn next(&mut self) -> Option<Token> {
        let token = self.all.get(self.at).cloned()?;
        self.at += 1;
        Some(token)
    }

    fn word(&mut self, wanted: &str) -> Option<()> {
        let is = matches!(self.all.get(self.at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        is.then(|| self.at += 1)
    }

    fn sign(&mut self, wanted: &str) -> Option<()> {
        let is = matches!(self.all.get(self.at), Some(Token::Sign(sign)) if sign == wanted);
        is.then(|| self.at += 1)
    }

    fn name(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn or(&mut self) -> Option<Condition> {
        let mut left = self.and()?;
        while self.word("or").is_some() {
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Condition> {
        let mut left = self.not()?;
        while self.word("and").is_some() {
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Condition> {
        if self.word("not").is_some() {
            return Some(Condition::Not(Box::new(self.not()?)));
        }
        if self.sign("(").is_some() {
            let inner = self.or()?;
            self.sign(")")?;
            return Some(inner);
        }
        let property = self.name()?;
        if self.word("is").is_some() {
            let not = self.word("not").is_some();
            self.word("null")?;
            return Some(Condition::Null { property, not });
        }
        if self.word("like").is_some() {
            let Token::Text(pattern) = self.next()? else {
                return None;
            };
            return Some(Condition::Like { property, pattern });
        }
        let not = if self.sign("=").is_some() {
            false
        } else {
            self.sign("<>").or_else(|| self.sign("!="))?;
            true
        };
        let value = match self.next()? {
            Token::Word(value) | Token::Text(value) => value,
            Token::Sign(_) => return None,
        };
        Some(Condition::Is {
            property,
            value,
            not,
        })
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let (mut tokens, mut rest) = (Vec::new(), text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            _ if c.is_whitespace() => {}
            '\'' | '"' => {
                let mut value = String::new();
                loop {
                    match rest.next()? {
                        '\\' => value.push(rest.next()?),
                        end if end == c => break,
                        other => value.push(other),
                    }
                }
                tokens.push(Token::Text(value));
            }
            '*' | ',' | '(' | ')' | '=' => tokens.push(Token::Sign(c.to_string())),
            '<' | '!' => {
                let second = rest.next()?;
                tokens.push(Token::Sign(format!("{c}{second}")));
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let mut word = c.to_string();
                while let Some(next) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(condition: &str) -> bool {
        let mut instance = Instance::new("C");
        instance.put("Name", "O'Brien \\ é");
        instance.put("State", "3");
        instance.null("InstallDate");
        Query::parse(&format!("select * from C where {condition}"))
            .unwrap()
            .selects(&instance)
    }

    #[test]
    fn conditions() {
        for (condition, holds) in [
            (r"Name = 'o\'BRIEN \\ É'", true),
            (r#"Name = "O'Brien \\ é""#, true),
            ("State = 3", true),
            ("State <> 3", false),
            ("InstallDate is null", true),
            ("State is not null and not Name like 'x%'", true),
            ("Name like 'o_brien%' and (State = 4 or State = 3)", true),
            ("State = 4 or State = 3 and Name = 'x'", false),
            ("Missing = 'x'", false),
        ] {
            assert_eq!(selects(condition), holds, "{condition}");
        }
    }

    #[test]
    fn what_is_no_query() {
        for text in [
            "",
            "select",
            "select * from",
            "select * from C where",
            "select * from C where A = 'x",
            "drop C",
            "select * from C where A = 'a' b",
        ] {
            assert_eq!(Query::parse(text), None, "{text}");
        }
        assert_eq!(
            Query::parse("SELECT A, B FROM C").unwrap().properties,
            ["A", "B"]
        );
    }
}
