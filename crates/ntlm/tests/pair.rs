//! Both sides against each other, and against messages that are none.

use ntlm::{
    Acceptor, Authenticate, Binding, Challenge, ChannelBinding, Client, Credentials, Error,
    Identity, Names, Negotiate, Pairs, Salt, Session,
};
use proptest::prelude::*;
use zeroize::Zeroizing;

const PASSWORD: &str = "pässwörd 漢字 \u{1f512}";

fn names() -> Names {
    Names {
        computer: "HV1".to_owned(),
        domain: "CORP".to_owned(),
        dns_computer: "hv1.corp.example".to_owned(),
    }
}

fn salt() -> Salt {
    Salt {
        challenge: [3; 8],
        session_key: Zeroizing::new([9; 16]),
        time: 1,
    }
}

fn known(identity: &Identity) -> Option<Zeroizing<String>> {
    let right = identity.user.eq_ignore_ascii_case("ann") && identity.domain == "CORP";
    right.then(|| Zeroizing::new(PASSWORD.to_owned()))
}

struct Exchange {
    client: Session,
    server: Session,
}

fn exchange(
    login: &str,
    password: &str,
    time: Option<u64>,
    said: Option<ChannelBinding>,
    wanted: Binding,
) -> Result<Exchange, Error> {
    let client = Client::new();
    let acceptor = Acceptor::challenge(client.negotiate(), &names(), [7; 8], time)?;
    let who = Credentials::new(login, Zeroizing::new(password.to_owned()));
    let (message, client) = client.authenticate(acceptor.message(), &who, said, &salt())?;
    let (identity, server) = acceptor.accept(&message, wanted, known)?;
    assert_eq!(identity.domain, "CORP");
    Ok(Exchange { client, server })
}

fn right(time: Option<u64>) -> Exchange {
    exchange("CORP\\Ann", PASSWORD, time, None, Binding::Ignored).unwrap()
}

#[test]
fn both_sides_understand_each_other() {
    for time in [None, Some(132_000_000_000_000_000)] {
        let mut pair = right(time);
        for text in ["", "a", "ein längerer Text", &"x".repeat(100_000)] {
            let sealed = pair.client.seal(text.as_bytes()).unwrap();
            assert_eq!(
                pair.server
                    .unseal(&sealed.signature, &sealed.cipher)
                    .unwrap(),
                text.as_bytes()
            );
            let sealed = pair.server.seal(text.as_bytes()).unwrap();
            assert_eq!(
                pair.client
                    .unseal(&sealed.signature, &sealed.cipher)
                    .unwrap(),
                text.as_bytes()
            );
        }
        let signature = pair.client.sign(b"mechanisms").unwrap();
        pair.server.verify(&signature, b"mechanisms").unwrap();
        pair.client.restart_streams();
        pair.server.restart_streams();
        let sealed = pair.client.seal(b"after").unwrap();
        assert_eq!(
            pair.server
                .unseal(&sealed.signature, &sealed.cipher)
                .unwrap(),
            b"after"
        );
    }
}

#[test]
fn wrong_accounts_and_passwords_are_refused() {
    for (login, password) in [
        ("CORP\\ann", "wrong"),
        ("CORP\\bob", PASSWORD),
        ("CORP\\ann", ""),
    ] {
        for time in [None, Some(1)] {
            let outcome = exchange(login, password, time, None, Binding::Ignored);
            assert_eq!(outcome.err(), Some(Error::WrongProof), "{login}");
        }
    }
}

#[test]
fn a_login_is_bound_to_its_connection() {
    let (one, other) = (
        ChannelBinding::tls_server_end_point(&[1; 32]),
        ChannelBinding::tls_server_end_point(&[2; 32]),
    );
    let login = |said, wanted| exchange("CORP\\ann", PASSWORD, Some(1), said, wanted).err();
    assert_eq!(login(Some(one), Binding::Strict(one)), None);
    assert_eq!(login(Some(one), Binding::Relaxed(one)), None);
    assert_eq!(login(None, Binding::Relaxed(one)), None);
    assert_eq!(login(None, Binding::Strict(one)), Some(Error::NotBound));
    assert_eq!(
        login(Some(other), Binding::Strict(one)),
        Some(Error::NotBound)
    );
    assert_eq!(
        login(Some(other), Binding::Relaxed(one)),
        Some(Error::NotBound)
    );
}

