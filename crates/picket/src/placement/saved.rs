//! What `picket placement show --json` printed, taken as what is the case.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::placement::Wish;
use ::placement::report::{FORMAT, MemberSeen, Place, Report};
use ::platforms::{Live, LiveMember, SeenAt};
use cluster::Definition;
use hypervisor::GuestRef;
use hypervisor::placement::Host;
use jiff::Timestamp;

/// More than any report has.
const MAX_READ: u64 = 4 << 20;
/// Clocks of two machines may differ by so much.
const SKEW: Duration = Duration::from_secs(300);

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not what `picket placement show --json` prints: {why}", path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("{} is of another cluster: {why}", path.display())]
    OtherCluster { path: PathBuf, why: String },
    #[error("{} is from {taken_at}: {why}", path.display())]
    Age {
        path: PathBuf,
        taken_at: Timestamp,
        why: &'static str,
    },
}

/// What the report in this file says of the definition's cluster.
///
/// # Errors
/// If the file is no report, is of another cluster, or older than `max_age`.
pub(crate) fn take(
    definition: &Definition,
    path: &Path,
    max_age: Duration,
    now: Timestamp,
) -> Result<Live, Error> {
    let report = read(path)?;
    is_of(&report, definition).map_err(|why| Error::OtherCluster {
        path: path.to_owned(),
        why,
    })?;
    let age = |why| Error::Age {
        path: path.to_owned(),
        taken_at: report.taken_at,
        why,
    };
    let elapsed = now.duration_since(report.taken_at);
    if elapsed.is_negative() && elapsed.unsigned_abs() > SKEW {
        return Err(age("that is in the future: is a clock wrong?"));
    }
    if !elapsed.is_negative() && elapsed.unsigned_abs() > max_age {
        return Err(age(
            "too old to say where guests run now; look again, or allow more with --placement-max-age",
        ));
    }
    Ok(live(&report, definition))
}

fn read(path: &Path) -> Result<Report, Error> {
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let malformed = |why| Error::Malformed {
        path: path.to_owned(),
        why,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_READ)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let report: Report =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if report.format != FORMAT {
        return Err(malformed("another version".to_owned()));
    }
    Ok(report)
}

/// The report must name the cluster, its platform, and every guest by the same name or UUID.
fn is_of(report: &Report, definition: &Definition) -> Result<(), String> {
    if report.cluster != definition.name.as_str() {
        return Err(format!(
            "it is of {}, the definition of {}",
            report.cluster, definition.name
        ));
    }
    let platform = definition.platform.kind.to_string();
    if report.platform != platform {
        return Err(format!(
            "it is of {}, the definition of {platform}",
            report.platform
        ));
    }
    let wish = Wish::of(definition).map_err(|_| "its platform has no placement".to_owned())?;
    let same = |member: &::placement::Member, seen: &MemberSeen| {
        member.node == seen.node
            && (member.guest.to_string() == seen.asked_for
                || match &member.guest {
                    GuestRef::Name(name) => seen.guest.as_ref() == Some(name),
                    GuestRef::Uuid(uuid) => seen.uuid.as_ref() == Some(&uuid.to_string()),
                })
    };
    if wish.members.len() != report.members.len()
        || !wish
            .members
            .iter()
            .zip(&report.members)
            .all(|(member, seen)| same(member, seen))
    {
        return Err("its members are not those of the definition".to_owned());
    }
    Ok(())
}

