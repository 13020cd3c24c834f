//! The JSON schema of a definition.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use crate::definition::{SECTIONS, Shape};

/// The JSON schema (draft 7, which editors know best) of `cluster.toml`, for editors and for checks by other
/// tools. What it accepts may still be refused: it knows single values, not what they mean together.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<Shape>();
    RecursiveTransform(without_null).transform(&mut schema);
    RecursiveTransform(with_aliases).transform(&mut schema);
    RecursiveTransform(on_one_line).transform(&mut schema);
    schema.to_value()
}

/// The tables of a definition in the order in which it is best read, and whether each is a list (`[[node]]`).
pub fn tables() -> impl Iterator<Item = (&'static str, bool)> {
    SECTIONS.into_iter()
}

/// TOML has no null: what may be absent is not required, and that is all.
fn without_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|one| one != "null"));
    if choices.len() == 1 {
        let only = choices.remove(0);
        schema.remove("anyOf");
        schema.insert("allOf".to_owned(), Value::Array(vec![only]));
    }
}

/// Where a line of the source ends says nothing.
fn on_one_line(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// A value that may be written in several ways lists them all in `enum`.
fn with_aliases(schema: &mut Schema) {
    if schema.get("enum").is_some() {
        schema.remove("const");
    }
}
