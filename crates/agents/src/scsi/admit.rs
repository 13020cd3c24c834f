//! `on`: this node is registered with a device over every path, and the device is reserved.
//!
//! Over each path, REGISTER with the key as old and as new one asks the device the only question that counts: is *this
//! nexus* registered with it? A key in READ KEYS may be of a session before the last reboot, or of another node. Only where
//! the answer is no, REGISTER AND IGNORE EXISTING KEY makes it so, and the question is asked again.
//!
//! ```text
//! list ─▶ each path: registered? ─ no ─▶ register ─▶ ask again ─▶ list ─▶ the key is another's? ─ yes ─▶ withdraw, fail
//!                         └─ yes ───────────────────────────────────┘           └─ no
//!   ┌────────────────────────────────────────────────────────────────────────────────┘
//!   └▶ leftovers of an earlier session? (no path was registered before) ─▶ preempt own key, register each path again
//!        └▶ each path: still registered? ─ no ─▶ this node was fenced meanwhile: withdraw, fail
//!             └▶ reservation ─ none ─▶ reserve ─▶ the key is listed: done
//! ```
//!
//! Whoever fences this node takes all its registrations away. One that is made afterwards, over the next path, would give a
//! node that was reported off its access back: so nothing is registered after the last look at all of them, and what is
//! missing then is not made up for.

use disk::pr::PrError;
use fence_agent::{Failure, FailureKind, Level};
use scsi::pr::Key;

use super::key;
use super::reach::{Disk, RESERVATION, Registrations, failure, keeps_others_out};

/// How often a path is asked and registered until it must be.
const ATTEMPTS: usize = 4;

/// Registers this node with `key`, and sees to it that the device is reserved.
///
/// # Errors
/// If any path is not registered, the key is another node's, or there is no reservation.
pub(crate) fn admit(disk: &mut Disk<'_>, own: Key, aptpl: bool) -> Result<(), Failure> {
    let before = disk.registrations()?;
    let fresh = register(disk, own, aptpl)?;
    let after = disk.registrations()?;
    let leftovers = match whose(disk, own, &before, &after, fresh.len()) {
        Ok(leftovers) => leftovers,
        Err(collision) => {
            withdraw(disk, &fresh, aptpl);
            return Err(collision);
        }
    };
    if leftovers && fresh.len() == disk.paths() {
        tidy(disk, own, aptpl)?;
    }
    for at in 0..disk.paths() {
        if !is_registered(disk, at, own, aptpl)? {
            withdraw(disk, &fresh, aptpl);
            return Err(fenced_meanwhile(disk));
        }
    }
    reserve(disk, own)?;
    if disk.keys()?.contains(&own) {
        Ok(())
    } else {
        Err(fenced_meanwhile(disk))
    }
}

fn fenced_meanwhile(disk: &Disk<'_>) -> Failure {
    let text = "registered, and not any more: another node has fenced this one meanwhile";
    disk.fail(FailureKind::Refused, text)
}

/// Whether this very path is registered with the key. A lost answer is made up for by asking again.
fn is_registered(disk: &mut Disk<'_>, at: usize, own: Key, aptpl: bool) -> Result<bool, Failure> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match disk.over(at, |path, limit| {
            path.register(Some(own), Some(own), aptpl, limit)
        }) {
            Ok(()) => return Ok(true),
            Err(PrError::Conflict { .. }) => return Ok(false),
            Err(error) if error.may_pass() && left > 0 => {}
            Err(error) => return Err(refused(&error, aptpl)),
        }
    }
}

/// Registers over every path; which were not registered before.
fn register(disk: &mut Disk<'_>, own: Key, aptpl: bool) -> Result<Vec<usize>, Failure> {
    let mut fresh = Vec::new();
    for at in 0..disk.paths() {
        match register_path(disk, at, own, aptpl) {
            Ok(Place::New) => fresh.push(at),
            Ok(Place::Old) => {}
            Ok(Place::Lost) => {
                withdraw(disk, &fresh, aptpl);
                return Err(fenced_meanwhile(disk));
            }
            Err(failure) => {
                let text = format!(
                    "path {} cannot be registered, and would be without access: {failure}",
                    disk.path_name(at)
                );
                return Err(disk.fail(failure.kind, text));
            }
        }
    }
    Ok(fresh)
}

/// How a path came to be registered.
enum Place {
    /// It was.
    Old,
    /// By this call.
    New,
    /// The device had taken the registration, and has it no more. Registering again would undo a fencing.
    Lost,
}

/// Asks, registers, asks again. A lost answer is made up for by asking.
fn register_path(disk: &mut Disk<'_>, at: usize, own: Key, aptpl: bool) -> Result<Place, Failure> {
    let mut place = Place::Old;
    let mut taken = false;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match disk.over(at, |path, limit| {
            path.register(Some(own), Some(own), aptpl, limit)
        }) {
            Ok(()) => return Ok(place),
            Err(PrError::Conflict { .. }) if taken => return Ok(Place::Lost),
            Err(PrError::Conflict { .. }) => {}
            Err(error) if error.may_pass() => {
                last = Some(failure(&error));
                continue;
            }
            Err(error) => return Err(refused(&error, aptpl)),
        }
        place = Place::New;
        match disk.over(at, |path, limit| {
            path.register_ignoring(Some(own), aptpl, limit)
        }) {
            Ok(()) => taken = true,
            Err(error) if error.may_pass() => last = Some(failure(&error)),
            Err(error) => return Err(refused(&error, aptpl)),
        }
    }
    Err(last.unwrap_or_else(|| Failure::refused("it cannot be registered")))
}

