//! Texts from the server or the network: decoded, unquoted, cleaned for a log.

use std::borrow::Cow;

use crate::secrets::redaction::Secrets;

/// Decodes a body as UTF-8, or as UTF-16 if its first bytes show that. Invalid parts are replaced.
pub(crate) fn decoded(body: &[u8]) -> Cow<'_, str> {
    let from_utf16 = |unit: fn([u8; 2]) -> u16, body: &[u8]| {
        let units: Vec<u16> = body
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]))
            .collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match body {
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest),
        [0xFF, 0xFE, _, 0, ..] => from_utf16(u16::from_le_bytes, &body[2..]),
        [0xFE, 0xFF, 0, ..] => from_utf16(u16::from_be_bytes, &body[2..]),
        [1..=255, 0, 1..=255, 0, ..] => from_utf16(u16::from_le_bytes, body),
        [0, 1..=255, 0, 1..=255, ..] => from_utf16(u16::from_be_bytes, body),
        _ => String::from_utf8_lossy(body),
    }
}

/// The largest part of a text with invalid escapes that is decoded, in bytes; much more than is
/// ever shown.
const MAX_LENIENT_TEXT_BYTES: usize = 16 * 1024;

/// Decodes a JSON string, also one with invalid escapes; returns any other text as it is written.
pub(crate) fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return Cow::Borrowed(value);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    if let Ok(text) = serde_json::from_str(value) {
        return Cow::Owned(text);
    }
    // The string has half a surrogate pair, or an escape that JSON does not have.
    let mut rest = &inner[..inner.floor_char_boundary(MAX_LENIENT_TEXT_BYTES)];
    let mut text = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let (character, length) = unescaped(after);
        text.push_str(&character);
        rest = &after[length..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Decodes the escape at the beginning of `text`, without its backslash; returns its length in
/// bytes, too.
fn unescaped(text: &str) -> (String, usize) {
    /// The lengths of a surrogate pair, of one `\u` escape, and of a short escape, without the
    /// first backslash.
    const ESCAPE_LENGTHS: [usize; 3] = [11, 5, 1];

    for length in ESCAPE_LENGTHS {
        let known = text
            .get(..length)
            .and_then(|escape| serde_json::from_str(&format!("\"\\{escape}\"")).ok());
        if let Some(decoded) = known.filter(|_| length == 1 || text.starts_with('u')) {
            return (decoded, length);
        }
    }
    if let Some(digits) = text.strip_prefix('u') {
        let digits = digits
            .bytes()
            .take(4)
            .take_while(u8::is_ascii_hexdigit)
            .count();
        return ('\u{FFFD}'.to_string(), 1 + digits);
    }
    (String::new(), 0)
}

/// Cleans a foreign text for a log: short, without secrets, without control characters.
pub(crate) fn clean(text: &str, secrets: &Secrets) -> String {
    // An invisible character between the characters of a secret would keep it from being found.
    let visible = text.replace(is_invisible, "");
    secrets
        .redact(&visible)
        .trim()
        .replace(|c: char| c.is_control(), " ")
}

/// Returns whether a character is invisible: a control character that does not separate words, or
/// one without width.
fn is_invisible(c: char) -> bool {
    let separates = matches!(c, '\t' | '\n' | '\r');
    let has_no_width =
        matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}');
    has_no_width || c.is_control() && !separates
}
