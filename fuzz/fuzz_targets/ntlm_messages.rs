//! What either side of NTLM is sent.
#![no_main]
use ntlm::{
    Acceptor, Authenticate, Binding, Challenge, Client, Credentials, Names, Negotiate, Pairs, Salt,
};
use zeroize::Zeroizing;

fn names() -> Names {
    Names {
        computer: "HV1".to_owned(),
        domain: "CORP".to_owned(),
        dns_computer: "hv1.corp.example".to_owned(),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Negotiate::decode(bytes);
    let _ = Pairs::decode(bytes);
    let _ = Authenticate::decode(bytes);
    if let Ok(challenge) = Challenge::decode(bytes) {
        // What was read can be written.
        let again = challenge.encode().map(|bytes| Challenge::decode(&bytes));
        if let Ok(Ok(again)) = again {
            assert_eq!(again.info, challenge.info);
        }
    }
    let who = Credentials::new(".\\ann", Zeroizing::new("secret".to_owned()));
    let salt = Salt {
        challenge: [1; 8],
        session_key: Zeroizing::new([2; 16]),
        time: 3,
    };
    if let Ok((_, mut session)) = Client::new().authenticate(bytes, &who, None, &salt) {
        let mut signature = [0; 16];
        signature
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        let _ = session.unseal(&signature, bytes);
    }
    let client = Client::new();
    if let Ok(acceptor) = Acceptor::challenge(client.negotiate(), &names(), [4; 8], Some(5)) {
        let accepted = acceptor.accept(bytes, Binding::Ignored, |_| {
            Some(Zeroizing::new("secret".to_owned()))
        });
        assert!(accepted.is_err(), "nobody proves a password by chance");
    }
});
