//! The server's side of the exchange: what clients are tested against.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::binding::ChannelBinding;
use crate::client::Proof;
use crate::error::Error;
use crate::flags::Flags;
use crate::keys::{From, hmac, owf, utf16};
use crate::message::{Authenticate, Challenge, Negotiate};
use crate::pairs::{Pair, Pairs};
use crate::rc4::Rc4;
use crate::session::Session;

/// What a server calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Its NetBIOS name.
    pub computer: String,
    /// The NetBIOS name of its domain; its own name when it has none.
    pub domain: String,
    /// Its DNS name.
    pub dns_computer: String,
}

/// Who has logged in, as the client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub user: String,
    /// Its domain.
    pub domain: String,
}

/// What a server asks of clients on TLS connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Nothing, or there is no TLS.
    Ignored,
    /// If a client says which connection it uses, it must be this one.
    Relaxed(ChannelBinding),
    /// A client must say which connection it uses, and it must be this one.
    Strict(ChannelBinding),
}

/// A server that has sent its challenge.
#[derive(Debug)]
pub struct Acceptor {
    negotiate: Vec<u8>,
    message: Vec<u8>,
    challenge: [u8; 8],
}

impl Acceptor {
    /// Takes the first message and answers it. `challenge` must be random; `time` is told to the client (100 ns since 1601), and
    /// makes it send an integrity code.
    ///
    /// # Errors
    /// When the message is malformed, or the client too weak.
    pub fn challenge(
        negotiate: &[u8],
        names: &Names,
        challenge: [u8; 8],
        time: Option<u64>,
    ) -> Result<Self, Error> {
        let asked = Negotiate::decode(negotiate)?.flags;
        asked.check()?;
        let flags = asked
            .and(Flags::OURS)
            .or(Flags::TARGET_INFO)
            .or(Flags::TARGET_TYPE_SERVER);
        let text = |id, text: &str| Pair {
            id,
            value: utf16(text).to_vec(),
        };
        let mut info = Pairs(vec![
            text(Pairs::DOMAIN, &names.domain),
            text(Pairs::COMPUTER, &names.computer),
            text(Pairs::DNS_COMPUTER, &names.dns_computer),
        ]);
        if let Some(time) = time {
            info.set(Pairs::TIMESTAMP, time.to_le_bytes().to_vec());
        }
        let message = Challenge {
            flags,
            challenge,
            target: names.computer.clone(),
            info,
        }
        .encode()?;
        Ok(Self {
            negotiate: negotiate.to_vec(),
            message,
            challenge,
        })
    }

    /// The second message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Takes the third message. `password` knows the passwords.
    ///
    /// # Errors
    /// When the account or the proof is wrong, the messages were changed, or the client is on another connection.
    pub fn accept(
        self,
        authenticate: &[u8],
        binding: Binding,
        password: impl FnOnce(&Identity) -> Option<Zeroizing<String>>,
    ) -> Result<(Identity, Session), Error> {
        let message = Authenticate::decode(authenticate)?;
        let identity = Identity {
            user: message.user,
            domain: message.domain,
        };
        let password = password(&identity).ok_or(Error::WrongProof)?;
        let owf = owf(&identity.user, &identity.domain, &password);
        let Some((proof, covered)) = message.nt.split_at_checked(Proof::LENGTH) else {
            return Err(Error::WrongProof);
        };
        let wanted = hmac(&owf, &[&self.challenge, covered]);
        if !bool::from(proof.ct_eq(&wanted)) {
            return Err(Error::WrongProof);
        }
        let base = Zeroizing::new(hmac(&owf, &[proof]));
        let mut key = base.clone();
        if message.flags.has(Flags::KEY_EXCHANGE) {
            let mut sent: [u8; 16] = message
                .session_key
                .as_slice()
                .try_into()
                .map_err(|_| Error::Tampered)?;
            Rc4::new(&base).apply(&mut sent);
            key = Zeroizing::new(sent);
        }
        let info = Pairs::decode(covered.get(28..).unwrap_or_default())?;
        if info.flags() & Pairs::HAS_MIC != 0 {
            let mut plain = authenticate.to_vec();
            plain
                .get_mut(Authenticate::MIC)
                .ok_or(Error::Tampered)?
                .fill(0);
            let mic = hmac(&key, &[&self.negotiate, &self.message, &plain]);
            if !bool::from(mic.ct_eq(&message.mic)) {
                return Err(Error::Tampered);
            }
        }
        bound(&info, binding)?;
        Ok((identity, Session::new(&key, message.flags, From::Server)))
    }
}

/// All zeros is how a client says that it does not say (MS-NLMP 3.1.5.1.2).
fn bound(info: &Pairs, binding: Binding) -> Result<(), Error> {
    let said = info.get(Pairs::BINDING).filter(|said| **said != [0; 16]);
    match (binding, said) {
        (Binding::Ignored, _) | (Binding::Relaxed(_), None) => Ok(()),
        (Binding::Strict(_), None) => Err(Error::NotBound),
        (Binding::Relaxed(wanted) | Binding::Strict(wanted), Some(said))
            if *said == wanted.bytes() =>
        {
            Ok(())
        }
        (Binding::Relaxed(_) | Binding::Strict(_), Some(_)) => Err(Error::NotBound),
    }
}
