//! The far side: one object-safe trait, and what it can answer.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::sync::StdArc;

/// Carries a batch of events to the far end, once.
///
/// A transport buffers nothing and retries nothing: it reports what happened, and the delivery
/// policy of this crate decides what follows. Only events have an identity, because a batch that is
/// sent again may have other bounds. Implementations are checked by
/// [`conformance`](crate::testing::conformance).
#[async_trait]
pub trait Transport<E>: fmt::Debug + Send + Sync {
    /// Sends `events`, in order, as one request.
    ///
    /// # Errors
    ///
    /// [`SendError`] says what happened. [`Delivery`](crate::Delivery) decides whether it is
    /// retried.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: the future may be dropped at any `.await`. The far
    /// end may then have received the events or not, and they will be sent again.
    async fn send(&self, events: &[E], options: SendOptions) -> Result<Receipt, SendError>;
}

/// How to send one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendOptions {
    /// Whether to send without content encoding (compression), because the far end has refused it.
    pub plain: bool,
}

/// Answer of a far end that has accepted a batch. It may have rejected single events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The rejected events, by their index in the batch. All others were delivered.
    pub rejected: Vec<(usize, Reason)>,
}

/// Error of a batch that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection: the name was not found, or the connection was refused. Nothing was sent.
    #[error("cannot be reached: {reason}")]
    Unreachable {
        /// What happened.
        reason: Reason,
    },
    /// No answer: the connection broke, or the bytes received are not an answer. The far end may
    /// have the events.
    #[error("no answer: {reason}")]
    NoAnswer {
        /// What happened.
        reason: Reason,
    },
    /// No answer within the time of the attempt. The far end may have the events, or may be too
    /// slow for their number.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long the attempt waited.
        after: Duration,
    },
    /// The far end answered with a success, but what it says of single events cannot be read. This
    /// does not count as an acceptance.
    #[error("answered {status}, and the answer cannot be read: {reason}")]
    Unreadable {
        /// The status, a success.
        status: u16,
        /// The fault of the answer.
        reason: Reason,
    },
    /// The transport panicked. The far end may have the events.
    #[error("the transport panicked: {reason}")]
    Panicked {
        /// The panic's message.
        reason: Reason,
    },
    /// The far end answered, and the answer is not a success.
    #[error("answered {status}: {reason}")]
    Answer {
        /// The status, as HTTP defines them (RFC 9110, section 15).
        status: u16,
        /// How long the far end asks to wait before the next attempt.
        retry_after: Option<Duration>,
        /// Whether a content encoding was applied to this request.
        encoded: bool,
        /// The text of the far end.
        reason: Reason,
    },
    /// One event cannot be encoded; nothing was sent.
    #[error("event {index} of the batch cannot be encoded: {reason}")]
    Unencodable {
        /// The event's index in the batch.
        index: usize,
        /// The message of the encoder.
        reason: Reason,
    },
}

impl SendError {
    /// Makes the error of an attempt without an answer.
    pub fn no_answer(reason: impl Into<String>) -> Self {
        Self::NoAnswer {
            reason: Reason::new(reason),
        }
    }

    /// Makes the error of an answer that has only a status.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            encoded: false,
            reason: Reason::default(),
        }
    }

    /// Returns the text of the far end, the connection or the encoder; `None` for a timeout.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Unreachable { reason }
            | Self::NoAnswer { reason }
            | Self::Unreadable { reason, .. }
            | Self::Panicked { reason }
            | Self::Answer { reason, .. }
            | Self::Unencodable { reason, .. } => Some(reason),
            Self::TimedOut { .. } => None,
        }
    }
}

/// The kind of a failure. Two errors of the same kind are the same failure, also if their texts
/// differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unreachable,
    NoAnswer,
    TimedOut,
    Unreadable,
    Panicked,
    Status(u16),
    Unencodable,
}

impl SendError {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } => Kind::Unreachable,
            Self::NoAnswer { .. } => Kind::NoAnswer,
            Self::TimedOut { .. } => Kind::TimedOut,
            Self::Unreadable { .. } => Kind::Unreadable,
            Self::Panicked { .. } => Kind::Panicked,
            Self::Answer { status, .. } => Kind::Status(*status),
            Self::Unencodable { .. } => Kind::Unencodable,
        }
    }
}

impl Kind {
    /// Returns the name for logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoAnswer => "no answer",
            Self::TimedOut => "timed out",
            Self::Unreadable => "unreadable answer",
            Self::Panicked => "the transport panicked",
            Self::Status(_) => "refused",
            Self::Unencodable => "an event cannot be encoded",
        }
    }
}

/// The reason of a refusal or failure: a short text, mostly that of the far end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reason(Box<str>);

impl Reason {
    /// The longest reason kept, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Keeps at most [`MAX_BYTES`](Self::MAX_BYTES) of `text`, cut between characters.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(Self::MAX_BYTES));
        Self(text.into_boxed_str())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "no reason given"
        } else {
            &self.0
        })
    }
}

macro_rules! forward {
    ($pointer:ty) => {
        #[async_trait]
        impl<E: Send + Sync, T: Transport<E> + ?Sized> Transport<E> for $pointer {
            async fn send(&self, events: &[E], options: SendOptions) -> Result<Receipt, SendError> {
                (**self).send(events, options).await
            }
        }
    };
}

forward!(StdArc<T>);
forward!(Box<T>);
