//! What was seen of a running cluster goes before what its definition says.

use platforms::{Edition, Live, LiveMember, SeenAt, Severity, Verdict, check_live};

use crate::build::{Cluster, kvm6, rhev};

fn member(node: &str, at: SeenAt, pins: &[&str]) -> LiveMember {
    LiveMember {
        node: node.to_owned(),
        at,
        pinned_to: Some(pins.iter().map(|&host| host.to_owned()).collect()),
    }
}

fn on(host: &str) -> SeenAt {
    SeenAt::Host(host.to_owned())
}

fn live(members: Vec<LiveMember>, kept_apart: Option<bool>) -> Live {
    Live {
        members,
        kept_apart,
    }
}

fn said(cluster: &Cluster, edition: Edition, live: &Live, rule: &str) -> Option<Severity> {
    weight(
        &check_live(&cluster.definition(), edition, Some(live)),
        rule,
    )
}

fn weight(verdict: &Verdict, rule: &str) -> Option<Severity> {
    let by_rule = verdict
        .reasons
        .iter()
        .filter(|reason| reason.rule.as_str() == rule);
    by_rule.map(|reason| reason.severity).max()
}

/// S29: what the definition pins may not be pinned, and the other way round.
#[test]
fn s29_goes_by_what_was_seen() {
    let pinned = rhev();
    let loose = rhev().set("node.n1.pinned = false\nnode.n2.pinned = false");
    let apart = |pins: [&[&str]; 2]| {
        live(
            vec![
                member("n1", on("h1"), pins[0]),
                member("n2", on("h2"), pins[1]),
            ],
            None,
        )
    };
    let s29 = |cluster: &Cluster, live: &Live| said(cluster, Edition::Document, live, "S29");
    assert_eq!(s29(&pinned, &apart([&["h1"], &["h2"]])), None);
    assert_eq!(s29(&loose, &apart([&["h1"], &["h2"]])), None);
    assert_eq!(
        s29(&pinned, &apart([&["h1"], &[]])),
        Some(Severity::Unsupported)
    );
    let together = live(
        vec![
            member("n1", on("h1"), &["h1"]),
            member("n2", on("h1"), &["h1"]),
        ],
        None,
    );
    assert_eq!(s29(&pinned, &together), Some(Severity::Unsupported));
}

#[test]
fn who_shares_a_host_or_cannot_be_found_is_named() {
    let rule = |live: &Live| said(&kvm6(), Edition::Today, live, "placement-seen");
    let both = |first, second| {
        live(
            vec![member("n1", first, &[]), member("n2", second, &[])],
            None,
        )
    };
    assert_eq!(rule(&both(on("h1"), on("h2"))), None);
    assert_eq!(rule(&both(on("h1"), on("h1"))), Some(Severity::Warning));
    assert_eq!(
        rule(&both(on("h2"), on("h1"))),
        Some(Severity::Warning),
        "not where they may run"
    );
    assert_eq!(rule(&both(on("h1"), SeenAt::Nowhere)), None);
    let lost = SeenAt::Unknown("it is being migrated".to_owned());
    assert_eq!(rule(&both(on("h1"), lost)), Some(Severity::Unverified));
    let verdict = check_live(&kvm6().definition(), Edition::Today, None);
    assert_eq!(weight(&verdict, "placement-seen"), None);
}

#[test]
fn a_rule_that_is_not_in_force_keeps_nobody_apart() {
    let cluster = rhev()
        .set("node.n1.pinned = false\nnode.n2.pinned = false\nplatform.anti_affinity = 'hard'");
    let seen = |kept| {
        live(
            vec![member("n1", on("h1"), &[]), member("n2", on("h2"), &[])],
            kept,
        )
    };
    let rule = |kept| said(&cluster, Edition::Today, &seen(kept), "anti-affinity");
    assert_eq!(rule(Some(false)), Some(Severity::Warning));
    assert!(rule(Some(true)) < Some(Severity::Warning));
    assert!(rule(None) < Some(Severity::Warning));
}
