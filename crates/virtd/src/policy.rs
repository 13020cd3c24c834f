//! Who may fence whom: the groups of the configuration.
//!
//! A requester may act on a guest when some group has the requester as a member on the left side
//! (`ip`, or `uuid` for a requester that is known by a UUID) and the guest, as the request names it,
//! as `uuid`. Without any group everyone may fence everyone, as with the C daemon; the daemon says
//! so when it starts. Unlike there a group without members is an error in the configuration and
//! never switches the other groups off (W17).

use std::net::IpAddr;

use uuid::Uuid;

use crate::identity::Identity;

/// A set of requesters and of the guests they may fence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// What it is called, for messages only.
    pub name: Option<String>,
    /// Requesters: addresses, or vsock CIDs.
    pub ips: Vec<String>,
    /// Guests by UUID or name; also requesters that are known by their UUID.
    pub uuids: Vec<String>,
}

impl Group {
    fn has_requester(&self, requester: &Identity) -> bool {
        let text = requester.text();
        if is_uuid_shaped(text) {
            return contains(&self.uuids, text);
        }
        contains(&self.ips, text)
            || requester
                .ip()
                .is_some_and(|ip| self.ips.iter().any(|member| same_address(member, ip)))
    }
}

/// All groups. Every one of them has members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    groups: Vec<Group>,
}

impl Policy {
    /// A policy of these groups; none means that everyone may.
    #[must_use]
    pub const fn new(groups: Vec<Group>) -> Self {
        Self { groups }
    }

    /// Whether everyone may fence everyone, for want of groups.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether `requester` may act on the guest it calls `target`. Only the text counts: a group
    /// that lists a guest's UUID says nothing about its name.
    #[must_use]
    pub fn may(&self, requester: &Identity, target: &str) -> bool {
        self.is_open()
            || self
                .groups
                .iter()
                .any(|group| group.has_requester(requester) && contains(&group.uuids, target))
    }

    /// Whether `requester` may see a guest in a list: by its name or by its UUID.
    #[must_use]
    pub fn may_see(&self, requester: &Identity, name: &str, uuid: &Uuid) -> bool {
        self.may(requester, name) || self.may(requester, &uuid.hyphenated().to_string())
    }
}

fn contains(members: &[String], text: &str) -> bool {
    members
        .iter()
        .any(|member| member.eq_ignore_ascii_case(text))
}

fn same_address(member: &str, ip: IpAddr) -> bool {
    member
        .parse::<IpAddr>()
        .is_ok_and(|member| member.to_canonical() == ip)
}

fn is_uuid_shaped(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALICE: &str = "11111111-1111-4111-8111-111111111111";

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn group(ips: &[&str], uuids: &[&str]) -> Group {
        Group {
            name: None,
            ips: strings(ips),
            uuids: strings(uuids),
        }
    }

    fn at(ip: &str) -> Identity {
        Identity::address(ip.parse().unwrap())
    }

    #[test]
    fn no_groups_let_everyone() {
        assert!(Policy::default().may(&at("10.0.0.1"), "vm1"));
    }

    #[test]
    fn members_of_one_group_may_and_others_may_not() {
        let policy = Policy::new(vec![
            group(&["10.0.0.1"], &["vm1", ALICE]),
            group(&["10.0.0.2"], &["vm2"]),
        ]);
        assert!(policy.may(&at("10.0.0.1"), "VM1"));
        assert!(policy.may(&at("10.0.0.1"), &ALICE.to_uppercase()));
        assert!(!policy.may(&at("10.0.0.1"), "vm2"));
        assert!(!policy.may(&at("10.0.0.11"), "vm1"));
        assert!(policy.may(&at("10.0.0.2"), "vm2"));
    }

    #[test]
    fn addresses_compare_as_addresses() {
        let policy = Policy::new(vec![group(&["FD77:0::2", "::ffff:10.0.0.1"], &["vm1"])]);
        assert!(policy.may(&at("fd77::2"), "vm1"));
        assert!(policy.may(&at("10.0.0.1"), "vm1"));
        assert!(policy.may(&at("::ffff:10.0.0.1"), "vm1"));
        assert!(!policy.may(&at("fd77::3"), "vm1"));
    }

    #[test]
    fn a_group_of_addresses_only_lets_nobody_through() {
        let policy = Policy::new(vec![group(&["10.0.0.1"], &[])]);
        assert!(!policy.may(&at("10.0.0.1"), "vm1"));
    }

    #[test]
    fn a_guest_known_by_uuid_is_a_member_by_uuid_never_by_address() {
        let policy = Policy::new(vec![group(&[], &[ALICE, "vm2"])]);
        assert!(policy.may(&Identity::named(ALICE), "vm2"));
        let by_address = Policy::new(vec![group(&[ALICE], &["vm2"])]);
        assert!(!by_address.may(&Identity::named(ALICE), "vm2"));
    }

    #[test]
    fn lists_go_by_name_or_uuid() {
        let policy = Policy::new(vec![group(&["10.0.0.1"], &[ALICE])]);
        let uuid = ALICE.parse().unwrap();
        assert!(policy.may_see(&at("10.0.0.1"), "vm1", &uuid));
        assert!(!policy.may_see(&at("10.0.0.1"), "vm1", &Uuid::nil()));
    }

    proptest! {
        /// Against the rule written as a sentence over sets.
        #[test]
        fn agrees_with_the_rule(
            groups in proptest::collection::vec(
                (proptest::collection::vec(0u8..4, 0..3), proptest::collection::vec(0u8..4, 0..3)), 0..4),
            who in 0u8..4, target in 0u8..4)
        {
            let policy = Policy::new(groups.iter().map(|(left, right)| Group {
                name: None,
                ips: left.iter().map(|n| format!("10.0.0.{n}")).collect(),
                uuids: right.iter().map(|n| format!("vm{n}")).collect(),
            }).collect());
            let expected = groups.is_empty()
                || groups.iter().any(|(left, right)| left.contains(&who) && right.contains(&target));
            prop_assert_eq!(policy.may(&at(&format!("10.0.0.{who}")), &format!("vm{target}")), expected);
        }
    }
}
