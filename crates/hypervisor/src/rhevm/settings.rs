//! Which engine, as whom, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use https::{Endpoint, Interrupt, Scheme};
use zeroize::Zeroizing;

/// The version of the interface to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Whichever the engine has: 4 before 3.
    #[default]
    Auto,
    /// 3: RHEV-M 3.x, and what 2.2 spoke. oVirt has it until 4.2.
    V3,
    /// 4: oVirt 4.x.
    V4,
}

/// How to reach an engine.
#[derive(Clone)]
pub struct Settings {
    /// The server.
    pub endpoint: Endpoint,
    /// The path of the interface: `/ovirt-engine/api`, `/api` before RHEV-M 3.1.
    pub api_path: String,
    /// The version of the interface.
    pub version: Version,
    /// The user, with the domain or profile: `admin@internal`.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// Whether to ask for what the user may see only. Needed by everybody who is no administrator; nobody is then told about
    /// hosts.
    pub filter: bool,
    /// The longest a single request may take; none: until the deadline of the call.
    pub request_limit: Option<Duration>,
    /// The time between two looks at a guest that is being switched.
    pub poll: Duration,
    /// Where a session is kept for the next run of the program; none: it ends with the value.
    pub session_file: Option<PathBuf>,
    /// Ends waits early.
    pub interrupt: Option<Interrupt>,
}

impl Settings {
    /// The usual path of the interface.
    pub const API_PATH: &str = "/ovirt-engine/api";

    /// The usual way, for this user at this server.
    #[must_use]
    pub fn new(endpoint: Endpoint, username: &str, password: Zeroizing<String>) -> Self {
        Self {
            endpoint,
            api_path: Self::API_PATH.to_owned(),
            version: Version::Auto,
            username: username.to_owned(),
            password,
            filter: true,
            request_limit: None,
            poll: Duration::from_secs(1),
            session_file: None,
            interrupt: None,
        }
    }

    /// The address of the interface, as people write it.
    #[must_use]
    pub fn url(&self) -> String {
        let Endpoint {
            scheme, host, port, ..
        } = &self.endpoint;
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let (open, close) = if host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        format!("{scheme}://{open}{host}{close}:{port}{}", self.base())
    }

    /// The path without a slash at its end, with one at its start.
    pub(super) fn base(&self) -> String {
        let path = self.api_path.trim_matches('/');
        if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        }
    }

    /// The path beside the interface under which logging in and out happens.
    pub(super) fn web_root(&self) -> String {
        let base = self.base();
        match base.strip_suffix("/api") {
            Some(root) if !root.is_empty() => root.to_owned(),
            _ => "/ovirt-engine".to_owned(),
        }
    }
}

/// Without the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url())
            .field("trust", &self.endpoint.trust)
            .field("version", &self.version)
            .field("username", &self.username)
            .field("filter", &self.filter)
            .field("request_limit", &self.request_limit)
            .field("session_file", &self.session_file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use https::Trust;

    use super::*;

    fn at(host: &str, path: &str) -> Settings {
        let endpoint = Endpoint {
            scheme: Scheme::Https,
            host: host.to_owned(),
            port: 443,
            trust: Trust::System,
        };
        let mut settings =
            Settings::new(endpoint, "u@internal", Zeroizing::new("hunter2".to_owned()));
        settings.api_path = path.to_owned();
        settings
    }

    #[test]
    fn addresses() {
        assert_eq!(
            at("rhevm", "/ovirt-engine/api").url(),
            "https://rhevm:443/ovirt-engine/api"
        );
        assert_eq!(at("fd00::1", "api/").url(), "https://[fd00::1]:443/api");
        assert_eq!(at("x", "/ovirt-engine/api").web_root(), "/ovirt-engine");
        assert_eq!(at("x", "/api").web_root(), "/ovirt-engine");
        assert_eq!(at("x", "/behind/proxy/api/").web_root(), "/behind/proxy");
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", at("x", "/api")).contains("hunter2"));
    }
}
