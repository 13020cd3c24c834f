//! After a storage drill: is everything there that was acknowledged, and is the file system whole?
//!
//! What could not be read or checked is neither there nor lost: it is not known.

use deadline::Deadline;
use lab::{Lab, Output};
use serde::Serialize;

use super::records;
use super::storage::Target;

/// How long stopping, unmounting and checking may take.
const CHECK_LIMIT: std::time::Duration = std::time::Duration::from_secs(300);
/// How the script that reads the file ends when the file system is there, and the file is not.
const GONE: i32 = 92;
/// How the script that checks ends when the volume could not be activated. fsck(8) never ends so.
const INACTIVE: i32 = 100;
/// mountpoint(1): the directory is no mount point. Any other failure says nothing about that.
const NOT_MOUNTED: i32 = 32;

/// What looking at the data came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// Everything is as it should be.
    Whole,
    /// It could not be looked at.
    Unknown,
    /// Something that was acknowledged is not there, or is not as it was.
    Damaged,
}

/// What was found of the data.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Findings {
    /// What each node wrote.
    pub records: Vec<Records>,
    /// Whether all nodes read the same file; `null` if not all could read it, and those that could agree.
    pub same_everywhere: Option<bool>,
    /// What `fsck.gfs2 -n` said of the unmounted file system.
    pub fsck: Fsck,
}

/// The records of one node.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Records {
    /// Which node.
    pub node: String,
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// Those of them that are not there, or not as they were written; `null` if no node could read the file.
    pub lost: Option<Vec<u64>>,
}

/// What a check of the file system said.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fsck {
    /// What that means.
    pub found: Found,
    /// Its exit status; 0 is a file system in which nothing is wrong. `null` if it was not run.
    pub status: Option<i32>,
    /// The end of what it printed, or why it was not run.
    pub said: String,
}

/// What one node's writer was told to be on storage.
pub(super) struct Acknowledged<'a> {
    /// The node.
    pub(super) node: &'a str,
    /// The number of its last record; they are numbered from 0.
    pub(super) last: Option<u64>,
}

/// What reading the file on a node came to: its bytes, or why there are none.
type Read = Result<Vec<u8>, String>;

impl Findings {
    /// Of all that was looked at, the gravest.
    pub(crate) fn found(&self) -> Found {
        let records = self.records.iter().map(|one| match &one.lost {
            None => Found::Unknown,
            Some(lost) if lost.is_empty() => Found::Whole,
            Some(_) => Found::Damaged,
        });
        let same = match self.same_everywhere {
            None => Found::Unknown,
            Some(true) => Found::Whole,
            Some(false) => Found::Damaged,
        };
        records
            .chain([same, self.fsck.found])
            .max()
            .unwrap_or(Found::Unknown)
    }
}

impl Fsck {
    /// By its exit status, which is that of fsck(8): a sum of bits.
    fn of(status: i32, said: String) -> Self {
        const ERRORS: i32 = 1 | 2 | 4;
        let found = match status {
            0 => Found::Whole,
            _ if status & ERRORS != 0 => Found::Damaged,
            // It could not do its work.
            _ => Found::Unknown,
        };
        Self {
            found,
            status: Some(status),
            said,
        }
    }

    const fn not_run(why: String) -> Self {
        Self {
            found: Found::Unknown,
            status: None,
            said: why,
        }
    }
}

