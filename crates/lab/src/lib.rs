//! Real guests under QEMU on this machine, with Corosync and Pacemaker inside and a fencing daemon
//! outside: for the demo, the tests and the drills.
//!
//! A lab is a network namespace with a bridge, a private `libvirtd` in a mount namespace of its own,
//! one guest per cluster node, and one `fence_virtd`. Nothing of the machine's own libvirt, network or
//! firewall is touched. Everything that runs for a lab runs inside its network namespace, and that is
//! what cleaning up goes by: [`Lab::down`] ends exactly the processes found there, whoever started them
//! and however that ended.
//!
//! ```text
//!  machine
//!  ├─ cache (/var/cache/picket/lab)      images, saved clusters, the seed of the keys
//!  ├─ state (/run/picket/lab/NAME)       what `attach`, `list` and `down` go by
//!  └─ network namespace NAME
//!     ├─ br0 10.9.0.254/24 ── t1 ── guest 1 (10.9.0.1)
//!     │                    ├─ t2 ── guest 2 (10.9.0.2)
//!     │                    └─ t3 ── storage guest, if the kernel's target serves iSCSI disks of the definition
//!     ├─ picket-target, if that serves iSCSI disks of the definition
//!     ├─ libvirtd (private mount namespace; persistent definitions)
//!     └─ fence_virtd, if a device asks it (same namespaces; multicast on br0, backend qemu:///system)
//! ```
//!
//! # States of a lab
//!
//! ```text
//!  absent ──up──▶ preparing ──▶ forming ──▶ formed ──save, restore──▶ formed (saved state in the cache)
//!    ▲               │             │           │ ▲
//!    │               └── error, Ctrl-C ────────┤ └─ restoring ◀── up, when a valid saved state exists
//!    └──────────────────── down ◀──────────────┘
//! ```
//!
//! An `up` that fails, or is cancelled, takes down what it had started. One that is killed leaves its
//! state directory behind; the next `up` or `down` of the same name starts by removing what it names.

mod accel;
mod apply;
mod bmc;
mod cache;
mod command;
mod config;
mod disk;
mod domain;
mod error;
mod event;
mod fault;
mod fencing;
mod form;
mod guest;
mod image;
mod lab;
mod libvirt;
mod lock;
mod net;
mod preflight;
mod process;
mod saved;
mod spec;
mod ssh;
mod state;
mod storage;
mod target;
mod tsc;
mod up;

pub use accel::Accel;
pub use cache::{Cache, Entry as CacheEntry, EntryKind};
pub use command::Cancel;
pub use error::{Error, Kind};
pub use event::{Event, Step};
pub use fault::{Fault, Injected};
pub use guest::{ClockOffset, GuestLog, Output};
pub use lab::{Form, Lab, Origin, Removed, Summary};
pub use preflight::{Precondition, check as preflight};
pub use spec::{LabName, Node, Spec, Stack};
pub use ssh::Ssh;
pub use target::{Registration, Reserved};

/// Address of the machine itself on the lab's bridge, where `fence_virtd` listens.
pub const HOST_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 9, 0, 254);
/// Length of the lab network's prefix: 10.9.0.0/24.
pub const PREFIX: u8 = 24;
/// The lab's bridge, inside its network namespace.
pub const BRIDGE: &str = "br0";
/// The most nodes a lab holds: their addresses are 10.9.0.1 to 10.9.0.16.
pub const MAX_NODES: usize = 16;
