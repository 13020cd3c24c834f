//! Hyper-V through real sockets: the test server's hosts, whose truth pywinrm and pypsrp have judged (`tests/tests/hyperv`).

mod actions;
mod cluster;
mod common;
mod faults;
mod hosts;
mod login;
mod placement;
mod random;
