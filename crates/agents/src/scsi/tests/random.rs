//! Random sequences of everything, with faults.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::memory::Fault;
use super::*;

/// A step.
#[derive(Debug, Clone)]
enum Step {
    On(usize),
    Off(usize, usize),
    /// With other initiator ports, or with the same ones.
    Reboot(usize, bool),
}

#[derive(Debug, Clone)]
struct Plan {
    nodes: u64,
    luns: usize,
    paths: usize,
    tells_port: bool,
    no_full_status: bool,
    /// Each step with the disk that is struck, and the faults.
    steps: Vec<(Step, usize, Vec<Fault>)>,
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0usize..4;
    prop_oneof![
        3 => node().prop_map(Step::On),
        4 => (node(), node()).prop_map(|(by, victim)| Step::Off(by, victim)),
        1 => (node(), any::<bool>()).prop_map(|(node, renewed)| Step::Reboot(node, renewed)),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::LostBefore),
        1 => Just(Fault::LostAfter),
        1 => Just(Fault::NotSent),
        1 => Just(Fault::Attention),
        1 => prop::sample::select(&Fault::ABORTED),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let steps = prop::collection::vec(
        (step(), 0usize..3, prop::collection::vec(fault(), 0..24)),
        1..24,
    );
    (
        2u64..5,
        1usize..4,
        1usize..3,
        any::<bool>(),
        prop::bool::weighted(0.2),
        steps,
    )
        .prop_map(
            |(nodes, luns, paths, tells_port, no_full_status, steps)| Plan {
                nodes,
                luns,
                paths,
                tells_port,
                no_full_status,
                steps,
            },
        )
}

/// What has been promised: who is out, and who is in.
#[derive(Debug, Default)]
struct Promises {
    /// Reported off, and not unfenced since.
    out: BTreeSet<usize>,
    /// Unfenced, not restarted with other ports, and nobody has tried to fence it since.
    within: BTreeSet<usize>,
}

fn take(world: &mut World, step: &Step, promises: &mut Promises) {
    let nodes = world.machines.len();
    match *step {
        Step::On(node) => {
            let node = node % nodes;
            promises.out.remove(&node);
            promises.within.remove(&node);
            if world.machines[node].run(Action::On).is_ok() {
                promises.within.insert(node);
            }
        }
        Step::Off(by, victim) => {
            let (by, victim) = (by % nodes, victim % nodes);
            if by == victim {
                assert!(
                    world.machines[by]
                        .run(Action::Off(world.machines[by].key))
                        .is_err()
                        || !world.machines[by].may_write()
                );
                promises.within.remove(&victim);
                return;
            }
            promises.within.remove(&victim);
            if world.machines[by]
                .run(Action::Off(world.machines[victim].key))
                .is_ok()
            {
                promises.out.insert(victim);
            }
        }
        Step::Reboot(node, renewed) => {
            let node = node % nodes;
            if renewed {
                promises.within.remove(&node);
            }
            world.machines[node].reboot(renewed);
        }
    }
}

fn kept(world: &World, promises: &Promises) -> Result<(), TestCaseError> {
    for node in &promises.out {
        prop_assert!(
            !world.machines[*node].may_write(),
            "node {} was reported off",
            node + 1
        );
    }
    for node in &promises.within {
        let machine = &world.machines[*node];
        prop_assert_eq!(
            machine.writable(),
            machine.paths * machine.luns.len(),
            "node {} is locked out",
            node + 1
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_was_reported_stays_true(plan in plan()) {
        let mut world = World::new(plan.nodes, plan.luns, plan.paths);
        for machine in &mut world.machines {
            machine.tells_port = plan.tells_port;
        }
        for lun in &world.luns {
            lun.lock().no_full_status = plan.no_full_status;
        }
        let mut promises = Promises::default();
        for (step, lun, faults) in &plan.steps {
            world.luns[lun % plan.luns].lock().faults = faults.clone().into();
            take(&mut world, step, &mut promises);
            for lun in &world.luns {
                lun.lock().faults.clear();
            }
            kept(&world, &promises)?;
        }
    }

    /// A whole action in the middle of another, with a disk between them at any command.
    #[test]
    fn actions_that_cut_into_each_other_keep_their_word(
        luns in 1usize..3,
        paths in 1usize..3,
        outer in step(),
        inner in step(),
        renewed in prop::option::of(0usize..4),
        struck in 0usize..2,
        at in 0usize..24,
    ) {
        // Agents of one node wait for each other.
        prop_assume!(actor(&outer) != actor(&inner));
        let mut world = World::unfenced(4, luns, paths);
        if let Some(node) = renewed {
            // Its registration is an earlier session's.
            world.machines[node].boots += 1;
        }
        let done = Arc::new(Mutex::new(None));
        let (machines, order, result) = (world.machines.clone(), inner.clone(), Arc::clone(&done));
        world.luns[struck % luns].before(at, move || {
            *result.lock().unwrap() = perform(&machines, &order);
        });
        let first = perform(&world.machines, &outer);
        let second = done.lock().unwrap().take();
        let unfenced = |node| [&outer, &inner].iter().any(|step| matches!(step, Step::On(n) if *n == node));
        for victim in [first, second].into_iter().flatten() {
            // Whether it is unfenced before or after is not said.
            if !unfenced(victim) {
                prop_assert!(!world.machines[victim].may_write(), "node {} was reported off", victim + 1);
            }
        }
        if let (Step::Off(a, b), Step::Off(c, d)) = (&outer, &inner)
            && (a, b) == (d, c)
        {
            prop_assert!(first.is_none() || second.is_none(), "both say that they fenced the other");
        }
        for node in 0..4 {
            let attacked = [&outer, &inner].iter().any(|step| matches!(step, Step::Off(_, n) if *n == node));
            if !attacked && renewed != Some(node) {
                prop_assert_eq!(world.machines[node].writable(), luns * paths, "node {} is locked out", node + 1);
            }
        }
    }
}

fn actor(step: &Step) -> usize {
    match *step {
        Step::On(node) | Step::Off(node, _) | Step::Reboot(node, _) => node,
    }
}

/// Does a step; whom it reported off.
fn perform(machines: &[Machine], step: &Step) -> Option<usize> {
    match *step {
        Step::Off(by, victim) if by != victim => {
            let off = machines[by].run(Action::Off(machines[victim].key));
            off.is_ok().then_some(victim)
        }
        Step::On(node) => {
            // How it ends is not what is looked at here.
            let _ = machines[node].run(Action::On);
            None
        }
        Step::Off(..) | Step::Reboot(..) => None,
    }
}
