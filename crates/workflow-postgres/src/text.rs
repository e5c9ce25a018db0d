//! Texts without the zero character, which PostgreSQL cannot keep.

use std::borrow::Cow;

/// The escape character: before `0` it means a zero character, and before `1` itself.
const ESCAPE: char = '\u{1a}';

/// Returns a text in a form without zero characters. A prefix of the text becomes a prefix of the
/// form.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 4);
    for character in text.chars() {
        match character {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Returns the text of an escaped form.
pub(crate) fn unescape(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut characters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        plain.push(match character {
            ESCAPE if characters.next() == Some('0') => '\0',
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_none_has_a_zero() {
        for text in [
            "",
            "plain",
            "\0",
            "\u{1a}",
            "\u{1a}0",
            "a\0\u{1a}1\0b",
            "\u{1a}\u{1a}",
            "é😀",
        ] {
            let escaped = escape(text);
            assert!(!escaped.contains('\0'), "{text:?}");
            assert_eq!(unescape(escaped.into_owned()), text);
        }
    }

    #[test]
    fn prefixes_stay_prefixes() {
        let text = "a\0b\u{1a}c";
        let ends = text
            .char_indices()
            .map(|(index, _)| index)
            .chain([text.len()]);
        assert!(
            ends.into_iter()
                .all(|end| escape(text).starts_with(&*escape(&text[..end])))
        );
    }
}
