//! TLS by rustls: which certificates are taken, and what to tell people about those that are not.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    PeerIncompatible, RootCertStore, SignatureScheme,
};

use crate::text::quoted;
use crate::{Endpoint, Error, Trust};

/// The largest trust file: far more than a system's whole store.
const FILE_LIMIT: u64 = 8 << 20;

/// A TLS client that has not said anything yet.
pub(crate) fn client(endpoint: &Endpoint) -> Result<ClientConnection, Error> {
    let failed = |detail: String| Error::Tls {
        peer: endpoint.peer(),
        detail,
    };
    // The zone of a link-local address is no part of the name.
    let host = endpoint.host.split('%').next().unwrap_or_default();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        failed(format!(
            "{} is neither a host name nor an address",
            quoted(host.as_bytes())
        ))
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        accepted: Accepted::new(&endpoint.trust, &provider).map_err(failed)?,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // One connection, one handshake: there is nothing to resume.
    config.resumption = rustls::client::Resumption::disabled();
    ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Accepted {
    /// Those that lead to the system's store. It is read when a certificate is there to be judged: it takes longer than all the
    /// rest of an agent's start.
    System(OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>),
    /// These very certificates, and those that lead to one of them.
    Given {
        exactly: Vec<CertificateDer<'static>>,
        leading_to: Option<Arc<WebPkiServerVerifier>>,
    },
    Any,
}

impl Accepted {
    fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let file = match trust {
            Trust::System => return Ok(Self::System(OnceLock::new())),
            Trust::Anybody => return Ok(Self::Any),
            Trust::Authorities(file) => file,
        };
        let exactly = read(file)?;
        let mut roots = RootCertStore::empty();
        // Any other is a server's own, whose key must not vouch for further servers.
        let authorities = exactly
            .iter()
            .filter(|certificate| is_authority(certificate));
        for certificate in authorities {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("trust file `{}`: {error}", file.display()))?;
        }
        let leading_to = if roots.is_empty() {
            None
        } else {
            Some(verifier(roots, provider).map_err(|error| error.to_string())?)
        };
        Ok(Self::Given {
            exactly,
            leading_to,
        })
    }
}

/// Whether a certificate says that its key signs others: the extension basicConstraints with cA TRUE (RFC 5280 section 4.2.1.9).
/// Only files that somebody trusts are judged by it, so it need not stand up to forgers.
fn is_authority(certificate: &[u8]) -> bool {
    const OID: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x13];
    const CRITICAL: &[u8] = &[0x01, 1, 0xff];
    let places = certificate.windows(OID.len()).enumerate();
    let mut places = places.filter(|(_, window)| *window == OID);
    places.any(|(at, _)| {
        let rest = &certificate[at + OID.len()..];
        let rest = rest.strip_prefix(CRITICAL).unwrap_or(rest);
        matches!(rest, [0x04, _, 0x30, _, 0x01, 1, 0xff, ..])
    })
}

/// The certificates of a trust file.
fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |what: &dyn std::fmt::Display| format!("trust file `{}`: {what}", file.display());
    let size = std::fs::metadata(file)
        .map_err(|error| failed(&error))?
        .len();
    if size > FILE_LIMIT {
        return Err(failed(&format_args!("larger than {FILE_LIMIT} bytes")));
    }
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| failed(&error))?;
    if certificates.is_empty() {
        return Err(failed(
            &"no certificate in it: PEM is needed, which begins with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(certificates)
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})"));
        return Err(rustls::Error::General(format!(
            "this system's store of certificates is empty or cannot be read{}: install ca-certificates, or name a \
             trust file (ssl_ca)",
            why.unwrap_or_default()
        )));
    }
    verifier(roots, provider)
}

