//! The errors of this crate. An error of a push has the refused event.

use std::error::Error;
use std::fmt;

use crate::transport::Reason;

/// Error of a push, with the refused event.
///
/// Neither `Debug` nor `Display` shows the event: it is payload.
#[non_exhaustive]
pub enum PushError<E> {
    /// The buffer is closed.
    Closed(E),
    /// The pending events fill the capacity, in number or in bytes.
    Full(E),
    /// The event alone is larger than the limit for one event.
    TooLarge {
        /// The refused event.
        event: E,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes: [`batch_bytes`](crate::Config::batch_bytes), or
        /// [`capacity_bytes`](crate::Config::capacity_bytes) if that is less.
        limit: usize,
    },
    /// The tracker's background delivery has ended although the tracker is open, so an event could
    /// wait for ever.
    ///
    /// A flush still delivers events that were accepted before.
    Stopped {
        /// The refused event.
        event: E,
        /// Why background delivery has ended.
        reason: Reason,
    },
    /// The event cannot be encoded. Only trackers that encode on emit return this.
    Unencodable {
        /// The refused event.
        event: E,
        /// The message of the encoder.
        reason: Reason,
    },
}

impl<E> PushError<E> {
    /// Returns the refused event.
    pub fn into_event(self) -> E {
        match self {
            Self::Closed(event) | Self::Full(event) => event,
            Self::TooLarge { event, .. }
            | Self::Unencodable { event, .. }
            | Self::Stopped { event, .. } => event,
        }
    }

    /// Converts the refused event and keeps the reason.
    pub fn map<T>(self, convert: impl FnOnce(E) -> T) -> PushError<T> {
        match self {
            Self::Closed(event) => PushError::Closed(convert(event)),
            Self::Full(event) => PushError::Full(convert(event)),
            Self::TooLarge {
                event,
                bytes,
                limit,
            } => PushError::TooLarge {
                event: convert(event),
                bytes,
                limit,
            },
            Self::Stopped { event, reason } => PushError::Stopped {
                event: convert(event),
                reason,
            },
            Self::Unencodable { event, reason } => PushError::Unencodable {
                event: convert(event),
                reason,
            },
        }
    }

    /// Returns whether the buffer was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Returns whether the buffer was full: the same push may succeed later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<E> fmt::Debug for PushError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Full(_) => f.write_str("Full(..)"),
            Self::TooLarge { bytes, limit, .. } => f
                .debug_struct("TooLarge")
                .field("bytes", bytes)
                .field("limit", limit)
                .finish_non_exhaustive(),
            Self::Stopped { reason, .. } => f
                .debug_struct("Stopped")
                .field("reason", reason)
                .finish_non_exhaustive(),
            Self::Unencodable { reason, .. } => f
                .debug_struct("Unencodable")
                .field("reason", reason)
                .finish_non_exhaustive(),
        }
    }
}

impl<E> fmt::Display for PushError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("the event was refused: the tracker is closed"),
            Self::Full(_) => f.write_str("the event was refused: the buffer is full"),
            Self::TooLarge { bytes, limit, .. } => {
                write!(
                    f,
                    "the event was refused: {bytes} bytes are more than the limit of {limit}"
                )
            }
            Self::Stopped { reason, .. } => write!(
                f,
                "the event was refused: background delivery has ended: {reason}"
            ),
            Self::Unencodable { reason, .. } => {
                write!(f, "the event was refused: it cannot be encoded: {reason}")
            }
        }
    }
}

impl<E> Error for PushError<E> {}

/// Error of a configuration that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An option that must be at least 1, or a duration that must be longer than zero, was zero.
    #[error("{option} must not be zero")]
    Zero {
        /// The option's name.
        option: &'static str,
    },
    /// The first delay of the backoff is longer than its cap.
    #[error("initial_delay must not be longer than max_delay")]
    DelayAboveCap,
}
