//! What is served, and to whom.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use iscsi::login::{Authentication, Credentials, LoginStatus};

use crate::config::{InitiatorName, InitiatorOptions, Name};
use crate::server::unit::Unit;

/// Who may use a target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) own: Option<Credentials>,
    pub(crate) initiators: Vec<InitiatorOptions>,
}

impl Access {
    /// How `initiator` has to prove who it is; `None` if it may not log in. What is said of it by name counts before what
    /// is said of anybody.
    fn of(&self, initiator: &str) -> Option<Authentication> {
        let named = |one: &&InitiatorOptions| {
            one.name != InitiatorName::Anybody && one.name.covers(initiator)
        };
        let entries = || self.initiators.iter();
        let mut entries: Vec<_> = if entries().any(|one| named(&one)) {
            entries().filter(named).collect()
        } else {
            entries().filter(|one| one.name.covers(initiator)).collect()
        };
        entries.sort_by_key(|one| one.account.is_none());
        let accounts: Vec<_> = entries
            .iter()
            .filter_map(|one| one.account.clone())
            .collect();
        match entries.first() {
            None => None,
            // One entry that asks for a proof counts for all.
            Some(_) if !accounts.is_empty() => Some(Authentication::Chap {
                accounts,
                own: self.own.clone(),
            }),
            Some(_) => Some(Authentication::None),
        }
    }
}

/// Whether who knows the secret of one knows that of the other.
pub(crate) fn same_account(one: &Credentials, other: &Credentials) -> bool {
    one.name == other.name && one.secret.same(&other.secret)
}

/// Logical units by their number.
pub(crate) type Units = BTreeMap<u16, Arc<Unit>>;

/// A target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: Name,
    access: RwLock<Access>,
    units: RwLock<Arc<Units>>,
}

impl Target {
    pub(crate) fn new(name: Name, access: Access, units: Units) -> Self {
        Self {
            name,
            access: RwLock::new(access),
            units: RwLock::new(Arc::new(units)),
        }
    }

    pub(crate) fn units(&self) -> Arc<Units> {
        let units = self.units.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&units)
    }

    pub(crate) fn set_units(&self, units: Units) {
        *self.units.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(units);
    }

    pub(crate) fn access(&self) -> Access {
        self.access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = access;
    }

    /// Whether who proved itself with `account`, or proved nothing, could log in now.
    pub(crate) fn would_let_in(&self, initiator: &str, account: Option<&Credentials>) -> bool {
        match self.lets_in(initiator) {
            None => false,
            Some(Authentication::Chap { accounts, .. }) => {
                account.is_some_and(|proved| accounts.iter().any(|one| same_account(one, proved)))
            }
            Some(Authentication::None) => true,
        }
    }

    fn lets_in(&self, initiator: &str) -> Option<Authentication> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        access.of(initiator)
    }
}

/// All targets.
#[derive(Debug, Default)]
pub(crate) struct Targets(RwLock<BTreeMap<Name, Arc<Target>>>);

impl Targets {
    pub(crate) fn all(&self) -> Vec<Arc<Target>> {
        let targets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        targets.values().cloned().collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Target>> {
        let name: Name = name.parse().ok()?;
        let targets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        targets.get(&name).cloned()
    }

    /// `false`: there is one of this name.
    pub(crate) fn add(&self, target: Target) -> bool {
        let mut targets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let name = target.name.clone();
        let free = !targets.contains_key(&name);
        if free {
            targets.insert(name, Arc::new(target));
        }
        free
    }

    pub(crate) fn remove(&self, name: &Name) -> Option<Arc<Target>> {
        let mut targets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        targets.remove(name)
    }

    /// How `initiator` must prove itself to log in to `target`. Who may not log in does not learn whether there is such
    /// a target.
    pub(crate) fn admit(
        &self,
        target: &str,
        initiator: &str,
    ) -> Result<(Arc<Target>, Authentication), LoginStatus> {
        let target = self.find(target).ok_or(LoginStatus::NOT_FOUND)?;
        let authentication = target.lets_in(initiator).ok_or(LoginStatus::NOT_FOUND)?;
        Ok((target, authentication))
    }

    /// The targets that `initiator` may log in to.
    pub(crate) fn visible(&self, initiator: &str) -> Vec<Arc<Target>> {
        let mut targets = self.all();
        targets.retain(|target| target.lets_in(initiator).is_some());
        targets
    }
}

#[cfg(test)]
mod tests {
    use iscsi::login::Secret;

    use super::*;

    fn account(name: &str) -> Credentials {
        Credentials {
            name: name.to_owned(),
            secret: Secret::new(b"a secret of some length".to_vec()).unwrap(),
        }
    }

    fn access(entries: &[(&str, Option<&str>)]) -> Access {
        Access {
            own: None,
            initiators: entries
                .iter()
                .map(|(name, user)| InitiatorOptions {
                    name: name.parse().unwrap(),
                    account: user.map(account),
                })
                .collect(),
        }
    }

    fn users(authentication: Option<Authentication>) -> Option<Vec<String>> {
        authentication.map(|authentication| match authentication {
            Authentication::None => Vec::new(),
            Authentication::Chap { accounts, .. } => {
                accounts.into_iter().map(|account| account.name).collect()
            }
        })
    }

    #[test]
    fn who_is_named_counts_before_anybody() {
        let access = access(&[("*", None), ("iqn.a", Some("x")), ("iqn.a", Some("y"))]);
        assert_eq!(users(access.of("iqn.b")), Some(vec![]));
        assert_eq!(
            users(access.of("IQN.A")),
            Some(vec!["x".into(), "y".into()])
        );
    }

    #[test]
    fn a_proof_is_never_skipped_and_strangers_stay_out() {
        let access = access(&[("iqn.a", None), ("iqn.a", Some("x"))]);
        assert_eq!(users(access.of("iqn.a")), Some(vec!["x".into()]));
        assert_eq!(users(access.of("iqn.b")), None);
        assert_eq!(users(Access::default().of("iqn.b")), None);
    }
}
