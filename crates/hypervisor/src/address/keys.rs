//! What may stand after the `?` of a management address.

use super::Platform;

/// One key of the query.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// How it is written.
    pub name: &'static str,
    /// Whose addresses have it.
    pub platforms: &'static [Platform],
    /// What its value looks like.
    pub form: Form,
    /// What it is for.
    pub about: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One of these words; the first is what holds without the key.
    Choice(&'static [&'static str]),
    /// The absolute path of a file.
    File,
    /// The path part of a URL: begins with a slash.
    UrlPath,
    /// Anything but nothing.
    Text,
}

impl Form {
    /// What to write, for messages and manuals.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Choice(words) => words.join(" or "),
            Self::File => "an absolute path".to_owned(),
            Self::UrlPath => "a path that begins with /".to_owned(),
            Self::Text => "a text".to_owned(),
        }
    }

    /// Whether `value` is one.
    pub(super) fn takes(self, value: &str) -> bool {
        match self {
            Self::Choice(words) => words.contains(&value),
            Self::File => value.starts_with('/') && !value.ends_with('/'),
            Self::UrlPath => value.starts_with('/') && !value.contains(['?', '#', ' ']),
            Self::Text => !value.is_empty(),
        }
    }
}

const ALL: &[Platform] = &Platform::ALL;
const RHEVM: &[Platform] = &[Platform::Rhevm];
const VMWARE: &[Platform] = &[Platform::Vmware];
const HYPERV: &[Platform] = &[Platform::Hyperv];

/// Every key, in the order in which addresses are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "password_file",
        platforms: ALL,
        form: Form::File,
        about: "the file whose first line is the password; it belongs to root, and nobody else may have access to it",
    },
    Key {
        name: "transport",
        platforms: ALL,
        form: Form::Choice(&["https", "http"]),
        about: "how requests travel; over http whoever listens learns the password, except with NTLM",
    },
    Key {
        name: "ca",
        platforms: ALL,
        form: Form::File,
        about: "a PEM file with the authorities that vouch for the server, or its own certificate, instead of the system's store",
    },
    Key {
        name: "verify",
        platforms: ALL,
        form: Form::Choice(&["yes", "no"]),
        about: "no: take any certificate; whoever sits in between can then read the password and answer in the server's place",
    },
    Key {
        name: "api_path",
        platforms: &[Platform::Rhevm, Platform::Vmware],
        form: Form::UrlPath,
        about: "where the interface is, if not at the usual place",
    },
    Key {
        name: "api_version",
        platforms: RHEVM,
        form: Form::Choice(&["auto", "4", "3"]),
        about: "the version of the interface: 3 until RHEV-M 3.6, 4 since oVirt 4.0",
    },
    Key {
        name: "filter",
        platforms: RHEVM,
        form: Form::Choice(&["yes", "no"]),
        about: "yes: only the guests on which the user has a role of its own; no: an administrator's view",
    },
    Key {
        name: "api",
        platforms: VMWARE,
        form: Form::Choice(&["soap", "rest"]),
        about: "soap, which every ESX(i) and vCenter has, or the REST interface of vCenter 6.5 and later",
    },
    Key {
        name: "datacenter",
        platforms: VMWARE,
        form: Form::Text,
        about: "looks for guests in this datacenter only",
    },
    Key {
        name: "auth",
        platforms: HYPERV,
        form: Form::Choice(&["negotiate", "basic"]),
        about: "negotiate: NTLM, which never sends the password; basic: the password itself, for local accounts",
    },
    Key {
        name: "namespace",
        platforms: HYPERV,
        form: Form::Choice(&["auto", "v2", "v1"]),
        about: "the WMI namespace: v1 on Windows Server 2008, v2 since 2012",
    },
    Key {
        name: "cluster",
        platforms: HYPERV,
        form: Form::Choice(&["no", "yes"]),
        about: "no: the host belongs to no failover cluster; yes: it is a node of one, or its name, and guests are followed to the node that owns them",
    },
    Key {
        name: "hosts",
        platforms: HYPERV,
        form: Form::Text,
        about: "further hosts, with commas between: [NODE=]HOST[:PORT], where NODE is what the cluster calls it",
    },
];

/// The keys of `platform`.
pub(super) fn of(platform: Platform) -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
        .filter(move |key| key.platforms.contains(&platform))
}
