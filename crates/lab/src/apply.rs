//! Putting a cluster on guests that have none: by the same code that puts one on real machines.

use std::sync::Arc;
use std::time::Duration;

use cluster::{Definition, RenderOptions};
use deploy::{Decision, Desired, Keys, OpenSsh, Options, Role, SshSettings};

use crate::command::Cancel;
use crate::error::Error;
use crate::event::{Event, Step};
use crate::lab::Lab;

/// Eight times what two guests with shared storage take on an idle machine.
const LIMIT: Duration = Duration::from_secs(600);
/// The wish for the guests of `definition`. The hosts' part is the lab's own matter.
pub(crate) fn desired(definition: &Definition, keys: &Keys) -> Result<Desired, Error> {
    let mut desired =
        Desired::of(definition, keys, &RenderOptions::default()).map_err(|error| {
            Error::BadSpec {
                reason: error.to_string(),
            }
        })?;
    desired
        .machines
        .retain(|wanted| wanted.machine.role == Role::Node);
    Ok(desired)
}

/// Puts the cluster on the lab's guests, starts it, and waits until it is healthy.
pub(crate) fn apply(
    lab: &Lab,
    definition: &Definition,
    cancel: &Cancel,
    events: &mut dyn FnMut(Event),
) -> Result<(), Error> {
    let ssh = lab.ssh();
    let transport = OpenSsh::new(SshSettings {
        prefix: ssh.prefix,
        config: Some(ssh.config),
    })
    .map_err(Error::io("make sockets in", std::env::temp_dir()))?;
    let options = Options {
        timeout: LIMIT,
        cancel: Arc::clone(cancel.flag()),
        ..Options::default()
    };
    let mut progress = |event| {
        let detail = match event {
            deploy::Event::Started { phase, .. } => phase.describe().to_owned(),
            deploy::Event::Progress { detail, .. } => detail,
            _ => return,
        };
        events(Event::Progress {
            step: Step::Apply,
            detail,
        });
    };
    let desired = desired(definition, &lab.keys()?)?;
    let mut agree = |_: &deploy::Plan| Decision::GoOn;
    match deploy::apply(
        &desired,
        &transport,
        &options,
        "picket-lab",
        &mut agree,
        &mut progress,
    ) {
        Ok(_) => Ok(()),
        Err(deploy::Error::Cancelled { phase, .. }) => Err(Error::Cancelled {
            doing: phase.describe().to_owned(),
        }),
        Err(error) => Err(Error::NotApplied(Box::new(error))),
    }
}
