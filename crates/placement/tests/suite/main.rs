//! Plans carried out on the in-memory platform, and what is reported of it.

mod carried_out;
mod reported;
mod world;
