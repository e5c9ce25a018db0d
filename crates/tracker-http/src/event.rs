//! `JsonEvent`: an event as the text that is sent.

use std::fmt;

use exact_json::EncodeError;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// An event as JSON text, to the byte as it was encoded or written.
///
/// [`HttpTracker`](crate::HttpTracker) keeps events in this form and in no other, returns them in
/// it, and shows them to its observer in it. Its `Debug` form shows the length only: the text is
/// payload.
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

    /// Takes a text that is JSON already; white space around it is left out, and nothing else is
    /// changed.
    ///
    /// # Errors
    ///
    /// When the text is not one JSON value.
    pub fn from_json(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.into()).map(Self)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the event back.
    ///
    /// # Errors
    ///
    /// When the text is not the JSON of a `T`. Deeper than 128 levels nothing is read, whatever `T`
    /// is.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// Its bytes in a request: the text and a comma.
    pub(crate) fn bytes(&self) -> usize {
        self.as_str().len() + 1
    }
}

/// Two events are the same if they are written the same; `exact_json::same` compares by value.
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
