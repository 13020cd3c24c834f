//! Definitions nobody thought of.
