//! Messages after the exchange: signed, encrypted, numbered (MS-NLMP 3.4).

use subtle::ConstantTimeEq as _;

use crate::error::Error;
use crate::flags::Flags;
use crate::keys::{From, Key, hmac, sealing, signing};
use crate::rc4::Rc4;

/// An encrypted message and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// NTLMSSP_MESSAGE_SIGNATURE.
    pub signature: [u8; Session::SIGNATURE],
    /// The message, encrypted; as long as the plain one.
    pub cipher: Vec<u8>,
}

/// One direction.
struct Stream {
    signing: Key,
    sealing: Key,
    rc4: Rc4,
    next: Option<u32>,
}

impl Stream {
    fn new(session: &Key, from: From) -> Self {
        let sealing = sealing(session, from);
        Self {
            signing: signing(session, from),
            rc4: Rc4::new(&sealing),
            sealing,
            next: Some(0),
        }
    }

    /// The number of the message that comes now.
    fn number(&mut self) -> Result<u32, Error> {
        let number = self.next.ok_or(Error::Exhausted)?;
        self.next = number.checked_add(1);
        Ok(number)
    }

    /// The signature of a message. With a key of the client's own choice, its sum is encrypted after the message.
    fn sign(&mut self, number: u32, plain: &[u8], encrypted: bool) -> [u8; Session::SIGNATURE] {
        let mac = hmac(&self.signing, &[&number.to_le_bytes(), plain]);
        let mut signature = [0; Session::SIGNATURE];
        signature[..4].copy_from_slice(&1u32.to_le_bytes());
        signature[4..12].copy_from_slice(&mac[..8]);
        if encrypted {
            self.rc4.apply(&mut signature[4..12]);
        }
        signature[12..].copy_from_slice(&number.to_le_bytes());
        signature
    }
}

/// What both sides share once the client has proved itself. Messages count: they are opened in the order they were sealed.
pub struct Session {
    flags: Flags,
    outgoing: Stream,
    incoming: Stream,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Bytes of a signature.
    pub const SIGNATURE: usize = 16;

    pub(crate) fn new(key: &Key, flags: Flags, side: From) -> Self {
        let (from_us, to_us) = match side {
            From::Client => (From::Client, From::Server),
            From::Server => (From::Server, From::Client),
        };
        Self {
            flags,
            outgoing: Stream::new(key, from_us),
            incoming: Stream::new(key, to_us),
        }
    }

    fn encrypts_sums(&self) -> bool {
        self.flags.has(Flags::KEY_EXCHANGE)
    }

    /// Encrypts and signs the next message to the other side.
    ///
    /// # Errors
    /// When there are no numbers left.
    pub fn seal(&mut self, plain: &[u8]) -> Result<Sealed, Error> {
        let encrypted = self.encrypts_sums();
        let number = self.outgoing.number()?;
        let mut cipher = plain.to_vec();
        self.outgoing.rc4.apply(&mut cipher);
        let signature = self.outgoing.sign(number, plain, encrypted);
        Ok(Sealed { signature, cipher })
    }

    /// Opens the next message of the other side.
    ///
    /// # Errors
    /// When it is not the next one, or was changed. The session is of no use then.
    pub fn unseal(
        &mut self,
        signature: &[u8; Self::SIGNATURE],
        cipher: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let encrypted = self.encrypts_sums();
        let number = self.incoming.number()?;
        let mut plain = cipher.to_vec();
        self.incoming.rc4.apply(&mut plain);
        let wanted = self.incoming.sign(number, &plain, encrypted);
        same(signature, &wanted).map(|()| plain)
    }

    /// Signs the next message to the other side without encrypting it.
    ///
    /// # Errors
    /// When there are no numbers left.
    pub fn sign(&mut self, plain: &[u8]) -> Result<[u8; Self::SIGNATURE], Error> {
        let encrypted = self.encrypts_sums();
        let number = self.outgoing.number()?;
        Ok(self.outgoing.sign(number, plain, encrypted))
    }

    /// Checks the signature of the other side's next message, which is not encrypted.
    ///
    /// # Errors
    /// When it is not the next one, or was changed.
    pub fn verify(&mut self, signature: &[u8; Self::SIGNATURE], plain: &[u8]) -> Result<(), Error> {
        let encrypted = self.encrypts_sums();
        let number = self.incoming.number()?;
        let wanted = self.incoming.sign(number, plain, encrypted);
        same(signature, &wanted)
    }

    /// Begins both key streams anew, as SPNEGO asks for after its own signatures (MS-SPNG 3.3.5.1). Numbers go on.
    pub fn restart_streams(&mut self) {
        for stream in [&mut self.outgoing, &mut self.incoming] {
            stream.rc4 = Rc4::new(&stream.sealing);
        }
    }
}

fn same(
    signature: &[u8; Session::SIGNATURE],
    wanted: &[u8; Session::SIGNATURE],
) -> Result<(), Error> {
    if signature[12..] != wanted[12..] {
        return Err(Error::NotAuthentic {
            detail: "it is not the next of its session",
        });
    }
    if !bool::from(signature.ct_eq(wanted)) {
        return Err(Error::NotAuthentic {
            detail: "its signature is wrong",
        });
    }
    Ok(())
}
