//! (libvirt)
