//! The TCP listener: the guest connects, sends its request, and gets the answer on the same stream.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fence_wire::{HashType, REQUEST_LEN};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Family, Kind, Listener, RETRY, Running, StartError, read_port, wrong_family};
use crate::config::diagnose::Diagnostic;
use crate::config::section::View;
use crate::fleet::BoxFuture;
use crate::identity::{Identity, Requester};
use crate::limits::Place;
use crate::security::{KeyError, Security, SecurityPlan};
use crate::service::Service;
use crate::session;

pub(super) const KIND: Kind = Kind { name: "tcp", read };

/// How long a peer may take to send its 176 bytes. The C daemon allows one second, and lets
/// everybody else wait for it.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// A TCP listener as configured.
#[derive(Debug)]
pub struct Tcp {
    address: SocketAddr,
    plan: SecurityPlan,
    security: Option<Arc<Security>>,
}

fn read(view: &View<'_>) -> Option<Box<dyn Listener>> {
    let plan = SecurityPlan::read(view);
    let family = Family::read(view);
    let port = read_port(view);
    let address = match family {
        Some(family) => read_address(view, family),
        None => {
            view.know("address");
            None
        }
    };
    warn_of_auth(view);
    Some(Box::new(Tcp {
        address: SocketAddr::new(address?, port?),
        plan: plan?,
        security: None,
    }))
}

/// `address`: numeric or a name, which is resolved now.
fn read_address(view: &View<'_>, family: Family) -> Option<IpAddr> {
    let Some(address) = view.text("address") else {
        return Some(match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    };
    if let Ok(numeric) = address.text.parse::<IpAddr>() {
        if Family::of(numeric) == family {
            return Some(numeric);
        }
        wrong_family(view, address.span.clone(), family);
        return None;
    }
    let resolved = (address.text.as_str(), 0).to_socket_addrs();
    let found = resolved.map(|found| {
        found
            .map(|address| address.ip())
            .find(|ip| Family::of(*ip) == family)
    });
    let problem = match found {
        Ok(Some(ip)) => return Some(ip),
        Ok(None) => format!("it has no {} address", family.name()),
        Err(error) => error.to_string(),
    };
    view.remarks().add(
        Diagnostic::error(
            address.span.clone(),
            format!("`{}` names no address", view.path_of("address")),
        )
        .label(problem)
        .help("write an address of this host, such as 192.0.2.1; 0.0.0.0 or :: for all of them"),
    );
    None
}

/// The C daemon takes this listener's `auth` for the weakest signature and challenges with SHA-256
/// whatever it says (W15). Here it means what it says, so files that rely on the other need a word.
fn warn_of_auth(view: &View<'_>) {
    let Some((auth, span)) = view.choice::<HashType>("auth", &[]) else {
        return;
    };
    if auth == HashType::Sha256 {
        return;
    }
    let path = view.path_of("auth");
    view.remarks().add(
        Diagnostic::warning(
            span,
            format!("`{path}` is the hash of the challenge here; the C fence_virtd took it for `hash`"),
        )
        .label(format!("clients need `-C {auth}` now"))
        .help(format!(
            "for clients that were set up for the C daemon (`-C sha256 -c {auth}`) write `hash = \"{auth}\"; auth = \"sha256\";`"
        )),
    );
}

impl Tcp {
    /// A listener without a file behind it.
    #[must_use]
    pub fn new(address: SocketAddr, security: Security) -> Self {
        Self {
            address,
            plan: SecurityPlan::new(security.minimum, security.auth, "".as_ref()),
            security: Some(Arc::new(security)),
        }
    }

    fn bind(&self) -> io::Result<TcpListener> {
        let domain = Domain::for_address(self.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if self.address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&self.address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    fn start_error(&self, error: &io::Error) -> StartError {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there, perhaps another fence_virtd: stop it, or choose another `port`"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this host has no such address: correct `address` in listeners/tcp"
            }
            io::ErrorKind::PermissionDenied => "start as root, or choose a `port` above 1023",
            _ => "see `address` and `port` in listeners/tcp",
        };
        StartError {
            endpoint: self.endpoint(),
            problem: error.to_string(),
            remedy: remedy.to_owned(),
        }
    }
}

impl Listener for Tcp {
    fn endpoint(&self) -> String {
        format!("tcp {}", self.address)
    }

    fn prepare(&mut self, mend: bool, remarks: &mut Vec<String>) -> Result<(), KeyError> {
        self.security = Some(Arc::new(self.plan.load(mend, remarks)?));
        Ok(())
    }

    fn start(
        &self,
        service: &Arc<Service>,
        previous: Option<&Running>,
    ) -> BoxFuture<'_, Result<Running, StartError>> {
        let service = Arc::clone(service);
        let taken_over = previous.and_then(Running::socket::<TcpListener>);
        Box::pin(async move {
            let Some(security) = self.security.clone() else {
                return Err(StartError {
                    endpoint: self.endpoint(),
                    problem: "its key has not been read".to_owned(),
                    remedy: "this is a bug".to_owned(),
                });
            };
            let socket = match taken_over {
                Some(socket) => socket,
                None => Arc::new(self.bind().map_err(|error| self.start_error(&error))?),
            };
            let endpoint = socket
                .local_addr()
                .map_or_else(|_| self.endpoint(), |address| format!("tcp {address}"));
            let stop = CancellationToken::new();
            let accepting = accept(Arc::clone(&socket), service, security, stop.clone());
            Ok(Running {
                endpoint,
                socket,
                stop,
                tasks: vec![tokio::spawn(accepting)],
            })
        })
    }
}

async fn accept(
    socket: Arc<TcpListener>,
    service: Arc<Service>,
    security: Arc<Security>,
    stop: CancellationToken,
) {
    let name: Arc<str> = KIND.name.into();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let requester = Requester {
            listener: Arc::clone(&name),
            identity: Identity::address(peer.ip()),
        };
        let Some(place) = service.places().enter(requester.identity.text()) else {
            service.reject(&requester, &"all connections are in use by proven peers");
            continue;
        };
        let (service, security) = (Arc::clone(&service), Arc::clone(&security));
        let tasks = service.tasks().clone();
        tasks.spawn(async move { converse(&service, stream, &security, requester, place).await });
    }
}

/// One connection from its first byte to its last.
async fn converse(
    service: &Arc<Service>,
    mut stream: TcpStream,
    security: &Security,
    requester: Requester,
    place: Place,
) {
    let _ = stream.set_nodelay(true);
    let mut packet = [0; REQUEST_LEN];
    let reading = tokio::time::timeout(REQUEST_LIMIT, stream.read_exact(&mut packet));
    let read = tokio::select! {
        read = reading => read,
        () = place.give_way.cancelled() => {
            service.reject(&requester, &"it was silent and had to make room for newer connections");
            return;
        }
    };
    match read {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            service.reject(&requester, &format_args!("no whole request came: {error}"));
            return;
        }
        Err(_) => {
            service.reject(&requester, &"no whole request came in time");
            return;
        }
    }
    let arrived = Instant::now();
    match service.admit(&packet, security) {
        Err(refusal) => service.reject(&requester, &refusal),
        Ok(request) => {
            let source = requester.identity.text().to_owned();
            let begun = service.begin(request, requester.clone(), &source, arrived);
            session::serve(service, &mut stream, security, begun, &requester, &place).await;
        }
    }
}
