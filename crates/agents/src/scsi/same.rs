//! One disk under several names.
//!
//! Each name is registered on a thread of its own, and what one of them registers would look to the other like the
//! leftovers of an earlier session, or like another node with the same key. So names of one disk become one device with the
//! paths of all of them.
//!
//! Names that lead to a path in common are certainly one disk. A designator says less: there are targets that give every
//! machine's first disk the same one. What is merged because of it is therefore looked at once more under each of its
//! names, and never cut off from by way of another name.

use disk::Address;

use super::config::Device;
use super::reach::Reach;

/// Merges names that lead to the same path.
pub(crate) fn by_path(devices: &[Device], reach: &dyn Reach) -> Vec<Device> {
    if devices.len() < 2 {
        return devices.to_vec();
    }
    // One whose paths are not known stays alone: what is wrong with it is said where it is used.
    let paths = devices
        .iter()
        .map(|device| reach.paths(device).unwrap_or_default());
    merge(devices.iter().zip(paths))
}

/// Merges names whose disks call themselves the same. `designators` are theirs, as far as they say.
pub(crate) fn by_designator(devices: &[Device], designators: Vec<Option<String>>) -> Vec<Device> {
    merge(devices.iter().zip(designators))
}

/// Merges devices that have a mark in common, or each have one in common with a third.
fn merge<'a, M: Eq>(
    devices: impl Iterator<Item = (&'a Device, impl IntoIterator<Item = M>)>,
) -> Vec<Device> {
    let mut merged: Vec<(Device, Vec<M>)> = Vec::new();
    for (device, marks) in devices {
        let mut marks: Vec<M> = marks.into_iter().collect();
        let shares = |(_, known): &(Device, Vec<M>)| known.iter().any(|mark| marks.contains(mark));
        let Some(at) = merged.iter().position(shares) else {
            merged.push((device.clone(), marks));
            continue;
        };
        let mut others: Vec<_> = merged.extract_if(at + 1.., |one| shares(one)).collect();
        let (first, known) = &mut merged[at];
        for (other, more) in &mut others {
            first.also.extend(other.names().map(Device::alone));
            known.append(more);
        }
        first.also.extend(device.names().map(Device::alone));
        known.append(&mut marks);
    }
    merged.into_iter().map(|(device, _)| device).collect()
}

/// Whether two addresses are the same initiator port at the same logical unit: our initiator derives its session id from the
/// target and the logical unit alone, whatever the portal. A second session would end the first one.
pub(crate) fn is_same_port(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Iscsi(one), Address::Iscsi(other)) => {
            one.target.eq_ignore_ascii_case(&other.target) && one.lun == other.lun
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> Vec<Device> {
        names
            .iter()
            .map(|name| Device::parse(name).unwrap())
            .collect()
    }

    fn names(devices: &[Device]) -> Vec<Vec<&str>> {
        fn of(device: &Device) -> Vec<&str> {
            device.names().map(|one| one.name.as_str()).collect()
        }
        devices.iter().map(of).collect()
    }

    #[test]
    fn a_name_that_has_something_in_common_with_two_makes_them_one() {
        let devices = devices(&["/dev/sda", "/dev/sdc", "/dev/sdb", "/dev/mapper/mpatha"]);
        let marks = [vec!["sda"], vec!["sdc"], vec!["sdb"], vec!["sda", "sdb"]];
        let merged = merge(devices.iter().zip(marks));
        let wanted = [
            vec!["/dev/sda", "/dev/sdb", "/dev/mapper/mpatha"],
            vec!["/dev/sdc"],
        ];
        assert_eq!(names(&merged), wanted);
    }

    #[test]
    fn names_with_a_mark_in_common_become_one_device() {
        let devices = devices(&["/dev/a", "/dev/b", "/dev/c", "/dev/d"]);
        let marks = [Some("x"), None, Some("x"), Some("y")].map(|mark| mark.map(str::to_owned));
        let merged = by_designator(&devices, marks.to_vec());
        assert_eq!(
            names(&merged),
            [vec!["/dev/a", "/dev/c"], vec!["/dev/b"], vec!["/dev/d"]]
        );
        // What was merged before keeps its names.
        let marks = ["z", "y", "z"].map(|mark| Some(mark.to_owned()));
        let again = by_designator(&merged, marks.to_vec());
        assert_eq!(
            names(&again),
            [vec!["/dev/a", "/dev/c", "/dev/d"], vec!["/dev/b"]]
        );
        assert!(again[0].also.iter().all(|one| one.also.is_empty()));
    }

    #[test]
    fn an_initiator_port_is_the_same_through_every_portal() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let first = address("iscsi://192.0.2.1/iqn.2026-11.example:d/0");
        for same in [
            "iscsi://192.0.2.2:3261/iqn.2026-11.example:d/0",
            "iscsi://192.0.2.1/IQN.2026-11.example:d/0?digests=on",
        ] {
            assert!(is_same_port(&first, &address(same)), "{same}");
        }
        for other in [
            "iscsi://192.0.2.1/iqn.2026-11.example:d/1",
            "iscsi://192.0.2.1/iqn.2026-11.example:e/0",
            "/dev/sda",
        ] {
            assert!(!is_same_port(&first, &address(other)), "{other}");
        }
    }
}
