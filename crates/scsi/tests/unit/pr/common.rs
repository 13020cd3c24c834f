//! Short ways to say what an initiator sends.

#![allow(
    dead_code,
    reason = "each suite uses its part, and what is dead differs"
)]

use scsi::pr::{
    Effects, InitiatorPort, Key, Nexus, OutAction, OutParameters, OutRequest, Refusal,
    RelativePort, ReservationType, Reservations, Surroundings,
};

pub(crate) fn port(name: &str) -> InitiatorPort {
    InitiatorPort::new(&format!("iqn.2026-11.test:{name}"), [0, 2, 0x3D, 0, 0, 1]).unwrap()
}

/// The nexus of initiator `name` with target port 1.
pub(crate) fn nexus(name: &str) -> Nexus {
    nexus_at(name, 1)
}

pub(crate) fn nexus_at(name: &str, at: u16) -> Nexus {
    Nexus {
        initiator: port(name),
        port: RelativePort(at),
    }
}

/// A PERSISTENT RESERVE OUT.
#[derive(Clone)]
pub(crate) struct RequestBuilder {
    pub(crate) action: OutAction,
    pub(crate) kind: Option<ReservationType>,
    pub(crate) parameters: OutParameters,
    pub(crate) room: usize,
}

impl RequestBuilder {
    pub(crate) fn new(action: OutAction, key: u64, action_key: u64) -> Self {
        Self {
            action,
            kind: None,
            parameters: OutParameters::keys(Key::new(key), Key::new(action_key)),
            room: 64,
        }
    }

    pub(crate) fn register(key: u64, new: u64) -> Self {
        Self::new(OutAction::Register, key, new)
    }

    pub(crate) fn reserve(key: u64, kind: ReservationType) -> Self {
        Self::new(OutAction::Reserve, key, 0).kind(kind)
    }

    pub(crate) fn kind(mut self, kind: ReservationType) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The command and its parameter list.
    pub(crate) fn wire(&self) -> ([u8; 10], Vec<u8>) {
        let list = self.parameters.encode();
        let request = OutRequest {
            action: self.action,
            kind: self.kind,
            length: u32::try_from(list.len()).unwrap(),
        };
        (request.cdb(), list)
    }

    /// Through the wire format and back, as it would arrive.
    pub(crate) fn run(
        &self,
        state: &Reservations,
        from: &str,
    ) -> Result<(Reservations, Effects), Refusal> {
        self.run_at(state, &nexus(from))
    }

    pub(crate) fn run_at(
        &self,
        state: &Reservations,
        from: &Nexus,
    ) -> Result<(Reservations, Effects), Refusal> {
        let (cdb, list) = self.wire();
        let request = OutRequest::parse(&cdb)?;
        let parameters = OutParameters::parse(request.action, &list)?;
        let around = Surroundings {
            ports: &[RelativePort(1), RelativePort(2)],
            known: &[port("a"), port("b"), port("c")],
            room: self.room,
        };
        state.out(from, &request, &parameters, &around)
    }
}

/// A logical unit with these registrations and no reservation.
pub(crate) fn registered(keys: &[(&str, u64)]) -> Reservations {
    let mut state = Reservations::default();
    for (name, key) in keys {
        state = RequestBuilder::register(0, *key)
            .run(&state, name)
            .unwrap()
            .0;
    }
    state
}
