//! The bounds of an event's parts. A longer part is cut, and ends with a mark that says how much is
//! missing.
//!
//! With these bounds no event is larger than 256 KiB, not counting its input, output or payload.
//! Without them, a receiver with a size limit would refuse a larger event for good, and its record
//! of the run could never be complete.

use std::borrow::Cow;

/// The largest number of completed steps that an event lists: the last 1,000.
pub const LISTED_STEPS: usize = 1_000;
/// The largest size of the list of completed steps, in bytes of JSON: 128 KiB.
pub const LISTED_STEPS_BYTES: usize = 128 * 1024;
/// The largest size of an error's message or a cancel's reason, in bytes of JSON: 16 KiB.
pub const MESSAGE_BYTES: usize = 16 * 1024;
/// The largest size of an error's kind, a step's name, or another word, in bytes of JSON: 1 KiB.
pub const WORD_BYTES: usize = 1024;
/// The largest size of an error's details, in bytes: 64 KiB. Larger details become a text that is
/// cut.
pub const DETAILS_BYTES: usize = 64 * 1024;
/// The largest size of all extra fields of an error together, in bytes: 16 KiB.
pub const EXTRA_BYTES: usize = 16 * 1024;
/// The largest depth of an error's details and extra fields: 96 levels. So an error with such
/// details fits into a value of 100 levels.
pub const DETAILS_DEPTH: usize = 96;

/// The largest size of a mark, in bytes.
pub(crate) const MAX_MARK_BYTES: usize = 40;
/// Cuts a text so that its JSON form has at most `bytes` bytes, not counting the quotes.
///
/// A text that fits is returned as it is. Any other text is cut between two characters, and ends
/// with a mark that says how much is missing: `… (12345 bytes cut)`. Most characters have their own
/// length in JSON; quotes, backslashes and control characters are longer. If `bytes` is below 40,
/// the result is only the mark.
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
    let mut room = bytes.saturating_sub(MAX_MARK_BYTES);
    let end = text.char_indices().find(|(_, character)| {
        let size = json_bytes(*character);
        let is_over = size > room;
        room = room.saturating_sub(size);
        is_over
    });
    let (kept, rest) = text.split_at(end.map_or(text.len(), |(at, _)| at));
    Cow::Owned(format!("{kept}{}", mark(rest.len())))
}

/// Returns whether the JSON form of a text has at most `bytes` bytes, not counting the quotes.
fn fits(text: &str, bytes: usize) -> bool {
    // In JSON, no character has more than six times its length.
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

pub(crate) fn mark(bytes: usize) -> String {
    format!("… ({bytes} bytes cut)")
}
