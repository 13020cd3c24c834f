//! What a connection keeps for each of its tasks: the buffer, and how far the command is.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use iscsi::session::TaskId;

use crate::server::buffer::Pool;
use crate::store::Buffer;

/// Task numbers are counted up here and chosen by nobody: they need no mixing that an attacker cannot foresee.
#[derive(Debug, Default)]
pub(crate) struct Counted(u64);

impl Hasher for Counted {
    fn finish(&self) -> u64 {
        // The table looks at the top bits and at the bottom ones (Knuth's multiplicative hashing).
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Buffers and states of tasks. `S` is what the connection knows of a command.
#[derive(Debug)]
pub(crate) struct Slots<S> {
    slots: HashMap<TaskId, Slot<S>, BuildHasherDefault<Counted>>,
    pub(crate) pool: Pool,
    /// Bytes in all buffers of tasks, here and at media.
    held: usize,
}

/// One task.
#[derive(Debug)]
struct Slot<S> {
    state: Option<S>,
    buffer: Option<Buffer>,
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Self {
            state: None,
            buffer: None,
        }
    }
}

impl<S> Default for Slots<S> {
    fn default() -> Self {
        Self {
            slots: HashMap::default(),
            pool: Pool::default(),
            held: 0,
        }
    }
}

impl<S> Slots<S> {
    /// How many bytes the buffers of tasks take.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn set_state(&mut self, task: TaskId, state: S) {
        self.slots.entry(task).or_default().state = Some(state);
    }

    pub(crate) fn take_state(&mut self, task: TaskId) -> Option<S> {
        self.slots.get_mut(&task)?.state.take()
    }

    /// Takes all states.
    pub(crate) fn drain_states(&mut self) -> impl Iterator<Item = (TaskId, S)> + '_ {
        self.slots
            .iter_mut()
            .filter_map(|(task, slot)| Some((*task, slot.state.take()?)))
    }

    /// The buffer of a task, as long as it has one.
    pub(crate) fn buffer(&self, task: TaskId) -> Option<&[u8]> {
        let slot = self.slots.get(&task)?;
        slot.buffer.as_deref()
    }

    /// The part of a task's buffer that data are received into; the buffer grows as they come.
    pub(crate) fn part(&mut self, task: TaskId, from: usize, length: usize) -> &mut [u8] {
        let end = from + length;
        self.reserve(task, end);
        let buffer = self
            .slots
            .get_mut(&task)
            .and_then(|slot| slot.buffer.as_deref_mut());
        &mut buffer.unwrap_or_default()[from..end]
    }

    /// Makes room for what is still to come, once for all.
    pub(crate) fn reserve(&mut self, task: TaskId, length: usize) {
        let slot = self.slots.entry(task).or_default();
        match &mut slot.buffer {
            None => {
                self.held += length;
                slot.buffer = Some(self.pool.take(length));
            }
            Some(buffer) if buffer.len() < length => {
                self.held += length - buffer.len();
                self.pool.grow(buffer, length);
            }
            Some(_) => {}
        }
    }

    /// The buffer of a task, to be given away.
    pub(crate) fn take_buffer(&mut self, task: TaskId) -> Option<Buffer> {
        let buffer = self.slots.get_mut(&task)?.buffer.take()?;
        self.held -= buffer.len();
        Some(buffer)
    }

    /// So many bytes are at a medium.
    pub(crate) fn lend(&mut self, bytes: usize) {
        self.held += bytes;
    }

    /// They are there no more.
    pub(crate) fn lent_is_back(&mut self, bytes: usize) {
        self.held -= bytes;
    }

    /// Gives a task its buffer.
    pub(crate) fn put_buffer(&mut self, task: TaskId, buffer: Buffer) {
        self.held += buffer.len();
        let slot = self.slots.entry(task).or_default();
        if let Some(old) = slot.buffer.replace(buffer) {
            self.held -= old.len();
            self.pool.give_back(old);
        }
    }

    /// The task is over.
    pub(crate) fn release(&mut self, task: TaskId) -> Option<S> {
        let slot = self.slots.remove(&task)?;
        if let Some(buffer) = slot.buffer {
            self.held -= buffer.len();
            self.pool.give_back(buffer);
        }
        slot.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        let mut slots = Slots::<()>::default();
        let (one, two) = (TaskId(1), TaskId(2));
        slots.part(one, 0, 100).fill(1);
        slots.part(one, 100, 50).fill(2);
        slots.reserve(two, 4096);
        assert_eq!(slots.held(), 150 + 4096);
        assert_eq!(&slots.buffer(one).unwrap()[98..102], [1, 1, 2, 2]);
        let buffer = slots.take_buffer(two).unwrap();
        assert_eq!(slots.held(), 150);
        slots.put_buffer(one, buffer);
        assert_eq!(slots.held(), 4096);
        slots.release(one);
        slots.release(two);
        assert_eq!(slots.held(), 0);
    }
}
