//! What the survivors' logs and the daemon's audit log tell about a failure. Text in, marks out.

use jiff::{SignedDuration, Timestamp, civil};
use serde::Deserialize;

use super::timeline::{Mark, Milestone, PowerOff};

/// A line of a log that says something about a failure: when by the guest's clock, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// When, by the clock of who wrote it.
    pub at: Timestamp,
    /// What happened.
    pub milestone: Milestone,
    /// The line's own words.
    pub detail: String,
}

impl Finding {
    /// The finding as a mark, given the moment of the fault on the same clock as `at`.
    #[must_use]
    pub fn mark(self, fault: Timestamp, source: &str) -> Mark {
        Mark {
            milestone: self.milestone,
            after: self.at.duration_since(fault),
            source: source.to_owned(),
            detail: self.detail,
        }
    }
}

/// What Corosync 3's log tells. `near` is any time within half a year of the log's: its lines name
/// no year. They are taken as UTC.
#[must_use]
pub fn corosync(log: &str, near: Timestamp) -> Vec<Finding> {
    let tell = |line| {
        let (at, rest) = timestamp(line, near)?;
        let (_, message) = rest.split_once("[TOTEM ] ")?;
        let milestone = if message.starts_with("A processor failed, forming new configuration") {
            Milestone::MembershipLost
        } else if message.starts_with("A new membership (") && message.contains(" left: ") {
            Milestone::NewMembership
        } else {
            return None;
        };
        Some(Finding {
            at,
            milestone,
            detail: message.trim_end().to_owned(),
        })
    };
    log.lines().filter_map(tell).collect()
}

/// What Pacemaker 2.1's detail log tells about fencing `victim` and starting `resource`, which is the
/// last resource of the service. For `near` see [`corosync`].
///
/// With a fencing delay the agent starts when the delay is over; the log only says when the delay
/// began and how long it is.
#[must_use]
pub fn pacemaker(log: &str, near: Timestamp, victim: &str, resource: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut delay = None;
    for line in log.lines() {
        let Some((at, rest)) = timestamp(line, near) else {
            continue;
        };
        let Some((_, message)) = rest.split_once(": ") else {
            continue;
        };
        let mut found = |at, milestone| {
            findings.push(Finding {
                at,
                milestone,
                detail: message
                    .split(" | ")
                    .next()
                    .unwrap_or(message)
                    .trim()
                    .to_owned(),
            });
        };
        if is_request(message, victim) {
            found(at, Milestone::FencingRequested);
        } else if message.starts_with("Requesting that ") && names(message, "targeting ", victim) {
            found(at, Milestone::FenceCallStarted);
        } else if message.starts_with("Delaying ") && names(message, "targeting ", victim) {
            delay = delay_of(message).map(|delay| at + delay);
        } else if has_returned(message, victim) {
            found(at, Milestone::FenceCallReturned);
        } else if has_started(message, resource) {
            found(at, Milestone::ServiceStarted);
        }
    }
    if let Some(over) = delay {
        put_off(&mut findings, over);
    }
    findings
}

/// Moves the start of the agent to the end of the delay.
fn put_off(findings: &mut [Finding], over: Timestamp) {
    for finding in findings {
        if finding.milestone == Milestone::FenceCallStarted && finding.at < over {
            finding.at = over;
        }
    }
}

/// The controller asks its fencer: "Requesting fencing (reboot) of node n1", in later versions
/// "… targeting node n1".
fn is_request(message: &str, victim: &str) -> bool {
    message.starts_with("Requesting fencing (") && names(message, " node ", victim)
}

