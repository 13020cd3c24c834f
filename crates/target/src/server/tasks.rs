//! The tasks that a logical unit has let through and that have not ended: who waits for them, and who must not touch
//! the medium any more.
//!
//! ```text
//!  enter ─▶ waiting (for data, a thread) ──start──▶ running ──leave──▶ gone, and whoever drains it is told
//!              │ abort                                 │ abort
//!              ▼                                       ▼
//!           aborted ──start refused──▶ gone         runs to its end; its answer is thrown away
//! ```
//!
//! The state is a function of the calls; the logical unit's lock makes each of them one step. So once `abort` has
//! returned, only what was running then can still change the medium, and it is gone when the drain is over.

use std::sync::Arc;

use iscsi::session::TaskId;
use scsi::lu::NexusId;

use crate::server::letter::{DrainId, Letter};
use crate::server::mailbox::Mailbox;

/// Where a connection gets its letters.
pub(crate) type Owner = Arc<Mailbox<Letter>>;

/// Where a task stands in the table. It is another task's place after the task has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(usize);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) nexus: NexusId,
    pub(crate) task: TaskId,
    owner: Owner,
    running: bool,
    pub(crate) aborted: bool,
}

impl Entry {
    /// Whether it came over this connection.
    pub(crate) fn is_of(&self, owner: &Owner) -> bool {
        Arc::ptr_eq(&self.owner, owner)
    }
}

/// What an aborted task's own connection hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Nothing: it asked for it.
    Nothing,
    /// That the task ends without status (TAS = 0), or with TASK ABORTED (TAS = 1).
    Aborted {
        /// TAS
        answer: bool,
    },
}

/// Somebody who waits until tasks are gone.
#[derive(Debug)]
struct Drain {
    pending: Vec<Place>,
    owner: Owner,
    id: DrainId,
}

/// The table of one logical unit.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    drains: Vec<Drain>,
}

impl Tasks {
    /// A task has been let through.
    pub(crate) fn enter(&mut self, nexus: NexusId, task: TaskId, owner: &Owner) -> Place {
        let entry = Some(Entry {
            nexus,
            task,
            owner: Arc::clone(owner),
            running: false,
            aborted: false,
        });
        match self.free.pop() {
            Some(at) => {
                self.entries[at] = entry;
                Place(at)
            }
            None => {
                self.entries.push(entry);
                Place(self.entries.len() - 1)
            }
        }
    }

    /// It is about to touch the medium. `false`: it must not.
    pub(crate) fn start(&mut self, place: Place) -> bool {
        let Some(Some(entry)) = self.entries.get_mut(place.0) else {
            return false;
        };
        entry.running = !entry.aborted;
        entry.running
    }

    /// It will not touch the medium any more. Whether it was aborted.
    pub(crate) fn leave(&mut self, place: Place) -> bool {
        let Some(entry) = self.entries.get_mut(place.0).and_then(Option::take) else {
            return true;
        };
        self.free.push(place.0);
        self.drains.retain_mut(|drain| {
            drain.pending.retain(|pending| *pending != place);
            let over = drain.pending.is_empty();
            if over {
                drain.owner.post(Letter::Drained(drain.id));
            }
            !over
        });
        entry.aborted
    }

