//! `fence_hyperv`.
