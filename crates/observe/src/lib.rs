//! The state of a running cluster: nodes, services, fencing, quorum, links, and which host each guest
//! runs on.
//!
//! ```text
//!   Inventory ─▶ gather ──one script per machine, in parallel──▶ Source (local, ssh, lab)
//!                  │◀────────────── tagged lines ────────────────────┘
//!                  ▼
//!   question ─▶ pacemaker, corosync, host (pure parsers) ─▶ assess (pure) ─▶ Status
//! ```
//!
//! - Nothing is changed on any machine: every command only asks.
//! - "Could not ask", "answered that there is nothing" and "answered something unreadable" are kept
//!   apart, from [`Unanswered`] and [`NodeAnswer`] up to the exit code.
//! - What a tool does not say is `None`, never a comforting default; words this version does not know
//!   are kept as they came.
//! - What machines print is not trusted: its size is bounded, and no input makes a parser panic.
#![forbid(unsafe_code)]

pub mod assess;
pub mod corosync;
pub mod expected;
pub mod gather;
pub mod host;
mod local;
pub mod pacemaker;
pub mod question;
pub mod source;
pub mod status;

pub use expected::{Expected, Finding, Why};
pub use gather::{ExpectedNode, Host, Inventory, Patience, gather};
pub use local::Local;
pub use source::{Machine, Source, Unanswered};
pub use status::{Alarm, Health, NodeAnswer, Severity, Status};
