//! What is left when the daemon ends.

use std::future::ready;

use deadline::Deadline;
use hypervisor::{Evidence, GuestRef};

use super::{
    BoxFuture, Fleet, FleetError, Health, Inventory, Order, Presence, Rebooting, StatusReport,
};

/// A fleet that asks nobody any more.
#[derive(Debug)]
pub struct Ended;

const ENDING: &str = "fence_virtd is ending and asks nobody any more";

fn ending<T: Send + 'static>() -> BoxFuture<'static, Result<T, FleetError>> {
    Box::pin(ready(Err(FleetError::Unreachable(ENDING.to_owned()))))
}

impl Fleet for Ended {
    fn locate(&self, _: &GuestRef, _: Deadline) -> BoxFuture<'_, Presence> {
        Box::pin(ready(Presence::CannotTell))
    }

    fn status(&self, _: Order) -> BoxFuture<'_, Result<StatusReport, FleetError>> {
        ending()
    }

    fn off(&self, _: Order) -> BoxFuture<'_, Result<Vec<Evidence>, FleetError>> {
        ending()
    }

    fn on(&self, _: Order) -> BoxFuture<'_, Result<Vec<Evidence>, FleetError>> {
        ending()
    }

    fn reboot(&self, _: Order) -> BoxFuture<'_, Result<Rebooting, FleetError>> {
        ending()
    }

    fn list(&self, _: Deadline) -> BoxFuture<'_, Inventory> {
        Box::pin(ready(Inventory {
            guests: Vec::new(),
            silent: vec![ENDING.to_owned()],
        }))
    }

    fn health(&self, _: Deadline) -> BoxFuture<'_, Health> {
        Box::pin(ready(Health {
            well: Vec::new(),
            ill: vec![ENDING.to_owned()],
        }))
    }
}
