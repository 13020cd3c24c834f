//! Keeps changes out of blocks that a COMPARE AND WRITE or ORWRITE is reading and writing in one step.
//!
//! ```text
//!  change ──▶ overlaps a step that runs or waits? ─no─▶ runs beside all other changes
//!                 └─yes─▶ waits
//!  step   ──▶ overlaps anything that runs, or a step that waits longer? ─no─▶ runs alone in its range
//!                 └─yes─▶ waits; meanwhile no new change gets in, so its turn comes
//! ```

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use scsi::lu::Extent;

/// The changes and steps under way on one medium.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    table: Mutex<Table>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    changes: Vec<Entry>,
    /// In the order of their arrival.
    steps: Vec<Entry>,
    /// Whether anybody may be waiting.
    waiters: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u64,
    extent: Extent,
}

/// A change or step under way; ends when it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Held {
    ranges: Arc<Ranges>,
    id: u64,
}

impl Ranges {
    /// Begins a change, after all steps that came earlier and overlap it.
    pub(super) fn change(self: &Arc<Self>, extent: Extent) -> Held {
        let mut table = self.lock();
        while overlapped(&table.steps, extent) {
            table = self.wait(table);
        }
        self.enter_change(table, extent)
    }

    /// Begins a change if it need not wait.
    pub(super) fn try_change(self: &Arc<Self>, extent: Extent) -> Option<Held> {
        let table = self.lock();
        (!overlapped(&table.steps, extent)).then(|| self.enter_change(table, extent))
    }

    fn enter_change(self: &Arc<Self>, mut table: MutexGuard<'_, Table>, extent: Extent) -> Held {
        let id = table.take_id();
        table.changes.push(Entry { id, extent });
        let ranges = Arc::clone(self);
        Held { ranges, id }
    }

    /// Begins a step, after everything that came earlier and overlaps it.
    pub(super) fn step(self: &Arc<Self>, extent: Extent) -> Held {
        let mut table = self.lock();
        let id = table.take_id();
        table.steps.push(Entry { id, extent });
        loop {
            let earlier = table.steps.iter().take_while(|step| step.id != id);
            let mut earlier = earlier.map(|step| step.extent);
            if !overlapped(&table.changes, extent) && !earlier.any(|it| overlap(it, extent)) {
                let ranges = Arc::clone(self);
                return Held { ranges, id };
            }
            table = self.wait(table);
        }
    }

    fn wait<'a>(&'a self, mut table: MutexGuard<'a, Table>) -> MutexGuard<'a, Table> {
        table.waiters += 1;
        // What is waited for is the disk, or others who wait for the disk: as bounded as any other operation.
        let mut table = self
            .freed
            .wait(table)
            .unwrap_or_else(PoisonError::into_inner);
        table.waiters -= 1;
        table
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing is left half done in the table when a holder panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn take_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.ranges.lock();
        if let Some(at) = table.changes.iter().position(|one| one.id == self.id) {
            table.changes.swap_remove(at);
        } else {
            table.steps.retain(|one| one.id != self.id);
        }
        if table.waiters > 0 {
            self.ranges.freed.notify_all();
        }
    }
}

fn overlapped(entries: &[Entry], extent: Extent) -> bool {
    entries.iter().any(|entry| overlap(entry.extent, extent))
}

const fn overlap(a: Extent, b: Extent) -> bool {
    a.first < b.first.saturating_add(b.count) && b.first < a.first.saturating_add(a.count)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const fn extent(first: u64, count: u64) -> Extent {
        Extent { first, count }
    }

    #[test]
    fn only_what_touches_the_same_blocks_overlaps() {
        assert!(overlap(extent(0, 8), extent(7, 1)));
        assert!(!overlap(extent(0, 8), extent(8, 1)));
        assert!(!overlap(extent(5, 0), extent(5, 0)));
        assert!(overlap(extent(u64::MAX - 1, 5), extent(u64::MAX - 1, 1)));
    }

    #[test]
    fn changes_run_beside_each_other_and_steps_keep_them_out() {
        let ranges = Arc::new(Ranges::default());
        let first = ranges.change(extent(0, 8));
        let second = ranges.try_change(extent(4, 8)).unwrap();
        drop((first, second));
        let step = ranges.step(extent(4, 4));
        assert!(ranges.try_change(extent(7, 4)).is_none());
        assert!(ranges.try_change(extent(8, 4)).is_some());
        drop(step);
        assert!(ranges.try_change(extent(7, 4)).is_some());
        assert!(ranges.lock().changes.is_empty() && ranges.lock().steps.is_empty());
    }

    #[test]
    fn a_waiting_step_lets_no_new_change_pass() {
        let ranges = Arc::new(Ranges::default());
        let change = ranges.change(extent(0, 4));
        let stepper = thread::spawn({
            let ranges = Arc::clone(&ranges);
            move || drop(ranges.step(extent(2, 4)))
        });
        // The step is entered before it waits, so the loop ends.
        while ranges.try_change(extent(5, 1)).is_some() {
            thread::yield_now();
        }
        drop(change);
        stepper.join().unwrap();
        assert!(ranges.try_change(extent(5, 1)).is_some());
    }

    #[test]
    fn steps_are_alone_among_many_threads() {
        let ranges = Arc::new(Ranges::default());
        let inside = AtomicUsize::new(0);
        let changed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for worker in 0..4_u64 {
                let (ranges, inside, changed) = (&ranges, &inside, &changed);
                scope.spawn(move || {
                    for round in 0..500_u64 {
                        let at = extent((worker + round) % 3, 2);
                        if (worker + round) % 2 == 0 {
                            let _held = ranges.step(extent(0, 8));
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        } else {
                            let _held = ranges.change(at);
                            assert_eq!(inside.load(Ordering::SeqCst), 0);
                            changed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(changed.into_inner(), 1000);
    }
}
