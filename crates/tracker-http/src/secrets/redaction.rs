//! Texts that nothing may show, in whatever form a far end echoes them.

use std::collections::HashMap;
use std::fmt;

use crate::secrets::decode::{self, Char, folded};

/// Any so many characters of a secret in a row are hidden.
const WINDOW_CHARS: usize = 8;

/// Texts below this number of characters are not searched for: they would be found everywhere.
pub(crate) const MIN_SECRET_CHARS: usize = 4;

/// How often a text may be encoded upon itself.
const MAX_DECODING_ROUNDS: usize = 8;

/// The most bytes of a text that are searched and shown.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// The bytes before a cut that are left out: the beginning of a secret that was cut there cannot be
/// recognized.
const CUT_MARGIN_BYTES: usize = 256;

/// What stands in a secret's place.
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

/// The secrets of one transport, ready to be searched for.
///
/// A text is decoded again and again (JSON and other backslash escapes, percent encoding, HTML
/// entities) until nothing changes, and every form on the way is searched, without regard to case
/// and to the plus that a form has for a space, for each secret as it is, as it looks when it is
/// decoded itself, in base64 and in hexadecimal. What is found is replaced where it stands in the
/// text as it came.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// A hash of every window of the long forms: a token may have some thousand characters, and
    /// several forms. Two windows of one hash hide a text that is no secret, once in a very long
    /// time.
    windows: HashMap<u64, Label>,
    /// The forms that are shorter than a window, and of the long ones the beginning.
    short: Vec<Form>,
}

#[derive(Clone)]
struct Form {
    text: Vec<char>,
    label: Label,
    /// Whether `text` is everything, and not only the beginning.
    whole: bool,
}

/// A part of a text that is not shown.
#[derive(Clone, Copy)]
struct HiddenPart {
    start: usize,
    end: usize,
    label: Label,
}

impl Secrets {
    /// Adds a secret; one of fewer than [`MIN_SECRET_CHARS`] characters is left out.
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
            whole: form.len() < WINDOW_CHARS,
            text: form.into_iter().take(WINDOW_CHARS - 1).collect(),
            label,
        };
        if !self
            .short
            .iter()
            .any(|known| known.whole == beginning.whole && known.text == beginning.text)
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
            whole,
        } in &self.short
        {
            if *whole {
                text.windows(form.len())
                    .filter(|window| equals(window, form))
                    .for_each(|window| hide(window, *label));
            }
            // A text that ends, or was cut, within a secret ends with a beginning of it.
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

/// Returns `text` and what every further round of decoding makes of it.
fn decoded_forms(text: Vec<Char>) -> impl Iterator<Item = Vec<Char>> {
    std::iter::successors(Some(text), |text| decode::one_layer(text)).take(MAX_DECODING_ROUNDS)
}

fn equals(text: &[Char], form: &[char]) -> bool {
    text.iter().map(|c| c.value).eq(form.iter().copied())
}

/// Hashes the characters of a window; FNV-1a in steps of a character.
fn hash(window: impl Iterator<Item = char>) -> u64 {
    const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

    window.fold(FNV_BASIS, |hash, c| {
        (hash ^ u64::from(c)).wrapping_mul(FNV_PRIME)
    })
}

/// The characters of base64 that `bytes` alone determine where they stand `offset` bytes into a
/// group of three.
fn base64(bytes: &[u8], offset: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    /// The bits that share a character with what stands before.
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
