//! Which devices: those that were named, or the physical volumes of shared volume groups.

/// Splits a list at commas and at blanks: both are in use.
pub(crate) fn split(list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in list.split(|c: char| c == ',' || c.is_whitespace()) {
        // The same device twice would be asked by two threads at once.
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What `vgs` is asked: attributes and physical volume, without taking part in the cluster's locks, and with the names of
/// multipath devices before those of their paths.
pub(crate) const VGS: [&str; 10] = [
    "--nolocking",
    "--noheadings",
    "--separator",
    ":",
    "--sort",
    "pv_uuid",
    "--options",
    "vg_attr,pv_name",
    "--config",
    "devices { preferred_names = [ \"^/dev/dm\" ] }",
];

/// Position of the volume group attribute that tells who may use it.
const SHARED: usize = 5;

/// The physical volumes of shared volume groups in what `vgs` printed. Shared is `s` (lvmlockd) or, of old, `c` (clvmd) as
/// the sixth attribute; a `c` elsewhere is the allocation policy and means nothing here.
pub(crate) fn shared_volumes(printed: &str) -> Vec<String> {
    let mut volumes: Vec<String> = Vec::new();
    for line in printed.lines() {
        let Some((attributes, volume)) = line.trim().split_once(':') else {
            continue;
        };
        let shared = matches!(attributes.as_bytes().get(SHARED), Some(b's' | b'c'));
        // Missing volumes are printed as `[unknown]`: a device that is not here cannot be reserved from here.
        if shared && volume.starts_with('/') && !volumes.iter().any(|known| known == volume) {
            volumes.push(volume.to_owned());
        }
    }
    volumes
}

/// The shared volume groups with a physical volume that is not here.
pub(crate) fn has_missing_volume(printed: &str) -> bool {
    printed.lines().any(|line| {
        line.trim()
            .split_once(':')
            .is_some_and(|(attributes, volume)| {
                matches!(attributes.as_bytes().get(SHARED), Some(b's' | b'c'))
                    && !volume.starts_with('/')
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_with_commas_blanks_or_both() {
        for list in [
            "/dev/sda,/dev/sdb",
            "/dev/sda /dev/sdb",
            " /dev/sda ,\t/dev/sdb, ,/dev/sda\n",
        ] {
            assert_eq!(split(list), ["/dev/sda", "/dev/sdb"], "{list:?}");
        }
        assert!(split(" , ").is_empty());
    }

    #[test]
    fn shared_groups_of_both_dialects() {
        let printed = "\
  wz--n-:/dev/sda2
  wz--ns:/dev/mapper/mpatha
  wz--nc:/dev/disk/by-path/ip-10.0.0.1:3260-lun-1
  wz-pcs:/dev/dm-3
  wzx-c-:/dev/sdz
  wz--ns:/dev/mapper/mpatha
  warning without a separator
";
        assert_eq!(
            shared_volumes(printed),
            [
                "/dev/mapper/mpatha",
                "/dev/disk/by-path/ip-10.0.0.1:3260-lun-1",
                "/dev/dm-3"
            ]
        );
        assert!(!has_missing_volume(printed));
        assert!(has_missing_volume("  wz-pns:[unknown]\n"));
        assert!(!has_missing_volume("  wz-pn-:[unknown]\n"));
    }
}
