//! The nexuses a logical unit knows, and what each has yet to be told.
//!
//! ```text
//!            attach (29/00 the first time)          nexus_lost
//!  unknown ─────────────────────────────▶ attached ───────────▶ detached
//!     ▲                                      ▲                      │ │
//!     │                                      └── attach (29/07) ────┘ │
//!     └───────── forgotten, if its place is needed and it is not ─────┘
//!                registered: it is told 29/00 if it comes back
//! ```

use crate::AdditionalSense;
use crate::pr::Nexus;

/// A nexus at one logical unit: a small number that stays the same for as long as the logical unit remembers the
/// nexus, that is while it is attached or registered, and usually longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexusId(pub(super) u32);

impl NexusId {
    /// The number, from 0; smaller than [`Limits::nexuses`](super::Limits::nexuses) plus
    /// [`Limits::registrations`](super::Limits::registrations).
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// There are as many nexuses as the logical unit has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the logical unit has no room for another nexus")]
pub struct NoRoom;

/// Unit attentions that wait to be reported (SAM-5, "Unit attention conditions"): each at most once, those of resets and
/// losses first, the others in the order in which they came up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Attentions(Vec<AdditionalSense>);

impl Attentions {
    /// Adds one, unless it waits already. Of those that tell of a reset or a loss only the gravest is kept: it implies the
    /// others.
    pub(super) fn establish(&mut self, what: AdditionalSense) {
        if is_reset(what) {
            match self.0.first_mut().filter(|first| is_reset(**first)) {
                Some(first) => *first = (*first).min(what),
                None => self.0.insert(0, what),
            }
        } else if !self.0.contains(&what) {
            self.0.push(what);
        }
    }

    /// The next to report.
    pub(super) fn first(&self) -> Option<AdditionalSense> {
        self.0.first().copied()
    }

    /// Takes the next, which has been reported with this.
    pub(super) fn take(&mut self) -> Option<AdditionalSense> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    /// Takes one back that is not true any more, or has been learnt otherwise.
    pub(super) fn withdraw(&mut self, what: AdditionalSense) {
        self.0.retain(|waiting| *waiting != what);
    }
}

/// ASC 29h: power on, reset, nexus loss. Smaller qualifiers are graver.
pub(super) const fn is_reset(what: AdditionalSense) -> bool {
    what.asc() == 0x29
}

/// What the logical unit keeps of a nexus.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) nexus: Nexus,
    pub(super) attached: bool,
    /// It has been attached before.
    pub(super) known: bool,
    pub(super) attentions: Attentions,
    /// PREVENT: it does not want the medium to be removed.
    pub(super) prevents: bool,
    /// What the reservation lets it do, so that reading and writing need not look it up.
    pub(super) may_read: bool,
    pub(super) may_write: bool,
}

/// The nexuses.
#[derive(Debug, Clone)]
pub(super) struct Nexuses {
    slots: Vec<Slot>,
    room: usize,
}

impl Nexuses {
    pub(super) const fn new(room: usize) -> Self {
        Self {
            slots: Vec::new(),
            room,
        }
    }

    pub(super) fn find(&self, nexus: &Nexus) -> Option<NexusId> {
        let at = self.slots.iter().position(|slot| slot.nexus == *nexus)?;
        u32::try_from(at).ok().map(NexusId)
    }

    pub(super) fn get(&self, id: NexusId) -> Option<&Slot> {
        self.slots.get(id.index())
    }

    pub(super) fn get_mut(&mut self, id: NexusId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    /// The place of `nexus`, a new one if it has none. It may take that of one that is gone and that `may_go`.
    pub(super) fn place(
        &mut self,
        nexus: &Nexus,
        may_go: impl Fn(&Nexus) -> bool,
    ) -> Result<NexusId, NoRoom> {
        if let Some(id) = self.find(nexus) {
            return Ok(id);
        }
        let slot = Slot {
            nexus: nexus.clone(),
            attached: false,
            known: false,
            attentions: Attentions::default(),
            prevents: false,
            may_read: true,
            may_write: true,
        };
        let at = if self.slots.len() < self.room {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let gone = |slot: &Slot| !slot.attached && may_go(&slot.nexus);
            let at = self.slots.iter().position(gone).ok_or(NoRoom)?;
            self.slots[at] = slot;
            at
        };
        u32::try_from(at).map(NexusId).map_err(|_| NoRoom)
    }
}
