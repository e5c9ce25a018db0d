//! Every limit of the buffer and of delivery, in one type that cannot hold an invalid value.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::ConfigError;

/// What happens to an event if the buffer is full and the caller does not wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The push is refused, and the error has the event. The default.
    #[default]
    Refuse,
    /// The oldest *queued* events make room; they are counted as dropped and handed to the
    /// observer.
    ///
    /// Events in flight are never dropped.
    DropOldest,
}

/// The limits of a buffer and of its delivery.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tracker_core::{Config, ConfigError};
///
/// let config = Config::builder().batch_events(100).max_delay(Duration::from_secs(1)).build()?;
/// assert_eq!(config.batch_events(), 100);
/// assert_eq!(Config::builder().capacity_events(0).build(), Err(ConfigError::Zero { option: "capacity_events" }));
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    capacity_events: usize,
    capacity_bytes: usize,
    overflow: Overflow,
    batch_events: usize,
    batch_bytes: usize,
    in_flight: usize,
    linger: Duration,
    initial_delay: Duration,
    max_delay: Duration,
    flush_timeout: Duration,
    request_timeout: Duration,
    set_aside_after: Option<NonZeroU32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity_events: 65_536,
            capacity_bytes: 64 * 1024 * 1024,
            overflow: Overflow::Refuse,
            batch_events: 512,
            batch_bytes: 512 * 1024,
            in_flight: 1,
            linger: Duration::from_millis(200),
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            flush_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            set_aside_after: None,
        }
    }
}

macro_rules! options {
    ($( $(#[$doc:meta])* $name:ident: $type:ty; )*) => {
        impl Config {
            $( $(#[$doc])* pub fn $name(&self) -> $type { self.$name } )*
        }

        impl ConfigBuilder {
            $( $(#[$doc])* pub fn $name(mut self, $name: $type) -> Self { self.config.$name = $name; self } )*
        }
    };
}

options! {
    /// The most pending (queued and in flight) events. The default is 65,536. A full buffer is
    /// delivered at once, regardless of `linger` and the size of a batch.
    capacity_events: usize;
    /// The most bytes in pending events. The default is 64 MiB.
    capacity_bytes: usize;
    /// What an emit does when the buffer is full. The default is [`Overflow::Refuse`].
    overflow: Overflow;
    /// The most events in one batch. The default is 512.
    batch_events: usize;
    /// The most bytes in one batch, and so in one event. The default is 512 KiB.
    batch_bytes: usize;
    /// The most batches in flight. The default is 1. With more than one, batches may arrive in
    /// another order.
    in_flight: usize;
    /// How long background mode waits for a batch to fill. The default is 200 ms.
    linger: Duration;
    /// The upper bound of the first retry delay. The default is 100 ms. The bound doubles with
    /// every retry. Zero stays zero: an endpoint that fails at once is then tried again at once,
    /// until the deadline.
    initial_delay: Duration;
    /// The upper bound of every retry delay. The default is 5 s. A server's `Retry-After` may
    /// exceed it.
    max_delay: Duration;
    /// How long a flush may take, including retries. The default is 30 s.
    flush_timeout: Duration;
    /// How long one request may take. The default is 10 s. An attempt that is not the last one
    /// before a deadline may get less.
    request_timeout: Duration;
    /// The number of equal failures of requests with the same single event after which that event
    /// is rejected, with the last answer as its reason. The default is `None`, which is never: an
    /// event that the far end always fails to accept then holds up the events behind it until an
    /// operator acts.
    ///
    /// Failures count if the event may have caused them: no answer, no answer in time, an answer
    /// that cannot be read, 5xx except 501, 503 and 505, and 400, 409, 413 and 422 with a
    /// `Retry-After`. A far end that cannot be reached, or says that it is unavailable, never
    /// causes a rejection.
    set_aside_after: Option<NonZeroU32>;
}

impl Config {
    /// Returns a builder that starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder {
            config: Self::default(),
        }
    }
}

/// Builds a [`Config`], and refuses limits that cannot work.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder {
    config: Config,
}

impl ConfigBuilder {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Zero`] for a count, a size or a timeout of zero (`linger` and the delays may
    /// be zero), and [`ConfigError::DelayAboveCap`].
    pub fn build(self) -> Result<Config, ConfigError> {
        let config = self.config;
        let zero = [
            ("capacity_events", config.capacity_events == 0),
            ("capacity_bytes", config.capacity_bytes == 0),
            ("batch_events", config.batch_events == 0),
            ("batch_bytes", config.batch_bytes == 0),
            ("in_flight", config.in_flight == 0),
            ("flush_timeout", config.flush_timeout.is_zero()),
            ("request_timeout", config.request_timeout.is_zero()),
        ];
        if let Some((option, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::Zero { option });
        }
        if config.initial_delay > config.max_delay {
            return Err(ConfigError::DelayAboveCap);
        }
        Ok(config)
    }
}
