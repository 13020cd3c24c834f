//! Memory that a disk can read and write without the page cache.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Where every buffer begins: what direct I/O needs on every file system and disk with blocks of up to 4096 bytes.
pub const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGNMENT`]. Zeroed when they are made; reused, they keep what was in them.
pub struct Buffer {
    start: NonNull<u8>,
    length: usize,
    capacity: usize,
}

// SAFETY: the memory belongs to this value alone, as that of a `Vec<u8>` does.
unsafe impl Send for Buffer {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `length` zero bytes. The caller bounds the length.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let capacity = length.next_multiple_of(ALIGNMENT);
        let start = match layout(capacity) {
            None => NonNull::dangling(),
            Some(layout) => {
                // SAFETY: the layout's size is not zero.
                let start = unsafe { alloc_zeroed(layout) };
                NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
            }
        };
        Self {
            start,
            length,
            capacity,
        }
    }

    /// A buffer that holds a copy of `bytes`.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// The longest length it can have without new memory.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes it `length` bytes long; with new, zeroed memory only if it has too little. What it held is of no meaning
    /// afterwards.
    pub fn reset(&mut self, length: usize) {
        if length > self.capacity {
            *self = Self::zeroed(length);
        }
        self.length = length;
    }
}

/// `None` for no bytes at all.
fn layout(capacity: usize) -> Option<Layout> {
    if capacity == 0 {
        return None;
    }
    match Layout::from_size_align(capacity, ALIGNMENT) {
        Ok(layout) => Some(layout),
        // More than half of the address space: no machine has it.
        Err(_) => handle_alloc_error(Layout::new::<u8>()),
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.capacity) {
            // SAFETY: allocated in `zeroed` with this layout, and freed only here.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `length` never exceeds `capacity` initialized bytes; without any, the pointer is dangling but aligned.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The data of a disk belong into no log.
        write!(f, "Buffer({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_and_zero() {
        for length in [0, 1, 511, 512, 4096, 4097, 1 << 20] {
            let buffer = Buffer::zeroed(length);
            assert_eq!(buffer.len(), length);
            assert_eq!(
                buffer.as_ptr() as usize % ALIGNMENT,
                usize::from(length == 0)
            );
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn it_takes_new_memory_only_when_it_must() {
        let mut buffer = Buffer::copied(&[7; 5000]);
        let place = buffer.as_ptr();
        buffer.reset(8192);
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 8192));
        buffer.reset(512);
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 512));
        assert_eq!(buffer[..], [7; 512]);
        buffer.reset(8193);
        assert_eq!(buffer.capacity(), 12288);
        assert!(buffer.iter().all(|byte| *byte == 0));
    }
}
