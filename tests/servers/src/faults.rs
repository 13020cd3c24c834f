//! What goes wrong, and what was asked: set and read at run time, by tests over HTTP or in the same process.
//!
//! | request | does |
//! |---|---|
//! | `PUT /-/faults` | replaces the table by the lines of the body |
//! | `POST /-/faults` | adds lines |
//! | `GET /-/faults`, `DELETE /-/faults` | shows, clears it |
//! | `GET /-/log`, `DELETE /-/log` | shows, clears the requests seen so far |
//!
//! One fault a line, words separated by blanks, values percent-encoded where they hold blanks; `#` begins a comment:
//!
//! ```text
//! method=POST path=/stop nth=2 count=1 when=after do=hang
//! op=RequestStateChange count=* do=status:500
//! ```
//!
//! `method` and `op` (the operation by the name the service gives it) match as a whole, `path` a part of the target as it was
//! sent. Of the requests that match, `count` (default 1, `*` without end) are hit, beginning with the `nth` (default 1).
//! `when=after` lets the service carry the request out first; then only the answer suffers. `do` is one of:
//!
//! | | |
//! |---|---|
//! | `status:N` | answered with this status and an empty body |
//! | `body:TEXT` | answered 200 with this text |
//! | `raw:TEXT` | these bytes go out instead of any response |
//! | `hang` | no answer, the connection stays open |
//! | `close`, `reset` | the connection is closed, or reset |
//! | `truncate:N` | the connection is closed after N bytes of the answer's body |
//! | `trickle:MS` | the answer comes byte by byte, one every MS milliseconds |
//! | `delay:MS` | answered that much later |
//! | `is:NAME` | the service decides: it finds NAME in [`crate::http::Request::fault`] |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::http::Request;
use crate::text::{decoded, encoded};

/// The most requests that are kept.
const LOG_LIMIT: usize = 100_000;

/// What is wrong with the answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Another status, nothing else.
    Status(u16),
    /// 200 with this text.
    Body(String),
    /// These bytes.
    Raw(String),
    /// Nothing, for ever.
    Hang,
    /// The end of the connection.
    Close,
    /// A reset of the connection.
    Reset,
    /// The end of the connection after that many bytes of the body.
    Truncate(usize),
    /// A byte each time.
    Trickle(Duration),
    /// It comes later.
    Delay(Duration),
    /// The service knows.
    Is(String),
}

/// One line of the table.
#[derive(Debug, Clone)]
struct Fault {
    line: String,
    method: Option<String>,
    path: Option<String>,
    operation: Option<String>,
    nth: u64,
    count: u64,
    after: bool,
    what: What,
    /// Requests that matched so far.
    seen: u64,
}

/// A request as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which connection it came on, counted from 1.
    pub connection: u64,
    /// Its method.
    pub method: String,
    /// Its target as it was sent.
    pub target: String,
    /// The operation, by the name the service gives it.
    pub operation: String,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
    /// Bytes of the request, head included, TLS not.
    pub received: usize,
    /// Bytes of the answer.
    pub sent: usize,
    /// Its header lines, names in lower case. Of `authorization` only the scheme, of `cookie` only the names.
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    log: Vec<Entry>,
}

/// The fault table and the log of one server. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// Replaces the table by these lines.
    ///
    /// # Errors
    /// The first line that cannot be read; the table is as before then.
    pub fn set(&self, lines: &str) -> Result<(), String> {
        let faults = parse(lines)?;
        self.state().faults = faults;
        Ok(())
    }

    /// Adds these lines.
    ///
    /// # Errors
    /// As [`Faults::set`].
    pub fn add(&self, lines: &str) -> Result<(), String> {
        let faults = parse(lines)?;
        self.state().faults.extend(faults);
        Ok(())
    }

    /// The requests seen so far.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.state().log.clone()
    }

    /// Forgets them.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// What is wrong with the answer to this request, and whether it is carried out before. Every line that matches counts it;
    /// the first whose turn it is decides.
    pub(crate) fn hit(&self, request: &Request, operation: &str) -> Option<(What, bool)> {
        let mut hit = None;
        for fault in &mut self.state().faults {
            if fault.matches(request, operation) {
                fault.seen += 1;
                let turn = fault.seen >= fault.nth && fault.seen - fault.nth < fault.count;
                if turn && hit.is_none() {
                    hit = Some((fault.what.clone(), fault.after));
                }
            }
        }
        hit
    }

    pub(crate) fn record(&self, entry: Entry) {
        let mut state = self.state();
        if state.log.len() < LOG_LIMIT {
            state.log.push(entry);
        }
    }

    /// Answers a request under `/-/`; `None` if it is for the service after all.
    pub(crate) fn answer(&self, request: &Request) -> Option<(u16, String)> {
        let body = String::from_utf8_lossy(&request.body);
        let done = |outcome: Result<(), String>| match outcome {
            Ok(()) => (204, String::new()),
            Err(problem) => (400, format!("{problem}\n")),
        };
        Some(match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/-/faults") => done(self.set(&body)),
            ("POST", "/-/faults") => done(self.add(&body)),
            ("DELETE", "/-/faults") => done(self.set("")),
            ("GET", "/-/faults") => {
                let state = self.state();
                let lines = state.faults.iter();
                (
                    200,
                    lines
                        .map(|fault| format!("{} # {} seen\n", fault.line, fault.seen))
                        .collect(),
                )
            }
            ("GET", "/-/log") => (200, self.state().log.iter().map(Entry::line).collect()),
            ("DELETE", "/-/log") => {
                self.clear_log();
                (204, String::new())
            }
            _ => return None,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    fn matches(&self, request: &Request, operation: &str) -> bool {
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let part = self
            .path
            .as_deref()
            .is_none_or(|path| request.target.contains(path));
        same(&self.method, &request.method) && same(&self.operation, operation) && part
    }
}

impl Entry {
    fn line(&self) -> String {
        let mut line = format!(
            "connection={} method={} target={} op={} status={} in={} out={}",
            self.connection,
            self.method,
            encoded(&self.target),
            encoded(&self.operation),
            self.status,
            self.received,
            self.sent
        );
        for (name, value) in &self.headers {
            line.push_str(&format!(" {name}={}", encoded(value)));
        }
        line.push('\n');
        line
    }

    /// The lines of `GET /-/log`, read back.
    #[must_use]
    pub fn parse(lines: &str) -> Vec<Self> {
        lines.lines().map(Self::from_line).collect()
    }

    fn from_line(line: &str) -> Self {
        let words = line.split(' ').filter_map(|word| word.split_once('='));
        let mut words: Vec<(String, String)> = words
            .map(|(name, value)| (name.to_owned(), decoded(value, false)))
            .collect();
        let headers = words.split_off(words.len().min(7));
        let mut values = words.into_iter().map(|(_, value)| value);
        let mut text = || values.next().unwrap_or_default();
        Self {
            connection: text().parse().unwrap_or_default(),
            method: text(),
            target: text(),
            operation: text(),
            status: text().parse().unwrap_or_default(),
            received: text().parse().unwrap_or_default(),
            sent: text().parse().unwrap_or_default(),
            headers,
        }
    }
}

fn parse(lines: &str) -> Result<Vec<Fault>, String> {
    let lines = lines
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| fault(line).ok_or_else(|| format!("cannot read the fault `{line}`")))
        .collect()
}

