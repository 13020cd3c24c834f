//! What the black-box suites stand on: places to run in, programs to run, and ends of the wire to
//! play.
//!
//! The suites know nothing of Picket's code but the wire format. They start programs, speak to them
//! over sockets, and look at exit codes and output. Who is under test is a value ([`Subject`]), so a
//! case is written once and runs with the C programs, with ours, and with each against the other.
//!
//! - [`net`]: two network namespaces joined by a cable, removed when the test ends, also by panic.
//! - [`process`]: children that cannot outlive their test, and waits that end.
//! - [`daemon`] and [`agent`]: the two programs on either end, ours or the C ones.
//! - [`fencer`]: Pacemaker's own fencer carrying out steps.
//! - [`peer`]: hand-made ends of the wire, for what no well-behaved program would send.
//! - [`nodes`]: cluster nodes in namespaces, with real Corosync and Pacemaker.
//! - [`hosts`]: two machines with real guests, which can be live-migrated.
//! - [`wiretap`]: what a client sends to a server, and a line that can be cut.
//! - [`libvirtd`]: a private libvirtd that can be stalled and killed.
//!
//! Harness functions panic when the machine does not do what a test needs: the test has failed then.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cases;
pub mod daemon;
pub mod fencer;
pub mod guests;
pub mod hosts;
pub mod libvirtd;
pub mod net;
pub mod nodes;
pub mod peer;
pub mod process;
pub mod relay;
pub mod rig;
pub mod skip;
pub mod subject;
pub mod wiretap;

pub use subject::Subject;