/// Judges certificates by [`Accepted`].
#[derive(Debug)]
struct Verifier {
    accepted: Accepted,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judge = match &self.accepted {
            Accepted::Any => return Ok(ServerCertVerified::assertion()),
            // Somebody vouched for exactly this one: whatever it says of names and dates.
            Accepted::Given { exactly, .. } if exactly.contains(end_entity) => {
                return Ok(ServerCertVerified::assertion());
            }
            Accepted::Given { leading_to, .. } => {
                leading_to.as_ref().ok_or(CertificateError::UnknownIssuer)?
            }
            Accepted::System(store) => store
                .get_or_init(|| system(&self.provider))
                .as_ref()
                .map_err(Clone::clone)?,
        };
        judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// What a failure of TLS means, and what would help. `first` is what the server said first.
pub(crate) fn explain(error: &rustls::Error, endpoint: &Endpoint, first: &[u8]) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(error) => certificate(error, endpoint),
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | E::AlertReceived(AlertDescription::ProtocolVersion) => {
            "it speaks TLS 1.0 or 1.1 only, which anybody in between can break: switch TLS 1.2 on there".to_owned()
        }
        E::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
        | E::PeerIncompatible(_) => format!(
            "both have no way of encrypting in common ({error}): it needs TLS 1.2 with ECDHE and AES-GCM or ChaCha20, or \
             TLS 1.3"
        ),
        E::AlertReceived(AlertDescription::CertificateRequired) => {
            "it demands a client certificate, which is not supported".to_owned()
        }
        E::AlertReceived(AlertDescription::UnrecognisedName) => format!(
            "it does not know itself by the name `{}`: use the name that its certificate has",
            endpoint.host
        ),
        E::InvalidMessage(_) if first.starts_with(b"HTTP/") => {
            "it speaks plain HTTP on this port: use the port for TLS, or leave TLS (ssl) off".to_owned()
        }
        E::InvalidMessage(_) if !matches!(first, [0x14..=0x17, 3, ..]) => {
            format!("it does not speak TLS on this port, it said {}", quoted(first))
        }
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError, endpoint: &Endpoint) -> String {
    const DAY: u64 = 86_400;
    let days = |from: &UnixTime, to: &UnixTime| to.as_secs().saturating_sub(from.as_secs()) / DAY;
    let host = &endpoint.host;
    match error {
        CertificateError::UnknownIssuer => format!(
            "its certificate leads to no authority that is trusted here: put the authority's certificate, or the server's own, \
             into a PEM file and name that as trust file (ssl_ca); \
             `openssl s_client -connect {} -showcerts </dev/null` shows both",
            endpoint.peer()
        ),
        CertificateError::BadSignature => "its certificate is signed by another authority of the same name as the trusted one: was the server \
             installed anew? Put its authority's certificate of today into the trust file (ssl_ca)"
            .to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is not for `{host}` but for {}: use a name that it has, or put exactly this certificate into \
             the trust file (ssl_ca)",
            names(presented)
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate, or that of its authority, expired {} days ago: renew it, or set this machine's clock",
            days(not_after, time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate, or that of its authority, becomes valid in {} days: set this machine's clock",
            days(time, not_before)
        ),
        // webpki's word for a certificate that may sign others, and signed itself: what `openssl req -x509` makes.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate signed itself: put exactly this certificate into the trust file (ssl_ca)".to_owned()
        }
        other => format!(
            "its certificate is not accepted ({other}): renew it, or put exactly this certificate into the trust file (ssl_ca)"
        ),
    }
}

/// The names of a certificate, as rustls lists them: `DnsName("a.example")`, `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 8;
    if presented.is_empty() {
        return "no name at all (it has no subjectAltName)".to_owned();
    }
    let bare = |name: &String| {
        let inner = name
            .split_once('(')
            .map_or(&**name, |(_, rest)| rest.trim_end_matches(')'));
        quoted(inner.trim_matches('"').as_bytes())
    };
    let mut shown: Vec<String> = presented.iter().take(SHOWN).map(bare).collect();
    if presented.len() > SHOWN {
        shown.push(format!("{} more", presented.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_bare_and_bounded() {
        let some = [
            "DnsName(\"a.example\")".to_owned(),
            "IpAddress(10.0.0.1)".to_owned(),
        ];
        assert_eq!(names(&some), "`a.example`, `10.0.0.1`");
        assert!(names(&[]).contains("no name"));
        let many: Vec<String> = (0..20).map(|at| format!("DnsName(\"h{at}\")")).collect();
        assert!(names(&many).ends_with("`h7`, 12 more"));
    }
}
