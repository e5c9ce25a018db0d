//! Events in their JSON form, which are encoded once and never changed.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use workflow_events::{EncodeError, Event, ReadEventError};

pub use workflow_events::Payload;

/// A lifecycle event as the history keeps it and the wire carries it.
///
/// An event is encoded when its record is written, so every delivery of it has the same bytes.
#[derive(Clone, Debug)]
pub struct EncodedEvent(Payload);

impl EncodedEvent {
    /// Encodes `event`.
    ///
    /// # Errors
    ///
    /// When the event has no JSON form. An event that was decoded, or that an engine writes, always
    /// has one.
    pub fn encode(event: &Event) -> Result<Self, EncodeError> {
        Payload::encode(event).map(Self)
    }

    /// Wraps an event's JSON text, for instance from a store.
    ///
    /// # Errors
    ///
    /// When the text is not valid JSON. Whether it is an event is checked by
    /// [`decode`](Self::decode).
    pub fn from_json(json: String) -> Result<Self, serde_json::Error> {
        Payload::from_json(json).map(Self)
    }

    /// Decodes the event.
    ///
    /// # Errors
    ///
    /// When the text is not an event. A text that this crate encoded always is.
    pub fn decode(&self) -> Result<Event, ReadEventError> {
        Event::from_json(self.as_str().as_bytes())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<Box<RawValue>> for EncodedEvent {
    fn from(json: Box<RawValue>) -> Self {
        Self(json.into())
    }
}

impl Serialize for EncodedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
