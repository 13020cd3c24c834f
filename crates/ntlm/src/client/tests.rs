//! The examples of MS-NLMP 4.2.1 and 4.2.4 ("NTLMv2 Authentication"), byte for byte.

use zeroize::Zeroizing;

use super::*;
use crate::keys::owf;
use crate::pairs::Pair;

const SERVER_CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
const CLIENT_CHALLENGE: [u8; 8] = [0xaa; 8];
const SESSION_KEY: [u8; 16] = [0x55; 16];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

fn salt() -> Salt {
    Salt {
        challenge: CLIENT_CHALLENGE,
        session_key: Zeroizing::new(SESSION_KEY),
        time: 0,
    }
}

fn user() -> Credentials {
    Credentials::new("Domain\\User", Zeroizing::new("Password".to_owned()))
}

/// 4.2.4.3, the CHALLENGE_MESSAGE.
fn challenge() -> Vec<u8> {
    bytes(
        "4e544c4d53535000 02000000 0c000c00 38000000 33828ae2 0123456789abcdef 0000000000000000 24002400 44000000
         0600701700 00000f 530065007200760065007200 02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200
         00000000",
    )
}

/// 4.2.4.3, the AUTHENTICATE_MESSAGE. It is that of a client without integrity code: the payload begins at byte 72.
fn authenticate() -> Vec<u8> {
    bytes(
        "4e544c4d53535000 03000000 18001800 6c000000 54005400 84000000 0c000c00 48000000 08000800 54000000 10001000 5c000000
         10001000 d8000000 358288e2 0501280a0000000f 44006f006d00610069006e00 5500730065007200
         43004f004d0050005500540045005200 86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa
         68cd0ab851e51c96aabc927bebef6a1c 01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000 02000c00
         44006f006d00610069006e00 01000c00 530065007200760065007200 00000000 00000000 c5dad2544fc9799094ce1ce90bc9d03e",
    )
}

#[test]
fn the_password_hash_is_that_of_the_standard() {
    assert_eq!(
        owf("User", "Domain", "Password").to_vec(),
        bytes("0c868a403bfd7a93a3001ef22ef02e3f")
    );
}

#[test]
fn responses_and_keys_are_those_of_the_standard() {
    let owf = owf("User", "Domain", "Password");
    assert_eq!(
        lm(&owf, SERVER_CHALLENGE, CLIENT_CHALLENGE),
        bytes("86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa")
    );
    let info = Challenge::decode(&challenge()).unwrap().info;
    let proof = Proof::new(&owf, SERVER_CHALLENGE, 0, CLIENT_CHALLENGE, &info).unwrap();
    assert_eq!(
        proof.response[..16],
        bytes("68cd0ab851e51c96aabc927bebef6a1c")
    );
    assert_eq!(
        proof.key.to_vec(),
        bytes("8de40ccadbc14a82f15cb0ad0de95ca3")
    );
    let mut key = SESSION_KEY;
    Rc4::new(&proof.key).apply(&mut key);
    assert_eq!(key.to_vec(), bytes("c5dad2544fc9799094ce1ce90bc9d03e"));
}

#[test]
fn the_standards_challenge_is_answered_as_the_standard_answers_it() {
    let asked = Challenge::decode(&challenge()).unwrap();
    assert_eq!(
        (asked.target.as_str(), asked.challenge),
        ("Server", SERVER_CHALLENGE)
    );
    assert_eq!(asked.info.text(Pairs::COMPUTER).as_deref(), Some("Server"));
    assert_eq!(asked.info.text(Pairs::DOMAIN).as_deref(), Some("Domain"));

    let (ours, _) = Client::new()
        .authenticate(&challenge(), &user(), None, &salt())
        .unwrap();
    let (ours, theirs) = (
        Authenticate::decode(&ours).unwrap(),
        Authenticate::decode(&authenticate()).unwrap(),
    );
    assert_eq!(ours.nt, theirs.nt);
    assert_eq!(ours.lm, theirs.lm);
    assert_eq!(ours.session_key, theirs.session_key);
    assert_eq!((&ours.user, &ours.domain), (&theirs.user, &theirs.domain));
    assert_eq!(
        (theirs.workstation.as_str(), ours.workstation.as_str()),
        ("COMPUTER", "")
    );
}

/// 4.2.4.4: "Plaintext" in UTF-16, the first message from client to server.
#[test]
fn sealing_is_that_of_the_standard() {
    let (_, mut session) = Client::new()
        .authenticate(&challenge(), &user(), None, &salt())
        .unwrap();
    let sealed = session
        .seal(&bytes("50006c00610069006e007400650078007400"))
        .unwrap();
    assert_eq!(sealed.cipher, bytes("54e50165bf1936dc996020c1811b0f06fb5f"));
    assert_eq!(
        sealed.signature.to_vec(),
        bytes("010000007fb38ec5c55d497600000000")
    );
}

#[test]
fn a_server_that_tells_its_time_gets_an_integrity_code_and_no_lan_manager_response() {
    let mut asked = Challenge::decode(&challenge()).unwrap();
    asked.info.0.push(Pair {
        id: Pairs::TIMESTAMP,
        value: vec![1, 2, 3, 4, 5, 6, 7, 8],
    });
    let asked = asked.encode().unwrap();
    let binding = ChannelBinding::tls_server_end_point(&[7; 32]);
    let (message, _) = Client::new()
        .authenticate(&asked, &user(), Some(binding), &salt())
        .unwrap();
    let message = Authenticate::decode(&message).unwrap();
    assert_eq!(message.lm, [0; 24]);
    assert_ne!(message.mic, [0; 16]);
    assert_eq!(message.nt[24..32], [1, 2, 3, 4, 5, 6, 7, 8]);
    let info = Pairs::decode(&message.nt[44..]).unwrap();
    assert_eq!(info.flags(), Pairs::HAS_MIC);
    assert_eq!(info.get(Pairs::BINDING), Some(binding.bytes().as_slice()));
}

#[test]
fn weak_servers_are_refused() {
    for missing in [
        Flags::UNICODE,
        Flags::NTLM,
        Flags::EXTENDED,
        Flags::KEY_128,
        Flags::SIGN,
        Flags::SEAL,
    ] {
        let mut asked = Challenge::decode(&challenge()).unwrap();
        asked.flags = Flags(asked.flags.0 & !missing.0);
        let answer = Client::new().authenticate(&asked.encode().unwrap(), &user(), None, &salt());
        assert!(matches!(answer, Err(Error::Weak { .. })), "{missing:?}");
    }
}

#[test]
fn a_server_may_leave_the_key_to_the_proof() {
    let mut asked = Challenge::decode(&challenge()).unwrap();
    asked.flags = Flags(asked.flags.0 & !Flags::KEY_EXCHANGE.0);
    let (message, mut session) = Client::new()
        .authenticate(&asked.encode().unwrap(), &user(), None, &salt())
        .unwrap();
    assert!(
        Authenticate::decode(&message)
            .unwrap()
            .session_key
            .is_empty()
    );
    assert!(session.seal(b"x").is_ok());
}
