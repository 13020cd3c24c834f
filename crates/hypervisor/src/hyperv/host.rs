//! One host: its connections, and what it is asked over them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadline::Deadline;
use https::{Endpoint, Interrupt, Scheme};
use uuid::Uuid;
use wsman::wql::Query;
use wsman::{Argument, Envelope, Filter, Instance, Resource, reply};

use super::channel::{Answer, Channel, PATH};
use super::settings::{Address, Login, Namespace, Settings};
use super::states::{self, Job, Wanted};
use super::system::{CLASS, Machine, System, key};
use super::trouble::Trouble;
use crate::web::{self, printable};
use crate::{Error, GuestRef};

const V2: &str = "root/virtualization/v2";
const V1: &str = "root/virtualization";
/// Connections to one host at the same time. 2008 allows 15 operations a user.
const CONNECTIONS: usize = 8;
/// Instances of one list taken at most.
const INSTANCES: usize = 20_000;
/// Bytes of all replies of one list taken at most.
const BYTES: usize = 64 << 20;
/// Before a busy host is asked again.
const REST: Duration = Duration::from_secs(1);
/// How often a busy host is asked.
const TRIES: usize = 3;

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Channel>,
    out: usize,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    endpoint: Endpoint,
    url: String,
    by: String,
    login: Login,
    interrupt: Option<Interrupt>,
    step: Duration,
    wanted: Namespace,
    /// The namespace it was found to have.
    namespace: Mutex<Option<&'static str>>,
    /// What it calls itself.
    name: Mutex<Option<String>>,
    pool: Mutex<Pool>,
    returned: Condvar,
    /// Set when somebody asks this program to end while it waits.
    interrupted: Arc<AtomicBool>,
}

/// Whether asking twice changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Question,
    Order,
}

/// Makes a request of what all requests have in common.
type Build<'a> = dyn Fn(&Envelope<'_>) -> Result<String, wsman::Error> + 'a;
/// Reads the reply to the request with this id.
type Read<'a, T> = dyn Fn(&[u8], Uuid) -> Result<T, wsman::Error> + 'a;

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobStatus {
    pub(super) job: Job,
    /// What it says of its failure.
    pub(super) words: String,
}

impl Host {
    /// Contacts nobody yet.
    pub(super) fn new(
        address: &Address,
        settings: &Settings,
        interrupted: &Arc<AtomicBool>,
    ) -> Self {
        let endpoint = settings.endpoint(address);
        let scheme = match settings.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        Self {
            url: format!("{scheme}://{}{PATH}", endpoint.peer()),
            by: match &address.node {
                Some(node) => format!("Hyper-V host {node} ({})", endpoint.peer()),
                None => format!("Hyper-V host {}", endpoint.peer()),
            },
            endpoint,
            login: settings.login.clone(),
            interrupt: settings.interrupt.clone(),
            step: settings.step,
            wanted: settings.namespace,
            namespace: Mutex::default(),
            name: Mutex::default(),
            pool: Mutex::default(),
            returned: Condvar::new(),
            interrupted: Arc::clone(interrupted),
        }
    }

    /// What it is called in evidence and messages: as it calls itself, once that is known.
    pub(super) fn by(&self) -> String {
        match &*lock(&self.name) {
            Some(name) => format!("Hyper-V host {name} ({})", self.endpoint.peer()),
            None => self.by.clone(),
        }
    }

    /// What `trouble` with it means to whoever asked.
    pub(super) fn error(&self, trouble: Trouble) -> Error {
        trouble.error(&self.by(), self.endpoint.scheme)
    }

    /// Closes what connections are idle; WS-Management knows no other end of a session.
    pub(super) fn close(&self) {
        lock(&self.pool).idle.clear();
    }

