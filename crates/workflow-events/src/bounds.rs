//! How large an event may be: what is longer is cut, with a mark that says how much is missing.
//!
//! With these bounds no event is larger than 256 KiB beside its input, output or payload. A
//! receiver that refuses what is too large would refuse such an event for good, and its run could
//! never be complete there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{ErrorInfo, EventKind, PauseReason, Payload, ResumeReason};

/// How many completed steps an event lists at most: the last 1,000.
pub const LISTED_STEPS: usize = 1_000;
/// How many bytes of JSON the list of completed steps has at most: 128 KiB.
pub const LISTED_STEPS_BYTES: usize = 128 * 1024;
/// How many bytes of JSON the message of an error, or the reason of a cancel, has at most: 16 KiB.
pub const MESSAGE_BYTES: usize = 16 * 1024;
/// How many bytes of JSON the kind of an error, a step's name, or another word has at most: 1 KiB.
pub const WORD_BYTES: usize = 1024;
/// How many bytes the details of an error have at most: 64 KiB. Larger ones become a text that is
/// cut.
pub const DETAILS_BYTES: usize = 64 * 1024;
/// How many bytes the further fields of an error have at most, all together: 16 KiB.
pub const EXTRA_BYTES: usize = 16 * 1024;
/// How deep the details and the further fields of an error are nested at most: 96 levels, so that
/// an error with such details can be a value of 100 levels.
pub const DETAILS_DEPTH: usize = 96;

/// What a mark takes at most.
const MARK_BYTES: usize = 40;
/// The name under which an error says how many of its further fields are missing.
const CUT_FIELDS: &str = "…";

/// Cuts a text so that its JSON form has at most `bytes` bytes, the quotes not counted, and says
/// how much is missing.
///
/// A text that fits is returned as it is. One that does not is cut between two characters, and ends
/// with a mark: `… (12345 bytes cut)`. Plain text takes its own length in JSON; quotes, backslashes
/// and control characters take more. Below 40 bytes only the mark is left.
///
/// # Examples
///
/// ```
/// use workflow_events::bounds::cut;
///
/// assert_eq!(cut("short", 50), "short");
/// assert_eq!(cut(&"é".repeat(1_000), 50), "ééééé… (1990 bytes cut)");
/// ```
pub fn cut(text: &str, bytes: usize) -> Cow<'_, str> {
    if fits(text, bytes) {
        return Cow::Borrowed(text);
    }
    let mut room = bytes.saturating_sub(MARK_BYTES);
    let end = text.char_indices().find(|(_, character)| {
        let size = json_bytes(*character);
        let is_over = size > room;
        room = room.saturating_sub(size);
        is_over
    });
    let (kept, rest) = text.split_at(end.map_or(text.len(), |(at, _)| at));
    Cow::Owned(format!("{kept}{}", mark(rest.len())))
}

/// Returns whether the JSON form of a text has at most `bytes` bytes, the quotes not counted.
fn fits(text: &str, bytes: usize) -> bool {
    // No character takes more than six times its length.
    text.len() <= bytes
        && (text.len() <= bytes / 6 || text.chars().map(json_bytes).sum::<usize>() <= bytes)
}

/// Returns the size of a character in a JSON string, as `serde_json` writes it.
pub(crate) fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..'\u{20}' => 6,
        other => other.len_utf8(),
    }
}

fn mark(bytes: usize) -> String {
    format!("… ({bytes} bytes cut)")
}

fn cut_all<'a>(texts: impl IntoIterator<Item = &'a mut String>, bytes: usize) {
    for text in texts {
        if let Cow::Owned(cut) = cut(text, bytes) {
            *text = cut;
        }
    }
}

impl ErrorInfo {
    /// Returns the error as an event may carry it: whatever is longer than its bound is cut, with a
    /// mark.
    ///
    /// Details that are too large or too deep become a text, the beginning of their JSON form.
    /// Further fields that are too large become a text with a mark, or, where there are too many,
    /// are counted under the name `…`.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut_all([&mut self.message], MESSAGE_BYTES);
        cut_all(self.kind.iter_mut().chain(&mut self.step_name), WORD_BYTES);
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
    // Some room is kept for the count of what is missing.
    let (mut room, mut missing) = (EXTRA_BYTES - 2 * MARK_BYTES, 0_usize);
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
            CUT_FIELDS.to_owned(),
            text(&format!("({missing} fields cut)")),
        );
    }
    kept
}

/// The payload that is this text.
fn text(text: &str) -> Payload {
    serde_json::Value::from(text).into()
}

impl EventKind {
    /// Returns the event as it may be written: whatever is longer than its bound is cut, with a
    /// mark.
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
                    cut_all([word], WORD_BYTES);
                }
                cut_all(step_name, WORD_BYTES);
            }
            Self::WorkflowResumed { reason } => {
                if let ResumeReason::Other(word) = reason {
                    cut_all([word], WORD_BYTES);
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
                cut_all(reason, MESSAGE_BYTES);
                completed_steps.bound();
            }
            Self::StepFailed {
                step_name, error, ..
            } => {
                cut_all([step_name], WORD_BYTES);
                bound_error(error);
            }
            Self::StepStarted { step_name, .. }
            | Self::StepCompleted { step_name, .. }
            | Self::RetryScheduled { step_name, .. }
            | Self::RetryExhausted { step_name, .. }
            | Self::TimeoutSet { step_name, .. }
            | Self::TimeoutExceeded { step_name, .. } => cut_all([step_name], WORD_BYTES),
            Self::SleepStarted { .. } | Self::SleepCompleted { .. } => {}
        }
        self
    }
}

fn bound_error(error: &mut ErrorInfo) {
    *error = std::mem::replace(error, ErrorInfo::new("")).bounded();
}
