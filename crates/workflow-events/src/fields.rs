//! Taking typed fields out of a JSON object.

use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::ReadEventError;

/// The fields of an object that may be an event.
pub(crate) struct Fields(Map<String, Value>);

/// The fields of an event that are not read yet, and its type to name in an error.
pub(crate) struct TypedFields {
    type_name: String,
    unread: Map<String, Value>,
}

impl Fields {
    pub(crate) fn with_type(mut self) -> Result<TypedFields, ReadEventError> {
        match self.0.remove("type") {
            Some(Value::String(type_name)) => Ok(TypedFields { type_name, unread: self.0 }),
            Some(_) => Err(ReadEventError::WrongType),
            None => Err(ReadEventError::MissingType),
        }
    }
}

impl TypedFields {
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.unread.remove(name)
    }

    pub(crate) fn type_name(&self) -> &str {
        &self.type_name
    }

    pub(crate) fn convert<T: DeserializeOwned>(&self, field: &'static str, value: Value) -> Result<T, ReadEventError> {
        serde_json::from_value(value).map_err(|error| self.wrong(field, error))
    }

    pub(crate) fn missing(&self, field: &'static str) -> ReadEventError {
        ReadEventError::MissingField { type_name: self.type_name.clone(), field }
    }

    pub(crate) fn wrong(&self, field: &'static str, problem: impl ToString) -> ReadEventError {
        ReadEventError::WrongField { type_name: self.type_name.clone(), field, problem: problem.to_string() }
    }

    pub(crate) fn rest(self) -> Map<String, Value> {
        self.unread
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Reads a field that is there, so that an explicit null is `Some(Value::Null)`.
pub(crate) fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}
