//! The verdicts, through the public interface: every statement of the requirement document, every rule,
//! and definitions nobody thought of.

mod build;
mod drift;
mod live;
mod properties;
mod rules;
mod statements;
