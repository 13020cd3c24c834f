//! A Hyper-V host for tests, or the nodes of a failover cluster.
//!
//! ```text
//! hyperv-host --world FILE --user DOMAIN\NAME:PASSWORD[:RIGHTS] [options of all test servers]
//!
//! --world FILE      nodes and guests, see test_servers::hyperv::commands; one node HV1 without it
//! --user …          an account; RIGHTS as blind, closed, reader, nocluster, noprocess, separated by commas
//! --domain NAME     the hosts' domain (default CORP)
//! --basic           offers Basic as well
//! --no-negotiate    does not offer Negotiate
//! --unencrypted     takes plain messages over plain HTTP
//! --strict-binding  NTLM over TLS must be bound to its connection
//! --client-authority FILE   takes clients by their certificates alone, if these authorities (PEM) signed them
//! --ops FILE        begin with these faults in operations
//! ```
//!
//! Prints one line for each node, its name and its address. The first one listens where `--listen` says, the others on any port
//! of the same address.

use std::io::{self, Write as _};
use std::sync::Arc;

use test_servers::arguments::Arguments;
use test_servers::faults::Faults;
use test_servers::http::Server;
use test_servers::hyperv::commands;
use test_servers::hyperv::host::{Host, Policy, Rights, User};
use test_servers::hyperv::world::Shared;

fn main() -> io::Result<()> {
    let mut arguments = Arguments::read()?;
    let mut policy = Policy {
        users: Vec::new(),
        basic: false,
        negotiate: true,
        unencrypted: false,
        strict_binding: false,
        certificates: false,
    };
    let (world, operations) = (Shared::default(), Faults::default());
    let mut domain = "CORP".to_owned();
    let rest = std::mem::take(&mut arguments.rest);
    let mut rest = rest.iter();
    while let Some(option) = rest.next() {
        let mut value = || {
            rest.next()
                .ok_or_else(|| io::Error::other(format!("{option} needs a value")))
        };
        match option.as_str() {
            "--world" => {
                let lines = std::fs::read_to_string(value()?)?;
                commands::run(&mut world.now(), &lines).map_err(io::Error::other)?;
            }
            "--ops" => operations
                .set(&std::fs::read_to_string(value()?)?)
                .map_err(io::Error::other)?,
            "--user" => policy.users.push(user(value()?)?),
            "--domain" => value()?.clone_into(&mut domain),
            "--basic" => policy.basic = true,
            "--no-negotiate" => policy.negotiate = false,
            "--unencrypted" => policy.unencrypted = true,
            "--strict-binding" => policy.strict_binding = true,
            "--client-authority" => {
                let authorities = std::fs::read_to_string(value()?)?;
                let identity = arguments.identity.take().and_then(Arc::into_inner);
                let identity =
                    identity.ok_or_else(|| io::Error::other("--client-authority needs --tls"))?;
                arguments.identity = Some(Arc::new(identity.demand(&authorities)?));
                policy.certificates = true;
            }
            _ => return Err(io::Error::other(format!("unknown option {option}"))),
        }
    }
    if world.now().nodes.is_empty() {
        commands::run(&mut world.now(), "node HV1").map_err(io::Error::other)?;
    }
    serve(&arguments, &world, &policy, &domain, &operations)
}

fn serve(
    arguments: &Arguments,
    world: &Shared,
    policy: &Policy,
    domain: &str,
    operations: &Faults,
) -> io::Result<()> {
    let names: Vec<String> = world
        .now()
        .nodes
        .iter()
        .map(|node| node.name.clone())
        .collect();
    let (address, _) = arguments
        .listen
        .rsplit_once(':')
        .unwrap_or((&arguments.listen, ""));
    let mut servers = Vec::new();
    let mut stdout = io::stdout();
    for (at, name) in names.iter().enumerate() {
        let listen = if at == 0 {
            arguments.listen.clone()
        } else {
            format!("{address}:0")
        };
        let identity = arguments.identity.as_deref();
        let certificate = identity.map(|identity| identity.certificate());
        let host = Host::new(
            name,
            domain,
            world.clone(),
            policy.clone(),
            certificate,
            operations.clone(),
        );
        let server = Server::start(&listen, identity, arguments.faults.clone(), Arc::new(host))?;
        writeln!(stdout, "{name} {}", server.address())?;
        servers.push(server);
    }
    stdout.flush()?;
    loop {
        std::thread::park();
    }
}

fn user(text: &str) -> io::Result<User> {
    let mut parts = text.splitn(3, ':');
    let (Some(login), Some(password)) = (parts.next(), parts.next()) else {
        return Err(io::Error::other("--user DOMAIN\\NAME:PASSWORD[:RIGHTS]"));
    };
    let (domain, name) = login.split_once('\\').unwrap_or(("", login));
    Ok(User {
        domain: domain.to_owned(),
        name: name.to_owned(),
        password: password.to_owned(),
        rights: parts.next().map_or(Rights::ALL, Rights::without),
    })
}
