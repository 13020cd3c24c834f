//! A CDB, from any initiator.
#![no_main]

libfuzzer_sys::fuzz_target!(|cdb: &[u8]| {
    let _ = scsi::Command::parse(cdb);
    let _ = scsi::pr::access(cdb);
});
