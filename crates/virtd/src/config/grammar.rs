//! The grammar of `fence_virt.conf`: text in, a tree with the place of everything out.
//!
//! ```text
//! file       = item { item }
//! item       = assignment | section
//! assignment = word "=" text ";"
//! section    = word [ "=" text ] "{" { item } "}"
//! word       = one or more characters other than blank, tab, newline, { } ; = "
//! text       = '"' one or more characters other than '"', newlines included '"'
//! comment    = "#" to the end of the line, outside texts
//! ```
//!
//! This is the grammar of the C `fence_virtd`, neither more nor less: a file that one of them reads,
//! the other reads too. What the entries mean is not known here.

use std::ops::Range;

use super::diagnose::Diagnostic;

/// Sections within sections, at most. The C grammar has no limit and uses three; the limit keeps
/// a hostile file from exhausting the stack.
const MAX_DEPTH: usize = 16;

/// A piece of the file and where it stands (byte offsets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned {
    /// The piece, without quotes.
    pub text: String,
    /// Its place, for a text without the quotes.
    pub span: Range<usize>,
}

/// One entry of a section or of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// `key = "value";`
    Assignment {
        /// The key as written.
        key: Spanned,
        /// The value.
        value: Spanned,
    },
    /// `name { … }` or `name = "label" { … }`
    Section(Section),
}

/// A named block of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name as written.
    pub name: Spanned,
    /// The text between name and brace, if there is one.
    pub label: Option<Spanned>,
    /// What is inside, in the order of the file.
    pub items: Vec<Item>,
}

/// Parses a whole file.
///
/// # Errors
/// The first place that does not fit the grammar, with what was expected there and how to mend it.
pub fn parse(source: &str) -> Result<Vec<Item>, Diagnostic> {
    let mut parser = Parser { source, at: 0 };
    let items = parser.items(0)?;
    if items.is_empty() {
        return Err(Diagnostic::error(0..0, "the file holds no configuration")
            .label("nothing but blanks and comments")
            .help(
                "write at least `fence_virtd { listener = \"multicast\"; backend = \"libvirt\"; }`",
            ));
    }
    Ok(items)
}

/// What the next piece of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word,
    Text,
    Symbol(char),
    End,
}

impl Token {
    fn describe(self) -> String {
        match self {
            Self::Word => "a word".to_owned(),
            Self::Text => "a quoted text".to_owned(),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end of the file".to_owned(),
        }
    }
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
}

fn is_word_character(character: char) -> bool {
    !matches!(
        character,
        ' ' | '\t' | '\n' | '\r' | '{' | '}' | ';' | '=' | '"' | '#'
    )
}

