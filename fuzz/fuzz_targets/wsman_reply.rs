//! What a host of WS-Management answers.
#![no_main]
use uuid::Uuid;
use wsman::reply;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let id = Uuid::nil();
    let _ = reply::page(bytes, id);
    let _ = reply::output(bytes, id, "RequestStateChange");
    let _ = reply::accepted(bytes, id);
    let _ = reply::fault(bytes).map(|fault| fault.to_string());
    if let Ok(instance) = reply::instance(bytes, id) {
        let _ = instance.number("EnabledState");
        let _ = instance.reference("Job");
        // What came can be sent back, or is refused.
        let resource = wsman::Resource::wmi("root/x", "C");
        let envelope = wsman::Envelope {
            to: "http://h/wsman",
            id,
            timeout: std::time::Duration::from_secs(1),
        };
        let _ = envelope.put(&resource, &instance.with_texts("List", &["a".to_owned()]));
    }
});
