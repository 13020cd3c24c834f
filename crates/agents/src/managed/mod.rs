//! What the agents over management interfaces share: access options, the device, the end of a session.
