//! A session with a target, driven by its caller: nothing happens but in its calls.
//!
//! ```text
//!  connect ─▶ submit ─▶ wait ─▶ … ─▶ logout
//!                └───────┴── the connection fails, or the target breaks the protocol ─▶ over
//! ```
//!
//! Once it is over it stays so, and every command that was in flight has an unknown outcome. Connecting again, with the
//! same initiator session id and so as the same nexus, is the caller's decision. While no call is under way nobody
//! answers the target's pings: a session is not kept for minutes without use.

use std::collections::HashMap;
use std::io;

use deadline::Deadline;
use iscsi::login::{
    Algorithm, Digest, LOGIN_SEGMENT, LoginError, LoginOptions, LoginRequester, LoginStep,
    Parameters, Wishes,
};
use iscsi::pdu::{Async, Attribute, FromTarget, Isid, LoginRequest, Lun, Residual};
use iscsi::session::{
    Arrived, Body, CommandRequest, InitiatorConnection, InitiatorEvent, NotNow, Outcome, Output,
    Place, TaskId, Transfer,
};
use iscsi::{Digests, Framing};
use scsi::{Sense, Status};

use crate::initiator::ChapCredentials;
use crate::initiator::wire::{Pdu, Step, Wire};
use crate::{Completion, DeviceError, LostBy};

/// How much waits to be sent before more is made ready.
const AHEAD: usize = 1 << 20;

/// With whom, and as whom.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// What it is called in messages.
    pub name: String,
    /// The portal's host.
    pub host: String,
    /// The portal's port.
    pub port: u16,
    /// InitiatorName
    pub initiator: String,
    /// TargetName
    pub target: String,
    /// Initiator session id: with the initiator's name it is the initiator port, and so the registrant.
    pub isid: Isid,
    /// For CHAP, if the target wants it.
    pub credentials: Option<ChapCredentials>,
    /// Digests: insist on them, or do without. `None`: as the target likes.
    pub digests: Option<bool>,
}

/// The data of a command, kept by the session while it is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// None.
    None,
    /// So many bytes at most from the target.
    In(usize),
    /// To the target.
    Out(Vec<u8>),
}

/// How a command of a session ended.
#[derive(Debug)]
pub enum TaskEnd {
    /// The target completed it; with what it sent.
    Completed(Completion, Vec<u8>),
    /// It was aborted by a task management function of this session. It may have been carried out in part.
    Aborted,
    /// The target did not complete it: nobody knows what it did.
    Lost(LostBy),
}

/// A session of one connection.
pub struct Session {
    name: String,
    machine: InitiatorConnection,
    wire: Wire,
    framing: Framing,
    buffers: HashMap<TaskId, Vec<u8>>,
    ended: HashMap<TaskId, TaskEnd>,
    managed: HashMap<TaskId, u8>,
    pongs: u32,
    logged_out: bool,
    /// The target wants the session to end.
    unwanted: bool,
    /// Why it is over, if it is.
    over: Option<String>,
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If the target cannot be reached, or not in time, or refuses the login.
    pub fn connect(options: &SessionOptions, deadline: Deadline) -> Result<Self, DeviceError> {
        let name = options.name.clone();
        let unreachable = |source| DeviceError::Unreachable {
            device: options.name.clone(),
            source,
        };
        let mut wire = Wire::connect(&options.host, options.port, deadline).map_err(unreachable)?;
        let framing = Framing {
            digests: Digests::default(),
            max_data: usize::try_from(LOGIN_SEGMENT).unwrap_or(usize::MAX),
        };
        let mut requester = LoginRequester::new(login_options(options));
        let (request, text) = requester.start();
        send_login(&mut wire, &framing, &request, &text);
        let established = loop {
            let pdu = receive(&mut wire, &framing, deadline).map_err(|error| match error {
                Received::Io(source) => unreachable(source),
                Received::Broken(what) => login_error(options, LoginError::Protocol(what)),
            })?;
            let Ok(FromTarget::Login(response)) = FromTarget::parse(&pdu.header) else {
                return Err(login_error(
                    options,
                    LoginError::Protocol("a PDU that is no login response"),
                ));
            };
            let mut failed = None;
            let step = requester.handle(&response, &pdu.data, &mut |bytes| {
                failed = getrandom::fill(bytes).err().or_else(|| failed.take());
            });
            if let Some(error) = failed {
                return Err(unreachable(io::Error::other(error.to_string())));
            }
            match step.map_err(|source| login_error(options, source))? {
                LoginStep::Send(request, text) => send_login(&mut wire, &framing, &request, &text),
                LoginStep::LoggedIn(established) => break *established,
            }
        };
        let agreed = established.parameters;
        let max_data = usize::try_from(agreed.max_receive).unwrap_or(usize::MAX);
        Ok(Self {
            name,
            machine: InitiatorConnection::new(established),
            wire,
            framing: Framing {
                digests: agreed.digests,
                max_data,
            },
            buffers: HashMap::new(),
            ended: HashMap::new(),
            managed: HashMap::new(),
            pongs: 0,
            logged_out: false,
            unwanted: false,
            over: None,
        })
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was agreed on at the login.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.machine.session().parameters
    }

