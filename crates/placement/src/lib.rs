//! Whether the members of a guest cluster run on different hosts, what keeps them there, and what would.
//!
//! ```text
//! Definition ─▶ Wish ─┬───────────────▶ assess (pure) ─▶ Report: who shares a host, what keeps nobody apart
//! Placement ─▶ look ──▶ Seen ──────────▶ plan (pure) ───▶ Plan: rule, pins, moves ─▶ enact, read back
//! ```
//!
//! | module | knows | must not know |
//! |---|---|---|
//! | [`wish`] | what a definition says of its members' hosts | what is there |
//! | [`seen`] | how the platform is asked, by [`hypervisor::placement::Placement`] alone | what is wanted |
//! | [`report`], [`mod@plan`] | both, and what follows: pure | platforms, clocks, threads |
//! | [`enact`] | how one step is carried out and confirmed | why |
//!
//! "Nobody can say where it is" stays apart from "it runs nowhere" all the way: a member that cannot be found makes the
//! answer [`State::Unknown`], and no plan moves it.
#![forbid(unsafe_code)]

mod assign;
pub mod enact;
pub mod plan;
pub mod report;
pub mod seen;
pub mod wish;

pub use enact::{Outcome, enact};
pub use plan::{Action, Obstacle, Plan, Step, plan};
pub use report::{Finding, FindingKind, Report, State, Weight, assess};
pub use seen::{Rules, Seen, Trouble, look};
pub use wish::{Member, Remedy, Wish};
