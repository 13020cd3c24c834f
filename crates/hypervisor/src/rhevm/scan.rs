//! Long lists of guests, read in one pass: an engine may have thousands, of each of which a name, an id and a state are wanted, and
//! a tree of everything would take twenty times the memory of what is told apart here.
//!
//! It sees the same guests, names and states as reading by tree does; a property test compares the two.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use uuid::Uuid;

use super::states::Status;
use super::xml::{self, Unusable};

/// What a list tells of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id, which is its UUID.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its state; none when the engine said nothing about it (I09).
    pub status: Option<Status>,
}

/// Hands every guest of a list to `take`, together with the element it was read from.
///
/// # Errors
/// When `body` is no whole list, or a guest in it has no id or no name: it might be the one that is looked for.
pub(super) fn vms(body: &[u8], mut take: impl FnMut(Listed, &str)) -> Result<(), Unusable> {
    let text = std::str::from_utf8(body).map_err(|error| Unusable::NotXml(error.to_string()));
    let result = text.and_then(|text| Scan::new(text).vms(&mut take));
    result.map_err(|why| xml::page(body).unwrap_or(why))
}

struct Scan<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        let text = text.trim_start_matches('\u{feff}');
        Self {
            text,
            reader: Reader::from_str(text),
        }
    }

    fn next(&mut self) -> Result<Event<'a>, Unusable> {
        match self.reader.read_event().map_err(broken)? {
            Event::DocType(_) => Err(Unusable::NotXml("it has a document type".to_owned())),
            event => Ok(event),
        }
    }

    /// How far it has read.
    fn at(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn vms(&mut self, take: &mut impl FnMut(Listed, &str)) -> Result<(), Unusable> {
        if self.open()? {
            self.elements(take)?;
        }
        loop {
            match self.next()? {
                Event::Eof => return Ok(()),
                other => between(&other)?,
            }
        }
    }

    /// Reads up to the list's beginning; false when that is its end too.
    fn open(&mut self) -> Result<bool, Unusable> {
        loop {
            let event = self.next()?;
            let (Event::Start(start) | Event::Empty(start)) = &event else {
                between(&event)?;
                continue;
            };
            if local(start) == "vms" {
                return Ok(matches!(event, Event::Start(_)));
            }
            let found = xml::printable(local(start));
            return Err(Unusable::Other {
                wanted: "vms",
                found,
            });
        }
    }

    fn elements(&mut self, take: &mut impl FnMut(Listed, &str)) -> Result<(), Unusable> {
        loop {
            let from = self.at();
            match self.next()? {
                Event::Start(start) if local(&start) == "vm" => {
                    let listed = self.vm(&start)?;
                    // Nothing but the element stands between the two places.
                    take(listed, self.text.get(from..self.at()).unwrap_or_default());
                }
                Event::Empty(start) if local(&start) == "vm" => {
                    return Err(missing(if id(&start).is_some() { "name" } else { "id" }));
                }
                Event::Start(start) => self.skip(&start)?,
                Event::End(_) => return Ok(()),
                Event::Eof => return Err(Unusable::NotXml("it ends within the list".to_owned())),
                _ => {}
            }
        }
    }

    fn vm(&mut self, start: &BytesStart<'_>) -> Result<Listed, Unusable> {
        let id = id(start).ok_or_else(|| missing("id"))?;
        let (mut name, mut status) = (None, None);
        loop {
            match self.next()? {
                Event::Start(start) if local(&start) == "name" && name.is_none() => {
                    name = Some(self.own_text()?.0);
                }
                Event::Start(start) if local(&start) == "status" && status.is_none() => {
                    status = Some(self.status()?);
                }
                Event::Empty(start) if local(&start) == "name" && name.is_none() => {
                    name = Some(String::new());
                }
                Event::Empty(start) if local(&start) == "status" && status.is_none() => {
                    status = Some(None);
                }
                Event::Start(start) => self.skip(&start)?,
                Event::End(_) => break,
                Event::Eof => return Err(Unusable::NotXml("it ends within a guest".to_owned())),
                _ => {}
            }
        }
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| missing("name"))?;
        Ok(Listed {
            id,
            name,
            status: status.flatten(),
        })
    }

    /// Version 4 writes the word itself, version 3 wraps it in an element `state`.
    fn status(&mut self) -> Result<Option<Status>, Unusable> {
        let (own, state) = self.own_text()?;
        let word = state.unwrap_or(own);
        let word = word.trim();
        Ok((!word.is_empty()).then(|| Status::read(word)))
    }

    /// The text of the element that was just opened, up to its end, and that of its first child `state`.
    fn own_text(&mut self) -> Result<(String, Option<String>), Unusable> {
        let (mut own, mut state) = (String::new(), None);
        let mut inner: Option<String> = None;
        loop {
            let into = inner.as_mut().unwrap_or(&mut own);
            match self.next()? {
                Event::Text(text) => into.push_str(&text),
                Event::CData(text) => into.push_str(&text),
                Event::GeneralRef(name) => into.push(character(&name)?),
                Event::Empty(start)
                    if inner.is_none() && local(&start) == "state" && state.is_none() =>
                {
                    state = Some(String::new());
                }
                Event::Start(start)
                    if inner.is_none() && local(&start) == "state" && state.is_none() =>
                {
                    inner = Some(String::new());
                }
                Event::Start(start) => self.skip(&start)?,
                Event::End(_) => match inner.take() {
                    Some(text) => state = Some(text),
                    None => return Ok((own, state)),
                },
                Event::Eof => return Err(Unusable::NotXml("it ends within a text".to_owned())),
                _ => {}
            }
        }
    }

    fn skip(&mut self, start: &BytesStart<'_>) -> Result<(), Unusable> {
        let skipped = self.reader.read_to_end(start.name());
        skipped.map(drop).map_err(broken)
    }
}

/// What may stand before and after the root.
fn between(event: &Event<'_>) -> Result<(), Unusable> {
    let fits = match event {
        Event::Decl(_) | Event::PI(_) | Event::Comment(_) => true,
        Event::Text(text) => text.trim().is_empty(),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Unusable::NotXml("it is not one element".to_owned()))
    }
}

fn broken(error: quick_xml::Error) -> Unusable {
    Unusable::NotXml(xml::printable(&error.to_string()))
}

const fn missing(what: &'static str) -> Unusable {
    Unusable::Missing { what, within: "vm" }
}

/// The name of an element, as long as it has no prefix: the interface uses none.
fn local<'b>(start: &'b BytesStart<'_>) -> &'b str {
    start.name().0
}

fn id(start: &BytesStart<'_>) -> Option<Uuid> {
    let id = start.try_get_attribute("id").ok().flatten()?;
    Uuid::try_parse(&id.value).ok()
}

/// What `&name;` stands for. There are no others without a document type, which an engine never sends.
fn character(name: &str) -> Result<char, Unusable> {
    let unknown = || Unusable::NotXml(format!("unknown entity {}", xml::printable(name)));
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix('x') {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32).ok_or_else(unknown);
    }
    resolve_predefined_entity(name)
        .and_then(|text| text.chars().next())
        .ok_or_else(unknown)
}