    /// Whether it is over: nothing can be sent any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over.is_some() || self.unwanted || self.logged_out
    }

    /// How many commands are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.machine.tasks()
    }

    /// Sends a command without waiting for its end; at most until `deadline` for room in the target's window. The
    /// command is on its way when [`Self::wait`] or another call moves bytes; [`Self::flush`] sees to that.
    ///
    /// # Errors
    /// If it was not sent.
    pub fn submit(
        &mut self,
        lun: Lun,
        cdb: &[u8],
        payload: Payload,
        deadline: Deadline,
    ) -> Result<TaskId, DeviceError> {
        let mut bytes = [0; 16];
        let Some(start) = bytes.get_mut(..cdb.len()) else {
            return Err(self.unusable("its length"));
        };
        start.copy_from_slice(cdb);
        let (buffer, writes) = match payload {
            Payload::None => (Vec::new(), false),
            Payload::In(length) => (vec![0; length], false),
            Payload::Out(bytes) => (bytes, true),
        };
        let length = u32::try_from(buffer.len()).map_err(|_| self.unusable("that of its data"))?;
        let request = CommandRequest {
            lun,
            cdb: bytes,
            attribute: Attribute::SIMPLE,
            transfer: match (length, writes) {
                (0, _) => Transfer::None,
                (length, true) => Transfer::Write(length),
                (length, false) => Transfer::Read(length),
            },
        };
        loop {
            self.usable(deadline)?;
            match self.machine.command(&request) {
                Ok(task) => {
                    self.buffers.insert(task, buffer);
                    return Ok(task);
                }
                Err(NotNow::WindowFull) => match self.pump(deadline) {
                    Ok(_) => {}
                    Err(_) => return Err(self.not_sent("the session ended")),
                },
                Err(_) => return Err(self.not_sent("the session ends")),
            }
        }
    }

    /// Sends everything that waits to be sent.
    ///
    /// # Errors
    /// If the session ended, or not everything could be sent in time: commands in flight have an unknown outcome.
    pub fn flush(&mut self, deadline: Deadline) -> Result<(), DeviceError> {
        self.finish(deadline, |session| {
            session.produce();
            (session.wire.waiting() == 0).then_some(())
        })
    }

    /// Waits for the end of a command. `None`: it is still in flight at `deadline`, and may be waited for again.
    ///
    /// # Errors
    /// If the session ended before it did.
    pub fn wait(
        &mut self,
        task: TaskId,
        deadline: Deadline,
    ) -> Result<Option<TaskEnd>, DeviceError> {
        if !self.buffers.contains_key(&task) && !self.ended.contains_key(&task) {
            return Err(self.unusable("it is not in flight"));
        }
        self.until(deadline, |session| session.ended.remove(&task))
    }

    /// Waits for the end of any command. `None`: none has ended at `deadline`.
    ///
    /// # Errors
    /// If the session ended before one did.
    pub fn wait_any(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<(TaskId, TaskEnd)>, DeviceError> {
        self.until(deadline, |session| {
            let task = session.ended.keys().min().copied()?;
            session.ended.remove(&task).map(|end| (task, end))
        })
    }

    /// Waits until the target has sent something, and leaves it unread: what it asks for is not answered. `false`: it
    /// has sent nothing by `deadline`. To see what a target makes of an initiator that falls silent.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn hear(&mut self, deadline: Deadline) -> Result<bool, DeviceError> {
        self.wire
            .hear(deadline)
            .map_err(|source| self.lost(LostBy::Io(source)))
    }

    /// Carries out a task management function of [`iscsi::pdu::TaskManagement`] on a logical unit, and returns the
    /// target's response, one of the constants of [`iscsi::pdu::TaskManagementResponse`]. Commands it aborted end with
    /// [`TaskEnd::Aborted`].
    ///
    /// # Errors
    /// If the session ended, or the target did not answer in time.
    pub fn manage(
        &mut self,
        function: u8,
        lun: Lun,
        deadline: Deadline,
    ) -> Result<u8, DeviceError> {
        self.usable(deadline)?;
        let started = self.machine.manage(function, lun);
        self.managed(started, deadline)
    }

    /// ABORT TASK.
    ///
    /// # Errors
    /// As [`Self::manage`]; also if the command is not in flight any more.
    pub fn abort(&mut self, task: TaskId, deadline: Deadline) -> Result<u8, DeviceError> {
        self.usable(deadline)?;
        let started = self.machine.abort(task);
        self.managed(started, deadline)
    }

    fn managed(
        &mut self,
        started: Result<TaskId, NotNow>,
        deadline: Deadline,
    ) -> Result<u8, DeviceError> {
        let function = started.map_err(|_| self.not_sent("there is no such command"))?;
        self.finish(deadline, |session| session.managed.remove(&function))
    }

    /// Asks the target for a sign of life, and waits for it.
    ///
    /// # Errors
    /// If none comes in time, or the session ended.
    pub fn ping(&mut self, deadline: Deadline) -> Result<(), DeviceError> {
        self.usable(deadline)?;
        self.pongs = 0;
        self.machine
            .ping()
            .map_err(|_| self.not_sent("the session ends"))?;
        self.finish(deadline, |session| (session.pongs > 0).then_some(()))
    }

    /// Logs out. Registrations stay.
    ///
    /// # Errors
    /// If the target does not answer in time; the connection is closed all the same.
    pub fn logout(mut self, deadline: Deadline) -> Result<(), DeviceError> {
        if self.over.is_some() {
            return Ok(());
        }
        self.machine
            .logout()
            .map_err(|_| self.not_sent("the session ends"))?;
        self.finish(deadline, |session| session.logged_out.then_some(()))
    }

    /// Ends the session without another word: the connection is closed, and the target gives up what is in flight.
    pub fn end(&mut self, reason: &str) {
        self.over.get_or_insert_with(|| reason.to_owned());
        self.wire.shut();
    }

    /// Moves bytes until `done` gives something; `None`: it has not at `deadline`, however much the target has to say.
    fn until<T>(
        &mut self,
        deadline: Deadline,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, DeviceError> {
        loop {
            if let Some(value) = done(self) {
                return Ok(Some(value));
            }
            let moved = self.pump(deadline).map_err(|source| self.lost(source))?;
            if !moved || deadline.has_passed() {
                return Ok(done(self));
            }
        }
    }

    /// The same, where nothing may be left open.
    fn finish<T>(
        &mut self,
        deadline: Deadline,
        done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let value = self.until(deadline, done)?;
        value.ok_or_else(|| self.lost(LostBy::Expired))
    }

    /// Moves bytes once, and takes in what has come. `false`: the deadline passed before anything could be moved.
    fn pump(&mut self, deadline: Deadline) -> Result<bool, LostBy> {
        if let Some(reason) = &self.over {
            return Err(LostBy::Protocol(reason.clone()));
        }
        let moved = self.pump_open(deadline);
        if let Err(error) = &moved {
            self.over = Some(error.to_string());
        }
        moved
    }

    fn pump_open(&mut self, deadline: Deadline) -> Result<bool, LostBy> {
        // What has come already must not wait for more to come.
        if self.take_in()? {
            return Ok(true);
        }
        self.produce();
        let step = self.wire.step(deadline).map_err(LostBy::Io)?;
        self.take_in()?;
        match step {
            Step::Moved => Ok(true),
            Step::Expired => Ok(false),
            Step::Closed if self.logged_out => Ok(true),
            Step::Closed => Err(LostBy::Closed),
        }
    }

    /// Takes in the PDUs that have come. Whether there were any.
    fn take_in(&mut self) -> Result<bool, LostBy> {
        let mut any = false;
        while self.machine.takes_more() {
            let taken = self.wire.take(&self.framing).map_err(broken)?;
            let Some(pdu) = taken else { break };
            self.consume(&pdu)?;
            self.note();
            self.produce();
            any = true;
        }
        Ok(any)
    }

    /// Makes PDUs ready to be sent.
    fn produce(&mut self) {
        while self.wire.waiting() < AHEAD {
            let Some(Output { header, body, .. }) = self.machine.poll_output() else {
                break;
            };
            let data = match &body {
                Body::None => &[],
                Body::Bytes(bytes) => bytes.as_slice(),
                Body::Task {
                    task,
                    offset,
                    length,
                } => self
                    .buffers
                    .get(task)
                    .and_then(|buffer| buffer.get(span(*offset, *length)))
                    .unwrap_or_default(),
            };
            self.wire.queue(&self.framing, &header, data);
        }
    }

    /// Takes a PDU.
    fn consume(&mut self, pdu: &Pdu) -> Result<(), LostBy> {
        let place = self.machine.begin(&pdu.header).map_err(broken)?;
        let arrived = match place {
            _ if pdu.damaged => Arrived::Damaged,
            Place::None | Place::Discard(_) => Arrived::Placed,
            Place::Bytes(_) => Arrived::Bytes(&pdu.data),
            Place::Task { task, offset, .. } => {
                let length = u32::try_from(pdu.data.len()).unwrap_or(u32::MAX);
                let buffer = self.buffers.get_mut(&task);
                let part = buffer.and_then(|buffer| buffer.get_mut(span(offset, length)));
                part.ok_or_else(|| LostBy::Protocol("data beyond the command's".to_owned()))?
                    .copy_from_slice(&pdu.data);
                Arrived::Placed
            }
        };
        self.machine.finish(arrived).map_err(broken)
    }

    /// Takes note of what happened.
    fn note(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                InitiatorEvent::Finished(task, outcome) => self.finished(task, &outcome),
                InitiatorEvent::Managed {
                    function,
                    response,
                    gone,
                } => {
                    for task in gone {
                        self.buffers.remove(&task);
                        self.ended.insert(task, TaskEnd::Aborted);
                    }
                    self.managed.insert(function, response);
                }
                InitiatorEvent::Rejected { task, reason } => self.rejected(task, reason),
                // Event 0 is a SCSI event, and 4 asks for a negotiation, which is refused by not answering.
                InitiatorEvent::Told(Async { event: 1..=3, .. }) => self.unwanted = true,
                InitiatorEvent::Pong => self.pongs += 1,
                InitiatorEvent::LoggedOut(_) => self.logged_out = true,
                _ => {}
            }
        }
    }

    fn finished(&mut self, task: TaskId, outcome: &Outcome) {
        let mut buffer = self.buffers.remove(&task).unwrap_or_default();
        if outcome.response != 0 {
            let lost = TaskEnd::Lost(LostBy::Target(outcome.response));
            self.ended.insert(task, lost);
            return;
        }
        let status = Status(outcome.status);
        let received = usize::try_from(outcome.received).unwrap_or(usize::MAX);
        let missing = match outcome.residual {
            Residual::Underflow(missing) => usize::try_from(missing).unwrap_or(usize::MAX),
            Residual::None | Residual::Overflow(_) => 0,
        };
        let transferred = if received > 0 {
            received.min(buffer.len())
        } else {
            // Nothing came: it was a write, or everything is missing.
            buffer.len().saturating_sub(missing)
        };
        let sense = Sense::parse(&outcome.sense).ok();
        let completion = Completion {
            status,
            sense: sense.filter(|_| status == Status::CHECK_CONDITION),
            transferred,
        };
        buffer.truncate(transferred);
        self.ended
            .insert(task, TaskEnd::Completed(completion, buffer));
    }

    fn rejected(&mut self, task: Option<TaskId>, reason: u8) {
        let Some(task) = task else { return };
        if self.buffers.remove(&task).is_some() {
            let why = format!("it rejected the command (reason {reason:#04x})");
            let lost = TaskEnd::Lost(LostBy::Protocol(why));
            self.ended.insert(task, lost);
        } else {
            let refused = iscsi::pdu::TaskManagementResponse::REJECTED;
            self.managed.insert(task, refused);
        }
    }

    fn usable(&self, deadline: Deadline) -> Result<(), DeviceError> {
        if self.is_over() {
            return Err(self.not_sent("the session is over"));
        }
        if deadline.has_passed() {
            return Err(self.not_sent("no time left"));
        }
        Ok(())
    }

    fn unusable(&self, reason: &'static str) -> DeviceError {
        let device = self.name.clone();
        DeviceError::Unusable { device, reason }
    }

    fn not_sent(&self, reason: &'static str) -> DeviceError {
        let device = self.name.clone();
        DeviceError::NotSent { device, reason }
    }

    fn lost(&self, source: LostBy) -> DeviceError {
        let device = self.name.clone();
        DeviceError::Lost { device, source }
    }
}