    fn borrow(&self, deadline: Deadline) -> Result<Channel, Trouble> {
        let mut pool = lock(&self.pool);
        while pool.out >= CONNECTIONS {
            if deadline.has_passed() {
                return Err(Trouble::Busy(pool.out));
            }
            let waited = self.returned.wait_timeout(pool, deadline.remaining());
            pool = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pool.out += 1;
        while let Some(mut channel) = pool.idle.pop() {
            if channel.is_usable() {
                return Ok(channel);
            }
        }
        drop(pool);
        let opened = Channel::open(
            &self.endpoint,
            self.login.clone(),
            self.interrupt.clone(),
            deadline,
        );
        if let Err(trouble) = &opened {
            if trouble.is_interrupt() {
                self.interrupted.store(true, Ordering::Relaxed);
            }
            self.give_back(None);
        }
        opened
    }

    fn give_back(&self, channel: Option<Channel>) {
        let mut pool = lock(&self.pool);
        pool.out = pool.out.saturating_sub(1);
        pool.idle.extend(channel);
        drop(pool);
        self.returned.notify_one();
    }

    /// One request and its answer, on whatever connection is there. A connection that the host has forgotten is replaced, if
    /// the request cannot have been carried out.
    fn exchange(&self, message: &str, kind: Kind, deadline: Deadline) -> Result<Answer, Trouble> {
        loop {
            let mut channel = self.borrow(deadline)?;
            let was_used = channel.was_used();
            let outcome = channel.exchange(message, deadline);
            let again = match &outcome {
                Ok(_) => false,
                Err(trouble) => {
                    was_used
                        && trouble.is_lost_connection()
                        && (kind == Kind::Question || !trouble.may_have_been_carried_out())
                }
            };
            if outcome.as_ref().is_err_and(Trouble::is_interrupt) {
                self.interrupted.store(true, Ordering::Relaxed);
            }
            self.give_back(outcome.is_ok().then_some(channel));
            if !again {
                return outcome;
            }
            // The others are as old.
            self.close();
        }
    }

    /// One request by way of `build`, its reply read by `read`.
    fn ask<T>(
        &self,
        kind: Kind,
        deadline: Deadline,
        build: &Build<'_>,
        read: &Read<'_, T>,
    ) -> Result<T, Trouble> {
        let mut tries = 1;
        loop {
            let outcome = self.ask_once(kind, deadline, build, read);
            match &outcome {
                Err(trouble) if kind == Kind::Question && trouble.may_pass() && tries < TRIES => {
                    let _ = web::pause(REST, self.interrupt.as_ref(), deadline);
                    if deadline.has_passed() {
                        return outcome;
                    }
                    tries += 1;
                }
                _ => return outcome,
            }
        }
    }

    fn ask_once<T>(
        &self,
        kind: Kind,
        deadline: Deadline,
        build: &Build<'_>,
        read: &Read<'_, T>,
    ) -> Result<T, Trouble> {
        /// The most WinRM takes, and what is left for the answer to arrive.
        const LONGEST: Duration = Duration::from_secs(60);
        const ON_THE_WAY: Duration = Duration::from_millis(500);
        let deadline = deadline.within(self.step);
        let id = id()?;
        let timeout = deadline.remaining().saturating_sub(ON_THE_WAY).min(LONGEST);
        let message = build(&Envelope {
            to: &self.url,
            id,
            timeout,
        })
        .map_err(|error| match error {
            wsman::Error::Unspeakable { .. } => Trouble::Refused(error.to_string()),
            other => other.into(),
        })?;
        let answer = self.exchange(&message, kind, deadline)?;
        if answer.status == 200 {
            return Ok(read(&answer.body, id)?);
        }
        match reply::fault(&answer.body) {
            Some(fault) => Err(Trouble::Fault(fault)),
            None => Err(Trouble::status(answer.status)),
        }
    }

    /// All instances that a filter lets through.
    pub(super) fn instances(
        &self,
        resource: &Resource,
        filter: Option<&Filter<'_>>,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, Trouble> {
        let first = |envelope: &Envelope<'_>| envelope.enumerate(resource, filter, true);
        let read = |bytes: &[u8], id| Ok((reply::page(bytes, id)?, bytes.len()));
        let (mut page, mut size) = self.ask(Kind::Question, deadline, &first, &read)?;
        let mut all = page.items;
        while let Some(context) = page.next {
            too_long(all.len(), size)?;
            let next = |envelope: &Envelope<'_>| envelope.pull(resource, &context);
            // Asked once: what is pulled twice is lost.
            let (pulled, more) = self.ask_once(Kind::Order, deadline, &next, &read)?;
            if pulled.items.is_empty() && pulled.next.as_ref() == Some(&context) {
                return Err(Trouble::Malformed("its list does not go on".to_owned()));
            }
            (page, size) = (pulled, size.saturating_add(more));
            all.extend(page.items);
        }
        too_long(all.len(), size)?;
        Ok(all)
    }

    /// The instances of a query in a namespace.
    pub(super) fn query(
        &self,
        namespace: &str,
        query: &Query,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, Trouble> {
        self.instances(
            &Resource::wmi(namespace, "*"),
            Some(&Filter::Wql(query)),
            deadline,
        )
    }

    /// One instance; none if there is no such.
    pub(super) fn get(
        &self,
        resource: &Resource,
        deadline: Deadline,
    ) -> Result<Option<Instance>, Trouble> {
        let build = |envelope: &Envelope<'_>| envelope.get(resource);
        match self.ask(Kind::Question, deadline, &build, &reply::instance) {
            Ok(instance) => Ok(Some(instance)),
            Err(Trouble::Fault(fault)) if fault.is_not_found() => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Replaces an instance.
    pub(super) fn put(
        &self,
        resource: &Resource,
        instance: &Instance,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let build = |envelope: &Envelope<'_>| envelope.put(resource, instance);
        self.ask(Kind::Order, deadline, &build, &reply::accepted)
    }

    /// Calls a method.
    pub(super) fn invoke(
        &self,
        resource: &Resource,
        method: &str,
        arguments: &[(&str, Argument<'_>)],
        deadline: Deadline,
    ) -> Result<Instance, Trouble> {
        let build = |envelope: &Envelope<'_>| envelope.invoke(resource, method, arguments);
        self.ask(Kind::Order, deadline, &build, &|bytes, id| {
            reply::output(bytes, id, method)
        })
    }

    /// Does something in the namespace this host has, which the first time is found out.
    fn in_namespace<T>(&self, act: impl Fn(&str) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let known = *lock(&self.namespace);
        let candidates: &[&'static str] = match (known, self.wanted) {
            (Some(V1), _) | (None, Namespace::V1) => &[V1],
            (Some(_), _) | (None, Namespace::V2) => &[V2],
            (None, Namespace::Auto) => &[V2, V1],
        };
        let mut first = None;
        for namespace in candidates {
            match act(namespace) {
                Err(Trouble::Fault(fault)) if fault.is_unknown_class() => {
                    first.get_or_insert(Trouble::Fault(fault));
                }
                outcome => {
                    if outcome.is_ok() {
                        *lock(&self.namespace) = Some(namespace);
                    }
                    return outcome;
                }
            }
        }
        Err(first
            .unwrap_or_else(|| Trouble::Refused("no namespace is left to be asked".to_owned())))
    }

    /// Whether it is asked in the namespace of 2008, where rights are given operation by operation.
    pub(super) fn is_v1(&self) -> bool {
        *lock(&self.namespace) == Some(V1)
    }

    fn systems(&self, query: &Query, deadline: Deadline) -> Result<Vec<System>, Trouble> {
        let instances = self.in_namespace(|namespace| self.query(namespace, query, deadline))?;
        let systems = instances
            .iter()
            .map(System::read)
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(name) = systems.iter().find_map(host_name) {
            *lock(&self.name) = Some(name.to_owned());
        }
        Ok(systems)
    }

    /// The guests here that are meant; none if it has none such. With a name, more than one can be.
    pub(super) fn find(
        &self,
        wanted: &GuestRef,
        deadline: Deadline,
    ) -> Result<Vec<Machine>, Trouble> {
        let all = Query::all(CLASS);
        let query = match wanted {
            GuestRef::Name(name) => all.and_is("ElementName", name),
            GuestRef::Uuid(uuid) => all.and_is("Name", &key(*uuid)),
        };
        let systems = self.systems(&query, deadline)?;
        let found: Vec<Machine> = systems
            .into_iter()
            .filter_map(machine)
            .filter(|machine| machine.is(wanted))
            .collect();
        if found.is_empty() {
            self.sees_itself(deadline)?;
        }
        Ok(found)
    }

    /// Every guest here.
    pub(super) fn guests(&self, deadline: Deadline) -> Result<Vec<Machine>, Trouble> {
        let systems = self.systems(&Query::all(CLASS), deadline)?;
        if systems.iter().find_map(host_name).is_none() {
            return Err(blind());
        }
        Ok(systems.into_iter().filter_map(machine).collect())
    }

    /// Who has no rights on Hyper-V is shown an empty list, without any error. Only who sees the host's own instance can say
    /// that there is no such guest. What the host calls itself comes out of it.
    pub(super) fn sees_itself(&self, deadline: Deadline) -> Result<String, Trouble> {
        // Guests were created at some time, the host was not.
        let itself = Query::all(CLASS).and_is_null("InstallDate");
        let narrow = match self.systems(&itself, deadline) {
            Err(Trouble::Fault(fault)) if fault.is_unknown_query() => Vec::new(),
            systems => systems?,
        };
        if let Some(name) = narrow.iter().find_map(host_name) {
            return Ok(name.to_owned());
        }
        let all = self.systems(&Query::all(CLASS), deadline)?;
        all.iter()
            .find_map(host_name)
            .map(str::to_owned)
            .ok_or_else(blind)
    }

    /// What it calls itself, asked at most once.
    pub(super) fn own_name(&self, deadline: Deadline) -> Result<String, Trouble> {
        let known = lock(&self.name).clone();
        known.map_or_else(|| self.sees_itself(deadline), Ok)
    }

    /// Tells it to switch a guest: what it answers, and the job that does it.
    pub(super) fn order(
        &self,
        machine: &str,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Result<(states::Answer, Option<Resource>), Trouble> {
        const METHOD: &str = "RequestStateChange";
        let output = self.in_namespace(|namespace| {
            let resource = Resource::wmi(namespace, CLASS)
                .with("CreationClassName", CLASS)
                .with("Name", machine);
            let state = Argument::Text(wanted.number());
            self.invoke(&resource, METHOD, &[("RequestedState", state)], deadline)
        })?;
        let answer = states::answer(output.required_number("ReturnValue")?);
        Ok((answer, output.reference("Job").cloned()))
    }

    /// Whether it lets this login call methods of guests at all, proven by an order to a guest that cannot exist: its GUID is
    /// made up on the spot. Only an answer that says so is a proof: whatever else fails may fail before rights are looked at.
    pub(super) fn may_call_methods(&self, deadline: Deadline) -> Result<(), Trouble> {
        use states::Answer as A;
        match self.order(&key(id()?), Wanted::Off, deadline) {
            // It was let through and found no such guest.
            Err(Trouble::Fault(fault)) if fault.is_not_found() => Ok(()),
            Ok((A::NotNow(_) | A::Failed(_), _)) => Ok(()),
            Ok((A::Denied, _)) => Err(Trouble::Denied("RequestStateChange is refused".to_owned())),
            Ok((A::Unclear(value), _)) => Err(Trouble::Refused(format!(
                "RequestStateChange returned {value}: {}",
                states::word(value)
            ))),
            Ok((A::Done | A::Started, _)) => Err(Trouble::Refused(
                "it says that it switches a guest that does not exist".to_owned(),
            )),
            Err(trouble) => Err(trouble),
        }
    }

    /// How a job stands; none if it is no longer known, as some minutes after its end.
    pub(super) fn job(
        &self,
        job: &Resource,
        deadline: Deadline,
    ) -> Result<Option<JobStatus>, Trouble> {
        let Some(instance) = self.get(job, deadline)? else {
            return Ok(None);
        };
        let words = ["ErrorDescription", "ErrorSummaryDescription", "JobStatus"];
        let words = words.iter().find_map(|name| {
            instance
                .text(name)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        });
        let code = instance.number("ErrorCode")?.filter(|code| *code != 0);
        let words = match (words, code) {
            (Some(words), _) => printable(words.as_bytes()),
            (None, Some(code)) => format!("error {code}: {}", states::word(code)),
            (None, None) => "it does not say why".to_owned(),
        };
        Ok(Some(JobStatus {
            job: states::job(instance.required_number("JobState")?),
            words,
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses a list of so many instances and bytes.
fn too_long(instances: usize, bytes: usize) -> Result<(), Trouble> {
    let what = match (instances > INSTANCES, bytes > BYTES) {
        (true, _) => format!("more than {INSTANCES} instances"),
        (false, true) => format!("more than {BYTES} bytes"),
        (false, false) => return Ok(()),
    };
    Err(Trouble::Malformed(format!("its list has {what}")))
}

fn host_name(system: &System) -> Option<&str> {
    match system {
        System::Host(name) => Some(name),
        System::Guest(_) => None,
    }
}

fn machine(system: System) -> Option<Machine> {
    match system {
        System::Host(_) => None,
        System::Guest(machine) => Some(machine),
    }
}

fn blind() -> Trouble {
    Trouble::Denied(
        "its list of guests does not even have the host itself, which is how it hides them"
            .to_owned(),
    )
}

fn id() -> Result<Uuid, Trouble> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Trouble::Here(format!("no random numbers: {error}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_limited_in_instances_and_bytes() {
        assert!(too_long(INSTANCES, BYTES).is_ok());
        assert!(too_long(INSTANCES + 1, 0).is_err());
        assert!(too_long(1, BYTES + 1).is_err());
    }
}