fn fault(line: &str) -> Option<Fault> {
    let mut fault = Fault {
        line: line.to_owned(),
        method: None,
        path: None,
        operation: None,
        nth: 1,
        count: 1,
        after: false,
        what: What::Hang,
        seen: 0,
    };
    let mut what = None;
    for word in line.split_whitespace() {
        let (name, value) = word.split_once('=')?;
        let value = decoded(value, false);
        match name {
            "method" => fault.method = Some(value),
            "path" => fault.path = Some(value),
            "op" => fault.operation = Some(value),
            "nth" => fault.nth = value.parse().ok().filter(|nth| *nth > 0)?,
            "count" if value == "*" => fault.count = u64::MAX,
            "count" => fault.count = value.parse().ok()?,
            "when" => {
                fault.after = match value.as_str() {
                    "after" => true,
                    "before" => false,
                    _ => return None,
                };
            }
            "do" => what = Some(parse_what(&value)?),
            _ => return None,
        }
    }
    fault.what = what?;
    Some(fault)
}

fn parse_what(text: &str) -> Option<What> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let time = || value.parse().ok().map(Duration::from_millis);
    Some(match name {
        "status" => What::Status(value.parse().ok()?),
        "body" => What::Body(value.to_owned()),
        "raw" => What::Raw(value.to_owned()),
        "hang" => What::Hang,
        "close" => What::Close,
        "reset" => What::Reset,
        "truncate" => What::Truncate(value.parse().ok()?),
        "trickle" => What::Trickle(time()?),
        "delay" => What::Delay(time()?),
        "is" => What::Is(value.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str) -> Request {
        Request::new(method, target, Vec::new(), Vec::new())
    }

    #[test]
    fn the_nth_and_so_many_after_it_are_hit() {
        let faults = Faults::default();
        faults
            .set("# comment\nmethod=POST path=/stop nth=2 count=2 when=after do=status:503\nop=Login count=* do=hang\n")
            .unwrap();
        let stop = request("POST", "/api/vms/1/stop");
        let hits: Vec<bool> = (0..5).map(|_| faults.hit(&stop, "").is_some()).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert_eq!(faults.hit(&request("GET", "/api/vms/1/stop"), ""), None);
        for _ in 0..3 {
            let hit = faults.hit(&request("POST", "/sdk"), "Login");
            assert_eq!(hit, Some((What::Hang, false)));
        }
        faults.set("do=raw:a%20b do=body:x%3A").unwrap();
        assert_eq!(
            faults.hit(&stop, ""),
            Some((What::Body("x:".to_owned()), false))
        );
    }

    #[test]
    fn a_slip_is_an_error_and_changes_nothing() {
        let faults = Faults::default();
        faults.set("do=close").unwrap();
        for line in [
            "do=explode",
            "nth=0 do=hang",
            "path=/x",
            "who=me do=hang",
            "do=status:x",
            "when=never do=hang",
        ] {
            assert!(faults.set(line).is_err(), "{line}");
        }
        assert!(faults.hit(&request("GET", "/"), "").is_some());
    }

    #[test]
    fn log_lines_survive() {
        let entry = Entry {
            connection: 3,
            method: "GET".to_owned(),
            target: "/api/vms?search=name%3Da b".to_owned(),
            operation: String::new(),
            status: 200,
            received: 100,
            sent: 2000,
            headers: vec![
                ("version".to_owned(), "4".to_owned()),
                ("a".to_owned(), "b = c%".to_owned()),
            ],
        };
        let lines = [entry.line(), entry.line()].concat();
        assert_eq!(Entry::parse(&lines), [entry.clone(), entry]);
    }
}
