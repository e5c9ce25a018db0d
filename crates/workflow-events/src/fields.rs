//! Reads typed fields from a JSON object.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::bounds::{WORD_BYTES, cut};
use crate::error::ReadEventError;
use crate::payload::Payload;

/// The fields of an object that may be an event.
pub(crate) struct Fields(BTreeMap<String, Payload>);

/// The fields of an event that are not read yet, and the event's type, which errors name.
pub(crate) struct TypedFields {
    type_name: String,
    unread: BTreeMap<String, Payload>,
}

impl Fields {
    pub(crate) fn with_type(mut self) -> Result<TypedFields, ReadEventError> {
        let type_name = self.0.remove("type").ok_or(ReadEventError::MissingType)?;
        let type_name = type_name.decode().map_err(|_| ReadEventError::WrongType)?;
        Ok(TypedFields {
            type_name,
            unread: self.0,
        })
    }
}

impl TypedFields {
    pub(crate) fn take(&mut self, name: &str) -> Option<Payload> {
        self.unread.remove(name)
    }

    pub(crate) fn type_name(&self) -> &str {
        &self.type_name
    }

    pub(crate) fn convert<T: DeserializeOwned>(
        &self,
        field: &'static str,
        value: &Payload,
    ) -> Result<T, ReadEventError> {
        value.decode().map_err(|error| {
            // The position in the message is one within the field; a reader would take it for a
            // position within the event.
            let problem = error.to_string();
            self.wrong(
                field,
                problem
                    .rsplit_once(" at line ")
                    .map_or(problem.as_str(), |(problem, _)| problem),
            )
        })
    }

    pub(crate) fn missing(&self, field: &'static str) -> ReadEventError {
        ReadEventError::MissingField {
            type_name: self.type_name.clone(),
            field,
        }
    }

    pub(crate) fn wrong(&self, field: &'static str, problem: impl ToString) -> ReadEventError {
        let problem = cut(&problem.to_string(), WORD_BYTES).into_owned();
        ReadEventError::WrongField {
            type_name: self.type_name.clone(),
            field,
            problem,
        }
    }

    pub(crate) fn rest(self) -> BTreeMap<String, Payload> {
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
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = entries.next_entry::<String, Payload>()? {
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
