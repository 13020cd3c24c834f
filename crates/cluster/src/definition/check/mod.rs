//! What concerns several values of a definition together.

mod nodes;
mod services;

use super::Definition;
use super::document::Document;
use crate::error::Finding;

pub(super) use nodes::favour;

/// Everything that contradicts something else.
pub(super) fn all(definition: &Definition, document: &Document<'_>, findings: &mut Vec<Finding>) {
    nodes::check(definition, document, findings);
    services::check(definition, document, findings);
}
