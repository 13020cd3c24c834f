//! The client's side of the exchange.

use zeroize::Zeroizing;

use crate::binding::ChannelBinding;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::flags::Flags;
use crate::keys::{From, Key, hmac};
use crate::message::{Authenticate, Challenge, Negotiate};
use crate::pairs::Pairs;
use crate::rc4::Rc4;
use crate::session::Session;

/// What an exchange needs from outside. Random bytes must be fresh for each.
#[derive(Clone)]
pub struct Salt {
    /// Random.
    pub challenge: [u8; 8],
    /// Random: the session's key, if the client is to choose it.
    pub session_key: Zeroizing<[u8; 16]>,
    /// The time, in 100 ns since 1601; used only if the server does not tell its own.
    pub time: u64,
}

impl Salt {
    /// 1970 in 100 ns since 1601.
    const EPOCH: u64 = 116_444_736_000_000_000;

    /// The time to put into [`Salt::time`], from the time since 1970.
    #[must_use]
    pub fn time(since_1970: std::time::Duration) -> u64 {
        let ticks = u64::try_from(since_1970.as_nanos() / 100).unwrap_or(u64::MAX);
        ticks.saturating_add(Self::EPOCH)
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// A client that has said what it can do.
#[derive(Debug, Clone)]
pub struct Client {
    negotiate: Vec<u8>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Begins.
    #[must_use]
    pub fn new() -> Self {
        Self {
            negotiate: Negotiate { flags: Flags::OURS }.encode(),
        }
    }

    /// The first message.
    #[must_use]
    pub fn negotiate(&self) -> &[u8] {
        &self.negotiate
    }

    /// Answers the server's challenge: the third message, and the session that both sides have if the server accepts it.
    ///
    /// # Errors
    /// When the challenge is malformed or weak.
    pub fn authenticate(
        self,
        challenge: &[u8],
        who: &Credentials,
        binding: Option<ChannelBinding>,
        salt: &Salt,
    ) -> Result<(Vec<u8>, Session), Error> {
        let asked = Challenge::decode(challenge)?;
        let flags = asked.flags.and(Flags::OURS);
        flags.check()?;
        let domain = who.domain(&asked.info);
        let owf = who.owf(&domain);
        let mut info = asked.info;
        let told = info.timestamp();
        if told.is_some() {
            let flags = info.flags() | Pairs::HAS_MIC;
            info.set(Pairs::FLAGS, flags.to_le_bytes().to_vec());
        }
        if let Some(binding) = binding {
            info.set(Pairs::BINDING, binding.bytes().to_vec());
        }
        let proof = Proof::new(
            &owf,
            asked.challenge,
            told.unwrap_or(salt.time),
            salt.challenge,
            &info,
        )?;
        // Where the server tells its time, an integrity code takes the place of the LAN Manager response.
        let lm = match told {
            Some(_) => vec![0; 24],
            None => lm(&owf, asked.challenge, salt.challenge),
        };
        let (key, session_key) = if flags.has(Flags::KEY_EXCHANGE) {
            let mut encrypted = salt.session_key.to_vec();
            Rc4::new(&proof.key).apply(&mut encrypted);
            (salt.session_key.clone(), encrypted)
        } else {
            (proof.key.clone(), Vec::new())
        };
        let message = Authenticate {
            flags,
            lm,
            nt: proof.response,
            domain,
            user: who.user().to_owned(),
            workstation: String::new(),
            session_key,
            mic: [0; 16],
        };
        let mut message = message.encode()?;
        if told.is_some() {
            let mic = hmac(&key, &[&self.negotiate, challenge, &message]);
            if let Some(place) = message.get_mut(Authenticate::MIC) {
                place.copy_from_slice(&mic);
            }
        }
        Ok((message, Session::new(&key, flags, From::Client)))
    }
}

/// The NTLMv2 response (MS-NLMP 3.3.2) and the key that comes out of it.
pub(crate) struct Proof {
    pub(crate) response: Vec<u8>,
    pub(crate) key: Key,
}

impl Proof {
    /// Length of the proof itself; what it covers follows.
    pub(crate) const LENGTH: usize = 16;

    pub(crate) fn new(
        owf: &Key,
        server: [u8; 8],
        time: u64,
        client: [u8; 8],
        info: &Pairs,
    ) -> Result<Self, Error> {
        let mut covered = vec![1, 1, 0, 0, 0, 0, 0, 0];
        covered.extend(time.to_le_bytes());
        covered.extend(client);
        covered.extend([0; 4]);
        covered.extend(info.encode()?);
        covered.extend([0; 4]);
        let proof = hmac(owf, &[&server, &covered]);
        let key = Zeroizing::new(hmac(owf, &[&proof]));
        Ok(Self {
            response: [proof.as_slice(), &covered].concat(),
            key,
        })
    }
}

/// The LMv2 response.
fn lm(owf: &Key, server: [u8; 8], client: [u8; 8]) -> Vec<u8> {
    let proof = hmac(owf, &[&server, &client]);
    [proof.as_slice(), &client].concat()
}

#[cfg(test)]
mod tests;
