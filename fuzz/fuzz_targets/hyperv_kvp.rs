//! What a host wrote into its guest's pool.
#![no_main]
use hypervisor::hyperv::kvp::Pool;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let told = Pool::decode(bytes).told();
    assert!(
        told.name
            .is_none_or(|name| !name.is_empty() && !name.chars().any(char::is_control))
    );
});
