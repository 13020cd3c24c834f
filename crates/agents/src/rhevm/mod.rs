//! `fence_rhevm`.
