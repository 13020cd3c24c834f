//! A drill of a file system that all nodes write to at the same time.
//!
//! ```text
//!  lab up ─▶ both write ─▶ fault ─▶ the survivor waits, fences, recovers the journal, writes on
//!         ─▶ the failed node comes back ─▶ records compared ─▶ unmounted everywhere ─▶ fsck ─▶ lab down
//! ```
//!
//! Every record is on storage before it is acknowledged, and every record that was acknowledged must be
//! found afterwards, of both nodes.
//!
//! A survivor may write on for a while under locks that it holds, which is safe. So the failed node holds
//! one of DLM's that the survivors wait for: it passes on only once DLM has heard that the node is fenced,
//! and must not have done so before the power-off was proven.

use std::time::{Duration, Instant};

use cluster::{Definition, FilesystemKind};
use deadline::Deadline;
use jiff::{SignedDuration, Timestamp};
use lab::{Injected, Lab, Stack};
use serde::Serialize;

use super::super::event::Event;
use super::super::timeline::{self, Mark, Milestone, PowerOff, Step, Verdict};
use super::aftermath::{self, Findings, Found};
use super::writer::Writer;
use super::{Audit, Drill, Error, FAULT_LIMIT, LOOK, Plan, confirmed, load, survivors};

/// Records that every node must have written before the fault.
const BEFORE: u64 = 10;
/// Records that make it certain that a survivor goes on writing.
const AFTER: usize = 10;
/// How long the writers may take to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(120);
/// How long the failed node may take to come back and join.
const RETURN_LIMIT: Duration = Duration::from_secs(600);

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
    /// What was found of the data afterwards.
    #[serde(flatten)]
    pub findings: Findings,
    /// Processes of this machine that ran or waited to run, on average over a minute.
    pub load: Option<f64>,
    /// What could not be found out, and why.
    pub gaps: Vec<String>,
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
pub(super) struct Target {
    pub(super) mount: String,
    pub(super) volume: String,
    /// The resource that mounts it.
    pub(super) clone: String,
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
    let failing = nodes.iter().position(|node| *node == victim);
    let start = |(index, node): (usize, &String)| {
        let failing = failing.unwrap_or_default();
        Writer::start(lab, node, &file, index, nodes.len(), failing).map_err(Error::Writer)
    };
    let mut writers = nodes
        .iter()
        .enumerate()
        .map(start)
        .collect::<Result<Vec<_>, _>>()?;
    show(Event::AwaitingWriters);
    begin(&mut writers, &victim, plan)?;
    show(Event::Writing {
        file: file.clone(),
        nodes: nodes.clone(),
    });
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
    let recovery = Recovery::of(&writers, &injected);
    marks.extend(recovery.marks(&injected));
    let timeline = timeline::steps(marks);
    let since = |moment: Option<Instant>| moment.map(|moment| since(moment, &injected));
    let course = Course {
        stack: lab.stack(),
        off: proof
            .as_ref()
            .map(|proof| proof.at.duration_since(injected.at)),
        has_word: timeline
            .iter()
            .any(|step| step.milestone == Milestone::FenceCallReturned),
        lock_passed: since(recovery.lock_passed),
        resumed: since(recovery.resumed),
    };
    // The failed node comes back by itself: only then do all look at the same file system again.
    if let Err(error) = lab.wait_formed(Deadline::after(RETURN_LIMIT)) {
        drill
            .gaps
            .push(format!("the failed node did not come back: {error}"));
    }
    for writer in &mut writers {
        writer.stop();
    }
    let written: Vec<_> = writers.iter().map(Writer::acknowledged).collect();
    let findings = aftermath::look(lab, target, &file, &written, &victim, &mut drill.gaps);
    Ok(Report {
        verdict: course.verdict(findings.found()),
        victim,
        fault: injected.fault,
        stack: lab.stack(),
        at: injected.at,
        file,
        timeline,
        resumed: course.resumed.map(timeline::seconds),
        power_off: proof,
        findings,
        load: drill.load,
        gaps: std::mem::take(&mut drill.gaps),
    })
}

/// What the verdict rests on, besides the data. Moments are counted from the fault.
struct Course {
    stack: Stack,
    /// When the failed node was proven to be off.
    off: Option<SignedDuration>,
    /// Whether the fencing agent itself reported success.
    has_word: bool,
    /// When the failed node's lock passed on to a survivor.
    lock_passed: Option<SignedDuration>,
    /// When that survivor wrote again, and went on.
    resumed: Option<SignedDuration>,
}

