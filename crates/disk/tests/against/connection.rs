//! A connection of the target: bytes in, bytes out, and writes that take a while.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use iscsi::login::{
    Admission, Applicant, Directory, Established, LOGIN_SEGMENT, LoginOutcome, LoginResponder,
    LoginStatus,
};
use iscsi::pdu::{
    Answer, FromInitiator, FromTarget, Lun, NopIn, TaskManagement, TaskManagementResponse,
};
use iscsi::session::{
    Arrived, Body, Place, ScsiTask, TargetConnection, TargetEvent, TaskId, TaskResponse,
};
use iscsi::{Digests, Framing, HEADER_LEN, Header, Tag};
use scsi::lu::{Begun, BlockLength, DataPhase, NexusId, Operation, Reply};
use scsi::pr::OutAction;
use scsi::{Opcode, Status};

use crate::target::{Fault, Manners, NAME, Shared};

/// What the name of an initiator ends with whose writes take a while.
pub(crate) const SLOW: &str = ":slow";
/// How long they take.
const WRITE_TIME: Duration = Duration::from_millis(100);

struct Wire {
    stream: TcpStream,
    inbox: Vec<u8>,
    framing: Framing,
}

type Pdu = (Header, Vec<u8>, Vec<u8>);

impl Wire {
    /// Reads what has come; `false`: the connection has ended.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.inbox.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn take(&mut self) -> Option<Pdu> {
        let (start, _) = self.inbox.split_first_chunk::<HEADER_LEN>()?;
        let header = Header::from(*start);
        let lengths = self.framing.lengths(&header).unwrap();
        if self.inbox.len() < HEADER_LEN + lengths.total() {
            return None;
        }
        let pdu: Vec<u8> = self.inbox.drain(..HEADER_LEN + lengths.total()).collect();
        let (additional, rest) = pdu[HEADER_LEN..].split_at(lengths.additional);
        let (digest, rest) = rest.split_at(lengths.header_digest);
        let (padded, data_digest) = rest.split_at(lengths.data + lengths.padding);
        self.framing
            .check_header(&header, additional, digest)
            .unwrap();
        self.framing.check_data(padded, data_digest).unwrap();
        Some((header, additional.to_vec(), padded[..lengths.data].to_vec()))
    }

    /// Failure means that the initiator is gone, which reading tells as well.
    fn send(&mut self, header: &Header, data: &[u8]) {
        let mut bytes = self.framing.prologue(header, &[], data.len());
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(&self.framing.epilogue(data));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    }
}

/// Knows one target.
struct Names<'a>(&'a Manners);

impl Directory for Names<'_> {
    fn admit(&self, applicant: &Applicant<'_>) -> Result<Admission, LoginStatus> {
        if applicant.target != Some(NAME) {
            return Err(LoginStatus::NOT_FOUND);
        }
        Ok(Admission {
            portal_group: 1,
            tsih: 1,
            authentication: self.0.authentication.clone(),
            window: self.0.window,
        })
    }
}

