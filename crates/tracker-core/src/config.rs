//! Every limit of the buffer and of delivery, in one type that cannot hold an invalid value.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::ConfigError;

/// What happens when an event meets a full buffer and the caller does not wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The push is refused and the event comes back inside the error. The default.
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
    /// The most pending (queued and in flight) events; 65,536 unless set. A full buffer is
    /// delivered at once, whatever `linger` and the size of a batch say.
    capacity_events: usize;
    /// The most bytes in pending events; 64 MiB unless set.
    capacity_bytes: usize;
    /// What an emit does when the buffer is full; [`Overflow::Refuse`] unless set.
    overflow: Overflow;
    /// The most events in one batch; 512 unless set.
    batch_events: usize;
    /// The most bytes in one batch, and so in one event; 512 KiB unless set.
    batch_bytes: usize;
    /// The most batches in flight; 1 unless set. More than one gives up the order across batches.
    in_flight: usize;
    /// How long background mode waits for a batch to fill; 200 ms unless set.
    linger: Duration;
    /// The upper bound of the first retry delay; 100 ms unless set. It doubles with every retry,
    /// and zero stays zero: an endpoint that fails at once is then asked again at once, until the
    /// deadline.
    initial_delay: Duration;
    /// The upper bound of every retry delay; 5 s unless set. A server's `Retry-After` may exceed
    /// it.
    max_delay: Duration;
    /// How long a flush may take, retries included; 30 s unless set.
    flush_timeout: Duration;
    /// How long one request may take; 10 s unless set. An attempt that is not the last before a
    /// deadline may get less.
    request_timeout: Duration;
    /// After how many equal failures of requests with the same single event that event is rejected,
    /// with the last answer as its reason; `None`, the default, never: then an event that the far
    /// end always fails to take holds up those behind it until somebody looks.
    ///
    /// Counted are answers that may be the event's fault: none, none in time, one that cannot be
    /// read, 5xx except 501, 503 and 505, and 400, 409, 413 and 422 with a `Retry-After`. A far end
    /// that cannot be reached, or says that it is unavailable, sets nothing aside.
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

/// Builds a [`Config`] and refuses limits that cannot work.
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
