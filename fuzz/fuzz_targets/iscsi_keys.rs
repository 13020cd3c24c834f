//! The text of logins and text requests, and any header.
#![no_main]
use iscsi::pdu::{FromInitiator, FromTarget};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = iscsi::Keys::parse(bytes);
    let _ = iscsi::Keys::parse_list(bytes);
    if let Some((header, _)) = bytes.split_first_chunk::<48>() {
        let header = iscsi::Header::from(*header);
        let _ = FromInitiator::parse(&header);
        let _ = FromTarget::parse(&header);
    }
});
