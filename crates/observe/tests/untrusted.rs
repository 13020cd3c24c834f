//! No bytes from outside make a parser panic, whatever was done to real output.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use observe::{corosync, gather::node_report, host, pacemaker, question::Answers};
use proptest::prelude::*;

fn fixtures() -> Vec<Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("a directory can be read").path())
        .filter(|path| path.extension().is_some_and(|ext| ext != "md"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    files
        .iter()
        .map(|path| fs::read(path).expect("a fixture"))
        .collect()
}

fn read_everything(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let now = Some(Timestamp::now());
    let _ = pacemaker::crm_mon(&text, now);
    let _ = pacemaker::history(&text, now);
    let _ = corosync::quorum(&text);
    let _ = corosync::links(&text);
    let answers = Answers::parse(bytes);
    let guests = host::guests(&answers);
    let _ = host::daemon(&answers, &guests);
    let _ = node_report("n1", Ok(bytes.to_vec()), Timestamp::now(), Duration::ZERO);
}

/// What a machine would print whose tool `tag` printed `bytes`.
fn tagged(tag: &str, bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        output.extend_from_slice(tag.as_bytes());
        output.extend_from_slice(b"  ");
        output.extend_from_slice(line);
        output.push(b'\n');
    }
    output.extend_from_slice(format!("{tag} ?0\nend\n").as_bytes());
    output
}

#[derive(Debug, Clone)]
enum Change {
    Cut(prop::sample::Index),
    Put(prop::sample::Index, Vec<u8>),
    Flip(prop::sample::Index, u8),
    Double(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::sample::select(vec![
            "\"",
            "<",
            "/>",
            "&#0;",
            "&x;",
            "18446744073709551616",
            "-1",
            "]]>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]>",
            "\n?0\n",
            " ?",
            "name=\"\"",
            "\u{202e}",
            "9999-99-99 99:99:99Z",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        index().prop_map(Change::Cut),
        (index(), bytes).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        (index(), any::<u8>()).prop_map(|(at, with)| Change::Flip(at, with)),
        (index(), index()).prop_map(|(from, to)| Change::Double(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Put(at, more) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Flip(at, with) => {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        Change::Double(from, to) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(from..from, part);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_fixtures(which in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..6)) {
        let fixtures = fixtures();
        let mut bytes = which.get(&fixtures).clone();
        for change in &changes {
            apply(&mut bytes, change);
        }
        read_everything(&bytes);
        for tag in ["crm_mon", "history", "quorum", "links", "active", "fence_virtd", "clock"] {
            read_everything(&tagged(tag, &bytes));
        }
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_everything(&bytes);
        read_everything(&tagged("crm_mon", &bytes));
    }
}

#[test]
fn deep_and_endless_documents_are_refused() {
    let open = "<a>".repeat(200_000);
    assert!(pacemaker::crm_mon(&open, None).is_err());
    let foreign = format!("{open}{}", "</a>".repeat(200_000));
    assert!(pacemaker::crm_mon(&foreign, None).is_err());
    let nested = format!("{}{}", "<a id='1'>".repeat(100_000), "</a>".repeat(100_000));
    let error = pacemaker::crm_mon(
        &format!(
            "<pacemaker-result><resources>{nested}</resources><status code='0'/></pacemaker-result>"
        ),
        None,
    );
    assert!(error.unwrap_err().to_string().contains("deep"));
    let entities = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><pacemaker-result>&b;</pacemaker-result>";
    assert!(pacemaker::crm_mon(entities, None).is_err());
}
