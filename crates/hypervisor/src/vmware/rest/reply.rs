//! Replies of the REST interface: JSON, in two styles, and errors by their type.
//!
//! Everything here takes bytes from outside: it never panics, and what it does not find is an error, not a default.

use serde_json::Value;
use uuid::Uuid;

use crate::vmware::states::{PowerState, plain};

/// Which of the two styles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `/api`: bare values, and verbs as a query.
    Api,
    /// `/rest`: values in a `value`, and verbs as paths.
    Rest,
}

/// What an error of the interface means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The session is not, or no longer, logged in; at login: wrong name or password.
    Unauthenticated,
    /// The login lacks a privilege.
    Unauthorized,
    /// There is no such object, or no longer.
    NotFound,
    /// It is so already.
    Already,
    /// Its state does not allow it now, or another operation holds it.
    Busy,
    /// Its files or its host cannot be reached.
    Inaccessible,
    /// More than the interface returns at once.
    TooMany,
    /// It had not ended in the time the server gives it.
    TimedOut,
    /// Something broke within the server.
    Failed,
    /// Anything else.
    Other,
}

/// An error of the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) meaning: Meaning,
    /// Its type, in lower case, e.g. `not_found`.
    pub(super) name: String,
    /// The server's text, for people.
    pub(super) text: String,
}

impl Refusal {
    /// Reads an error; none if it is not one of the interface.
    pub(super) fn read(status: u16, body: &[u8]) -> Option<Self> {
        if status < 400 {
            return None;
        }
        let value: Option<Value> = serde_json::from_slice(body).ok();
        // `/api` has `error_type` and `messages`, `/rest` has `type` and them in `value`.
        let kind = value.as_ref().and_then(|value| {
            value
                .get("error_type")
                .or_else(|| value.get("type"))?
                .as_str()
        });
        let name = match kind {
            Some(kind) => kind.rsplit('.').next().unwrap_or(kind).to_ascii_lowercase(),
            // Some servers send a bare 401.
            None if status == 401 && (body.is_empty() || value.is_some()) => {
                "unauthenticated".to_owned()
            }
            None => return None,
        };
        let messages = value.as_ref().and_then(|value| {
            value
                .get("messages")
                .or_else(|| value.get("value")?.get("messages"))?
                .as_array()
        });
        let texts = messages
            .into_iter()
            .flatten()
            .filter_map(|message| message.get("default_message")?.as_str());
        let text = plain(&texts.collect::<Vec<_>>().join(" "));
        let meaning = match name.as_str() {
            "unauthenticated" => Meaning::Unauthenticated,
            "unauthorized" => Meaning::Unauthorized,
            "not_found" => Meaning::NotFound,
            "already_in_desired_state" => Meaning::Already,
            "not_allowed_in_current_state"
            | "resource_busy"
            | "service_unavailable"
            | "concurrent_change" => Meaning::Busy,
            "resource_inaccessible" => Meaning::Inaccessible,
            "unable_to_allocate_resource" => Meaning::TooMany,
            "timed_out" => Meaning::TimedOut,
            _ if status >= 500 => Meaning::Failed,
            _ => Meaning::Other,
        };
        Some(Self {
            meaning,
            name: plain(&name),
            text,
        })
    }

    /// In words: the server's, and the type's name in any case.
    pub(super) fn words(&self) -> String {
        let said = if self.text.is_empty() {
            self.name.clone()
        } else {
            format!("{} ({})", self.text, self.name)
        };
        match self.meaning {
            Meaning::Unauthorized => format!(
                "{said}: the login lacks the privilege; it is granted by a role on the guest or on a folder above it"
            ),
            Meaning::Inaccessible => format!(
                "{said}: its host or its files cannot be reached, so nobody can say whether it runs"
            ),
            _ => said,
        }
    }
}

/// Takes the value out of a reply.
pub(super) fn value(style: Style, body: &[u8]) -> Result<Value, String> {
    // Orders are answered with nothing.
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    let mut value: Value =
        serde_json::from_slice(body).map_err(|error| format!("it is not JSON: {error}"))?;
    match style {
        Style::Api => Ok(value),
        Style::Rest => match value.get_mut("value") {
            Some(inner) => Ok(inner.take()),
            None => Err("it has no `value`".to_owned()),
        },
    }
}

/// The token in the answer to a login. It ends up in a header.
pub(super) fn token(value: &Value) -> Result<String, String> {
    match value.as_str() {
        Some(token) if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(token.to_owned())
        }
        _ => Err("it has no session".to_owned()),
    }
}

/// A guest in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its identifier.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) power: PowerState,
}

/// Reads a list of guests.
pub(super) fn guests(value: &Value) -> Result<Vec<Listed>, String> {
    items(value)?
        .iter()
        .map(|item| {
            Ok(Listed {
                id: identifier(text(item, "vm")?)?,
                name: text(item, "name")?.to_owned(),
                power: PowerState::parse(text(item, "power_state")?),
            })
        })
        .collect()
}

