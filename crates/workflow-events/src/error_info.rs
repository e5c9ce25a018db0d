//! An error as lifecycle events carry it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::present;

/// Why a step or a run failed, as data.
///
/// `Display` shows the message alone.
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
    /// Fields that this version does not know, kept as they were read.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ErrorInfo {
    /// An error of which only the message is known.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: None, step_name: None, attempt: None, details: None, extra: Map::new() }
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}
