use hypervisor::memory::PlacementFaults;
use placement::{Action, Outcome, State};
use proptest::prelude::*;

use crate::world::{Node, World, carry_out, planned, report};

fn nodes(hosts: usize) -> impl Strategy<Value = Vec<Node>> {
    let host = 0..hosts;
    let node = (
        prop::option::weighted(0.8, host.clone()),
        prop::collection::vec(host.clone(), 0..2),
        prop::option::of(host),
        prop::bool::weighted(0.3),
    );
    let node = node.prop_map(|(on, pins, defined, pinned)| Node {
        on,
        pins,
        defined,
        pinned: pinned && defined.is_some(),
    });
    prop::collection::vec(node, 1..6)
}

fn worlds() -> impl Strategy<Value = World> {
    let kind = prop_oneof![Just("kvm"), Just("rhev"), Just("vmware"), Just("hyper-v")];
    let affinity = prop_oneof![Just("none"), Just("soft"), Just("hard")];
    let hosts = prop::collection::vec(prop::bool::weighted(0.8), 1..7);
    (kind, affinity, any::<bool>(), hosts)
        .prop_flat_map(|(kind, affinity, rules, hosts)| {
            nodes(hosts.len()).prop_map(move |nodes| World {
                kind,
                affinity,
                may_move: true,
                rules: rules && kind != "kvm",
                hosts: hosts.clone(),
                nodes,
            })
        })
        .prop_map(|mut world| {
            // libvirt pins nobody.
            if world.kind == "kvm" {
                world.nodes.iter_mut().for_each(|node| node.pins.clear());
            }
            world
        })
}

/// Without pins anybody may go anywhere.
fn free(mut world: World) -> World {
    for node in &mut world.nodes {
        (node.pins, node.pinned) = (Vec::new(), false);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Whenever enough hosts take guests, nobody shares one afterwards.
    #[test]
    fn apart_afterwards(world in worlds().prop_map(free)) {
        prop_assume!(world.hosts.iter().filter(|usable| **usable).count() >= world.nodes.len());
        let (wish, platform) = (world.wish(), world.platform());
        let plan = planned(&wish, &platform);
        for (step, outcome) in plan.steps.iter().zip(carry_out(&plan, &platform)) {
            prop_assert!(outcome.is_done(), "{step:?} {outcome:?}");
        }
        let state = report(&wish, &platform).state;
        prop_assert!(matches!(state, State::Kept | State::Apart), "{state}");
        let expected = if world.kind == "kvm" || (!world.rules && world.kind != "rhev") || world.nodes.len() < 2 {
            state
        } else {
            State::Kept
        };
        prop_assert_eq!(state, expected);
    }

    /// Whatever the world is: no step fails, what was apart stays apart, and there is nothing left to do afterwards.
    #[test]
    fn once_is_enough(world in worlds()) {
        let (wish, platform) = (world.wish(), world.platform());
        let before = report(&wish, &platform);
        let plan = planned(&wish, &platform);
        for (step, outcome) in plan.steps.iter().zip(carry_out(&plan, &platform)) {
            prop_assert!(outcome.is_done(), "{step:?} {outcome:?}\n{plan:#?}");
        }
        let after = report(&wish, &platform);
        if before.state != State::Shared || plan.obstacles.is_empty() {
            prop_assert_ne!(after.state, State::Shared, "{:#?}\n{:#?}", plan, after);
        }
        let again = planned(&wish, &platform);
        prop_assert!(again.steps.is_empty(), "{:#?}\nfirst {:#?}", again, plan);
        prop_assert_eq!(again.obstacles, plan.obstacles);
    }

    /// No more members move than have to: the surplus of each crowded host, and those that the definition or a pin puts elsewhere.
    #[test]
    fn nobody_moves_in_vain(world in worlds().prop_map(free)) {
        prop_assume!(world.hosts.iter().filter(|usable| **usable).count() >= world.nodes.len());
        let plan = planned(&world.wish(), &world.platform());
        let moves = plan.steps.iter().filter(|step| matches!(step.action, Action::Move { .. })).count();
        let surplus: usize = (0..world.hosts.len())
            .map(|host| world.nodes.iter().filter(|node| node.on == Some(host)).count().saturating_sub(1))
            .sum();
        prop_assert_eq!(moves, surplus);
    }
}

fn texts(plan: &placement::Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.text.as_str()).collect()
}

/// S29: RHEV before affinity groups keeps nobody apart, so each guest is pinned to a host of its own.
#[test]
fn rhev_without_rules_pins_each_guest() {
    let mut world = World::new("rhev", 3, &[Some(0), Some(0), None]);
    world.rules = false;
    let (wish, platform) = (world.wish(), world.platform());
    let plan = planned(&wish, &platform);
    assert_eq!(
        texts(&plan),
        [
            "pin n0 to h0",
            "pin n2 to h2",
            "move n1 from h0 to h1",
            "pin n1 to h1"
        ]
    );
    assert!(carry_out(&plan, &platform).iter().all(Outcome::is_done));
    assert_eq!(report(&wish, &platform).state, State::Kept);
}

