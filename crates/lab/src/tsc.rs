//! The rate of the processor's time stamp counter.
//!
//! Under emulation a guest's counter is the host's, but on a busy host the guest's kernel mismeasures
//! its rate (771 MHz for 2596 MHz was seen) and its clock runs fast without a word. So the guest is told
//! the rate (`tsc_early_khz`), measured here. It is part of the guest's machine state: a saved state is
//! good only on a host with the same rate.

#[cfg(target_arch = "x86_64")]
use std::time::{Duration, Instant};

/// How far two measured rates may lie apart to count as the same: one part in a thousand. A guest with
/// a rate that wrong drifts by a millisecond per second, which nothing in a cluster notices.
const TOLERANCE: f64 = 0.001;

/// Measures the rate in kHz, over about 200 ms. `None` on processors without such a counter.
pub(crate) fn measure_khz() -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    {
        const SPAN: Duration = Duration::from_millis(200);
        let (began, first) = sample();
        std::thread::sleep(SPAN);
        let (ended, last) = sample();
        let nanos = ended.duration_since(began).as_nanos();
        let khz = u128::from(last.checked_sub(first)?) * 1_000_000 / nanos.max(1);
        u32::try_from(khz).ok().filter(|khz| *khz > 0)
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Whether a state saved at one rate may run at the other.
pub(crate) fn same_rate(saved: Option<u32>, now: Option<u32>) -> bool {
    match (saved, now) {
        (None, None) => true,
        (Some(saved), Some(now)) => {
            (f64::from(saved) - f64::from(now)).abs() <= f64::from(now) * TOLERANCE
        }
        _ => false,
    }
}

/// Both clocks at nearly one moment: of several tries, the one the scheduler disturbed least.
#[cfg(target_arch = "x86_64")]
fn sample() -> (Instant, u64) {
    let mut best: Option<(Duration, Instant, u64)> = None;
    for _ in 0..16 {
        let before = Instant::now();
        let counter = counter::read();
        let spent = before.elapsed();
        if best.is_none_or(|(least, ..)| spent < least) {
            best = Some((spent, before, counter));
        }
    }
    best.map_or_else(
        || (Instant::now(), counter::read()),
        |(_, at, counter)| (at, counter),
    )
}

/// The only unsafe code of this crate.
#[cfg(target_arch = "x86_64")]
mod counter {
    /// The time stamp counter's value.
    pub(super) fn read() -> u64 {
        // SAFETY: RDTSC exists on every x86-64 processor, reads and writes no memory, and Linux lets
        // user programs execute it unless a process asks to be killed for it (PR_SET_TSC), which
        // nothing here does.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (one, two) = (measure_khz(), measure_khz());
        assert!(same_rate(one, two), "{one:?} {two:?}");
    }

    #[test]
    fn another_rate_is_another_machine() {
        assert!(same_rate(Some(2_596_000), Some(2_597_000)));
        assert!(!same_rate(Some(2_596_000), Some(2_600_000)));
        assert!(!same_rate(None, Some(2_600_000)));
    }
}
