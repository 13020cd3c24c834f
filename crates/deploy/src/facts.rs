//! What a survey found on one machine, read strictly from what its script printed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::effect::Effect;

/// What a machine printed that it should not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its answer cannot be understood: {0}")]
pub(crate) struct Garbled(pub(crate) String);

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    /// A symbolic link, which is not replaced: whoever made it meant something by it.
    Link,
    /// A directory or device.
    Other,
    Regular {
        sum: String,
        mode: u32,
        user: String,
        group: String,
        /// Its content, where that may be seen and differs from the wanted one.
        text: Option<Vec<u8>>,
    },
}

/// A unit of systemd as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitState {
    pub(crate) load: String,
    pub(crate) active: String,
    pub(crate) enabled: String,
}

impl UnitState {
    pub(crate) fn exists(&self) -> bool {
        self.load == "loaded"
    }

    /// Active, or on its way there.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "activating")
    }

    /// Started at boot, or not meant to be enabled by itself.
    pub(crate) fn is_enabled(&self) -> bool {
        matches!(
            self.enabled.as_str(),
            "enabled" | "enabled-runtime" | "static" | "indirect" | "generated" | "alias"
        )
    }
}

/// How Corosync is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Corosync {
    #[default]
    Stopped,
    /// It runs under this cluster name.
    Running {
        name: String,
        /// The members that it sees, by name.
        joined: Vec<String>,
    },
    /// A process is there that does not answer.
    Silent,
}

/// Pacemaker's running configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveCib {
    /// `admin_epoch.epoch`: grows with each change of the configuration.
    pub(crate) version: String,
    /// The `configuration` element.
    pub(crate) xml: String,
}

/// What is known of a machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Facts {
    pub(crate) hostname: String,
    pub(crate) os: String,
    pub(crate) systemd: bool,
    /// The machine's clock, seconds since the epoch.
    pub(crate) clock: f64,
    pub(crate) files: BTreeMap<String, Found>,
    /// `None`: missing. Else its version, where asked for.
    pub(crate) programs: BTreeMap<String, Option<String>>,
    pub(crate) owners: BTreeMap<(String, String), bool>,
    pub(crate) units: BTreeMap<String, UnitState>,
    /// `None`: the machine cannot say.
    pub(crate) addresses: BTreeMap<String, Option<bool>>,
    /// Free KiB by place.
    pub(crate) space: BTreeMap<String, u64>,
    pub(crate) corosync: Corosync,
    pub(crate) pacemaker: bool,
    pub(crate) cib: Option<LiveCib>,
    /// The number of resources in a configuration that Pacemaker has saved, if it has.
    pub(crate) saved_cib: Option<u64>,
    /// Unfinished applies and how far they got.
    pub(crate) journals: BTreeMap<String, String>,
    pub(crate) pending: Vec<Effect>,
    /// Effects that this version does not know.
    pub(crate) unknown_pending: Vec<String>,
    /// What the last apply wrote down.
    pub(crate) applied: BTreeMap<String, String>,
    /// Configured members as they come: name and number by their place in the list.
    names: BTreeMap<String, String>,
    numbers: BTreeMap<String, String>,
    present: Vec<String>,
}

impl Facts {
    /// Reads a survey's output.
    pub(crate) fn parse(text: &str) -> Result<Self, Garbled> {
        let mut lines = text.lines();
        if lines.next() != Some("survey\t1") {
            return Err(Garbled("it does not begin as a survey".to_owned()));
        }
        let mut facts = Self::default();
        let mut ended = false;
        for line in lines {
            if ended {
                return Err(Garbled("there is more after its end".to_owned()));
            }
            let fields: Vec<&str> = line.split('\t').collect();
            ended = fields == ["end"];
            if !ended {
                facts
                    .take(&fields)
                    .ok_or_else(|| Garbled(line.chars().take(120).collect()))?;
            }
        }
        if ended {
            facts.resolve_members();
            Ok(facts)
        } else {
            Err(Garbled("it breaks off".to_owned()))
        }
    }