/// Reads a list of things of which only the identifiers matter, in the member `key`.
pub(super) fn identifiers(value: &Value, key: &str) -> Result<Vec<String>, String> {
    items(value)?
        .iter()
        .map(|item| identifier(text(item, key)?))
        .collect()
}

/// What is told of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) name: String,
    pub(super) power: PowerState,
    /// Not told before vCenter 6.7 U1.
    pub(super) uuid: Option<Uuid>,
}

/// Reads what is told of one guest.
pub(super) fn detail(value: &Value) -> Result<Detail, String> {
    let uuid = value
        .get("identity")
        .and_then(|identity| identity.get("bios_uuid")?.as_str());
    Ok(Detail {
        name: text(value, "name")?.to_owned(),
        power: PowerState::parse(text(value, "power_state")?),
        uuid: uuid.and_then(|uuid| Uuid::try_parse(uuid).ok()),
    })
}

/// Reads a power state alone.
pub(super) fn power(value: &Value) -> Result<PowerState, String> {
    text(value, "state").map(PowerState::parse)
}

fn items(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| "it is not a list".to_owned())
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("it has no `{key}`"))
}

/// Identifiers become parts of paths.
fn identifier(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.is_empty()
        || text.len() > 200
        || !text.bytes().all(fits)
        || text.bytes().all(|byte| byte == b'.')
    {
        return Err("it has an identifier that cannot be one".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_are_known_by_their_type_in_either_style() {
        let rest = r#"{"type":"com.vmware.vapi.std.errors.already_in_desired_state","value":{"messages":[{"id":"x",
            "default_message":"Already powered off.","args":[]}]}}"#;
        let api = r#"{"error_type":"ALREADY_IN_DESIRED_STATE","messages":[{"default_message":"Already powered off."}]}"#;
        for body in [rest, api] {
            let refusal = Refusal::read(400, body.as_bytes()).expect("it is one");
            assert_eq!(refusal.meaning, Meaning::Already);
            assert_eq!(
                refusal.words(),
                "Already powered off. (already_in_desired_state)"
            );
        }
        for (kind, meaning) in [
            ("NOT_FOUND", Meaning::NotFound),
            ("UNAUTHORIZED", Meaning::Unauthorized),
            ("UNAUTHENTICATED", Meaning::Unauthenticated),
            ("RESOURCE_BUSY", Meaning::Busy),
            ("NOT_ALLOWED_IN_CURRENT_STATE", Meaning::Busy),
            ("RESOURCE_INACCESSIBLE", Meaning::Inaccessible),
            ("UNABLE_TO_ALLOCATE_RESOURCE", Meaning::TooMany),
            ("TIMED_OUT", Meaning::TimedOut),
            ("INTERNAL_SERVER_ERROR", Meaning::Failed),
        ] {
            let body = format!("{{\"error_type\":\"{kind}\",\"messages\":[]}}");
            assert_eq!(
                Refusal::read(500, body.as_bytes())
                    .expect("it is one")
                    .meaning,
                meaning,
                "{kind}"
            );
        }
        assert_eq!(
            Refusal::read(401, b"").expect("it is one").meaning,
            Meaning::Unauthenticated
        );
        for foreign in [&b"<html>"[..], b"", b"{}", b"[1]", b"{\"error_type\":3}"] {
            assert_eq!(Refusal::read(503, foreign), None);
        }
        assert_eq!(Refusal::read(401, b"<html>who are you"), None);
    }

    #[test]
    fn what_is_missing_is_an_error() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert!(guests(&parse(r#"[{"vm":"vm-1","name":"a"}]"#)).is_err());
        assert!(
            guests(&parse(
                r#"[{"vm":"../x","name":"a","power_state":"POWERED_OFF"}]"#
            ))
            .is_err()
        );
        assert!(guests(&parse(r#"{"vm":"vm-1"}"#)).is_err());
        assert!(detail(&parse(r#"{"name":"a"}"#)).is_err());
        assert!(power(&parse("{}")).is_err());
        assert_eq!(
            power(&parse(r#"{"state":"POWERED_OFF","clean_power_off":true}"#)),
            Ok(PowerState::Off)
        );
        assert!(value(Style::Rest, b"[]").is_err());
        assert!(token(&parse("\"a\\r\\nb: c\"")).is_err());
        let told = detail(&parse(
            r#"{"name":"a","power_state":"SUSPENDED","identity":{"bios_uuid":"6695eb01-f6a4-8304-79aa-97f2502e193f"}}"#,
        ));
        let told = told.expect("it is whole");
        assert_eq!(told.power, PowerState::Suspended);
        assert!(told.uuid.is_some());
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), status: u16) {
            let _ = Refusal::read(status, &bytes);
            let _ = value(Style::Rest, &bytes);
        }
    }
}
