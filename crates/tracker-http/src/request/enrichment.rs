//! The fields that a transport adds to every event.

use exact_json::{EncodeError, Member, members};
use serde_json::{Map, Value};

use crate::event::JsonEvent;

/// The fields that the configuration adds to every event; they win over fields of the same name.
#[derive(Clone, Default)]
pub(crate) struct Enrichment {
    fields: Map<String, Value>,
    /// The fields as they stand behind the opening brace: `"env":"prod","serviceKey":"k"`.
    encoded: String,
}

/// Why an event cannot be part of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitEventError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("it is not a JSON object, so no field can be added to it")]
    NotAnObject,
}

impl Enrichment {
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.fields.insert(name.into(), Value::String(value));
        let object = Value::Object(self.fields.clone()).to_string();
        self.encoded = object[1..object.len() - 1].to_owned();
    }

    /// Returns the value of a field, if it is configured.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// Returns whether no field is configured.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Checks that the fields can be added to `event`.
    pub(crate) fn check(&self, event: &JsonEvent) -> Result<(), UnfitEventError> {
        if self.fields.is_empty() || event.as_str().starts_with('{') {
            Ok(())
        } else {
            Err(UnfitEventError::NotAnObject)
        }
    }

    /// Appends the event that stands in `event` as JSON, with the fields added; every other member
    /// stays as written.
    pub(crate) fn append(&self, body: &mut Vec<u8>, event: &str) -> Result<(), UnfitEventError> {
        let members = members(event).ok_or(UnfitEventError::NotAnObject)?;
        body.push(b'{');
        body.extend_from_slice(self.encoded.as_bytes());
        for member in members.iter().filter(|member| !self.has(member)) {
            body.push(b',');
            body.extend_from_slice(member.key.as_bytes());
            body.push(b':');
            body.extend_from_slice(member.value.as_bytes());
        }
        body.push(b'}');
        Ok(())
    }

    /// Whether the configuration has a field of this member's name. A name that is no text is
    /// nobody else's.
    fn has(&self, member: &Member<'_>) -> bool {
        // The name without its quotes is enough, and costs nothing, where it has no escapes.
        if !member.key.contains('\\') {
            return self.fields.contains_key(member.key.trim_matches('"'));
        }
        member
            .name()
            .is_some_and(|name| self.fields.contains_key(&name))
    }
}
