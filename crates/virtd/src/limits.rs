//! How many connections at once, and which one gives way.
//!
//! Plain bookkeeping: no sockets, no clock. A connection is *pending* until its peer has proven
//! itself and *proven* from then on. When there is no room, the oldest pending connection gives
//! way: of the same address if that address has its fill, of all if the whole has. So peers that
//! connect and say nothing never keep anybody out (I07, W23); proven ones never give way, and when
//! all room is theirs, the newcomer is turned away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Entry {
    id: u64,
    source: String,
    give_way: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Oldest first.
    pending: Vec<Entry>,
    proven: HashMap<u64, String>,
    by_source: HashMap<String, usize>,
}

/// The places that connections may take.
#[derive(Debug, Clone)]
pub struct Places {
    state: Arc<Mutex<State>>,
    total: usize,
    per_source: usize,
}

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Places,
    id: u64,
    /// Cancelled when this connection must give way to a newer one.
    pub give_way: CancellationToken,
}

impl Places {
    /// Room for `total` connections, at most `per_source` of them of one source.
    #[must_use]
    pub fn new(total: usize, per_source: usize) -> Self {
        Self {
            state: Arc::default(),
            total: total.max(1),
            per_source: per_source.max(1),
        }
    }

    /// Takes a place, if need be that of the oldest connection that is still pending. None when all
    /// room belongs to proven peers.
    #[must_use]
    pub fn enter(&self, source: &str) -> Option<Place> {
        let mut state = self.lock();
        if state.of(source) >= self.per_source && !state.evict(Some(source)) {
            return None;
        }
        if state.len() >= self.total && !state.evict(None) {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let give_way = CancellationToken::new();
        *state.by_source.entry(source.to_owned()).or_default() += 1;
        state.pending.push(Entry {
            id,
            source: source.to_owned(),
            give_way: give_way.clone(),
        });
        drop(state);
        Some(Place {
            places: self.clone(),
            id,
            give_way,
        })
    }

    /// Places taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn len(&self) -> usize {
        self.pending.len() + self.proven.len()
    }

    fn of(&self, source: &str) -> usize {
        self.by_source.get(source).copied().unwrap_or(0)
    }

    /// Removes the oldest pending connection (of `source`); false if there is none.
    fn evict(&mut self, source: Option<&str>) -> bool {
        let oldest = self
            .pending
            .iter()
            .position(|entry| source.is_none_or(|source| entry.source == source));
        let Some(index) = oldest else {
            return false;
        };
        let entry = self.pending.remove(index);
        self.leave(&entry.source);
        entry.give_way.cancel();
        true
    }

    fn leave(&mut self, source: &str) {
        if let Some(count) = self.by_source.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(source);
            }
        }
    }
}

impl Place {
    /// The peer has proven itself. False if the place had to be given up before.
    #[must_use]
    pub fn prove(&self) -> bool {
        let mut state = self.places.lock();
        let Some(index) = state.pending.iter().position(|entry| entry.id == self.id) else {
            return state.proven.contains_key(&self.id);
        };
        let entry = state.pending.remove(index);
        state.proven.insert(entry.id, entry.source);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let source = match state.pending.iter().position(|entry| entry.id == self.id) {
            Some(index) => Some(state.pending.remove(index).source),
            None => state.proven.remove(&self.id),
        };
        if let Some(source) = source {
            state.leave(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_silent_connection_gives_way() {
        let places = Places::new(3, 10);
        let silent: Vec<Place> = (0..3).map(|_| places.enter("a").unwrap()).collect();
        let newcomer = places.enter("b").unwrap();
        assert!(silent[0].give_way.is_cancelled());
        assert!(!silent[1].give_way.is_cancelled());
        assert!(!silent[0].prove());
        assert!(newcomer.prove() && newcomer.prove());
        assert_eq!(places.taken(), 3);
        drop(silent);
        assert_eq!(places.taken(), 1);
    }

    #[test]
    fn a_source_with_its_fill_displaces_only_itself() {
        let places = Places::new(10, 2);
        let other = places.enter("b").unwrap();
        let first = places.enter("a").unwrap();
        let second = places.enter("a").unwrap();
        let _third = places.enter("a").unwrap();
        assert!(first.give_way.is_cancelled());
        assert!(!second.give_way.is_cancelled() && !other.give_way.is_cancelled());
    }

    #[test]
    fn proven_connections_never_give_way() {
        let places = Places::new(2, 2);
        let kept: Vec<Place> = (0..2).map(|_| places.enter("a").unwrap()).collect();
        assert!(kept.iter().all(Place::prove));
        assert!(places.enter("a").is_none() && places.enter("b").is_none());
        drop(kept);
        assert!(places.enter("a").is_some());
    }

    proptest! {
        /// Whatever happens, the bounds hold, the books balance, and a proven place stays.
        #[test]
        fn bounds_hold(steps in proptest::collection::vec((0u8..3, 0u8..3, 0usize..8), 1..80)) {
            let places = Places::new(5, 3);
            let mut held: Vec<(Place, bool)> = Vec::new();
            for (action, source, index) in steps {
                match action {
                    0 => held.extend(places.enter(&source.to_string()).map(|place| (place, false))),
                    1 if !held.is_empty() => {
                        let index = index % held.len();
                        held[index].1 |= held[index].0.prove();
                    }
                    _ if !held.is_empty() => { held.swap_remove(index % held.len()); }
                    _ => {}
                }
                let state = places.lock();
                prop_assert!(state.len() <= 5);
                prop_assert!(state.by_source.values().all(|count| (1..=3).contains(count)));
                prop_assert_eq!(state.by_source.values().sum::<usize>(), state.len());
                for (place, proven) in &held {
                    prop_assert_eq!(state.proven.contains_key(&place.id), *proven);
                }
            }
        }
    }
}
