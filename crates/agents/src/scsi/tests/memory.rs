//! Disks in memory: the reservation state machine of the storage target, with several machines attached, and faults.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadline::Deadline;
use disk::{Address, Completion, Data, DeviceError, LostBy, Request, ScsiDevice};
use fence_agent::Failure;
use fence_agent::memory::Memory;
use scsi::pr::{
    Access, Capabilities, InAction, InitiatorId, InitiatorPort, Key, Nexus, OutAction,
    OutParameters, OutRequest, Refusal, RelativePort, Reservations, Surroundings,
    encode_full_status, parse_full_status,
};
use scsi::vpd::{self, CodeSet, Designator, DesignatorType};
use scsi::{AdditionalSense, Opcode, Sense, SenseKey, Status};

use crate::scsi::act::Work;
use crate::scsi::config::Device;
use crate::scsi::key::Scheme;
use crate::scsi::plan::Whom;
use crate::scsi::reach::Reach;
use crate::scsi::state::Store;

/// What goes wrong with the next command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It arrives, and its answer.
    None,
    /// It is lost on the way.
    LostBefore,
    /// It is carried out, and the answer is lost.
    LostAfter,
    /// It is known not to have been sent.
    NotSent,
    /// A unit attention takes its place.
    Attention,
    /// The device has no room for it: BUSY, TASK SET FULL, not ready yet.
    Busy(u8),
    /// It is aborted, and may have been carried out: with TASK ABORTED, or with ABORTED COMMAND.
    Aborted { with_sense: bool, carried_out: bool },
}

impl Fault {
    /// Every way to be busy.
    pub(super) const BUSY: [Self; 4] = [Self::Busy(0), Self::Busy(1), Self::Busy(2), Self::Busy(3)];
    /// Every way to be aborted.
    pub(super) const ABORTED: [Self; 4] = {
        const fn aborted(with_sense: bool, carried_out: bool) -> Fault {
            Fault::Aborted {
                with_sense,
                carried_out,
            }
        }
        [
            aborted(false, false),
            aborted(false, true),
            aborted(true, false),
            aborted(true, true),
        ]
    };
}

/// How a device says that it has no room for a command.
fn busy(way: u8) -> Completion {
    let not_ready = |what| check(Sense::new(SenseKey::NOT_READY, what));
    match way {
        0 => ended(Status::BUSY),
        1 => ended(Status::TASK_SET_FULL),
        2 => not_ready(AdditionalSense::BECOMING_READY),
        _ => not_ready(AdditionalSense::ACCESS_STATE_TRANSITION),
    }
}

/// What a disk can do, and what becomes of its commands.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub reservations: Reservations,
    /// Unit attentions to report.
    attentions: BTreeMap<Nexus, VecDeque<AdditionalSense>>,
    /// Whose commands were aborted.
    pub aborted: Vec<Nexus>,
    /// The service actions of PERSISTENT RESERVE OUT, with their outcome.
    pub orders: Vec<(Nexus, OutAction, Status)>,
    pub no_full_status: bool,
    /// Its initiators are ports of Fibre Channel.
    pub fibre: bool,
    pub no_abort: bool,
    pub no_aptpl: bool,
    /// What it calls itself.
    pub naa: Option<u64>,
    /// The faults of the next commands.
    pub faults: VecDeque<Fault>,
    /// Paths that nothing comes through: machine's initiator name and number of the path.
    pub dead: Vec<(String, usize)>,
    /// Paths that swallow commands.
    pub hung: Vec<(String, usize)>,
    /// Paths over which the device never has room for a command.
    pub busy: Vec<(String, usize)>,
    /// Runs before the n-th command from now.
    hook: Option<(usize, Hook)>,
}

