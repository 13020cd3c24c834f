//! What ties an exchange to one TLS connection (RFC 5056, RFC 5929, MS-NLMP 2.2.2.1).

use crate::keys::md5;

/// The MD5 of the channel bindings, as target information carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelBinding(pub(crate) [u8; 16]);

impl ChannelBinding {
    /// The binding of type `tls-server-end-point`: `hash` is the server's certificate under the hash of its own signature, SHA-256
    /// in place of MD5 and SHA-1 (RFC 5929 section 4.1).
    #[must_use]
    pub fn tls_server_end_point(hash: &[u8]) -> Self {
        const TYPE: &[u8] = b"tls-server-end-point:";
        // gss_channel_bindings_struct (RFC 2744 3.11): no addresses, then the length of the data. A hash is 64 bytes at most.
        let length = u32::try_from(TYPE.len() + hash.len()).unwrap_or(u32::MAX);
        Self(md5(&[&[0; 16], &length.to_le_bytes(), TYPE, hash]))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}
