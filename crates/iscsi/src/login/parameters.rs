//! The operational keys as one table, and what comes of them (RFC 7143, "Login/Text Operational Text Keys").

use crate::login::value::number;
use crate::{Digests, Keys};

/// What both sides have agreed on, or what one side is ready for. Lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Digests of headers and data.
    pub digests: Digests,
    /// MaxConnections
    pub max_connections: u32,
    /// InitialR2T: no unsolicited data but immediate ones.
    pub initial_r2t: bool,
    /// ImmediateData: a command may carry data.
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength of this side.
    pub max_receive: u32,
    /// MaxRecvDataSegmentLength of the peer.
    pub max_send: u32,
    /// MaxBurstLength: of one sequence of Data-In or solicited Data-Out.
    pub max_burst: u32,
    /// FirstBurstLength: of unsolicited data.
    pub first_burst: u32,
    /// MaxOutstandingR2T: of one command.
    pub max_outstanding_r2t: u32,
    /// DefaultTime2Wait in seconds.
    pub time_to_wait: u32,
    /// DefaultTime2Retain in seconds.
    pub time_to_retain: u32,
    /// ErrorRecoveryLevel
    pub error_recovery_level: u32,
}

impl Default for Parameters {
    /// What holds if nothing is said: the RFC's defaults.
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_receive: 8192,
            max_send: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            max_outstanding_r2t: 1,
            time_to_wait: 2,
            time_to_retain: 20,
            error_recovery_level: 0,
        }
    }
}

/// Whether a digest is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digest {
    /// Never.
    #[default]
    Refuse,
    /// If the peer wants it more than none: as an initiator, offered last.
    Accept,
    /// If the peer can: as an initiator, offered first; as a target, taken if offered at all.
    Prefer,
    /// Always: without it the login fails.
    Require,
}

impl Digest {
    /// The list that an initiator offers.
    const fn offer(self) -> &'static str {
        match self {
            Self::Refuse => "None",
            Self::Accept => "None,CRC32C",
            Self::Prefer => "CRC32C,None",
            Self::Require => "CRC32C",
        }
    }

    /// What a target takes from a list.
    fn choose(self, list: &str) -> Option<bool> {
        let mut offers = list.split(',').filter_map(|offer| match offer {
            "CRC32C" => Some(true),
            "None" => Some(false),
            _ => None,
        });
        match self {
            Self::Refuse => offers.find(|with| !with),
            Self::Accept => offers.next(),
            Self::Prefer => offers.max(),
            Self::Require => offers.find(|with| *with),
        }
    }

    /// Whether an initiator that offered this takes that answer.
    const fn allows(self, with: bool) -> bool {
        match self {
            Self::Refuse => !with,
            Self::Require => with,
            Self::Accept | Self::Prefer => true,
        }
    }
}

/// What one side is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// HeaderDigest
    pub header_digest: Digest,
    /// DataDigest
    pub data_digest: Digest,
    /// Everything else. Digests and `max_send` are not used. A target's wishes count where the initiator offers a key;
    /// where it does not, the RFC's default holds.
    pub limits: Parameters,
}

impl Default for Wishes {
    /// Unsolicited data, bursts of 1 MiB, segments of 256 KiB, no digests unless wanted.
    fn default() -> Self {
        Self {
            header_digest: Digest::Accept,
            data_digest: Digest::Accept,
            limits: Parameters {
                initial_r2t: false,
                max_receive: 262_144,
                max_burst: 1 << 20,
                first_burst: 262_144,
                max_outstanding_r2t: 8,
                time_to_retain: 0,
                ..Parameters::default()
            },
        }
    }
}

/// How the two sides' values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The smaller; of two booleans: AND.
    Least,
    /// The larger; of two booleans: OR.
    Most,
    /// Each says its own.
    Declared,
    /// The answer is always this.
    Fixed,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Boolean,
    Number { least: u32, most: u32 },
}

/// An operational key.
struct Key {
    name: &'static str,
    rule: Rule,
    form: Form,
    /// It means nothing in a discovery session.
    normal_only: bool,
    get: fn(&Parameters) -> u32,
    set: fn(&mut Parameters, u32),
}

