use hypervisor::memory::{Faults, PlacementFaults};
use placement::report::Place;
use placement::{FindingKind as Kind, Report, State, Weight};

use crate::world::{World, carry_out, planned, report};

fn kinds(report: &Report) -> Vec<(Weight, Kind)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.weight, finding.kind))
        .collect()
}

#[test]
fn members_on_one_host_are_named() {
    let world = World::new("kvm", 2, &[Some(1), Some(0), Some(1)]);
    let report = report(&world.wish(), &world.platform());
    assert_eq!(report.state, State::Shared);
    let first = &report.findings[0];
    assert_eq!(first.kind, Kind::MembersOnOneHost);
    assert_eq!(first.members, ["n0", "n2"]);
    assert_eq!(first.host.as_deref(), Some("h1"));
    let expected = [
        (Weight::Alarm, Kind::MembersOnOneHost),
        (Weight::Warning, Kind::NotEnoughHosts),
        (Weight::Note, Kind::NotKeptApart),
    ];
    assert_eq!(kinds(&report), expected);
}

#[test]
fn what_the_platform_may_move_and_nothing_keeps_apart_is_a_warning() {
    let world = World::new("vmware", 2, &[Some(0), Some(1)]);
    let (wish, platform) = (world.wish(), world.platform());
    platform.let_move("n0", true);
    let before = report(&wish, &platform);
    assert_eq!(before.state, State::Apart);
    assert_eq!(kinds(&before), [(Weight::Warning, Kind::NotKeptApart)]);
    assert!(before.findings[0].message.contains("at any time"));
    carry_out(&planned(&wish, &platform), &platform);
    let after = report(&wish, &platform);
    assert_eq!((after.state, kinds(&after)), (State::Kept, vec![]));
    platform.set_placement_faults(PlacementFaults {
        ineffective: Some("DRS is off".to_owned()),
        ..PlacementFaults::default()
    });
    let off = report(&wish, &platform);
    assert_eq!(off.state, State::Apart);
    assert!(kinds(&off).contains(&(Weight::Warning, Kind::RuleNotInForce)));
}

#[test]
fn a_soft_rule_is_less_than_the_definition_says() {
    let mut world = World::new("vmware", 2, &[Some(0), Some(1)]);
    let platform = world.platform();
    carry_out(&planned(&world.wish(), &platform), &platform);
    world.affinity = "hard";
    let report = report(&world.wish(), &platform);
    assert_eq!(report.state, State::Apart);
    assert_eq!(kinds(&report), [(Weight::Warning, Kind::RuleTooSoft)]);
}

#[test]
fn unknown_is_neither_shared_nor_apart() {
    let world = World::new("kvm", 2, &[Some(0), Some(1)]);
    let (wish, platform) = (world.wish(), world.platform());
    platform.set_in_flight("n1", true);
    let moving = report(&wish, &platform);
    assert_eq!(moving.state, State::Unknown);
    assert!(matches!(moving.members[1].place, Place::Unknown(_)));
    assert_eq!(kinds(&moving)[0], (Weight::Alarm, Kind::WhereaboutsUnknown));
    platform.set_faults(Faults {
        unreachable: Some("down".to_owned()),
        ..Faults::default()
    });
    let gone = report(&wish, &platform);
    assert_eq!(gone.state, State::Unknown);
    assert!(kinds(&gone).contains(&(Weight::Alarm, Kind::HostsUnknown)));
    assert!(!kinds(&gone).contains(&(Weight::Warning, Kind::HostUnusable)));
}

/// S29: the guests must be pinned, each to a host of its own.
#[test]
fn rhev_without_rules_and_pins_is_told() {
    let mut world = World::new("rhev", 2, &[Some(0), Some(1)]);
    world.rules = false;
    let (wish, platform) = (world.wish(), world.platform());
    let loose = report(&wish, &platform);
    let not_pinned = loose
        .findings
        .iter()
        .filter(|finding| finding.kind == Kind::NotPinned);
    assert!(
        not_pinned
            .clone()
            .all(|finding| finding.message.contains("S29"))
    );
    assert_eq!(not_pinned.count(), 2);
    world.nodes[0].pins = vec![0];
    world.nodes[1].pins = vec![0];
    world.nodes[1].on = None;
    let together = report(&wish, &world.platform());
    assert!(kinds(&together).contains(&(Weight::Warning, Kind::PinnedTogether)));
    assert!(kinds(&together).contains(&(Weight::Note, Kind::RunsNowhere)));
}

#[test]
fn what_the_definition_says_is_compared() {
    let mut world = World::new("rhev", 3, &[Some(0), Some(1), Some(2)]);
    for (at, node) in world.nodes.iter_mut().enumerate() {
        (node.defined, node.pinned) = (Some(at), true);
    }
    world.nodes[1].pins = vec![2];
    world.nodes[2].on = Some(0);
    world.nodes[2].pins = vec![2];
    world.hosts[2] = false;
    let report = report(&world.wish(), &world.platform());
    for expected in [
        (Weight::Alarm, Kind::MembersOnOneHost),
        (Weight::Warning, Kind::NotPinned),
        (Weight::Warning, Kind::PinnedElsewhere),
        (Weight::Warning, Kind::RunsElsewhere),
        (Weight::Warning, Kind::HostUnusable),
    ] {
        assert!(
            kinds(&report).contains(&expected),
            "{expected:?}: {report:#?}"
        );
    }
}

#[test]
fn the_form_that_is_kept_is_read_back() {
    let world = World::new("vmware", 2, &[Some(0), Some(0), None]);
    let platform = world.platform();
    platform.set_in_flight("n1", true);
    let report = report(&world.wish(), &platform);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}
