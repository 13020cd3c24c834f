//! What a disk tells an initiator about itself.
#![no_main]
use scsi::capacity::{Capacity, LbaStatus};
use scsi::{inquiry, luns, mode, vpd};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = inquiry::Standard::parse(bytes);
    let _ = Capacity::parse_16(bytes);
    let _ = Capacity::parse_10(bytes);
    let _ = LbaStatus::parse(bytes);
    let _ = luns::parse(bytes);
    for long in [false, true] {
        let _ = mode::Parameters::parse_select(long, bytes);
        let _ = mode::Parameters::parse_sense(long, bytes);
    }
    for page in [0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2] {
        let Ok(body) = vpd::parse(page, bytes) else {
            continue;
        };
        let _ = vpd::parse_designators(body);
        let _ = vpd::BlockLimits::parse(body);
        let _ = vpd::RotationRate::parse(body);
        let _ = vpd::LogicalBlockProvisioning::parse(body);
    }
});
