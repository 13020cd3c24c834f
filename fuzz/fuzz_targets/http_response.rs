//! What a management interface answers: heads, interim responses, chunks.
#![no_main]
use https::Response;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(response) = Response::from_bytes(bytes) {
        assert!(response.status >= 200 && response.body.len() <= bytes.len());
    }
});
