//! `off`: a node's registrations are taken away from a device, and its writes in flight aborted.
//!
//! ```text
//!         ┌──────────────────────────────────────────────────────────────────────────────┐
//!         ▼                                                                              │
//! READ KEYS ─ victim absent ─▶ an answer was lost? ─ yes ─▶ one more command, in turn ───┤
//!         │                      └─ no ─▶ reserved? ─ yes ─▶ cut off (by another node: one command in turn)
//!         │                                 └─ no ─▶ reserve, and fail: writes in flight │
//!         ├─ own key absent ─▶ fail: this node has been fenced                           │
//!         ▼                                                                              │
//! reserved? ─ no ─▶ reserve                                                              │
//!         ▼                                                                              │
//! PREEMPT AND ABORT ─ GOOD, answer lost ─────────────────────────────────────────────────┤
//!         ├─ not known ─▶ fail                                                           │
//!         └─ conflict ─▶ is this nexus registered? ─ yes ────────────────────────────────┤
//!                          └─ no: register it, if the key is this node's before and after ────┘
//! ```
//!
//! A node that has been fenced has no registration, and gets none here: it cannot fence back. The one case in which the own
//! key is registered is that an earlier session's registration with it is still listed, and was so afterwards too: then
//! nobody has taken the key away.

use disk::pr::PrError;
use fence_agent::{Failure, FailureKind, Level};
use scsi::pr::Key;

use super::admit::reserve;
use super::key;
use super::plan::Whom;
use super::reach::{Disk, RESERVATION, Registrations, failure, keeps_others_out};

/// How often the keys are read again.
const ROUNDS: usize = 6;

/// How a device came to keep the node out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It did already.
    Already,
    /// By this call.
    Now,
}

/// Whose keys.
pub(crate) struct Parties<'a> {
    /// This node's key; or why it has none.
    pub own: &'a Result<Key, Failure>,
    /// Whose keys to take away.
    pub victim: &'a Whom,
    /// APTPL, where registrations are made.
    pub aptpl: bool,
}

/// Takes the victim's access to a device away.
///
/// # Errors
/// Unless the device was seen to keep it out afterwards.
pub(crate) fn cut(disk: &mut Disk<'_>, parties: &Parties<'_>) -> Result<Cut, Failure> {
    let mut cut = Cut::Already;
    let mut lost = false;
    for round in 0..ROUNDS {
        let keys = disk.keys()?;
        if let Some(stranger) = parties.victim.stranger(&keys) {
            return Err(unknown(disk, parties, stranger));
        }
        let Some(victim) = parties.victim.keys().find(|key| keys.contains(key)) else {
            if !lost {
                closed(disk, parties, &keys)?;
                if cut == Cut::Already {
                    after_others(disk, parties, &keys)?;
                }
                return Ok(cut);
            }
            settle(disk, parties)?;
            lost = false;
            continue;
        };
        let own = registered(disk, parties, &keys)?;
        let order = Order { own, victim };
        if reserve(disk, own).is_err() {
            stand(disk, round % disk.paths(), &order, parties)?;
            reserve(disk, own)?;
        }
        match preempt(disk, round, &order, parties)? {
            Sent::Done => cut = Cut::Now,
            Sent::Lost => (cut, lost) = (Cut::Now, true),
            Sent::Not => {}
        }
    }
    let text = format!(
        "{} is registered still, after {ROUNDS} attempts to take its key away",
        parties.victim.name
    );
    Err(disk.fail(FailureKind::Refused, text))
}

/// A key that no node has by its position in the list today is one that a node was given at another position. It may
/// be the victim's, whose key of today may be another node's.
fn unknown(disk: &Disk<'_>, parties: &Parties<'_>, stranger: Key) -> Failure {
    let text = format!(
        "key {} is registered, which is no node's by the node list of today. It may be of {}: positions shift when a node is \
         removed. Unfence every node again, fence by key (-k), or use key_value=unique",
        key::text(stranger),
        parties.victim.name
    );
    disk.fail(FailureKind::CannotKnow, text)
}

/// What PREEMPT AND ABORT is sent with.
struct Order {
    own: Key,
    victim: Key,
}

