//! What a logical unit tells of itself, read back as an initiator would.

use scsi::capacity::Capacity;
use scsi::inquiry::{self, Standard, VersionDescriptor};
use scsi::mode::{
    ALL_PAGES, CACHING, CONTROL, ERROR_RECOVERY, EXCEPTIONS, Parameters, WRITE_CACHE, select_cdb,
    sense_cdb,
};
use scsi::pr::{Capabilities, InAction, Reservations, TypeMask, parse_full_status, parse_keys};
use scsi::vpd::{
    self, Association, BlockLimits, DesignatorType, LogicalBlockProvisioning, RotationRate,
    parse_designators,
};
use scsi::{AdditionalSense as A, Status};

use super::common::{Disk, Ended, config, illegal};
use crate::pr::common::{RequestBuilder, nexus_at};

fn page(disk: &mut Disk, page: u8) -> Vec<u8> {
    let reply = disk.reply("a", &inquiry::cdb(Some(page), 1024));
    assert_eq!(reply.status, Status::GOOD, "{page:02x}");
    vpd::parse(page, &reply.data).unwrap().to_vec()
}

#[test]
fn standard_inquiry_data() {
    let mut disk = Disk::of(&["a"]);
    let data = disk.reply("a", &inquiry::cdb(None, 260)).data;
    let standard = Standard::parse(&data).unwrap();
    assert_eq!(standard.vendor.as_str(), "PICKET");
    assert_eq!((standard.version, standard.removable), (6, true));
    assert_eq!((standard.queuing, standard.target_port_groups), (true, 1));
    for claimed in [
        VersionDescriptor::SAM_5,
        VersionDescriptor::SPC_4,
        VersionDescriptor::SBC_3,
        VersionDescriptor::ISCSI,
    ] {
        assert!(standard.versions.contains(&claimed), "{claimed:?}");
    }
    assert_eq!(disk.reply("a", &inquiry::cdb(None, 5)).data.len(), 5);
}

#[test]
fn every_page_that_is_listed_is_there_and_no_other() {
    let mut disk = Disk::of(&["a"]);
    let listed = page(&mut disk, vpd::SUPPORTED_PAGES);
    assert!(listed.is_sorted());
    for code in 0..=u8::MAX {
        let reply = disk.reply("a", &inquiry::cdb(Some(code), 1024));
        if listed.contains(&code) {
            assert_eq!((reply.status, reply.data[1]), (Status::GOOD, code));
        } else {
            assert_eq!(
                Ended::from(reply),
                illegal(A::INVALID_FIELD_IN_CDB),
                "{code:02x}"
            );
        }
    }
    assert_eq!(page(&mut disk, vpd::SERIAL_NUMBER), b"S1");
    let rotation = page(&mut disk, vpd::CHARACTERISTICS);
    assert_eq!(
        RotationRate::parse(&rotation),
        Ok(RotationRate::SOLID_STATE)
    );
}

/// What multipath software relies on: the unit's designators are the same through every port, the port's are not.
#[test]
fn designators_through_two_ports() {
    let mut disk = Disk::of(&["a"]);
    let here = parse_designators(&page(&mut disk, vpd::DEVICE_IDENTIFICATION)).unwrap();
    let there = disk.unit.attach(&nexus_at("a", 2)).unwrap();
    let cdb = inquiry::cdb(Some(vpd::DEVICE_IDENTIFICATION), 1024);
    let scsi::lu::Begun::Done(reply) = disk.unit.begin(there, &cdb) else {
        panic!("not answered");
    };
    let body = vpd::parse(vpd::DEVICE_IDENTIFICATION, &reply.data).unwrap();
    let there = parse_designators(body).unwrap();
    assert_eq!(here.len(), there.len());
    for (one, other) in here.iter().zip(&there) {
        let own = [DesignatorType::RELATIVE_PORT, DesignatorType::NAME].contains(&one.kind)
            && one.association == Association::TargetPort;
        assert_eq!(one == other, !own, "{one:?}");
    }
    let naa = here
        .iter()
        .find(|one| one.kind == DesignatorType::NAA)
        .unwrap();
    assert_eq!(naa.association, Association::LogicalUnit);
    assert_eq!(naa.bytes, [0x31, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]);
    let name = here
        .iter()
        .find(|one| one.kind == DesignatorType::NAME)
        .unwrap();
    assert!(name.bytes.starts_with(b"iqn.2026-11.test:t1,t,0x0001\0"));
}

