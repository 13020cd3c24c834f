//! Puts a cluster's configuration on its machines over OpenSSH, and starts the cluster.
//!
//! ```text
//! survey ──▶ plan ──▶ agree ──▶ stage ──▶ verify ──▶ install ──▶ start or reload ──▶ health ──▶ finish
//! (looks)   (pure)   (caller)   └─ a failure here: the former ─┘  └─ a failure here is reported; applying ─┘
//!                                  files come back everywhere        again goes on from there
//! ```
#![forbid(unsafe_code)]

mod desired;
mod effect;
mod error;
mod event;
mod facts;
mod keys;
mod machine;
mod operation;
mod options;
mod shell;
mod ssh;
mod transport;

pub use desired::{CIB, COROSYNC_CONF, COROSYNC_KEY, Desired, Preparation, Wanted};
pub use effect::Effect;
pub use error::{Error, Failure, Problem, ProblemKind};
pub use event::{Event, Phase};
pub use keys::{Keys, KeysError};
pub use machine::{BadDestination, Destination, Machine, Role};
pub use options::{Options, Report, Took};
pub use ssh::{OpenSsh, SshSettings};
pub use transport::{Command, MAX_OUTPUT, Output, Transport, TransportError};
