//! Against servers that nobody here wrote: `openssl s_server` and Python's `http.server`.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use https::{Client, Connection, Error, Scheme, Trust};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::support::{ample, endpoint, get, plain, post};

/// A program that serves, and is ended with the value.
struct Program {
    child: Child,
    port: u16,
    files: TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts what `command` makes of a folder with a certificate (`leaf.pem`, `key.pem`, RSA if `rsa`) and of a port.
    fn start(rsa: bool, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let files = tempfile::tempdir().unwrap();
        certificate(files.path(), rsa);
        std::fs::write(files.path().join("page.txt"), "a page").unwrap();
        std::fs::write(files.path().join("large.bin"), vec![7; 3 << 20]).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut command = command(files.path(), port);
        command.current_dir(files.path()).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("openssl and python3 are Debian packages that scripts/setup installs");
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{command:?} does not listen"
            );
            thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, files }
    }

    fn openssl(rsa: bool, args: &[&str]) -> Self {
        Self::start(rsa, |_, port| {
            let mut command = Command::new("openssl");
            command.args(["s_server", "-cert", "leaf.pem", "-key", "key.pem", "-quiet"]);
            command
                .args(["-accept", &format!("127.0.0.1:{port}")])
                .args(args);
            command
        })
    }

    fn trust(&self) -> Trust {
        Trust::Authorities(self.file("leaf.pem"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn refusal(&self) -> String {
        let endpoint = endpoint(Scheme::Https, self.port, self.trust());
        let error = Connection::open(&endpoint, None, ample()).unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
        error.to_string()
    }
}

/// Made by openssl where rcgen makes none (RSA keys).
fn certificate(folder: &Path, rsa: bool) {
    if rsa {
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=old host",
            ])
            .args(["-keyout", "key.pem", "-out", "leaf.pem"])
            .current_dir(folder)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        return;
    }
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(folder.join("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn openssl_with_every_version_and_kind_of_key() {
    for rsa in [false, true] {
        for version in ["-tls1_2", "-tls1_3"] {
            let server = Program::openssl(rsa, &["-WWW", version]);
            let mut client =
                Client::new(endpoint(Scheme::Https, server.port, server.trust()), None);
            for _ in 0..2 {
                // It says HTTP/1.0 and ends the connection, with a word of TLS's.
                let response = client.send(get("/page.txt"), ample()).unwrap();
                assert_eq!((response.status, &*response.body), (200, &b"a page"[..]));
                let response = client.send(get("/large.bin"), ample()).unwrap();
                assert!(response.body == vec![7; 3 << 20], "{}", response.body.len());
            }
        }
    }
}

#[test]
fn openssl_shows_the_certificate_that_is_told() {
    let server = Program::openssl(true, &["-www"]);
    let endpoint = endpoint(Scheme::Https, server.port, server.trust());
    let mut connection = Connection::open(&endpoint, None, ample()).unwrap();
    let der = Command::new("openssl")
        .args(["x509", "-in", "leaf.pem", "-outform", "DER"])
        .current_dir(server.files.path())
        .output()
        .unwrap();
    assert_eq!(connection.peer_certificate(), Some(&*der.stdout));
    let response = connection.send(get("/"), ample()).unwrap();
    assert!(String::from_utf8_lossy(&response.body).contains("s_server"));
}

/// `openssl req -x509` makes certificates that sign themselves and may sign others.
#[test]
fn a_certificate_that_signed_itself_needs_to_be_trusted_exactly() {
    let server = Program::openssl(true, &["-www"]);
    let endpoint = endpoint(Scheme::Https, server.port, Trust::System);
    let said = Connection::open(&endpoint, None, ample())
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("signed itself") && said.contains("ssl_ca"),
        "{said}"
    );
}

/// What Windows Server 2008 and old engines speak.
#[test]
fn a_server_with_old_tls_only() {
    for version in ["-tls1", "-tls1_1"] {
        let server = Program::openssl(true, &["-www", version, "-cipher", "DEFAULT:@SECLEVEL=0"]);
        let said = server.refusal();
        assert!(said.contains("TLS 1.0 or 1.1 only"), "{said}");
    }
}

#[test]
fn a_server_with_old_ciphers_only() {
    let server = Program::openssl(true, &["-www", "-tls1_2", "-cipher", "AES128-SHA"]);
    let said = server.refusal();
    assert!(
        said.contains("no way of encrypting in common") && said.contains("ECDHE"),
        "{said}"
    );
}

#[test]
fn a_server_that_demands_a_client_certificate() {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Program::openssl(
            false,
            &["-www", version, "-Verify", "1", "-verify_return_error"],
        );
        let mut client = Client::new(endpoint(Scheme::Https, server.port, server.trust()), None);
        let error = client.send(get("/"), ample()).unwrap_err();
        let said = error.to_string().to_lowercase();
        // With TLS 1.3 it says so after the request went out, and its reset may overtake that.
        let overtaken = version == "-tls1_3" && matches!(error, Error::Closed { sent: true, .. });
        assert!(
            overtaken || said.contains("certificate") || said.contains("handshake"),
            "{said}"
        );
    }
}

#[test]
fn python() {
    let server = Program::start(false, |_, port| {
        let mut command = Command::new("python3");
        command.args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--protocol",
            "HTTP/1.1",
        ]);
        command.arg(port.to_string());
        command
    });
    let mut client = Client::new(plain(server.port), None);
    for _ in 0..3 {
        let response = client.send(get("/page.txt"), ample()).unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"a page"[..]));
        assert_eq!(client.send(get("/nothing"), ample()).unwrap().status, 404);
    }
    let response = client.send(get("/large.bin"), ample()).unwrap();
    assert_eq!(response.body.len(), 3 << 20);
    // It does not know POST, and does not read the body.
    let refused = client.send(post("/page.txt", b"x"), ample());
    assert_eq!(refused.unwrap().status, 501);
}

/// Python with TLS, chunks and an interim response: another HTTP implementation's idea of all three.
#[test]
fn python_with_tls_and_chunks() {
    const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response_only(102)
        self.end_headers()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 1000):
            piece = body[at:at + 1000]
            self.wfile.write(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\nX-Trailer: y\r\n\r\n")
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("leaf.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;
    let server = Program::start(false, |folder, port| {
        let script = folder.join("server.py");
        std::fs::File::create(&script)
            .unwrap()
            .write_all(SERVER.as_bytes())
            .unwrap();
        let mut command = Command::new("python3");
        command.arg(script).arg(port.to_string());
        command
    });
    let endpoint = endpoint(Scheme::Https, server.port, server.trust());
    let mut connection = Connection::open(&endpoint, None, ample()).unwrap();
    for size in [0, 1, 999, 100_000] {
        let body = vec![b'q'; size];
        let response = connection.send(post("/", &body), ample()).unwrap();
        assert!(response.body == body, "{size}");
        assert!(connection.is_usable());
    }
}
