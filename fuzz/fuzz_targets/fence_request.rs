//! A request packet, from anybody on the network; and a reply record.
#![no_main]
use fence_wire::{HashType, HostRecord, Key, Unverified};

libfuzzer_sys::fuzz_target!(|packet: &[u8]| {
    if let Ok(unverified) = Unverified::decode(packet) {
        let key = Key::new(b"key");
        if let Ok(request) = unverified.verify(HashType::None, &key) {
            let hash = unverified.hash_type().unwrap_or(HashType::None);
            assert!(Unverified::decode(&request.encode(hash, &key)).is_ok());
        }
    }
    if let Some((record, _)) = packet.split_first_chunk() {
        let _ = HostRecord::decode(record);
    }
});
