//! The far side: one object-safe trait, and what it can answer.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::sync::StdArc;

/// Carries a batch of events to the far end, once.
///
/// A transport buffers nothing and retries nothing: it says what happened, and the delivery policy
/// of this crate decides what to do about it. Identity is per event, never per batch: a batch that
/// is sent again may be cut differently. Implementations are checked by
/// [`conformance`](crate::testing::conformance).
#[async_trait]
pub trait Transport<E>: fmt::Debug + Send + Sync {
    /// Sends `events`, in order, as one request.
    ///
    /// # Errors
    ///
    /// [`SendError`] says what happened; whether it is retried is decided by
    /// [`Delivery`](crate::Delivery).
    ///
    /// # Cancel safety
    ///
    /// Must be cancel safe: the future may be dropped at any `.await`. The far end may then have
    /// received the events or not; they will be sent again.
    async fn send(&self, events: &[E], options: SendOptions) -> Result<Receipt, SendError>;
}

/// How to send one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendOptions {
    /// Leave the content encoding (compression) out; the far end has refused it.
    pub plain: bool,
}

/// The far end took the batch; it may have refused single events of it for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The refused events, by their index in the batch. All others were delivered.
    pub rejected: Vec<(usize, Reason)>,
}

/// What happened to a batch that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection: the name was not found, or the connection was refused. Nothing was sent.
    #[error("cannot be reached: {reason}")]
    Unreachable {
        /// What happened.
        reason: Reason,
    },
    /// No answer: the connection broke, or what came is no answer. The far end may have the events.
    #[error("no answer: {reason}")]
    NoAnswer {
        /// What happened.
        reason: Reason,
    },
    /// No answer within the time that the attempt had. The far end may have the events, or may be
    /// too slow for so many.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The far end took the batch, and what it says of the single events cannot be read: it is no
    /// consent.
    #[error("answered {status}, and the answer cannot be read: {reason}")]
    Unreadable {
        /// The status, a success.
        status: u16,
        /// What is wrong with the answer.
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
        /// What the far end said.
        reason: Reason,
    },
    /// One event cannot be encoded; nothing was sent.
    #[error("event {index} of the batch cannot be encoded: {reason}")]
    Unencodable {
        /// The event's index in the batch.
        index: usize,
        /// What the encoder said.
        reason: Reason,
    },
}

impl SendError {
    /// No answer, for this reason.
    pub fn no_answer(reason: impl Into<String>) -> Self {
        Self::NoAnswer {
            reason: Reason::new(reason),
        }
    }

    /// An answer with this status and nothing else to say.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            encoded: false,
            reason: Reason::default(),
        }
    }

    /// Returns what the far end, the connection or the encoder said; a timeout says nothing.
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

/// What kind of failure an error is: two of the same kind are the same failure, whatever their
/// words.
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

/// Why something was refused: a short text, mostly in the far end's words.
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
