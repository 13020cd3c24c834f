//! What the writers of a storage drill wrote: see `writer.py`.

/// The length of a record in bytes.
pub(super) const SIZE: usize = 64;

/// The `number`-th record of the node with this index, as it is written.
pub(super) fn record(index: usize, number: u64) -> Vec<u8> {
    let text = format!("{index} {number}");
    let mut record = format!("{:08x} {text}", crc32(text.as_bytes())).into_bytes();
    record.resize(SIZE - 1, b'.');
    record.push(b'\n');
    record
}

/// The numbers of a node's records that were acknowledged up to `last` and are not in `file` as they were
/// written. `index` is the node's among `nodes` that wrote.
pub(super) fn lost(file: &[u8], index: usize, nodes: usize, last: Option<u64>) -> Vec<u64> {
    let Some(last) = last else {
        return Vec::new();
    };
    let is_there = |number: u64| {
        let slot = usize::try_from(number).ok()?.checked_mul(nodes)? + index;
        let at = slot.checked_mul(SIZE)?;
        Some(file.get(at..at + SIZE)? == record(index, number))
    };
    (0..=last)
        .filter(|number| is_there(*number) != Some(true))
        .collect()
}

/// CRC-32 as in ISO 3309 and zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_zlibs() {
        // The check value of CRC-32 in every catalogue of CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn whatever_is_not_as_it_was_written_is_lost() {
        let mut file = Vec::new();
        for number in 0..3 {
            for index in 0..2 {
                file.extend(record(index, number));
            }
        }
        assert_eq!(lost(&file, 0, 2, Some(2)), [0; 0]);
        assert_eq!(lost(&file, 1, 2, None), [0; 0]);
        assert_eq!(lost(&file, 1, 2, Some(3)), [3]);
        file[2 * SIZE + 5] ^= 1;
        assert_eq!(lost(&file, 0, 2, Some(2)), [1]);
        assert_eq!(lost(&file[..SIZE], 1, 2, Some(1)), [0, 1]);
    }
}
