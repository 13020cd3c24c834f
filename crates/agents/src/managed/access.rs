//! From the common options to a server, whom to trust, and a login.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fence_agent::{Failure, Options, Session};
use https::{Endpoint, Scheme, Trust};
use zeroize::Zeroizing;

use super::password::Password;

/// Where an interface listens unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Without TLS.
    pub plain: u16,
    /// With it.
    pub tls: u16,
}

/// Whom to reach and how; nobody has been asked anything yet.
pub struct Access {
    /// The server.
    pub endpoint: Endpoint,
    /// The user's name.
    pub username: String,
    password: Password,
    /// The longest a single request may take (`shell_timeout`); none: until the deadline.
    pub request_limit: Option<Duration>,
    /// What the log is to warn of.
    pub doubts: Vec<String>,
}

/// Whom to reach, as whom.
#[derive(Clone)]
pub struct Login {
    /// The server.
    pub endpoint: Endpoint,
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// The longest a single request may take; none: until the deadline.
    pub request_limit: Option<Duration>,
}

impl Access {
    /// From checked options. `encrypted`: TLS unless told otherwise. `lifted`: limits of single steps do not hold.
    ///
    /// # Errors
    /// Every problem.
    pub fn new(
        options: &Options,
        ports: Ports,
        encrypted: bool,
        lifted: bool,
    ) -> Result<Self, Vec<String>> {
        let (mut problems, mut doubts) = (Vec::new(), Vec::new());
        let trust = trust(options, encrypted, &mut problems, &mut doubts);
        let scheme = if trust.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let usual = if trust.is_some() {
            ports.tls
        } else {
            ports.plain
        };
        let written = options
            .is_written("ipport")
            .then(|| options.number("ipport"));
        let port = written.flatten().and_then(|port| u16::try_from(port).ok());
        let host = match host(options.text("ip").unwrap_or_default()) {
            Ok(host) => host,
            Err(problem) => {
                problems.push(problem);
                String::new()
            }
        };
        // A certificate of the client's takes the place of a password, where a platform has that.
        let password = match options.text("ssl_client_cert") {
            Some(_) => Ok(Password::none()),
            None => Password::from_options(options),
        };
        let password = password.unwrap_or_else(|problem| {
            problems.push(problem);
            Password::none()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            endpoint: Endpoint {
                scheme,
                host,
                port: port.unwrap_or(usual),
                trust: trust.unwrap_or(Trust::System),
            },
            username: options.text("username").unwrap_or_default().to_owned(),
            password,
            request_limit: options
                .seconds("shell_timeout")
                .filter(|limit| !lifted && !limit.is_zero()),
            doubts,
        })
    }

    /// The login, once the password is there.
    ///
    /// # Errors
    /// When the password's script fails.
    pub fn login(&self, session: &Session) -> Result<Login, Failure> {
        Ok(Login {
            endpoint: self.endpoint.clone(),
            username: self.username.clone(),
            password: self.password.get(session)?,
            request_limit: self.request_limit,
        })
    }
}

/// Whom to trust; none: no TLS. Off unless asked for, as in fence-agents, or `encrypted`.
fn trust(
    options: &Options,
    encrypted: bool,
    problems: &mut Vec<String>,
    doubts: &mut Vec<String>,
) -> Option<Trust> {
    let authorities = options.text("ssl_ca").filter(|file| !file.is_empty());
    let insecure = options.flag("ssl_insecure");
    if let Some(file) = authorities {
        if insecure {
            problems.push(
                "ssl_ca and ssl_insecure contradict each other: leave ssl_insecure out".to_owned(),
            );
        }
        return Some(Trust::Authorities(PathBuf::from(file)));
    }
    if insecure && options.flag("ssl_secure") {
        doubts.push(
            "ssl_secure and ssl_insecure contradict each other: the certificate is verified"
                .to_owned(),
        );
        return Some(Trust::System);
    }
    if insecure {
        doubts.push(
            "the server's certificate is not verified (ssl_insecure): whoever sits in between can read the password and \
             answer in the server's place; ssl_ca names a file with the certificate to trust"
                .to_owned(),
        );
        return Some(Trust::Anybody);
    }
    let unless_told = encrypted && !options.is_written("ssl");
    if unless_told || options.flag("ssl") || options.flag("ssl_secure") {
        return Some(Trust::System);
    }
    doubts.push(
        "the connection is not encrypted: the password travels readable, and anybody in between can answer in the server's \
         place; use ssl"
            .to_owned(),
    );
    None
}

/// A name or an address, as people write either.
fn host(ip: &str) -> Result<String, String> {
    let ip = ip.trim();
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let host = bare.unwrap_or(ip);
    let wrong = |character: char| {
        character.is_whitespace() || character.is_control() || "/@?#\\\"'<>[]".contains(character)
    };
    if host.is_empty() {
        return Err("option `ip` is empty".to_owned());
    }
    if host.contains("://") || host.contains('/') {
        return Err(format!(
            "ip `{}` is an address of a page: give the host alone, the port as ipport, and ssl for https",
            host.escape_debug()
        ));
    }
    if host.contains(wrong) {
        return Err(format!(
            "ip `{}` is neither a name nor an address",
            host.escape_debug()
        ));
    }
    let colons = host.matches(':').count();
    if colons == 1 {
        return Err(format!("ip `{host}` has a port: give it as ipport"));
    }
    Ok(host.to_owned())
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("endpoint", &self.endpoint)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn hosts_as_people_write_them() {
        for (written, host) in [
            ("rhevm.example", "rhevm.example"),
            (" 10.0.0.1 ", "10.0.0.1"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("vc_01", "vc_01"),
        ] {
            assert_eq!(super::host(written).as_deref(), Ok(host));
        }
        for (written, words) in [
            ("", "empty"),
            ("https://vc/sdk", "page"),
            ("vc/sdk", "page"),
            ("vc:443", "ipport"),
            ("a b", "neither"),
            ("user@vc", "neither"),
        ] {
            assert!(
                super::host(written).unwrap_err().contains(words),
                "{written}"
            );
        }
    }
}
