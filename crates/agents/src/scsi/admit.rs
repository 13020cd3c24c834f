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
//!   └▶ leftovers of an earlier session? (no path was registered before, and the reservation is held with this key)
//!        │    └▶ preempt own key over the first path, which keeps its registration; register the other paths again
//!        └▶ each path: still registered? ─ no ─▶ this node was fenced meanwhile: withdraw, fail
//!             └▶ reservation ─ none ─▶ reserve ─▶ the key is listed: done
//! ```
//!
//! Whoever fences this node takes all its registrations away. One that is made afterwards would give a node that was reported
//! off its access back. So the first path is registered once: from then on it tells whether this node was fenced, until the
//! last look at all of them, after which nothing is registered. Where the answer to its registration is lost and it is not
//! there, it was never made, or taken away: it is made again only if PRGENERATION says that nothing has changed since.

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
    let mut fresh = Vec::new();
    register(disk, own, aptpl, 0, &mut fresh)?;
    let after = disk.registrations()?;
    let leftovers = match whose(disk, own, &before, &after, fresh.len()) {
        Ok(leftovers) => leftovers,
        Err(collision) => {
            withdraw(disk, &fresh, aptpl);
            return Err(collision);
        }
    };
    if leftovers && fresh.len() == disk.paths() {
        tidy(disk, own, aptpl, &mut fresh)?;
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

/// Registers over every path from this one on. To `fresh` come those that were not registered before; all of these are
/// withdrawn where this node may have been fenced.
fn register(
    disk: &mut Disk<'_>,
    own: Key,
    aptpl: bool,
    first: usize,
    fresh: &mut Vec<usize>,
) -> Result<(), Failure> {
    for at in first..disk.paths() {
        match register_path(disk, at, own, aptpl) {
            Ok(Place::New) if !fresh.contains(&at) => fresh.push(at),
            Ok(Place::New | Place::Old) => {}
            Ok(Place::Lost) => {
                withdraw(disk, fresh, aptpl);
                return Err(fenced_meanwhile(disk));
            }
            Ok(Place::Doubtful) => {
                let text = "not registered, perhaps not any more: the answer to the registration was lost, and others \
                            have changed registrations since. Another node may have fenced this one meanwhile, so it is not \
                            registered again; if none has, repeat the action";
                withdraw(disk, fresh, aptpl);
                return Err(disk.fail(FailureKind::CannotKnow, text));
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
    Ok(())
}

/// How a path came to be registered.
enum Place {
    /// It was.
    Old,
    /// By this call.
    New,
    /// The device had taken the registration, and has it no more. Registering again would undo a fencing.
    Lost,
    /// It may have been so.
    Doubtful,
}

/// What tells, after a registration whose answer was lost, that nobody has taken it away.
enum Witness {
    /// A path that was registered before.
    Path(usize),
    /// PRGENERATION of before.
    Generation(u32),
}

impl Witness {
    fn call(disk: &mut Disk<'_>, at: usize) -> Result<Self, Failure> {
        match at.checked_sub(1) {
            Some(earlier) => Ok(Self::Path(earlier)),
            None => disk.generation().map(Self::Generation),
        }
    }

    /// Where this node may have been fenced.
    fn doubt(&self, disk: &mut Disk<'_>, own: Key, aptpl: bool) -> Result<Option<Place>, Failure> {
        match *self {
            Self::Path(earlier) => {
                let stays = is_registered(disk, earlier, own, aptpl)?;
                Ok((!stays).then_some(Place::Lost))
            }
            Self::Generation(before) => {
                let same = disk.generation()? == before;
                Ok((!same).then_some(Place::Doubtful))
            }
        }
    }
}

/// Asks, registers, asks again. A lost answer is made up for by asking.
fn register_path(disk: &mut Disk<'_>, at: usize, own: Key, aptpl: bool) -> Result<Place, Failure> {
    let mut place = Place::Old;
    let mut taken = false;
    // A registration may have been carried out although nobody said so: who can tell what has become of it.
    let mut unknown: Option<Witness> = None;
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
        let witness = match unknown.take() {
            None => Witness::call(disk, at)?,
            Some(witness) => match witness.doubt(disk, own, aptpl)? {
                None => witness,
                Some(doubt) => return Ok(doubt),
            },
        };
        place = Place::New;
        match disk.over(at, |path, limit| {
            path.register_ignoring(Some(own), aptpl, limit)
        }) {
            Ok(()) => taken = true,
            Err(error) if error.may_pass() => {
                unknown = error.is_unknown().then_some(witness);
                last = Some(failure(&error));
            }
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
/// path was in use, and where the reservation is held with this key: then the nexus that asks for it stays registered (SPC-4,
/// "Preempting persistent reservations and registration handling"), and tells whether this node was fenced meanwhile. Elsewhere
/// there would be a moment without any registration, in which whoever fences this node has nothing to do. What is left does no
/// harm: whoever fences this node removes it with the others.
fn tidy(disk: &mut Disk<'_>, own: Key, aptpl: bool, fresh: &mut Vec<usize>) -> Result<(), Failure> {
    reserve(disk, own)?;
    let held = disk.reservation()?;
    if !held.is_some_and(|held| held.kind() == Some(RESERVATION) && held.key == Some(own)) {
        let text = "registrations that earlier sessions of this node had left stay: the reservation is another node's";
        disk.note(Level::Info, text);
        return Ok(());
    }
    match disk.over(0, |path, limit| {
        path.preempt(own, own, RESERVATION, false, limit)
    }) {
        Ok(()) => disk.note(
            Level::Info,
            "removed registrations that earlier sessions of this node had left",
        ),
        Err(error) => disk.note(
            Level::Info,
            format!("leftover registrations stay: {}", failure(&error)),
        ),
    }
    if !is_registered(disk, 0, own, aptpl)? {
        withdraw(disk, fresh, aptpl);
        return Err(fenced_meanwhile(disk));
    }
    register(disk, own, aptpl, 1, fresh)
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
