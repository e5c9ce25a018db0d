//! `HttpTracker`: tracker-core's buffer and protocol over `HttpTransport`, for programs without an engine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tracker_core::{
    Books, BufferedTracker, Config, DeliveryReport, EventBuffer, FlushReport, Observer, PushError, Reason, Tracker,
};

use crate::clock::{self, TokioClock};
use crate::error::BuildError;
use crate::transport::{HttpTransport, HttpTransportBuilder};

/// Delivers serializable events to an HTTP endpoint.
///
/// An event is encoded when it is emitted: one that cannot be encoded comes back at once, its size is known to the
/// byte, and no retry encodes it again.
///
/// *Scoped* trackers do nothing in the background: events are sent by [`flush`](Self::flush) and
/// [`shutdown`](Self::shutdown), on the caller's task. *Background* trackers also send on a task of their own.
/// Dropping one without a shutdown drops what is pending, and logs an error that says how many events that were.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::time::Duration;
/// use tracker_http::HttpTracker;
/// use tracker_http::testing::FaultServer;
///
/// #[derive(serde::Serialize)]
/// struct Deployed {
///     service: &'static str,
/// }
///
/// let server = FaultServer::start().await?;
/// let tracker = HttpTracker::builder(server.url()).scoped()?;
/// tracker.emit(Deployed { service: "api" })?;
/// let report = tracker.shutdown(Duration::from_secs(5)).await;
/// assert_eq!(report.to_string(), "1 accepted = 1 delivered + 0 rejected + 0 dropped + 0 returned + 0 pending");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HttpTracker<E> {
    inner: Arc<BufferedTracker<Encoded<E>>>,
    background: Option<JoinHandle<()>>,
}

/// An event and its JSON form.
struct Encoded<E> {
    event: E,
    json: Box<RawValue>,
}

impl<E> Encoded<E> {
    /// Its bytes in a request: the JSON text and a comma.
    fn bytes(&self) -> usize {
        self.json.get().len() + 1
    }
}

impl<E> Serialize for Encoded<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl HttpTracker<()> {
    /// Starts the configuration of a tracker that sends to `endpoint`.
    ///
    /// The type of the events is that of the tracker that the builder makes.
    pub fn builder<E>(endpoint: impl Into<String>) -> HttpTrackerBuilder<E>
    where
        E: Serialize + Send + Sync + 'static,
    {
        HttpTrackerBuilder {
            transport: HttpTransport::builder(endpoint),
            config: Config::default(),
            observer: Arc::new(()),
        }
    }
}

impl<E: Serialize + Send + Sync + 'static> HttpTracker<E> {
    /// Encodes and accepts `event`, or gives it back; never waits.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside.
    pub fn emit(&self, event: E) -> Result<(), PushError<E>> {
        self.inner.emit(encode(event)?).map_err(decode)
    }

    /// Encodes `event`, waits for room, and accepts it.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside; never `Full`.
    ///
    /// # Cancel safety
    ///
    /// **An event whose emit was dropped while it waited was not accepted, and is dropped with the future.**
    pub async fn emit_wait(&self, event: E) -> Result<(), PushError<E>> {
        self.inner.emit_wait(encode(event)?).await.map_err(decode)
    }

    /// Delivers what was accepted before the call; see [`Tracker::flush`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn flush(&self) -> FlushReport {
        self.inner.flush().await
    }

    /// Stops accepting, delivers for at most `timeout`, and hands the rest back; see [`Tracker::shutdown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E> {
        self.inner.shutdown(timeout).await.map(|encoded| encoded.event)
    }

    /// Returns where every accepted event is.
    pub fn books(&self) -> Books {
        self.inner.books()
    }
}

fn encode<E: Serialize>(event: E) -> Result<Encoded<E>, PushError<E>> {
    match serde_json::value::to_raw_value(&event) {
        Ok(json) => Ok(Encoded { event, json }),
        Err(error) => Err(PushError::Unencodable { event, reason: Reason::new(error.to_string()) }),
    }
}

fn decode<E>(refused: PushError<Encoded<E>>) -> PushError<E> {
    refused.map(|encoded| encoded.event)
}

/// Ends the background task; it only ever holds leases, which give their events back.
impl<E> Drop for HttpTracker<E> {
    fn drop(&mut self) {
        if let Some(task) = &self.background {
            task.abort();
        }
    }
}

#[async_trait]
impl<E: Serialize + Send + Sync + 'static> Tracker<E> for HttpTracker<E> {
    fn emit(&self, event: E) -> Result<(), PushError<E>> {
        Self::emit(self, event)
    }

    async fn flush(&self) -> FlushReport {
        Self::flush(self).await
    }

    async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E> {
        Self::shutdown(self, timeout).await
    }

    fn books(&self) -> Books {
        Self::books(self)
    }
}

impl<E> fmt::Debug for HttpTracker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTracker").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Configures an [`HttpTracker`].
#[must_use]
pub struct HttpTrackerBuilder<E> {
    transport: HttpTransportBuilder,
    config: Config,
    observer: Arc<dyn Observer<E>>,
}

impl<E: Serialize + Send + Sync + 'static> HttpTrackerBuilder<E> {
    /// Changes the transport's options: token, headers, compression and so on.
    pub fn transport(mut self, change: impl FnOnce(HttpTransportBuilder) -> HttpTransportBuilder) -> Self {
        self.transport = change(self.transport);
        self
    }

    /// Sends `Authorization: Bearer <token>`; none unless set.
    pub fn token(self, token: impl Into<String>) -> Self {
        self.transport(|transport| transport.token(token))
    }

    /// Sets the limits of the buffer and of delivery; the defaults of [`Config`] unless set.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Hands the events that will not be delivered to `observer`.
    pub fn observer(mut self, observer: Arc<dyn Observer<E>>) -> Self {
        self.observer = observer;
        self
    }

    /// Makes a tracker that sends only when it is flushed or shut down.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that is wrong.
    pub fn scoped(self) -> Result<HttpTracker<E>, BuildError> {
        let buffer = EventBuffer::with_size_of(&self.config, Encoded::bytes);
        let (transport, clock) = (Arc::new(self.transport.build()?), Arc::new(TokioClock::new()));
        // Retries of many processes must not come in step, so the seed is the system's.
        let tracker = BufferedTracker::with_buffer(buffer, self.config, transport, clock, fastrand::u64(..));
        let inner = Arc::new(tracker.observed_by(Arc::new(Decoding(self.observer))));
        Ok(HttpTracker { inner, background: None })
    }

    /// Makes a tracker that also sends on a task of its own: when a batch is full, or after [`Config::linger`].
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that is wrong; [`BuildError::NoRuntime`] outside of a tokio runtime,
    /// and [`BuildError::NoTimer`] in one without timers.
    pub fn background(self) -> Result<HttpTracker<E>, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        if !clock::has_timer() {
            return Err(BuildError::NoTimer);
        }
        let mut tracker = self.scoped()?;
        let inner = tracker.inner.clone();
        tracker.background = Some(runtime.spawn(async move { inner.run().await }));
        Ok(tracker)
    }
}

impl<E> fmt::Debug for HttpTrackerBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTrackerBuilder")
            .field("transport", &self.transport)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Shows the user's observer the event without its encoded form.
struct Decoding<E>(Arc<dyn Observer<E>>);

impl<E> Observer<Encoded<E>> for Decoding<E> {
    fn dropped(&self, encoded: Encoded<E>) {
        self.0.dropped(encoded.event);
    }

    fn rejected(&self, encoded: Encoded<E>, reason: &Reason) {
        self.0.rejected(encoded.event, reason);
    }
}
