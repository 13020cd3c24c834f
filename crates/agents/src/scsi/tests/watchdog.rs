use fence_agent::Log;

use super::super::check::{Finding, Settings, look_again};
use super::*;

fn finding(machine: &Machine) -> Finding {
    look_again(
        &machine.store,
        machine,
        &Settings::parse("retry=1\nretry-sleep=0"),
        &mut Log::nowhere(),
    )
}

#[test]
fn a_node_is_fenced_when_its_key_is_on_none_of_its_devices() {
    let world = World::new(2, 2, 1);
    let node = world.node(2);
    assert_eq!(
        finding(node),
        Finding::NotConcerned,
        "it was never unfenced"
    );
    for number in [1, 2] {
        world.node(number).run(Action::On).unwrap();
    }
    assert_eq!(finding(node), Finding::Registered);

    // Cut off from one device only.
    world.luns[1]
        .lock()
        .dead
        .push((world.node(1).name.clone(), 0));
    assert!(world.off(1, 2).is_err());
    assert_eq!(finding(node), Finding::Registered);
    world.luns[1].lock().dead.clear();
    world.off(1, 2).unwrap();
    assert_eq!(finding(node), Finding::Fenced);
    assert_eq!(finding(world.node(1)), Finding::Registered);
    node.run(Action::On).unwrap();
    assert_eq!(finding(node), Finding::Registered);
}

#[test]
fn a_node_without_any_path_counts_as_fenced_and_with_one_it_does_not() {
    let world = World::unfenced(1, 2, 1);
    let node = world.node(1);
    world.luns[0].lock().dead.push((node.name.clone(), 0));
    assert_eq!(finding(node), Finding::Registered);
    world.luns[1].lock().dead.push((node.name.clone(), 0));
    assert_eq!(finding(node), Finding::Fenced);
}
