//! A drill of a file system that all nodes write to at the same time.
//!
//! ```text
//!  lab up ─▶ both write ─▶ fault ─▶ the survivor waits, fences, recovers the journal, writes on
//!         ─▶ the failed node comes back ─▶ records compared ─▶ unmounted everywhere ─▶ fsck ─▶ lab down
//! ```
//!
//! Every record is on storage before it is acknowledged, and every record takes the file's lock from the
//! other node. So after the fault the survivor stands still until DLM has heard that the failed node is
//! fenced, and every record that was acknowledged must be found afterwards, of both nodes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use cluster::{Definition, FilesystemKind};
use deadline::Deadline;
use jiff::{SignedDuration, Timestamp};
use lab::{Injected, Lab, Stack};
use serde::Serialize;

use super::super::event::Event;
use super::super::timeline::{self, Mark, Milestone, PowerOff, Step, Verdict};
use super::records;
use super::{Audit, Drill, Error, FAULT_LIMIT, LOOK, Plan, confirmed, load, survivors};

const WRITER: &str = include_str!("../writer.py");
/// Records that every node must have written before the fault.
const BEFORE: u64 = 10;
/// Records that the survivor must have written after the power-off was confirmed.
const AFTER: u64 = 10;
/// How long the writers may take to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(120);
/// How long the failed node may take to come back and join.
const RETURN_LIMIT: Duration = Duration::from_secs(600);
/// How long stopping, unmounting and checking may take.
const CHECK_LIMIT: Duration = Duration::from_secs(300);

/// The result of a storage drill. The names of its fields are an interface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// The node that failed.
    pub victim: String,
    /// What was done to it.
    pub fault: lab::Fault,
    /// Whose fencing programs were used.
    pub stack: Stack,
    /// When.
    pub at: Timestamp,
    /// The file that was written.
    pub file: String,
    /// What happened, in order.
    pub timeline: Vec<Step>,
    /// Seconds from the fault until the survivor wrote again.
    pub resumed: Option<f64>,
    /// The proof of the power-off.
    pub power_off: Option<PowerOff>,
    /// What each node wrote.
    pub records: Vec<Records>,
    /// Whether all nodes read the same file afterwards.
    pub same_everywhere: bool,
    /// What `fsck.gfs2 -n` said of the unmounted file system.
    pub fsck: Fsck,
    /// Processes of this machine that ran or waited to run, on average over a minute.
    pub load: Option<f64>,
    /// What could not be found out, and why.
    pub gaps: Vec<String>,
}

/// The records of one node.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Records {
    /// Which node.
    pub node: String,
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// Those of them that are not there, or not as they were written.
    pub lost: Vec<u64>,
}

/// What a check of the file system said.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fsck {
    /// Its exit status; 0 is a file system in which nothing is wrong.
    pub status: i32,
    /// The end of what it printed.
    pub said: String,
}

/// Does one storage drill. The lab is taken down afterwards unless it is to be kept.
///
/// # Errors
/// When the drill could not be done. What it found wrong is in the [`Report`].
pub(crate) fn perform(plan: &Plan, show: &mut dyn FnMut(Event)) -> Result<Report, Error> {
    let target = Target::of(&plan.spec.definition)?;
    let lab = Lab::up(&plan.spec, &mut |lab| show(Event::Lab { lab }))?;
    show(Event::Up {
        origin: lab.origin(),
        nodes: lab.nodes().iter().map(|node| node.name.clone()).collect(),
    });
    let result = on_lab(&lab, plan, &target, show);
    if !plan.keep {
        show(Event::TakingDown);
        let down = lab.down();
        if result.is_ok() {
            down?;
        }
    }
    result
}

/// The file system that is written to.
struct Target {
    mount: String,
    volume: String,
    clone: String,
}

