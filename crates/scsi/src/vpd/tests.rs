use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// tgt 1.0.85 with thin provisioning, asked through libiscsi.
#[test]
fn pages_of_a_known_target_are_understood() {
    let page = bytes("00000006008083b0b1b2");
    assert_eq!(
        parse(SUPPORTED_PAGES, &page),
        Ok(&[0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2][..])
    );
    let page = bytes(concat!(
        "00830048020100244945542020202020303030313030303100000000000000000000000000000000",
        "000000000103000830000001000000010103001060000000000000000e00000000010001"
    ));
    let body = parse(DEVICE_IDENTIFICATION, &page).unwrap();
    let designators = parse_designators(body).unwrap();
    assert_eq!(designators.len(), 3);
    assert_eq!(designators[0].kind, DesignatorType::T10_VENDOR);
    assert_eq!(designators[0].code_set, CodeSet::ASCII);
    let naa = Designator::of_unit(
        CodeSet::BINARY,
        DesignatorType::NAA,
        vec![0x30, 0, 0, 1, 0, 0, 0, 1],
    );
    assert_eq!(designators[1], naa);
    assert_eq!(
        encode(DEVICE_IDENTIFICATION, &encode_designators(&designators)),
        page
    );

    let mut page = bytes("00b0003c00800000000000000000000000000000ffffffffffffffff");
    page.resize(64, 0);
    let body = parse(BLOCK_LIMITS, &page).unwrap();
    let limits = BlockLimits {
        compare_and_write: 0x80,
        unmap: u32::MAX,
        unmap_descriptors: u32::MAX,
        ..BlockLimits::default()
    };
    assert_eq!(BlockLimits::parse(body), Ok(limits));
    assert_eq!(encode(BLOCK_LIMITS, &limits.encode()), page);

    let page = bytes("00b2000400e40200");
    let thin = LogicalBlockProvisioning {
        unmap: true,
        write_same_16: true,
        write_same_10: true,
        read_zeros: true,
        anchor: false,
        kind: LogicalBlockProvisioning::THIN,
    };
    let body = parse(PROVISIONING, &page).unwrap();
    assert_eq!(LogicalBlockProvisioning::parse(body), Ok(thin));
    assert_eq!(encode(PROVISIONING, &thin.encode()), page);
}

#[test]
fn an_older_device_tells_fewer_limits() {
    let limits = BlockLimits::parse(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]).unwrap();
    assert_eq!(
        (limits.granularity, limits.transfer, limits.optimal),
        (1, 2, 3)
    );
    assert_eq!((limits.unmap, limits.write_same), (0, 0));
    assert!(BlockLimits::parse(&[0; 11]).is_err());
}

#[test]
fn another_page_and_a_cut_page_are_errors() {
    let page = encode(SERIAL_NUMBER, b"S1");
    assert_eq!(
        parse(DEVICE_IDENTIFICATION, &page),
        Err(VpdError::OtherPage {
            asked: 0x83,
            got: 0x80
        })
    );
    let cut = VpdError::Truncated(Truncated { need: 6, have: 5 });
    assert_eq!(parse(SERIAL_NUMBER, &page[..5]), Err(cut));
}

#[test]
fn names_end_with_a_nul_and_are_filled() {
    let four = Designator::name(Association::TargetDevice, "iqn4");
    assert_eq!(four.bytes, b"iqn4\0\0\0\0");
    let seven = Designator::name(Association::TargetPort, "iqn.abc");
    assert_eq!(seven.bytes, b"iqn.abc\0");
    let body = encode_designators(&[four]);
    assert_eq!(body[..4], [0x53, 0xA8, 0, 8]);
    assert_eq!(
        encode_designators(&[Designator::of_port(DesignatorType::RELATIVE_PORT, 0x0102)]),
        [0x51, 0x94, 0, 4, 0, 0, 1, 2]
    );
    let long = Designator::name(Association::TargetPort, &"x".repeat(400));
    assert_eq!(long.bytes.len(), 252);
}

fn designator() -> impl Strategy<Value = Designator> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..=255);
    (
        proptest::option::of(0_u8..16),
        0_u8..4,
        0_u8..16,
        0_u8..16,
        bytes,
    )
        .prop_map(
            |(protocol, association, code_set, kind, bytes)| Designator {
                protocol,
                association: Association::from_code(association),
                code_set: CodeSet(code_set),
                kind: DesignatorType(kind),
                bytes,
            },
        )
}

proptest! {
    #[test]
    fn designators_round_trip(designators in proptest::collection::vec(designator(), 0..6)) {
        prop_assert_eq!(parse_designators(&encode_designators(&designators)), Ok(designators));
    }

    #[test]
    fn limits_round_trip(
        write_same_non_zero: bool, compare_and_write: u8, granularity: u16, transfer: u32, optimal: u32, unmap: u32,
        unmap_descriptors: u32, unmap_granularity: u32, alignment in proptest::option::of(0_u32..0x8000_0000),
        write_same: u64,
    ) {
        let limits = BlockLimits {
            write_same_non_zero, compare_and_write, granularity, transfer, optimal, unmap, unmap_descriptors,
            unmap_granularity, unmap_alignment: alignment, write_same,
        };
        prop_assert_eq!(BlockLimits::parse(&limits.encode()), Ok(limits));
    }

    #[test]
    fn provisioning_round_trips(flags: (bool, bool, bool, bool, bool), kind in 0_u8..8) {
        let page = LogicalBlockProvisioning {
            unmap: flags.0, write_same_16: flags.1, write_same_10: flags.2, read_zeros: flags.3, anchor: flags.4, kind,
        };
        prop_assert_eq!(LogicalBlockProvisioning::parse(&page.encode()), Ok(page));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, page: u8) {
        let _ = parse(page, &bytes);
        let _ = parse_designators(&bytes);
        let _ = BlockLimits::parse(&bytes);
        let _ = RotationRate::parse(&bytes);
        let _ = LogicalBlockProvisioning::parse(&bytes);
    }
}
