//! Whom to trust, and what is said when nobody can be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use https::{Client, Connection, Endpoint, Error, Scheme, Trust};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConnection;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tempfile::TempDir;
use test_servers::faults::Faults;
use test_servers::http::{Reply, Request, Response, Server, Service, Session};
use test_servers::identity::Identity;

use crate::support::{Scripted, after, ample, endpoint, get, plain, post, read_request, silence};

struct Hello;

impl Service for Hello {
    fn connect(&self) -> Box<dyn Session + '_> {
        Box::new(Self)
    }
}

impl Session for Hello {
    fn answer(&mut self, request: &Request) -> Reply {
        let hello = match request.path.as_str() {
            "/echo" => request.body.clone(),
            path => format!("hello {path}").into_bytes(),
        };
        Response::new(200, "text/plain", hello).into()
    }
}

/// A server with this certificate, and what clients would trust for it in a file.
struct Site {
    server: Server,
    identity: Identity,
    files: TempDir,
}

impl Site {
    fn new(identity: Identity) -> Self {
        let server = Server::start(
            "127.0.0.1:0",
            Some(&identity),
            Faults::default(),
            Arc::new(Hello),
        )
        .unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("trusted.pem"), identity.trusted()).unwrap();
        Self {
            server,
            identity,
            files,
        }
    }

    fn endpoint(&self, trust: Trust) -> Endpoint {
        endpoint(Scheme::Https, self.server.address().port(), trust)
    }

    fn trusted(&self) -> Trust {
        Trust::Authorities(self.files.path().join("trusted.pem"))
    }
}

fn refusal(endpoint: &Endpoint) -> String {
    let error = Connection::open(endpoint, None, ample()).unwrap_err();
    assert!(!error.may_have_been_carried_out());
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_private_authority_is_trusted_for_the_names_it_signed() {
    let site = Site::new(Identity::signed(&["localhost", "127.0.0.1"]).unwrap());
    for host in ["127.0.0.1", "localhost"] {
        let mut endpoint = site.endpoint(site.trusted());
        endpoint.host = host.to_owned();
        let mut connection = Connection::open(&endpoint, None, ample()).unwrap();
        for _ in 0..3 {
            let response = connection.send(get("/x"), ample()).unwrap();
            assert_eq!(response.body, b"hello /x");
            assert!(connection.is_usable());
        }
        assert_eq!(
            connection.peer_certificate(),
            Some(site.identity.certificate())
        );
    }
    let other = Site::new(Identity::signed(&["rhevm.example", "10.1.2.3"]).unwrap());
    let said = refusal(&other.endpoint(other.trusted()));
    assert!(
        said.contains("not for `127.0.0.1` but for `rhevm.example`, `10.1.2.3`"),
        "{said}"
    );
    assert!(said.contains("ssl_ca"), "{said}");
}

#[test]
fn somebody_elses_authority_is_not() {
    let site = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let other = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let said = refusal(&site.endpoint(Trust::System));
    assert!(
        said.contains("leads to no authority") && said.contains("ssl_ca"),
        "{said}"
    );
    let port = site.server.address().port();
    assert!(
        said.contains(&format!("-connect 127.0.0.1:{port}")),
        "{said}"
    );
    // Both authorities have one name, as after a server was installed anew.
    let said = refusal(&site.endpoint(other.trusted()));
    assert!(
        said.contains("another authority of the same name"),
        "{said}"
    );
    // A certificate signed by itself is nobody's authority, not even for another of the same name.
    let own = Site::new(Identity::self_signed(&["127.0.0.1"]).unwrap());
    let twin = Site::new(Identity::self_signed(&["127.0.0.1"]).unwrap());
    assert!(refusal(&own.endpoint(twin.trusted())).contains("leads to no authority"));
}

#[test]
fn a_certificate_in_the_trust_file_is_trusted_whatever_name_it_has() {
    let site = Site::new(Identity::self_signed(&["esx.example"]).unwrap());
    let mut client = Client::new(site.endpoint(site.trusted()), None);
    assert_eq!(client.send(get("/"), ample()).unwrap().status, 200);
    assert_eq!(client.peer_certificate(), Some(site.identity.certificate()));
    // Many certificates in one file: each counts.
    let other = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let both = site.files.path().join("both.pem");
    let text = format!(
        "# ours\n{}\n{}",
        site.identity.trusted(),
        other.identity.trusted()
    );
    std::fs::write(&both, text).unwrap();
    for site in [&site, &other] {
        let trust = Trust::Authorities(both.clone());
        assert!(Connection::open(&site.endpoint(trust), None, ample()).is_ok());
    }
}

#[test]
fn anybody_is_anybody() {
    let site = Site::new(Identity::self_signed(&["elsewhere.example"]).unwrap());
    let mut client = Client::new(site.endpoint(Trust::Anybody), None);
    assert_eq!(client.send(get("/"), ample()).unwrap().status, 200);
}

#[test]
fn dates_are_judged_unless_the_very_certificate_is_trusted() {
    let dated = |from, until| {
        let (files, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from, until);
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let trusted = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let (chain, secret) = (files.path().join("chain"), files.path().join("key"));
        std::fs::write(&chain, leaf.pem()).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        std::fs::write(files.path().join("ca"), trusted).unwrap();
        let site = Site::new(Identity::from_files(&chain, &secret).unwrap());
        (site, Trust::Authorities(files.path().join("ca")), files)
    };
    let year = date_time_ymd;
    let (old, authority, _files) = dated(year(2001, 1, 1), year(2011, 1, 1));
    let said = refusal(&old.endpoint(authority));
    assert!(
        said.contains("expired") && said.contains("days ago"),
        "{said}"
    );
    assert!(Connection::open(&old.endpoint(old.trusted()), None, ample()).is_ok());
    let (young, authority, _files) = dated(year(2901, 1, 1), year(2911, 1, 1));
    let said = refusal(&young.endpoint(authority));
    assert!(said.contains("becomes valid in"), "{said}");
}

/// Told before anybody is contacted.
#[test]
fn a_trust_file_that_cannot_be_used() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let server = Scripted::new(|_, stream| silence(stream));
    for (file, words) in [
        (PathBuf::from("/nowhere/ca.pem"), "No such file"),
        (file("empty", ""), "no certificate in it"),
        (file("der", "0\u{82}\u{1}"), "no certificate in it"),
        (
            file(
                "damaged",
                "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
            ),
            "trust file",
        ),
        (files.path().to_owned(), "trust file"),
    ] {
        let said = refusal(&endpoint(
            Scheme::Https,
            server.port,
            Trust::Authorities(file),
        ));
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(server.connections(), 0);
}

/// Who speaks something else on this port is told apart from who cannot be trusted.
#[test]
fn a_port_that_is_not_for_tls() {
    for (greeting, words) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
            "plain HTTP on this port",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
            "it said `SSH-2.0-OpenSSH_9.2p1 Debian`",
        ),
        (b"", "closed the connection when TLS was offered"),
    ] {
        let server = Scripted::new(move |_, mut stream| {
            let mut some = [0; 2048];
            let _ = stream.read(&mut some);
            let _ = stream.write_all(greeting);
        });
        let said = refusal(&endpoint(Scheme::Https, server.port, Trust::Anybody));
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_port_that_is_only_for_tls() {
    let site = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let error = Client::new(plain(site.server.address().port()), None)
        .send(get("/"), ample())
        .unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(
        error.to_string().contains("encrypted connections only"),
        "{error}"
    );
    // The same in words of Apache's.
    let server = Scripted::new(|_, mut stream| {
        let page = "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />";
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n",
            page.len()
        );
        read_request(&mut stream);
        stream.write_all((head + page).as_bytes()).unwrap();
    });
    let error = Client::new(plain(server.port), None)
        .send(get("/"), ample())
        .unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
}

