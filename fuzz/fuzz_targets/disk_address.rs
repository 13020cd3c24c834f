//! An `iscsi://` address.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = text.parse::<disk::Address>();
});
