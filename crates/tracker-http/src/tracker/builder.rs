//! The configuration of an `HttpTracker`.

use std::fmt;
use std::sync::Arc;

use tracker_core::{BufferedTracker, Config, EventBuffer, Observer};

use crate::clock::{self, TokioClock};
use crate::error::BuildError;
use crate::event::JsonEvent;
use crate::tracker::HttpTracker;
use crate::tracker::background::Background;
use crate::transport::HttpTransport;
use crate::transport::builder::HttpTransportBuilder;

/// Configures an [`HttpTracker`].
#[must_use]
pub struct HttpTrackerBuilder {
    transport: HttpTransportBuilder,
    config: Config,
    observer: Arc<dyn Observer<JsonEvent>>,
}

impl HttpTracker {
    /// Starts the configuration of a tracker that sends to `endpoint`.
    pub fn builder(endpoint: impl Into<String>) -> HttpTrackerBuilder {
        HttpTrackerBuilder::new(endpoint.into())
    }
}

impl HttpTrackerBuilder {
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            transport: HttpTransport::builder(endpoint),
            config: Config::default(),
            observer: Arc::new(()),
        }
    }

    /// Changes the options of the transport: token, headers, compression and so on.
    pub fn transport(
        mut self,
        change: impl FnOnce(HttpTransportBuilder) -> HttpTransportBuilder,
    ) -> Self {
        self.transport = change(self.transport);
        self
    }

    /// Sends `Authorization: Bearer <token>` with every request; no token unless set.
    pub fn token(self, token: impl Into<String>) -> Self {
        self.transport(|transport| transport.token(token))
    }

    /// Sets the limits of the buffer and of delivery; default: [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Passes the text of events that will not be delivered to `observer`; default: no observer.
    pub fn observer(mut self, observer: Arc<dyn Observer<JsonEvent>>) -> Self {
        self.observer = observer;
        self
    }

    /// Builds a tracker that sends only during a flush or a shutdown.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that is wrong.
    pub fn scoped(self) -> Result<HttpTracker, BuildError> {
        let buffer = EventBuffer::with_size_of(&self.config, JsonEvent::bytes);
        let transport = self.transport.build()?;
        let clock = Arc::new(TokioClock::new());
        let shared = Arc::new(transport.clone());
        // The seed is random, so that many processes do not retry at the same moments.
        let tracker =
            BufferedTracker::with_buffer(buffer, self.config, shared, clock, fastrand::u64(..));
        Ok(HttpTracker {
            inner: Arc::new(tracker.observed_by(self.observer)),
            transport,
            background: None,
        })
    }

    /// Builds a tracker that also sends on a task of its own: when a batch is full, or after
    /// [`Config::linger`].
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that is wrong; [`BuildError::NoRuntime`] outside of a tokio
    /// runtime, and [`BuildError::NoTimer`] in a runtime without timers.
    pub fn background(self) -> Result<HttpTracker, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        if !clock::has_timer() {
            return Err(BuildError::NoTimer);
        }
        let mut tracker = self.scoped()?;
        tracker.background = Some(Background::spawn(&runtime, tracker.inner.clone()));
        Ok(tracker)
    }
}

impl fmt::Debug for HttpTrackerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTrackerBuilder")
            .field("transport", &self.transport)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
