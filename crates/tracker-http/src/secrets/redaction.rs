//! Redacts secrets from a text, in any form in which a server may echo them.

use std::collections::HashMap;
use std::fmt;

use crate::secrets::decode::{self, Char, folded};

/// The number of consecutive characters of a secret that are enough to be hidden.
const WINDOW_CHARS: usize = 8;

/// The smallest number of characters of a secret; shorter texts would be found everywhere.
pub(crate) const MIN_SECRET_CHARS: usize = 4;

/// The largest number of decoding rounds, that is of encodings on top of each other.
const MAX_DECODING_ROUNDS: usize = 8;

/// The largest part of a text that is searched and shown.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// The number of bytes before a cut that are omitted, because the beginning of a secret that was
/// cut there cannot be recognized.
const CUT_MARGIN_BYTES: usize = 256;

/// The kind of a secret, and the label that replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// A bearer token.
    Token,
    /// A custom header's value.
    Header,
    /// A value of the endpoint's query, or the key of the service.
    Secret,
}

impl Label {
    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "[token]",
            Self::Header => "[header]",
            Self::Secret => "[secret]",
        }
    }
}

/// The secrets of one transport, prepared for the search.
///
/// A text is decoded in rounds (JSON and other backslash escapes, percent encoding, HTML entities)
/// until nothing changes, and the result of every round is searched. The search ignores case, and
/// treats a plus as a space. It looks for each secret as it is, decoded, in base64 and in
/// hexadecimal. Each match is replaced at its place in the original text.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// The hash of every window of the long forms, because a token may have some thousand
    /// characters and several forms. A collision hides a text that is no secret, which is very
    /// rare.
    windows: HashMap<u64, Label>,
    /// The forms that are shorter than a window, and the beginnings of the long ones.
    short: Vec<Form>,
}

#[derive(Clone)]
struct Form {
    text: Vec<char>,
    label: Label,
    /// Whether `text` is the whole form, and not only its beginning.
    is_whole: bool,
}

/// A part of a text that is not shown.
#[derive(Clone, Copy)]
struct HiddenPart {
    start: usize,
    end: usize,
    label: Label,
}

impl Secrets {
    /// Adds a secret; ignores one of fewer than [`MIN_SECRET_CHARS`] characters.
    pub(crate) fn add(&mut self, secret: &str, label: Label) {
        if secret.chars().count() < MIN_SECRET_CHARS {
            return;
        }
        for form in decoded_forms(decode::plain(secret)) {
            self.add_form(form.iter().map(|c| c.value).collect(), label);
        }
        if secret.len() >= WINDOW_CHARS {
            let encoded = (0..3).map(|offset| base64(secret.as_bytes(), offset));
            let url_safe = encoded
                .clone()
                .map(|text| text.replace('+', "-").replace('/', "_"));
            let hexadecimal = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for form in encoded.chain(url_safe).chain([hexadecimal]) {
                self.add_form(form.chars().map(folded).collect(), label);
            }
        }
    }

    fn add_form(&mut self, form: Vec<char>, label: Label) {
        if form.len() < MIN_SECRET_CHARS {
            return;
        }
        for window in form.windows(WINDOW_CHARS) {
            self.windows
                .entry(hash(window.iter().copied()))
                .or_insert(label);
        }
        let beginning = Form {
            is_whole: form.len() < WINDOW_CHARS,
            text: form.into_iter().take(WINDOW_CHARS - 1).collect(),
            label,
        };
        if !self
            .short
            .iter()
            .any(|known| known.is_whole == beginning.is_whole && known.text == beginning.text)
        {
            self.short.push(beginning);
        }
    }

    /// Returns the beginning of `text`, at most 4 KiB, without any secret.
    pub(crate) fn redact(&self, text: &str) -> String {
        let cut = text.floor_char_boundary(MAX_TEXT_BYTES);
        let shown = if cut == text.len() {
            cut
        } else {
            text.floor_char_boundary(cut - CUT_MARGIN_BYTES)
        };
        let mut hidden = Vec::new();
        for form in decoded_forms(decode::plain(&text[..cut])) {
            self.search(&form, &mut hidden);
        }
        hidden.sort_by_key(|part| part.start);
        let mut redacted = String::with_capacity(shown);
        let mut at = 0;
        for part in hidden.into_iter().take_while(|part| part.start < shown) {
            if part.start > at || at == 0 {
                redacted.push_str(&text[at..part.start]);
                redacted.push_str(part.label.as_str());
            }
            at = at.max(part.end);
        }
        redacted.push_str(text.get(at..shown).unwrap_or_default());
        redacted
    }

    fn search(&self, text: &[Char], hidden: &mut Vec<HiddenPart>) {
        let mut hide = |found: &[Char], label| {
            if let (Some(first), Some(last)) = (found.first(), found.last()) {
                hidden.push(HiddenPart {
                    start: first.start,
                    end: last.end,
                    label,
                });
            }
        };
        for window in text.windows(WINDOW_CHARS) {
            if let Some(label) = self.windows.get(&hash(window.iter().map(|c| c.value))) {
                hide(window, *label);
            }
        }
        for Form {
            text: form,
            label,
            is_whole,
        } in &self.short
        {
            if *is_whole {
                text.windows(form.len())
                    .filter(|window| equals(window, form))
                    .for_each(|window| hide(window, *label));
            }
            // A text that ends or was cut within a secret ends with the beginning of that secret.
            for length in (MIN_SECRET_CHARS..=form.len().min(text.len())).rev() {
                let end = &text[text.len() - length..];
                if equals(end, &form[..length]) {
                    hide(end, *label);
                    break;
                }
            }
        }
    }
}

/// Returns `text` and the result of every round of decoding.
fn decoded_forms(text: Vec<Char>) -> impl Iterator<Item = Vec<Char>> {
    std::iter::successors(Some(text), |text| decode::one_layer(text)).take(MAX_DECODING_ROUNDS)
}

fn equals(text: &[Char], form: &[char]) -> bool {
    text.iter().map(|c| c.value).eq(form.iter().copied())
}

/// Hashes the characters of a window by FNV-1a, one character a step.
fn hash(window: impl Iterator<Item = char>) -> u64 {
    const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

    window.fold(FNV_BASIS, |hash, c| {
        (hash ^ u64::from(c)).wrapping_mul(FNV_PRIME)
    })
}

/// Returns the base64 characters that depend on `bytes` alone, if `bytes` begin at `offset` within
/// a group of three.
fn base64(bytes: &[u8], offset: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    /// The number of bits that share a character with the bytes before.
    const SHARED_BITS: [usize; 3] = [0, 4, 2];

    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    let own: Vec<bool> = bits.skip(SHARED_BITS[offset % 3]).collect();
    own.chunks_exact(6)
        .map(|six| {
            char::from(
                ALPHABET[six
                    .iter()
                    .fold(0, |value, bit| value << 1 | usize::from(*bit))],
            )
        })
        .collect()
}

/// Shows nothing.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

#[cfg(test)]
mod tests;
