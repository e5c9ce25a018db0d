//! How large an event may be: what is longer is cut, with a mark that says how much is missing.
//!
//! With these bounds no event is larger than 256 KiB beside its input, output or payload. A
//! receiver that refuses what is too large would refuse such an event for good, and its run could
//! never be complete there.

use std::borrow::Cow;

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
pub(crate) const MAX_MARK_BYTES: usize = 40;
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

pub(crate) fn mark(bytes: usize) -> String {
    format!("… ({bytes} bytes cut)")
}
