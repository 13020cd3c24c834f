//! A disk from outside: through the wire format of each command, against the standard's tables and against models written
//! apart from it.

mod lu;
mod pr;
