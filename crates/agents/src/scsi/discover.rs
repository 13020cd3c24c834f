//! Which devices: those that were named, or the physical volumes of shared volume groups.

use std::path::PathBuf;

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

/// Those of the `remembered` devices, which this node is registered with, that are not among `seen`. A volume group whose only
/// device is lost to this node is not listed any more, and its other users may go on writing: whoever is to be cut off must be
/// cut off from it too, and is not off before. `real` is what a name leads to.
///
/// # Errors
/// If one is not here: nobody can be cut off from it, nor is it known who may write to it.
pub(crate) fn unseen(
    seen: &[String],
    remembered: Vec<String>,
    real: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<Vec<String>, String> {
    let found: Vec<PathBuf> = seen.iter().filter_map(|name| real(name)).collect();
    let mut more = Vec::new();
    for name in remembered {
        if seen.contains(&name) {
            continue;
        }
        match real(&name) {
            Some(path) if found.contains(&path) => {}
            // An address leads to no file, and is as good as it is.
            Some(_) => more.push(name),
            None if !name.starts_with('/') => more.push(name),
            None => {
                return Err(format!(
                    "this node was unfenced with {name}, which is not here any more, nor in a shared volume group: nobody could \
                     be cut off from it. If it is no shared storage any more, remove it from /var/run/cluster.dev; or name the \
                     devices (option `devices`)"
                ));
            }
        }
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups; the only device of the second one is lost to this node, so that `vgs` does not list it.
    #[test]
    fn a_group_that_is_not_listed_any_more_is_not_forgotten() {
        let real = |name: &str| match name {
            "/dev/mapper/a" | "/dev/dm-0" => Some("/dev/dm-0".into()),
            "/dev/dm-1" => Some("/dev/dm-1".into()),
            _ => None,
        };
        let unseen = |remembered: &[&str]| {
            let remembered = remembered.iter().map(|name| (*name).to_owned()).collect();
            unseen(&["/dev/mapper/a".to_owned()], remembered, &real)
        };
        assert_eq!(unseen(&["/dev/dm-0", "/dev/mapper/a"]), Ok(Vec::new()));
        assert_eq!(
            unseen(&["/dev/dm-0", "/dev/dm-1", "iscsi://h/t/0"]),
            Ok(vec!["/dev/dm-1".to_owned(), "iscsi://h/t/0".to_owned()])
        );
        assert!(unseen(&["/dev/sdb"]).unwrap_err().contains("/dev/sdb"));
    }

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
