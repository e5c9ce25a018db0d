//! The error of reading an event.

/// The error of a JSON text that is not an [`Event`](crate::Event).
///
/// A second try is useless, because the same bytes always fail in the same way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadEventError {
    /// The text is not JSON, not an object, or an object that names a field twice, which two
    /// readers could understand differently.
    #[error("not a JSON object: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The field `type` is missing.
    #[error("field `type` is missing")]
    MissingType,
    /// The field `type` is not a string.
    #[error("field `type` is not a string")]
    WrongType,
    /// A field is missing that every event, or every event of this type, has.
    #[error("{type_name}: field `{field}` is missing")]
    MissingField {
        /// The `type` of the event.
        type_name: String,
        /// The name of the field on the wire.
        field: &'static str,
    },
    /// A field has a wrong value.
    #[error("{type_name}: field `{field}` is wrong: {problem}")]
    WrongField {
        /// The `type` of the event.
        type_name: String,
        /// The name of the field on the wire.
        field: &'static str,
        /// A description for a person: the value found, and the value expected. The text may quote
        /// the value.
        problem: String,
    },
}
