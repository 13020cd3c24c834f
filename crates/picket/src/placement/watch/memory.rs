//! What was wrong when it was last looked at, and so what is new, what lasts, and what is over.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ::placement::{Finding, FindingKind, Weight};

/// What is different from the look before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It was not there.
    New(Finding),
    /// An alarm that lasts, and has not been mentioned for some time.
    Again(Finding),
    /// An alarm that is over.
    Over(Finding),
}

#[derive(Debug, Clone)]
struct Known {
    finding: Finding,
    told: Instant,
}

/// The findings that have been told. Notes are none.
#[derive(Debug)]
pub(super) struct Memory {
    known: Vec<Known>,
    remind: Option<Duration>,
}

/// What makes two findings the same: the words may differ, they say how long something was waited for.
fn key(finding: &Finding) -> (FindingKind, &[String], Option<&str>) {
    (finding.kind, &finding.members, finding.host.as_deref())
}

impl Memory {
    /// One that knows nothing; alarms that last are told again after `remind`.
    pub(super) const fn new(remind: Option<Duration>) -> Self {
        Self {
            known: Vec::new(),
            remind,
        }
    }

    /// Takes what was found now, and says what is different. That members share a host is not over when nobody can say where one of
    /// them is.
    pub(super) fn take(&mut self, findings: &[Finding], now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut known = Vec::with_capacity(findings.len());
        for finding in findings.iter().filter(|found| found.weight != Weight::Note) {
            let before = self.known.iter().find(|known| {
                key(&known.finding) == key(finding) && known.finding.weight == finding.weight
            });
            let mut told = now;
            match before {
                None => changes.push(Change::New(finding.clone())),
                Some(before) => {
                    let due = self
                        .remind
                        .is_some_and(|remind| now.saturating_duration_since(before.told) >= remind);
                    if due && finding.weight == Weight::Alarm {
                        changes.push(Change::Again(finding.clone()));
                    } else {
                        told = before.told;
                    }
                }
            }
            known.push(Known {
                finding: finding.clone(),
                told,
            });
        }
        let unknown: HashSet<&String> = findings
            .iter()
            .filter(|finding| finding.kind == FindingKind::WhereaboutsUnknown)
            .flat_map(|finding| &finding.members)
            .collect();
        for before in &self.known {
            let lasts = known
                .iter()
                .any(|now| key(&now.finding) == key(&before.finding));
            let shared = before.finding.kind == FindingKind::MembersOnOneHost;
            let mut members = before.finding.members.iter();
            if !lasts && shared && members.any(|member| unknown.contains(member)) {
                known.push(before.clone());
                continue;
            }
            if before.finding.weight == Weight::Alarm && !lasts {
                changes.push(Change::Over(before.finding.clone()));
            }
        }
        self.known = known;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(weight: Weight, kind: FindingKind, member: &str, message: &str) -> Finding {
        Finding {
            weight,
            kind,
            members: vec![member.to_owned()],
            host: None,
            message: message.to_owned(),
        }
    }

    #[test]
    fn an_alarm_is_not_over_because_nobody_knows() {
        let now = Instant::now();
        let mut memory = Memory::new(None);
        let shared = finding(
            Weight::Alarm,
            FindingKind::MembersOnOneHost,
            "n1",
            "both on h1",
        );
        let unknown = finding(
            Weight::Alarm,
            FindingKind::WhereaboutsUnknown,
            "n1",
            "no answer",
        );
        assert_eq!(memory.take(std::slice::from_ref(&shared), now).len(), 1);
        let then = memory.take(std::slice::from_ref(&unknown), now);
        assert_eq!(then, [Change::New(unknown.clone())]);
        // Known again: still so, which is nothing new; or over.
        assert_eq!(
            memory.take(std::slice::from_ref(&shared), now),
            [Change::Over(unknown)]
        );
        assert_eq!(memory.take(&[], now), [Change::Over(shared)]);
    }

    #[test]
    fn what_is_told_once_is_told_again_only_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut memory = Memory::new(Some(Duration::from_secs(100)));
        let alarm = |text| finding(Weight::Alarm, FindingKind::WhereaboutsUnknown, "n1", text);
        let warning = finding(Weight::Warning, FindingKind::NotKeptApart, "n1", "w");
        let note = finding(Weight::Note, FindingKind::RunsNowhere, "n1", "n");
        let first = memory.take(&[alarm("no answer in 1 s"), warning.clone(), note], at(0));
        assert_eq!(
            first,
            [
                Change::New(alarm("no answer in 1 s")),
                Change::New(warning.clone())
            ]
        );
        let words = alarm("no answer in 2 s");
        assert_eq!(memory.take(&[words.clone(), warning.clone()], at(99)), []);
        assert_eq!(
            memory.take(&[words.clone(), warning.clone()], at(100)),
            [Change::Again(words.clone())]
        );
        assert_eq!(memory.take(std::slice::from_ref(&words), at(199)), []);
        assert_eq!(memory.take(&[], at(200)), [Change::Over(words)]);
        assert_eq!(memory.take(&[], at(1000)), []);
    }

    #[test]
    fn another_member_or_kind_is_another_alarm() {
        let now = Instant::now();
        let mut memory = Memory::new(None);
        let one = finding(Weight::Alarm, FindingKind::WhereaboutsUnknown, "n1", "x");
        let other = finding(Weight::Alarm, FindingKind::WhereaboutsUnknown, "n2", "x");
        memory.take(std::slice::from_ref(&one), now);
        assert_eq!(
            memory.take(std::slice::from_ref(&other), now),
            [Change::New(other), Change::Over(one)]
        );
    }
}
