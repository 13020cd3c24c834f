//! What each virtualization platform supports in a guest cluster, and what keeps such a cluster safe.
//!
//! A [`cluster::Definition`] goes in, a [`Verdict`] comes out: the worst of its [`Reason`]s, each with
//! what it rests on and what would remedy it. Two [`Edition`]s of the knowledge stand side by side: the
//! requirement document's, exactly as it is written, and today's, in which every fact says how sure it
//! is. What nobody has confirmed makes a verdict "unverified", never "supported".
//!
//! Nothing here reads files, asks the network or the clock: the knowledge is data compiled into the
//! library, and the same definition always gets the same verdict.

mod edition;
mod level;
mod live;
pub mod matrix;
mod rule;
pub mod rules;
mod source;
pub mod statements;
mod verdict;

pub use edition::{Edition, UnknownEdition};
pub use level::{Confidence, Level};
pub use live::{Live, LiveMember, SeenAt};
pub use matrix::Matrix;
pub use rule::{Facts, MATRIX_RULES, Rule, check, check_live, rule};
pub use source::Source;
pub use statements::{STATEMENTS, Statement};
pub use verdict::{Outcome, Reason, RuleId, Severity, Verdict};