#[test]
fn changed_repeated_and_swapped_messages_are_noticed() {
    let mut pair = right(Some(1));
    let sealed = pair.client.seal(b"turn off").unwrap();
    let mut changed = sealed.cipher.clone();
    changed[0] ^= 1;
    assert!(
        right(Some(1))
            .server
            .unseal(&sealed.signature, &changed)
            .is_err()
    );
    pair.server
        .unseal(&sealed.signature, &sealed.cipher)
        .unwrap();
    assert!(
        pair.server
            .unseal(&sealed.signature, &sealed.cipher)
            .is_err(),
        "a repetition"
    );

    let mut pair = right(Some(1));
    let (_, second) = (
        pair.client.seal(b"1").unwrap(),
        pair.client.seal(b"2").unwrap(),
    );
    assert!(
        pair.server
            .unseal(&second.signature, &second.cipher)
            .is_err(),
        "out of order"
    );
    let mut pair = right(Some(1));
    let sealed = pair.client.seal(b"1").unwrap();
    assert!(
        pair.client
            .unseal(&sealed.signature, &sealed.cipher)
            .is_err(),
        "reflected"
    );
}

#[test]
fn a_change_on_the_way_is_noticed() {
    let client = Client::new();
    let acceptor = Acceptor::challenge(client.negotiate(), &names(), [7; 8], Some(1)).unwrap();
    // Somebody in between takes the request to encrypt away from the client's first message.
    let mut tampered = Negotiate::decode(client.negotiate()).unwrap();
    tampered.flags.0 &= !0x0000_0004;
    let misled = Acceptor::challenge(&tampered.encode(), &names(), [7; 8], Some(1)).unwrap();
    let who = Credentials::new("CORP\\ann", Zeroizing::new(PASSWORD.to_owned()));
    let (message, _) = client
        .authenticate(acceptor.message(), &who, None, &salt())
        .unwrap();
    assert_eq!(
        misled.accept(&message, Binding::Ignored, known).err(),
        Some(Error::Tampered)
    );
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let who = Credentials::new("CORP\\ann", Zeroizing::new(PASSWORD.to_owned()));
    let pair = right(None);
    let printed = format!("{who:?} {:?} {:?} {:?}", pair.client, pair.server, salt());
    assert!(
        !printed.contains(PASSWORD) && !printed.contains("9, 9"),
        "{printed}"
    );
}

fn valid() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let client = Client::new();
    let acceptor = Acceptor::challenge(client.negotiate(), &names(), [7; 8], Some(1)).unwrap();
    let who = Credentials::new("CORP\\ann", Zeroizing::new(PASSWORD.to_owned()));
    let first = client.negotiate().to_vec();
    let second = acceptor.message().to_vec();
    let (third, _) = client.authenticate(&second, &who, None, &salt()).unwrap();
    (first, second, third)
}

fn take(bytes: &[u8]) {
    let _ = Negotiate::decode(bytes);
    let _ = Challenge::decode(bytes);
    let _ = Authenticate::decode(bytes);
    let _ = Pairs::decode(bytes);
    let who = Credentials::new(".\\ann", Zeroizing::default());
    let _ = Client::new().authenticate(bytes, &who, None, &salt());
    if let Ok(acceptor) = Acceptor::challenge(bytes, &names(), [7; 8], Some(1)) {
        let _ = acceptor.accept(bytes, Binding::Ignored, known);
    }
    let acceptor =
        Acceptor::challenge(Client::new().negotiate(), &names(), [7; 8], Some(1)).unwrap();
    let _ = acceptor.accept(bytes, Binding::Ignored, known);
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes: Vec<u8>) {
        take(&bytes);
    }

    /// Messages that were right until one byte, or their end, was not.
    #[test]
    fn nearly_right_messages_end_in_an_answer(which in 0usize..3, at: usize, value: u8, cut: usize) {
        let (first, second, third) = valid();
        let mut message = vec![first, second, third].swap_remove(which);
        let at = at % message.len();
        message[at] = value;
        take(&message);
        message.truncate(cut % (message.len() + 1));
        take(&message);
    }

    #[test]
    fn messages_survive(flags: u32, challenge: [u8; 8], target in "\\PC{0,20}", lm: Vec<u8>) {
        let info = Pairs::decode(&[0; 4]).unwrap();
        let flags = ntlm::Flags(flags | 0x0080_0001);
        let message = Challenge { flags, challenge, target, info };
        prop_assert_eq!(Challenge::decode(&message.encode().unwrap()).unwrap(), message);
        let message = Authenticate {
            flags: ntlm::Flags(0xe288_8235), lm, nt: vec![1], domain: "d".to_owned(), user: "u".to_owned(),
            workstation: String::new(), session_key: vec![2; 16], mic: [3; 16],
        };
        prop_assert_eq!(Authenticate::decode(&message.encode().unwrap()).unwrap(), message);
    }
}
