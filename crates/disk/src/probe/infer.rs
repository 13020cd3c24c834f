//! What a disk says of itself. Nothing is written, and nothing is registered.

use scsi::capacity::Capacity;
use scsi::inquiry::{self, Standard};
use scsi::opcode::maintenance_in;
use scsi::pr::{OutAction, ReservationType};
use scsi::vpd::{self, LogicalBlockProvisioning};
use scsi::{Opcode, Status};

use crate::designator::world_wide;
use crate::probe::link::Link;
use crate::probe::report::{self, Identity, Outcome, Report, Requirement};
use crate::probe::{Trouble, chain, said};
use crate::{Data, pr};

/// The most bytes asked for.
const ALLOCATION: u16 = 1024;

/// Which disk it is.
pub(super) fn identify(link: &mut Link) -> Result<Identity, Trouble> {
    let standard =
        inquire(link, None)?.ok_or_else(|| Trouble::Unfit("it answers no INQUIRY".to_owned()))?;
    let standard =
        Standard::parse(&standard).map_err(|error| Trouble::Unfit(format!("INQUIRY: {error}")))?;
    if !standard.peripheral.is_present() || standard.peripheral.device_type() != 0 {
        let kind = standard.peripheral.0;
        return Err(Trouble::Unfit(format!(
            "it is no disk (peripheral {kind:#04x})"
        )));
    }
    let (blocks, block_length, thin) = capacity(link)?;
    let parts = [
        standard.vendor.as_str(),
        standard.product.as_str(),
        standard.revision.as_str(),
    ];
    let parts: Vec<&str> = parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
        .collect();
    let serial = page(link, vpd::SERIAL_NUMBER)?.and_then(|body| text(&body));
    let designator = page(link, vpd::DEVICE_IDENTIFICATION)?.and_then(|body| world_wide(&body));
    let provisioned = page(link, vpd::PROVISIONING)?;
    let provisioned = provisioned.and_then(|body| LogicalBlockProvisioning::parse(&body).ok());
    let thin = thin || provisioned.is_some_and(|it| it.kind == LogicalBlockProvisioning::THIN);
    Ok(Identity {
        product: parts.join(" "),
        serial,
        designator,
        blocks,
        block_length,
        thin,
    })
}

/// INQUIRY; `None` if the page is not supported.
fn inquire(link: &mut Link, page: Option<u8>) -> Result<Option<Vec<u8>>, Trouble> {
    let cdb = inquiry::cdb(page, ALLOCATION);
    let mut data = vec![0; usize::from(ALLOCATION)];
    let done = link.command(&cdb, Data::In(&mut data));
    let done = done.map_err(|error| Trouble::Failed(chain(&error)))?;
    data.truncate(done.transferred);
    Ok(done.status.is_good().then_some(data))
}

/// The body of a VPD page; `None` if it is not supported, or is none.
fn page(link: &mut Link, page: u8) -> Result<Option<Vec<u8>>, Trouble> {
    let data = inquire(link, Some(page))?;
    Ok(data.and_then(|data| vpd::parse(page, &data).ok().map(<[u8]>::to_vec)))
}

/// Blocks, their length, and whether it says that it is thinly provisioned.
fn capacity(link: &mut Link) -> Result<(u64, u32, bool), Trouble> {
    let mut data = [0; 32];
    let done = link.command(&Capacity::cdb_16(32), Data::In(&mut data));
    let done = done.map_err(|error| Trouble::Failed(chain(&error)))?;
    let parsed = Capacity::parse_16(data.get(..done.transferred).unwrap_or_default());
    if let (true, Ok(capacity)) = (done.status.is_good(), parsed) {
        let blocks = capacity.last.saturating_add(1);
        return sane(blocks, capacity.block_length, capacity.thin);
    }
    let mut cdb = [0; 10];
    cdb[0] = Opcode::READ_CAPACITY_10.0;
    let done = link.command(&cdb, Data::In(&mut data[..8]));
    let done = done.map_err(|error| Trouble::Failed(chain(&error)))?;
    match Capacity::parse_10(data.get(..done.transferred).unwrap_or_default()) {
        Ok((Some(last), length)) if done.status.is_good() => {
            sane(u64::from(last) + 1, length, false)
        }
        _ => Err(Trouble::Unfit("its capacity is not known".to_owned())),
    }
}

fn sane(blocks: u64, length: u32, thin: bool) -> Result<(u64, u32, bool), Trouble> {
    if length.is_power_of_two() && (512..=4096).contains(&length) {
        Ok((blocks, length, thin))
    } else {
        Err(Trouble::Unfit(format!("blocks of {length} bytes")))
    }
}

