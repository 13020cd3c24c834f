//! The daemon as its peers see it: over loopback with guests in memory, and as a process.

mod common;
mod multicast;
mod process;
mod requests;
