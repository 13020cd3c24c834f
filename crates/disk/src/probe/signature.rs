//! Whether a disk holds something: what file systems, volume managers and partition tables leave where they are.

/// How much of each end is looked at.
pub(super) const LOOK: u64 = 1 << 20;

/// A mark: what of, where from the beginning, and its bytes.
const AT_START: &[(&str, usize, &[u8])] = &[
    ("a GPT partition table", 512, b"EFI PART"),
    ("a GPT partition table", 4096, b"EFI PART"),
    ("an ext2, ext3 or ext4 file system", 0x438, &[0x53, 0xEF]),
    ("an XFS file system", 0, b"XFSB"),
    ("a btrfs file system", 0x10040, b"_BHRfS_M"),
    ("a GFS2 file system", 0x10000, &[0x01, 0x16, 0x19, 0x70]),
    ("an OCFS2 file system", 0x800, b"OCFSV2"),
    ("an OCFS2 file system", 0x1000, b"OCFSV2"),
    ("an LVM physical volume", 0, b"LABELONE"),
    ("an LVM physical volume", 512, b"LABELONE"),
    ("an LVM physical volume", 1024, b"LABELONE"),
    ("an LVM physical volume", 1536, b"LABELONE"),
    ("a LUKS volume", 0, b"LUKS\xBA\xBE"),
    ("swap space", 4086, b"SWAPSPACE2"),
    ("an SBD device", 0, b"SBD_SBD_"),
    ("a software RAID member", 4096, &[0xFC, 0x4E, 0x2B, 0xA9]),
    ("a software RAID member", 0, &[0xFC, 0x4E, 0x2B, 0xA9]),
    ("an NTFS file system", 3, b"NTFS    "),
    ("an exFAT file system", 3, b"EXFAT   "),
    ("an ISO 9660 file system", 0x8001, b"CD001"),
    ("a partition table or boot sector", 510, &[0x55, 0xAA]),
];

/// A mark near the end: how far before it.
const AT_END: &[(&str, usize, &[u8])] = &[
    ("a GPT partition table (its copy)", 512, b"EFI PART"),
    ("a GPT partition table (its copy)", 4096, b"EFI PART"),
    ("a software RAID member", 8192, &[0xFC, 0x4E, 0x2B, 0xA9]),
    ("a software RAID member", 65_536, &[0xFC, 0x4E, 0x2B, 0xA9]),
    ("a software RAID member", 131_072, &[0xFC, 0x4E, 0x2B, 0xA9]),
];

/// What `start` and `end`, the two ends of a disk, show to be there.
pub(super) fn signatures(start: &[u8], end: &[u8]) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut note = |what, bytes: Option<&[u8]>, mark: &[u8]| {
        if bytes.is_some_and(|bytes| bytes.starts_with(mark)) && !found.contains(&what) {
            found.push(what);
        }
    };
    for (what, at, mark) in AT_START {
        note(*what, start.get(*at..), mark);
    }
    for (what, before, mark) in AT_END {
        let at = end.len().checked_sub(*before);
        note(*what, at.and_then(|at| end.get(at..)), mark);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_at_both_ends() {
        let empty = vec![0; 1 << 20];
        assert!(signatures(&empty, &empty).is_empty());
        let (mut start, mut end) = (empty.clone(), empty.clone());
        start[0x438..0x43A].copy_from_slice(&[0x53, 0xEF]);
        let at = end.len() - 512;
        end[at..at + 8].copy_from_slice(b"EFI PART");
        let found = signatures(&start, &end);
        assert_eq!(
            found,
            [
                "an ext2, ext3 or ext4 file system",
                "a GPT partition table (its copy)"
            ]
        );
        assert!(signatures(&[], &[]).is_empty());
    }
}