/// This node's key, if the device lists it.
fn registered(disk: &Disk<'_>, parties: &Parties<'_>, keys: &[Key]) -> Result<Key, Failure> {
    let own = parties.own.clone()?;
    if keys.contains(&own) {
        Ok(own)
    } else {
        Err(fenced(disk, own))
    }
}

fn fenced(disk: &Disk<'_>, own: Key) -> Failure {
    let text = format!(
        "this node's key {} is not registered: this node has been fenced, and cannot fence another. Action on (unfencing) \
         registers it again",
        key::text(own)
    );
    disk.fail(FailureKind::Refused, text)
}

/// What became of PREEMPT AND ABORT.
enum Sent {
    /// Carried out.
    Done,
    /// Perhaps.
    Lost,
    /// Not: the keys are to be read again.
    Not,
}

/// Sends PREEMPT AND ABORT over a path that works, another one in each round.
fn preempt(
    disk: &mut Disk<'_>,
    round: usize,
    order: &Order,
    parties: &Parties<'_>,
) -> Result<Sent, Failure> {
    for step in 0..disk.paths() {
        let at = (round + step) % disk.paths();
        let sent = disk.over(at, |path, limit| {
            path.preempt(order.own, order.victim, RESERVATION, true, limit)
        });
        match sent {
            Ok(()) => return Ok(Sent::Done),
            Err(PrError::Conflict { .. }) => {
                return stand(disk, at, order, parties).map(|()| Sent::Not);
            }
            Err(error) if error.is_unknown() => {
                disk.note(
                    Level::Warning,
                    format!("{}; reading the keys again", failure(&error)),
                );
                return Ok(Sent::Lost);
            }
            // Not sent, or not taken: the next path, or after another look at the keys this one, opened anew.
            Err(error) if error.may_pass() => disk.note(Level::Warning, failure(&error).message),
            Err(error) if error.is_unsupported() => {
                let text = format!(
                    "does not know PREEMPT AND ABORT, without which writes in flight survive: it cannot be used for fencing \
                     ({})",
                    failure(&error)
                );
                return Err(disk.fail(FailureKind::Refused, text));
            }
            Err(error) => return Err(failure(&error)),
        }
    }
    Ok(Sent::Not)
}

/// After a conflict: either the victim's key has gone meanwhile, or this nexus is not registered with the own key.
fn stand(
    disk: &mut Disk<'_>,
    at: usize,
    order: &Order,
    parties: &Parties<'_>,
) -> Result<(), Failure> {
    let own = order.own;
    let aptpl = disk.persists(parties.aptpl)?;
    let before = disk.registrations()?;
    if before.count(order.victim) == 0 {
        return Ok(());
    }
    registered(disk, parties, &before.keys())?;
    let asked = disk.over(at, |path, limit| {
        path.register(Some(own), Some(own), aptpl, limit)
    });
    match asked {
        Ok(()) => return Ok(()),
        Err(PrError::Conflict { .. }) => {}
        Err(error) => return Err(failure(&error)),
    }
    let sent = disk.over(at, |path, limit| {
        path.register_ignoring(Some(own), aptpl, limit)
    });
    if let Err(error) = sent
        && !error.is_unknown()
    {
        return Err(failure(&error));
    }
    // One more than before: the earlier registration is still there, so the key had not been taken away.
    let after = disk.registrations();
    let stays = after
        .as_ref()
        .is_ok_and(|after| after.count(own) > before.count(own));
    let owner = after
        .ok()
        .and_then(|after| another(disk, own, &before, &after));
    if stays && owner.is_none() {
        let path = disk.path_name(at);
        disk.note(
            Level::Warning,
            format!(
                "path {path} was not registered, only an earlier session of it: registered now"
            ),
        );
        return Ok(());
    }
    let withdrawn = disk.over(at, |path, limit| path.register_ignoring(None, aptpl, limit));
    if let Err(error) = withdrawn {
        let text = format!(
            "the registration just made could not be withdrawn: {}",
            failure(&error)
        );
        return Err(disk.fail(FailureKind::CannotKnow, text));
    }
    match owner {
        None => Err(fenced(disk, own)),
        Some(owner) => {
            let text = format!(
                "this node's key {} is registered by another initiator, {owner}, and not by this node: it has no right to fence \
                 with it. Use key_value=unique, or another key",
                key::text(own)
            );
            Err(disk.fail(FailureKind::Refused, text))
        }
    }
}

