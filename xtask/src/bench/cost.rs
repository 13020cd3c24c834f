//! What one run of a program costs, from exec to exit, as the meter (`spent`) tells it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// Clock ticks per second as the kernel tells them to programs, whatever its own are (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What one run cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    /// CPU time, user and system, in milliseconds.
    pub(crate) cpu: f64,
    /// Peak resident memory in MiB.
    pub(crate) memory: f64,
    /// From fork to exit, in milliseconds.
    pub(crate) wall: f64,
}

/// Runs `program` once; what it prints is thrown away.
///
/// # Errors
/// It cannot be run, or does not exit with 0.
pub(crate) fn of(meter: &Path, program: &Path, arguments: &[String]) -> Result<Cost> {
    metered(&mut Command::new(meter), program, arguments)
}

/// As [`of`], by a command that ends in the meter: what comes before it does not count.
///
/// # Errors
/// As [`of`].
pub(crate) fn metered(command: &mut Command, program: &Path, arguments: &[String]) -> Result<Cost> {
    let output = command
        .arg(program)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to measure {}", program.display()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", messages.trim());
    let line = String::from_utf8_lossy(&output.stdout);
    match parse(&line) {
        Some((0, cost)) => Ok(cost),
        Some((code, _)) => bail!(
            "{} {} ended with {code}: {}",
            program.display(),
            arguments.join(" "),
            messages.trim()
        ),
        None => bail!("the meter said {line:?}"),
    }
}

/// Reads the meter's line: exit code, CPU nanoseconds, peak KiB, wall nanoseconds.
fn parse(line: &str) -> Option<(i32, Cost)> {
    let mut words = line.split_whitespace();
    let code = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse::<f64>().ok();
    let cost = Cost {
        cpu: number()? / 1e6,
        memory: number()? / 1024.0,
        wall: number()? / 1e6,
    };
    Some((code, cost))
}

/// What a process that runs has cost so far, user and system, in milliseconds.
///
/// # Errors
/// It has ended.
pub(crate) fn so_far(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let ticks = ticks(&stat).context("a stat that is none")?;
    Ok(f64::from(ticks) * 1e3 / TICKS)
}

/// User and system time in a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut number = || fields.next()?.parse::<u32>().ok();
    Some(number()? + number()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meters_line_is_read_in_the_units_of_the_table() {
        let (code, cost) = parse("0 1500000 2048 3000000\n").unwrap();
        assert_eq!(code, 0);
        let expected = Cost {
            cpu: 1.5,
            memory: 2.0,
            wall: 3.0,
        };
        assert_eq!(cost, expected);
        assert!(parse("0 1500000").is_none());
        assert!(parse("spent: no such file").is_none());
    }

    #[test]
    fn processor_time_is_behind_a_name_that_may_hold_anything() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 5 0 0 0 40 2 0 0 20 0 3 0 9 1 2";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }
}
