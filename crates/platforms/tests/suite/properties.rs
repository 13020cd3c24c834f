//! Definitions that nobody thought of: the examples, changed at random, as far as they are valid.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use cluster::Definition;
use platforms::rules::RULES;
use platforms::{Edition, Outcome, Severity, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use toml::{Table, Value};

/// Values that no example has, by the name of their key.
const MORE: &[(&str, &[&str])] = &[
    (
        "kind",
        &[
            "kvm",
            "xen",
            "rhev",
            "vmware",
            "hyper-v",
            "kubevirt",
            "nutanix",
            "proxmox",
            "azure",
            "aws",
            "iscsi",
            "raw-image",
            "qcow2-image",
            "drbd",
            "multi-writer-vmdk",
            "rdm-physical",
            "gfs2",
            "xfs",
            "bare-metal",
            "guest",
        ],
    ),
    (
        "os",
        &[
            "rhel 4.8",
            "rhel 5.3",
            "rhel 6.0",
            "rhel 7.6",
            "rhel 8.1",
            "rhel 9.4",
            "rhel 10.0",
            "sles 15 SP7",
            "sles 16",
            "ubuntu 24.04",
            "windows 2012 R2",
            "esxi 8.0",
            "other 1",
        ],
    ),
    (
        "version",
        &[
            "1",
            "2.2",
            "3.5",
            "4.0",
            "6.7",
            "7.0u3",
            "2016",
            "4294967295.4294967295",
        ],
    ),
    (
        "agent",
        &[
            "fence_scsi",
            "fence_mpath",
            "fence_xvm",
            "fence_virt",
            "fence_vmware",
            "fence_ipmilan",
            "fence_nobody",
        ],
    ),
    ("mode", &["standalone", "cluster", "bus"]),
    ("program", &["fence_virtd", "fence_xvmd"]),
    ("anti_affinity", &["none", "soft", "hard"]),
    ("watchdog", &["i6300esb", "wdat", "softdog", "none", "xen"]),
    (
        "server",
        &["lio", "tgt", "ceph-iscsi", "ontap", "rhel-tgtd"],
    ),
    ("token", &["1ms", "5s", "1440min"]),
    ("consensus", &["1s", "1440min"]),
    ("timeout", &["1ms", "1440min"]),
    ("action", &["off", "reboot"]),
];

fn examples() -> Vec<Table> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("an example");
            text.parse().expect("TOML")
        })
        .collect()
}

/// Every value that is no table and no list of tables, by the name of its key.
fn leaves<'t>(value: &'t mut Value, key: &str, found: &mut Vec<(String, &'t mut Value)>) {
    let is_leaf = match &*value {
        Value::Array(items) => !items.iter().all(Value::is_table),
        other => !other.is_table(),
    };
    if is_leaf {
        found.push((key.to_owned(), value));
        return;
    }
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                leaves(value, key, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                leaves(item, key, found);
            }
        }
        _ => {}
    }
}

/// What is written for each key, in any example or in [`MORE`].
fn vocabulary(examples: &[Table]) -> BTreeMap<String, Vec<Value>> {
    let mut words: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for example in examples {
        let mut whole = Value::Table(example.clone());
        let mut found = Vec::new();
        leaves(&mut whole, "", &mut found);
        for (key, value) in found {
            words.entry(key).or_default().push(value.clone());
        }
    }
    for (key, values) in MORE {
        let more = values
            .iter()
            .map(|value| Value::String((*value).to_owned()));
        words.entry((*key).to_owned()).or_default().extend(more);
    }
    for values in words.values_mut() {
        if values.iter().any(Value::is_bool) {
            values.extend([Value::Boolean(true), Value::Boolean(false)]);
        }
    }
    words
}

/// One change: at which place, to what.
type Change = (usize, usize, bool);

fn apply(
    base: &Table,
    other: &Table,
    changes: &[Change],
    words: &BTreeMap<String, Vec<Value>>,
) -> Table {
    let mut changed = base.clone();
    for (place, choice, whole) in changes {
        if *whole {
            // A table of another example takes the place of this one's, or joins it.
            let keys: Vec<&String> = other.keys().collect();
            let key = keys[place % keys.len()];
            changed.insert(key.clone(), other[key].clone());
            continue;
        }
        let mut value = Value::Table(changed);
        let mut found = Vec::new();
        leaves(&mut value, "", &mut found);
        let at = place % found.len();
        let (key, leaf) = &mut found[at];
        if let Some(values) = words.get(key) {
            **leaf = values[choice % values.len()].clone();
        }
        changed = match value {
            Value::Table(table) => table,
            _ => unreachable!("it was a table"),
        };
    }
    changed
}

fn is_sound(verdict: &Verdict) -> Result<(), TestCaseError> {
    prop_assert!(!verdict.reasons.is_empty(), "a verdict without a reason");
    prop_assert!(
        verdict
            .reasons
            .windows(2)
            .all(|pair| pair[0].severity >= pair[1].severity)
    );
    prop_assert_eq!(verdict.outcome, Outcome::of(verdict.reasons[0].severity));
    for reason in &verdict.reasons {
        prop_assert!(!reason.message.is_empty() && !reason.rule.as_str().is_empty());
        let of_a_rule = RULES.iter().any(|rule| rule.id == reason.rule.as_str());
        let unsure = !reason.source.confidence.is_evidence();
        prop_assert!(
            !(of_a_rule && unsure && reason.severity == Severity::Unsupported),
            "nobody knows, and it says unsupported: {:?}",
            reason
        );
    }
    Ok(())
}

#[test]
fn any_valid_definition_gets_a_sound_verdict() {
    let examples = examples();
    let words = vocabulary(&examples);
    let valid = Cell::new(0_u32);
    let cases = 3000;
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let change = (
        any::<usize>(),
        any::<usize>(),
        proptest::bool::weighted(0.15),
    );
    let strategy = (
        0..examples.len(),
        0..examples.len(),
        proptest::collection::vec(change, 0..6),
    );
    runner
        .run(&strategy, |(base, other, changes)| {
            let text = apply(&examples[base], &examples[other], &changes, &words).to_string();
            let Ok(definition) = Definition::parse("any.toml", &text) else {
                return Ok(());
            };
            valid.set(valid.get() + 1);
            for edition in Edition::ALL {
                let verdict = platforms::check(&definition, edition);
                is_sound(&verdict)?;
                prop_assert_eq!(&verdict, &platforms::check(&definition, edition));
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(
        valid.get() > cases / 4,
        "only {} of {cases} definitions were valid",
        valid.get()
    );
}

#[test]
fn every_example_gets_a_verdict_that_is_not_unsafe() {
    for example in examples() {
        let text = example.to_string();
        let definition =
            Definition::parse("example.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        let verdict = platforms::check(&definition, Edition::fitting(&definition));
        assert!(
            verdict.outcome < Outcome::Unsafe,
            "{}: {:#?}",
            definition.name,
            verdict.reasons[0]
        );
    }
}
