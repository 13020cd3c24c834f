//! Interoperation with the C programs: C agents against our daemon, our agents against the C
//! daemon, and each with its own kind, over every way a request can travel.
//!
//! Every case is written once and runs for all pairs of agent and daemon. The pair of C programs
//! runs too: it shows that the case itself is right. Where Picket answers otherwise on purpose, the
//! case says what ours answers and why (`facts` of the C behaviour are in the project's
//! documentation of the protocol; conformance tests are a suite of their own).

mod actions;
mod duplicates;
mod groups;
mod input;
mod lists;
mod packets;
mod results;
mod service;
mod signing;
mod streams;
