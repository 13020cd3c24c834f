use fence_agent::metadata;

use super::*;

#[test]
fn the_tables_are_sound() {
    for agent in [&FENCE_XVM, &FENCE_VIRT] {
        assert_eq!(agent.self_check(), Vec::<String>::new(), "{}", agent.name);
    }
}

/// Names in the order of the C agents' metadata, as the packaged programs print it.
#[test]
fn parameters_in_the_order_of_the_c_agents() {
    let names = |agent| -> Vec<String> {
        metadata::render(agent, "x")
            .lines()
            .filter_map(|line| line.trim().strip_prefix("<parameter name=\""))
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect()
    };
    let xvm = "debug ip_family multicast_address ipport retrans auth hash key_file plug port use_uuid action \
               timeout delay domain";
    let virt = "debug serial_device serial_params channel_address ipport plug port action timeout ipaddr vsock \
                auth hash key_file delay domain";
    assert_eq!(names(&FENCE_XVM).join(" "), xvm);
    assert_eq!(names(&FENCE_VIRT).join(" "), virt);
}
