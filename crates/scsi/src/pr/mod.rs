//! Persistent reservations (SPC-4, "Persistent Reservations"): commands, parameter data, the state machine, and
//! which commands a reservation lets through.
//!
//! A logical unit has one [`Reservations`]. Every decision is a function of it: [`Reservations::out`] carries out a
//! PERSISTENT RESERVE OUT and gives the state that follows, what must be told to whom, and whose commands must be
//! aborted, before GOOD may be returned; [`Reservations::permits`] says whether any other command may run.
//!
//! ```text
//!                REGISTER (key)                        RESERVE
//!  unregistered ───────────────▶ registered, no ───────────────────▶ reserved: one holder, or with
//!       ▲ ▲                      reservation    ◀─────────────────── an all-registrants type every one
//!       │ └── REGISTER (key 0) ─────┘    RELEASE, holder unregisters        │
//!       └──────────── CLEAR, or PREEMPT by another registrant ◀─────────────┘
//! ```
//!
//! A registration belongs to a [`Nexus`] and not to a session: it outlives logout, reinstatement and resets.

mod access;
mod command;
mod full_status;
mod initiator_id;
mod state;
mod transport_id;
mod types;

pub use crate::bytes::Truncated;
pub use access::{Access, access};
pub use command::{
    Capabilities, InAction, OutAction, OutError, OutParameters, OutRequest, ReservationData,
    TypeMask, encode_keys, encode_reservation, parse_keys, parse_reservation,
};
pub use full_status::{FullStatus, encode_full_status, parse_full_status};
pub use initiator_id::InitiatorId;
pub use state::{Effects, Held, Holder, Registration, Reservations, RestoreError, Surroundings};
pub use transport_id::{InitiatorPort, TransportId, TransportIdError};
pub use types::{Key, Nexus, Refusal, RelativePort, ReservationType};