fn refused(error: &PrError, aptpl: bool) -> Failure {
    let mut failure = failure(error);
    if aptpl && error.is_unsupported() {
        failure
            .message
            .push_str(" (does it know APTPL? Option `aptpl` asks for it)");
    }
    failure
}

/// Takes back what has just been registered.
fn withdraw(disk: &mut Disk<'_>, fresh: &[usize], aptpl: bool) {
    for at in fresh {
        if let Err(error) = disk.over(*at, |path, limit| {
            path.register_ignoring(None, aptpl, limit)
        }) {
            let text = format!(
                "the registration could not be withdrawn: {}",
                failure(&error)
            );
            disk.note(Level::Warning, text);
        }
    }
}

/// Whose registrations with this key were there before: whether there are leftovers of this machine's own.
///
/// # Errors
/// If one is another machine's: a collision of keys.
fn whose(
    disk: &mut Disk<'_>,
    own: Key,
    before: &Registrations,
    after: &Registrations,
    fresh: usize,
) -> Result<bool, Failure> {
    // Those paths that were registered already account for as many.
    let accounted = disk.paths() - fresh;
    if before.count(own) <= accounted {
        return Ok(false);
    }
    let (Some(earlier), Some(mine)) = (before.with(own), names(disk, own, before, after, fresh))
    else {
        let by = ports(before, own);
        disk.note(
            Level::Warning,
            format!(
                "key {} was registered already{by}: by this node before a restart, or by another one",
                key::text(own)
            ),
        );
        return Ok(false);
    };
    for registration in earlier {
        let Some(name) = registration.initiator_name() else {
            continue;
        };
        if !mine.contains(&name) {
            let text = format!(
                "key {} belongs to another node already: initiator {name} is registered with it. Two nodes with one key \
                 would be fenced together; use key_value=unique, or another key. If that initiator is gone for good, remove \
                 its registration",
                key::text(own)
            );
            return Err(disk.fail(FailureKind::Refused, text));
        }
    }
    Ok(true)
}

/// The ports that are registered with the key, as far as the device names them, for a message.
fn ports(registrations: &Registrations, key: Key) -> String {
    let Some(all) = registrations.with(key) else {
        return String::new();
    };
    let names: Vec<String> = all
        .filter_map(|one| one.initiator.as_ref().map(ToString::to_string))
        .collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(" (over {})", names.join(", ")),
    }
}

/// The names this machine's initiators have, in lower case; `None` if nothing is known of them, or registrations are
/// without names.
fn names(
    disk: &Disk<'_>,
    own: Key,
    before: &Registrations,
    after: &Registrations,
    fresh: usize,
) -> Option<Vec<String>> {
    if before
        .with(own)?
        .any(|registration| registration.initiator_name().is_none())
    {
        return None;
    }
    let mut mine = disk.initiators();
    let earlier: Vec<_> = before.with(own)?.collect();
    let new: Vec<_> = after
        .with(own)?
        .filter(|one| !earlier.contains(one))
        .collect();
    // As many as this node has just made, so they are its own.
    if new.len() == fresh {
        mine.extend(new.iter().filter_map(|one| one.initiator_name()));
    }
    let earlier: Vec<String> = earlier
        .iter()
        .filter_map(|one| one.initiator_name())
        .collect();
    // At least one of them is this node's, so if there is but one name, it is.
    if let [first, rest @ ..] = earlier.as_slice()
        && fresh < disk.paths()
        && rest.iter().all(|other| other == first)
    {
        mine.push(first.clone());
    }
    (!mine.is_empty()).then_some(mine)
}

/// Removes registrations that earlier sessions of this machine left. It takes all with this key, so it is only done where no
/// path was in use, and every path is registered again.
fn tidy(disk: &mut Disk<'_>, own: Key, aptpl: bool) -> Result<(), Failure> {
    match disk.over(0, |path, limit| {
        path.preempt(own, own, RESERVATION, false, limit)
    }) {
        Ok(()) => disk.note(
            Level::Info,
            "removed registrations that earlier sessions of this node had left",
        ),
        // They do no harm: whoever fences this node removes them with the others.
        Err(error) => disk.note(
            Level::Info,
            format!("leftover registrations stay: {}", failure(&error)),
        ),
    }
    register(disk, own, aptpl).map(|_| ())
}

/// Sees to it that only registered nodes may write. This node has to be registered.
///
/// # Errors
/// If there is no such reservation and none can be made.
pub(crate) fn reserve(disk: &mut Disk<'_>, own: Key) -> Result<(), Failure> {
    let mut last = None;
    for at in 0..=disk.paths() {
        match disk.reservation()? {
            Some(held) if keeps_others_out(&held) => return Ok(()),
            Some(held) => {
                let text = format!(
                    "is reserved with type {:#x}, which fence_scsi does not make: only its holder may write",
                    held.type_code
                );
                return Err(disk.fail(FailureKind::Refused, text));
            }
            None if at == disk.paths() => break,
            None => {}
        }
        // A conflict may mean that another node has been quicker, a lost answer anything: the device is asked again.
        if let Err(error) = disk.over(at, |path, limit| path.reserve(own, RESERVATION, limit)) {
            last = Some(failure(&error));
        }
    }
    let why = last
        .map(|failure| format!(": {failure}"))
        .unwrap_or_default();
    Err(disk.fail(
        FailureKind::Refused,
        format!("no reservation could be made{why}"),
    ))
}
