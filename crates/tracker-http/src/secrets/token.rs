//! The bearer token, which nothing shows.

use std::fmt;

use hyper::header::HeaderValue;

/// A bearer token. Its `Debug` form shows nothing of it, and no error or log does.
#[derive(Clone)]
pub struct Token {
    text: String,
    header: HeaderValue,
}

/// A text that cannot be a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is empty.
    #[error("the token is empty")]
    Empty,
    /// The token has a character that a bearer token cannot have: a control character, a space, or
    /// not ASCII.
    #[error("the token has a character at byte {at} that a bearer token cannot have")]
    Character {
        /// The byte at which the first such character stands.
        at: usize,
    },
}

impl Token {
    /// Checks and keeps a token.
    ///
    /// # Errors
    ///
    /// [`TokenError`] unless it is one or more visible ASCII characters.
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