struct Hook(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Lun(Arc<Mutex<Inner>>);

impl Lun {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `what` just before the `at`-th command from now.
    pub(super) fn before(&self, at: usize, what: impl FnOnce() + Send + 'static) {
        self.lock().hook = Some((at, Hook(Box::new(what))));
    }

    /// What was to run has not, and does not.
    pub(super) fn undisturbed(&self) {
        self.lock().hook = None;
    }

    fn due(&self) -> Option<Hook> {
        let mut inner = self.lock();
        match &mut inner.hook {
            Some((0, _)) => inner.hook.take().map(|(_, hook)| hook),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

impl Inner {
    fn carry_out(&mut self, nexus: &Nexus, request: Request<'_>) -> Completion {
        if let Some(news) = self.attentions.get_mut(nexus).and_then(VecDeque::pop_front) {
            return check(Sense::new(SenseKey::UNIT_ATTENTION, news));
        }
        let answer = match (Opcode(request.cdb[0]), request.data) {
            (Opcode::PERSISTENT_RESERVE_IN, Data::In(buffer)) => self.tell(request.cdb, buffer),
            (Opcode::INQUIRY, Data::In(buffer)) => self.identify(request.cdb, buffer),
            (Opcode::PERSISTENT_RESERVE_OUT, Data::Out(list)) => {
                self.change(nexus, request.cdb, list).map(|()| 0)
            }
            _ => Err(Refusal::illegal(
                AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
            )),
        };
        match answer {
            Ok(transferred) => Completion {
                status: Status::GOOD,
                sense: None,
                transferred,
            },
            Err(Refusal::Check(sense)) => check(sense),
            Err(conflict) => ended(conflict.status()),
        }
    }

    /// INQUIRY of the device identification page.
    fn identify(&self, cdb: &[u8], buffer: &mut [u8]) -> Result<usize, Refusal> {
        let page = vpd::DEVICE_IDENTIFICATION;
        let refused = Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
        let naa = self.naa.filter(|_| cdb[1..3] == [1, page]).ok_or(refused)?;
        let bytes = naa.to_be_bytes().to_vec();
        let naa = Designator::of_unit(CodeSet::BINARY, DesignatorType::NAA, bytes);
        let data = vpd::encode(page, &vpd::encode_designators(&[naa]));
        buffer[..data.len()].copy_from_slice(&data);
        Ok(data.len())
    }

    fn tell(&self, cdb: &[u8], buffer: &mut [u8]) -> Result<usize, Refusal> {
        let (action, allocation) = InAction::parse(cdb)?;
        if action == InAction::ReadFullStatus && self.no_full_status {
            return Err(Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB));
        }
        if action == InAction::ReadFullStatus && self.fibre {
            let data = self.full_status_over_fibre();
            let length = data.len().min(buffer.len()).min(usize::from(allocation));
            buffer[..length].copy_from_slice(&data[..length]);
            return Ok(length);
        }
        let data = self.reservations.data(action).unwrap_or_else(|| {
            let capabilities = Capabilities {
                persist_active: self.reservations.aptpl(),
                ..Capabilities::default()
            };
            capabilities.encode().to_vec()
        });
        let length = data.len().min(buffer.len()).min(usize::from(allocation));
        buffer[..length].copy_from_slice(&data[..length]);
        Ok(length)
    }

    /// Every initiator port as one of Fibre Channel.
    fn full_status_over_fibre(&self) -> Vec<u8> {
        let data = self.reservations.data(InAction::ReadFullStatus).unwrap();
        let (generation, mut all) = parse_full_status(&data).unwrap();
        for (one, registration) in all.iter_mut().zip(self.reservations.registrations()) {
            let initiator = &registration.nexus.initiator;
            let [.., node] = *initiator.name().as_bytes() else {
                unreachable!("names have a number")
            };
            let mut name = [0x21, node, 0, 0, 0, 0, 0, 0];
            name[2..].copy_from_slice(&initiator.isid());
            one.initiator = Ok(InitiatorId::FibreChannel(name));
        }
        encode_full_status(generation, &all)
    }

    fn change(&mut self, nexus: &Nexus, cdb: &[u8], list: &[u8]) -> Result<(), Refusal> {
        let request = OutRequest::parse(cdb)?;
        let result = self.decide(nexus, &request, list);
        let status = result.map_or_else(Refusal::status, |()| Status::GOOD);
        self.orders.push((nexus.clone(), request.action, status));
        result
    }

    fn decide(&mut self, nexus: &Nexus, request: &OutRequest, list: &[u8]) -> Result<(), Refusal> {
        let parameters = OutParameters::parse(request.action, list)?;
        if request.action == OutAction::PreemptAndAbort && self.no_abort {
            return Err(Refusal::illegal(AdditionalSense::INVALID_FIELD_IN_CDB));
        }
        if parameters.aptpl && self.no_aptpl {
            return Err(Refusal::illegal(
                AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST,
            ));
        }
        let around = Surroundings {
            ports: &[RelativePort(1)],
            known: &[],
            room: 64,
        };
        let (next, effects) = self
            .reservations
            .out(nexus, request, &parameters, &around)?;
        self.reservations = next;
        for (whom, what) in effects.attentions {
            self.attentions.entry(whom).or_default().push_back(what);
        }
        self.aborted.extend(effects.abort);
        Ok(())
    }
}

fn check(sense: Sense) -> Completion {
    Completion {
        sense: Some(sense),
        ..ended(Status::CHECK_CONDITION)
    }
}

fn ended(status: Status) -> Completion {
    Completion {
        status,
        sense: None,
        transferred: 0,
    }
}

/// One path of one machine to one disk.
struct Wire {
    lun: Lun,
    nexus: Nexus,
    place: (String, usize),
    tells_port: bool,
}

impl ScsiDevice for Wire {
    fn execute(
        &mut self,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Completion, DeviceError> {
        if let Some(Hook(hook)) = self.lun.due() {
            hook();
        }
        let lost = || DeviceError::Lost {
            device: "wire".to_owned(),
            source: LostBy::Closed,
        };
        let not_sent = || DeviceError::NotSent {
            device: "wire".to_owned(),
            reason: "the path is dead",
        };
        if self.lun.lock().hung.contains(&self.place) {
            std::thread::sleep(deadline.remaining());
            return Err(lost());
        }
        let mut inner = self.lun.lock();
        if inner.dead.contains(&self.place) {
            return Err(not_sent());
        }
        if inner.busy.contains(&self.place) {
            return Ok(busy(0));
        }
        match inner.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => Ok(inner.carry_out(&self.nexus, request)),
            Fault::LostBefore => Err(lost()),
            Fault::NotSent => Err(not_sent()),
            Fault::Attention => Ok(check(Sense::new(
                SenseKey::UNIT_ATTENTION,
                AdditionalSense::MODE_PARAMETERS_CHANGED,
            ))),
            Fault::LostAfter => {
                inner.carry_out(&self.nexus, request);
                Err(lost())
            }
            Fault::Busy(way) => Ok(busy(way)),
            Fault::Aborted {
                with_sense,
                carried_out,
            } => {
                if carried_out {
                    inner.carry_out(&self.nexus, request);
                }
                Ok(if with_sense {
                    check(Sense::new(SenseKey::ABORTED_COMMAND, AdditionalSense::NONE))
                } else {
                    ended(Status::TASK_ABORTED)
                })
            }
        }
    }

    fn name(&self) -> &str {
        "wire"
    }

    fn initiator_port(&self) -> Option<InitiatorPort> {
        self.tells_port.then(|| self.nexus.initiator.clone())
    }
}

/// A machine with some paths to each disk.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub name: String,
    pub key: Key,
    pub luns: Vec<Lun>,
    pub paths: usize,
    /// How often it has started: with new initiator session ids each time.
    pub boots: u8,
    /// The path whose session alone was made anew.
    pub renewed: Option<usize>,
    /// Whether it knows its own initiator ports, as our initiator does and a device node does not.
    pub tells_port: bool,
    /// Whether it knows its initiator name.
    pub tells_name: bool,
    /// What it takes for its initiator name, if that is wrong.
    pub claims: Option<String>,
    pub aptpl: bool,
    pub store: Store,
    /// The keys of all nodes, in the scheme that has to look at them.
    pub known: Option<Vec<Key>>,
    /// The keys that a victim has by other schemes.
    pub also: Vec<Key>,
    /// More names of disks: the disk, and the number of the path that the name leads to.
    pub more: Vec<(usize, usize)>,
}

impl Machine {
    pub(super) fn new(number: u64, luns: &[Lun], paths: usize, directory: &Path) -> Self {
        Self {
            name: format!("iqn.2026-11.example:node{number}"),
            key: Key::new(number).unwrap(),
            luns: luns.to_vec(),
            paths,
            boots: 0,
            renewed: None,
            tells_port: false,
            tells_name: true,
            claims: None,
            aptpl: false,
            store: Store::at(&directory.join(format!("node{number}/cluster"))),
            known: None,
            also: Vec::new(),
            more: Vec::new(),
        }
    }

    /// Starts anew: what it knew is gone, and with `renewed` it comes with other initiator ports.
    pub(super) fn reboot(&mut self, renewed: bool) {
        self.boots += u8::from(renewed);
        self.store.forget();
    }

    pub(super) fn nexus(&self, path: usize) -> Nexus {
        let renewed = u8::from(self.renewed == Some(path));
        let path = u8::try_from(path).unwrap();
        let isid = [0x80, 0, 0, self.boots, renewed, path];
        Nexus {
            initiator: InitiatorPort::new(&self.name, isid).unwrap(),
            port: RelativePort(1),
        }
    }

    /// Over how many paths, to all disks, it may write.
    pub(super) fn writable(&self) -> usize {
        let may = |lun: &Lun, path| {
            lun.lock()
                .reservations
                .permits(&self.nexus(path), Access::Writes)
        };
        let all = self
            .luns
            .iter()
            .flat_map(|lun| (0..self.paths).map(move |path| may(lun, path)));
        all.filter(|may| *may).count()
    }

    /// Whether it, or what it was before a restart, may write anywhere.
    pub(super) fn may_write(&self) -> bool {
        (0..=self.boots).any(|boots| {
            let then = Self {
                boots,
                ..self.clone()
            };
            then.writable() > 0
        })
    }

    pub(super) fn devices(&self) -> Vec<Device> {
        let name = |at| format!("/dev/lun{at}");
        let more = (0..self.more.len()).map(|at| format!("/dev/more{at}"));
        (0..self.luns.len())
            .map(name)
            .chain(more)
            .map(|name| Device::parse(&name).unwrap())
            .collect()
    }

    fn whom(&self, key: Key) -> Whom {
        Whom {
            known: self.known.clone(),
            also: self.also.clone(),
            ..Whom::with_key(key)
        }
    }

    /// Does an action; what it said.
    pub(super) fn act(
        &self,
        action: Action,
        around: &mut Memory,
    ) -> Result<fence_agent::Exit, Failure> {
        let work = Work {
            reach: self,
            store: &self.store,
            devices: &self.devices(),
            aptpl: self.aptpl,
            read_only: false,
            logfile: None,
        };
        match action {
            Action::On => work.on(self.key, around),
            Action::Off(victim) => work.off(&self.whom(victim), around),
            Action::Status(key) => work.status(&self.whom(key), around),
            Action::Monitor => work.monitor(Some(self.key), Scheme::Id, around),
        }
    }

    /// Does an action within a minute.
    pub(super) fn run(&self, action: Action) -> Result<fence_agent::Exit, Failure> {
        self.act(action, &mut Memory::new(Duration::from_secs(60)))
    }
}

/// An action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    On,
    Off(Key),
    Status(Key),
    Monitor,
}

impl Reach for Machine {
    fn paths(&self, device: &Device) -> Result<Vec<Address>, Failure> {
        if let Some(at) = device.name.strip_prefix("/dev/more") {
            let (lun, path) = self.more[at.parse::<usize>().unwrap()];
            return Ok(vec![format!("/dev/lun{lun}/{path}").parse().unwrap()]);
        }
        let path = |at| format!("{}/{at}", device.name).parse().unwrap();
        Ok((0..self.paths).map(path).collect())
    }

    fn open(
        &self,
        path: &Address,
        _: bool,
        _: Deadline,
    ) -> Result<Box<dyn ScsiDevice>, DeviceError> {
        let text = path.to_string();
        let (lun, path) = text
            .strip_prefix("/dev/lun")
            .unwrap()
            .split_once('/')
            .unwrap();
        let (lun, path): (usize, usize) = (lun.parse().unwrap(), path.parse().unwrap());
        Ok(Box::new(Wire {
            lun: self.luns[lun].clone(),
            nexus: self.nexus(path),
            place: (self.name.clone(), path),
            tells_port: self.tells_port,
        }))
    }

    fn initiator(&self) -> Option<String> {
        self.tells_name
            .then(|| self.claims.clone().unwrap_or_else(|| self.name.clone()))
    }
}
