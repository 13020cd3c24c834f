//! The address of a management interface, and the blotting out of passwords in whatever text it is quoted from.
#![no_main]

use hypervisor::address::{Address, redact};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let shown = redact(text);
    assert_eq!(shown.len(), text.len());
    match Address::parse(text) {
        Ok(address) if address.management().is_some() => {
            assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
        Ok(_) => {}
        Err(error) => assert!(text.get(error.span()).is_some()),
    }
});