/// 2²⁴ − 1: the most that DataSegmentLength holds.
const LONGEST: u32 = (1 << 24) - 1;

const fn lengths() -> Form {
    Form::Number {
        least: 512,
        most: LONGEST,
    }
}

const fn numbers(least: u32, most: u32) -> Form {
    Form::Number { least, most }
}

/// Every operational key that is negotiated by one of the rules. FirstBurstLength comes after MaxBurstLength, which it
/// must not exceed.
const KEYS: [Key; 15] = [
    Key {
        name: "MaxConnections",
        rule: Rule::Least,
        form: numbers(1, 65_535),
        normal_only: true,
        get: |p| p.max_connections,
        set: |p, value| p.max_connections = value,
    },
    Key {
        name: "InitialR2T",
        rule: Rule::Most,
        form: Form::Boolean,
        normal_only: true,
        get: |p| p.initial_r2t.into(),
        set: |p, value| p.initial_r2t = value != 0,
    },
    Key {
        name: "ImmediateData",
        rule: Rule::Least,
        form: Form::Boolean,
        normal_only: true,
        get: |p| p.immediate_data.into(),
        set: |p, value| p.immediate_data = value != 0,
    },
    Key {
        name: "MaxRecvDataSegmentLength",
        rule: Rule::Declared,
        form: lengths(),
        normal_only: false,
        get: |p| p.max_receive,
        set: |p, value| p.max_send = value,
    },
    Key {
        name: "MaxBurstLength",
        rule: Rule::Least,
        form: lengths(),
        normal_only: true,
        get: |p| p.max_burst,
        set: |p, value| p.max_burst = value,
    },
    Key {
        name: "FirstBurstLength",
        rule: Rule::Least,
        form: lengths(),
        normal_only: true,
        get: |p| p.first_burst,
        set: |p, value| p.first_burst = value,
    },
    Key {
        name: "DefaultTime2Wait",
        rule: Rule::Most,
        form: numbers(0, 3600),
        normal_only: false,
        get: |p| p.time_to_wait,
        set: |p, value| p.time_to_wait = value,
    },
    Key {
        name: "DefaultTime2Retain",
        rule: Rule::Least,
        form: numbers(0, 3600),
        normal_only: false,
        get: |p| p.time_to_retain,
        set: |p, value| p.time_to_retain = value,
    },
    Key {
        name: "MaxOutstandingR2T",
        rule: Rule::Least,
        form: numbers(1, 65_535),
        normal_only: true,
        get: |p| p.max_outstanding_r2t,
        set: |p, value| p.max_outstanding_r2t = value,
    },
    // Data come in order: nothing here would gain by another one.
    Key {
        name: "DataPDUInOrder",
        rule: Rule::Most,
        form: Form::Boolean,
        normal_only: true,
        get: |_| 1,
        set: |_, _| {},
    },
    Key {
        name: "DataSequenceInOrder",
        rule: Rule::Most,
        form: Form::Boolean,
        normal_only: true,
        get: |_| 1,
        set: |_, _| {},
    },
    Key {
        name: "ErrorRecoveryLevel",
        rule: Rule::Least,
        form: numbers(0, 2),
        normal_only: false,
        get: |p| p.error_recovery_level,
        set: |p, value| p.error_recovery_level = value,
    },
    // RFC 7143, "Obsoleted Keys": markers are gone.
    Key {
        name: "IFMarker",
        rule: Rule::Fixed,
        form: Form::Boolean,
        normal_only: false,
        get: |_| 0,
        set: |_, _| {},
    },
    Key {
        name: "OFMarker",
        rule: Rule::Fixed,
        form: Form::Boolean,
        normal_only: false,
        get: |_| 0,
        set: |_, _| {},
    },
    // RFC 7144 has level 2; level 1 is RFC 7143.
    Key {
        name: "iSCSIProtocolLevel",
        rule: Rule::Least,
        form: numbers(0, 31),
        normal_only: true,
        get: |_| 1,
        set: |_, _| {},
    },
];

