//! `fence_vmware`.