#[test]
fn limits_are_those_that_are_kept() {
    let mut disk = Disk::of(&["a"]);
    let limits = BlockLimits::parse(&page(&mut disk, vpd::BLOCK_LIMITS)).unwrap();
    let own = config().limits;
    assert_eq!(limits.transfer, own.transfer_bytes / 512);
    assert_eq!(limits.compare_and_write, own.compare_and_write);
    assert_eq!(limits.write_same, u64::from(own.write_same));
    assert_eq!(limits.unmap, own.unmap);
    assert_eq!(limits.unmap_descriptors, u32::from(own.unmap_descriptors));
    assert_eq!(
        (limits.unmap_granularity, limits.unmap_alignment),
        (8, Some(0))
    );
    let thin = page(&mut disk, vpd::PROVISIONING);
    let thin = LogicalBlockProvisioning::parse(&thin).unwrap();
    assert!(thin.unmap && thin.write_same_10 && thin.write_same_16 && thin.read_zeros);
    assert_eq!(thin.kind, LogicalBlockProvisioning::THIN);

    let mut thick = config();
    thick.thin = false;
    let mut disk = Disk::with(thick, Reservations::default());
    disk.attach_quietly("a");
    let limits = BlockLimits::parse(&page(&mut disk, vpd::BLOCK_LIMITS)).unwrap();
    assert_eq!((limits.unmap, limits.unmap_descriptors), (0, 0));
    let thick = page(&mut disk, vpd::PROVISIONING);
    let thick = LogicalBlockProvisioning::parse(&thick).unwrap();
    assert_eq!(thick, LogicalBlockProvisioning::default());
}

#[test]
fn capacities() {
    let mut disk = Disk::of(&["a"]);
    let data = disk.reply("a", &Capacity::cdb_16(32)).data;
    let capacity = Capacity::parse_16(&data).unwrap();
    assert_eq!((capacity.last, capacity.block_length), (999, 512));
    assert!(capacity.thin && capacity.unmapped_read_zeros);
    for allocation in 0..16 {
        let reply = disk.reply("a", &Capacity::cdb_16(allocation));
        assert_eq!(reply.data, data[..usize::try_from(allocation).unwrap()]);
    }
    let ten = disk.reply("a", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).data;
    assert_eq!(Capacity::parse_10(&ten), Ok((Some(999), 512)));
    disk.unit.resize(2000);
    disk.drain("a");
    let ten = disk.reply("a", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).data;
    assert_eq!(Capacity::parse_10(&ten), Ok((Some(1999), 512)));
}

fn pages(disk: &mut Disk, control: u8, code: u8) -> Parameters {
    let mut cdb = sense_cdb(code, 1024);
    cdb[2] |= control << 6;
    let data = disk.reply("a", &cdb).data;
    Parameters::parse_sense(true, &data).unwrap()
}

#[test]
fn mode_pages_and_what_of_them_can_be_changed() {
    let mut disk = Disk::of(&["a"]);
    let all = pages(&mut disk, 0, ALL_PAGES);
    let codes: Vec<u8> = all.pages.iter().map(|page| page.code).collect();
    assert_eq!(codes, [ERROR_RECOVERY, CACHING, CONTROL, EXCEPTIONS]);
    let lengths: Vec<usize> = all.pages.iter().map(|page| page.body.len()).collect();
    assert_eq!(lengths, [0x0A, 0x12, 0x0A, 0x0A]);
    assert!(all.dpo_fua && !all.write_protected && all.descriptor.is_none());
    for page in &all.pages {
        assert_eq!(
            pages(&mut disk, 0, page.code).pages,
            std::slice::from_ref(page)
        );
    }
    // WCE; D_SENSE, SWP and TAS; nothing else.
    let changeable = pages(&mut disk, 1, ALL_PAGES).pages;
    assert!(
        changeable[0]
            .body
            .iter()
            .chain(&changeable[3].body)
            .all(|byte| *byte == 0)
    );
    assert_eq!(changeable[1].body, [&[0x04][..], &[0; 17]].concat());
    assert_eq!(changeable[2].body, [4, 0, 8, 0x40, 0, 0, 0, 0, 0, 0]);
    let mut saved = sense_cdb(CONTROL, 255);
    saved[2] |= 0xC0;
    let ended = Ended::from(disk.reply("a", &saved));
    assert_eq!(ended, illegal(A::SAVING_PARAMETERS_NOT_SUPPORTED));
    let mut other = sense_cdb(0x1D, 255);
    assert_eq!(
        Ended::from(disk.reply("a", &other)),
        illegal(A::INVALID_FIELD_IN_CDB)
    );
    (other[2], other[3]) = (CONTROL, 1);
    assert_eq!(
        Ended::from(disk.reply("a", &other)),
        illegal(A::INVALID_FIELD_IN_CDB)
    );
    // The command of six bytes, with a block descriptor.
    let short = disk.reply("a", &[0x1A, 0, ALL_PAGES, 0, 255, 0]).data;
    let short = Parameters::parse_sense(false, &short).unwrap();
    let descriptor = short.descriptor.unwrap();
    assert_eq!((descriptor.blocks, descriptor.block_length), (1000, 512));
    assert_eq!(short.pages, all.pages);
}

