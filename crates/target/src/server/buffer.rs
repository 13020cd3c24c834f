//! Memory for the data of commands, used again.

use crate::store::Buffer;

/// The least that is allocated.
const LEAST: usize = 4096;
/// How many bytes a busy connection keeps for later: what 16 commands of 1 MiB need. Memory that is given back to the
/// system and asked for again costs a page fault, and zeroing, for every 4096 bytes.
const KEPT: usize = 16 << 20;

/// Buffers of a connection. What is in one after [`Pool::take`] is whatever was there before: it is overwritten before
/// anyone is shown it.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    spare: Vec<Buffer>,
    kept: usize,
}

impl Pool {
    /// A buffer of `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Buffer {
        let fits = |buffer: &Buffer| (length..=4 * length.max(LEAST)).contains(&buffer.capacity());
        // The one that was used last is in the processor's cache.
        let mut buffer = match self.spare.iter().rposition(fits) {
            Some(at) => {
                let buffer = self.spare.swap_remove(at);
                self.kept -= buffer.capacity();
                buffer
            }
            None => Buffer::zeroed(length.max(LEAST).next_power_of_two()),
        };
        buffer.reset(length);
        buffer
    }

    /// Makes a buffer longer, in new memory if it must be; what it holds stays.
    pub(crate) fn grow(&mut self, buffer: &mut Buffer, length: usize) {
        if length <= buffer.capacity() {
            // With enough memory nothing is touched.
            buffer.reset(length);
            return;
        }
        let mut larger = self.take(length);
        larger[..buffer.len()].copy_from_slice(buffer);
        self.give_back(std::mem::replace(buffer, larger));
    }

    /// Gives everything back to the system: nothing has happened for a while.
    pub(crate) fn clear(&mut self) {
        self.spare = Vec::new();
        self.kept = 0;
    }

    /// Takes back what is not needed any more.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        if buffer.capacity() > 0 && self.kept + buffer.capacity() <= KEPT {
            self.kept += buffer.capacity();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_and_are_used_again() {
        let mut pool = Pool::default();
        let mut buffer = pool.take(100);
        buffer.fill(7);
        let place = buffer.as_ptr();
        pool.grow(&mut buffer, 200);
        assert_eq!((&buffer[..100], buffer.as_ptr()), (&[7; 100][..], place));
        pool.grow(&mut buffer, 3 * 4096);
        assert_eq!(&buffer[..100], [7; 100]);
        let again = pool.take(512);
        assert_eq!((again.as_ptr(), again.len()), (place, 512));
    }

    #[test]
    fn not_more_is_kept_than_is_allowed() {
        let mut pool = Pool::default();
        let buffers: Vec<_> = (0..32).map(|_| pool.take(1 << 20)).collect();
        buffers
            .into_iter()
            .for_each(|buffer| pool.give_back(buffer));
        assert!(pool.kept <= KEPT && !pool.spare.is_empty());
        assert_eq!(
            pool.kept,
            pool.spare.iter().map(Buffer::capacity).sum::<usize>()
        );
    }
}
