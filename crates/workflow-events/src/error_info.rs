//! The error in a lifecycle event.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::payload::Payload;

/// The names of the typed fields.
const KNOWN_FIELDS: [&str; 5] = ["message", "kind", "stepName", "attempt", "details"];

/// The error of a step or a run, as data.
///
/// `Display` shows the message alone.
///
/// # Examples
///
/// ```
/// use workflow_events::ErrorInfo;
///
/// let error = ErrorInfo { kind: Some("card_declined".into()), ..ErrorInfo::new("no funds") };
/// assert_eq!(serde_json::to_string(&error)?, r#"{"message":"no funds","kind":"card_declined"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorInfo {
    /// The text for a person.
    pub message: String,
    /// A stable class of error, for a program to compare.
    pub kind: Option<String>,
    /// The step that failed. Present only in the error of a run, because a step's own event names
    /// the step.
    pub step_name: Option<String>,
    /// The attempt that failed, counted from 1. Present only in the error of a run.
    pub attempt: Option<u32>,
    /// Additional details, as they were written. A `null` on the wire is `Some`; `None` means that
    /// the field is absent.
    pub details: Option<Payload>,
    /// Fields that this version does not know, kept as they were read. An entry with the name of a
    /// typed field is not written.
    pub extra: BTreeMap<String, Payload>,
}

impl ErrorInfo {
    /// Creates an error that has only a message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: None,
            step_name: None,
            attempt: None,
            details: None,
            extra: BTreeMap::new(),
        }
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

/// Written by hand, because a derived flattened field would read every number as a 64-bit integer
/// or a float.
impl Serialize for ErrorInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message", &self.message)?;
        if let Some(kind) = &self.kind {
            map.serialize_entry("kind", kind)?;
        }
        if let Some(step_name) = &self.step_name {
            map.serialize_entry("stepName", step_name)?;
        }
        if let Some(attempt) = &self.attempt {
            map.serialize_entry("attempt", attempt)?;
        }
        if let Some(details) = &self.details {
            map.serialize_entry("details", details)?;
        }
        // The name of a typed field would otherwise appear twice in the object.
        for (name, value) in self
            .extra
            .iter()
            .filter(|(name, _)| !KNOWN_FIELDS.contains(&name.as_str()))
        {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ErrorInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = ErrorInfo;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error with a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ErrorInfo, A::Error> {
                let mut message = None;
                let mut error = ErrorInfo::new("");
                while let Some(name) = entries.next_key::<String>()? {
                    match name.as_str() {
                        "message" => message = Some(entries.next_value()?),
                        "kind" => error.kind = entries.next_value()?,
                        "stepName" => error.step_name = entries.next_value()?,
                        "attempt" => error.attempt = entries.next_value()?,
                        "details" => error.details = Some(entries.next_value()?),
                        _ => drop(error.extra.insert(name, entries.next_value()?)),
                    }
                }
                let message = message.ok_or_else(|| A::Error::missing_field("message"))?;
                Ok(ErrorInfo { message, ..error })
            }
        }

        deserializer.deserialize_map(Object)
    }
}