    /// Aborts tasks. Gives each nexus that lost one, and the tasks that still run.
    pub(crate) fn abort(
        &mut self,
        which: impl Fn(Place, &Entry) -> bool,
        tell: impl Fn(&Entry) -> Tell,
    ) -> (Vec<NexusId>, Vec<Place>) {
        let mut concerned = Vec::new();
        let mut running = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let Some(entry) = entry.as_mut().filter(|entry| which(Place(at), entry)) else {
                continue;
            };
            if entry.running {
                running.push(Place(at));
            }
            if entry.aborted {
                continue;
            }
            entry.aborted = true;
            if let Tell::Aborted { answer } = tell(entry) {
                let task = entry.task;
                entry.owner.post(Letter::Aborted { task, answer });
            }
            if !concerned.contains(&entry.nexus) {
                concerned.push(entry.nexus);
            }
        }
        (concerned, running)
    }

    /// Those that were aborted and still run.
    pub(crate) fn lingering(&self) -> Vec<Place> {
        let lingers = |entry: &Entry| entry.aborted && entry.running;
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| entry.as_ref().is_some_and(lingers))
            .map(|(at, _)| Place(at))
            .collect()
    }

    /// Tells `owner` when tasks are gone. `false`: there is nothing to wait for.
    pub(crate) fn drain(&mut self, pending: Vec<Place>, owner: &Owner, id: DrainId) -> bool {
        if pending.is_empty() {
            return false;
        }
        self.drains.push(Drain {
            pending,
            owner: Arc::clone(owner),
            id,
        });
        true
    }

    /// How many wait for tasks to be gone.
    pub(crate) fn waits(&self) -> usize {
        self.drains.len()
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use scsi::lu::{BlockLength, Config, Geometry, Identity, Limits, LocalNaa, LogicalUnit};
    use scsi::pr::{InitiatorPort, Nexus, RelativePort, Reservations};

    use super::*;

    fn nexuses() -> [NexusId; 2] {
        let text = "X";
        let config = Config {
            identity: Identity {
                vendor: scsi::inquiry::Text::new(text).unwrap(),
                product: scsi::inquiry::Text::new(text).unwrap(),
                revision: scsi::inquiry::Text::new(text).unwrap(),
                serial: scsi::inquiry::Text::new(text).unwrap(),
                naa: LocalNaa::new(1),
                target_name: "iqn.a".to_owned(),
            },
            geometry: Geometry {
                block_length: BlockLength::B512,
                blocks: 1,
                physical_exponent: 0,
            },
            ports: vec![RelativePort(1)],
            thin: false,
            rotational: false,
            removable: false,
            read_only: false,
            write_cache: false,
            limits: Limits::default(),
        };
        let mut unit = LogicalUnit::new(config, Reservations::default());
        ["iqn.b", "iqn.c"].map(|name| {
            let initiator = InitiatorPort::new(name, [0; 6]).unwrap();
            let port = RelativePort(1);
            unit.attach(&Nexus { initiator, port }).unwrap()
        })
    }

    fn letters(owner: &Owner) -> Vec<Letter> {
        let mut letters = Vec::new();
        owner.take(&mut letters);
        letters
    }

    fn owner() -> Owner {
        Arc::new(Mailbox::new().unwrap())
    }

    #[test]
    fn what_waits_never_starts_and_what_runs_is_waited_for() {
        let ([a, b], mine, theirs) = (nexuses(), owner(), owner());
        let mut tasks = Tasks::default();
        let own = tasks.enter(a, TaskId(1), &mine);
        let running = tasks.enter(b, TaskId(2), &theirs);
        let waiting = tasks.enter(b, TaskId(3), &theirs);
        assert!(tasks.start(own) && tasks.start(running));
        let tell = Tell::Aborted { answer: false };
        let (concerned, pending) = tasks.abort(|_, entry| entry.nexus == b, |_| tell);
        assert_eq!((concerned, pending.clone()), (vec![b], vec![running]));
        assert!(tasks.drain(pending, &mine, DrainId(7)));
        assert!(!tasks.start(waiting), "an aborted task started");
        assert!(tasks.leave(waiting));
        assert_eq!(letters(&mine), [], "told before the running one was gone");
        assert!(tasks.leave(running));
        assert_eq!(letters(&mine), [Letter::Drained(DrainId(7))]);
        let aborted = |task| Letter::Aborted {
            task: TaskId(task),
            answer: false,
        };
        assert_eq!(letters(&theirs), [aborted(2), aborted(3)]);
        assert!(!tasks.leave(own), "not aborted");
        assert_eq!(tasks.len(), 0);
    }

    #[test]
    fn two_who_wait_for_the_same_task_are_both_told_and_it_is_aborted_once() {
        let ([a, _], mine, theirs) = (nexuses(), owner(), owner());
        let mut tasks = Tasks::default();
        let running = tasks.enter(a, TaskId(1), &theirs);
        assert!(tasks.start(running));
        for drain in [DrainId(1), DrainId(2)] {
            let (_, pending) = tasks.abort(|_, _| true, |_| Tell::Aborted { answer: true });
            assert!(tasks.drain(pending, &mine, drain));
        }
        assert_eq!(letters(&theirs).len(), 1);
        tasks.leave(running);
        assert_eq!(letters(&mine).len(), 2);
        // Its place is another's now, and nobody waits for that one.
        let next = tasks.enter(a, TaskId(2), &theirs);
        assert_eq!(next, running);
        assert!(!tasks.leave(next));
        assert_eq!(letters(&mine), []);
        assert!(!tasks.drain(Vec::new(), &mine, DrainId(3)));
    }
}
