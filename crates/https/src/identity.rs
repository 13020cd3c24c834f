//! Who the client is, for servers that take its certificate as a login.

use std::path::PathBuf;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A client's certificate and its key, both PEM. They are read for each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key; may be the same file.
    pub key: PathBuf,
}

impl Identity {
    /// What rustls wants.
    pub(crate) fn load(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain = CertificateDer::pem_file_iter(&self.certificate);
        let chain = chain.and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| {
            format!(
                "client certificate `{}`: {error}",
                self.certificate.display()
            )
        })?;
        if chain.is_empty() {
            return Err(format!(
                "client certificate `{}`: no certificate in it",
                self.certificate.display()
            ));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| format!("client key `{}`: {error}", self.key.display()))?;
        Ok((chain, key))
    }
}
