//! picket-target's configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = target::config::parse(text, "target.toml".as_ref());
});
