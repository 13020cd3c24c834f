//! The JSON schema of a definition.

use schemars::generate::SchemaSettings;

use crate::definition::Shape;

/// The JSON schema (draft 2020-12) of `cluster.toml`, for editors and for checks by other tools. What it
/// accepts may still be refused: it knows single values, not what they mean together.
#[must_use]
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Shape>()
        .to_value()
}
