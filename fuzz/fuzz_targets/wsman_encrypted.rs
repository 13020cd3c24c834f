//! The framing of encrypted messages: the first line is the type, the rest the body.
#![no_main]
use wsman::encrypted::{CONTENT_TYPE, decode, encode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = decode(CONTENT_TYPE, bytes);
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    let (kind, body) = bytes.split_at(end);
    let _ = decode(&String::from_utf8_lossy(kind), body);
    let framed = encode(&[7; 16], bytes);
    assert_eq!(
        decode(CONTENT_TYPE, &framed).map(|part| part.cipher),
        Ok(bytes)
    );
});
