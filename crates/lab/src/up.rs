//! Bringing a lab up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::Secrets;
use deadline::Deadline;
use jiff::Timestamp;

use crate::accel::{self, Accel};
use crate::bmc::{self, Controller, Power};
use crate::cache::{Cache, Key, create_private};
use crate::command::{Cancel, wait_for};
use crate::domain::{CONFIG_DISK, Guests, console, definition, uuid};
use crate::error::Error;
use crate::event::{Event, Step};
use crate::form::Wanted;
use crate::image::{self, Image};
use crate::lab::{Lab, Origin};
use crate::libvirt::Libvirt;
use crate::lock::Lock;
use crate::net::NetNs;
use crate::saved::{self, Saved};
use crate::spec::{Node, Spec};
use crate::ssh::Keys;
use crate::state::{Phase, Place, State, machines, root};
use crate::storage::Server;
use crate::target::{self, Target};
use crate::{apply, config, disk, fencing, form, preflight, tsc};

/// Limits are four times what an idle machine of two cores takes under emulation, or more.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
const RESOURCES_LIMIT: Duration = Duration::from_secs(300);
/// How long a lab that is up, or was just restored, may take to show that it is whole.
const VERIFY_LIMIT: Duration = Duration::from_secs(90);

/// See [`Lab::up`].
pub(crate) fn up(spec: &Spec, events: &mut dyn FnMut(Event)) -> Result<Lab, Error> {
    let cache = Cache::of_this_machine();
    let nodes = config::nodes(&spec.definition)?;
    preflight::check(spec, &cache)?;
    create_private(root())?;
    cache.prepare()?;
    cache.remove_interrupted()?;
    let place = Place::of(&spec.name);
    let _lock = match Lock::try_take(&place.lock())? {
        Ok(lock) => lock,
        Err(held) => {
            return Err(Error::Busy {
                name: spec.name.to_string(),
                holder: held.by,
            });
        }
    };
    let seed = cache.seed()?;
    let secrets = Secrets::derive(&seed);
    let controllers = bmc::controllers(&spec.definition, &seed)?;
    let cluster = if spec.blank {
        None
    } else {
        let keys = deploy::Keys::from_seed(cache.seed()?);
        Some(Cluster::of(&apply::desired(&spec.definition, &keys)?))
    };
    let storage = Server::of(&spec.definition)?;
    let target = Target::of(&spec.definition)?;
    if let Some(target) = &target {
        target::check(&spec.definition, target)?;
    }
    let keys = Keys::of_this_machine(&cache, &spec.cancel)?;
    let archive = config::archive(
        spec,
        &config::Contents {
            nodes: &nodes,
            storage: storage.as_ref(),
            controllers: &controllers,
            keys: &keys,
        },
    )?;
    let mut steps = Steps { events };
    let contents = contents(spec, &nodes, &archive);
    if let Some(lab) = existing(spec, &place, &contents, cluster.as_ref(), &mut steps)? {
        return Ok(lab);
    }
    let image = image::find_or_build(&cache, &spec.cancel, steps.events)?;
    let accel = accel::probe(&image, &root().join(".kvm"), &spec.cancel)?;
    let start = Start {
        spec,
        cache: &cache,
        place,
        machines: machines(&nodes, storage.as_ref()),
        nodes,
        storage,
        target,
        controllers,
        cluster,
        contents,
        archive,
        keys,
        secrets,
        image,
        accel,
        tsc_khz: if accel == Accel::Tcg {
            tsc::measure_khz()
        } else {
            None
        },
    };
    start.run(&mut steps)
}

/// What makes guests a cluster.
struct Cluster {
    /// The hash of all that is put on them.
    hash: String,
    resources: Vec<Wanted>,
}

impl Cluster {
    fn of(desired: &deploy::Desired) -> Self {
        let mut key = Key::default();
        for node in &desired.machines {
            key = key.part(&node.machine.name);
            for file in &node.files {
                key = key
                    .part(file.path.as_os_str().as_encoded_bytes())
                    .part(file.mode.to_be_bytes())
                    .part(file.owner.user())
                    .part(&file.bytes);
            }
            key = node.units.iter().fold(key, |key, unit| key.part(unit));
            let steps = node.preparations.iter();
            key = steps.fold(key, |key, step| key.part(&step.script));
        }
        let cib = desired
            .machines
            .first()
            .and_then(|node| node.file(deploy::CIB));
        Self {
            hash: key.finish(),
            resources: cib.map_or_else(Vec::new, |file| form::resources_of(&file.bytes)),
        }
    }
}