impl Target {
    fn of(definition: &Definition) -> Result<Self, Error> {
        definition
            .filesystems
            .iter()
            .filter(|one| one.kind == FilesystemKind::Gfs2)
            .find_map(|one| {
                Some(Self {
                    mount: one.mount.as_str().to_owned(),
                    volume: one.volume.as_ref()?.to_string(),
                    clone: format!("cluster.filesystem.{}.clone", one.name),
                })
            })
            .ok_or(Error::NoSharedFilesystem)
    }
}

/// A node that writes. Ends with this.
struct Writer {
    node: String,
    child: Child,
    acknowledged: Receiver<(Instant, u64)>,
    seen: Vec<(Instant, u64)>,
}

impl Writer {
    fn start(lab: &Lab, node: &str, file: &str, index: usize, of: usize) -> std::io::Result<Self> {
        let ssh = lab.ssh();
        let mut words = ssh.prefix.iter();
        let mut command = Command::new(
            words
                .next()
                .map_or_else(|| "ssh".as_ref(), |word| word.as_os_str()),
        );
        command.args(words).arg("ssh").arg("-F").arg(&ssh.config);
        command.args(["-T", "-o", "BatchMode=yes", "--", node]);
        command.arg(format!("exec python3 -u - {file} {index} {of}"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(WRITER.as_bytes())?;
        }
        let (sender, acknowledged) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let Ok(number) = line.trim().parse() else {
                        break;
                    };
                    if sender.send((Instant::now(), number)).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self {
            node: node.to_owned(),
            child,
            acknowledged,
            seen: Vec::new(),
        })
    }

    fn look(&mut self) {
        self.seen.extend(self.acknowledged.try_iter());
    }

    fn last(&self) -> Option<u64> {
        self.seen.last().map(|(_, number)| *number)
    }

