//! What a logical unit calls itself, through whatever path (SPC-4, "Device Identification VPD page").

use deadline::Deadline;
use scsi::inquiry;
use scsi::vpd::{self, Association, Designator, DesignatorType};

use crate::device::settle;
use crate::{Data, DeviceError, ScsiDevice};

/// The most bytes asked for.
const ALLOCATION: u16 = 1024;

/// EUI-64.
const EUI64: DesignatorType = DesignatorType(2);

/// What the logical unit calls itself; `None` if it does not say. Two that say the same are most likely the same one, and
/// no more than that: there are targets that give every machine's first disk one name.
///
/// # Errors
/// If it does not answer.
pub fn designator(
    device: &mut dyn ScsiDevice,
    deadline: Deadline,
) -> Result<Option<String>, DeviceError> {
    let page = vpd::DEVICE_IDENTIFICATION;
    let mut data = vec![0; usize::from(ALLOCATION)];
    let cdb = inquiry::cdb(Some(page), ALLOCATION);
    let done = settle(device, &cdb, Data::In(&mut data), deadline, &mut Vec::new())?;
    let told = data.get(..done.transferred).unwrap_or_default();
    if !done.status.is_good() {
        return Ok(None);
    }
    let body = vpd::parse(page, told).ok();
    Ok(body.and_then(|body| world_wide(body).or_else(|| other(body))))
}

/// The designator that names it in the whole world: NAA, else EUI-64.
pub(crate) fn world_wide(body: &[u8]) -> Option<String> {
    first(body, [("naa", DesignatorType::NAA), ("eui", EUI64)])
}

/// One that is unique as far as its vendor sees to it.
fn other(body: &[u8]) -> Option<String> {
    let kinds = [
        ("name", DesignatorType::NAME),
        ("t10", DesignatorType::T10_VENDOR),
    ];
    first(body, kinds)
}

fn first(body: &[u8], kinds: [(&str, DesignatorType); 2]) -> Option<String> {
    kinds
        .into_iter()
        .find_map(|(name, kind)| of_unit(body, kind).map(|one| format!("{name}.{}", digits(&one))))
}

/// The designator of the logical unit itself, and not of a port or of the whole target.
fn of_unit(body: &[u8], kind: DesignatorType) -> Option<Designator> {
    let all = vpd::parse_designators(body).ok()?;
    all.into_iter()
        .find(|one| one.association == Association::LogicalUnit && one.kind == kind)
}

fn digits(designator: &Designator) -> String {
    designator
        .bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use scsi::vpd::CodeSet;

    use super::*;

    fn body(all: &[Designator]) -> Vec<u8> {
        vpd::encode_designators(all)
    }

    #[test]
    fn the_name_in_the_whole_world_goes_before_the_vendors() {
        let one = |kind, byte| Designator::of_unit(CodeSet::BINARY, kind, vec![byte; 8]);
        let port = Designator {
            association: Association::TargetPort,
            ..one(DesignatorType::NAA, 9)
        };
        let vendor = one(DesignatorType::T10_VENDOR, 1);
        let naa = one(DesignatorType::NAA, 3);
        let all = body(&[port.clone(), vendor.clone(), naa]);
        assert_eq!(world_wide(&all).as_deref(), Some("naa.0303030303030303"));
        let lone = body(&[port, vendor]);
        assert_eq!(world_wide(&lone), None);
        assert_eq!(other(&lone).as_deref(), Some("t10.0101010101010101"));
        assert_eq!(world_wide(&[1, 3, 0, 8, 0]), None);
    }
}
