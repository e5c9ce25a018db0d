//! The event: its envelope and its kind.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::error::ReadEventError;
use crate::fields::Fields;
use crate::kind::EventKind;
use crate::payload::Payload;
use crate::timestamp::Timestamp;
use crate::wire::{optional, required};

/// The `source` of every event that a workflow engine emits.
pub const SOURCE: &str = "workflow";

/// The names of the envelope's fields, which every event has.
const ENVELOPE_FIELDS: [&str; 8] = [
    "eventId",
    "timestamp",
    "source",
    "type",
    "workflowId",
    "workflowName",
    "executionId",
    "seq",
];

/// One lifecycle event of one run.
///
/// On the wire an event is one flat JSON object with camelCase names: the envelope, then the fields
/// of the [kind](EventKind), then [`extra`](Self::extra), always in this order.
///
/// # Examples
///
/// ```
/// use workflow_events::{Event, EventKind, SOURCE};
///
/// let event = Event {
///     event_id: "0197a3c0-5c00-7000-8000-000000000001".parse()?,
///     timestamp: "2026-03-01T12:00:00Z".parse()?,
///     source: SOURCE.into(),
///     workflow_id: "run-1".into(),
///     workflow_name: "order".into(),
///     execution_id: None,
///     seq: 2,
///     kind: EventKind::StepStarted { step_name: "charge".into(), attempt: 1 },
///     extra: Default::default(),
/// };
/// assert_eq!(
///     serde_json::to_string(&event)?,
///     concat!(
///         r#"{"eventId":"0197a3c0-5c00-7000-8000-000000000001","#,
///         r#""timestamp":"2026-03-01T12:00:00.000Z","source":"workflow","type":"step.started","#,
///         r#""workflowId":"run-1","workflowName":"order","seq":2,"stepName":"charge","attempt":1}"#,
///     ),
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The key for dropping duplicates: the same id in every redelivery. The engine writes a
    /// UUIDv7; reading accepts any UUID.
    pub event_id: Uuid,
    /// The time of the event, by the engine's clock. Only [`seq`](Self::seq) decides the order of
    /// events, never the time.
    pub timestamp: Timestamp,
    /// The emitter of the event: [`SOURCE`], or the text that was read.
    pub source: Cow<'static, str>,
    /// The id of the run.
    pub workflow_id: String,
    /// The name of the definition that the run executes.
    pub workflow_name: String,
    /// The correlation id given at start. An absent id is omitted on the wire.
    pub execution_id: Option<String>,
    /// The place in the run's history, contiguous from 1. Reading refuses 0.
    pub seq: u64,
    /// The type of the event, and the fields of that type.
    pub kind: EventKind,
    /// All other fields, kept and written back as they were read: `env` and `serviceKey`, the
    /// fields of an [unknown type](EventKind::Unknown), and fields of later versions. An entry with
    /// the name of a field of the envelope or the kind is not written.
    pub extra: BTreeMap<String, Payload>,
}

impl Event {
    /// Reads one event from the text of one JSON object.
    ///
    /// # Errors
    ///
    /// [`ReadEventError`] names the type and the field that is missing or wrong. An unknown type or
    /// an unknown field is never an error.
    pub fn from_json(json: &[u8]) -> Result<Self, ReadEventError> {
        Self::from_fields(serde_json::from_slice(json)?)
    }

    /// Reads one event from a JSON value, for instance one element of a batch. Numbers are those of
    /// the `Value`, which turns a number that does not fit into 64 bits into a float;
    /// [`from_json`](Self::from_json) keeps every digit.
    ///
    /// # Errors
    ///
    /// The same errors as [`from_json`](Self::from_json).
    pub fn from_value(value: Value) -> Result<Self, ReadEventError> {
        Self::from_fields(serde_json::from_value(value)?)
    }

    fn from_fields(fields: Fields) -> Result<Self, ReadEventError> {
        let mut fields = fields.with_type()?;
        Ok(Self {
            event_id: required::read(&mut fields, "eventId")?,
            timestamp: required::read(&mut fields, "timestamp")?,
            source: match required::read::<String>(&mut fields, "source")? {
                source if source == SOURCE => Cow::Borrowed(SOURCE),
                source => Cow::Owned(source),
            },
            workflow_id: required::read(&mut fields, "workflowId")?,
            workflow_name: required::read(&mut fields, "workflowName")?,
            execution_id: optional::read(&mut fields, "executionId")?,
            seq: match required::read(&mut fields, "seq")? {
                0 => return Err(fields.wrong("seq", "the first place is 1, not 0")),
                seq => seq,
            },
            kind: EventKind::read(&mut fields)?,
            extra: fields.rest(),
        })
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("eventId", self.event_id.as_hyphenated())?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", self.kind.type_name())?;
        map.serialize_entry("workflowId", &self.workflow_id)?;
        map.serialize_entry("workflowName", &self.workflow_name)?;
        optional::write(&mut map, "executionId", &self.execution_id)?;
        map.serialize_entry("seq", &self.seq)?;
        self.kind.write(&mut map)?;
        // The name of a typed field would otherwise appear twice in the object, and no reader would
        // accept that.
        let kind_fields = self.kind.field_names();
        for (name, value) in &self.extra {
            if !ENVELOPE_FIELDS.contains(&name.as_str()) && !kind_fields.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Event {
    /// Reads as [`Event::from_json`] does; the error keeps its text, but not its type.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_fields(Fields::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
