//! RC4, which MS-NLMP 3.4.3 seals messages with.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key stream under way.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    /// The stream of `key`, from its beginning.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let mut state = [0; 256];
        for (place, value) in state.iter_mut().zip(0u8..=255) {
            *place = value;
        }
        let mut j = 0u8;
        for i in 0..256 {
            j = j.wrapping_add(state[i]).wrapping_add(key[i % key.len()]);
            state.swap(i, usize::from(j));
        }
        Self { state, i: 0, j: 0 }
    }

    /// Encrypts or decrypts in place; the stream moves on.
    pub(crate) fn apply(&mut self, data: &mut [u8]) {
        for byte in data {
            self.i = self.i.wrapping_add(1);
            let a = self.state[usize::from(self.i)];
            self.j = self.j.wrapping_add(a);
            let b = self.state[usize::from(self.j)];
            self.state.swap(usize::from(self.i), usize::from(self.j));
            *byte ^= self.state[usize::from(a.wrapping_add(b))];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6229, key length 128 bits, key 0102…10: the stream's bytes 0 to 15 and 4096 to 4111.
    #[test]
    fn the_stream_is_that_of_rfc_6229() {
        let key: [u8; 16] = std::array::from_fn(|at| u8::try_from(at + 1).unwrap());
        let mut stream = [0; 4112];
        Rc4::new(&key).apply(&mut stream);
        assert_eq!(
            stream[..16],
            [
                0x9a, 0xc7, 0xcc, 0x9a, 0x60, 0x9d, 0x1e, 0xf7, 0xb2, 0x93, 0x28, 0x99, 0xcd, 0xe4,
                0x1b, 0x97
            ]
        );
        assert_eq!(
            stream[4096..],
            [
                0xa3, 0x6a, 0x4c, 0x30, 0x1a, 0xe8, 0xac, 0x13, 0x61, 0x0c, 0xcb, 0xc1, 0x22, 0x56,
                0xca, 0xcc
            ]
        );
    }
}
