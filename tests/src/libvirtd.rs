//! A private libvirtd, to be stalled or killed.
