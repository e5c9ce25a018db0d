//! The current bearer token, and all secrets that errors must not show.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::HeaderValue;

use crate::secrets::redaction::{Label, Secrets};
use crate::secrets::token::Token;

/// The largest number of replaced tokens that stay hidden, because an answer may echo an earlier
/// token.
const MAX_FORMER_TOKENS: usize = 8;

/// The current token and all secrets. Clones of a transport share them.
pub(crate) struct Credentials {
    /// The secrets that are not tokens.
    other_secrets: Vec<(String, Label)>,
    current: RwLock<Current>,
}

struct Current {
    /// The tokens, the newest first.
    tokens: VecDeque<Token>,
    secrets: Arc<Secrets>,
}

impl Credentials {
    pub(crate) fn new(token: Option<Token>, other_secrets: Vec<(String, Label)>) -> Self {
        let tokens = VecDeque::from_iter(token);
        let secrets = collect_secrets(&tokens, &other_secrets);
        Self {
            other_secrets,
            current: RwLock::new(Current { tokens, secrets }),
        }
    }

    /// Replaces the token; requests that are built after the call use the new one.
    pub(crate) fn set_token(&self, token: Token) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.tokens.push_front(token);
        current.tokens.truncate(1 + MAX_FORMER_TOKENS);
        current.secrets = collect_secrets(&current.tokens, &self.other_secrets);
    }

    /// Returns the value of `Authorization`, if there is a token.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.tokens.front().map(Token::header)
    }

    /// Returns the current secrets. Call this when a text is to be redacted, not before the
    /// request: the token may be replaced meanwhile.
    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .secrets
            .clone()
    }
}

fn collect_secrets(tokens: &VecDeque<Token>, other_secrets: &[(String, Label)]) -> Arc<Secrets> {
    let mut secrets = Secrets::default();
    tokens
        .iter()
        .for_each(|token| secrets.add(token.text(), Label::Token));
    other_secrets
        .iter()
        .for_each(|(secret, label)| secrets.add(secret, *label));
    Arc::new(secrets)
}

/// Shows nothing.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}
