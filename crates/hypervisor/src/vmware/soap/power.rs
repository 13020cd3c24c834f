//! Orders over SOAP: a call that returns a task, which is followed to its end.

use std::time::{Duration, Instant};

use deadline::Deadline;

use super::Soap;
use super::collect::Query;
use super::envelope::Request;
use super::fault::{Fault, Meaning};
use super::link::{Session, Trouble};
use super::look::Seen;
use super::reply::{Content, text_of};
use super::tasks::{End, read_order};
use crate::vmware::orders::{Ordered, Orders, Switch};
use crate::vmware::states::{PowerState, plain};
use crate::{Error, GuestRef, Observation};

impl Orders for Soap {
    type Seen = Seen;

    fn by(&self) -> &str {
        self.link.by()
    }

    fn pause(&self, time: Duration, deadline: Deadline) {
        self.link.pause(time, deadline);
    }

    fn look(&self, guest: &GuestRef, deadline: Deadline) -> Result<Seen, Error> {
        Self::look(self, guest, deadline)
    }

    fn id<'a>(&self, seen: &'a Seen) -> &'a str {
        &seen.moref.id
    }

    fn observation(&self, seen: &Seen) -> Observation {
        seen.observation(self.link.by())
    }

    fn order(&self, seen: &Seen, guest: &GuestRef, to: Switch, deadline: Deadline) -> Ordered {
        let begun = Instant::now();
        let method = match to {
            Switch::Off => "PowerOffVM_Task",
            Switch::On => "PowerOnVM_Task",
        };
        let build = |_: &Session| Request::new(method, &seen.moref, |_| {});
        let task = match self.link.order(deadline, build, read_order) {
            Ok(task) => task,
            Err(Trouble::Lost(error) | Trouble::NotServed(error)) if deadline.has_passed() => {
                return Ordered::Unknown(error);
            }
            Err(Trouble::Lost(error) | Trouble::NotServed(error)) => {
                tracing::debug!(%error, "no answer to an order");
                return Ordered::Lost;
            }
            Err(Trouble::Error(error)) => return Ordered::No(error),
            Err(Trouble::Fault(fault)) => return self.meaning(&fault, seen, guest),
        };
        match self.follow(&task, deadline, || self.question(seen, to, deadline)) {
            End::Success => Ordered::Done,
            // It broke off midway: what it did until then is not known.
            End::Failed(fault) if matches!(fault.meaning, Meaning::Host | Meaning::Other) => {
                let saw = format!("the task to do it failed: {}", fault.words());
                Ordered::Unknown(Error::NotConfirmed {
                    guest: guest.clone(),
                    by: self.link.by().to_owned(),
                    saw,
                })
            }
            End::Failed(fault) => self.meaning(&fault, seen, guest),
            End::Forgotten => Ordered::Lost,
            End::Stopped(question) => {
                let saw =
                    format!("it waits for an answer to: {question}; give it in the vSphere client");
                let (guest, by) = (guest.clone(), self.link.by().to_owned());
                Ordered::Unknown(Error::NotConfirmed { guest, by, saw })
            }
            End::Late => Ordered::Unknown(self.link.late(to.doing(guest), begun, true)),
            End::Broken(trouble) => Ordered::Unknown(self.link.error(trouble, Some(guest))),
        }
    }
}

impl Soap {
    /// A question that keeps a guest from starting. Nobody answers it for us, so there is no point in waiting.
    fn question(&self, seen: &Seen, to: Switch, deadline: Deadline) -> Option<String> {
        if to == Switch::Off {
            return None;
        }
        let query = Query::of(
            vec![seen.moref.clone()],
            "VirtualMachine",
            &["runtime.question"],
        );
        let read = |content: Content<'_, '_>| {
            let question = content.value("runtime.question");
            Ok(question.map(|question| plain(&text_of(question, "text").unwrap_or_default())))
        };
        self.link.collect(&query, deadline, read).ok()?.pop()
    }

    /// What a fault, of the call or of its task, means for the order.
    fn meaning(&self, fault: &Fault, seen: &Seen, guest: &GuestRef) -> Ordered {
        let no = |detail: String| Ordered::No(self.link.refused(Some(guest), detail));
        match &fault.meaning {
            // What is suspended then stays so: resumed, to be powered off, it would go on writing.
            Meaning::PowerState { existing }
                if seen.power == Some(PowerState::Suspended)
                    && *existing != Some(PowerState::Off) =>
            {
                no(format!(
                    "the server does not power off suspended guests ({}): discard its suspended state in the vSphere client",
                    fault.name
                ))
            }
            Meaning::PowerState { .. } => Ordered::Look,
            Meaning::Gone { .. } => {
                self.lose(guest);
                Ordered::Look
            }
            Meaning::Busy => Ordered::Busy(fault.words()),
            _ => match &seen.question {
                Some(question) => no(format!(
                    "{}; it waits for an answer to: {question}",
                    fault.words()
                )),
                None => no(fault.words()),
            },
        }
    }
}
