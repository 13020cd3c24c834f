//! RHEV-M and oVirt.
