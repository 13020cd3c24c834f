//! Commands and parameter lists of two initiators, in any order, to one logical unit.
#![no_main]
use scsi::inquiry::Text;
use scsi::lu::{
    Begun, BlockLength, Config, Continued, Geometry, Identity, Limits, LocalNaa, LogicalUnit,
    NexusId,
};
use scsi::pr::{InitiatorPort, Nexus, RelativePort, Reservations};

const NAMES: [&str; 2] = ["iqn.2026-11.test:a", "iqn.2026-11.test:b"];

fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).expect("short and printable")
}

fn unit() -> LogicalUnit {
    let config = Config {
        identity: Identity {
            vendor: text("PICKET"),
            product: text("disk"),
            revision: text("0001"),
            serial: text("S1"),
            naa: LocalNaa::new(1),
            target_name: "iqn.2026-11.test:t".into(),
        },
        geometry: Geometry {
            block_length: BlockLength::B512,
            blocks: 1 << 20,
            physical_exponent: 3,
        },
        ports: vec![RelativePort(1), RelativePort(2)],
        thin: true,
        rotational: false,
        removable: true,
        read_only: false,
        write_cache: true,
        limits: Limits::default(),
    };
    LogicalUnit::new(config, Reservations::default())
}

fn attach(unit: &mut LogicalUnit, name: &str) -> NexusId {
    let initiator = InitiatorPort::new(name, [0x80, 0, 0, 0, 0, 1]).expect("a name");
    unit.attach(&Nexus {
        initiator,
        port: RelativePort(1),
    })
    .expect("room")
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut unit = unit();
    let nexuses = NAMES.map(|name| attach(&mut unit, name));
    let mut bytes = bytes;
    // Each round: who, how long the list is, a CDB, the list.
    while let Some((&[who, length], rest)) = bytes.split_first_chunk::<2>() {
        let Some((cdb, rest)) = rest.split_first_chunk::<16>() else {
            return;
        };
        let (list, rest) = rest.split_at(usize::from(length).min(rest.len()));
        bytes = rest;
        let id = nexuses[usize::from(who & 1)];
        if let Begun::Parameters { .. } = unit.begin(id, cdb) {
            if let Continued::Reservation(prepared) = unit.parameters(id, cdb, list) {
                let _ = if who & 2 == 0 {
                    unit.commit(prepared)
                } else {
                    unit.abandon(prepared)
                };
            }
        }
    }
});