/// The initiator that was registered with this node's key before, if it is not this machine. By this call one registration has
/// come, which is this machine's. `None` also where the device does not tell.
fn another(
    disk: &Disk<'_>,
    own: Key,
    before: &Registrations,
    after: &Registrations,
) -> Option<String> {
    let earlier: Vec<_> = before.with(own)?.collect();
    let new = after.with(own)?.filter(|one| !earlier.contains(one));
    let mut mine = disk.initiators();
    mine.extend(new.filter_map(|one| one.initiator_name()));
    let names: Option<Vec<String>> = earlier.iter().map(|one| one.initiator_name()).collect();
    let names = names.filter(|_| !mine.is_empty())?;
    let is_mine = names.iter().any(|name| mine.contains(name));
    names.into_iter().next().filter(|_| !is_mine)
}

/// After a lost answer: the device carries out PERSISTENT RESERVE OUT commands one at a time, each as an uninterrupted
/// series of actions (SPC-4, "Preempting and aborting"), so that a later one has ended only when the lost one has,
/// aborting included.
fn settle(disk: &mut Disk<'_>, parties: &Parties<'_>) -> Result<(), Failure> {
    let own = parties.own.clone()?;
    let asked = in_turn(disk, own, parties.aptpl, |sent| sent.is_ok());
    let Err(why) = asked else { return Ok(()) };
    let text = format!(
        "the node's key is gone, but nobody said that its writes in flight have ended: the answer to PREEMPT AND ABORT was \
         lost, and the device cannot be asked again ({why})"
    );
    Err(disk.fail(FailureKind::CannotKnow, text))
}

/// This node's next command in turn: it changes nothing. Over whichever path it ends as `ended` wants.
///
/// # Errors
/// If it does not, or the device does not say what would be changed by the way; why.
fn in_turn(
    disk: &mut Disk<'_>,
    own: Key,
    aptpl: bool,
    ended: impl Fn(&Result<(), PrError>) -> bool,
) -> Result<(), String> {
    let aptpl = disk.persists(aptpl).map_err(|failure| failure.message)?;
    let mut last = None;
    for at in 0..2 * disk.paths() {
        let sent = disk.over(at % disk.paths(), |path, limit| {
            path.register(Some(own), Some(own), aptpl, limit)
        });
        if ended(&sent) {
            return Ok(());
        }
        last = sent.err();
    }
    Err(last
        .map(|error| failure(&error).message)
        .unwrap_or_default())
}

/// The victim's key was gone before this call. Another node may be fencing it at this very moment, and its writes in flight
/// may not have ended: this node's next command in turn ends after that. A node that is not registered cannot ask.
fn after_others(disk: &mut Disk<'_>, parties: &Parties<'_>, keys: &[Key]) -> Result<(), Failure> {
    let Ok(own) = parties.own else { return Ok(()) };
    if !keys.contains(own) {
        return Ok(());
    }
    // Registered by an earlier session only: it cannot ask either.
    let ended = |sent: &Result<(), PrError>| matches!(sent, Ok(()) | Err(PrError::Conflict { .. }));
    let Err(why) = in_turn(disk, *own, parties.aptpl, ended) else {
        return Ok(());
    };
    let text = format!(
        "the node's key was gone already, but whether its writes in flight have ended cannot be asked ({why})"
    );
    Err(disk.fail(FailureKind::CannotKnow, text))
}

/// The victim is not registered: does that keep it out?
fn closed(disk: &mut Disk<'_>, parties: &Parties<'_>, keys: &[Key]) -> Result<(), Failure> {
    if disk
        .reservation()?
        .is_some_and(|held| keeps_others_out(&held))
    {
        return Ok(());
    }
    let own = registered(disk, parties, keys).map_err(|failure| {
        let text = format!(
            "is not reserved, so that anybody may write to it, and cannot be: {}",
            failure.message
        );
        disk.fail(failure.kind, text)
    })?;
    reserve(disk, own)?;
    // Nothing aborts the commands of a nexus that is not registered.
    let text = "was not reserved, so that anybody could write to it. It is reserved now; what was in flight may still be \
                written: run off again when it must have ended";
    Err(disk.fail(FailureKind::CannotKnow, text))
}
