//! Many cases in one test: side by side where they wait, and all failures told, not the first.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
};

/// Runs `check` on every case, `width` of them at a time.
///
/// # Panics
/// When any case failed, naming all that did.
pub fn all<C: Debug + Sync>(cases: &[C], width: usize, check: impl Fn(&C) + Sync) {
    let queue = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..width.min(cases.len()) {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().expect("no panic while locked").next() else {
                        return;
                    };
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(case))) {
                        let said = panic
                            .downcast_ref::<String>()
                            .map(String::as_str)
                            .or_else(|| panic.downcast_ref::<&str>().copied())
                            .unwrap_or("(no message)");
                        let line = format!("{case:?}: {said}");
                        failed.lock().expect("no panic while locked").push(line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic while locked");
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}