    fn take(&mut self, fields: &[&str]) -> Option<()> {
        match fields {
            ["now", seconds] => {
                self.clock = seconds.parse().ok().filter(|s: &f64| s.is_finite())?;
            }
            ["hostname", name] => self.hostname = (*name).to_owned(),
            ["kernel", _] => {}
            ["os", name] => self.os = (*name).to_owned(),
            ["systemd", answer] => self.systemd = yes(answer, "yes", "no")?,
            ["file", path, rest @ ..] => {
                self.files.insert((*path).to_owned(), found(rest)?);
            }
            ["program", name, "present", version] => {
                self.programs
                    .insert((*name).to_owned(), Some((*version).to_owned()));
            }
            ["program", name, "missing"] => {
                self.programs.insert((*name).to_owned(), None);
            }
            ["owner", user, group, answer] => {
                let owner = ((*user).to_owned(), (*group).to_owned());
                self.owners
                    .insert(owner, yes(answer, "present", "missing")?);
            }
            ["unit", name, load, active, enabled] => {
                let state = UnitState {
                    load: (*load).to_owned(),
                    active: (*active).to_owned(),
                    enabled: (*enabled).to_owned(),
                };
                self.units.insert((*name).to_owned(), state);
            }
            ["address", address, "unknown"] => {
                self.addresses.insert((*address).to_owned(), None);
            }
            ["address", address, answer] => {
                let answer = yes(answer, "present", "absent")?;
                self.addresses.insert((*address).to_owned(), Some(answer));
            }
            ["space", place, free] => {
                self.space.insert((*place).to_owned(), free.parse().ok()?);
            }
            _ => self.take_cluster(fields)?,
        }
        Some(())
    }

    fn take_cluster(&mut self, fields: &[&str]) -> Option<()> {
        match fields {
            ["corosync", "stopped"] => self.corosync = Corosync::Stopped,
            ["corosync", "silent"] => self.corosync = Corosync::Silent,
            ["corosync", "running", name] => {
                self.corosync = Corosync::Running {
                    name: (*name).to_owned(),
                    joined: Vec::new(),
                };
            }
            ["member", place, name] => {
                self.names.insert((*place).to_owned(), (*name).to_owned());
            }
            ["nodeid", place, number] => {
                self.numbers
                    .insert((*place).to_owned(), (*number).to_owned());
            }
            ["joined", number] => self.present.push((*number).to_owned()),
            ["pacemaker", answer] => self.pacemaker = yes(answer, "running", "stopped")?,
            ["saved-cib", count] => self.saved_cib = Some(count.parse().ok()?),
            ["cib", version, xml] => self.cib = Some(live_cib(version, xml)?),
            ["journal", id, state] => {
                self.journals.insert((*id).to_owned(), (*state).to_owned());
            }
            ["pending", ""] => {}
            ["pending", effect] => match effect.parse() {
                Ok(effect) => self.pending.push(effect),
                Err(()) => self.unknown_pending.push((*effect).to_owned()),
            },
            ["applied", key, value] => {
                self.applied.insert((*key).to_owned(), (*value).to_owned());
            }
            _ => return None,
        }
        Some(())
    }

    /// Members that have joined, by name.
    fn resolve_members(&mut self) {
        if let Corosync::Running { joined, .. } = &mut self.corosync {
            *joined = self
                .names
                .iter()
                .filter(|(place, _)| {
                    self.numbers
                        .get(*place)
                        .is_some_and(|number| self.present.contains(number))
                })
                .map(|(_, name)| name.clone())
                .collect();
        }
    }

    /// How far the machine's clock is ahead of ours, in seconds, and how uncertain that is: the
    /// machine looked at its clock at some moment between `sent` and `received`.
    pub(crate) fn clock_offset(
        &self,
        sent: SystemTime,
        received: SystemTime,
    ) -> Option<(f64, f64)> {
        let since_epoch = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH)
                .ok()
                .map(|span| span.as_secs_f64())
        };
        let (sent, received) = (since_epoch(sent)?, since_epoch(received)?);
        Some((
            self.clock - (sent + received) / 2.0,
            (received - sent).abs() / 2.0,
        ))
    }
}

/// Reads the answer to a question for Pacemaker's configuration. `None`: Pacemaker does not answer.
pub(crate) fn parse_cib(text: &str) -> Result<Option<LiveCib>, Garbled> {
    let lines: Vec<&str> = text.lines().collect();
    match lines[..] {
        ["cib-of\t1", "end"] => Ok(None),
        ["cib-of\t1", line, "end"] => {
            let fields: Vec<&str> = line.split('\t').collect();
            let ["cib", version, xml] = fields[..] else {
                return Err(Garbled("no configuration in it".to_owned()));
            };
            live_cib(version, xml)
                .map(Some)
                .ok_or_else(|| Garbled("the configuration is damaged".to_owned()))
        }
        _ => Err(Garbled("no configuration in it".to_owned())),
    }
}

