//! Which host has a guest.
//!
//! Several hosts that are no cluster are all asked, at the same time: a guest is off only if every one of them has answered,
//! for one that did not may run it. Of a cluster one node is asked which node has the guest, and then that node.
//! Neither is remembered: a guest moves. `locate` does both.

mod locate;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use deadline::Deadline;
use uuid::Uuid;

use super::cluster::{self, Node, Role, Which};
use super::host::Host;
use super::settings::{Address, Settings};
use super::trouble::Trouble;
use crate::{Error, ErrorKind, web};
pub(super) use locate::{Settles, Sight};

/// How long one node has before another is asked the same.
const STAGGER: Duration = Duration::from_secs(2);

/// The hosts.
#[derive(Debug)]
pub(super) struct Fleet {
    settings: Settings,
    given: Vec<Arc<Host>>,
    /// Nodes that were not given, by name.
    found: Mutex<HashMap<String, Arc<Host>>>,
    /// The resources of guests, by GUID: where to look first.
    resources: Mutex<HashMap<Uuid, String>>,
    /// Who answered last.
    first: AtomicUsize,
    interrupted: Arc<AtomicBool>,
}

impl Fleet {
    /// Contacts nobody yet.
    pub(super) fn new(settings: Settings) -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        let host = |address: &Address| Arc::new(Host::new(address, &settings, &interrupted));
        let given = settings.hosts.iter().map(host).collect();
        Self {
            given,
            found: Mutex::default(),
            resources: Mutex::default(),
            first: AtomicUsize::new(0),
            interrupted,
            settings,
        }
    }

    /// Whether a cluster is asked.
    pub(super) const fn is_cluster(&self) -> bool {
        self.settings.cluster
    }

    /// The settings.
    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The hosts that were given.
    pub(super) fn given(&self) -> &[Arc<Host>] {
        &self.given
    }

    /// Closes all idle connections.
    pub(super) fn close(&self) {
        self.given.iter().for_each(|host| host.close());
        lock(&self.found).values().for_each(|host| host.close());
    }

    /// A moment in which nothing is asked.
    pub(super) fn pause(&self, time: Duration, deadline: Deadline) {
        // The next question tells of an interrupt.
        let _ = web::pause(time, self.settings.interrupt.as_ref(), deadline);
    }

    /// Whether somebody has asked this program to end while it waited.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// What all of them are called together.
    pub(super) fn by(&self) -> String {
        let names: Vec<&str> = self
            .settings
            .hosts
            .iter()
            .map(|address| address.host.as_str())
            .collect();
        let what = match (self.settings.cluster, names.len()) {
            (true, _) => "Hyper-V cluster of",
            (false, 1) => "Hyper-V host",
            (false, _) => "Hyper-V hosts",
        };
        format!("{what} {}", names.join(", "))
    }

    /// The roles of clustered guests, from whichever node answers first.
    pub(super) fn roles(&self, which: Which, deadline: Deadline) -> Result<Vec<Role>, Error> {
        let roles = self.any(deadline, move |host, deadline| {
            cluster::roles(host, &which, deadline)
        })?;
        let mut known = lock(&self.resources);
        known.extend(
            roles
                .iter()
                .filter_map(|role| Some((role.guest?, role.resource.clone()))),
        );
        Ok(roles)
    }

    /// The nodes of the cluster.
    pub(super) fn nodes(&self, deadline: Deadline) -> Result<Vec<Node>, Error> {
        self.any(deadline, cluster::nodes)
    }

    /// The node of this name. One that was not given is looked for beside those that were.
    pub(super) fn node(&self, name: &str) -> Arc<Host> {
        let given = self
            .settings
            .hosts
            .iter()
            .position(|address| address.is_node(name));
        if let Some(host) = given.and_then(|at| self.given.get(at)) {
            return Arc::clone(host);
        }
        let mut found = lock(&self.found);
        let host = found.entry(name.to_lowercase()).or_insert_with(|| {
            let address = beside(&self.settings.hosts, name);
            Arc::new(Host::new(&address, &self.settings, &self.interrupted))
        });
        Arc::clone(host)
    }

    /// Asks the nodes one after another, the next one when one fails or takes long, and takes the first answer.
    pub(super) fn any<T: Send + 'static>(
        &self,
        deadline: Deadline,
        ask: impl Fn(&Host, Deadline) -> Result<T, Trouble> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answers) = mpsc::channel();
        let count = self.given.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut waiting = (0..count).map(|offset| (first + offset) % count.max(1));
        let (mut out, mut errors) = (0, Vec::new());
        loop {
            let next = waiting.next();
            if let Some(at) = next {
                let (host, ask, sender) =
                    (Arc::clone(&self.given[at]), ask.clone(), sender.clone());
                // Who is no longer waited for ends by its own deadline.
                thread::spawn(move || sender.send((at, ask(&host, deadline))));
                out += 1;
            }
            if out == 0 {
                return Err(self.nobody(errors));
            }
            let patience = if next.is_some() {
                deadline.within(STAGGER)
            } else {
                deadline
            };
            // The asked end by the deadline themselves, and say more than that it has passed.
            let slack = Duration::from_millis(200);
            match answers.recv_timeout(patience.remaining() + slack) {
                Ok((at, Ok(answer))) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok((at, Err(trouble))) => {
                    out -= 1;
                    let error = self.given[at].error(trouble);
                    if self.is_interrupted() {
                        return Err(error);
                    }
                    errors.push(error);
                }
                Err(_) if deadline.has_passed() => {
                    errors.push(Error::Unreachable {
                        by: self.by(),
                        detail: "no node answers in time".to_owned(),
                    });
                    return Err(self.nobody(errors));
                }
                Err(_) => {}
            }
        }
    }

    /// What to say when no node gave the answer: a refusal says most.
    fn nobody(&self, mut errors: Vec<Error>) -> Error {
        if let Some(at) = errors
            .iter()
            .position(|error| error.kind() == ErrorKind::Refused)
        {
            return errors.swap_remove(at);
        }
        if errors.len() == 1
            && let Some(only) = errors.pop()
        {
            return only;
        }
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::Unreachable {
            by: self.by(),
            detail: all.join("; "),
        }
    }
}

