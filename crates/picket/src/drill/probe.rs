//! The client: asks the service over and over, and notes when it is lost and back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use deadline::Deadline;

/// From the start of one request to the start of the next, unless the request itself takes longer.
const PACE: Duration = Duration::from_millis(50);

/// The most one request may take. A guest under emulation may need a while when its host is busy.
const PATIENCE: Duration = Duration::from_millis(400);

/// The longest answer that is read.
const LONGEST: u64 = 64 * 1024;

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The page, and the node it names.
    Answered {
        /// The node that served it; `None` if the page names none.
        node: Option<String>,
    },
    /// No page.
    Silent {
        /// What happened instead.
        why: String,
    },
}

/// One request.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was begun.
    pub began: Instant,
    /// When it was answered or given up.
    pub ended: Instant,
    /// What came of it.
    pub seen: Seen,
}

/// Sends requests until `stop` is dropped or sent to. `connect` opens a connection to the service.
///
/// Samples that nobody takes in time are dropped: a client that waits would not notice a recovery.
pub fn run(
    connect: impl Fn(Deadline) -> std::io::Result<TcpStream>,
    stop: &Receiver<()>,
    samples: &SyncSender<Sample>,
) {
    loop {
        let began = Instant::now();
        let seen = ask(&connect, Deadline::at(began + PATIENCE));
        let sample = Sample {
            began,
            ended: Instant::now(),
            seen,
        };
        let _ = samples.try_send(sample);
        let pause = Deadline::at(began + PACE).remaining();
        match stop.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One request.
pub fn ask(connect: impl Fn(Deadline) -> std::io::Result<TcpStream>, deadline: Deadline) -> Seen {
    match connect(deadline).and_then(|stream| converse(stream, deadline)) {
        Ok(answer) if succeeded(&answer) => Seen::Answered {
            node: node_of(&answer),
        },
        Ok(answer) if answer.is_empty() => Seen::Silent {
            why: "the connection was closed without an answer".into(),
        },
        Ok(_) => Seen::Silent {
            why: "the answer is not a page".into(),
        },
        Err(error) => Seen::Silent {
            why: error.to_string(),
        },
    }
}

fn converse(mut stream: TcpStream, deadline: Deadline) -> std::io::Result<Vec<u8>> {
    let left = || {
        let left = deadline.remaining();
        if left.is_zero() {
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
        } else {
            Ok(left)
        }
    };
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut limited = stream.try_clone()?.take(LONGEST);
    let mut chunk = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match limited.read(&mut chunk)? {
            0 => return Ok(answer),
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Whether an HTTP answer says 200.
fn succeeded(answer: &[u8]) -> bool {
    let line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    words
        .next()
        .is_some_and(|version| version.starts_with(b"HTTP/1."))
        && words.next() == Some(b"200")
}

/// The node that a page of `ocf:picket:httpd` names: what stands between `node: ` and `</p>`.
fn node_of(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let (_, rest) = text.split_once("<p>node: ")?;
    let (node, _) = rest.split_once("</p>")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!node.is_empty() && node.len() <= 63 && node.chars().all(plain)).then(|| node.to_owned())
}

/// Follows the service through a failure. Fed with samples in their order.
#[derive(Debug)]
pub struct Watch {
    victim: String,
    fault: Instant,
    lost: Option<Instant>,
    back: Option<(Instant, String)>,
}

/// What a sample changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The first request that was not answered. Taken back if the victim answers again.
    Lost {
        /// What happened instead of an answer.
        why: String,
    },
    /// A survivor answered.
    Back {
        /// Which.
        node: String,
    },
}

impl Watch {
    /// Watches from `fault` on, which happens to `victim`.
    #[must_use]
    pub fn new(victim: &str, fault: Instant) -> Self {
        Self {
            victim: victim.to_owned(),
            fault,
            lost: None,
            back: None,
        }
    }

    /// Takes the next sample. Requests begun before the fault say nothing.
    pub fn take(&mut self, sample: &Sample) -> Option<Change> {
        if sample.began < self.fault || self.back.is_some() {
            return None;
        }
        match &sample.seen {
            Seen::Silent { why } if self.lost.is_none() => {
                self.lost = Some(sample.began);
                Some(Change::Lost { why: why.clone() })
            }
            Seen::Silent { .. } => None,
            Seen::Answered { node: Some(node) } if *node != self.victim => {
                self.back = Some((sample.ended, node.clone()));
                Some(Change::Back { node: node.clone() })
            }
            Seen::Answered { .. } => {
                self.lost = None;
                None
            }
        }
    }

    /// How long after the fault the first unanswered request was begun.
    #[must_use]
    pub fn lost(&self) -> Option<Duration> {
        self.lost.map(|at| at.saturating_duration_since(self.fault))
    }

    /// How long after the fault a survivor's answer was complete, and which survivor it was.
    #[must_use]
    pub fn back(&self) -> Option<(Duration, &str)> {
        self.back
            .as_ref()
            .map(|(at, node)| (at.saturating_duration_since(self.fault), node.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn sample(fault: Instant, at: u64, seen: Seen) -> Sample {
        let began = fault + Duration::from_millis(at);
        Sample {
            began,
            ended: began + Duration::from_millis(5),
            seen,
        }
    }

    fn by(node: &str) -> Seen {
        Seen::Answered {
            node: Some(node.into()),
        }
    }

    fn silent() -> Seen {
        Seen::Silent { why: "-".into() }
    }

    #[test]
    fn a_loss_and_a_recovery() {
        let fault = Instant::now() + Duration::from_secs(1);
        let mut watch = Watch::new("n1", fault);
        let early = Sample {
            began: fault - Duration::from_millis(5),
            ended: fault,
            seen: silent(),
        };
        assert_eq!(watch.take(&early), None);
        assert_eq!(watch.take(&sample(fault, 10, by("n1"))), None);
        assert!(matches!(
            watch.take(&sample(fault, 60, silent())),
            Some(Change::Lost { .. })
        ));
        assert_eq!(watch.take(&sample(fault, 110, silent())), None);
        let back = Change::Back { node: "n2".into() };
        assert_eq!(watch.take(&sample(fault, 9_000, by("n2"))), Some(back));
        assert_eq!(watch.lost(), Some(Duration::from_millis(60)));
        assert_eq!(watch.back(), Some((Duration::from_millis(9_005), "n2")));
    }

    #[test]
    fn a_victim_that_still_answers_is_not_lost() {
        let fault = Instant::now();
        let mut watch = Watch::new("n1", fault);
        watch.take(&sample(fault, 10, silent()));
        watch.take(&sample(fault, 60, by("n1")));
        assert_eq!((watch.lost(), watch.back()), (None, None));
        watch.take(&sample(fault, 110, Seen::Answered { node: None }));
        assert_eq!(
            watch.back(),
            None,
            "a page that names nobody proves nothing"
        );
    }

    #[test]
    fn the_node_is_read_from_the_page_only_if_it_is_a_name() {
        let page = |node: &str| format!("HTTP/1.0 200 OK\r\n\r\n<p>node: {node}</p>").into_bytes();
        assert_eq!(node_of(&page("n1")).as_deref(), Some("n1"));
        assert_eq!(node_of(&page("")), None);
        assert_eq!(node_of(&page("<b>")), None);
        assert_eq!(node_of(b"\xff\xfe"), None);
        assert!(succeeded(&page("n1")));
        assert!(!succeeded(b"HTTP/1.0 404 Not Found\r\n\r\n"));
        assert!(!succeeded(b"200"));
    }

    /// A server on the loopback that treats one connection with `serve`.
    fn asked(serve: impl FnOnce(TcpStream) + Send + 'static) -> Seen {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || serve(listener.accept().unwrap().0));
        let deadline = Deadline::after(Duration::from_millis(300));
        let seen = ask(
            |d| TcpStream::connect_timeout(&address, d.remaining()),
            deadline,
        );
        server.join().unwrap();
        seen
    }

    #[test]
    fn a_page_is_read_to_its_end() {
        let seen = asked(|mut stream| {
            let _ = stream.read(&mut [0; 512]);
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n<p>no").unwrap();
            stream.write_all(b"de: n2</p>").unwrap();
        });
        assert_eq!(seen, by("n2"));
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let began = Instant::now();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let _stream = listener.accept().unwrap();
            let _ = hold.recv();
        });
        let deadline = Deadline::after(Duration::from_millis(200));
        let seen = ask(
            |d| TcpStream::connect_timeout(&address, d.remaining()),
            deadline,
        );
        assert!(matches!(seen, Seen::Silent { .. }));
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(release);
        server.join().unwrap();
    }
}
