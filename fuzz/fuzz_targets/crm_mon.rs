//! What Pacemaker's and Corosync's tools print.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = observe::pacemaker::crm_mon(text, None);
    let _ = observe::pacemaker::history(text, None);
    let _ = observe::corosync::quorum(text);
    let _ = observe::corosync::links(text);
});
