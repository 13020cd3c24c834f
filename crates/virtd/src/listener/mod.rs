//! How guests reach the daemon.
//!
//! A listener turns what arrives in its own way into requests with the identity of their sender,
//! and carries the answers back. It knows nothing of guests, groups or hypervisors. Another kind
//! of listener is a module with a [`Kind`] and a row in [`KINDS`].

mod interfaces;
mod multicast;
mod tcp;

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::diagnose::Diagnostic;
use crate::config::section::View;
use crate::fleet::BoxFuture;
use crate::security::KeyError;
use crate::service::Service;
pub use tcp::Tcp;

/// One kind of listener and how its section is read.
#[derive(Debug)]
pub struct Kind {
    /// Its name in `listener` and in `listeners`.
    pub name: &'static str,
    /// Reads its section. None if it remarked on an error.
    pub read: fn(&View<'_>) -> Option<Box<dyn Listener>>,
}

/// Every kind of this build.
pub const KINDS: &[Kind] = &[multicast::KIND, tcp::KIND];

/// Listeners of the C daemon that this build does not have.
pub const NOT_IN_THIS_BUILD: [&str; 2] = ["vsock", "serial"];

/// A listener as configured.
pub trait Listener: fmt::Debug + Send + Sync {
    /// What it listens on, in words that tell it from every other: `tcp 127.0.0.1:1229`.
    fn endpoint(&self) -> String;

    /// Reads key files; to be called before [`Self::start`]. Remarks on what is not as it should be,
    /// and mends file modes if told to.
    ///
    /// # Errors
    /// [`KeyError`], for a key that is needed and not there.
    fn prepare(&mut self, mend: bool, remarks: &mut Vec<String>) -> Result<(), KeyError>;

    /// Begins to listen. `previous` is a running listener on the same endpoint, whose socket is
    /// taken over so that nobody is turned away during a reload.
    fn start(
        &self,
        service: &Arc<Service>,
        previous: Option<&Running>,
    ) -> BoxFuture<'_, Result<Running, StartError>>;
}

/// A listener that listens.
pub struct Running {
    /// What it listens on.
    pub endpoint: String,
    /// The socket, for a successor.
    socket: Arc<dyn Any + Send + Sync>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops taking requests; those that have been taken go on. When this returns, the socket is
    /// closed, unless a successor has taken it over.
    pub async fn end(self) {
        self.stop.cancel();
        drop(self.socket);
        for task in self.tasks {
            // A task that panicked has let go of the socket as well.
            let _ = task.await;
        }
    }

    /// The socket, if it is of this type.
    fn socket<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.socket).downcast().ok()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Running")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint}: {problem}; {remedy}")]
pub struct StartError {
    endpoint: String,
    problem: String,
    remedy: String,
}

/// IPv4 or IPv6, as the key `family` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl FromStr for Family {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "ipv4" => Ok(Self::V4),
            "ipv6" => Ok(Self::V6),
            _ => Err(()),
        }
    }
}

impl Family {
    /// Reads `family`; none if its value is wrong.
    fn read(view: &View<'_>) -> Option<Self> {
        let choice = view.choice("family", &["ipv4", "ipv6"]);
        match view.text("family") {
            None => Some(Self::V4),
            Some(_) => choice.map(|(family, _)| family),
        }
    }

    const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// Reads `port`; none if its value is wrong.
fn read_port(view: &View<'_>) -> Option<u16> {
    match view.text("port") {
        None => Some(fence_wire::PORT),
        Some(_) => view
            .number("port", 1, 65_535)
            .and_then(|port| u16::try_from(port).ok()),
    }
}

/// Remarks that an address is not of the family its section says.
fn wrong_family(view: &View<'_>, span: std::ops::Range<usize>, family: Family) {
    let other = match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    view.remarks().add(
        Diagnostic::error(
            span,
            format!(
                "`{}` is not an {} address",
                view.path_of("address"),
                family.name()
            ),
        )
        .label(format!("the family is {}", family.name()))
        .help(format!(
            "write `family = \"{}\";` or another address",
            other.name()
        )),
    );
}

/// After a failure that concerns the whole socket (no descriptors left, say): how long until it is
/// tried again, so that a persistent failure does not take the whole processor.
const RETRY: Duration = Duration::from_millis(100);
