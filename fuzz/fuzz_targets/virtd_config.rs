//! fence_virt.conf.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = virtd::config::parse(text, "fence_virt.conf");
});
