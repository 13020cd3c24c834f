//! Our initiator and the probe against a target in this process, which keeps to the rules or breaks one of them.

mod connection;
mod initiator;
mod probe;
mod target;
