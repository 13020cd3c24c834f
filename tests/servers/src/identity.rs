//! Certificates of test servers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// A server's certificate, its key, and the certificate that clients trust for it.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    trusted: String,
    /// Whose certificates clients must show; none: they show none.
    clients: Option<Arc<RootCertStore>>,
}

impl Identity {
    /// A leaf for these names and addresses, signed by an authority made for it alone.
    ///
    /// # Errors
    /// When a name cannot be in a certificate.
    pub fn signed(names: &[&str]) -> io::Result<Self> {
        let authority_key = KeyPair::generate().map_err(failed)?;
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "Authority of a test server");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let trusted = authority.self_signed(&authority_key).map_err(failed)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().map_err(failed)?;
        let leaf = leaf(names)?.signed_by(&key, &issuer).map_err(failed)?;
        Self::new(vec![leaf.der().clone()], &key.serialize_pem(), trusted)
    }

    /// A leaf for these names and addresses that nobody else signed.
    ///
    /// # Errors
    /// As [`Identity::signed`].
    pub fn self_signed(names: &[&str]) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(failed)?;
        let leaf = leaf(names)?.self_signed(&key).map_err(failed)?;
        Self::new(vec![leaf.der().clone()], &key.serialize_pem(), leaf.pem())
    }

    /// From PEM files: the chain, leaf first, and the leaf's key.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn from_files(certificate: &Path, key: &Path) -> io::Result<Self> {
        let pem = std::fs::read_to_string(certificate)?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
        let chain = chain.collect::<Result<_, _>>().map_err(failed)?;
        Self::new(chain, &std::fs::read_to_string(key)?, pem)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: &str, trusted: String) -> io::Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(failed)?;
        Ok(Self {
            chain,
            key,
            trusted,
            clients: None,
        })
    }

    /// The same, with clients that must show a certificate of one of these authorities (PEM).
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn demand(mut self, authorities: &str) -> io::Result<Self> {
        let mut store = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            store.add(authority.map_err(failed)?).map_err(failed)?;
        }
        self.clients = Some(Arc::new(store));
        Ok(self)
    }

    /// Whether clients must show a certificate.
    #[must_use]
    pub const fn demands(&self) -> bool {
        self.clients.is_some()
    }

    /// What clients have to trust, as PEM: the authority, or the leaf where there is none.
    #[must_use]
    pub fn trusted(&self) -> &str {
        &self.trusted
    }

    /// The server's own certificate, DER: what channel binding hashes.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map(AsRef::as_ref).unwrap_or_default()
    }

    pub(crate) fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let config = match &self.clients {
            None => config.with_no_client_auth(),
            Some(authorities) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), provider);
                config.with_client_cert_verifier(verifier.build().map_err(failed)?)
            }
        };
        let config = config
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(failed)?;
        Ok(Arc::new(config))
    }
}

fn leaf(names: &[&str]) -> io::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut leaf = CertificateParams::new(names).map_err(failed)?;
    leaf.distinguished_name
        .push(DnType::CommonName, "Test server");
    leaf.extended_key_usages
        .push(ExtendedKeyUsagePurpose::ServerAuth);
    Ok(leaf)
}

fn failed(error: impl ToString) -> io::Error {
    io::Error::other(error.to_string())
}