/// The hash of everything that the guests are made from, image aside.
fn contents(spec: &Spec, nodes: &[Node], archive: &[u8]) -> String {
    nodes
        .iter()
        .fold(Key::default(), |key, node| {
            key.part(&node.name).part(node.address.octets())
        })
        .part(archive)
        .part(spec.memory_mib.to_be_bytes())
        .part(spec.disk_mib.to_be_bytes())
        .part(spec.stack.to_string())
        .finish()
}

/// The lab, if it is up with these contents. What an interrupted run left is removed.
fn existing(
    spec: &Spec,
    place: &Place,
    contents: &str,
    cluster: Option<&Cluster>,
    steps: &mut Steps<'_>,
) -> Result<Option<Lab>, Error> {
    if !place.directory().exists() {
        // We write the directory before we make the namespace, so this one is somebody else's.
        if NetNs::named(place.name.as_str()).exists() {
            return Err(Error::BadSpec {
                reason: format!(
                    "there is a network namespace {0} that is no lab's; choose another name with --name, or remove it with `ip netns delete {0}`",
                    place.name
                ),
            });
        }
        return Ok(None);
    }
    let formed = place.read()?.filter(|state| state.phase == Phase::Formed);
    let lab = formed.map(|state| {
        let origin = Origin::Found;
        Lab::of(place.clone(), State { origin, ..state })
    });
    // Without its daemons, after a restart of the machine say, it is no lab any more.
    if let Some(lab) = lab.filter(Lab::has_daemons) {
        // One that was brought up blank may have been given a cluster since: then it must be the one
        // asked for, which the nodes are asked.
        let other = |cluster: &Cluster| lab.cluster().is_some_and(|its| its != cluster.hash);
        let as_asked = match cluster {
            Some(cluster) => !other(cluster),
            None => lab.cluster().is_none(),
        };
        if spec.fresh || lab.contents() != contents || !as_asked {
            return Err(Error::AlreadyUp {
                name: spec.name.to_string(),
            });
        }
        return steps
            .run(Step::Verify, |_| found(lab, spec, cluster))
            .map(Some);
    }
    steps.run(Step::CleanUp, |_| Lab::remove_locked(place))?;
    Ok(None)
}

/// A lab that is up, once it has shown that it is whole.
fn found(mut lab: Lab, spec: &Spec, cluster: Option<&Cluster>) -> Result<Lab, Error> {
    let deadline = Deadline::after(VERIFY_LIMIT);
    let Some(cluster) = cluster else {
        lab.answer(deadline)?;
        return Ok(lab);
    };
    let was_blank = lab.cluster().is_none();
    lab.set_cluster(Some(cluster.hash.clone()), cluster.resources.clone());
    let form = lab.wait_formed_unless(deadline, &spec.cancel, &mut |_| ())?;
    if was_blank {
        lab.set_formed(Some(form));
        lab.write_state()?;
    }
    Ok(lab)
}

/// Wraps work in events.
struct Steps<'a> {
    events: &'a mut dyn FnMut(Event),
}

impl Steps<'_> {
    fn run<T>(
        &mut self,
        step: Step,
        work: impl FnOnce(&mut dyn FnMut(Event)) -> Result<T, Error>,
    ) -> Result<T, Error> {
        (self.events)(Event::Started { step });
        let began = Instant::now();
        let result = work(self.events)?;
        (self.events)(Event::Finished {
            step,
            took: began.elapsed(),
        });
        Ok(result)
    }

    fn notice(&mut self, text: String) {
        (self.events)(Event::Notice { text });
    }
}

/// How a lab came up: with what cluster, if any.
type Up = Option<crate::Form>;

/// Everything that is known before the first process is started.
struct Start<'a> {
    spec: &'a Spec,
    cache: &'a Cache,
    place: Place,
    nodes: Vec<Node>,
    storage: Option<Server>,
    target: Option<Target>,
    /// Of the bare-metal nodes.
    controllers: Vec<Controller>,
    /// The nodes, and the storage guest.
    machines: Vec<Node>,
    /// `None` if the guests are to stay blank.
    cluster: Option<Cluster>,
    contents: String,
    archive: Vec<u8>,
    keys: Keys,
    secrets: Secrets,
    image: Image,
    accel: Accel,
    tsc_khz: Option<u32>,
}

