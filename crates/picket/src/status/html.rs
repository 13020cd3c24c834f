//! A page for browsers: one file, nothing loaded from anywhere, no scripts. It is well-formed XML too.

use std::fmt::Write as _;

use super::page::{Cell, Page, Section, Tone};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--paper:#fbfbfa;--faint:#62686e;--line:#d9dcdf;\
--good:#136c2e;--warn:#8a5300;--bad:#b3131f;--mark:#fff1d6}\
@media (prefers-color-scheme:dark){:root{--ink:#e4e6e8;--paper:#16181a;--faint:#9aa1a8;--line:#33383d;\
--good:#63c47f;--warn:#e0a34a;--bad:#ff7a7f;--mark:#3a2f16}}\
body{margin:0 auto;max-width:76rem;padding:1.5rem;background:var(--paper);color:var(--ink);\
font:15px/1.45 system-ui,sans-serif}\
h1{font-size:1.35rem;margin:0 0 .25rem}h2{font-size:1rem;margin:1.75rem 0 .4rem}\
p{margin:0;color:var(--faint)}.scroll{overflow-x:auto}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.28rem .9rem .28rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-weight:500;color:var(--faint)}td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\
.good{color:var(--good)}.warn{color:var(--warn);font-weight:600}\
.bad{color:var(--bad);font-weight:700}.faint{color:var(--faint)}";

/// The page. With `refresh` browsers load it again every so many seconds.
pub(super) fn page(page: &Page, refresh: Option<u64>) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\" xml:lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"referrer\" content=\"no-referrer\"/>\n",
    );
    if let Some(seconds) = refresh {
        let _ = writeln!(out, "<meta http-equiv=\"refresh\" content=\"{seconds}\"/>");
    }
    let title: Vec<&str> = page
        .headline
        .iter()
        .map(|cell| cell.text.as_str())
        .collect();
    let _ = write!(
        out,
        "<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>",
        escaped(&title.join(" "))
    );
    let headline: Vec<String> = page.headline.iter().map(span).collect();
    let _ = write!(
        out,
        "{}</h1>\n<p>{}</p>\n",
        headline.join(" "),
        escaped(&page.seen)
    );
    for section in &page.sections {
        table(&mut out, section);
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn table(out: &mut String, section: &Section) {
    let _ = write!(
        out,
        "<h2>{}</h2>\n<div class=\"scroll\"><table>\n<thead><tr>",
        escaped(section.title)
    );
    for column in section.columns {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(column));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &section.rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", span(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn span(cell: &Cell) -> String {
    let class = match cell.tone {
        Tone::Plain => return escaped(&cell.text),
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
        Tone::Faint => "faint",
    };
    format!("<span class=\"{class}\">{}</span>", escaped(&cell.text))
}

/// The text for any place in HTML, within quotes too.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
