//! Properties that hold for all values and all bytes: what is written is read back, whatever the pieces
//! it comes in; nothing panics; nothing unproven is accepted.

use std::net::SocketAddr;

use fence_wire::serial::{SerialReplyReader, SerialRequest, SerialRequestReader, serial_list};
use fence_wire::{
    AgentHandshake, Answer, DaemonHandshake, HandshakeError, HashType, HostRecord, Key, Operation,
    Plug, Reply, ReplyError, ReplyReader, Request, Unverified, encode_list,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn any_hash() -> impl Strategy<Value = HashType> {
    select(HashType::ALL.to_vec())
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..200)
}

fn any_plug() -> impl Strategy<Value = Plug> {
    "[^\0]{1,15}".prop_map(|name| Plug::new(&name).unwrap())
}

fn any_request() -> impl Strategy<Value = Request> {
    let address = option::of(any::<SocketAddr>().prop_map(plain_address));
    let plug = option::of(any_plug());
    (
        any::<u8>(),
        any::<bool>(),
        plug,
        address,
        any::<[u8; 6]>(),
        any::<u32>(),
    )
        .prop_map(
            |(operation, by_uuid, plug, reply_to, random, seqno)| Request {
                operation: Operation(operation),
                by_uuid,
                plug,
                reply_to,
                random,
                seqno,
            },
        )
}

/// Flow label and scope of an IPv6 address do not travel.
fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn any_hosts() -> impl Strategy<Value = Vec<HostRecord>> {
    let host = ("[a-z0-9é.-]{1,40}", "[0-9a-f-]{0,36}", any::<u8>())
        .prop_map(|(name, uuid, state)| HostRecord { name, uuid, state })
        .prop_filter("fits the field", |host| host.name.len() <= 63);
    vec(host, 0..20)
}

/// Feeds `bytes` in pieces of the given sizes until the reader answers.
fn in_pieces<T>(
    bytes: &[u8],
    sizes: &[usize],
    mut receive: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        if let Some(found) = receive(piece) {
            return Some(found);
        }
        rest = tail;
    }
    None
}

