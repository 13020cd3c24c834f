//! What one run of a program costs, from exec to exit, as the meter (`spent`) tells it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

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
}