impl Course {
    fn verdict(&self, found: Found) -> Verdict {
        if found == Found::Damaged {
            return Verdict::DataLost;
        }
        let (Some(lock_passed), Some(_)) = (self.lock_passed, self.resumed) else {
            return Verdict::NotRecovered;
        };
        match self.off {
            // Two nodes may have held it at the same time.
            Some(off) if lock_passed <= off => Verdict::NotProven,
            None if self.stack != Stack::C || !self.has_word => Verdict::NotProven,
            _ if found == Found::Unknown => Verdict::NotKnown,
            Some(_) => Verdict::Recovered,
            None => Verdict::RecoveredUnproven,
        }
    }
}

/// Until every node has written some records, and all but the `victim` wait for its lock.
fn begin(writers: &mut [Writer], victim: &str, plan: &Plan) -> Result<(), Error> {
    let deadline = Deadline::after(BEGIN_LIMIT);
    loop {
        if plan.spec.cancel.is_set() {
            return Err(Error::Cancelled);
        }
        for writer in writers.iter_mut() {
            writer.look();
        }
        let slow = writers.iter().find(|writer| {
            let waits = writer.waiting || writer.node == victim;
            writer.last().unwrap_or(0) < BEFORE || !waits
        });
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
            let moment = fenced.zip(writer.free).map(|(off, free)| off.max(free));
            moment.is_some_and(|moment| writer.goes_on_after(moment, AFTER).is_some())
        };
        if writers.iter().any(goes_on) {
            break;
        }
    }
    Ok(proof.map(|(proof, _)| proof))
}

/// How the first survivor that got the failed node's lock went on.
#[derive(Debug, Default, Clone, Copy)]
struct Recovery {
    /// Its last record before that.
    paused: Option<Instant>,
    lock_passed: Option<Instant>,
    /// Its first record after that, if more followed.
    resumed: Option<Instant>,
}

impl Recovery {
    fn of(writers: &[Writer], injected: &Injected) -> Self {
        let survivors = writers.iter().filter(|one| one.node != injected.node);
        let first = survivors
            .filter_map(|writer| Some((writer, writer.free?)))
            .min_by_key(|(_, free)| *free);
        first.map_or_else(Self::default, |(writer, free)| Self {
            paused: writer.last_before(free),
            lock_passed: Some(free),
            resumed: writer.goes_on_after(free, AFTER),
        })
    }

    fn marks(self, injected: &Injected) -> impl Iterator<Item = Mark> {
        let mark = |milestone, at: Option<Instant>, detail: &str| {
            at.map(|at| Mark {
                milestone,
                after: since(at, injected),
                source: "writer".into(),
                detail: detail.into(),
            })
        };
        [
            mark(
                Milestone::WritesPaused,
                self.paused,
                "the last record before the failed node's lock passed on",
            ),
            mark(
                Milestone::LockPassedOn,
                self.lock_passed,
                "DLM gave a survivor what the failed node had locked",
            ),
            mark(
                Milestone::WritesResumed,
                self.resumed,
                "the first record after that",
            ),
        ]
        .into_iter()
        .flatten()
    }
}

fn since(moment: Instant, injected: &Injected) -> SignedDuration {
    let after = moment.saturating_duration_since(injected.instant);
    SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX)
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

    fn course(off: Option<i64>, lock_passed: Option<i64>, resumed: Option<i64>) -> Course {
        Course {
            stack: Stack::Picket,
            off: off.map(SignedDuration::from_secs),
            has_word: true,
            lock_passed: lock_passed.map(SignedDuration::from_secs),
            resumed: resumed.map(SignedDuration::from_secs),
        }
    }

    #[test]
    fn a_lock_that_passes_on_before_the_power_off_is_proven_is_no_recovery() {
        let verdict = |off, passed, resumed| course(off, passed, resumed).verdict(Found::Whole);
        assert_eq!(verdict(Some(12), Some(13), Some(14)), Verdict::Recovered);
        assert_eq!(verdict(Some(12), Some(11), Some(14)), Verdict::NotProven);
        assert_eq!(verdict(None, Some(13), Some(14)), Verdict::NotProven);
        assert_eq!(verdict(Some(12), None, None), Verdict::NotRecovered);
        assert_eq!(verdict(Some(12), Some(13), None), Verdict::NotRecovered);
        let c = |has_word| Course {
            stack: Stack::C,
            has_word,
            ..course(None, Some(13), Some(14))
        };
        assert_eq!(c(true).verdict(Found::Whole), Verdict::RecoveredUnproven);
        assert_eq!(c(false).verdict(Found::Whole), Verdict::NotProven);
    }

    #[test]
    fn what_is_not_known_is_neither_recovered_nor_lost() {
        let course = course(Some(12), Some(13), Some(14));
        assert_eq!(course.verdict(Found::Unknown), Verdict::NotKnown);
        assert_eq!(course.verdict(Found::Damaged), Verdict::DataLost);
    }
}
