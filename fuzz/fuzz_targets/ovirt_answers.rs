//! What an oVirt engine answers.
#![no_main]
use hypervisor::rhevm::reply;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let _ = reply::vms(body);
    let _ = reply::vms_named(body, "node1");
    let _ = reply::vm(body);
    let _ = reply::hosts(body);
    let _ = reply::host(body);
    let _ = reply::root(body);
    let _ = reply::fault(body);
    let _ = reply::permissions(body);
    let _ = reply::permits(body);
    let _ = reply::user_name(body);
    let _ = reply::affinity_groups(body);
    let _ = reply::affinity_group(body);
    let _ = reply::members(body);
});
