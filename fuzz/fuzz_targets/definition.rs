//! cluster.toml, and what is rendered from one that is accepted.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = cluster::Definition::parse("cluster.toml", text);
});