/// Looks at everything. What could not be found out is said in `gaps`. The file system is mounted again
/// afterwards.
pub(super) fn look(
    lab: &Lab,
    target: &Target,
    file: &str,
    written: &[Acknowledged<'_>],
    victim: &str,
    gaps: &mut Vec<String>,
) -> Findings {
    let seen: Vec<Read> = written
        .iter()
        .map(|one| read(lab, one.node, &target.mount, file))
        .collect();
    for (one, seen) in written.iter().zip(&seen) {
        if let Err(why) = seen {
            gaps.push(format!("the file could not be read on {}: {why}", one.node));
        }
    }
    let nodes: Vec<&str> = written.iter().map(|one| one.node).collect();
    Findings {
        records: compare(written, &seen),
        same_everywhere: same(&seen),
        fsck: check(lab, target, &nodes, victim, gaps),
    }
}

/// The file as a node has it. Where the file system is mounted and the file is not in it, nothing is left
/// of it.
fn read(lab: &Lab, node: &str, mount: &str, file: &str) -> Read {
    let name = file.rsplit('/').next().unwrap_or(file);
    let script = format!(
        "mountpoint -q {mount} || {{ echo \"mountpoint ended with $?\" >&2; exit 91; }}\n\
         names=$(ls -A {mount}) || exit 91\n\
         grep -qxF {name} <<<\"$names\" || exit {GONE}\n\
         exec cat {file}\n"
    );
    let output = lab
        .shell(node, &script, Deadline::after(CHECK_LIMIT))
        .map_err(|error| error.to_string())?;
    match output.status {
        0 => Ok(output.stdout),
        GONE => Ok(Vec::new()),
        status => Err(format!("it ended with {status}: {}", complaint(&output))),
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// What was acknowledged to each node, compared with what another one reads; with what itself reads only
/// if no other can.
fn compare(written: &[Acknowledged<'_>], seen: &[Read]) -> Vec<Records> {
    let count = written.len();
    let read_for = |index: usize| {
        (1..=count)
            .filter_map(|step| seen.get((index + step) % count))
            .find_map(|read| read.as_ref().ok())
    };
    let records = written.iter().enumerate().map(|(index, one)| Records {
        node: one.node.to_owned(),
        acknowledged: one.last.map_or(0, |last| last + 1),
        lost: read_for(index).map(|file| records::lost(file, index, count, one.last)),
    });
    records.collect()
}

fn same(seen: &[Read]) -> Option<bool> {
    let files: Vec<_> = seen.iter().filter_map(|read| read.as_ref().ok()).collect();
    let same = files.windows(2).all(|pair| pair[0] == pair[1]);
    (!same || files.len() == seen.len()).then_some(same)
}

/// Unmounts the file system everywhere by way of Pacemaker, checks it, and lets it be mounted again.
fn check(lab: &Lab, target: &Target, nodes: &[&str], victim: &str, gaps: &mut Vec<String>) -> Fsck {
    let survivor = nodes.iter().find(|node| **node != victim);
    let survivor = survivor.unwrap_or(&victim);
    let deadline = Deadline::after(CHECK_LIMIT);
    let fsck = role(lab, target, survivor, STOP, deadline)
        .map_err(|why| format!("it could not be unmounted: {why}"))
        .and_then(|()| {
            nodes
                .iter()
                .try_for_each(|node| unmounted(lab, node, &target.mount, deadline))
        })
        .and_then(|()| fsck(lab, target, survivor, deadline));
    // Whatever came of it, and even if time is up: whoever keeps the lab wants it as it was.
    if let Err(why) = role(lab, target, survivor, START, Deadline::after(CHECK_LIMIT)) {
        gaps.push(format!("the file system was not mounted again: {why}"));
    }
    fsck.unwrap_or_else(Fsck::not_run)
}

const STOP: &str = "--set-parameter target-role --parameter-value Stopped";
const START: &str = "--delete-parameter target-role";

/// Tells Pacemaker what is wanted of the file system, and waits until that is so.
fn role(
    lab: &Lab,
    target: &Target,
    node: &str,
    wanted: &str,
    deadline: Deadline,
) -> Result<(), String> {
    let script = format!(
        "crm_resource --resource {} --meta {wanted} >/dev/null && crm_resource --wait --timeout 200s",
        target.clone
    );
    match lab.shell(node, &script, deadline) {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => Err(complaint(&output)),
        Err(error) => Err(error.to_string()),
    }
}

fn unmounted(lab: &Lab, node: &str, mount: &str, deadline: Deadline) -> Result<(), String> {
    let output = lab.exec(node, &["mountpoint", mount], deadline);
    match output.map(|output| (output.status, complaint(&output))) {
        Ok((NOT_MOUNTED, _)) => Ok(()),
        Ok((0, _)) => Err(format!("it is still mounted on {node}")),
        Ok((status, said)) => Err(format!(
            "whether it is mounted on {node} is not known: mountpoint ended with {status}: {said}"
        )),
        Err(error) => Err(format!(
            "whether it is mounted on {node} is not known: {error}"
        )),
    }
}

fn fsck(lab: &Lab, target: &Target, node: &str, deadline: Deadline) -> Result<Fsck, String> {
    let volume = &target.volume;
    let group = volume.split('/').next().unwrap_or(volume);
    // The last volume that is deactivated takes its group's locks with it.
    let script = format!(
        "exec 2>&1\nvgchange --lock-start {group} && lvchange --activate ey {volume} || exit {INACTIVE}\n\
         fsck.gfs2 -n /dev/{volume}\nstatus=$?\n\
         lvchange --activate n {volume}\nvgchange --lock-stop {group}\nexit $status\n"
    );
    let output = lab
        .shell(node, &script, deadline)
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let said = lines[lines.len().saturating_sub(4)..].join("\n");
    match output.status {
        INACTIVE => Err(format!("its volume could not be activated: {said}")),
        status => Ok(Fsck::of(status, said)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::record;
    use super::*;

    const WRITTEN: [Acknowledged<'_>; 2] = [
        Acknowledged {
            node: "n1",
            last: Some(0),
        },
        Acknowledged {
            node: "n2",
            last: Some(0),
        },
    ];

    fn file() -> Vec<u8> {
        [record(0, 0), record(1, 0)].concat()
    }

    fn findings(seen: &[Read], fsck: Fsck) -> Findings {
        Findings {
            records: compare(&WRITTEN, seen),
            same_everywhere: same(seen),
            fsck,
        }
    }

    fn found(seen: &[Read]) -> Found {
        findings(seen, Fsck::of(0, String::new())).found()
    }

    #[test]
    fn what_cannot_be_read_is_not_lost() {
        let unread = || Err("no answer".to_owned());
        assert_eq!(found(&[Ok(file()), Ok(file())]), Found::Whole);
        assert_eq!(found(&[Ok(file()), unread()]), Found::Unknown);
        assert_eq!(found(&[unread(), unread()]), Found::Unknown);
        let half = findings(&[Ok(file()), unread()], Fsck::of(0, String::new()));
        assert_eq!(half.same_everywhere, None);
        assert_eq!(half.records[0].lost.as_deref(), Some(&[][..]));
        let none = findings(&[unread(), unread()], Fsck::of(0, String::new()));
        assert_eq!(none.records[0].lost, None);
    }

    #[test]
    fn what_is_seen_to_be_lost_is_lost_whatever_else_is_not_known() {
        let unread = || Err("no answer".to_owned());
        assert_eq!(found(&[Ok(Vec::new()), unread()]), Found::Damaged);
        assert_eq!(found(&[Ok(file()), Ok(Vec::new())]), Found::Damaged);
    }

    #[test]
    fn a_check_that_was_not_done_finds_nothing_wrong_and_nothing_right() {
        let whole = || [Ok(file()), Ok(file())];
        let of = |fsck| findings(&whole(), fsck).found();
        assert_eq!(of(Fsck::not_run("no answer".into())), Found::Unknown);
        for (status, expected) in [
            (0, Found::Whole),
            (1, Found::Damaged),
            (4, Found::Damaged),
            (8, Found::Unknown),
            (12, Found::Damaged),
            (16, Found::Unknown),
            (128, Found::Unknown),
        ] {
            assert_eq!(of(Fsck::of(status, String::new())), expected, "{status}");
        }
    }
}