/// A certificate for this machine, in the form of a server's configuration, and in a file for clients.
fn own_certificate() -> (Arc<rustls::ServerConfig>, TempDir) {
    let files = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(files.path().join("trusted.pem"), leaf.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    (Arc::new(config), files)
}

/// A TLS server that agrees on everything and then does not read.
fn deaf() -> (Scripted, TempDir) {
    let (config, files) = own_certificate();
    let server = Scripted::new(move |_, mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
        thread::sleep(std::time::Duration::from_secs(4));
    });
    (server, files)
}

/// Session tickets come unasked, and reading them takes time: one who sends them without end is no server to wait for.
#[test]
fn a_flood_of_session_tickets_is_not_read_to_its_end() {
    let (config, files) = own_certificate();
    let mut config = Arc::unwrap_or_clone(config);
    config.send_tls13_tickets = 400;
    let config = Arc::new(config);
    let server = Scripted::new(move |_, mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        while (tls.is_handshaking() || tls.wants_write()) && tls.complete_io(&mut stream).is_ok() {}
        silence(stream);
    });
    let trust = Trust::Authorities(files.path().join("trusted.pem"));
    let endpoint = endpoint(Scheme::Https, server.port, trust);
    let mut connection = Connection::open(&endpoint, None, ample()).unwrap();
    // Until they have come.
    thread::sleep(std::time::Duration::from_millis(1500));
    let sent = connection.send(post("/", b"stop"), after(1000));
    let error = sent.unwrap_err();
    assert!(!error.may_have_been_carried_out(), "{error}");
}

