//! The forms in which a server echoes a request.

use super::request::RecordedRequest;

/// A form in which [`Answer::Echo`](super::Answer::Echo) repeats the headers of a request and its
/// first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Echo {
    /// The unchanged text.
    Plain,
    /// The text in upper case.
    UpperCase,
    /// A JSON object with the text, as most frameworks report an error.
    Json,
    /// Every character as `\u00xx`.
    JsonEscaped,
    /// All characters except letters and digits as `%xx`.
    Percent,
    /// Every character as `%xx`, encoded twice.
    PercentTwice,
    /// The special characters of HTML as entities.
    Html,
    /// Every character as `&#xx;`.
    HtmlNumbers,
    /// JSON in HTML, with every other character as `&#xx;`.
    Mixed,
    /// Pieces of twelve characters, with words between them.
    Pieces,
    /// The text in base64.
    Base64,
    /// The text in hexadecimal digits.
    Hexadecimal,
}

impl Echo {
    /// Every form.
    pub const ALL: [Self; 12] = [
        Self::Plain,
        Self::UpperCase,
        Self::Json,
        Self::JsonEscaped,
        Self::Percent,
        Self::PercentTwice,
        Self::Html,
        Self::HtmlNumbers,
        Self::Mixed,
        Self::Pieces,
        Self::Base64,
        Self::Hexadecimal,
    ];

    /// Repeats `text` in this form.
    pub fn encode(self, text: &str) -> String {
        match self {
            Self::Plain => text.into(),
            Self::UpperCase => text.to_uppercase(),
            Self::Json => serde_json::json!({ "error": text }).to_string(),
            Self::JsonEscaped => text
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04X}"))
                .collect(),
            Self::Percent => text
                .bytes()
                .map(|byte| percent(byte, byte.is_ascii_alphanumeric()))
                .collect(),
            Self::PercentTwice => {
                let once: String = text.bytes().map(|byte| percent(byte, false)).collect();
                once.bytes().map(|byte| percent(byte, false)).collect()
            }
            Self::Html => text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&#39;"),
            Self::HtmlNumbers => text
                .chars()
                .map(|c| format!("&#{};", u32::from(c)))
                .collect(),
            Self::Mixed => {
                let json = serde_json::json!(text).to_string();
                let number = |(at, c): (usize, char)| {
                    if at % 2 == 0 {
                        format!("&#x{:x};", u32::from(c))
                    } else {
                        c.into()
                    }
                };
                json.chars().enumerate().map(number).collect()
            }
            Self::Pieces => {
                let chars: Vec<char> = text.chars().collect();
                chars
                    .chunks(12)
                    .map(String::from_iter)
                    .collect::<Vec<_>>()
                    .join(" and then ")
            }
            Self::Base64 => base64(text.as_bytes()),
            Self::Hexadecimal => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        }
    }

    pub(super) fn repeat(self, request: &RecordedRequest) -> String {
        let lines = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let text = std::iter::once(request.line.clone())
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n");
        self.encode(&text)
    }
}

fn percent(byte: u8, is_safe: bool) -> String {
    if is_safe {
        char::from(byte).into()
    } else {
        format!("%{byte:02X}")
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three
            .iter()
            .fold(0_usize, |group, byte| group << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        let sextet = |at: usize| char::from(ALPHABET[group >> (18 - 6 * at) & 63]);
        text.extend((0..=three.len()).map(sextet));
        text.extend((three.len()..3).map(|_| '='));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everybody_else() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Echo::Base64.encode(text), expected);
        }
    }
}