/// Serves a connection to its end.
pub(crate) fn serve(stream: TcpStream, shared: &Shared) {
    stream
        .set_read_timeout(Some(Duration::from_millis(2)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let framing = Framing {
        digests: Digests::default(),
        max_data: usize::try_from(LOGIN_SEGMENT).unwrap(),
    };
    let mut wire = Wire {
        stream,
        inbox: Vec::new(),
        framing,
    };
    let Some(session) = log_in(&mut wire, shared) else {
        return;
    };
    wire.framing = Framing {
        digests: session.parameters.digests,
        max_data: usize::try_from(session.parameters.max_receive).unwrap(),
    };
    if shared.manners.chatters {
        return chatter(&mut wire, &session, shared);
    }
    let slow = session.initiator.ends_with(SLOW);
    let id = shared.attach(&session.initiator, session.isid);
    let mut connection = Connection {
        shared,
        id,
        machine: TargetConnection::new(session),
        buffers: HashMap::new(),
        jobs: HashMap::new(),
        owed: HashSet::new(),
        due: Vec::new(),
        hung_up: false,
        slow,
    };
    if shared.manners.sends_away {
        connection.machine.ask_logout(1);
    }
    connection.run(&mut wire);
    for task in connection.owed.clone() {
        connection.paid(task);
    }
}

/// NOP-In after NOP-In, as fast as they go.
fn chatter(wire: &mut Wire, session: &Established, shared: &Shared) {
    let nop = NopIn {
        tag: Tag::NONE,
        target_tag: Tag::NONE,
        lun: Lun::default(),
        answer: Answer {
            status_number: session.next_status,
            expected_command: session.next_command,
            last_command: session.last_command,
        },
    };
    let bytes = wire
        .framing
        .prologue(&FromTarget::NopIn(nop).header(), &[], 0)
        .repeat(1000);
    while !shared.stopped.load(Ordering::SeqCst) {
        match wire.stream.write_all(&bytes) {
            Ok(()) => {}
            Err(_) => return,
        }
    }
}

fn log_in(wire: &mut Wire, shared: &Shared) -> Option<Established> {
    let mut responder = LoginResponder::new(shared.manners.wishes);
    let mut seed = 1_u8;
    loop {
        while let Some((header, _, text)) = wire.take() {
            let Ok(FromInitiator::Login(request)) = FromInitiator::parse(&header) else {
                return None;
            };
            let mut random = |bytes: &mut [u8]| {
                seed = seed.wrapping_add(7);
                bytes.fill(seed);
            };
            let names = Names(&shared.manners);
            let reply = responder.handle(&request, &text, &names, &mut random);
            wire.send(&FromTarget::Login(reply.response).header(), &reply.text);
            match reply.outcome {
                LoginOutcome::GoesOn => {}
                LoginOutcome::LoggedIn(session) => return Some(*session),
                LoginOutcome::Refused(_) => return None,
            }
        }
        if !wire.fill() || shared.stopped.load(Ordering::SeqCst) {
            return None;
        }
    }
}

/// A command that was let through.
struct Job {
    cdb: Vec<u8>,
    begun: Begun,
    count: u64,
}

struct Connection<'a> {
    shared: &'a Shared,
    id: NexusId,
    machine: TargetConnection,
    buffers: HashMap<TaskId, Vec<u8>>,
    jobs: HashMap<TaskId, Job>,
    /// Those whose data have not come.
    owed: HashSet<TaskId>,
    /// Commands whose data are there, and when they are carried out.
    due: Vec<(Instant, TaskId)>,
    hung_up: bool,
    /// Its writes take a while.
    slow: bool,
}

impl Connection<'_> {
    fn run(&mut self, wire: &mut Wire) {
        while wire.fill() && !self.shared.stopped.load(Ordering::SeqCst) {
            while let Some(pdu) = wire.take() {
                if !self.receive(&pdu) {
                    return;
                }
            }
            while let Some(event) = self.machine.poll_event() {
                self.event(event);
            }
            self.work();
            if self.hung_up {
                return;
            }
            while let Some(output) = self.machine.poll_output() {
                let data = match output.body {
                    Body::None => Vec::new(),
                    Body::Bytes(bytes) => bytes,
                    Body::Task {
                        task,
                        offset,
                        length,
                    } => {
                        let start = usize::try_from(offset).unwrap();
                        let end = start + usize::try_from(length).unwrap();
                        self.buffers[&task][start..end].to_vec()
                    }
                };
                wire.send(&output.header, &data);
                if let Some(task) = output.last_of {
                    self.buffers.remove(&task);
                }
            }
            if self.machine.is_over() {
                return;
            }
        }
    }

    fn receive(&mut self, (header, additional, data): &Pdu) -> bool {
        let b = self.machine.begin(header, additional);
        if b.is_err() {
            eprintln!("BEGIN {b:?}");
        }
        let Ok(place) = b else {
            return false;
        };
        let arrived = match place {
            Place::None | Place::Discard(_) => Arrived::Placed,
            Place::Bytes(_) => Arrived::Bytes(data),
            Place::Task {
                task,
                offset,
                length,
            } => {
                let start = usize::try_from(offset).unwrap();
                let buffer = self.buffers.entry(task).or_default();
                buffer.resize(buffer.len().max(start + length), 0);
                buffer[start..start + length].copy_from_slice(data);
                Arrived::Placed
            }
        };
        self.machine.finish(arrived).is_ok()
    }

    fn event(&mut self, event: TargetEvent) {
        match event {
            TargetEvent::Command(command) => self.command(&command),
            TargetEvent::Written(task) => self.written(task),
            TargetEvent::Manage {
                id,
                function,
                tasks,
                ..
            } => {
                for task in tasks {
                    self.jobs.remove(&task);
                    self.paid(task);
                }
                if function == TaskManagement::LOGICAL_UNIT_RESET {
                    self.shared.reset();
                }
                self.machine.managed(id, TaskManagementResponse::COMPLETE);
            }
            TargetEvent::LoggedOut { .. } => {}
            TargetEvent::Pong => {}
            other => panic!("{other:?}"),
        }
    }

    fn command(&mut self, command: &ScsiTask) {
        let manners = &self.shared.manners;
        let opcode = Opcode(command.cdb[0]);
        if manners.ignores == Some(opcode) {
            return;
        }
        self.hung_up |= manners.hangs_up_on == Some(opcode);
        if manners.pings {
            self.machine.ping();
        }
        let cdb = command.cdb.to_vec();
        let (begun, count) = self.shared.begin(self.id, &cdb);
        let length = match &begun {
            Begun::Medium(operation) => match operation.data_phase(BlockLength::B512) {
                DataPhase::Out(length) => length,
                _ => 0,
            },
            Begun::Parameters { length } => u64::from(*length),
            Begun::Done(_) => 0,
        };
        self.jobs.insert(command.task, Job { cdb, begun, count });
        if length == 0 || self.machine.want(command.task, length) {
            self.written(command.task);
        } else {
            self.owed.insert(command.task);
            self.shared.owed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Nobody waits for the data of a command any more.
    fn paid(&mut self, task: TaskId) {
        if self.owed.remove(&task) {
            self.shared.owed.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// All data are there.
    fn written(&mut self, task: TaskId) {
        self.paid(task);
        let fault = self.shared.manners.fault;
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if fault == Fault::TakesLateData {
            // What happened before the data came does not count.
            job.count = self.shared.aborts(self.id);
        }
        let slow = self.slow && matches!(&job.begun, Begun::Medium(Operation::Write { .. }));
        let wait = if slow { WRITE_TIME } else { Duration::ZERO };
        self.due.push((Instant::now() + wait, task));
    }

    /// A PREEMPT AND ABORT that waits for others' data.
    fn waits(&self, task: TaskId) -> bool {
        const PREEMPT_AND_ABORT: [u8; 2] = [
            Opcode::PERSISTENT_RESERVE_OUT.0,
            OutAction::PreemptAndAbort.code(),
        ];
        let job = self.jobs.get(&task);
        self.shared.manners.fault == Fault::WaitsForData
            && job.is_some_and(|job| job.cdb.starts_with(&PREEMPT_AND_ABORT))
            && self.shared.owed.load(Ordering::SeqCst) > 0
    }

    /// Carries out what is due.
    fn work(&mut self) {
        let now = Instant::now();
        let (due, later) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = later;
        let due: Vec<(Instant, TaskId)> = due;
        for (at, task) in due {
            if self.waits(task) {
                self.due.push((at, task));
                continue;
            }
            let Some(job) = self.jobs.remove(&task) else {
                continue;
            };
            let data = self.buffers.get(&task).cloned().unwrap_or_default();
            let reply = self
                .shared
                .finish(self.id, &job.cdb, &job.begun, job.count, &data);
            match reply {
                None => {
                    self.machine.abort(task);
                }
                Some(reply) => self.respond(task, reply, data.len()),
            }
        }
    }

    fn respond(&mut self, task: TaskId, reply: Reply, taken: usize) {
        let sense = reply
            .sense
            .map(|sense| self.shared.state().unit.encode_sense(&sense));
        let length = u64::try_from(reply.data.len().max(taken)).unwrap();
        if reply.status == Status::GOOD && taken == 0 {
            self.buffers.insert(task, reply.data);
        }
        self.machine.respond(
            task,
            TaskResponse {
                status: reply.status.0,
                length,
                sense: sense.unwrap_or_default(),
            },
        );
    }
}
