//! Metadata, help and man page.

use super::SAMPLE;
use crate::{help, man, metadata};

#[test]
fn metadata_document() {
    insta::assert_snapshot!(metadata::render(&SAMPLE, "fence_called"));
}

#[test]
fn help_text() {
    let text = help::render(&SAMPLE, "fence_called");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn man_page() {
    let page = man::render(&SAMPLE, "fence_called");
    assert!(
        page.contains("\\&.Second paragraph with a \\e and a \\-dash."),
        "{page}"
    );
    insta::assert_snapshot!(page);
}

#[test]
fn markup_is_escaped() {
    assert_eq!(
        metadata::escape("<a href=\"x\">&'\u{1}"),
        "&lt;a href=&quot;x&quot;&gt;&amp;&apos;\u{fffd}"
    );
}
