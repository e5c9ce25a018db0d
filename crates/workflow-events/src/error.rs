//! Why a text is not an event.

/// Why a piece of JSON is not an [`Event`](crate::Event).
///
/// None of these is worth a second try: the same bytes fail the same way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadEventError {
    /// It is not JSON, not an object, or an object that names a field twice, which two readers
    /// could understand differently.
    #[error("not a JSON object: {0}")]
    Malformed(#[from] serde_json::Error),
    /// There is no `type`.
    #[error("field `type` is missing")]
    MissingType,
    /// The `type` is not a string.
    #[error("field `type` is not a string")]
    WrongType,
    /// A field that every event, or every event of this type, has.
    #[error("{type_name}: field `{field}` is missing")]
    MissingField {
        /// The `type` of the event.
        type_name: String,
        /// The name of the field on the wire.
        field: &'static str,
    },
    /// A field whose value does not fit.
    #[error("{type_name}: field `{field}` is wrong: {problem}")]
    WrongField {
        /// The `type` of the event.
        type_name: String,
        /// The name of the field on the wire.
        field: &'static str,
        /// What was found and what was expected, for a person. It may quote the value.
        problem: String,
    },
}
