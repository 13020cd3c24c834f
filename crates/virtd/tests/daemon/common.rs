//! A daemon without configuration file and libvirt: guests in memory behind a real listener.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fence_wire::{
    AgentHandshake, Answer, HashType, Key, Operation, Plug, REQUEST_LEN, Reply, ReplyReader,
    Request,
};
use hypervisor::Hypervisor;
use hypervisor::memory::{MemoryGuest, MemoryHypervisor};
use virtd::audit::Auditor;
use virtd::config::Limits;
use virtd::fleet::standalone::Standalone;
use virtd::listener::{Listener as _, Running, Tcp};
use virtd::policy::Policy;
use virtd::security::Security;
use virtd::service::{Rules, Service};

pub(crate) const SECRET: &[u8] = b"a key that guests and hosts share";

static SEQNO: AtomicU32 = AtomicU32::new(1);

/// A daemon that listens on a port of its own.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    pub(crate) service: Arc<Service>,
    auditor: Auditor,
    log: PathBuf,
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    _running: Running,
}

/// How a test's daemon differs from the usual one.
pub(crate) struct Setup {
    pub(crate) hosts: Vec<MemoryHypervisor>,
    pub(crate) policy: Policy,
    pub(crate) minimum: HashType,
    pub(crate) auth: HashType,
    pub(crate) limits: Limits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            hosts: vec![host("memory:1", &["vm1", "vm2"])],
            policy: Policy::default(),
            minimum: HashType::Sha256,
            auth: HashType::Sha256,
            limits: Limits::default(),
        }
    }
}

/// A hypervisor on which these guests run.
pub(crate) fn host(name: &str, guests: &[&str]) -> MemoryHypervisor {
    let host = MemoryHypervisor::new(name);
    for guest in guests {
        host.add(MemoryGuest::running(guest));
    }
    host
}

impl Setup {
    pub(crate) fn start(self) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let (auditor, _) = Auditor::start(Some(&log)).unwrap();
        let hosts = self
            .hosts
            .into_iter()
            .map(|host| Arc::new(host) as Arc<dyn Hypervisor>)
            .collect();
        let rules = Rules {
            policy: Arc::new(self.policy),
            fleet: Arc::new(Standalone::new(hosts, &auditor)),
            limits: self.limits,
        };
        let service = Service::new(rules, auditor.clone());
        let security = Security {
            minimum: self.minimum,
            auth: self.auth,
            key: Key::new(SECRET),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = Tcp::new("127.0.0.1:0".parse().unwrap(), security);
        let running = runtime.block_on(listener.start(&service, None)).unwrap();
        let address = running.endpoint.trim_start_matches("tcp ").parse().unwrap();
        Daemon {
            address,
            service,
            auditor,
            log,
            _folder: folder,
            runtime,
            _running: running,
        }
    }
}

impl Daemon {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Asks as an agent does.
    pub(crate) fn ask(&self, operation: Operation, plug: &str) -> io::Result<Answer> {
        let mut stream = self.connect();
        stream.write_all(&packet(operation, plug))?;
        converse(&mut stream, HashType::Sha256)
    }

    /// The byte that `operation` on `plug` is answered with.
    pub(crate) fn reply(&self, operation: Operation, plug: &str) -> u8 {
        match self.ask(operation, plug).unwrap() {
            Answer::Reply(reply) => reply.0,
            Answer::Hosts(hosts) => panic!("a list: {hosts:?}"),
        }
    }

    /// The names of the guests that `list` shows.
    pub(crate) fn list(&self) -> Vec<String> {
        match self.ask(Operation::HOST_LIST, "").unwrap() {
            Answer::Hosts(hosts) => hosts.into_iter().map(|host| host.name).collect(),
            Answer::Reply(reply) => panic!("no list: {reply}"),
        }
    }

    /// The audit log so far.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        self.auditor.flush();
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// Waits until some record satisfies `wanted`, and returns it.
    pub(crate) fn await_record(
        &self,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(record) = self.records().into_iter().find(&wanted) {
                return record;
            }
            assert!(Instant::now() < deadline, "not in {:#?}", self.records());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// A new request.
pub(crate) fn request(operation: Operation, plug: &str) -> Request {
    let mut random = [0; 6];
    getrandom::fill(&mut random).unwrap();
    Request {
        operation,
        by_uuid: false,
        plug: (!plug.is_empty()).then(|| Plug::new(plug).unwrap()),
        reply_to: None,
        random,
        seqno: SEQNO.fetch_add(1, Ordering::Relaxed),
    }
}

/// A new request, signed with the right key.
pub(crate) fn packet(operation: Operation, plug: &str) -> [u8; REQUEST_LEN] {
    request(operation, plug).encode(HashType::Sha256, &Key::new(SECRET))
}

/// The agent's part after the request: the challenge, and then the answer.
pub(crate) fn converse(stream: &mut TcpStream, auth: HashType) -> io::Result<Answer> {
    shake_hands(stream, auth, &Key::new(SECRET))?;
    read_answer(stream)
}

pub(crate) fn shake_hands(stream: &mut TcpStream, auth: HashType, key: &Key) -> io::Result<()> {
    let mut challenge = [0; 64];
    getrandom::fill(&mut challenge).unwrap();
    let mut handshake = AgentHandshake::new(auth, key, challenge);
    loop {
        while let Some(bytes) = handshake.transmit() {
            stream.write_all(&bytes)?;
        }
        let need = handshake.need();
        if need == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; need];
        stream.read_exact(&mut bytes)?;
        handshake.receive(&bytes).map_err(io::Error::other)?;
    }
}

pub(crate) fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut reader = ReplyReader::new();
    let mut bytes = [0; 256];
    loop {
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return Err(io::Error::other(reader.closed()));
        }
        if let Some(answer) = reader.receive(&bytes[..length]).map_err(io::Error::other)? {
            return Ok(answer);
        }
    }
}

/// The bytes that come until the peer closes; a reset counts as closed.
pub(crate) fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
    bytes
}

pub(crate) const SUCCESS: u8 = Reply::SUCCESS.0;
pub(crate) const FAILURE: u8 = Reply::FAILURE.0;
pub(crate) const OFF: u8 = Reply::OFF.0;
pub(crate) const DENIED: u8 = Reply::DENIED.0;
