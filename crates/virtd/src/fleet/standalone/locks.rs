//! One thing at a time per guest.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::fleet::{FleetError, Order, tokio_instant};

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The guests that something is being done to.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Mutex<HashMap<Uuid, Lock>>,
    released: AtomicU64,
}

/// Exclusive access to one guest, until dropped.
#[derive(Debug)]
pub(super) struct Guard {
    locks: Arc<Locks>,
    uuid: Uuid,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Those of every fleet that a configuration makes: a reload may put a new fleet beside one whose
    /// requests still run, and a guest that the old one is about to start again is not off.
    pub(super) fn of_this_process() -> Arc<Self> {
        static ALL: LazyLock<Arc<Locks>> = LazyLock::new(Arc::default);
        Arc::clone(&ALL)
    }

    /// Whether nothing is being done to any guest.
    pub(super) fn are_free(&self) -> bool {
        self.map().is_empty()
    }

    /// Changes whenever a guest has been let go: what was seen before may be out of date then.
    pub(super) fn generation(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    /// Waits for the guest, as long as the order holds.
    ///
    /// # Errors
    /// [`FleetError::Withdrawn`] and [`FleetError::TooLate`].
    pub(super) async fn take(
        self: &Arc<Self>,
        uuid: Uuid,
        order: &Order,
    ) -> Result<Guard, FleetError> {
        let lock = Arc::clone(self.map().entry(uuid).or_default());
        // Made before the wait, so that leaving early tidies up as well.
        let mut guard = Guard {
            locks: Arc::clone(self),
            uuid,
            guard: None,
        };
        guard.guard = Some(tokio::select! {
            biased;
            held = lock.lock_owned() => held,
            () = order.given_up.cancelled() => return Err(FleetError::Withdrawn),
            () = tokio::time::sleep_until(tokio_instant(order.deadline)) => return Err(FleetError::TooLate),
        });
        Ok(guard)
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, Lock>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut map = self.locks.map();
        // Counted before it is let go: who gets it next must not take what it saw before for true.
        if self.guard.is_some() {
            self.locks.released.fetch_add(1, Ordering::Release);
        }
        self.guard = None;
        // Nobody else holds it or waits for it: new ones can only come through the map.
        if map
            .get(&self.uuid)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            map.remove(&self.uuid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use deadline::Deadline;
    use hypervisor::GuestRef;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn order(limit: Duration) -> Order {
        Order {
            guest: GuestRef::parse("vm1"),
            deadline: Deadline::after(limit),
            given_up: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left_behind() {
        let locks = Arc::new(Locks::default());
        let uuid = Uuid::from_u128(1);
        let long = order(Duration::from_secs(60));
        let first = locks.take(uuid, &long).await.unwrap();
        let _other = locks.take(Uuid::from_u128(2), &long).await.unwrap();
        let late = locks.take(uuid, &order(Duration::from_millis(10))).await;
        assert!(matches!(late, Err(FleetError::TooLate)));
        let withdrawn = order(Duration::from_secs(60));
        withdrawn.given_up.cancel();
        let gone = locks.take(uuid, &withdrawn).await;
        assert!(matches!(gone, Err(FleetError::Withdrawn)));
        let before = locks.generation();
        drop(first);
        assert!(locks.generation() > before);
        drop(locks.take(uuid, &long).await.unwrap());
        drop(_other);
        assert!(locks.are_free());
    }
}