#[test]
fn a_rule_comes_last_and_is_as_hard_as_the_definition_says() {
    let mut world = World::new("vmware", 3, &[Some(1), Some(1)]);
    world.affinity = "hard";
    let plan = planned(&world.wish(), &world.platform());
    assert_eq!(
        texts(&plan),
        [
            "move n1 from h1 to h0",
            "keep n0 and n1 apart, always: rule picket-web"
        ]
    );
    world.affinity = "none";
    let plan = planned(&world.wish(), &world.platform());
    assert!(plan.steps[1].text.contains("as far as hosts suffice"));
}

#[test]
fn what_the_definition_pins_goes_there_and_others_make_room() {
    let mut world = World::new("kvm", 3, &[Some(0), Some(1)]);
    world.nodes[0].defined = Some(1);
    world.nodes[0].pinned = true;
    let plan = planned(&world.wish(), &world.platform());
    assert_eq!(
        texts(&plan),
        ["move n1 from h1 to h0", "move n0 from h0 to h1"][..0]
    );
    assert!(plan.obstacles[0].message.contains("swap hosts"), "{plan:?}");
    world.hosts.push(true);
    world.nodes.push(Node {
        on: Some(0),
        ..Node::default()
    });
    let plan = planned(&world.wish(), &world.platform());
    assert_eq!(plan.obstacles, []);
}

#[test]
fn members_that_run_are_moved_only_where_the_definition_allows_it() {
    let mut world = World::new("kvm", 2, &[Some(0), Some(0)]);
    world.may_move = false;
    let (wish, platform) = (world.wish(), world.platform());
    let plan = planned(&wish, &platform);
    let outcomes = carry_out(&plan, &platform);
    assert!(
        matches!(&outcomes[..], [Outcome::Held { why }] if why.contains("live_migration")),
        "{outcomes:?}"
    );
    assert_eq!(
        platform.calls().changes,
        world.nodes.len() as u64,
        "the pins of the set-up"
    );
    assert_eq!(report(&wish, &platform).state, State::Shared);
}

#[test]
fn who_cannot_be_found_is_left_alone() {
    let world = World::new("vmware", 2, &[Some(0), Some(0)]);
    let (wish, platform) = (world.wish(), world.platform());
    platform.set_in_flight("n1", true);
    let plan = planned(&wish, &platform);
    assert_eq!(plan.steps, []);
    assert!(plan.obstacles[0].message.starts_with("n1 is left alone"));
    assert_eq!(report(&wish, &platform).state, State::Unknown);
}

#[test]
fn success_that_cannot_be_read_back_is_none() {
    let world = World::new("vmware", 2, &[Some(0), Some(0)]);
    let (wish, platform) = (world.wish(), world.platform());
    let plan = planned(&wish, &platform);
    for faults in [
        PlacementFaults {
            ignore: true,
            ..PlacementFaults::default()
        },
        PlacementFaults {
            refuse: Some("no privilege".to_owned()),
            ..PlacementFaults::default()
        },
    ] {
        platform.set_placement_faults(faults);
        let outcomes = carry_out(&plan, &platform);
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        assert!(outcomes.iter().all(failed), "{outcomes:?}");
    }
    platform.set_placement_faults(PlacementFaults {
        ineffective: Some("DRS is switched off".to_owned()),
        ..PlacementFaults::default()
    });
    let outcomes = carry_out(&plan, &platform);
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(
        matches!(&outcomes[1], Outcome::NotInForce { why } if why.contains("DRS")),
        "{outcomes:?}"
    );
    let again = planned(&wish, &platform);
    assert!(
        again.obstacles[0].message.contains("DRS is switched off"),
        "{again:?}"
    );
}

#[test]
fn a_pin_that_waits_for_the_next_start_is_not_called_done() {
    let mut world = World::new("rhev", 2, &[Some(0), Some(1)]);
    world.rules = false;
    let (wish, platform) = (world.wish(), world.platform());
    platform.set_placement_faults(PlacementFaults {
        no_rules: Some("none".to_owned()),
        pins_wait: true,
        ..PlacementFaults::default()
    });
    let plan = planned(&wish, &platform);
    assert_eq!(
        carry_out(&plan, &platform),
        [Outcome::AtNextStart, Outcome::AtNextStart]
    );
    assert_eq!(report(&wish, &platform).state, State::Apart);
}

/// A plan counts on its earlier steps; where they fail, a later one must not put members together.
#[test]
fn a_step_whose_way_is_not_clear_is_refused() {
    let mut world = World::new("kvm", 3, &[Some(1), Some(0)]);
    for (node, host) in [(0, 2), (1, 1)] {
        (world.nodes[node].defined, world.nodes[node].pinned) = (Some(host), true);
    }
    let (wish, platform) = (world.wish(), world.platform());
    let plan = planned(&wish, &platform);
    assert_eq!(plan.steps.len(), 2, "{plan:?}");
    platform.add_host("h2", false);
    let outcomes = carry_out(&plan, &platform);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Failed(_))),
        "{outcomes:?}"
    );
    assert_ne!(report(&wish, &platform).state, State::Shared);
}
