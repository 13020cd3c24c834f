//! Bytes captured from, or accepted by, the C programs (fence-virt 4.12.1 on Debian 12). Key of the
//! captures: the 64 bytes 00…3f; source and date of capture: `fence_xvm` and `fence_virtd` in two network
//! namespaces, November 2026. Digests were recomputed independently.

use std::net::SocketAddr;

use fence_wire::serial::{
    SerialReplyReader, SerialRequest, SerialRequestReader, serial_list, serial_reply,
};
use fence_wire::{
    AgentHandshake, Answer, Challenge, DaemonHandshake, HashType, HostRecord, Key, Operation, Plug,
    REQUEST_LEN, Reply, ReplyReader, Request, RequestError, Unverified, answer, encode_list,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| u8::try_from((b as char).to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn captured_key() -> Key {
    Key::new(&(0..64).collect::<Vec<u8>>())
}

/// A packet from its fields, as the capture table gives them.
fn packet(head: &str, domain: &str, address: &str, tail: &str, hash: &str) -> Vec<u8> {
    let mut bytes = vec![0; REQUEST_LEN];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &hex(head));
    put(4, domain.as_bytes());
    put(68, &hex(address));
    put(96, &hex(tail));
    put(112, &hex(hash));
    bytes
}

struct Capture {
    packet: Vec<u8>,
    hash: HashType,
    key: Key,
    request: Request,
}

fn request(
    operation: Operation,
    plug: Option<&str>,
    by_uuid: bool,
    reply_to: &str,
    random: &str,
    seqno: u32,
) -> Request {
    Request {
        operation,
        by_uuid,
        plug: plug.map(|name| Plug::new(name).unwrap()),
        reply_to: Some(reply_to.parse::<SocketAddr>().unwrap()),
        random: hex(random).try_into().unwrap(),
        seqno,
    }
}

const UUID: &str = "11111111-1111-4111-8111-111111111111";

fn captures() -> Vec<Capture> {
    let captured = |packet, hash, request| Capture {
        packet,
        hash,
        key: captured_key(),
        request,
    };
    let v4 = "10.77.0.2:1229";
    vec![
        captured(
            packet(
                "04020400",
                "vm1",
                "0a4d0002",
                "cd04 08dc92d0f13a 6ba80c00 02000000",
                "57339a2567f7d625b9e417c30054263fcfc0358aca502c7fb5ad79fd89670eb1",
            ),
            HashType::Sha256,
            request(
                Operation::STATUS,
                Some("vm1"),
                false,
                v4,
                "08dc92d0f13a",
                829_547,
            ),
        ),
        captured(
            packet(
                "04021000",
                "vm1",
                "fd770000000000000000000000000002",
                "cd04 f3a59bccc898 742e0300 0a000000",
                "362eecae8312e496551eb08bed3ef07e7775b64cefe362b65693bd7a690bb704",
            ),
            HashType::Sha256,
            request(
                Operation::STATUS,
                Some("vm1"),
                false,
                "[fd77::2]:1229",
                "f3a59bccc898",
                0x0003_2e74,
            ),
        ),
        captured(
            packet(
                "01000401",
                UUID,
                "0a4d0002",
                "cd04 000000000000 ec050d00 02000000",
                "",
            ),
            HashType::None,
            request(
                Operation::OFF,
                Some(UUID),
                true,
                v4,
                "000000000000",
                0x000d_05ec,
            ),
        ),
        captured(
            packet(
                "01010401",
                UUID,
                "0a4d0002",
                "cd04 74e6e7d92bdd fc320d00 02000000",
                "0952e0b23ff281ae36c6e81f8515c7de598f06e6",
            ),
            HashType::Sha1,
            request(
                Operation::OFF,
                Some(UUID),
                true,
                v4,
                "74e6e7d92bdd",
                0x000d_32fc,
            ),
        ),
        captured(
            packet(
                "01030401",
                UUID,
                "0a4d0002",
                "cd04 f8e3c8971cf9 cb620d00 02000000",
                "eb9a5ba59c11232b01b13f180f3358745fe21ca2e8f8b7e3f48505cc5ca94d20\
                 623f1020dea46b653d34538d406b95a196af06630d0f2029430bb253ac0702f9",
            ),
            HashType::Sha512,
            request(
                Operation::OFF,
                Some(UUID),
                true,
                v4,
                "f8e3c8971cf9",
                0x000d_62cb,
            ),
        ),
        captured(
            packet(
                "06020400",
                "",
                "0a4d0002",
                "cd04 2f9bffa9a259 a2880d00 02000000",
                "638cc10887712d9480f38c9f0a06753dd27e5591514935a1976044f79fa4e1dc",
            ),
            HashType::Sha256,
            request(
                Operation::HOST_LIST,
                None,
                false,
                v4,
                "2f9bffa9a259",
                0x000d_88a2,
            ),
        ),
    ]
}

#[test]
fn captured_packets_are_verified_and_written_alike() {
    for (number, capture) in captures().into_iter().enumerate() {
        let packet = Unverified::decode(&capture.packet).unwrap();
        let got = packet.verify(capture.hash, &capture.key);
        assert_eq!(
            got.as_ref(),
            Ok(&capture.request),
            "capture P{}",
            number + 1
        );
        let written = capture.request.encode(capture.hash, &capture.key);
        assert_eq!(written[..], capture.packet[..], "capture P{}", number + 1);
    }
}

#[test]
fn computed_packets_match_for_every_hash() {
    let key = Key::new(b"secret");
    let wanted = request(
        Operation::STATUS,
        Some("vm1"),
        false,
        "192.0.2.1:1229",
        "000000000000",
        1,
    );
    for (hash, digest) in [
        (HashType::Sha1, "3825921a520051ca07c0b78695d6f9a547c08b28"),
        (
            HashType::Sha256,
            "85de290f0aee9e019137f0feecbddf473986f3e9662ce09eb95afae214ce9919",
        ),
        (
            HashType::Sha512,
            "133ae0e0ab8861f11ffc46cf6aae0d86b3ecdffdecf08973012dc55a176a47abb5e791cd22c622470969a07c1df7b32f\
             651bd7324bfd6dda5a010cffa1904370",
        ),
    ] {
        let packet = wanted.encode(hash, &key);
        let digest = hex(digest);
        assert_eq!(packet[112..112 + digest.len()], digest[..], "{hash}");
        assert!(packet[112 + digest.len()..].iter().all(|&b| b == 0));
    }
}

#[test]
fn a_changed_or_foreign_packet_is_refused() {
    let capture = &captures()[0];
    let verify = |bytes: &[u8], minimum, key: &Key| {
        Unverified::decode(bytes).and_then(|packet| packet.verify(minimum, key))
    };
    for at in 0..REQUEST_LEN {
        let mut changed = capture.packet.clone();
        changed[at] ^= 0x10;
        assert!(
            verify(&changed, HashType::Sha256, &capture.key).is_err(),
            "byte {at} is not covered"
        );
    }
    let other_key = Key::new(b"another");
    assert_eq!(
        verify(&capture.packet, HashType::Sha256, &other_key),
        Err(RequestError::BadSignature)
    );
    assert_eq!(
        verify(&capture.packet, HashType::None, &Key::none()),
        Err(RequestError::NoKey)
    );
    assert!(matches!(
        verify(&capture.packet, HashType::Sha512, &capture.key),
        Err(RequestError::TooWeak { .. })
    ));
    assert!(matches!(
        verify(&captures()[2].packet, HashType::Sha1, &capture.key),
        Err(RequestError::TooWeak {
            got: HashType::None,
            ..
        })
    ));
}

#[test]
fn only_exact_lengths_are_requests() {
    let packet = &captures()[0].packet;
    for length in (0..REQUEST_LEN).chain(REQUEST_LEN + 1..400) {
        let mut bytes = packet.clone();
        bytes.resize(length, 0);
        assert!(matches!(Unverified::decode(&bytes), Err(RequestError::Length(n)) if n == length));
    }
}

const CHALLENGE_A: &str = "9612e48fb1c845b50719ac6a2b54c0cd5609a6e56caf24f1810664fc40a6f73e\
                           27884e9313f1432543e929b92080135fc97de97e65a190601286a82dd72bcc3a";
const CHALLENGE_B: &str = "cac8080b29ae38c7e8d0a6d626e0e36fc670e8acd5c2c6fd81482c4888ff4562\
                           7f39df0dba1567e7fcd63a2c2525cbd6d67613695a49aa00bb1133b6def4d56d";

#[test]
fn the_captured_handshake_is_answered_alike_from_both_ends() {
    let key = captured_key();
    let a: Challenge = hex(CHALLENGE_A).try_into().unwrap();
    let b: Challenge = hex(CHALLENGE_B).try_into().unwrap();
    let to_a = hex("1ca745c5726f47d9003dbc0cf99edd8a404d4fcc556e4167e02f583bce268d1b");
    let to_b = hex("6d2b0e3fd588151335eb3a211a12c8a1d69691f7d54271fecfdf19dcfd3360fa");

    let mut daemon = DaemonHandshake::new(HashType::Sha256, &key, b);
    assert_eq!(daemon.receive(&a), Ok(64));
    let sent = daemon.transmit().unwrap();
    assert_eq!(sent[..32], to_a[..]);
    assert!(sent[32..64].iter().all(|&byte| byte == 0));
    assert_eq!(sent[64..], b);

    let mut agent = AgentHandshake::new(HashType::Sha256, &key, a);
    assert_eq!(agent.transmit().unwrap(), a);
    assert_eq!(agent.receive(&sent), Ok(128));
    assert!(agent.is_done());
    let sent = agent.transmit().unwrap();
    assert_eq!(sent[..32], to_b[..]);

    assert!(!daemon.is_done());
    assert_eq!(daemon.receive(&sent), Ok(64));
    assert!(daemon.is_done());
}

#[test]
fn computed_answers_match_for_every_hash() {
    let challenge: Challenge = (0x80..0xc0).collect::<Vec<u8>>().try_into().unwrap();
    for (hash, wanted) in [
        (HashType::Sha1, "eced0062dd840f6d74db330d0994aa942e3b6926"),
        (
            HashType::Sha256,
            "77fbb6609fc03c8caee977258a1e1a3ea720f481c72d052c7c73e7375e84b6d3",
        ),
        (
            HashType::Sha512,
            "6ee761d6912b8d732bcf12c204d483d8058d22f7a69fd7fcfe6a2e0f1268bc624e2ad64cd29bdd43a31b70769820462\
             40d51d071ce5a8f6a64aa93f7f1df5a9a",
        ),
    ] {
        let wanted = hex(wanted);
        let got = answer(hash, &captured_key(), &challenge);
        assert_eq!(got[..wanted.len()], wanted[..], "{hash}");
        assert!(got[wanted.len()..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn serial_frames_match_the_captures() {
    let frame = |seqno| SerialRequest {
        operation: Operation::STATUS,
        plug: Some(Plug::new("vm1").unwrap()),
        seqno,
    };
    let mut wanted = hex("61626261 04 00 766d31");
    wanted.extend([0; 61]);
    wanted.extend(hex("04030201"));
    assert_eq!(frame(0x0102_0304).encode()[..], wanted[..]);

    let mut from_c = hex("61626261 04 00 766d31");
    from_c.extend([0; 61]);
    from_c.extend(hex("14630000"));
    let mut reader = SerialRequestReader::new();
    assert_eq!(reader.receive(&from_c), vec![Ok(frame(0x6314))]);

    assert_eq!(serial_reply(Reply::SUCCESS)[..], hex("6162626100")[..]);
    assert_eq!(serial_reply(Reply::OFF)[..], hex("6162626102")[..]);
    assert_eq!(serial_reply(Reply::HOST_LIST)[..], hex("61626261fd")[..]);
}

#[test]
fn a_magic_that_begins_within_itself_is_found() {
    let mut reader = SerialReplyReader::new();
    let noisy = hex("00 61 61 62 62 61 02");
    assert_eq!(reader.receive(&noisy), Ok(Some(Answer::Reply(Reply::OFF))));
}

fn two_hosts() -> Vec<HostRecord> {
    ["vm1", "vm2"]
        .into_iter()
        .zip([1, 5])
        .map(|(name, state)| HostRecord {
            name: name.into(),
            uuid: UUID.into(),
            state,
        })
        .collect()
}

#[test]
fn a_list_over_a_serial_line_has_the_length_c_daemons_send() {
    let bytes = serial_list(&two_hosts(), Reply::SUCCESS);
    assert_eq!(bytes.len(), 400);
    let mut reader = SerialReplyReader::new();
    assert_eq!(reader.receive(&bytes[..399]), Ok(None));
    assert_eq!(
        reader.receive(&bytes[399..]),
        Ok(Some(Answer::Hosts(two_hosts())))
    );
}

#[test]
fn rubbish_behind_a_record_s_text_is_ignored() {
    let mut bytes = encode_list(&two_hosts(), Reply::SUCCESS);
    for (at, rubbish) in [(63, 0x31), (127, 0x43), (129, 0x2e), (10, 0x6d)] {
        bytes[1 + at] = rubbish;
    }
    let mut reader = ReplyReader::new();
    assert_eq!(reader.receive(&bytes), Ok(Some(Answer::Hosts(two_hosts()))));
}

#[test]
fn record_padding_is_zero_w20() {
    let record = two_hosts()[0].encode();
    assert_eq!([record[63], record[127], record[129]], [0, 0, 0]);
    assert!(
        record[3..64]
            .iter()
            .chain(&record[100..128])
            .all(|&byte| byte == 0)
    );
}
