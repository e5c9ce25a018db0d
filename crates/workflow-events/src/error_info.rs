use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::present;

/// Why a step or a run failed, as data.
///
/// `Display` shows the message alone.
/// **A field that is not listed here is not kept on reading**, unlike an unknown field of the
/// event itself: what has no field of its own belongs into [`details`](Self::details).
///
/// # Examples
///
/// ```
/// use workflow_events::ErrorInfo;
///
/// let error = ErrorInfo { kind: Some("card_declined".into()), ..ErrorInfo::new("no funds") };
/// assert_eq!(serde_json::to_string(&error)?, r#"{"message":"no funds","kind":"card_declined"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorInfo {
    /// What a person reads.
    pub message: String,
    /// What a program compares: a stable class of error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The step that failed. Only in the error of a run; a step's own event names the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_name: Option<String>,
    /// The attempt that failed, counted from 1. Only in the error of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Anything more. `Some(Value::Null)` is a null that was there, `None` is nothing.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl ErrorInfo {
    /// An error of which only the message is known.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: None, step_name: None, attempt: None, details: None }
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}
