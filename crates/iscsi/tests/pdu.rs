//! PDUs: every type round trips, any header is read or refused, and fields lie where RFC 7143 draws them.

use iscsi::pdu::*;
use iscsi::{HEADER_LEN, Header, Serial};
use proptest::prelude::*;

fn header(bytes: &[u8]) -> Header {
    let mut header = [0; HEADER_LEN];
    header[..bytes.len()].copy_from_slice(bytes);
    Header::from(header)
}

#[test]
fn a_scsi_command_as_the_rfc_draws_it() {
    let command = ScsiCommand {
        last: true,
        reads: false,
        writes: true,
        attribute: Attribute::SIMPLE,
        lun: Lun::from_number(1).unwrap(),
        tag: Tag(0x0102_0304),
        expected: 4096,
        command: Command {
            immediate: false,
            number: Serial(0x1111_2222),
            expected_status: Serial(0x3333_4444),
        },
        cdb: [0x8A, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0],
    };
    let bytes = *command.header().bytes();
    assert_eq!(bytes[..4], [0x01, 0xA1, 0, 0]);
    assert_eq!(bytes[8..16], [0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        bytes[16..32],
        [
            1, 2, 3, 4, 0, 0, 0x10, 0, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44
        ]
    );
    assert_eq!(bytes[32..48], command.cdb);
}

#[test]
fn a_login_names_stages_that_can_be() {
    // CSG 1, NSG 3, T: everything in one PDU, as some initiators send it.
    let one = FromInitiator::parse(&header(&[0x43, 0x87])).unwrap();
    let FromInitiator::Login(one) = one else {
        panic!("{one:?}")
    };
    assert_eq!(
        (one.stage, one.next),
        (Stage::Operational, Some(Stage::FullFeature))
    );
    assert!(one.command.immediate);
    for flags in [0x88, 0x80, 0x82, 0x85, 0x84, 0x8F] {
        // Stage 2 does not exist, and a stage does not lead to itself or back.
        assert!(
            FromInitiator::parse(&header(&[0x43, flags])).is_err(),
            "{flags:#x}"
        );
    }
    // A refusal may name any stages.
    let mut refusal = [0; HEADER_LEN];
    refusal[..2].copy_from_slice(&[0x23, 0x88]);
    refusal[36] = 2;
    assert!(FromTarget::parse(&Header::from(refusal)).is_ok());
}

#[test]
fn each_side_sends_only_its_own() {
    for opcode in 0..0x40 {
        let header = header(&[opcode, 0x81]);
        let initiator = FromInitiator::parse(&header).is_ok();
        let target = FromTarget::parse(&header).is_ok();
        assert_eq!(
            initiator,
            matches!(opcode, 0x00..=0x06 | 0x10),
            "{opcode:#x}"
        );
        assert_eq!(
            target,
            matches!(opcode, 0x20..=0x26 | 0x31 | 0x32 | 0x3F),
            "{opcode:#x}"
        );
    }
}

#[test]
fn residuals_count_what_was_not_moved() {
    assert_eq!(Residual::of(512, 512), Residual::None);
    assert_eq!(Residual::of(1024, 512), Residual::Overflow(512));
    assert_eq!(Residual::of(36, 512), Residual::Underflow(476));
    assert_eq!(Residual::of(u64::MAX, 0), Residual::Overflow(u32::MAX));
}

fn again_initiator(pdu: &FromInitiator) -> Option<Header> {
    Some(match pdu {
        FromInitiator::NopOut(pdu) => pdu.header(),
        FromInitiator::ScsiCommand(pdu) => pdu.header(),
        FromInitiator::TaskManagement(pdu) => pdu.header(),
        FromInitiator::Login(pdu) => pdu.header(),
        FromInitiator::Text(pdu) => pdu.header(),
        FromInitiator::DataOut(pdu) => pdu.header(),
        FromInitiator::Logout(pdu) => pdu.header(),
        FromInitiator::Snack => return None,
    })
}

fn again_target(pdu: &FromTarget) -> Header {
    match pdu {
        FromTarget::NopIn(pdu) => pdu.header(),
        FromTarget::ScsiResponse(pdu) => pdu.header(),
        FromTarget::TaskManagement(pdu) => pdu.header(),
        FromTarget::Login(pdu) => pdu.header(),
        FromTarget::Text(pdu) => pdu.header(),
        FromTarget::DataIn(pdu) => pdu.header(),
        FromTarget::Logout(pdu) => pdu.header(),
        FromTarget::R2t(pdu) => pdu.header(),
        FromTarget::Async(pdu) => pdu.header(),
        FromTarget::Reject(pdu) => pdu.header(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What is read from any header is the same after it was written and read again.
    #[test]
    fn any_header_is_read_or_refused(bytes in proptest::array::uniform32(any::<u8>()), rest: [u8; 16], opcode in 0_u8..0x40) {
        let mut whole = [0; HEADER_LEN];
        whole[..32].copy_from_slice(&bytes);
        whole[32..].copy_from_slice(&rest);
        whole[0] = whole[0] & 0xC0 | opcode;
        let header = Header::from(whole);
        if let Ok(pdu) = FromInitiator::parse(&header)
            && let Some(written) = again_initiator(&pdu)
        {
            // A login is always immediate, whatever was received.
            let read = FromInitiator::parse(&written);
            match (&pdu, read) {
                (FromInitiator::Login(before), Ok(FromInitiator::Login(mut after))) => {
                    after.command.immediate = before.command.immediate;
                    prop_assert_eq!(before, &after);
                }
                (_, read) => prop_assert_eq!(Ok(pdu), read),
            }
        }
        if let Ok(pdu) = FromTarget::parse(&header) {
            prop_assert_eq!(FromTarget::parse(&again_target(&pdu)), Ok(pdu));
        }
    }
}
