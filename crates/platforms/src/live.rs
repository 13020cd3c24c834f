//! What was seen of a running cluster, and goes before what its definition says.

/// Where a member was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeenAt {
    /// It runs on this host; by the definition's name of it, if it has one.
    Host(String),
    /// It did not run.
    Nowhere,
    /// Nobody could say, for this reason.
    Unknown(String),
}

/// A member that is a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMember {
    /// The node's name.
    pub node: String,
    /// Where it was seen.
    pub at: SeenAt,
    /// The only hosts on which it may run, by the definition's names; empty: any. None: not known.
    pub pinned_to: Option<Vec<String>>,
}

/// Where the members of a cluster run and may run, as the platform said at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Every member that is a guest.
    pub members: Vec<LiveMember>,
    /// Whether something keeps all members apart, on every platform that can: a rule that is in force, or
    /// pins. None: not known, or the platform has nothing of the kind.
    pub kept_apart: Option<bool>,
}

impl Live {
    /// The member of that name.
    #[must_use]
    pub fn member(&self, node: &str) -> Option<&LiveMember> {
        self.members.iter().find(|member| member.node == node)
    }
}
