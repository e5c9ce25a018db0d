//! The bearer token.

use std::fmt;

use hyper::header::HeaderValue;

/// A bearer token. Neither its `Debug` form nor any error or log shows the text.
#[derive(Clone)]
pub struct Token {
    text: String,
    header: HeaderValue,
}

/// The error of a text that cannot be a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is empty.
    #[error("the token is empty")]
    Empty,
    /// The token has a character that a bearer token cannot have: a control character, a space, or
    /// a character beyond ASCII.
    #[error("the token has a character at byte {at} that a bearer token cannot have")]
    Character {
        /// The position of the first such character, in bytes.
        at: usize,
    },
}

impl Token {
    /// Creates a token from its text.
    ///
    /// # Errors
    ///
    /// [`TokenError`] unless the text is one or more visible ASCII characters.
    pub fn new(token: impl Into<String>) -> Result<Self, TokenError> {
        let text = token.into();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(TokenError::Character { at });
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| TokenError::Character { at: 0 })?;
        header.set_sensitive(true);
        Ok(Self { text, header })
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_control_characters_is_refused() {
        assert_eq!(Token::new("").unwrap_err(), TokenError::Empty);
        for (token, at) in [
            ("a\r\nX-Evil: 1", 1),
            ("tab\t", 3),
            ("\u{0}", 0),
            ("del\u{7f}", 3),
            ("a b", 1),
            ("é", 0),
        ] {
            assert_eq!(
                Token::new(token).unwrap_err(),
                TokenError::Character { at },
                "{token:?}"
            );
        }
    }

    #[test]
    fn a_token_shows_itself_nowhere() {
        let token = Token::new("SECRET").unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert!(!format!("{:?}", token.header()).contains("SECRET"));
    }
}