impl Parser<'_> {
    /// Entries up to the closing brace of the section at `depth`, or to the end of the file at 0.
    fn items(&mut self, depth: usize) -> Result<Vec<Item>, Diagnostic> {
        let mut items = Vec::new();
        loop {
            let (token, span) = self.next()?;
            match token {
                Token::Word => items.push(self.item(span, depth)?),
                Token::End if depth == 0 => return Ok(items),
                Token::Symbol('}') if depth > 0 => return Ok(items),
                Token::End => {
                    return Err(Diagnostic::error(span, "a section is not closed")
                        .label("the file ends here")
                        .help("write the missing `}`"));
                }
                Token::Symbol('}') => {
                    return Err(Diagnostic::error(span, "`}` without a section to close")
                        .label("no section is open here")
                        .help("remove it, or look for a `{` that is missing above"));
                }
                Token::Symbol(';') => {
                    return Err(Diagnostic::error(span, "`;` does not belong here")
                        .label("an entry must begin here")
                        .help("only assignments end with `;`: no `;` after `}`"));
                }
                other => {
                    return Err(Diagnostic::error(
                        span,
                        format!("expected a key or a section, found {}", other.describe()),
                    )
                    .label("an entry must begin here")
                    .help("write `key = \"value\";` or `section { … }`"));
                }
            }
        }
    }

    /// The rest of an entry whose first word stands at `word`.
    fn item(&mut self, word: Range<usize>, depth: usize) -> Result<Item, Diagnostic> {
        let name = self.spanned(word);
        let (token, span) = self.next()?;
        match token {
            Token::Symbol('{') => self.section(name, None, &span, depth),
            Token::Symbol('=') => {
                let value = self.value(&name)?;
                let (token, span) = self.next()?;
                match token {
                    Token::Symbol(';') => Ok(Item::Assignment { key: name, value }),
                    Token::Symbol('{') => self.section(name, Some(value), &span, depth),
                    other => {
                        let end = value.span.end + 1;
                        Err(Diagnostic::error(
                            end..end,
                            format!("`;` is missing after the value of `{}`", name.text),
                        )
                        .label(format!("expected `;` here, found {}", other.describe()))
                        .help("end every assignment with `;`"))
                    }
                }
            }
            other => Err(Diagnostic::error(
                span,
                format!(
                    "expected `=` or `{{` after `{}`, found {}",
                    name.text,
                    other.describe()
                ),
            )
            .label("here")
            .help(format!(
                "write `{0} = \"value\";` or `{0} {{ … }}`",
                name.text
            ))),
        }
    }

    fn section(
        &mut self,
        name: Spanned,
        label: Option<Spanned>,
        brace: &Range<usize>,
        depth: usize,
    ) -> Result<Item, Diagnostic> {
        if depth + 1 > MAX_DEPTH {
            return Err(Diagnostic::error(
                brace.clone(),
                format!("sections are nested more than {MAX_DEPTH} deep"),
            )
            .label("one too many")
            .help("fence_virt.conf needs three levels at most"));
        }
        let items = self.items(depth + 1)?;
        Ok(Item::Section(Section { name, label, items }))
    }

    /// The quoted text after `key =`.
    fn value(&mut self, key: &Spanned) -> Result<Spanned, Diagnostic> {
        let (token, span) = self.next()?;
        if token == Token::Text {
            return Ok(self.spanned(span));
        }
        let written = self.source.get(span.clone()).unwrap_or_default();
        let help = if token == Token::Word {
            format!("write `{} = \"{written}\";`", key.text)
        } else {
            format!("write `{} = \"…\";`", key.text)
        };
        Err(Diagnostic::error(
            span,
            format!(
                "the value of `{}` must be a quoted text, found {}",
                key.text,
                token.describe()
            ),
        )
        .label("quotes are missing")
        .help(help))
    }

    fn spanned(&self, span: Range<usize>) -> Spanned {
        Spanned {
            text: self.source.get(span.clone()).unwrap_or_default().to_owned(),
            span,
        }
    }

    fn peek(&self) -> Option<char> {
        self.source.get(self.at..)?.chars().next()
    }

    /// Advances while `wanted` holds and returns what was passed over.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> Range<usize> {
        let start = self.at;
        while let Some(character) = self.peek().filter(|character| wanted(*character)) {
            self.at += character.len_utf8();
        }
        start..self.at
    }

    fn skip_blanks(&mut self) -> Result<(), Diagnostic> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\n') => self.at += 1,
                Some('#') => {
                    self.take_while(|character| character != '\n');
                }
                Some('\r') => {
                    return Err(Diagnostic::error(
                        self.at..self.at,
                        "a carriage return stands here",
                    )
                    .label("this line ends as on Windows")
                    .help("remove them: sed -i 's/\\r$//' FILE"));
                }
                _ => return Ok(()),
            }
        }
    }

    /// The next piece and its place; for a text the place within the quotes.
    fn next(&mut self) -> Result<(Token, Range<usize>), Diagnostic> {
        self.skip_blanks()?;
        let start = self.at;
        match self.peek() {
            None => Ok((Token::End, start..start)),
            Some('"') => self.text(start),
            Some(symbol @ ('{' | '}' | ';' | '=')) => {
                self.at += 1;
                Ok((Token::Symbol(symbol), start..self.at))
            }
            Some(_) => Ok((Token::Word, self.take_while(is_word_character))),
        }
    }

    fn text(&mut self, quote: usize) -> Result<(Token, Range<usize>), Diagnostic> {
        self.at += 1;
        let span = self.take_while(|character| character != '"');
        if self.peek().is_none() {
            return Err(
                Diagnostic::error(quote..quote + 1, "this text is never closed")
                    .label("the quote opened here")
                    .help("write the closing `\"`; there is no escape for a quote inside a text"),
            );
        }
        self.at += 1;
        if span.is_empty() {
            return Err(Diagnostic::error(quote..self.at, "an empty text")
                .label("a value needs at least one character")
                .help("write a value, or remove the whole assignment to get the default"));
        }
        Ok((Token::Text, span))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assignment(item: &Item) -> (&str, &str) {
        match item {
            Item::Assignment { key, value } => (&key.text, &value.text),
            Item::Section(section) => panic!("section {} is no assignment", section.name.text),
        }
    }

    #[test]
    fn reads_the_whole_grammar() {
        let items = parse(
            "# first\na=\"1\";b { c = \"x\ny # no comment\" ; } # last\ngroup = \"label\" { }",
        )
        .unwrap();
        assert_eq!(assignment(&items[0]), ("a", "1"));
        let Item::Section(b) = &items[1] else {
            panic!("{items:?}")
        };
        assert_eq!(assignment(&b.items[0]), ("c", "x\ny # no comment"));
        let Item::Section(group) = &items[2] else {
            panic!("{items:?}")
        };
        assert_eq!(group.label.as_ref().unwrap().text, "label");
        assert!(group.items.is_empty());
    }

    #[test]
    fn words_may_hold_anything_but_the_reserved_characters() {
        let items = parse("a.b-c/ü@! = \"v\";").unwrap();
        assert_eq!(assignment(&items[0]).0, "a.b-c/ü@!");
    }

    #[test]
    fn refuses_what_c_refuses() {
        for bad in [
            "",
            "# only a comment",
            "a = 1;",
            "a = \"\";",
            "a = \"1\"",
            "a = \"1\"; }",
            "a {",
            "a { };",
            "a = \"1",
            "a { b = \"1\"; }\r\n",
            "= \"1\";",
            "\"a\" = \"1\";",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "a{".repeat(5000), "}".repeat(5000));
        assert!(parse(&deep).unwrap_err().title().contains("nested"));
        let fine = format!("{}{}", "a{".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
        parse(&fine).unwrap();
    }

    /// Writes items back in canonical form.
    fn write(items: &[(String, String)]) -> String {
        items
            .iter()
            .map(|(key, value)| format!("{key} = \"{value}\";"))
            .collect()
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_near_misses(text in "[a-c{}=;\"#\n\r é]{0,80}") {
            match parse(&text) {
                Ok(_) => {}
                Err(error) => {
                    let span = error.span();
                    prop_assert!(span.start <= span.end && span.end <= text.len() + 1);
                    prop_assert!(!error.render(&text, "f").is_empty());
                }
            }
        }

        #[test]
        fn assignments_come_back(items in proptest::collection::vec(
            ("[a-z_0-9]{1,8}", "[^\"]{1,12}"), 1..8)) {
            let parsed = parse(&write(&items)).unwrap();
            let back: Vec<(String, String)> = parsed.iter().map(|item| {
                let (key, value) = assignment(item);
                (key.to_owned(), value.to_owned())
            }).collect();
            prop_assert_eq!(back, items);
        }
    }
}