fn span(offset: u32, length: u32) -> std::ops::Range<usize> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    offset..offset.saturating_add(length)
}

fn broken(error: impl std::fmt::Display) -> LostBy {
    LostBy::Protocol(error.to_string())
}

fn login_options(options: &SessionOptions) -> LoginOptions {
    let digest = match options.digests {
        Some(true) => Digest::Require,
        Some(false) => Digest::Refuse,
        None => Digest::Accept,
    };
    LoginOptions {
        initiator: options.initiator.clone(),
        target: Some(options.target.clone()),
        isid: options.isid,
        wishes: Wishes {
            header_digest: digest,
            data_digest: digest,
            ..Wishes::default()
        },
        algorithms: Algorithm::ALL.to_vec(),
        credentials: options.credentials.as_ref().map(|chap| chap.ours.clone()),
        target_credentials: options
            .credentials
            .as_ref()
            .and_then(|chap| chap.target.clone()),
    }
}

fn login_error(options: &SessionOptions, source: LoginError) -> DeviceError {
    DeviceError::Login {
        device: options.name.clone(),
        source,
    }
}

fn send_login(wire: &mut Wire, framing: &Framing, request: &LoginRequest, text: &[u8]) {
    wire.queue(framing, &request.header(), text);
}

/// Why no PDU came.
enum Received {
    Io(io::Error),
    Broken(&'static str),
}

/// The next PDU of the login.
fn receive(wire: &mut Wire, framing: &Framing, deadline: Deadline) -> Result<Pdu, Received> {
    loop {
        let taken = wire.take(framing);
        if let Some(pdu) = taken.map_err(|_| Received::Broken("a PDU that is too long"))? {
            return Ok(pdu);
        }
        match wire.step(deadline).map_err(Received::Io)? {
            Step::Moved => {}
            Step::Expired => return Err(Received::Io(io::ErrorKind::TimedOut.into())),
            Step::Closed => return Err(Received::Io(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
