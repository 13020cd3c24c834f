//! Hand-made ends of the wire, for what no well-behaved program sends.