impl Form {
    fn parse(self, text: &str) -> Option<u32> {
        match self {
            Self::Boolean => match text {
                "Yes" => Some(1),
                "No" => Some(0),
                _ => None,
            },
            Self::Number { least, most } => {
                number(text).filter(|number| (least..=most).contains(number))
            }
        }
    }

    fn show(self, value: u32) -> String {
        match self {
            Self::Boolean => (if value == 0 { "No" } else { "Yes" }).to_owned(),
            Self::Number { .. } => value.to_string(),
        }
    }
}

impl Rule {
    fn join(self, ours: u32, theirs: u32) -> u32 {
        match self {
            Self::Least => ours.min(theirs),
            Self::Most => ours.max(theirs),
            Self::Declared => theirs,
            Self::Fixed => ours,
        }
    }
}

/// Answers that are no values.
pub(super) const NOT_UNDERSTOOD: &str = "NotUnderstood";
pub(super) const REJECT: &str = "Reject";
pub(super) const IRRELEVANT: &str = "Irrelevant";

/// Why no parameters were agreed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: nothing was agreed on")]
pub struct Disagreement {
    /// The key.
    pub key: &'static str,
}

/// A target's side of the negotiation.
#[derive(Debug)]
pub(super) struct Responding {
    wishes: Wishes,
    discovery: bool,
    agreed: Parameters,
    seen_digests: [bool; 2],
    declared: bool,
}

impl Responding {
    pub(super) fn new(wishes: Wishes, discovery: bool) -> Self {
        let agreed = Parameters {
            max_receive: wishes.limits.max_receive,
            ..Parameters::default()
        };
        Self {
            wishes,
            discovery,
            agreed,
            seen_digests: [false; 2],
            declared: false,
        }
    }

    /// Answers one key: `None` if it needs no answer, or is none of the operational keys.
    pub(super) fn answer(&mut self, name: &str, value: &str) -> Option<String> {
        match name {
            "HeaderDigest" => return Some(self.digest(0, value)),
            "DataDigest" => return Some(self.digest(1, value)),
            "TaskReporting" => {
                let known = value.split(',').any(|offer| offer == "RFC3720");
                return Some((if known { "RFC3720" } else { REJECT }).to_owned());
            }
            "IFMarkInt" | "OFMarkInt" => return Some(REJECT.to_owned()),
            _ => {}
        }
        let key = KEYS.iter().find(|key| key.name == name)?;
        if key.normal_only && self.discovery {
            return Some(IRRELEVANT.to_owned());
        }
        let Some(theirs) = key.form.parse(value) else {
            return Some(REJECT.to_owned());
        };
        let mut joined = key.rule.join((key.get)(&self.wishes.limits), theirs);
        if key.name == "FirstBurstLength" {
            joined = joined.min(self.agreed.max_burst);
        }
        (key.set)(&mut self.agreed, joined);
        (key.rule != Rule::Declared).then(|| key.form.show(joined))
    }

    fn digest(&mut self, which: usize, list: &str) -> String {
        let wish = [self.wishes.header_digest, self.wishes.data_digest][which];
        let Some(with) = wish.choose(list) else {
            return REJECT.to_owned();
        };
        self.seen_digests[which] = true;
        match which {
            0 => self.agreed.digests.header = with,
            _ => self.agreed.digests.data = with,
        }
        (if with { "CRC32C" } else { "None" }).to_owned()
    }

    /// What this side declares, once.
    pub(super) fn declare(&mut self, keys: &mut Keys) {
        if !std::mem::replace(&mut self.declared, true) {
            keys.push("MaxRecvDataSegmentLength", self.wishes.limits.max_receive);
        }
    }

    /// What was agreed on.
    pub(super) fn finish(&self) -> Result<Parameters, Disagreement> {
        let wishes = [self.wishes.header_digest, self.wishes.data_digest];
        let names = ["HeaderDigest", "DataDigest"];
        for (at, key) in names.into_iter().enumerate() {
            if wishes[at] == Digest::Require && !self.seen_digests[at] {
                return Err(Disagreement { key });
            }
        }
        let mut agreed = self.agreed;
        agreed.first_burst = agreed.first_burst.min(agreed.max_burst);
        Ok(agreed)
    }
}

