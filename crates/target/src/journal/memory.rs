//! A directory in memory that knows what a loss of power may leave of it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Directory;

/// A directory in memory. Copies are the same directory.
///
/// What was not made durable may survive a loss of power or not ([`MemoryDirectory::after_power_loss`]): bytes in any
/// part, names in the order in which they were given.
#[derive(Debug, Clone, Default)]
pub struct MemoryDirectory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// What programs see.
    names: BTreeMap<String, Contents>,
    /// The names on the disk.
    durable: BTreeMap<String, Contents>,
    /// Changes of names that are not on the disk yet.
    pending: Vec<BTreeMap<String, Contents>>,
    /// Every state a loss of power could have left, since recording began; `None`: not recording.
    crashes: Option<Vec<BTreeMap<String, Vec<u8>>>>,
    /// How many calls succeed before one fails; `None`: all.
    failing: Option<usize>,
}

/// Bytes, and how many of them are surely on the disk.
#[derive(Debug, Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: bool,
}

impl MemoryDirectory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that holds these files, all of them durable.
    #[must_use]
    pub fn holding(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let directory = Self::new();
        let durable: BTreeMap<_, _> = files
            .iter()
            .map(|(name, bytes)| (name.clone(), Contents::durable(bytes)))
            .collect();
        let mut state = directory.lock();
        state.names.clone_from(&durable);
        state.durable = durable;
        drop(state);
        directory
    }

    /// Lets `calls` calls that change something succeed, and no more: each further one fails.
    pub fn fail_after(&self, calls: usize) {
        self.lock().failing = Some(calls);
    }

    /// Lets all calls succeed again.
    pub fn recover(&self) {
        self.lock().failing = None;
    }

    /// Begins to record what a loss of power could leave.
    pub fn record(&self) {
        let mut state = self.lock();
        state.crashes = Some(Vec::new());
        state.note();
    }

    /// What a loss of power could have left at any moment since [`Self::record`], each a set of files.
    #[must_use]
    pub fn after_power_loss(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        self.lock().crashes.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn durable(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            durable: true,
        }
    }

    /// What may be on the disk: cut anywhere, with the right length and nothing or rubbish in the rest, or whole.
    fn possible(&self) -> Vec<Vec<u8>> {
        let whole = self.bytes.clone();
        if self.durable {
            return vec![whole];
        }
        let length = whole.len();
        let cut = |at: usize| whole[..at].to_vec();
        let filled = |at: usize, byte: u8| {
            let mut bytes = cut(at);
            bytes.resize(length, byte);
            bytes
        };
        (0..=length)
            .flat_map(|at| [cut(at), filled(at, 0), filled(at, 0xA5)])
            .collect()
    }
}