fn live(report: &Report, definition: &Definition) -> Live {
    let hosts: Vec<Host> = report
        .hosts
        .iter()
        .map(|host| Host {
            id: host.id.clone(),
            name: host.name.clone(),
            usable: host.usable,
        })
        .collect();
    // The definition's name of a host, where it has one.
    let named = |seen: &String| {
        let Ok(wish) = Wish::of(definition) else {
            return seen.clone();
        };
        let mut defined = definition.hosts.iter().map(|host| host.name.as_str());
        let same = |name: &&str| {
            let at = wish.find(name, &hosts);
            at.is_some_and(|at| hosts[at].name == *seen)
        };
        defined
            .find(same)
            .map_or_else(|| seen.clone(), str::to_owned)
    };
    let member = |seen: &MemberSeen| {
        let (at, known) = match &seen.place {
            Place::Runs { host } => (SeenAt::Host(named(host)), true),
            Place::Nowhere => (SeenAt::Nowhere, true),
            Place::Unknown(trouble) => (SeenAt::Unknown(trouble.detail.clone()), false),
        };
        LiveMember {
            node: seen.node.clone(),
            at,
            pinned_to: known.then(|| seen.pinned_to.iter().map(named).collect()),
        }
    };
    Live {
        members: report.members.iter().map(member).collect(),
        kept_apart: report.kept_apart,
    }
}

#[cfg(test)]
mod tests {
    use ::placement::State;
    use ::placement::report::HostSeen;
    use ::placement::seen::{Trouble, TroubleKind};

    use super::*;

    const DEFINITION: &str = include_str!("../../../../examples/vmware.toml");

    fn definition() -> Definition {
        Definition::parse("vmware.toml", DEFINITION).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(2_000_000_000).unwrap()
    }

    fn report() -> Report {
        let member = |number: u32, place| MemberSeen {
            node: format!("n{number}"),
            asked_for: format!("erp-n{number}"),
            guest: None,
            uuid: None,
            place,
            pinned_to: vec!["esx3.example.org".to_owned()],
            moves_by_itself: Some(true),
            defined_host: None,
        };
        let lost = Trouble {
            kind: TroubleKind::CannotKnow,
            detail: "on its way".to_owned(),
        };
        Report {
            format: FORMAT,
            cluster: "erp".to_owned(),
            platform: "vmware".to_owned(),
            asked: "vc.example.org".to_owned(),
            taken_at: now(),
            state: State::Unknown,
            kept_apart: Some(false),
            findings: Vec::new(),
            members: vec![
                member(
                    1,
                    Place::Runs {
                        host: "esx2.example.org".to_owned(),
                    },
                ),
                member(2, Place::Nowhere),
                member(3, Place::Unknown(lost)),
            ],
            hosts: ["esx2", "esx3"]
                .map(|name| HostSeen {
                    id: format!("host-{name}"),
                    name: format!("{name}.example.org"),
                    usable: true,
                })
                .into(),
            rules: None,
        }
    }

    fn taken(report: &Report, now: Timestamp) -> Result<Live, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_json::to_string(report).unwrap()).unwrap();
        take(&definition(), file.path(), Duration::from_secs(3600), now)
    }

    #[test]
    fn hosts_get_the_definitions_names() {
        let live = taken(&report(), now()).unwrap();
        assert_eq!(live.members[0].at, SeenAt::Host("esx2".to_owned()));
        assert_eq!(live.members[0].pinned_to, Some(vec!["esx3".to_owned()]));
        assert_eq!(live.members[1].at, SeenAt::Nowhere);
        assert_eq!(live.members[2].pinned_to, None);
        assert_eq!(live.kept_apart, Some(false));
    }

    #[test]
    fn what_is_of_another_cluster_or_time_is_not_taken() {
        let later = |seconds: i64| Timestamp::from_second(2_000_000_000 + seconds).unwrap();
        assert!(taken(&report(), later(3600)).is_ok());
        assert!(taken(&report(), later(-299)).is_ok());
        for seconds in [3601, -301] {
            let refused = taken(&report(), later(seconds));
            assert!(matches!(refused, Err(Error::Age { .. })), "{refused:?}");
        }
        let mut other = report();
        other.cluster = "crm".to_owned();
        let mut fewer = report();
        fewer.members.pop();
        let mut renamed = report();
        renamed.members[0].asked_for = "erp-n9".to_owned();
        for report in [other, fewer, renamed] {
            let refused = taken(&report, now());
            assert!(
                matches!(refused, Err(Error::OtherCluster { .. })),
                "{refused:?}"
            );
        }
        let mut newer = report();
        newer.format += 1;
        assert!(matches!(taken(&newer, now()), Err(Error::Malformed { .. })));
    }
}