/// A TLS server that answers once and ends the connection as it is told.
fn raw(answer: &'static [u8], notify: bool) -> (Scripted, TempDir) {
    let (config, files) = own_certificate();
    let server = Scripted::new(move |_, mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut both = rustls::Stream::new(&mut tls, &mut stream);
        if read_request(&mut both).is_none() {
            return;
        }
        both.write_all(answer).unwrap();
        both.flush().unwrap();
        if notify {
            tls.send_close_notify();
            tls.write_tls(&mut stream).unwrap();
        }
        thread::sleep(std::time::Duration::from_millis(50));
    });
    (server, files)
}

/// Somebody in between can end a TCP connection at any byte, but cannot say TLS's own word of the end.
#[test]
fn a_body_without_a_length_ends_by_tls_word_only() {
    let until_close = b"HTTP/1.0 200 OK\r\n\r\n<vms></vms>";
    let sized = b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\n<vms></vms>";
    for (answer, notify, whole) in [
        (&until_close[..], true, true),
        (until_close, false, false),
        (sized, true, true),
        (sized, false, true),
        (&sized[..45], true, false),
    ] {
        let (server, files) = raw(answer, notify);
        let trust = Trust::Authorities(files.path().join("trusted.pem"));
        let outcome =
            Client::new(endpoint(Scheme::Https, server.port, trust), None).send(get("/"), ample());
        match outcome {
            Ok(response) if whole => assert_eq!(response.body, b"<vms></vms>"),
            Err(error) if !whole => {
                assert!(matches!(error, Error::Closed { sent: true, .. }), "{error}");
            }
            other => panic!("{}: {other:?}", answer.escape_ascii()),
        }
    }
}

/// Passes bytes on one at a time, and loses the connection after `limit` of the server's.
fn splitting(to: u16, limit: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { continue };
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            client.set_nodelay(true).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut into));
            thread::spawn(move || {
                let mut byte = [0];
                for _ in 0..limit {
                    match server.read(&mut byte) {
                        Ok(1) if client.write_all(&byte).is_ok() => {}
                        _ => break,
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn tls_in_single_bytes_and_cut_at_many_places() {
    let site = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let through = |limit| {
        let port = splitting(site.server.address().port(), limit);
        Client::new(endpoint(Scheme::Https, port, site.trusted()), None).send(get("/"), ample())
    };
    assert_eq!(through(1 << 20).unwrap().body, b"hello /");
    let (mut before, mut after, mut whole) = (0, 0, 0);
    for limit in (0..1400).step_by(31) {
        match through(limit) {
            Err(Error::Tls { .. }) if after + whole == 0 => before += 1,
            Err(Error::Closed { sent: true, .. }) if whole == 0 => after += 1,
            Ok(response) => {
                assert_eq!(response.body, b"hello /");
                whole += 1;
            }
            other => panic!("{limit}: {other:?}"),
        }
    }
    assert!(
        before > 5 && after > 0 && whole > 0,
        "{before} {after} {whole}"
    );
}

/// More than TLS and the socket hold at one time, both ways; and to somebody who does not read.
#[test]
fn large_requests_over_tls() {
    let body = b"0123456789abcdef".repeat(1 << 18);
    let site = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let mut client = Client::new(site.endpoint(site.trusted()), None);
    for _ in 0..2 {
        let response = client.send(post("/echo", &body), ample()).unwrap();
        assert!(response.body == body);
    }
    assert_eq!(site.server.connections(), 1);
    for interrupted in [false, true] {
        let (server, files) = deaf();
        let trust = Trust::Authorities(files.path().join("trusted.pem"));
        let interrupt = interrupted.then(|| crate::support::interrupt_after(300));
        let mut client = Client::new(endpoint(Scheme::Https, server.port, trust), interrupt);
        let limit = if interrupted { ample() } else { after(300) };
        let begun = std::time::Instant::now();
        let error = client.send(post("/", &body.repeat(3)), limit).unwrap_err();
        assert!(begun.elapsed() < std::time::Duration::from_secs(3));
        assert!(error.may_have_been_carried_out());
        assert!(error.to_string().contains("sending the request"), "{error}");
    }
}

#[test]
fn hello_is_said_encrypted_over_a_connection_that_is_interrupted_and_goes_on() {
    let (interrupt, trigger) = crate::support::interrupt();
    let site = Site::new(Identity::signed(&["127.0.0.1"]).unwrap());
    let mut client = Client::new(site.endpoint(site.trusted()), Some(interrupt));
    assert_eq!(client.send(get("/"), ample()).unwrap().status, 200);
    drop(trigger);
    let error = client.send(get("/"), ample()).unwrap_err();
    assert!(
        matches!(error, Error::Interrupted { sent: false, .. }),
        "{error}"
    );
    client.ignore_interrupt();
    assert_eq!(client.send(get("/"), ample()).unwrap().status, 200);
}
