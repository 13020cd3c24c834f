//! What the platform says: its hosts, where the members are, what keeps them apart.

use std::thread;

use deadline::Deadline;
use hypervisor::placement::{Apart, Host, Placement, Whereabouts};
use hypervisor::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::wish::Wish;

/// Members that are looked for at the same time.
const AT_ONCE: usize = 8;

/// Why something is not known. The kinds are those of [`ErrorKind`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// In words.
    pub detail: String,
}

/// As [`ErrorKind`], in the form that is kept in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// The platform does not know the guest.
    NoSuchGuest,
    /// It could not be asked.
    Unreachable,
    /// It said no.
    Refused,
    /// Nobody who can know has said.
    CannotKnow,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NoSuchGuest => TroubleKind::NoSuchGuest,
            ErrorKind::Unreachable => TroubleKind::Unreachable,
            ErrorKind::Refused => TroubleKind::Refused,
            ErrorKind::CannotKnow => TroubleKind::CannotKnow,
        };
        Self {
            kind,
            detail: error.to_string(),
        }
    }
}

/// The rules that keep members apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// They are these.
    Known(Vec<Apart>),
    /// The platform has none, or does not show them to us: its words.
    Refused(String),
    /// It could not be asked.
    Unknown(Trouble),
}

/// One look at the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its hosts.
    pub hosts: Result<Vec<Host>, Trouble>,
    /// Where each member is, in the order of [`Wish::members`].
    pub members: Vec<Result<Whereabouts, Trouble>>,
    /// What keeps them apart.
    pub rules: Rules,
}

/// Looks at the platform.
#[must_use]
pub fn look(platform: &dyn Placement, wish: &Wish, deadline: Deadline) -> Seen {
    let hosts = platform.hosts(deadline).map_err(Trouble::from);
    let mut members = Vec::with_capacity(wish.members.len());
    for some in wish.members.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|member| scope.spawn(|| platform.whereabouts(&member.guest, deadline)))
                .collect();
            for answer in asked {
                match answer.join() {
                    Ok(answer) => members.push(answer.map_err(Trouble::from)),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
    let guests: Vec<_> = wish
        .members
        .iter()
        .map(|member| member.guest.clone())
        .collect();
    let rules = match platform.rules(&guests, deadline) {
        Ok(rules) => Rules::Known(rules),
        Err(Error::Refused { detail, .. }) => Rules::Refused(detail),
        Err(error) => Rules::Unknown(error.into()),
    };
    Seen {
        hosts,
        members,
        rules,
    }
}

impl Seen {
    /// All hosts, those that only a member names included; these take no other guests as far as is known.
    #[must_use]
    pub fn all_hosts(&self) -> Vec<Host> {
        let mut all = self.hosts.clone().unwrap_or_default();
        let members = self.members.iter().flatten();
        for host in members.flat_map(|found| found.host.iter().chain(&found.pinned_to)) {
            if !all.iter().any(|known| known.id == host.id) {
                all.push(Host {
                    usable: false,
                    ..host.clone()
                });
            }
        }
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        all
    }

    /// The members, by their places, that run on this host.
    #[must_use]
    pub fn on(&self, host: &Host) -> Vec<usize> {
        let runs_there = |found: &&Result<Whereabouts, Trouble>| {
            let found = found.as_ref().ok();
            let on = found.and_then(|found| found.host.as_ref());
            on.is_some_and(|on| on.id == host.id)
        };
        let all = self.members.iter().enumerate();
        all.filter(|(_, found)| runs_there(found))
            .map(|(at, _)| at)
            .collect()
    }
}