/// "Operation 'reboot' \[1234\] targeting n1 using fence.n1 returned 0".
fn has_returned(message: &str, victim: &str) -> bool {
    message.starts_with("Operation '")
        && message.contains("] targeting ")
        && names(message, "targeting ", victim)
        && message
            .split_once(" returned 0")
            .is_some_and(|(_, rest)| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// "Result of start operation for web.http on n2: ok".
fn has_started(message: &str, resource: &str) -> bool {
    message.starts_with("Result of start operation for ")
        && names(message, "operation for ", resource)
        && message.contains(": ok")
}

/// Whether `message` has `word` right behind `lead`, as a whole word.
fn names(message: &str, lead: &str, word: &str) -> bool {
    message.match_indices(lead).any(|(at, _)| {
        message[at + lead.len()..]
            .strip_prefix(word)
            .is_some_and(|rest| {
                !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-._".contains(c))
            })
    })
}

/// "Delaying 'reboot' action targeting n2 using fence.n2 for 2s".
fn delay_of(message: &str) -> Option<SignedDuration> {
    let (_, rest) = message.rsplit_once(" for ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(SignedDuration::from_secs(digits.parse().ok()?))
}

/// A time stamp such as `Nov 22 16:37:59.451` at the start of a line, and what follows it.
fn timestamp(line: &str, near: Timestamp) -> Option<(Timestamp, &str)> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (month, rest) = line.split_once(' ')?;
    let (day, rest) = rest.trim_start().split_once(' ')?;
    let (clock, rest) = rest.split_once(' ')?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let time: civil::Time = clock.parse().ok()?;
    let year = near.to_zoned(jiff::tz::TimeZone::UTC).year();
    let candidates = [year - 1, year, year + 1].into_iter().filter_map(|year| {
        let date = civil::Date::new(year, i8::try_from(month + 1).ok()?, day.parse().ok()?).ok()?;
        let zoned = date
            .to_datetime(time)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?;
        Some(zoned.timestamp())
    });
    let at = candidates.min_by_key(|at| at.duration_since(near).abs())?;
    Some((at, rest))
}

// What is needed of a line of the audit log. Other fields may come and go.

#[derive(Deserialize)]
struct AuditRecord {
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    evidence: Vec<AuditEvidence>,
}

#[derive(Deserialize)]
struct AuditEvidence {
    means: String,
    seconds: f64,
    observation: AuditObservation,
}

#[derive(Deserialize)]
struct AuditObservation {
    guest: AuditGuest,
    state: String,
    active: bool,
    by: String,
    at: Timestamp,
}

#[derive(Deserialize)]
struct AuditGuest {
    name: String,
}

/// The first proof in an audit log of `fence_virtd` that `victim` was off at some time since `fault`:
/// the hypervisor was asked and saw it shut off and not active. Lines that are no records, or
/// incomplete ones, prove nothing.
#[must_use]
pub fn power_off(audit: &str, victim: &str, fault: Timestamp) -> Option<PowerOff> {
    audit
        .lines()
        .filter_map(|line| serde_json::from_str::<AuditRecord>(line).ok())
        .filter(|record| record.outcome == "off")
        .flat_map(|record| record.evidence)
        .find(|evidence| {
            let seen = &evidence.observation;
            seen.guest.name == victim
                && !seen.active
                && seen.state == "shut off"
                && seen.at >= fault
        })
        .map(|evidence| PowerOff {
            means: evidence.means,
            by: evidence.observation.by,
            state: evidence.observation.state,
            at: evidence.observation.at,
            seconds: evidence.seconds,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near() -> Timestamp {
        "2026-11-22T17:00:00Z".parse().unwrap()
    }

    /// The first finding of each milestone since the node was killed.
    fn since(findings: &[Finding], killed: &str) -> Vec<(Milestone, String)> {
        let killed: Timestamp = killed.parse().unwrap();
        let marks = findings
            .iter()
            .cloned()
            .map(|finding| finding.mark(killed, "x"))
            .collect();
        crate::drill::timeline::steps(marks)
            .into_iter()
            .map(|step| {
                (
                    step.milestone,
                    format!("{:.3} {}", step.seconds, step.detail),
                )
            })
            .collect()
    }

    const KILLED_N1: &str = "2026-11-22T16:59:18.106Z";

    #[test]
    fn corosync_tells_of_the_membership() {
        let log = include_str!("../../fixtures/corosync.log");
        insta::assert_debug_snapshot!("corosync", since(&corosync(log, near()), KILLED_N1));
    }

    #[test]
    fn pacemaker_tells_of_fencing_and_start() {
        let log = include_str!("../../fixtures/pacemaker.log");
        let findings = pacemaker(log, near(), "n1", "web.http");
        insta::assert_debug_snapshot!("pacemaker", since(&findings, KILLED_N1));
        assert!(
            pacemaker(log, near(), "n", "web.htt").is_empty(),
            "names are whole words"
        );
    }

    #[test]
    fn the_agent_starts_when_the_delay_is_over() {
        let log = include_str!("../../fixtures/pacemaker-delay.log");
        let findings = pacemaker(log, near(), "n2", "web.http");
        insta::assert_debug_snapshot!("pacemaker-delay", since(&findings, "2026-11-22T17:00:20Z"));
    }

    #[test]
    fn a_failed_fence_call_has_not_returned_success() {
        let line = |status| {
            format!(
                "Nov 22 17:00:00.000 n2 pacemaker-fenced    [71] (log_async_result) \tnotice: Operation 'reboot' [143] targeting n1 using fence.n1 returned {status} | call 6"
            )
        };
        let found = |status| !pacemaker(&line(status), near(), "n1", "x").is_empty();
        assert!(found("0"));
        assert!(!found("1") && !found("-110") && !found("01"));
    }

    #[test]
    fn stamps_take_the_nearest_year() {
        let at =
            |line, near: &str| timestamp(line, near.parse().unwrap()).map(|(at, _)| at.to_string());
        let line = "Dec 31 23:59:59.900 rest";
        assert_eq!(
            at(line, "2027-01-01T00:00:05Z").as_deref(),
            Some("2026-12-31T23:59:59.9Z")
        );
        assert_eq!(
            at(line, "2026-12-31T00:00:00Z").as_deref(),
            Some("2026-12-31T23:59:59.9Z")
        );
        assert_eq!(
            at("Jan  1 00:00:00 x", "2026-12-31T23:00:00Z").as_deref(),
            Some("2027-01-01T00:00:00Z")
        );
        assert_eq!(
            at("Feb 29 00:00:00 x", "2028-03-01T00:00:00Z").as_deref(),
            Some("2028-02-29T00:00:00Z")
        );
        for bad in [
            "",
            "Nov",
            "Nov 22",
            "Nov 99 10:00:00 x",
            "Nov 22 25:00:00 x",
            "22 Nov 10:00:00 x",
        ] {
            assert_eq!(at(bad, "2026-11-22T17:00:00Z"), None, "{bad:?}");
        }
    }

    #[test]
    fn words_are_whole_words() {
        assert!(names("targeting n1 using", "targeting ", "n1"));
        assert!(names("targeting n1", "targeting ", "n1"));
        assert!(!names("targeting n10 using", "targeting ", "n1"));
        assert!(!names("targeting n1.example", "targeting ", "n1"));
    }

    #[test]
    fn an_audit_record_proves_only_what_it_says() {
        let record = |outcome: &str, name: &str, state: &str, active: bool, at: &str| {
            serde_json::json!({
                "at": at, "subject": "request", "outcome": outcome, "guest": name,
                "evidence": [{
                    "means": "killed", "seconds": 0.2,
                    "observation": {
                        "guest": {"name": name, "uuid": "00000000-0000-4000-8000-000000000001"},
                        "state": state, "reason": "destroyed", "active": active,
                        "persistent": true, "resumable": false, "by": "qemu:///system on host", "at": at,
                    },
                }],
            })
            .to_string()
        };
        let (after, before) = ("2026-11-22T17:00:01Z", "2026-11-22T16:59:59Z");
        let good = record("off", "n1", "shut off", false, after);
        let proof = power_off(&good, "n1", near()).expect("a proof");
        assert_eq!((proof.means.as_str(), proof.seconds), ("killed", 0.2));
        for bad in [
            record("off", "n2", "shut off", false, after),
            record("off", "n1", "running", false, after),
            record("off", "n1", "shut off", true, after),
            record("off", "n1", "shut off", false, before),
            record("cannot_know", "n1", "shut off", false, after),
            r#"{"outcome":"off","guest":"n1"}"#.to_owned(),
            good[..good.len() / 2].to_owned(),
            "not json".to_owned(),
        ] {
            assert_eq!(power_off(&bad, "n1", near()), None, "{bad}");
        }
        assert!(power_off(&format!("garbage\n{good}\n"), "n1", near()).is_some());
    }
}