impl State {
    /// A call that changes something: fails if it is its turn.
    fn call(&mut self) -> io::Result<()> {
        match &mut self.failing {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The names have changed.
    fn renamed(&mut self) {
        self.pending.push(self.names.clone());
        self.note();
    }

    /// Notes what a loss of power would leave now.
    fn note(&mut self) {
        let Some(mut crashes) = self.crashes.take() else {
            return;
        };
        for names in std::iter::once(&self.durable).chain(&self.pending) {
            crashes.extend(combinations(names));
        }
        self.crashes = Some(crashes);
    }
}

/// Every set of files that the names may stand for. At most one of them is not durable here, so it stays small.
fn combinations(names: &BTreeMap<String, Contents>) -> Vec<BTreeMap<String, Vec<u8>>> {
    let mut sets = vec![BTreeMap::new()];
    for (name, contents) in names {
        let mut next = Vec::new();
        for bytes in contents.possible() {
            for set in &sets {
                let mut set: BTreeMap<String, Vec<u8>> = set.clone();
                set.insert(name.clone(), bytes.clone());
                next.push(set);
            }
        }
        sets = next;
    }
    sets
}

impl Directory for MemoryDirectory {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let state = self.lock();
        let contents = state.names.get(name);
        Ok(contents.map(|contents| contents.bytes.iter().copied().take(most).collect()))
    }

    fn write_durable(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let failed = state.call();
        let written = Contents {
            bytes: bytes.to_vec(),
            durable: false,
        };
        state.names.insert(name.to_owned(), written);
        state.renamed();
        failed?;
        for names in state.every_view() {
            if let Some(contents) = names.get_mut(name).filter(|it| it.bytes == bytes) {
                contents.durable = true;
            }
        }
        state.note();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let contents = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), contents);
        state.renamed();
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        state.durable = state.names.clone();
        state.pending.clear();
        state.note();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

impl State {
    /// The names as seen and as pending.
    fn every_view(&mut self) -> impl Iterator<Item = &mut BTreeMap<String, Contents>> {
        std::iter::once(&mut self.names).chain(&mut self.pending)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use scsi::pr::{
        Held, Holder, InitiatorPort, Key, Nexus, Registration, RelativePort, ReservationType,
        Reservations,
    };

    use super::*;
    use crate::journal::{Identity, Journal, JournalError};

    /// A state that differs from that of every other number.
    pub(in crate::journal) fn state(number: u64) -> Reservations {
        let count = number % 8;
        let registrations: Vec<_> = (0..count)
            .map(|at| Registration {
                nexus: Nexus {
                    initiator: InitiatorPort::new(
                        &format!("iqn.2026-11.example:n{at}"),
                        [0, 2, 0x3D, 0, 0, u8::try_from(at).unwrap()],
                    )
                    .unwrap(),
                    port: RelativePort(1),
                },
                key: Key::new(number * 16 + at + 1).unwrap(),
                all_target_ports: at % 2 == 1,
            })
            .collect();
        let kinds = ReservationType::ALL.len() as u64;
        let kind = ReservationType::ALL[usize::try_from(number % kinds).unwrap()];
        let held = registrations.first().map(|first| Held {
            kind,
            holder: if kind.all_registrants() {
                Holder::Everyone
            } else {
                Holder::One(first.nexus.clone())
            },
        });
        Reservations::restore(registrations, held).unwrap()
    }

    fn identity() -> Identity {
        Identity::new("naa.3000000000000001").unwrap()
    }

    fn journal(directory: &MemoryDirectory) -> (Journal<MemoryDirectory>, Reservations) {
        Journal::open_in(directory.clone(), &identity()).unwrap()
    }

    /// Every moment of an update at which the power can fail, with every part of what was not yet durable.
    #[test]
    fn a_loss_of_power_leaves_the_old_state_or_the_new_one() {
        let directory = MemoryDirectory::new();
        let (mut keeper, found) = journal(&directory);
        assert_eq!(found, Reservations::default());
        let mut old = Reservations::default();
        for number in [3, 1, 6] {
            let new = state(number);
            directory.record();
            keeper.store(&new).unwrap();
            let crashes = directory.after_power_loss();
            assert!(crashes.len() > 200, "only {} crashes", crashes.len());
            let mut seen = [0, 0];
            for files in crashes {
                let (_, found) = journal(&MemoryDirectory::holding(&files));
                assert!(found == old || found == new, "{found:?}");
                seen[usize::from(found == new)] += 1;
            }
            assert!(seen[0] > 0 && seen[1] > 0);
            // Acknowledged now: nothing but the new state can be found from here on.
            directory.record();
            for files in directory.after_power_loss() {
                assert_eq!(journal(&MemoryDirectory::holding(&files)).1, new);
            }
            old = new;
        }
    }

    #[test]
    fn whichever_step_fails_the_file_is_whole_and_the_next_update_counts() {
        for calls in 0..3 {
            let directory = MemoryDirectory::new();
            let (mut keeper, _) = journal(&directory);
            keeper.store(&state(3)).unwrap();
            directory.fail_after(calls);
            let failed = keeper.store(&state(4));
            assert!(matches!(failed, Err(JournalError::Io { .. })), "{calls}");
            assert!(keeper.is_unsure());
            let (_, found) = journal(&directory);
            assert!(found == state(3) || found == state(4));
            directory.recover();
            keeper.store(&state(5)).unwrap();
            assert!(!keeper.is_unsure());
            assert_eq!(journal(&directory).1, state(5));
        }
    }

    #[test]
    fn a_damaged_file_is_never_an_empty_one() {
        let directory = MemoryDirectory::new();
        journal(&directory).0.store(&state(5)).unwrap();
        directory.record();
        let files = directory.after_power_loss().pop().unwrap();
        let (name, whole) = files.iter().next().unwrap();
        for length in 0..whole.len() {
            let files = BTreeMap::from([(name.clone(), whole[..length].to_vec())]);
            let found = Journal::open_in(MemoryDirectory::holding(&files), &identity());
            assert!(
                matches!(found, Err(JournalError::Damaged { .. })),
                "{length}"
            );
        }
    }

    #[test]
    fn a_loss_of_power_does_what_it_says() {
        let directory = MemoryDirectory::new();
        directory.record();
        directory.write_durable("a", b"xy").unwrap();
        directory.rename("a", "b").unwrap();
        directory.sync_names().unwrap();
        let crashes = directory.after_power_loss();
        let has = |name: &str, bytes: &[u8]| {
            let files = BTreeMap::from([(name.to_owned(), bytes.to_vec())]);
            crashes.contains(&files)
        };
        assert!(crashes.contains(&BTreeMap::new()));
        assert!(has("a", b"") && has("a", b"x") && has("a", b"x\0") && has("a", b"xy"));
        assert!(has("b", b"xy") && !has("b", b"x"));
    }
}