/// The order in which offers are answered: FirstBurstLength when MaxBurstLength is known.
pub(super) fn last_to_answer(name: &str) -> bool {
    name == "FirstBurstLength"
}

/// What an initiator offers.
pub(super) fn offers(wishes: &Wishes, discovery: bool) -> Keys {
    let mut keys = Keys::new();
    keys.push("HeaderDigest", wishes.header_digest.offer());
    keys.push("DataDigest", wishes.data_digest.offer());
    for key in &KEYS {
        // Nothing is gained by offering what is obsolete or has no choice.
        let old = key.rule == Rule::Fixed || key.name == "iSCSIProtocolLevel";
        if !(old || discovery && key.normal_only) {
            keys.push(key.name, key.form.show((key.get)(&wishes.limits)));
        }
    }
    keys
}

/// What an initiator has agreed on, from the target's answers to all of its offers.
pub(super) fn agree(
    wishes: &Wishes,
    discovery: bool,
    answers: &Keys,
) -> Result<Parameters, Disagreement> {
    let mut agreed = Parameters {
        max_receive: wishes.limits.max_receive,
        ..Parameters::default()
    };
    let digest = |key: &'static str, wish: Digest| {
        let with = match answers.get(key) {
            Some("CRC32C") => true,
            Some("None" | REJECT | NOT_UNDERSTOOD | IRRELEVANT) | None => false,
            Some(_) => return Err(Disagreement { key }),
        };
        let agreed = wish.allows(with);
        agreed.then_some(with).ok_or(Disagreement { key })
    };
    agreed.digests.header = digest("HeaderDigest", wishes.header_digest)?;
    agreed.digests.data = digest("DataDigest", wishes.data_digest)?;
    for key in &KEYS {
        if key.rule == Rule::Fixed || discovery && key.normal_only {
            continue;
        }
        let ours = (key.get)(&wishes.limits);
        let default = (key.get)(&Parameters::default());
        let value = match answers.get(key.name) {
            // Not answered: the default holds, made no wider than what was offered.
            None | Some(REJECT | NOT_UNDERSTOOD | IRRELEVANT) if key.rule == Rule::Declared => {
                default
            }
            None | Some(REJECT | NOT_UNDERSTOOD | IRRELEVANT) => key.rule.join(ours, default),
            Some(text) => {
                let bad = Disagreement { key: key.name };
                let theirs = key.form.parse(text).ok_or_else(|| bad.clone())?;
                // The answer has taken the offer into account.
                let joined = key.rule.join(ours, theirs);
                if joined != theirs {
                    return Err(bad);
                }
                theirs
            }
        };
        (key.set)(&mut agreed, value);
    }
    agreed.first_burst = agreed.first_burst.min(agreed.max_burst);
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(offers: &[(&str, &str)], discovery: bool) -> (Vec<Option<String>>, Parameters) {
        let mut side = Responding::new(Wishes::default(), discovery);
        let answers = offers
            .iter()
            .map(|(key, value)| side.answer(key, value))
            .collect();
        (answers, side.finish().unwrap())
    }

    #[track_caller]
    fn check(key: &str, offer: &str, expected: &str) {
        assert_eq!(answered(&[(key, offer)], false).0, [Some(expected.into())]);
    }

    #[test]
    fn each_key_follows_its_rule() {
        check("MaxConnections", "4", "1");
        check("InitialR2T", "No", "No");
        check("InitialR2T", "Yes", "Yes");
        check("ImmediateData", "Yes", "Yes");
        check("ImmediateData", "No", "No");
        check("MaxBurstLength", "16776192", "1048576");
        check("MaxBurstLength", "0x200", "512");
        check("DefaultTime2Wait", "0", "2");
        check("DefaultTime2Wait", "5", "5");
        check("DefaultTime2Retain", "20", "0");
        check("MaxOutstandingR2T", "1", "1");
        check("DataPDUInOrder", "No", "Yes");
        check("DataSequenceInOrder", "No", "Yes");
        check("ErrorRecoveryLevel", "2", "0");
        check("IFMarker", "Yes", "No");
        check("OFMarkInt", "2048~8192", "Reject");
        check("HeaderDigest", "CRC32C,None", "CRC32C");
        check("DataDigest", "None,CRC32C", "None");
        check("HeaderDigest", "SHA9", "Reject");
        check("TaskReporting", "ResponseFence,RFC3720", "RFC3720");
        check("iSCSIProtocolLevel", "2", "1");
    }

    #[test]
    fn values_out_of_range_are_rejected() {
        for (key, bad) in [
            ("MaxBurstLength", "511"),
            ("MaxBurstLength", "16777216"),
            ("MaxConnections", "0"),
            ("ErrorRecoveryLevel", "3"),
            ("InitialR2T", "yes"),
            ("DefaultTime2Wait", "3601"),
            ("MaxRecvDataSegmentLength", "511"),
        ] {
            check(key, bad, "Reject");
        }
    }

    #[test]
    fn a_first_burst_fits_into_a_burst() {
        let (answers, agreed) = answered(
            &[("MaxBurstLength", "1024"), ("FirstBurstLength", "65536")],
            false,
        );
        assert_eq!(answers[1].as_deref(), Some("1024"));
        assert_eq!((agreed.max_burst, agreed.first_burst), (1024, 1024));
    }

    #[test]
    fn declarations_need_no_answer_and_unknown_keys_are_not_ours() {
        let (answers, agreed) = answered(&[("MaxRecvDataSegmentLength", "4096")], false);
        assert_eq!((answers[0].clone(), agreed.max_send), (None, 4096));
        assert_eq!(answered(&[("X-unknown", "1")], false).0, [None]);
    }

    #[test]
    fn discovery_leaves_out_what_is_about_commands() {
        check_discovery("InitialR2T", "No", Some("Irrelevant"));
        check_discovery("MaxConnections", "4", Some("Irrelevant"));
        check_discovery("MaxRecvDataSegmentLength", "32768", None);
        check_discovery("ErrorRecoveryLevel", "0", Some("0"));
    }

    #[track_caller]
    fn check_discovery(key: &str, offer: &str, expected: Option<&str>) {
        let expected = expected.map(str::to_owned);
        assert_eq!(answered(&[(key, offer)], true).0, [expected]);
    }

    #[test]
    fn an_answer_that_breaks_the_rule_is_refused() {
        let wishes = Wishes::default();
        let answered = |key: &str, value: &str| {
            let mut answers = Keys::new();
            answers.push(key, value);
            agree(&wishes, false, &answers)
        };
        for (key, value) in [
            ("MaxBurstLength", "1048577"),
            ("DefaultTime2Wait", "1"),
            ("HeaderDigest", "SHA9"),
            ("ErrorRecoveryLevel", "1"),
            ("MaxOutstandingR2T", "x"),
        ] {
            assert_eq!(answered(key, value).unwrap_err().key, key);
        }
        let defaults = agree(&wishes, false, &Keys::new()).unwrap();
        assert_eq!((defaults.max_send, defaults.max_burst), (8192, 262_144));
        assert!(defaults.initial_r2t, "not answered: the default");
    }

    #[test]
    fn a_digest_that_is_required_must_come() {
        let required = Wishes {
            header_digest: Digest::Require,
            ..Wishes::default()
        };
        assert!(agree(&required, false, &Keys::new()).is_err());
        let mut side = Responding::new(required, false);
        assert!(side.finish().is_err());
        assert_eq!(side.answer("HeaderDigest", "None"), Some(REJECT.to_owned()));
        assert!(side.finish().is_err());
        assert_eq!(
            side.answer("HeaderDigest", "None,CRC32C"),
            Some("CRC32C".to_owned())
        );
        assert!(side.finish().unwrap().digests.header);
    }
}
