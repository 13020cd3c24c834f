//! All machines at the same time: one thread each, events as they come, never past the deadline.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use deadline::Deadline;

use crate::error::{Error, Failure};
use crate::event::{Event, Phase};
use crate::machine::Machine;
use crate::operation::Operation;
use crate::options::{Options, Took};
use crate::transport::{Command, Output, Transport, TransportError};

/// A machine's answer.
pub(crate) struct Answer {
    pub(crate) output: Output,
    /// When it had been received.
    pub(crate) ended: SystemTime,
}

/// The machines, and who is told about them.
pub(crate) struct Fleet<'a> {
    pub(crate) transport: &'a dyn Transport,
    pub(crate) options: &'a Options,
    pub(crate) deadline: Deadline,
    pub(crate) events: &'a mut dyn FnMut(Event),
    pub(crate) took: Vec<Took>,
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(
        transport: &'a dyn Transport,
        options: &'a Options,
        events: &'a mut dyn FnMut(Event),
    ) -> Self {
        Self {
            transport,
            options,
            deadline: Deadline::after(options.timeout),
            events,
            took: Vec::new(),
        }
    }

    /// Time that a person took to agree to a plan does not count.
    pub(crate) fn restart_clock(&mut self) {
        self.deadline = Deadline::after(self.options.timeout);
    }

    /// Runs each command on its machine and tells how it went. Answers come in the order of `jobs`.
    pub(crate) fn everywhere<'m>(
        &mut self,
        phase: Phase,
        jobs: Vec<(&'m Machine, Command)>,
        limit: Duration,
    ) -> Vec<(&'m Machine, Result<Answer, TransportError>)> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        (self.events)(Event::Started {
            phase,
            machines: jobs.len(),
        });
        let answers = if self.transport.at_once() {
            self.at_once(phase, jobs, limit)
        } else {
            self.one_by_one(phase, jobs, limit)
        };
        self.ended(
            phase,
            began,
            answers.iter().all(|(_, answer)| answer.is_ok()),
        );
        answers
    }

    fn at_once<'m>(
        &mut self,
        phase: Phase,
        jobs: Vec<(&'m Machine, Command)>,
        limit: Duration,
    ) -> Vec<(&'m Machine, Result<Answer, TransportError>)> {
        let (transport, deadline) = (self.transport, self.deadline.within(limit));
        let mut answers: Vec<_> = jobs.iter().map(|(machine, _)| (*machine, None)).collect();
        thread::scope(|scope| {
            let (send, receive) = channel();
            for (index, (machine, command)) in jobs.into_iter().enumerate() {
                let send = send.clone();
                scope.spawn(move || {
                    // The receiver outlives the threads.
                    let _ = send.send((index, ask(transport, machine, &command, deadline)));
                });
            }
            drop(send);
            for (index, answer) in receive {
                self.tell(phase, answers[index].0, &answer);
                answers[index].1 = Some(answer);
            }
        });
        let lost = || {
            Err(TransportError::Unknown {
                detail: "its thread ended early".to_owned(),
            })
        };
        answers
            .into_iter()
            .map(|(machine, answer)| (machine, answer.unwrap_or_else(lost)))
            .collect()
    }

    fn one_by_one<'m>(
        &mut self,
        phase: Phase,
        jobs: Vec<(&'m Machine, Command)>,
        limit: Duration,
    ) -> Vec<(&'m Machine, Result<Answer, TransportError>)> {
        let deadline = self.deadline.within(limit);
        jobs.into_iter()
            .map(|(machine, command)| {
                let answer = ask(self.transport, machine, &command, deadline);
                self.tell(phase, machine, &answer);
                (machine, answer)
            })
            .collect()
    }

    fn tell(&mut self, phase: Phase, machine: &Machine, answer: &Result<Answer, TransportError>) {
        let machine = machine.name.clone();
        (self.events)(match answer {
            Ok(_) => Event::Done { phase, machine },
            Err(error) => Event::Failed {
                phase,
                machine,
                reason: error.to_string(),
            },
        });
    }

    /// As [`Self::everywhere`], for operations of which every one must end well.
    pub(crate) fn all(
        &mut self,
        phase: Phase,
        jobs: Vec<(&Machine, Operation)>,
        limit: Duration,
    ) -> Result<(), Vec<Failure>> {
        let jobs = jobs
            .into_iter()
            .map(|(machine, operation)| (machine, Command::of(operation)))
            .collect();
        let failures: Vec<_> = self
            .everywhere(phase, jobs, limit)
            .into_iter()
            .filter_map(|(machine, answer)| {
                Some(Failure {
                    machine: machine.name.clone(),
                    error: answer.err()?,
                })
            })
            .collect();
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// One quiet question to one machine.
    pub(crate) fn ask(
        &self,
        machine: &Machine,
        command: &Command,
        limit: Duration,
    ) -> Result<Output, TransportError> {
        self.transport
            .run(machine, command, self.deadline.within(limit))
    }

    /// Waits before another look. `false`: there is no time left for one.
    pub(crate) fn wait(&self) -> bool {
        let span = self.options.poll.min(self.deadline.remaining());
        !span.is_zero() && self.transport.pause(span)
    }

    pub(crate) fn say(&mut self, phase: Phase, detail: impl Into<String>) {
        (self.events)(Event::Progress {
            phase,
            detail: detail.into(),
        });
    }

    pub(crate) fn ended(&mut self, phase: Phase, began: Instant, well: bool) {
        let took = began.elapsed();
        match self.took.iter_mut().find(|known| known.phase == phase) {
            Some(known) => known.took += took,
            None => self.took.push(Took { phase, took }),
        }
        if well {
            (self.events)(Event::Finished { phase, took });
        }
    }

    /// Refuses to begin a phase once the user has had enough.
    pub(crate) fn may_begin(&self, phase: Phase, changed: bool) -> Result<(), Error> {
        if self.options.cancelled() {
            Err(Error::Cancelled { phase, changed })
        } else {
            Ok(())
        }
    }
}

fn ask(
    transport: &dyn Transport,
    machine: &Machine,
    command: &Command,
    deadline: Deadline,
) -> Result<Answer, TransportError> {
    let output = transport.run(machine, command, deadline)?;
    Ok(Answer {
        output,
        ended: SystemTime::now(),
    })
}