/// Asks all hosts at the same time.
pub(super) fn all_of<T: Send>(
    hosts: &[Arc<Host>],
    ask: impl Fn(&Host) -> Result<T, Trouble> + Sync,
) -> Vec<(Arc<Host>, Result<T, Trouble>)> {
    if let [only] = hosts {
        return vec![(Arc::clone(only), ask(only))];
    }
    thread::scope(|scope| {
        let asked: Vec<_> = hosts
            .iter()
            .map(|host| (host, scope.spawn(|| ask(host))))
            .collect();
        let answered = asked.into_iter().map(|(host, thread)| {
            let gone = || Trouble::Here("a thread of this program has failed".to_owned());
            (
                Arc::clone(host),
                thread.join().unwrap_or_else(|_| Err(gone())),
            )
        });
        answered.collect()
    })
}

/// The address of a node that was not given: in the domain of one that was.
fn beside(hosts: &[Address], name: &str) -> Address {
    let named = hosts.iter().find(|address| {
        address.host.contains('.') && address.host.parse::<std::net::IpAddr>().is_err()
    });
    let domain = named
        .and_then(|address| address.host.split_once('.'))
        .map(|(_, domain)| domain);
    let host = domain.map_or_else(|| name.to_owned(), |domain| format!("{name}.{domain}"));
    let port = hosts.first().map_or(5985, |address| address.port);
    Address {
        node: Some(name.to_owned()),
        host,
        port,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_looked_for_in_the_domain_of_the_others() {
        let address = |text: &str| Address::parse(text, 5986).unwrap();
        assert_eq!(
            beside(&[address("10.0.0.1"), address("hv.corp.example")], "HV2").host,
            "HV2.corp.example"
        );
        assert_eq!(beside(&[address("10.0.0.1")], "HV2").host, "HV2");
        assert_eq!(beside(&[address("hv1:80")], "HV2").port, 80);
    }
}
