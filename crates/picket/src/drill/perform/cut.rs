//! Whether a node is cut off from its disks, by what their server says of reservations.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lab::Reserved;

use super::CutOff;

/// What serves the disks.
const BY: &str = "picket-target";
/// A reservation under which the disk takes writes of registered nodes only, as its server calls it.
const REGISTRANTS_ONLY: &str = "registrants only";

/// The disks at which a node was registered before it failed. They keep it out once its registrations are gone.
#[derive(Debug, Default)]
pub(super) struct Guards {
    disks: Vec<Guard>,
}

#[derive(Debug)]
struct Guard {
    disk: String,
    /// Under which names the node was registered, and with which keys.
    initiators: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl Guards {
    pub(super) fn of(all: &[Reserved], node: &str) -> Self {
        let guards = all.iter().map(|one| {
            let own = || {
                let all = one.registrations.iter();
                all.filter(|registration| registration.node.as_deref() == Some(node))
            };
            Guard {
                disk: one.disk.clone(),
                initiators: own().map(|one| one.initiator.clone()).collect(),
                keys: own().map(|one| one.key.clone()).collect(),
            }
        });
        Self {
            disks: guards.filter(|guard| !guard.keys.is_empty()).collect(),
        }
    }

    pub(super) const fn any(&self) -> bool {
        !self.disks.is_empty()
    }

    /// The proof that the node is cut off from each of them: it is not registered, and a reservation lets only those
    /// write who are.
    pub(super) fn cut_off(&self, all: &[Reserved]) -> Option<CutOff> {
        let mut last = None;
        for guard in &self.disks {
            let now = all.iter().find(|one| one.disk == guard.disk)?;
            let reservation = now.reservation.as_ref()?;
            let registered = now.registrations.iter().any(|one| {
                guard.initiators.contains(&one.initiator) || guard.keys.contains(&one.key)
            });
            if registered || !reservation.ends_with(REGISTRANTS_ONLY) {
                return None;
            }
            let holder = now.registrations.iter().find(|one| one.holds)?;
            let whose = holder.node.as_deref().unwrap_or(&holder.initiator);
            last = Some((reservation.clone(), format!("{} of {whose}", holder.key)));
        }
        let (reservation, holder) = last?;
        let keys: BTreeSet<_> = self.disks.iter().flat_map(|guard| &guard.keys).collect();
        Some(CutOff {
            keys: keys.into_iter().cloned().collect(),
            disks: self.disks.iter().map(|guard| guard.disk.clone()).collect(),
            reservation,
            holder,
            by: BY.to_owned(),
            at: Timestamp::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use lab::Registration;

    use super::*;

    const TYPE: &str = "Write Exclusive, registrants only";

    fn registration(node: &str, holds: bool) -> Registration {
        Registration {
            initiator: format!("iqn.a:{node}"),
            node: Some(node.to_owned()),
            key: format!("0x1{}", &node[1..]),
            holds,
        }
    }

    fn disk(reservation: Option<&str>, registrations: Vec<Registration>) -> Vec<Reserved> {
        vec![Reserved {
            disk: "disk".to_owned(),
            reservation: reservation.map(str::to_owned),
            registrations,
        }]
    }

    fn guards() -> Guards {
        let before = disk(
            Some(TYPE),
            vec![registration("n1", true), registration("n2", false)],
        );
        Guards::of(&before, "n1")
    }

    #[test]
    fn a_node_that_is_registered_no_more_is_cut_off() {
        let now = disk(Some(TYPE), vec![registration("n2", true)]);
        let cut = guards().cut_off(&now).unwrap();
        assert_eq!(cut.keys, ["0x11"]);
        assert_eq!(cut.holder, "0x12 of n2");
    }

    #[test]
    fn nothing_less_will_do() {
        let other = || vec![registration("n2", true)];
        let both = vec![registration("n1", false), registration("n2", true)];
        let nobody_holds = vec![registration("n2", false)];
        for now in [
            disk(Some(TYPE), both),
            disk(None, other()),
            disk(Some("Exclusive Access"), other()),
            disk(Some(TYPE), nobody_holds),
            Vec::new(),
        ] {
            assert_eq!(guards().cut_off(&now), None, "{now:?}");
        }
    }

    #[test]
    fn who_was_never_registered_is_not_cut_off() {
        let guards = Guards::of(&disk(Some(TYPE), vec![registration("n2", true)]), "n1");
        assert!(!guards.any());
        assert_eq!(guards.cut_off(&disk(Some(TYPE), Vec::new())), None);
    }
}
