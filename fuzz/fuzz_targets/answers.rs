//! What a node's shell sends back.
#![no_main]
use observe::question::Answers;

libfuzzer_sys::fuzz_target!(|output: &[u8]| {
    let answers = Answers::parse(output);
    let guests = observe::host::guests(&answers);
    let _ = observe::host::daemon(&answers, &guests);
});
