//! The server side: by our own client, and by curl.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadline::Deadline;
use https::{Client, Endpoint, Error, Method, Scheme, Trust};
use test_servers::faults::{Entry, Faults};
use test_servers::http::{Reply, Request, Response, Server, Service, Session};
use test_servers::identity::Identity;

/// Counts what it carries out; every connection knows how many requests it had.
#[derive(Default)]
struct Machine {
    stops: AtomicUsize,
    bodies: Mutex<Vec<Vec<u8>>>,
}

struct Visit<'a> {
    machine: &'a Machine,
    requests: usize,
}

impl Service for Machine {
    fn connect(&self) -> Box<dyn Session + '_> {
        Box::new(Visit {
            machine: self,
            requests: 0,
        })
    }

    fn operation(&self, request: &Request) -> String {
        request.header("soapaction").unwrap_or_default().to_owned()
    }
}

impl Session for Visit<'_> {
    fn answer(&mut self, request: &Request) -> Reply {
        self.requests += 1;
        if let Some(fault) = &request.fault {
            return Response::new(409, "text/plain", fault.clone()).into();
        }
        if request.path == "/stop" {
            self.machine.stops.fetch_add(1, Ordering::SeqCst);
        }
        self.machine
            .bodies
            .lock()
            .unwrap()
            .push(request.body.clone());
        Response::new(200, "text/plain", format!("request {}", self.requests)).into()
    }
}

fn start(identity: Option<&Identity>) -> (Server, Arc<Machine>) {
    let machine = Arc::new(Machine::default());
    let server =
        Server::start("127.0.0.1:0", identity, Faults::default(), machine.clone()).unwrap();
    (server, machine)
}

fn client(server: &Server) -> Client {
    let endpoint = Endpoint {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port: server.address().port(),
        trust: Trust::System,
    };
    Client::new(endpoint, None)
}

fn send(
    client: &mut Client,
    method: Method,
    target: &str,
    body: &str,
) -> Result<https::Response, Error> {
    let request = https::Request {
        method,
        target,
        headers: &[
            ("SOAPAction", "Stop"),
            ("Authorization", "Basic c2VjcmV0"),
            ("Cookie", "s=secret; t=u"),
        ],
        body: body.as_bytes(),
    };
    client.send(request, Deadline::after(Duration::from_secs(2)))
}

fn told(answer: &https::Response) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[test]
fn state_belongs_to_the_connection() {
    let (server, _) = start(None);
    let (mut one, mut other) = (client(&server), client(&server));
    for (client, wanted) in [(&mut one, "request 1"), (&mut other, "request 1")] {
        assert_eq!(told(&send(client, Method::Get, "/", "").unwrap()), wanted);
    }
    assert_eq!(
        told(&send(&mut one, Method::Get, "/", "").unwrap()),
        "request 2"
    );
    assert_eq!(server.connections(), 2);
    server.disconnect();
    assert_eq!(
        told(&send(&mut one, Method::Get, "/", "").unwrap()),
        "request 1"
    );
}

