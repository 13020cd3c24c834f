//! What vCenter and ESX answer, over SOAP and REST.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hypervisor::vmware::read_anything(bytes));
