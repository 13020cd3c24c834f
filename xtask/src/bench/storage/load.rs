//! Commands, so many at a time, from one initiator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use deadline::Deadline;
use disk::initiator::{Disk, Payload, TaskEnd};
use disk::pr::Reservations;
use disk::{Address, OpenOptions};

use super::server::Server;

/// Bytes of a logical block.
const BLOCK: u64 = 512;
/// Longer than any command takes.
const LONG: Duration = Duration::from_secs(30);

/// Where commands go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Random,
    Sequential,
}

/// A load.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) id: &'static str,
    pub(super) shape: Shape,
    pub(super) writes: bool,
    /// Bytes of a command.
    pub(super) bytes: u32,
    /// Commands under way.
    pub(super) depth: usize,
}

const fn load(id: &'static str, shape: Shape, writes: bool, bytes: u32, depth: usize) -> Load {
    Load {
        id,
        shape,
        writes,
        bytes,
        depth,
    }
}

/// All of them.
pub(super) const LOADS: [Load; 8] = [
    load("read-4k-d1", Shape::Random, false, 4 << 10, 1),
    load("write-4k-d1", Shape::Random, true, 4 << 10, 1),
    load("read-4k-d32", Shape::Random, false, 4 << 10, 32),
    load("write-4k-d32", Shape::Random, true, 4 << 10, 32),
    load("read-64k", Shape::Sequential, false, 64 << 10, 8),
    load("write-64k", Shape::Sequential, true, 64 << 10, 8),
    load("read-1m", Shape::Sequential, false, 1 << 20, 8),
    load("write-1m", Shape::Sequential, true, 1 << 20, 8),
];

impl Load {
    /// In words.
    pub(super) fn what(&self) -> String {
        let shape = match self.shape {
            Shape::Random => "random",
            Shape::Sequential => "sequential",
        };
        let direction = if self.writes { "writes" } else { "reads" };
        let (size, depth) = (self.bytes >> 10, self.depth);
        format!("{shape} {size} KiB {direction}, depth {depth}")
    }

    /// Logs in.
    pub(super) fn connect(&self, server: &Server) -> Result<Disk> {
        let text = server.address();
        let Ok(Address::Iscsi(address)) = text.parse() else {
            bail!("{text} is no address");
        };
        let options = OpenOptions {
            initiator: Some("iqn.2026-11.example:bench".to_owned()),
            ..OpenOptions::default()
        };
        let deadline = Deadline::after(LONG);
        let mut disk = Disk::open(&address, &options, deadline)?;
        Reservations::of(&mut disk).test_unit_ready(deadline)?;
        Ok(disk)
    }

    /// Sends commands for as long as the window: how many ended in which time (seconds).
    pub(super) fn run(&self, disk: &mut Disk, size: u64, window: Duration) -> Result<(f64, f64)> {
        let lun = disk.lun();
        let session = disk.session();
        let places = size / u64::from(self.bytes);
        let data = vec![0x5A; usize::try_from(self.bytes)?];
        let deadline = Deadline::after(window + LONG);
        let (mut sent, mut done, mut state) = (0, 0_u32, 0x9E37_79B9_7F4A_7C15_u64);
        let began = Instant::now();
        loop {
            while session.in_flight() < self.depth {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let place = match self.shape {
                    Shape::Random => state % places,
                    Shape::Sequential => sent % places,
                };
                sent += 1;
                let cdb = self.command(place)?;
                let payload = if self.writes {
                    Payload::Out(data.clone())
                } else {
                    Payload::In(data.len())
                };
                session.submit(lun, &cdb, payload, deadline)?;
            }
            let ended = session.wait_any(deadline)?;
            let (_, end) = ended.context("a command took half a minute")?;
            match end {
                TaskEnd::Completed(completion, _) => ensure!(
                    completion.status.is_good() && completion.transferred == data.len(),
                    "a command ended with {completion:?}"
                ),
                other => bail!("a command ended with {other:?}"),
            }
            done += 1;
            let took = began.elapsed();
            if took >= window {
                return Ok((f64::from(done), took.as_secs_f64()));
            }
        }
    }

    /// READ(10) or WRITE(10).
    fn command(&self, place: u64) -> Result<[u8; 10]> {
        let blocks = u64::from(self.bytes) / BLOCK;
        let lba = u32::try_from(place * blocks)?.to_be_bytes();
        let count = u16::try_from(blocks)?.to_be_bytes();
        let opcode = if self.writes { 0x2A } else { 0x28 };
        Ok([
            opcode, 0, lba[0], lba[1], lba[2], lba[3], 0, count[0], count[1], 0,
        ])
    }
}
