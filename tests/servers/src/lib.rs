//! Management servers for tests: true to the documented interfaces, with faults on demand.
//!
//! What they share: [`http`] (connections, requests, replies), [`identity`] (certificates), [`faults`] (what goes wrong, and
//! what was asked, both over HTTP under `/-/`) and [`arguments`] (the command line). A server of its own is a
//! [`http::Service`]: one object with the state of the machines, and one [`http::Session`] for each connection.

pub mod arguments;
pub mod faults;
pub mod http;
pub mod hyperv;
pub mod identity;
pub mod ovirt;
pub mod text;
