//! The challenges this daemon is waiting to have answered.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fence_wire::Challenge;

/// All challenges that are out.
///
/// A peer must be answered before it has proven itself, so it could send one of our own challenges
/// on another connection and bring the answer back on the first one. Such a challenge is refused
/// (W13). Another host with the same key can still be asked; only a new protocol mends that.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<Mutex<HashSet<Challenge>>>);

/// One challenge that is out; dropped when it has been answered, or never will be.
#[derive(Debug)]
pub struct Outstanding {
    all: Challenges,
    own: Challenge,
}

impl Challenges {
    /// Makes a challenge of fresh random bytes.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn issue(&self) -> Result<Outstanding, getrandom::Error> {
        let mut own: Challenge = [0; _];
        getrandom::fill(&mut own)?;
        self.lock().insert(own);
        Ok(Outstanding {
            all: self.clone(),
            own,
        })
    }

    /// Whether `challenge` is one of ours.
    #[must_use]
    pub fn contains(&self, challenge: &[u8]) -> bool {
        Challenge::try_from(challenge).is_ok_and(|challenge| self.lock().contains(&challenge))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Challenge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outstanding {
    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Challenge {
        &self.own
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.all.lock().remove(&self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_challenges_are_known_while_they_are_out() {
        let challenges = Challenges::default();
        let out = challenges.issue().unwrap();
        let bytes = *out.bytes();
        assert!(challenges.contains(&bytes));
        assert!(!challenges.contains(&[0; 64]));
        assert!(!challenges.contains(&bytes[..63]));
        drop(out);
        assert!(!challenges.contains(&bytes));
    }
}