impl Start<'_> {
    /// Starts it all; takes it down again, keeping the logs, if that fails.
    fn run(self, steps: &mut Steps<'_>) -> Result<Lab, Error> {
        match self.attempt(steps) {
            Ok(lab) => Ok(lab),
            Err(error) => {
                // Whoever cancels knows why it came to nothing.
                let kept = !matches!(error, Error::Cancelled { .. }) && self.keep_logs().is_ok();
                Lab::remove_locked(&self.place)?;
                if kept {
                    steps.notice(format!(
                        "consoles and logs of the failed attempt are in {}",
                        self.place.failed().display()
                    ));
                }
                Err(error)
            }
        }
    }

    fn attempt(&self, steps: &mut Steps<'_>) -> Result<Lab, Error> {
        let directory = self.place.directory();
        create_private(&directory)?;
        let mut lab = Lab::of(self.place.clone(), self.state());
        lab.write_state()?;
        let power = steps.run(Step::Host, |_| self.host())?;
        if self.fence_virtd() {
            steps.run(Step::FenceDaemon, |_| {
                fencing::start(&power.guests, &directory, self.spec, &self.secrets)
            })?;
        }
        let key = saved::key(&self.spec.name, &lab.full_contents(), self.accel);
        let usable = Saved::find(self.cache, &key, self.tsc_khz)
            .filter(|_| !self.spec.fresh && self.can_be_saved());
        let restored = match usable {
            Some(saved) => self.restore_or_give_up(&lab, &power, saved, steps)?,
            None => None,
        };
        let form = match restored {
            Some(form) => {
                lab.set_origin(Origin::Restored);
                form
            }
            None => self.form_anew(&lab, &power, &key, steps)?,
        };
        lab.set_formed(form);
        lab.write_state()?;
        Ok(lab)
    }

    /// Whether there is anybody to ask `fence_virtd`.
    fn fence_virtd(&self) -> bool {
        self.spec.definition.virt().is_some()
    }

    /// Whether the guests can be brought back from what is in the cache. Not where their disks are served from
    /// outside: the server would know neither their sessions nor their registrations.
    const fn can_be_saved(&self) -> bool {
        self.target.is_none()
    }

    fn state(&self) -> State {
        let cluster = self.cluster.as_ref();
        State {
            version: State::VERSION,
            phase: Phase::Starting,
            since: Timestamp::now(),
            contents: self.contents.clone(),
            image: self.image.key.clone(),
            nodes: self.nodes.clone(),
            storage: self.storage.clone(),
            target: self.target.clone(),
            fence_virtd: self.fence_virtd(),
            metal: self.metal(),
            resources: cluster.map_or_else(Vec::new, |cluster| cluster.resources.clone()),
            cluster: cluster.map(|cluster| cluster.hash.clone()),
            stack: self.spec.stack,
            accel: self.accel,
            memory_mib: self.spec.memory_mib,
            origin: Origin::Booted,
            form: None,
        }
    }

    /// Network, libvirtd, definitions.
    fn host(&self) -> Result<Power, Error> {
        let (directory, cancel) = (self.place.directory(), &self.spec.cancel);
        let netns = NetNs::named(self.place.name.as_str());
        netns.create(self.machines.len(), cancel)?;
        let disk = directory.join(CONFIG_DISK);
        fs::write(&disk, &self.archive).map_err(Error::io("write", &disk))?;
        self.keys.write(&directory, &self.machines)?;
        if let Some(target) = &self.target {
            let mib = self.spec.disk_mib.into();
            target.start(&netns, &self.spec.bindir, &directory, mib, cancel)?;
        }
        let power = Power {
            guests: Libvirt::start(&netns, &directory, &self.cache.libvirt(), cancel)?,
            hall: self.hall(&netns)?,
            metal: self.metal(),
        };
        let guests = Guests {
            lab: &self.spec.name,
            image: &self.image,
            accel: self.accel,
            memory_mib: self.spec.memory_mib,
            storage: self.storage.as_ref(),
            tsc_khz: self.tsc_khz,
            directory: &directory,
        };
        for (number, node) in (1..).zip(&self.machines) {
            let path = definition(&directory, &node.name);
            fs::write(&path, guests.definition(node, number)).map_err(Error::io("write", &path))?;
            let console = console(&directory, &node.name);
            fs::write(&console, "").map_err(Error::io("create", &console))?;
            let args = ["define".into(), path.into_os_string(), "--validate".into()];
            power
                .of(&node.name)
                .virsh("defining a guest", args, cancel)?;
        }
        Ok(power)
    }

    /// The bare-metal machines' libvirtd and their management controllers, if there are any.
    fn hall(&self, netns: &NetNs) -> Result<Option<Libvirt>, Error> {
        if self.controllers.is_empty() {
            return Ok(None);
        }
        let (directory, cancel) = (self.place.directory(), &self.spec.cancel);
        let log_to = bmc::hall(&directory);
        create_private(&log_to)?;
        let hall = Libvirt::start(netns, &log_to, &self.cache.libvirt(), cancel)?;
        for controller in &self.controllers {
            netns.add_address(controller.address, cancel)?;
            let machine = (1..).zip(&self.machines);
            let number = machine
                .filter(|(_, node)| node.name == controller.node)
                .map(|(number, _)| number);
            let machine = uuid(&self.spec.name, number.sum());
            controller.start(&hall, &directory, machine, cancel)?;
        }
        Ok(Some(hall))
    }

    fn metal(&self) -> Vec<String> {
        let names = self.controllers.iter().map(|controller| &controller.node);
        names.cloned().collect()
    }

    /// The files of all writable disks.
    fn disks(&self) -> Vec<PathBuf> {
        let directory = self.place.directory();
        let own = self
            .machines
            .iter()
            .map(|node| disk::own(&directory, &node.name));
        own.chain(self.served()).collect()
    }

    fn served(&self) -> Vec<PathBuf> {
        let directory = self.place.directory();
        let files = self
            .storage
            .as_ref()
            .map(|storage| storage.files(&directory));
        files.into_iter().flatten().map(|(file, _)| file).collect()
    }

    /// Disks as they are before the first boot.
    fn make_disks(&self) -> Result<(), Error> {
        let directory = self.place.directory();
        for node in &self.machines {
            disk::make_own(&disk::own(&directory, &node.name), &self.spec.cancel)?;
        }
        let mib = self.spec.disk_mib.into();
        self.served()
            .iter()
            .try_for_each(|file| disk::make_blank(file, mib))
    }

    fn guests<'a>(
        &'a self,
        power: &'a Power,
        directory: &'a Path,
        disks: &'a [PathBuf],
    ) -> saved::Guests<'a> {
        saved::Guests {
            power,
            nodes: &self.machines,
            disks,
            directory,
            cancel: &self.spec.cancel,
        }
    }

    /// Restores, and verifies that nothing has changed. A saved cluster that does not come back is
    /// removed, and its guests with it; only a cancellation ends the attempt.
    fn restore_or_give_up(
        &self,
        lab: &Lab,
        power: &Power,
        saved: Saved,
        steps: &mut Steps<'_>,
    ) -> Result<Option<Up>, Error> {
        match self.restore(lab, power, &saved, steps) {
            Ok(form) => Ok(Some(form)),
            Err(error @ Error::Cancelled { .. }) => Err(error),
            Err(error) => {
                steps.notice(format!(
                    "the saved cluster did not come back and is removed: {error}; forming a new one"
                ));
                self.stop_guests(power)?;
                saved.discard()?;
                Ok(None)
            }
        }
    }

    fn restore(
        &self,
        lab: &Lab,
        power: &Power,
        saved: &Saved,
        steps: &mut Steps<'_>,
    ) -> Result<Up, Error> {
        let cancel = &self.spec.cancel;
        let directory = self.place.directory();
        steps.run(Step::Restore, |_| {
            saved.restore(&self.guests(power, &directory, &self.disks()))
        })?;
        steps.run(Step::Verify, |events| {
            let deadline = Deadline::after(VERIFY_LIMIT);
            let mut say = |detail: &str| {
                events(Event::Progress {
                    step: Step::Verify,
                    detail: detail.to_owned(),
                });
            };
            say("setting the guests' clocks");
            // It is answered by each: that is all there is to see of guests without a cluster.
            lab.set_clocks(deadline)?;
            let Some(before) = saved.form() else {
                return Ok(None);
            };
            say("asking the nodes");
            let form = lab.wait_formed_unless(deadline, cancel, &mut say)?;
            say("comparing the membership");
            lab.same_membership(&before.ring, deadline)?;
            Ok(Some(form))
        })
    }

    /// Boots, waits for the cluster, saves it and brings it back.
    fn form_anew(
        &self,
        lab: &Lab,
        power: &Power,
        key: &str,
        steps: &mut Steps<'_>,
    ) -> Result<Up, Error> {
        let form = self.boot(lab, power, steps)?;
        if !self.can_be_saved() {
            return Ok(form);
        }
        let (directory, disks) = (self.place.directory(), self.disks());
        let guests = self.guests(power, &directory, &disks);
        if !guests.have_room(self.cache, self.spec.memory_mib) {
            steps.notice(format!(
                "the cluster is not saved: too little room in {}",
                self.cache.root().display()
            ));
            return Ok(form);
        }
        let around = (self.accel, self.tsc_khz, form);
        let saved = steps.run(Step::Save, |_| {
            saved::save(self.cache, key, &guests, around)
        })?;
        match self.restore_or_give_up(lab, power, saved, steps)? {
            Some(form) => Ok(form),
            None => self.boot(lab, power, steps),
        }
    }

    fn boot(&self, lab: &Lab, power: &Power, steps: &mut Steps<'_>) -> Result<Up, Error> {
        let cancel = &self.spec.cancel;
        steps.run(Step::Boot, |events| {
            self.make_disks()?;
            saved::at_once(&self.machines, |node| {
                let libvirt = power.of(&node.name);
                libvirt.virsh("starting a guest", ["start", node.name.as_str()], cancel)
            })?;
            self.milestone(Step::Boot, "LAB-UP ", Deadline::after(BOOT_LIMIT), events)
        })?;
        if self.cluster.is_none() {
            return Ok(None);
        }
        steps.run(Step::Apply, |events| {
            lab.apply(&self.spec.definition, cancel, events)
        })?;
        let form = steps.run(Step::Resources, |events| {
            let deadline = Deadline::after(RESOURCES_LIMIT);
            lab.wait_formed_unless(deadline, cancel, &mut |saw| {
                events(Event::Progress {
                    step: Step::Resources,
                    detail: saw.to_owned(),
                });
            })
        })?;
        Ok(Some(form))
    }

    /// Waits until every node has said `word` on its console.
    fn milestone(
        &self,
        step: Step,
        word: &str,
        deadline: Deadline,
        events: &mut dyn FnMut(Event),
    ) -> Result<(), Error> {
        let directory = self.place.directory();
        let mut waiting: Vec<&Node> = self.machines.iter().collect();
        let mut broken = None;
        let outcome = wait_for(
            step.describe(),
            deadline,
            &self.spec.cancel,
            || {
                waiting.retain(|node| {
                    let text = fs::read(console(&directory, &node.name)).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    if let Some(line) = text.lines().find(|line| line.contains("LAB-BROKEN")) {
                        broken = Some(format!("{}: {}", node.name, line.trim()));
                    }
                    let there = text.contains(word);
                    if there {
                        events(Event::Progress {
                            step,
                            detail: node.name.clone(),
                        });
                    }
                    !there
                });
                match broken.take() {
                    Some(saw) => Err(Error::NotFormed { saw }),
                    None => Ok(waiting.is_empty().then_some(())),
                }
            },
            String::new,
        );
        match outcome {
            Err(Error::DeadlinePassed { doing, after, .. }) => Err(Error::DeadlinePassed {
                doing,
                after,
                detail: format!(
                    "nothing of {} yet",
                    waiting
                        .iter()
                        .map(|node| node.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }),
            other => other,
        }
    }

    fn stop_guests(&self, power: &Power) -> Result<(), Error> {
        for libvirt in power.all() {
            let running = libvirt.virsh("listing guests", ["list", "--name"], &Cancel::never())?;
            let names = running.lines().map(str::trim);
            for name in names.filter(|name| !name.is_empty()) {
                libvirt.virsh("stopping a guest", ["destroy", name], &Cancel::never())?;
            }
        }
        // What they said belongs to another story.
        for node in &self.machines {
            let console = console(&self.place.directory(), &node.name);
            fs::write(&console, "").map_err(Error::io("empty", &console))?;
        }
        Ok(())
    }

    /// Keeps consoles and logs, and nothing secret, of an attempt that failed.
    fn keep_logs(&self) -> std::io::Result<()> {
        let to = self.place.failed();
        let _ = fs::remove_dir_all(&to);
        create_private(&to).map_err(std::io::Error::other)?;
        for entry in fs::read_dir(self.place.directory())?.flatten() {
            let path = entry.path();
            let kept = path
                .extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| {
                    ["console", "log", "out", "jsonl", "xml"].contains(&extension)
                });
            if kept {
                fs::copy(&path, to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}