proptest! {
    #[test]
    fn requests_round_trip(request in any_request(), hash in any_hash(), key in any_key()) {
        let key = Key::new(&key);
        let packet = Unverified::decode(&request.encode(hash, &key)).unwrap();
        prop_assert_eq!(packet.verify(hash, &key).unwrap(), request);
    }

    #[test]
    fn any_bytes_as_a_packet(bytes in vec(any::<u8>(), 0..400), hash in any_hash()) {
        if let Ok(packet) = Unverified::decode(&bytes) {
            let _ = packet.verify(hash, &Key::new(b"k"));
        }
    }

    #[test]
    fn any_176_bytes_unsigned(mut bytes in vec(any::<u8>(), 176..=176)) {
        bytes[1] = 0;
        let packet = Unverified::decode(&bytes).unwrap();
        let _ = packet.verify(HashType::None, &Key::none());
        prop_assert!(packet.verify(HashType::Sha1, &Key::new(b"k")).is_err());
    }

    #[test]
    fn handshake_succeeds_only_with_the_same_key_and_hash(
        keys in (any_key(), any_key(), any::<bool>()),
        auth in (any_hash(), any_hash()),
        challenges in (vec(any::<u8>(), 64..=64), vec(any::<u8>(), 64..=64)),
        sizes in vec(1usize..100, 1..5),
    ) {
        let (agent_key, daemon_key, same) = keys;
        let daemon_key = if same { agent_key.clone() } else { daemon_key };
        prop_assume!(challenges.0 != challenges.1);
        prop_assume!(auth.0 != HashType::None && auth.1 != HashType::None);
        let mut agent =
            AgentHandshake::new(auth.0, &Key::new(&agent_key), challenges.0.try_into().unwrap());
        let mut daemon =
            DaemonHandshake::new(auth.1, &Key::new(&daemon_key), challenges.1.try_into().unwrap());
        let outcome = drive(&mut agent, &mut daemon, &sizes);
        let alike = agent_key == daemon_key && auth.0 == auth.1;
        prop_assert_eq!(outcome.is_ok(), alike, "{:?}", outcome);
        prop_assert_eq!(daemon.is_done(), alike);
    }

    #[test]
    fn a_stranger_never_completes_a_handshake(bytes in vec(any::<u8>(), 0..300)) {
        let key = Key::new(b"the key");
        let mut daemon = DaemonHandshake::new(HashType::Sha256, &key, [7; 64]);
        let _ = daemon.receive(&bytes);
        prop_assert!(!daemon.is_done());
        let mut agent = AgentHandshake::new(HashType::Sha256, &key, [9; 64]);
        let _ = agent.receive(&bytes);
        prop_assert!(!agent.is_done());
    }

    #[test]
    fn lists_round_trip_in_any_pieces(hosts in any_hosts(), sizes in vec(1usize..300, 1..5)) {
        let mut reader = ReplyReader::new();
        let bytes = encode_list(&hosts, Reply::SUCCESS);
        let got = in_pieces(&bytes, &sizes, |piece| reader.receive(piece).unwrap());
        prop_assert_eq!(got, Some(Answer::Hosts(hosts.clone())));

        let mut reader = SerialReplyReader::new();
        let bytes = serial_list(&hosts, Reply::SUCCESS);
        let got = in_pieces(&bytes, &sizes, |piece| reader.receive(piece).unwrap());
        prop_assert_eq!(got, Some(Answer::Hosts(hosts)));
    }

    #[test]
    fn a_list_cut_anywhere_is_an_error(hosts in any_hosts(), cut in 0usize..2600) {
        let bytes = encode_list(&hosts, Reply::SUCCESS);
        let cut = cut.min(bytes.len() - 2);
        let mut reader = ReplyReader::new();
        prop_assert_eq!(reader.receive(&bytes[..cut]), Ok(None));
        let expected = match cut {
            0 => ReplyError::Closed,
            _ => ReplyError::ListCut((cut - 1) / 130),
        };
        prop_assert_eq!(reader.closed(), expected);
    }

    #[test]
    fn any_bytes_as_a_reply(bytes in vec(any::<u8>(), 0..1000)) {
        let _ = ReplyReader::new().receive(&bytes);
        let _ = SerialReplyReader::new().receive(&bytes);
    }

    #[test]
    fn serial_requests_are_found_behind_noise(
        noise in vec(select(vec![b'a', b'b', 0u8, 1]), 0..20),
        seqno in any::<u32>(),
        plug in any_plug(),
        sizes in vec(1usize..100, 1..5),
    ) {
        let request = SerialRequest { operation: Operation::OFF, plug: Some(plug), seqno };
        // Noise that itself holds the magic is a frame of its own; that is not this test's case.
        let mut bytes = noise.clone();
        bytes.extend(&request.encode()[..4]);
        let first = bytes.windows(4).position(|window| window == b"abba");
        prop_assume!(first == Some(noise.len()));
        bytes.extend(&request.encode()[4..]);
        let mut reader = SerialRequestReader::new();
        let got = in_pieces(&bytes, &sizes, |piece| reader.receive(piece).pop());
        prop_assert_eq!(got, Some(Ok(request)));
    }

    #[test]
    fn any_bytes_as_serial_requests(bytes in vec(any::<u8>(), 0..1000)) {
        let _ = SerialRequestReader::new().receive(&bytes);
    }
}

fn drive(
    agent: &mut AgentHandshake,
    daemon: &mut DaemonHandshake,
    sizes: &[usize],
) -> Result<(), HandshakeError> {
    loop {
        let mut quiet = true;
        if let Some(bytes) = agent.transmit() {
            quiet = false;
            in_pieces(&bytes, sizes, |piece| daemon.receive(piece).err()).map_or(Ok(()), Err)?;
        }
        if let Some(bytes) = daemon.transmit() {
            quiet = false;
            in_pieces(&bytes, sizes, |piece| agent.receive(piece).err()).map_or(Ok(()), Err)?;
        }
        if quiet {
            return Ok(());
        }
    }
}

#[test]
fn a_reflected_challenge_is_refused_w13() {
    let key = Key::new(b"the key");
    let mut daemon = DaemonHandshake::new(HashType::Sha256, &key, [7; 64]);
    assert_eq!(daemon.receive(&[7; 64]), Err(HandshakeError::Reflected));
    assert_eq!(daemon.receive(&[8; 64]), Err(HandshakeError::Failed));
    assert_eq!(daemon.transmit(), None);
}

#[test]
fn bytes_behind_the_handshake_are_left_for_the_reply() {
    let key = Key::new(b"the key");
    let mut agent = AgentHandshake::new(HashType::Sha1, &key, [1; 64]);
    let mut daemon = DaemonHandshake::new(HashType::Sha1, &key, [2; 64]);
    daemon.receive(&agent.transmit().unwrap()).unwrap();
    let mut bytes = daemon.transmit().unwrap();
    bytes.push(0);
    assert_eq!(
        agent.receive(&bytes),
        Ok(128),
        "the reply byte is not the handshake's"
    );
    assert_eq!(agent.need(), 0);
}
