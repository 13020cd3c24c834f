//! `fence_hyperv`: guests of Hyper-V hosts, alone or in a failover cluster.

mod table;

use std::path::PathBuf;
use std::time::Duration;

use fence_agent::Options;
use https::{Identity, Interrupt, Scheme};
use hypervisor::hyperv::{self, Address, HyperV, Namespace, Settings};
use hypervisor::{Error, Managed};
use ntlm::Credentials;

use crate::managed::{Access, Login, Platform, Ports, Through};
pub use table::FENCE_HYPERV;

/// How long one answer of one of several hosts may take when nothing else limits it: the others are to be asked in time.
const AMONG_OTHERS: Duration = Duration::from_secs(10);
/// The same for the only host: the run's deadline comes first.
const ALONE: Duration = Duration::from_secs(60);

/// What `fence_hyperv` does.
pub const BEHAVIOUR: Through<Platforms> = Through::BEHAVIOUR;

/// Hyper-V through WS-Management.
#[derive(Debug)]
pub struct Platforms;

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Auth {
    Negotiate,
    Basic,
    Certificate(Identity),
}

/// Its own options.
#[derive(Debug)]
pub struct Config {
    auth: Auth,
    /// Beside the one in `ip`.
    nodes: Vec<Address>,
    cluster: bool,
    namespace: Namespace,
    kill_worker: Option<Duration>,
}

impl Platform for Platforms {
    type Config = Config;

    const PORTS: Ports = Ports {
        plain: 5985,
        tls: 5986,
    };

    fn check(options: &Options, access: &Access) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let auth = auth(options, access).unwrap_or_else(|problem| {
            problems.push(problem);
            Auth::Negotiate
        });
        let mut nodes = Vec::new();
        let written = options
            .text("nodes")
            .unwrap_or_default()
            .split([',', ' ', '\t']);
        for node in written.map(str::trim).filter(|node| !node.is_empty()) {
            match Address::parse(node, access.endpoint.port) {
                Ok(address) => nodes.push(address),
                Err(problem) => problems.push(format!("nodes: {problem}")),
            }
        }
        if access.username.is_empty() && !matches!(auth, Auth::Certificate(_)) {
            problems.push("a user name is needed: option `username` (-l)".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let namespace = match options.text("namespace") {
            Some("v2") => Namespace::V2,
            Some("v1") => Namespace::V1,
            _ => Namespace::Auto,
        };
        Ok(Config {
            auth,
            nodes,
            cluster: options.flag("cluster"),
            namespace,
            kill_worker: options
                .seconds("kill_worker")
                .filter(|time| !time.is_zero()),
        })
    }

    /// With Negotiate, plain HTTP carries neither a password nor a plain message.
    fn doubts(config: &Config, access: &Access) -> Vec<String> {
        match (&config.auth, access.endpoint.scheme) {
            (Auth::Negotiate, Scheme::Http) => Vec::new(),
            _ => access.doubts.clone(),
        }
    }

    fn connect(
        config: Config,
        login: Login,
        interrupt: Interrupt,
    ) -> Result<Box<dyn Managed>, Error> {
        let hosts = hosts(&login, &config.nodes);
        let several = config.cluster || hosts.len() > 1;
        let usual = if several { AMONG_OTHERS } else { ALONE };
        let settings = Settings {
            hosts,
            cluster: config.cluster,
            scheme: login.endpoint.scheme,
            trust: login.endpoint.trust.clone(),
            login: match config.auth {
                Auth::Negotiate => {
                    hyperv::Login::Negotiate(Credentials::new(&login.username, login.password))
                }
                Auth::Basic => hyperv::Login::Basic {
                    user: login.username,
                    password: login.password,
                },
                Auth::Certificate(identity) => hyperv::Login::Certificate(identity),
            },
            namespace: config.namespace,
            kill_worker: config.kill_worker,
            step: login.request_limit.unwrap_or(usual),
            interrupt: Some(interrupt),
        };
        Ok(Box::new(HyperV::new(settings)))
    }
}

/// The host of `ip` first, unless `nodes` has it as well, with the name the cluster has for it.
fn hosts(login: &Login, nodes: &[Address]) -> Vec<Address> {
    let (host, port) = (&login.endpoint.host, login.endpoint.port);
    let mut hosts = nodes.to_vec();
    let known = hosts
        .iter()
        .position(|node| node.host.eq_ignore_ascii_case(host) && node.port == port);
    match known {
        Some(at) => hosts.swap(0, at),
        None => hosts.insert(
            0,
            Address {
                node: None,
                host: host.clone(),
                port,
            },
        ),
    }
    hosts
}

fn auth(options: &Options, access: &Access) -> Result<Auth, String> {
    let file = |name: &str| {
        options
            .text(name)
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
    };
    let certificate = file("ssl_client_cert");
    match (options.text("auth").unwrap_or_default(), certificate) {
        ("certificate", None) => Err("auth=certificate needs ssl_client_cert".to_owned()),
        ("certificate", Some(certificate)) if access.endpoint.scheme == Scheme::Https => {
            let key = file("ssl_client_key").unwrap_or_else(|| certificate.clone());
            Ok(Auth::Certificate(Identity { certificate, key }))
        }
        ("certificate", Some(_)) => Err("auth=certificate needs TLS: ssl or ssl_ca".to_owned()),
        (_, Some(_)) => Err("ssl_client_cert is for auth=certificate only".to_owned()),
        ("basic", None) => Ok(Auth::Basic),
        _ => Ok(Auth::Negotiate),
    }
}

#[cfg(test)]
mod tests;
