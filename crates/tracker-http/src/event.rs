//! `JsonEvent`: an event as JSON text.

use std::fmt;

use exact_json::EncodeError;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// An event as JSON text, kept byte for byte.
///
/// [`HttpTracker`](crate::HttpTracker) keeps events in this form only, returns them in this form,
/// and passes them to its observer in this form. The `Debug` form shows only the length, because
/// the text is payload.
///
/// # Examples
///
/// ```
/// use tracker_http::JsonEvent;
///
/// let event = JsonEvent::encode(&("started", 7))?;
/// assert_eq!(event.as_str(), r#"["started",7]"#);
/// assert_eq!(event.decode::<(String, u32)>()?, ("started".to_owned(), 7));
/// assert_eq!(format!("{event:?}"), "JsonEvent(13 bytes)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JsonEvent(Box<RawValue>);

impl JsonEvent {
    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the value has no JSON form; a number that is not finite has none.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        exact_json::encode(value).map(Self)
    }

    /// Creates an event from JSON text. White space around the value is removed; nothing else is
    /// changed.
    ///
    /// # Errors
    ///
    /// An error if the text is not one JSON value.
    pub fn from_json(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.into()).map(Self)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Decodes the event.
    ///
    /// # Errors
    ///
    /// An error if the text is not the JSON of a `T`, or has more than 128 levels.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// Returns the size of the event in a request: the text and a comma.
    pub(crate) fn bytes(&self) -> usize {
        self.as_str().len() + 1
    }
}

/// Two events are equal if their texts are equal; `exact_json::same` compares by value.
impl PartialEq for JsonEvent {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonEvent {}

impl Serialize for JsonEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl fmt::Debug for JsonEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonEvent({} bytes)", self.as_str().len())
    }
}