#[test]
fn mode_select_changes_what_can_be_changed_and_nothing_else() {
    let mut disk = Disk::of(&["a"]);
    let all = pages(&mut disk, 0, ALL_PAGES);
    let changeable = pages(&mut disk, 1, ALL_PAGES).pages;
    let mut select = |list: &Parameters| {
        let bytes = list.encode(true);
        let cdb = select_cdb(u16::try_from(bytes.len()).unwrap());
        disk.send_end("a", &cdb, &bytes)
    };
    let invalid = || illegal(A::INVALID_FIELD_IN_PARAMETER_LIST);
    assert_eq!(select(&all), Ended::Good, "as they are");
    for (at, mask) in changeable.iter().enumerate() {
        for (byte, mask) in mask.body.iter().enumerate() {
            for bit in (0..8).map(|bit| 1 << bit) {
                let mut list = all.clone();
                list.pages[at].body[byte] ^= bit;
                let expected = if mask & bit == 0 {
                    invalid()
                } else {
                    Ended::Good
                };
                assert_eq!(
                    select(&list),
                    expected,
                    "page {at}, byte {byte}, bit {bit:02x}"
                );
            }
        }
        let mut longer = all.clone();
        longer.pages[at].body.push(0);
        assert_eq!(select(&longer), invalid(), "page {at}");
    }
    let mut unknown = all.clone();
    unknown.pages[0].code = 0x1D;
    assert_eq!(select(&unknown), invalid());
    let mut subpage = all.clone();
    subpage.pages[2].subpage = Some(1);
    assert_eq!(select(&subpage), invalid());
}

