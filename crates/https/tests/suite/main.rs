//! The client against servers on this machine: scripted ones, and programs that nobody here wrote.

mod client;
mod faults;
mod foreign;
mod names;
mod plain;
mod support;
mod tls;
