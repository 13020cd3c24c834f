//! What the implementations over HTTP share: errors and percent-encoding.
