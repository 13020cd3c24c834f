//! One hypervisor and the threads that wait for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadline::Deadline;
use hypervisor::{ErrorKind, Hypervisor};
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use crate::fleet::workers::Workers;
use crate::fleet::{FleetError, Order, tokio_instant};

/// A hypervisor returns by its deadline; this long after it nobody waits any more, in case it does
/// not.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a call waits for a thread before another one is made.
const QUEUEING: Duration = Duration::from_millis(25);

/// How a call ended that may not have been made at all.
#[derive(Debug)]
pub(super) enum CallError {
    /// The hypervisor said so, or could not.
    Hypervisor(hypervisor::Error),
    /// It was not made, or its end is not known.
    Fleet(FleetError),
}

impl From<CallError> for FleetError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Fleet(error) => error,
            CallError::Hypervisor(error) => match error.kind() {
                ErrorKind::NoSuchGuest => Self::NoSuchGuest(error.to_string()),
                ErrorKind::Unreachable => Self::Unreachable(error.to_string()),
                ErrorKind::Refused => Self::Refused(error.to_string()),
                ErrorKind::CannotKnow => Self::CannotKnow(error.to_string()),
            },
        }
    }
}

/// A hypervisor of the fleet.
pub(super) struct Host {
    hypervisor: Arc<dyn Hypervisor>,
    workers: Arc<Workers>,
}

impl Host {
    pub(super) fn new(hypervisor: Arc<dyn Hypervisor>) -> Self {
        let workers = Arc::new(Workers::new(hypervisor.name()));
        Self {
            hypervisor,
            workers,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.hypervisor.name()
    }

    /// Queues a call at once; the future only waits for its end. The call is not made any more once
    /// the order has been withdrawn or its deadline has passed.
    pub(super) fn ask<T, F>(
        &self,
        order: &Order,
        call: F,
    ) -> impl Future<Output = Result<T, CallError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Hypervisor) -> Result<T, hypervisor::Error> + Send + 'static,
    {
        let begun = Arc::new(AtomicBool::new(false));
        let receiver = self.workers.call({
            let (hypervisor, order) = (Arc::clone(&self.hypervisor), order.clone());
            let begun = Arc::clone(&begun);
            move || {
                order.check().map_err(CallError::Fleet)?;
                begun.store(true, Ordering::Release);
                call(&*hypervisor).map_err(CallError::Hypervisor)
            }
        });
        let name = self.name().to_owned();
        let workers = Arc::clone(&self.workers);
        let latest = tokio_instant(order.deadline) + PATIENCE;
        async move {
            let Some(receiver) = receiver else {
                return Err(CallError::Fleet(FleetError::Unreachable(format!(
                    "{name} cannot be asked: too many calls are waiting for it already"
                ))));
            };
            match wait(receiver, &workers, &begun, latest).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(CallError::Fleet(FleetError::CannotKnow(format!(
                    "the call on {name} broke off; this is a bug"
                )))),
                Err(_) if begun.load(Ordering::Acquire) => {
                    Err(CallError::Fleet(FleetError::CannotKnow(format!(
                        "{name} has not answered by the deadline; what was begun may still take effect"
                    ))))
                }
                Err(_) => Err(CallError::Fleet(FleetError::TooLate)),
            }
        }
    }

    /// Like [`Self::ask`], for questions that nobody withdraws.
    pub(super) fn question<T, F>(
        &self,
        deadline: Deadline,
        call: F,
    ) -> impl Future<Output = Result<T, CallError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Hypervisor) -> Result<T, hypervisor::Error> + Send + 'static,
    {
        let order = Order {
            guest: hypervisor::GuestRef::Name(String::new()),
            deadline,
            given_up: tokio_util::sync::CancellationToken::new(),
        };
        self.ask(&order, call)
    }
}

/// Waits for a call's result, and has another thread made as long as the call waits for one.
async fn wait<T>(
    mut receiver: oneshot::Receiver<T>,
    workers: &Workers,
    begun: &AtomicBool,
    latest: Instant,
) -> Result<Result<T, oneshot::error::RecvError>, Elapsed> {
    while !begun.load(Ordering::Acquire) && Instant::now() < latest {
        if let Ok(result) = timeout(QUEUEING, &mut receiver).await {
            return Ok(result);
        }
        if !begun.load(Ordering::Acquire) {
            workers.grow();
        }
    }
    timeout_at(latest, receiver).await
}
