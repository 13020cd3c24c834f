//! TLS by rustls: trust stores, verification, the peer's certificate.