/// Printable text of a page.
fn text(bytes: &[u8]) -> Option<String> {
    let text: String = bytes
        .iter()
        .map(|byte| char::from(*byte))
        .filter(char::is_ascii_graphic)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// Notes what the disk says of itself. What it claims is not shown by that, what it denies is broken.
pub(super) fn infer(link: &mut Link, report: &mut Report) -> Result<(), Trouble> {
    read_keys(link, report)?;
    let claims = [
        (OutAction::RegisterAndIgnoreExistingKey, report::REGISTER),
        (OutAction::Reserve, report::RESERVE),
        (OutAction::PreemptAndAbort, report::PREEMPT_AND_ABORT),
    ];
    for (action, requirement) in claims {
        match supports(link, Opcode::PERSISTENT_RESERVE_OUT, action.code())? {
            Some(true) => claimed(
                report,
                requirement,
                &format!("it says that it supports {}", pr::name(action)),
            ),
            Some(false) => {
                let seen = format!("it says that it does not support {}", pr::name(action));
                report.note(requirement, Outcome::Broken, seen);
            }
            None => claimed(report, requirement, "it does not say"),
        }
    }
    capabilities(link, report)?;
    for requirement in [
        report::REGISTRANT_WRITES,
        report::FENCED_WRITES,
        report::IN_FLIGHT,
        report::LATE_DATA,
        report::FENCE_BACK,
        report::RESET,
        report::LOGOUT,
    ] {
        claimed(
            report,
            requirement,
            "no device says that of itself: it takes two initiators and a scratch disk to see",
        );
    }
    Ok(())
}

fn claimed(report: &mut Report, requirement: Requirement, seen: &str) {
    report.note(requirement, Outcome::Unknown, seen);
}

fn read_keys(link: &mut Link, report: &mut Report) -> Result<(), Trouble> {
    let deadline = link.deadline();
    let mut pr = link.pr()?;
    let keys = pr.read_keys(deadline);
    let reservation = pr.read_reservation(deadline);
    let full = pr.read_full_status(deadline);
    let outcome = match (&keys, &reservation) {
        (Ok((_, keys)), Ok((_, held))) => {
            let held = if held.is_some() { "a" } else { "no" };
            let seen = format!("{} registrations, {held} reservation", keys.len());
            report.note(report::READ_KEYS, Outcome::Met, seen);
            Ok(())
        }
        (Err(error), _) | (_, Err(error)) if error.is_refusal() => {
            report.note(report::READ_KEYS, Outcome::Broken, said(error));
            Ok(())
        }
        _ => Err(()),
    };
    match &full {
        Ok(_) => report.note(report::FULL_STATUS, Outcome::Met, "it answers"),
        Err(error) if error.is_refusal() => {
            report.note(report::FULL_STATUS, Outcome::Broken, said(error));
        }
        Err(_) => {}
    }
    outcome.map_err(|()| {
        let error = keys.err().or_else(|| reservation.err());
        Trouble::Failed(error.map_or_else(String::new, |error| chain(&error)))
    })
}

/// REPORT CAPABILITIES.
pub(super) fn capabilities(link: &mut Link, report: &mut Report) -> Result<(), Trouble> {
    let deadline = link.deadline();
    let told = link.pr()?.report_capabilities(deadline);
    let capabilities = match told {
        Ok(capabilities) => capabilities,
        Err(error) if error.is_refusal() => {
            claimed(
                report,
                report::APTPL,
                &format!("no REPORT CAPABILITIES: {}", said(&error)),
            );
            return Ok(());
        }
        Err(error) => return Err(Trouble::Failed(chain(&error))),
    };
    let wanted = ReservationType::WriteExclusiveRegistrantsOnly;
    if capabilities.types.is_some_and(|types| !types.holds(wanted)) {
        report.note(
            report::RESERVE,
            Outcome::Broken,
            format!("it says that it does not support {wanted}"),
        );
    }
    if !capabilities.persist_through_power_loss {
        report.note(
            report::APTPL,
            Outcome::Broken,
            "it says that it cannot (PTPL_C is 0)",
        );
    } else if report.mode == report::Mode::Inferred {
        claimed(report, report::APTPL, "it says that it can (PTPL_C is 1)");
    }
    Ok(())
}

/// REPORT SUPPORTED OPERATION CODES about one service action; `None` if it does not say.
fn supports(link: &mut Link, opcode: Opcode, action: u8) -> Result<Option<bool>, Trouble> {
    const ONE_WITH_ACTION: u8 = 2;
    let mut data = [0; 64];
    let mut cdb = [0; 12];
    cdb[0] = Opcode::MAINTENANCE_IN.0;
    cdb[1] = maintenance_in::REPORT_SUPPORTED_OPERATION_CODES;
    cdb[2] = ONE_WITH_ACTION;
    cdb[3] = opcode.0;
    cdb[5] = action;
    cdb[9] = 64;
    let done = link.command(&cdb, Data::In(&mut data));
    let done = done.map_err(|error| Trouble::Failed(chain(&error)))?;
    if done.status != Status::GOOD || done.transferred < 2 {
        return Ok(None);
    }
    Ok(match data[1] & 0x07 {
        1 => Some(false),
        3 | 5 => Some(true),
        _ => None,
    })
}
