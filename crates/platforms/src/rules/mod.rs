//! The rules that no single row of the matrix expresses, one file for each subject.

use crate::rule::Rule;

/// All rules, in the order in which they are applied.
pub const RULES: &[Rule] = &[];
