//! Cuts errors and events to their bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::bounds::{
    DETAILS_BYTES, DETAILS_DEPTH, EXTRA_BYTES, MAX_MARK_BYTES, MESSAGE_BYTES, WORD_BYTES, cut,
    json_bytes, mark,
};
use crate::error_info::ErrorInfo;
use crate::kind::EventKind;
use crate::payload::Payload;
use crate::reason::{PauseReason, ResumeReason};

/// The name of the field that counts the missing fields of an error.
const CUT_FIELDS_NAME: &str = "…";

impl ErrorInfo {
    /// Returns the error within the bounds of an event: each part that is longer than its bound is
    /// cut, and ends with a mark.
    ///
    /// Details that are too large or too deep become a text: the beginning of their JSON form. An
    /// extra field that is too large becomes a text with a mark. If there are too many extra
    /// fields, the rest is counted under the name `…`.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut_each([&mut self.message], MESSAGE_BYTES);
        cut_each(self.kind.iter_mut().chain(&mut self.step_name), WORD_BYTES);
        if let Some(details) = self.details.take() {
            let is_small =
                details.as_str().len() <= DETAILS_BYTES && details.depth() <= DETAILS_DEPTH;
            let as_text = |details: &Payload| text(&cut(details.as_str(), DETAILS_BYTES - 2));
            self.details = Some(if is_small { details } else { as_text(&details) });
        }
        self.extra = bounded_fields(std::mem::take(&mut self.extra));
        self
    }
}

fn bounded_fields(fields: BTreeMap<String, Payload>) -> BTreeMap<String, Payload> {
    let size = |name: &str, value: &Payload| {
        name.chars().map(json_bytes).sum::<usize>() + value.as_str().len() + "\"\":,".len()
    };
    let is_flat = |value: &Payload| value.depth() <= DETAILS_DEPTH;
    if fields
        .iter()
        .map(|(name, value)| size(name, value))
        .sum::<usize>()
        <= EXTRA_BYTES
        && fields.values().all(is_flat)
    {
        return fields;
    }
    // Some room is reserved for the count of missing fields.
    let mut room = EXTRA_BYTES - 2 * MAX_MARK_BYTES;
    let mut missing = 0_usize;
    let mut kept = BTreeMap::new();
    for (name, value) in fields {
        let fits = |value: &Payload| is_flat(value) && size(&name, value) <= room;
        let value = if fits(&value) {
            value
        } else {
            text(&mark(value.as_str().len()))
        };
        if !fits(&value) {
            missing += 1;
            continue;
        }
        room -= size(&name, &value);
        kept.insert(name, value);
    }
    if missing > 0 {
        kept.insert(
            CUT_FIELDS_NAME.to_owned(),
            text(&format!("({missing} fields cut)")),
        );
    }
    kept
}

/// Returns the payload of a text.
fn text(text: &str) -> Payload {
    serde_json::Value::from(text).into()
}

impl EventKind {
    /// Returns the event within its bounds: each part that is longer than its bound is cut, and
    /// ends with a mark.
    ///
    /// Inputs, outputs and the fields of an unknown type stay as they are.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        match &mut self {
            Self::WorkflowQueued { .. } | Self::WorkflowStarted { .. } | Self::Unknown { .. } => {}
            Self::WorkflowPaused {
                reason, step_name, ..
            } => {
                if let PauseReason::Other(word) = reason {
                    cut_each([word], WORD_BYTES);
                }
                cut_each(step_name, WORD_BYTES);
            }
            Self::WorkflowResumed { reason } => {
                if let ResumeReason::Other(word) = reason {
                    cut_each([word], WORD_BYTES);
                }
            }
            Self::WorkflowCompleted {
                completed_steps, ..
            } => completed_steps.bound(),
            Self::WorkflowFailed {
                error,
                completed_steps,
            } => {
                bound_error(error);
                completed_steps.bound();
            }
            Self::WorkflowCancelled {
                reason,
                completed_steps,
            } => {
                cut_each(reason, MESSAGE_BYTES);
                completed_steps.bound();
            }
            Self::StepFailed {
                step_name, error, ..
            } => {
                cut_each([step_name], WORD_BYTES);
                bound_error(error);
            }
            Self::StepStarted { step_name, .. }
            | Self::StepCompleted { step_name, .. }
            | Self::RetryScheduled { step_name, .. }
            | Self::RetryExhausted { step_name, .. }
            | Self::TimeoutSet { step_name, .. }
            | Self::TimeoutExceeded { step_name, .. } => cut_each([step_name], WORD_BYTES),
            Self::SleepStarted { .. } | Self::SleepCompleted { .. } => {}
        }
        self
    }
}

fn bound_error(error: &mut ErrorInfo) {
    *error = std::mem::replace(error, ErrorInfo::new("")).bounded();
}

fn cut_each<'a>(texts: impl IntoIterator<Item = &'a mut String>, bytes: usize) {
    for text in texts {
        if let Cow::Owned(cut) = cut(text, bytes) {
            *text = cut;
        }
    }
}
