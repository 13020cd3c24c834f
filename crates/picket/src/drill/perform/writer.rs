//! A node that writes to shared storage: `writer.py`, started over ssh, and what it says.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use lab::Lab;

use super::aftermath::Acknowledged;

const PROGRAM: &str = include_str!("../writer.py");

/// What a writer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// The record of this number is on storage.
    Record(u64),
    /// It waits for the lock that the node which is to fail holds.
    Waiting,
    /// It has that lock.
    Free,
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "waiting" => Some(Self::Waiting),
            "free" => Some(Self::Free),
            number => number.parse().ok().map(Self::Record),
        }
    }
}

/// A node that writes. Ends with this.
pub(super) struct Writer {
    /// Which node.
    pub(super) node: String,
    /// Whether it waits for the other node's lock, or has got it.
    pub(super) waiting: bool,
    /// When it got the lock.
    pub(super) free: Option<Instant>,
    /// The records that were acknowledged, and when.
    seen: Vec<(Instant, u64)>,
    child: Child,
    said: Receiver<(Instant, Said)>,
}

impl Writer {
    /// Starts one on the `index`-th of `nodes` nodes. The `victim`-th holds the lock.
    pub(super) fn start(
        lab: &Lab,
        node: &str,
        file: &str,
        index: usize,
        nodes: usize,
        victim: usize,
    ) -> std::io::Result<Self> {
        let ssh = lab.ssh();
        let words = ssh.prefix.iter().map(|word| word.as_os_str());
        let mut words = words.chain([OsStr::new("ssh")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("-F").arg(&ssh.config);
        command.args(["-T", "-o", "BatchMode=yes", "--", node]);
        command.arg(format!("exec python3 - {file} {index} {nodes} {victim}"));
        Self::of(node, command)
    }

    fn of(node: &str, mut command: Command) -> std::io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(PROGRAM.as_bytes())?;
        }
        let (sender, said) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(output).lines();
                let words = lines.map_while(Result::ok);
                for said in words.map_while(|line| Said::parse(&line)) {
                    if sender.send((Instant::now(), said)).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self {
            node: node.to_owned(),
            waiting: false,
            free: None,
            seen: Vec::new(),
            child,
            said,
        })
    }

    /// Hears what it has said by now.
    pub(super) fn look(&mut self) {
        for (at, said) in self.said.try_iter() {
            match said {
                Said::Record(number) => self.seen.push((at, number)),
                Said::Waiting => self.waiting = true,
                Said::Free => self.free = Some(at),
            }
        }
    }

    /// The number of the last record that was acknowledged.
    pub(super) fn last(&self) -> Option<u64> {
        self.seen.last().map(|(_, number)| *number)
    }

    pub(super) fn acknowledged(&self) -> Acknowledged<'_> {
        Acknowledged {
            node: &self.node,
            last: self.last(),
        }
    }

    /// The last record up to that moment.
    pub(super) fn last_before(&self, moment: Instant) -> Option<Instant> {
        let moments = self.seen.iter().map(|(at, _)| *at);
        moments.take_while(|at| *at <= moment).last()
    }

    /// The first of `enough` records after that moment; none if there are fewer.
    pub(super) fn goes_on_after(&self, moment: Instant, enough: usize) -> Option<Instant> {
        let mut after = self.seen.iter().map(|(at, _)| *at);
        let first = after.find(|at| *at > moment)?;
        (after.count() + 1 >= enough).then_some(first)
    }

    pub(super) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.look();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use deadline::Deadline;

    use super::super::records;
    use super::*;

    fn start(file: &Path, index: usize) -> Writer {
        let mut python = Command::new("python3");
        python
            .arg("-")
            .arg(file)
            .args([&index.to_string(), "2", "0"]);
        Writer::of("here", python).unwrap()
    }

    fn until(writer: &mut Writer, seen: impl Fn(&Writer) -> bool) {
        let deadline = Deadline::after(Duration::from_secs(60));
        while !seen(writer) {
            assert!(!deadline.has_passed());
            std::thread::sleep(Duration::from_millis(10));
            writer.look();
        }
    }

    #[test]
    fn writers_write_what_is_looked_for_and_the_lock_passes_on_when_its_holder_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let mut victim = start(&path, 0);
        until(&mut victim, |writer| writer.last() >= Some(1));
        let mut survivor = start(&path, 1);
        until(&mut survivor, |writer| {
            writer.waiting && writer.last() >= Some(2)
        });
        assert_eq!(survivor.free, None);
        victim.stop();
        until(&mut survivor, |writer| writer.free.is_some());
        survivor.stop();
        let file = std::fs::read(&path).unwrap();
        assert_eq!(records::lost(&file, 0, 2, victim.last()), [0; 0]);
        assert_eq!(records::lost(&file, 1, 2, survivor.last()), [0; 0]);
        let free = survivor.free.unwrap();
        assert!(survivor.last_before(free).is_some());
        assert!(survivor.goes_on_after(free, usize::MAX).is_none());
    }

    #[test]
    fn what_a_writer_never_says_ends_the_listening() {
        assert_eq!(Said::parse("12\n"), Some(Said::Record(12)));
        assert_eq!(Said::parse("free"), Some(Said::Free));
        assert_eq!(Said::parse("Traceback (most recent call last):"), None);
    }
}