    fn count_after(&self, moment: Instant) -> u64 {
        self.seen.iter().filter(|(at, _)| *at > moment).count() as u64
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.look();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn on_lab(
    lab: &Lab,
    plan: &Plan,
    target: &Target,
    show: &mut dyn FnMut(Event),
) -> Result<Report, Error> {
    let nodes: Vec<String> = lab.nodes().iter().map(|node| node.name.clone()).collect();
    let victim = plan
        .node
        .as_ref()
        .map_or_else(|| nodes[0].clone(), ToString::to_string);
    let file = format!(
        "{}/picket-drill.{}",
        target.mount,
        Timestamp::now().as_second()
    );
    let mut writers = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        writers.push(Writer::start(lab, node, &file, index, nodes.len()).map_err(Error::Writer)?);
    }
    begin(&mut writers, plan)?;
    let mut drill = Drill {
        site: lab,
        plan,
        resource: String::new(),
        serves: false,
        survivors: survivors(lab, &victim),
        victim: victim.clone(),
        load: load(),
        gaps: Vec::new(),
    };
    let before = drill.clocks();
    let injected = lab.inject(&victim, plan.fault, Deadline::after(FAULT_LIMIT))?;
    show(Event::Fault {
        node: injected.node.clone(),
        fault: injected.fault,
        evidence: injected.evidence.clone(),
    });
    let proof = watch(lab, plan, &mut writers, &injected, show)?;
    show(Event::Collecting);
    let clocks = drill.better_clocks(before);
    let mut marks = drill.collect(&injected, &clocks);
    marks.extend(own_marks(&injected, proof.as_ref()));
    let resumed = pause(&writers, &injected).map(|(paused, resumed)| {
        marks.push(of_writer(
            Milestone::WritesPaused,
            paused,
            "the last record before the pause",
        ));
        marks.push(of_writer(
            Milestone::WritesResumed,
            resumed,
            "the first record after it",
        ));
        resumed.as_secs_f64()
    });
    // The failed node comes back by itself: only then do all look at the same file system again.
    if let Err(error) = lab.wait_formed(Deadline::after(RETURN_LIMIT)) {
        drill
            .gaps
            .push(format!("the failed node did not come back: {error}"));
    }
    for writer in &mut writers {
        writer.stop();
    }
    let (records, same_everywhere) = compare(lab, &writers, &file)?;
    let fsck = check(lab, target, &nodes, &victim)?;
    let enough = proof.is_none() || resumed.is_some();
    let whole =
        same_everywhere && records.iter().all(|one| one.lost.is_empty()) && fsck.status == 0;
    let verdict = match (whole, proof.is_some(), enough && resumed.is_some()) {
        (_, _, false) => Verdict::NotRecovered,
        (false, _, true) => Verdict::DataLost,
        (true, true, true) => Verdict::Recovered,
        (true, false, true) if lab.stack() == Stack::C => Verdict::RecoveredUnproven,
        (true, false, true) => Verdict::NotProven,
    };
    Ok(Report {
        verdict,
        victim,
        fault: injected.fault,
        stack: lab.stack(),
        at: injected.at,
        file,
        timeline: timeline::steps(marks),
        resumed,
        power_off: proof,
        records,
        same_everywhere,
        fsck,
        load: drill.load,
        gaps: std::mem::take(&mut drill.gaps),
    })
}

/// Until every node has written some records.
fn begin(writers: &mut [Writer], plan: &Plan) -> Result<(), Error> {
    let deadline = Deadline::after(BEGIN_LIMIT);
    loop {
        if plan.spec.cancel.is_set() {
            return Err(Error::Cancelled);
        }
        for writer in writers.iter_mut() {
            writer.look();
        }
        let slow = writers
            .iter()
            .find(|writer| writer.last().unwrap_or(0) < BEFORE);
        match slow {
            None => return Ok(()),
            Some(writer) if deadline.has_passed() => {
                return Err(Error::NotWriting {
                    node: writer.node.clone(),
                });
            }
            Some(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Watches until the power-off is proven and a survivor has written on, or time is up.
fn watch(
    lab: &Lab,
    plan: &Plan,
    writers: &mut [Writer],
    injected: &Injected,
    show: &mut dyn FnMut(Event),
) -> Result<Option<PowerOff>, Error> {
    let mut audit = Audit::new(lab.audit_log());
    let deadline = Deadline::at(injected.instant + plan.limit);
    let mut proof: Option<(PowerOff, Instant)> = None;
    while !deadline.has_passed() {
        if plan.spec.cancel.is_set() {
            return Err(Error::Cancelled);
        }
        std::thread::sleep(LOOK);
        if proof.is_none()
            && let Some(found) = audit.proof(&injected.node, injected.at)
        {
            show(confirmed(&found, injected.at));
            proof = Some((found, Instant::now()));
        }
        for writer in writers.iter_mut() {
            writer.look();
        }
        let fenced = proof.as_ref().map(|(_, at)| *at);
        let goes_on = |writer: &Writer| {
            writer.node != injected.node && fenced.is_some_and(|at| writer.count_after(at) >= AFTER)
        };
        if writers.iter().any(goes_on) {
            break;
        }
    }
    Ok(proof.map(|(proof, _)| proof))
}

/// The longest pause of a survivor's writing after the fault, as the moments before and after it. None if
/// it never wrote again.
fn pause(writers: &[Writer], injected: &Injected) -> Option<(Duration, Duration)> {
    let survivor = writers.iter().find(|writer| writer.node != injected.node)?;
    let mut longest: Option<(Instant, Instant)> = None;
    for pair in survivor.seen.windows(2) {
        let (from, to) = (pair[0].0, pair[1].0);
        if to > injected.instant && longest.is_none_or(|(a, b)| to - from > b - a) {
            longest = Some((from, to));
        }
    }
    let since = |moment: Instant| moment.saturating_duration_since(injected.instant);
    longest.map(|(from, to)| (since(from), since(to)))
}

fn of_writer(milestone: Milestone, after: Duration, detail: &str) -> Mark {
    Mark {
        milestone,
        after: SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX),
        source: "writer".into(),
        detail: detail.into(),
    }
}

fn own_marks(injected: &Injected, proof: Option<&PowerOff>) -> Vec<Mark> {
    let mut marks = vec![Mark {
        milestone: Milestone::Fault,
        after: SignedDuration::ZERO,
        source: "lab".into(),
        detail: injected.evidence.clone(),
    }];
    marks.extend(proof.map(|proof| Mark {
        milestone: Milestone::PowerOffConfirmed,
        after: proof.at.duration_since(injected.at),
        source: "fence_virtd".into(),
        detail: format!("{}, seen {} by {}", proof.means, proof.state, proof.by),
    }));
    marks
}

/// What every node reads, compared with what was acknowledged to it.
fn compare(lab: &Lab, writers: &[Writer], file: &str) -> Result<(Vec<Records>, bool), Error> {
    let deadline = Deadline::after(CHECK_LIMIT);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for writer in writers {
        let output = lab.exec(&writer.node, &["cat", file], deadline)?;
        seen.push(if output.success() {
            output.stdout
        } else {
            Vec::new()
        });
    }
    let same = seen.windows(2).all(|pair| pair[0] == pair[1]);
    let records = writers.iter().enumerate().map(|(index, writer)| Records {
        node: writer.node.clone(),
        acknowledged: writer.last().map_or(0, |last| last + 1),
        // Read by another node than the one that wrote, where there is one.
        lost: records::lost(
            &seen[(index + 1) % seen.len()],
            index,
            writers.len(),
            writer.last(),
        ),
    });
    Ok((records.collect(), same))
}

/// Unmounts the file system everywhere by way of Pacemaker, checks it, and lets it be mounted again.
fn check(lab: &Lab, target: &Target, nodes: &[String], victim: &str) -> Result<Fsck, Error> {
    let deadline = Deadline::after(CHECK_LIMIT);
    let survivor = nodes
        .iter()
        .find(|node| *node != victim)
        .map_or(victim, String::as_str);
    let role = |value: &str| {
        format!(
            "crm_resource --resource {} --meta {value} >/dev/null && crm_resource --wait --timeout 200s",
            target.clone
        )
    };
    let stop = role("--set-parameter target-role --parameter-value Stopped");
    let stopped = lab.shell(survivor, &stop, deadline)?;
    if !stopped.success() {
        return Ok(unchecked(format!(
            "it could not be unmounted: {}",
            String::from_utf8_lossy(&stopped.stderr).trim()
        )));
    }
    for node in nodes {
        if lab
            .exec(node, &["mountpoint", "-q", &target.mount], deadline)?
            .success()
        {
            return Ok(unchecked(format!("it is still mounted on {node}")));
        }
    }
    // The last volume that is deactivated takes its group's locks with it.
    let volume = &target.volume;
    let group = volume.split('/').next().unwrap_or(volume);
    let script = format!(
        "exec 2>&1\nvgchange --lock-start {group} && lvchange --activate ey {volume} || exit 100\n\
         fsck.gfs2 -n /dev/{volume}\nstatus=$?\n\
         lvchange --activate n {volume}\nvgchange --lock-stop {group}\nexit $status\n"
    );
    let output = lab.shell(survivor, &script, deadline)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let said = lines[lines.len().saturating_sub(4)..].join("\n");
    let fsck = match output.status {
        100 => unchecked(format!("its volume could not be activated: {said}")),
        status => Fsck { status, said },
    };
    lab.shell(survivor, &role("--delete-parameter target-role"), deadline)?;
    Ok(fsck)
}

fn unchecked(said: String) -> Fsck {
    Fsck { status: -1, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_a_shared_file_system_and_web_has_none() {
        let parse = |name: &str| {
            let path = format!("{}/../../examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap();
            Definition::parse(&path, &text).unwrap()
        };
        let target = Target::of(&parse("kvm-storage")).unwrap();
        assert_eq!(target.volume, "vg_shared/data");
        // Neither needs quoting in a shell.
        assert_eq!(target.mount, "/srv/data");
        assert!(matches!(
            Target::of(&parse("web")),
            Err(Error::NoSharedFilesystem)
        ));
    }
}
