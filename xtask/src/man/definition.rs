//! cluster.toml(5), from the JSON schema, which is made from the types that read a definition.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The page.
pub(super) fn page() -> Result<String> {
    let schema = cluster::schema();
    let mut text = String::from(
        ".TH cluster.toml 5 \"\" \"Picket\"\n\
         .SH NAME\ncluster.toml \\- the definition of a guest cluster\n\
         .SH DESCRIPTION\n",
    );
    paragraph(&mut text, description(&schema));
    text.push_str(
        "It is read by\n.BR picket (1).\n\
         The file is TOML (see https://toml.io): tables in brackets, then keys with values; double brackets\n\
         begin one more entry of a list.\n\
         Tables and keys without which a definition is refused are marked as required.\n\
         .PP\nA JSON schema for editors is printed by\n.BR \"picket render \\-\\-schema\" .\n\
         .SH EXAMPLE\n.nf\n",
    );
    for line in include_str!("../../../examples/web.toml").lines() {
        let _ = writeln!(text, "\\&{}", escaped(line));
    }
    text.push_str(".fi\n.SH TABLES\n");
    for (name, is_list) in cluster::tables() {
        let table = &schema["properties"][name];
        let content = if is_list { &table["items"] } else { table };
        let header = if is_list {
            format!("[[{name}]]")
        } else {
            format!("[{name}]")
        };
        let required = is_required(&schema, name);
        section(
            &mut text,
            &schema,
            &header,
            description(table),
            required,
            content,
        )
        .with_context(|| format!("failed to describe {header}"))?;
    }
    text.push_str(
        ".SH SEE ALSO\n.BR picket (1),\n.BR fence_virtd (8),\n.BR fence_virt.conf (5),\n.BR corosync.conf (5),\n.BR pacemaker (7)\n",
    );
    Ok(text)
}

/// One table, and after it the lists of tables within it.
fn section(
    text: &mut String,
    schema: &Value,
    header: &str,
    about: &str,
    required: bool,
    table: &Value,
) -> Result<()> {
    let table = resolved(schema, table);
    let _ = writeln!(text, ".SS \"{}\"", escaped(header));
    paragraph(text, about);
    if required {
        text.push_str("Required.\n");
    }
    let properties = table["properties"]
        .as_object()
        .context("a table has no keys")?;
    let first: Vec<&str> = table["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let others = properties
        .keys()
        .map(String::as_str)
        .filter(|key| !first.contains(key));
    let mut inner = Vec::new();
    for key in first.iter().copied().chain(others) {
        let property = &properties[key];
        let entries = resolved(schema, &property["items"]);
        if entries["properties"].is_object() {
            inner.push((key, property));
        } else {
            entry(text, schema, key, property, first.contains(&key))?;
        }
    }
    let name = header.trim_matches(['[', ']']);
    for (key, property) in inner {
        let header = format!("[[{name}.{key}]]");
        section(
            text,
            schema,
            &header,
            description(property),
            false,
            &property["items"],
        )?;
    }
    Ok(())
}

/// One key: what it takes, what it means, its default.
fn entry(
    text: &mut String,
    schema: &Value,
    key: &str,
    property: &Value,
    required: bool,
) -> Result<()> {
    let content = resolved(schema, property);
    let _ = writeln!(
        text,
        ".TP\n\\fB{}\\fR = \\fI{}\\fR",
        escaped(key),
        escaped(&takes(schema, property))
    );
    paragraph(text, description(property));
    if required {
        text.push_str("Required.\n");
    }
    if let Some(default) = property.get("default") {
        let _ = writeln!(text, "Default: \\fB{}\\fR.", escaped(&default.to_string()));
    }
    if let Some(examples) = content["examples"].as_array() {
        let all: Vec<_> = examples
            .iter()
            .map(|example| format!("\\fB{}\\fR", escaped(&example.to_string())))
            .collect();
        let _ = writeln!(text, "For example {}.", all.join(" or "));
    }
    if let Some(choices) = content["oneOf"].as_array() {
        text.push_str(".RS\n");
        for choice in choices {
            let spellings: Vec<_> = spellings(choice)
                .iter()
                .map(|word| format!("\\fB{}\\fR", escaped(word)))
                .collect();
            let _ = writeln!(text, ".TP\n{}", spellings.join(" or "));
            paragraph(text, description(choice));
        }
        text.push_str(".RE\n");
    } else if content["properties"].is_object() {
        text.push_str(".RS\n");
        let required = |key: &str| is_required(content, key);
        for (key, property) in content["properties"].as_object().context("no keys")? {
            entry(text, schema, key, property, required(key))?;
        }
        text.push_str(".RE\n");
    }
    Ok(())
}

/// How a value may be written.
fn spellings(choice: &Value) -> Vec<String> {
    let one = choice.get("const").into_iter();
    let several = choice["enum"].as_array().into_iter().flatten();
    one.chain(several).map(Value::to_string).collect()
}

/// In a few words, what a key takes.
fn takes(schema: &Value, property: &Value) -> String {
    let content = resolved(schema, property);
    if content["oneOf"].is_array() {
        return "one of these".to_owned();
    }
    if let Some(choices) = content["anyOf"].as_array() {
        let all: Vec<_> = choices.iter().map(|choice| takes(schema, choice)).collect();
        return all.join(" or ");
    }
    match content["type"].as_str() {
        Some("array") => format!("array of {}", takes(schema, &content["items"])),
        Some("string") => "text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => match (content["minimum"].as_i64(), content["maximum"].as_i64()) {
            (Some(least), Some(most)) => format!("number from {least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("object") => "table".to_owned(),
        _ => "text, number, true or false".to_owned(),
    }
}

/// What a reference refers to; anything else is itself.
fn resolved<'a>(schema: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"]
        .as_str()
        .or_else(|| value["allOf"][0]["$ref"].as_str());
    reference
        .and_then(|reference| schema.pointer(reference.trim_start_matches('#')))
        .unwrap_or(value)
}

fn description(value: &Value) -> &str {
    value["description"].as_str().unwrap_or_default()
}

fn is_required(table: &Value, key: &str) -> bool {
    table["required"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one == key))
}

/// A paragraph, with what stands between backticks in bold.
fn paragraph(text: &mut String, words: &str) {
    for (number, part) in words.split('`').enumerate() {
        let part = escaped(part);
        if number % 2 == 1 {
            let _ = write!(text, "\\fB{part}\\fR");
        } else {
            text.push_str(&part);
        }
    }
    text.push('\n');
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('"', "\\(dq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_key_is_described() {
        let page = page().unwrap();
        let schema = cluster::schema();
        for (name, _) in cluster::tables() {
            assert!(page.contains(&format!("[{}]", escaped(name))), "{name}");
        }
        for (name, definition) in schema["definitions"].as_object().unwrap() {
            for (key, property) in definition["properties"].as_object().into_iter().flatten() {
                assert!(
                    !description(property).is_empty(),
                    "{name}.{key} is not explained"
                );
                let listed = page.contains(&format!("\\fB{}\\fR = ", escaped(key)));
                let nested = page.contains(&format!(".{key}]]"));
                assert!(listed || nested, "{name}.{key} is missing");
            }
        }
        for word in ["ovirt", "checkpoint", "qcow2\\-image", "ffsplit"] {
            assert!(page.contains(word), "{word}");
        }
    }
}
