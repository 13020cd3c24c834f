//! The thread that owns the audit file.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::Record;

/// How often a disk that takes nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Lines waiting for the disk, in bytes. The oldest are given up beyond it; each of them has been
/// put into the daemon's log in full by then.
const MAX_WAITING: usize = 4 << 20;
/// Records taken together, so that many requests share one write.
const BATCH: usize = 64;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Record(Box<Record>),
    Reopen(Option<PathBuf>),
    Flush(SyncSender<()>),
}

/// The file and what it has not taken yet.
#[derive(Debug)]
pub(super) struct Writer {
    path: Option<PathBuf>,
    file: Option<File>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Bytes of the first waiting line that are in the file already.
    written: usize,
    durable: bool,
    failing: bool,
    given_up: usize,
}

impl Writer {
    pub(super) const fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            file: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            written: 0,
            durable: false,
            failing: false,
            given_up: 0,
        }
    }

    /// Serves until every sender is gone.
    pub(super) fn run(&mut self, commands: &Receiver<Command>) {
        self.attempt();
        loop {
            let first = if self.waiting.is_empty() && (self.file.is_some() || self.path.is_none()) {
                commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                commands.recv_timeout(RETRY)
            };
            match first {
                Ok(command) => {
                    let mut answers = Vec::new();
                    self.take(command, &mut answers);
                    for command in commands.try_iter().take(BATCH) {
                        self.take(command, &mut answers);
                    }
                    self.attempt();
                    for answer in answers {
                        let _ = answer.try_send(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.attempt(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.attempt();
                    return;
                }
            }
        }
    }

    fn take(&mut self, command: Command, answers: &mut Vec<SyncSender<()>>) {
        match command {
            Command::Record(record) => self.queue(&record),
            Command::Flush(answer) => answers.push(answer),
            Command::Reopen(path) => {
                self.attempt();
                self.path = path;
                self.file = None;
                // The new file gets the line that the old one holds half of.
                self.written = 0;
            }
        }
    }

    fn queue(&mut self, record: &Record) {
        if self.path.is_none() {
            return;
        }
        let mut line = record.line();
        if self.failing {
            tracing::error!(record = %line, "not in the audit log yet");
        }
        line.push('\n');
        self.durable |= record.durable;
        self.waiting_bytes += line.len();
        self.waiting.push_back(line.into_bytes());
        while self.waiting_bytes > MAX_WAITING && self.waiting.len() > 1 {
            // Never the first one if the file holds a part of it.
            let victim = usize::from(self.written > 0);
            if let Some(line) = self.waiting.remove(victim) {
                self.waiting_bytes -= line.len();
                self.given_up += 1;
            }
        }
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.path
            .as_deref()
            .unwrap_or_else(|| Path::new("none"))
            .display()
    }

    /// Writes what waits, as far as the disk takes it.
    fn attempt(&mut self) {
        match self.write() {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::warn!(
                    path = %self.shown(), lost = self.given_up,
                    "the audit log is being written again"
                );
                self.given_up = 0;
            }
            Ok(()) => {}
            Err(error) if self.failing => {
                tracing::debug!(path = %self.shown(), %error, "still no audit log");
            }
            Err(error) => {
                self.failing = true;
                tracing::error!(
                    path = %self.shown(), %error, waiting = self.waiting.len(),
                    "the audit log cannot be written; fencing goes on, records are kept and follow here"
                );
                for line in &self.waiting {
                    let record = String::from_utf8_lossy(line);
                    tracing::error!(record = %record.trim_end(), "not in the audit log yet");
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            self.waiting.clear();
            self.waiting_bytes = 0;
            return Ok(());
        };
        if self.file.is_none() {
            self.file = Some(open(path)?);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        while !self.waiting.is_empty() {
            let mut batch: Vec<u8> = Vec::new();
            for line in self.waiting.iter().take(BATCH) {
                batch.extend(line);
            }
            let taken = match file.write(&batch[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.written += taken;
            while let Some(line) = self.waiting.front()
                && self.written >= line.len()
            {
                self.written -= line.len();
                self.waiting_bytes -= line.len();
                self.waiting.pop_front();
            }
        }
        if std::mem::take(&mut self.durable) {
            file.sync_data()?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
        && !folder.exists()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::super::{Auditor, Outcome, Subject};
    use super::*;

    fn record(detail: &str) -> Record {
        Record::new(Subject::Daemon, Outcome::Done).because(detail)
    }

    fn details(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            value["detail"].as_str().unwrap_or_default().to_owned()
        });
        lines.collect()
    }

    #[test]
    fn records_become_lines_and_reopening_follows_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/on/demand.jsonl");
        let (auditor, thread) = Auditor::start(Some(&path)).unwrap();
        auditor.record(record("one"));
        auditor.flush();
        let old = folder.path().join("old.jsonl");
        std::fs::rename(&path, &old).unwrap();
        auditor.record(record("two"));
        auditor.flush();
        auditor.reopen(Some(path.clone()));
        auditor.record(record("three"));
        drop(auditor);
        thread.join().unwrap();
        assert_eq!(details(&old), ["one", "two"]);
        assert_eq!(details(&path), ["three"]);
    }

    #[test]
    fn what_a_full_disk_refuses_is_written_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut writer = Writer::new(Some(PathBuf::from("/dev/full")));
        for number in 0..5 {
            writer.queue(&record(&number.to_string()));
            writer.attempt();
        }
        assert!(writer.failing);
        assert_eq!(writer.waiting.len(), 5);
        writer.take(Command::Reopen(Some(path.clone())), &mut Vec::new());
        writer.attempt();
        assert!(!writer.failing);
        assert_eq!(details(&path), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn memory_for_a_full_disk_is_bounded_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut writer = Writer::new(Some(PathBuf::from("/dev/full")));
        let long = "x".repeat(100_000);
        for _ in 0..60 {
            writer.queue(&record(&long));
        }
        writer.queue(&record("last"));
        assert!(writer.waiting_bytes <= MAX_WAITING);
        assert_eq!(
            writer.waiting.iter().map(Vec::len).sum::<usize>(),
            writer.waiting_bytes
        );
        writer.take(Command::Reopen(Some(path.clone())), &mut Vec::new());
        writer.attempt();
        assert_eq!(details(&path).last().unwrap(), "last");
        assert!(writer.waiting.is_empty() && writer.waiting_bytes == 0);
    }
}
