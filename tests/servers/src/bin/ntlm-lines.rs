//! One side of an exchange over standard input and output, a message a line in base64: for other implementations to be the
//! other side of (`tests/tests/hyperv/peer.py`).
//!
//! ```text
//! ntlm-lines client LOGIN PASSWORD     writes NEGOTIATE, reads CHALLENGE, writes AUTHENTICATE
//! ntlm-lines server LOGIN PASSWORD     reads NEGOTIATE, writes CHALLENGE, reads AUTHENTICATE, writes who it is
//! ```
//!
//! Then, until the input ends: reads a signature and a sealed message, writes it opened, seals it backwards, writes that.
//! Its random numbers are none: it is for tests.

use std::io::{self, BufRead as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ntlm::{Acceptor, Binding, Client, Credentials, Names, Salt, Session};
use zeroize::Zeroizing;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or_else(|| io::Error::other("client|server LOGIN PASSWORD"))
    };
    let (role, login, password) = (next()?, next()?, next()?);
    let session = match role.as_str() {
        "client" => client(&login, password)?,
        _ => match server(&login, &password)? {
            Some(session) => session,
            None => return Ok(()),
        },
    };
    messages(session)
}

fn client(login: &str, password: String) -> io::Result<Session> {
    let client = Client::new();
    write(client.negotiate())?;
    let challenge = read()?.ok_or_else(|| io::Error::other("no challenge"))?;
    let who = Credentials::new(login, Zeroizing::new(password));
    let salt = Salt {
        challenge: [1; 8],
        session_key: Zeroizing::new([2; 16]),
        time: Salt::time(std::time::Duration::from_secs(1_700_000_000)),
    };
    let (proof, session) = client
        .authenticate(&challenge, &who, None, &salt)
        .map_err(io::Error::other)?;
    write(&proof)?;
    Ok(session)
}

fn server(login: &str, password: &str) -> io::Result<Option<Session>> {
    let names = Names {
        computer: "HV1".to_owned(),
        domain: "CORP".to_owned(),
        dns_computer: "hv1.corp.example".to_owned(),
    };
    let negotiate = read()?.ok_or_else(|| io::Error::other("no first message"))?;
    let time = Salt::time(std::time::Duration::from_secs(1_700_000_000));
    let acceptor =
        Acceptor::challenge(&negotiate, &names, [3; 8], Some(time)).map_err(io::Error::other)?;
    write(acceptor.message())?;
    let proof = read()?.ok_or_else(|| io::Error::other("no proof"))?;
    let outcome = acceptor.accept(&proof, Binding::Ignored, |identity| {
        let known = format!("{}\\{}", identity.domain, identity.user).eq_ignore_ascii_case(login);
        known.then(|| Zeroizing::new(password.to_owned()))
    });
    match outcome {
        Ok((identity, session)) => {
            write(format!("{}\\{}", identity.domain, identity.user).as_bytes())?;
            Ok(Some(session))
        }
        Err(error) => {
            write(error.to_string().as_bytes())?;
            Ok(None)
        }
    }
}

fn messages(mut session: Session) -> io::Result<()> {
    while let Some(signature) = read()? {
        let signature: [u8; Session::SIGNATURE] = signature
            .try_into()
            .map_err(|_| io::Error::other("no signature"))?;
        let cipher = read()?.ok_or_else(|| io::Error::other("no message"))?;
        let mut plain = session
            .unseal(&signature, &cipher)
            .map_err(io::Error::other)?;
        write(&plain)?;
        plain.reverse();
        let sealed = session.seal(&plain).map_err(io::Error::other)?;
        write(&sealed.signature)?;
        write(&sealed.cipher)?;
    }
    Ok(())
}

fn read() -> io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    BASE64
        .decode(line.trim())
        .map(Some)
        .map_err(io::Error::other)
}

fn write(message: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", BASE64.encode(message))?;
    stdout.flush()
}