/// Reads the answer to a question for the cluster's health: `crm_mon`'s XML. `None`: Pacemaker does not
/// answer.
pub(crate) fn parse_monitor(text: &str) -> Result<Option<String>, Garbled> {
    let lines: Vec<&str> = text.lines().collect();
    let garbled = || Garbled("no answer of crm_mon in it".to_owned());
    match lines[..] {
        ["health\t1", "monitor\t-", "end"] => Ok(None),
        ["health\t1", line, "end"] => line
            .strip_prefix("monitor\t")
            .and_then(|text| String::from_utf8(BASE64.decode(text).ok()?).ok())
            .map(Some)
            .ok_or_else(garbled),
        _ => Err(garbled()),
    }
}

fn yes(answer: &str, yes: &str, no: &str) -> Option<bool> {
    match answer {
        _ if answer == yes => Some(true),
        _ if answer == no => Some(false),
        _ => None,
    }
}

fn found(fields: &[&str]) -> Option<Found> {
    Some(match fields {
        ["absent"] => Found::Absent,
        ["link"] => Found::Link,
        ["other"] => Found::Other,
        ["regular", sum, mode, user, group, text] => Found::Regular {
            sum: (*sum).to_owned(),
            mode: u32::from_str_radix(mode, 8).ok()?,
            user: (*user).to_owned(),
            group: (*group).to_owned(),
            text: match *text {
                "-" => None,
                text => Some(BASE64.decode(text).ok()?),
            },
        },
        _ => return None,
    })
}

fn live_cib(version: &str, xml: &str) -> Option<LiveCib> {
    let (admin, epoch) = version.split_once('.')?;
    let number = |text: &str| text.parse::<u64>().is_ok();
    let xml = String::from_utf8(BASE64.decode(xml).ok()?).ok()?;
    (number(admin) && number(epoch)).then(|| LiveCib {
        version: version.to_owned(),
        xml,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "survey\t1\nnow\t1763840000.5\nhostname\tn1\nkernel\t6.1\nos\tDebian\nsystemd\tyes\n\
        file\t/etc/a\tregular\tab12\t644\troot\troot\taGk=\nfile\t/etc/b\tabsent\n\
        program\tcorosync\tpresent\tCorosync Cluster Engine\nprogram\tfence_x\tmissing\n\
        unit\tcorosync.service\tloaded\tactive\tenabled\naddress\t10.0.0.1\tpresent\n\
        space\t/etc\t1000\ncorosync\trunning\tweb\nmember\t0\tn1\nmember\t1\tn2\nmember\t2\tn3\nnodeid\t0\t1\nnodeid\t1\t2\nnodeid\t2\t3\njoined\t2\njoined\t1\npacemaker\trunning\n\
        cib\t0.7\tPGNvbmZpZ3VyYXRpb24vPg==\npending\treload-corosync\npending\tfrobnicate\n\
        applied\tcluster\tweb\nend\n";

    #[test]
    fn a_survey_is_read() {
        let facts = Facts::parse(GOOD).unwrap();
        assert_eq!(
            facts.corosync,
            Corosync::Running {
                name: "web".to_owned(),
                joined: vec!["n1".to_owned(), "n2".to_owned()]
            }
        );
        assert_eq!(facts.cib.unwrap().xml, "<configuration/>");
        assert_eq!(facts.pending, [Effect::ReloadCorosync]);
        assert_eq!(facts.unknown_pending, ["frobnicate"]);
        assert!(
            matches!(&facts.files["/etc/a"], Found::Regular { mode: 0o644, text: Some(t), .. } if t == b"hi")
        );
        assert_eq!(facts.programs["fence_x"], None);
    }

    #[test]
    fn what_is_cut_off_or_strange_is_not_believed() {
        for cut in 0..GOOD.len() - 1 {
            assert!(Facts::parse(&GOOD[..cut]).is_err(), "{cut}");
        }
        for line in [
            "member\t0",
            "corosync\tperhaps",
            "file\t/x\tregular",
            "now\tinf",
            "what\tis this",
        ] {
            let text = GOOD.replace("kernel\t6.1", line);
            assert!(Facts::parse(&text).is_err(), "{line}");
        }
        assert!(Facts::parse(&format!("{GOOD}more\n")).is_err());
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in "(survey\t1\n)?([a-z-]{1,9}(\t[ -~]{0,9}){0,7}\n){0,6}(end\n)?") {
            let _ = Facts::parse(&text);
            let _ = parse_cib(&text);
            let _ = parse_monitor(&text);
        }
    }
}
