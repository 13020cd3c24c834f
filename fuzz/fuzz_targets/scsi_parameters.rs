//! Parameter data: of PERSISTENT RESERVE OUT from an initiator; of PERSISTENT RESERVE IN and sense data from a target.
#![no_main]
use scsi::pr::{Capabilities, OutAction, OutParameters, OutRequest};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((cdb, parameters)) = bytes.split_first_chunk::<10>() {
        if let Ok(request) = OutRequest::parse(cdb) {
            let action: OutAction = request.action;
            if let Ok(parsed) = OutParameters::parse(action, parameters) {
                let again = OutParameters::parse(action, &parsed.encode());
                assert_eq!(again.as_ref(), Ok(&parsed));
            }
        }
    }
    let _ = scsi::pr::parse_keys(bytes);
    let _ = scsi::pr::parse_reservation(bytes);
    let _ = scsi::pr::parse_full_status(bytes);
    let _ = Capabilities::parse(bytes);
    let _ = scsi::Sense::parse(bytes);
});
