//! The actions against disks in memory.

mod actions;
mod faults;
mod memory;
mod names;
mod random;
mod table;
mod watchdog;

use std::time::Duration;

use fence_agent::memory::Memory;
use fence_agent::{Exit, Failure};
use scsi::pr::Key;

use memory::{Action, Lun, Machine};

/// Machines with keys 1, 2, … on the same disks.
struct World {
    luns: Vec<Lun>,
    machines: Vec<Machine>,
    _directory: tempfile::TempDir,
}

impl World {
    fn new(machines: u64, luns: usize, paths: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let luns: Vec<Lun> = (0..luns).map(|_| Lun::default()).collect();
        for (naa, lun) in (0x3000_0000_0000_0001..).zip(&luns) {
            lun.lock().naa = Some(naa);
        }
        let machine = |number| Machine::new(number, &luns, paths, directory.path());
        Self {
            machines: (1..=machines).map(machine).collect(),
            luns,
            _directory: directory,
        }
    }

    /// The same, every machine unfenced.
    fn unfenced(machines: u64, luns: usize, paths: usize) -> Self {
        let world = Self::new(machines, luns, paths);
        for machine in &world.machines {
            machine.run(Action::On).unwrap();
        }
        world
    }

    fn node(&self, number: usize) -> &Machine {
        &self.machines[number - 1]
    }

    fn off(&self, by: usize, victim: usize) -> Result<Exit, Failure> {
        self.node(by).run(Action::Off(key(victim)))
    }

    /// How many registrations each disk has.
    fn registrations(&self) -> Vec<usize> {
        let count = |lun: &Lun| lun.lock().reservations.registrations().len();
        self.luns.iter().map(count).collect()
    }
}

fn key(number: usize) -> Key {
    Key::new(number as u64).unwrap()
}

/// Does an action, and gives what was said: standard output, and the log.
fn said(machine: &Machine, action: Action) -> (Result<Exit, Failure>, String, String) {
    let mut around = Memory::new(Duration::from_secs(60));
    let result = machine.act(action, &mut around);
    (result, around.output, around.logged.join("\n"))
}