#[test]
fn a_mode_select_that_fails_changes_nothing() {
    let mut disk = Disk::of(&["a"]);
    let mut list = pages(&mut disk, 0, ALL_PAGES);
    assert!(disk.unit.write_cache());
    list.pages[1].body[0] = 0;
    list.pages[3].body[0] ^= 1;
    let bytes = list.encode(true);
    let cdb = select_cdb(u16::try_from(bytes.len()).unwrap());
    let invalid = illegal(A::INVALID_FIELD_IN_PARAMETER_LIST);
    assert_eq!(disk.send_end("a", &cdb, &bytes), invalid);
    assert!(disk.unit.write_cache());
    list.pages[3].body[0] ^= 1;
    let bytes = list.encode(true);
    assert_eq!(disk.send_end("a", &cdb, &bytes), Ended::Good);
    assert!(!disk.unit.write_cache());
    let caching = pages(&mut disk, 0, CACHING);
    assert!(!caching.pages[0].bit(WRITE_CACHE));
    let initial = pages(&mut disk, 2, CACHING);
    assert!(
        initial.pages[0].bit(WRITE_CACHE),
        "the default is as it was"
    );
    let length = illegal(A::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(disk.send_end("a", &cdb, &bytes[..bytes.len() - 1]), length);
    let cut = select_cdb(u16::try_from(bytes.len() - 1).unwrap());
    assert_eq!(disk.send_end("a", &cut, &bytes), length);
    let mut save = cdb;
    save[1] |= 0x01;
    assert_eq!(
        disk.send_end("a", &save, &bytes),
        illegal(A::INVALID_FIELD_IN_CDB)
    );
    assert_eq!(
        disk.send_end("a", &select_cdb(0), &[]),
        Ended::Good,
        "no list"
    );
}

#[test]
fn block_descriptors_must_be_those_of_the_medium() {
    let mut disk = Disk::of(&["a"]);
    let sense = disk.reply("a", &[0x1A, 0, CONTROL, 0, 255, 0]).data;
    let list = Parameters::parse_sense(false, &sense).unwrap();
    let mut end = |blocks: u32, block_length: u32| {
        let mut list = list.clone();
        list.descriptor = list.descriptor.map(|mut descriptor| {
            (descriptor.blocks, descriptor.block_length) = (blocks, block_length);
            descriptor
        });
        let bytes = list.encode(false);
        let length = u8::try_from(bytes.len()).unwrap();
        disk.send_end("a", &[0x15, 0x10, 0, 0, length, 0], &bytes)
    };
    assert_eq!(end(1000, 512), Ended::Good);
    assert_eq!(end(0, 0), Ended::Good);
    let invalid = illegal(A::INVALID_FIELD_IN_PARAMETER_LIST);
    assert_eq!(end(1000, 520), invalid);
    assert_eq!(end(999, 512), invalid);
}

#[test]
fn reservations_are_told_as_they_are() {
    let mut disk = Disk::of(&["a", "b"]);
    disk.register("b", 0x77);
    let (generation, keys) =
        parse_keys(&disk.reply("a", &InAction::ReadKeys.cdb(1024)).data).unwrap();
    assert_eq!((generation, keys[0].get()), (1, 0x77));
    let full = disk.reply("a", &InAction::ReadFullStatus.cdb(1024)).data;
    assert_eq!(parse_full_status(&full).unwrap().1.len(), 1);
    let header = disk.reply("a", &InAction::ReadKeys.cdb(8)).data;
    assert_eq!(
        header,
        [0, 0, 0, 1, 0, 0, 0, 8],
        "the whole length, though cut"
    );
    let asked = InAction::ReportCapabilities.cdb(255);
    let before = Capabilities::parse(&disk.reply("a", &asked).data).unwrap();
    assert!(before.persist_through_power_loss && !before.persist_active);
    assert!(before.all_target_ports && before.specify_initiator_ports);
    assert!(before.compatible_reservation_handling);
    assert_eq!(before.types, Some(TypeMask::ALL));
    let mut durable = RequestBuilder::register(0x77, 0x78);
    durable.parameters.aptpl = true;
    assert_eq!(disk.out("b", &durable), Ended::Good);
    let after = Capabilities::parse(&disk.reply("a", &asked).data).unwrap();
    assert!(after.persist_active);
}

/// REPORT SUPPORTED OPERATION CODES names what is carried out, and nothing else.
#[test]
fn supported_operation_codes_are_those_that_are_carried_out() {
    let all = [0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0];
    for thin in [true, false] {
        let mut config = config();
        config.thin = thin;
        let mut disk = Disk::with(config, Reservations::default());
        disk.attach_quietly("a");
        let data = disk.reply("a", &all).data;
        let listed: Vec<(u8, u8)> = data[4..]
            .chunks_exact(8)
            .map(|entry| (entry[0], entry[3]))
            .collect();
        assert_eq!(listed.contains(&(0x42, 0)), thin, "UNMAP");
        for opcode in 0..=u8::MAX {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            // PF, without which MODE SELECT is refused.
            cdb[1] = if [0x15, 0x55].contains(&opcode) {
                0x10
            } else {
                0
            };
            let unknown = disk.end("a", &cdb) == illegal(A::INVALID_COMMAND_OPERATION_CODE);
            let known = listed.iter().any(|(code, _)| *code == opcode);
            // REPORT LUNS is the target's to answer.
            assert!(opcode == 0xA0 || unknown != known, "{opcode:02x}");
        }
    }
}

#[test]
fn port_groups_and_task_management_functions() {
    let mut disk = Disk::of(&["a"]);
    let groups = disk
        .reply("a", &[0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0])
        .data;
    assert_eq!(
        groups,
        [0, 0, 0, 16, 0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
    );
    let extended = disk
        .reply("a", &[0xA3, 0x2A, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0])
        .data;
    assert_eq!(extended[..8], [0, 0, 0, 20, 0x10, 0, 0, 0]);
    assert_eq!(extended[8..], groups[4..]);
    let functions = [0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    assert_eq!(disk.reply("a", &functions).data, [0xD8, 0, 0, 0]);
    let mut longer = functions;
    longer[2] = 0x80;
    let longer = disk.reply("a", &longer).data;
    assert_eq!((longer.len(), &longer[..4]), (16, &[0xD8, 0, 0, 0x0C][..]));
}