/// Set over HTTP, each fault looks as it should, and says truly whether the request was carried out.
#[test]
fn faults_are_what_they_say() {
    let (server, machine) = start(None);
    let mut control = client(&server);
    for (what, carried_out) in [
        ("do=status:503", 0),
        ("do=status:503 when=after", 1),
        ("do=body:%3Chtml%3E", 0),
        ("do=is:task-error", 0),
        ("do=raw:nonsense", 0),
        ("do=close", 0),
        ("do=close when=after", 1),
        ("do=reset when=after", 1),
        ("do=hang", 0),
        ("do=truncate:3", 1),
        ("do=delay:100", 1),
        ("do=trickle:1", 1),
    ] {
        machine.stops.store(0, Ordering::SeqCst);
        let line = format!("method=POST path=/stop {what}");
        assert_eq!(
            send(&mut control, Method::Put, "/-/faults", &line)
                .unwrap()
                .status,
            204
        );
        let mut client = client(&server);
        let begun = Instant::now();
        let outcome = send(&mut client, Method::Post, "/stop", "");
        let kind = what.split([' ', ':']).next().unwrap();
        match (kind, outcome) {
            ("do=status", Ok(answer)) => assert_eq!(answer.status, 503),
            ("do=body", Ok(answer)) => assert_eq!(told(&answer), "<html>"),
            ("do=is", Ok(answer)) => {
                assert_eq!((answer.status, &*told(&answer)), (409, "task-error"));
            }
            ("do=raw", Err(Error::Malformed { .. })) => {}
            ("do=close" | "do=reset" | "do=truncate", Err(Error::Closed { sent: true, .. })) => {}
            ("do=hang", Err(Error::DeadlinePassed { sent: true, .. })) => {}
            ("do=delay", Ok(_)) => assert!(begun.elapsed() >= Duration::from_millis(100)),
            ("do=trickle", Ok(answer)) => assert_eq!(told(&answer), "request 1"),
            (_, other) => panic!("{what}: {other:?}"),
        }
        assert_eq!(machine.stops.load(Ordering::SeqCst), carried_out, "{what}");
        // Once: the next request is answered.
        assert_eq!(
            send(&mut client, Method::Post, "/stop", "").unwrap().status,
            200
        );
    }
    assert_eq!(
        send(&mut control, Method::Put, "/-/faults", "do=explode")
            .unwrap()
            .status,
        400
    );
    assert!(
        told(&send(&mut control, Method::Get, "/-/faults", "").unwrap())
            .contains("do=trickle:1 # 2 seen")
    );
}

#[test]
fn the_log_counts_and_holds_no_secrets() {
    let (server, _) = start(None);
    let mut client = client(&server);
    send(&mut client, Method::Post, "/a?b=c%20d", "body").unwrap();
    send(&mut client, Method::Get, "/stop", "").unwrap();
    let lines = told(&send(&mut client, Method::Get, "/-/log", "").unwrap());
    assert!(
        !lines.contains("c2VjcmV0") && !lines.contains("secret"),
        "{lines}"
    );
    let log = Entry::parse(&lines);
    assert_eq!(log, server.faults().log());
    let shown: Vec<_> = log
        .iter()
        .map(|entry| {
            (
                &*entry.method,
                &*entry.target,
                &*entry.operation,
                entry.status,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("POST", "/a?b=c%20d", "Stop", 200),
            ("GET", "/stop", "Stop", 200)
        ]
    );
    assert!(
        log.iter()
            .all(|entry| entry.connection == 1 && entry.received > 50 && entry.sent > 50)
    );
    assert!(
        log[0]
            .headers
            .contains(&("authorization".to_owned(), "Basic".to_owned()))
    );
    assert!(
        log[0]
            .headers
            .contains(&("cookie".to_owned(), "s;t".to_owned()))
    );
    send(&mut client, Method::Delete, "/-/log", "").unwrap();
    assert!(server.faults().log().is_empty());
}

/// A client that nobody here wrote: sizes that need `Expect: 100-continue`, chunks, keep-alive, TLS.
#[test]
fn curl() {
    let identity = Identity::signed(&["localhost", "127.0.0.1"]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name);
    std::fs::write(file("ca.pem"), identity.trusted()).unwrap();
    let large = vec![b'x'; 3 << 20];
    std::fs::write(file("large"), &large).unwrap();
    for encrypted in [false, true] {
        let (server, machine) = start(encrypted.then_some(&identity));
        let scheme = if encrypted { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/x", server.address().port());
        let run = |args: &[&str]| {
            let mut command = Command::new("curl");
            command.args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--noproxy",
                "*",
                "--cacert",
            ]);
            command
                .arg(file("ca.pem"))
                .args(args)
                .current_dir(files.path());
            let output = command
                .output()
                .expect("curl is a Debian package that scripts/setup installs");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run(&[&url, &url]), "request 1request 2");
        assert_eq!(run(&["--data-binary", "@large", &url]), "request 1");
        assert_eq!(
            run(&[
                "--data-binary",
                "@large",
                "-H",
                "Transfer-Encoding: chunked",
                &url
            ]),
            "request 1"
        );
        let bodies = machine.bodies.lock().unwrap();
        assert!(bodies[2] == large && bodies[3] == large);
        assert_eq!(server.connections(), 3);
    }
}
