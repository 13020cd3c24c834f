//! Management servers for tests: true to the documented interfaces, with faults on demand.

pub mod http;
