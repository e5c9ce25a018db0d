//! Values as JSON text: encoded once, shared, and written unchanged.

use std::fmt;
use std::sync::Arc;

use exact_json::EncodeError;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, forward_to_deserialize_any};
use serde_json::Value;
use serde_json::value::RawValue;

/// A valid JSON text: an input, an output, a step's result, the details of an error.
///
/// The text is kept and written unchanged: a number keeps all of its digits, and nesting has no
/// limit. Two payloads are equal if they have the same value: white space and the order of an
/// object's fields do not count, but every digit of a number does. Cloning a payload copies a
/// pointer. The `Debug` form shows only the length, because the text is private data of the user.
///
/// # Examples
///
/// ```
/// use workflow_events::Payload;
///
/// let input = Payload::encode(&(u128::MAX, "tea"))?;
/// assert_eq!(input.as_str(), r#"[340282366920938463463374607431768211455,"tea"]"#);
/// assert_eq!(input.decode::<(u128, String)>()?.0, u128::MAX);
///
/// assert_eq!(Payload::from_json(r#"{"a":1,"b":2.50}"#.into())?, Payload::from_json(r#"{ "b": 2.5, "a": 1 }"#.into())?);
/// assert!(Payload::encode(&f64::NAN).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `value` has no JSON form; a number that is not finite has none.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        exact_json::encode(value).map(Self::from)
    }

    /// Creates a payload from JSON text, for instance from a store.
    ///
    /// # Errors
    ///
    /// An error if the text is not valid JSON.
    pub fn from_json(json: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(json).map(Self::from)
    }

    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// An error if the text is not the JSON of a `T`, or has more than 127 levels.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Returns the depth of nested arrays and objects; 0 for a value without any.
    pub fn depth(&self) -> usize {
        exact_json::depth(self.as_str())
    }

    /// Returns whether the value is `null`.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }
}

/// The JSON text `null`.
impl Default for Payload {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }
}

impl From<Box<RawValue>> for Payload {
    fn from(json: Box<RawValue>) -> Self {
        Self(json.into())
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        // Every `Value` has a valid JSON text, so the default is never used.
        RawValue::from_string(value.to_string())
            .map(Self::from)
            .unwrap_or_default()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || exact_json::same(self.as_str(), other.as_str())
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.as_str().len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    /// Keeps the text as it is written, if `serde_json` reads it directly. If serde has already
    /// parsed the value, as for an enum with an internal tag or a flattened field, numbers are as
    /// serde has parsed them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(Lenient(deserializer)).map(Self::from)
    }
}

/// A deserializer that offers a raw value even if the inner one is not that of `serde_json`.
struct Lenient<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<D> {
    type Error = D::Error;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0
            .deserialize_newtype_struct(name, Raw { name, visitor })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A visitor that reads a raw value. `serde_json` offers one as a map; any other deserializer
/// offers its own value.
struct Raw<V> {
    name: &'static str,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Raw<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(map)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let value = Value::deserialize(deserializer)?;
        value
            .deserialize_newtype_struct(self.name, self.visitor)
            .map_err(D::Error::custom)
    }
}
