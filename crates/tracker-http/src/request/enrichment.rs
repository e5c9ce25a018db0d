//! The fields that a transport adds to every event.

use exact_json::{EncodeError, Member, members};
use serde_json::{Map, Value};

use crate::event::JsonEvent;

/// The fields that the configuration adds to every event; they replace fields of the same name.
#[derive(Clone, Default)]
pub(crate) struct Enrichment {
    fields: Map<String, Value>,
    /// The encoded fields, without braces: `"env":"prod","serviceKey":"k"`.
    encoded: String,
}

/// The error of an event that cannot be part of a request.
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

    /// Returns the value of a configured field.
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

    /// Appends the JSON object `event` with the fields added; every other member stays as it is
    /// written.
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

    /// Returns whether this member is replaced by a configured field. A name with invalid escapes
    /// is never that of a configured field.
    fn has(&self, member: &Member<'_>) -> bool {
        // A name without escapes needs no decoding, only its quotes removed.
        if !member.key.contains('\\') {
            return self.fields.contains_key(member.key.trim_matches('"'));
        }
        member
            .name()
            .is_some_and(|name| self.fields.contains_key(&name))
    }
}
