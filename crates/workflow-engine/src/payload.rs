//! Values in their JSON form: encoded once, shared, written as they are.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use workflow_events::{Event, ReadEventError};

/// A JSON text that is known to be valid: an input, an output, a step's result, an error.
///
/// Cloning it copies a pointer. Its `Debug` form shows its length: it is payload.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// When `value` has no JSON form.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(|json| Self(json.into()))
    }

    /// Takes a JSON text as it is, for instance from a store.
    ///
    /// # Errors
    ///
    /// When the text is not valid JSON.
    pub fn from_json(json: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(json).map(|json| Self(json.into()))
    }

    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// When the JSON text is not that of a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

/// The JSON text `null`.
impl Default for Payload {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|json| Self(json.into()))
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.as_str().len())
    }
}

/// A lifecycle event as it stands in the history and goes over the wire.
///
/// It is encoded when its record is written, so every delivery and redelivery is the same to the byte.
#[derive(Clone, Debug)]
pub struct EncodedEvent(Payload);

impl EncodedEvent {
    /// Encodes `event`.
    ///
    /// # Errors
    ///
    /// When a value inside has no JSON form.
    pub fn encode(event: &Event) -> Result<Self, serde_json::Error> {
        Payload::encode(event).map(Self)
    }

    /// Takes an event's JSON text as it is, for instance from a store.
    ///
    /// # Errors
    ///
    /// When the text is not valid JSON. Whether it is that of an event shows when it is decoded.
    pub fn from_json(json: String) -> Result<Self, serde_json::Error> {
        Payload::from_json(json).map(Self)
    }

    /// Decodes the event.
    ///
    /// # Errors
    ///
    /// When the text is not that of an event; one that this crate encoded always is.
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
        Self(Payload(json.into()))
    }
}

impl Serialize for EncodedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
