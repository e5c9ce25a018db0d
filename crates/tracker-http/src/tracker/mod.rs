//! `HttpTracker`: tracker-core's buffer and protocol over `HttpTransport`, for programs without an
//! engine.

pub(crate) mod builder;

pub(crate) mod background;
pub(crate) mod blocking;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tracker_core::{
    Books, BufferedTracker, DeliveryReport, FlushReport, PushError, Reason, Tracker, TrackerReport,
};

use crate::event::JsonEvent;
use crate::request::enrichment::UnfitEventError;
use crate::secrets::token::TokenError;
use crate::sending::while_sending;
use crate::tracker::background::Background;
use crate::tracker::blocking::{BlockingError, block_on};
use crate::transport::HttpTransport;

/// Delivers serializable events to an HTTP endpoint.
///
/// An event is encoded when it is emitted. So an event that cannot be encoded comes back at once,
/// the size of every event is known to the byte, and no retry encodes an event again. The tracker
/// keeps the JSON text ([`JsonEvent`]) and nothing else; it returns this text and shows it to its
/// observer.
///
/// # Memory
///
/// [`capacity_bytes`](tracker_core::Config::capacity_bytes) counts the JSON text that is held, and
/// one byte per event for the comma. In memory the program holds this text, 32 bytes per event for
/// its place in the queue (up to twice as much while the queue grows), and the bytes that the
/// allocator leaves unused. A text is encoded in a buffer that doubles from 128 bytes, and the
/// buffer is then cut to the length of the text; an allocator that cannot use the rest holds the
/// whole buffer. With glibc, 16 MiB of text take 18 MiB as events of 270 or 720 bytes, 33 MiB as
/// events of 1020 bytes, and 78 MiB as events of 36 bytes. While a batch is sent, the program also
/// holds a copy of its text.
///
/// # Modes
///
/// *Scoped* trackers do nothing in the background: [`flush`](Self::flush) and
/// [`shutdown`](Self::shutdown) send the events, on the caller's task. *Background* trackers also
/// send on a task of their own. A tracker that is dropped without a shutdown drops its pending
/// events, and logs an error with their number.
///
/// # Other executors
///
/// The futures need a tokio runtime, and that runtime must run. **`block_on` of another executor
/// (`futures`, `pollster`), called on the thread of a current-thread runtime, hangs past every
/// deadline, because the timers that would end the wait belong to the blocked runtime.** Await the
/// future there, or call [`shutdown_blocking`](Self::shutdown_blocking) outside of every runtime;
/// inside a runtime, `shutdown_blocking` returns an error at once.
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
pub struct HttpTracker {
    pub(crate) inner: Arc<BufferedTracker<JsonEvent>>,
    pub(crate) transport: HttpTransport,
    pub(crate) background: Option<Background>,
}

impl HttpTracker {
    /// Encodes and accepts `event`, or returns it in the error; never waits.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside: `Unencodable` if the event has no JSON form (a number
    /// that is not finite has none), or if fields are added to every event and this event is not an
    /// object.
    pub fn emit<E: Serialize>(&self, event: E) -> Result<(), PushError<E>> {
        let json = match self.encode(&event) {
            Ok(json) => json,
            Err(unfit) => return Err(unencodable(event, &unfit)),
        };
        self.inner
            .emit(json)
            .map_err(|refused| refused.map(|_| event))
    }

    /// Encodes `event`, waits for room, and accepts it.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside, as [`emit`](Self::emit) does; never `Full`.
    ///
    /// # Cancel safety
    ///
    /// **If the future is dropped while it waits, the event is not accepted and is dropped with the
    /// future.**
    pub async fn emit_wait<E: Serialize>(&self, event: E) -> Result<(), PushError<E>> {
        let json = match self.encode(&event) {
            Ok(json) => json,
            Err(unfit) => return Err(unencodable(event, &unfit)),
        };
        self.inner
            .emit_wait(json)
            .await
            .map_err(|refused| refused.map(|_| event))
    }

    fn encode<E: Serialize>(&self, event: &E) -> Result<JsonEvent, UnfitEventError> {
        let json = JsonEvent::encode(event)?;
        self.transport.check(&json)?;
        Ok(json)
    }

    /// Delivers the events that were accepted before the call; see [`Tracker::flush`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn flush(&self) -> FlushReport {
        while_sending(self.inner.flush()).await
    }

    /// Stops accepting events, delivers for at most `timeout`, and returns the rest; see
    /// [`Tracker::shutdown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn shutdown(&self, timeout: Duration) -> DeliveryReport<JsonEvent> {
        while_sending(self.inner.shutdown(timeout)).await
    }

    /// Blocks the calling thread until [`flush`](Self::flush) is done, for programs without a
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`BlockingError`] if the call cannot be made; then nothing was sent, and the events stay
    /// pending.
    pub fn flush_blocking(&self) -> Result<FlushReport, BlockingError> {
        block_on(self.flush())
    }

    /// Blocks the calling thread until [`shutdown`](Self::shutdown) is done, for a `main` without a
    /// runtime.
    ///
    /// The call makes a runtime of its own. Events that the task of a background tracker has in
    /// flight come back only if the runtime of that task runs meanwhile. A multi-thread runtime
    /// does; a current-thread runtime runs only within its own `block_on`, so call
    /// [`shutdown`](Self::shutdown) there. Otherwise the report counts these events as pending.
    ///
    /// # Errors
    ///
    /// [`BlockingError`] if the call cannot be made; then the tracker is still open, and the events
    /// stay pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tracker_http::HttpTracker;
    ///
    /// # let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    /// # let server = servers.block_on(tracker_http::testing::FaultServer::start())?;
    /// # let url = server.url();
    /// let tracker = HttpTracker::builder(url).scoped()?;
    /// tracker.emit(serde_json::json!({"type": "backup.completed"}))?;
    /// let report = tracker.shutdown_blocking(Duration::from_secs(10))?;
    /// assert!(report.ok().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown_blocking(
        &self,
        timeout: Duration,
    ) -> Result<DeliveryReport<JsonEvent>, BlockingError> {
        block_on(self.shutdown(timeout))
    }

    /// Replaces the bearer token; see [`HttpTransport::set_token`].
    ///
    /// # Errors
    ///
    /// [`TokenError`] if the text cannot be a token; the current token stays in use.
    pub fn set_token(&self, token: impl Into<String>) -> Result<(), TokenError> {
        self.transport.set_token(token)
    }

    /// Returns the books: how many accepted events are where.
    pub fn books(&self) -> Books {
        self.inner.books()
    }

    /// Returns the state of delivery: the books, the last failure, the first rejections, and
    /// whether background delivery has ended although the tracker is open. The call delivers
    /// nothing.
    pub fn report(&self) -> TrackerReport {
        self.inner.report()
    }
}

fn unencodable<E>(event: E, unfit: &UnfitEventError) -> PushError<E> {
    PushError::Unencodable {
        event,
        reason: Reason::new(unfit.to_string()),
    }
}

#[async_trait]
impl Tracker<JsonEvent> for HttpTracker {
    fn emit(&self, event: JsonEvent) -> Result<(), PushError<JsonEvent>> {
        match self.transport.check(&event) {
            Ok(()) => self.inner.emit(event),
            Err(unfit) => Err(unencodable(event, &unfit)),
        }
    }

    async fn flush(&self) -> FlushReport {
        Self::flush(self).await
    }

    async fn shutdown(&self, timeout: Duration) -> DeliveryReport<JsonEvent> {
        Self::shutdown(self, timeout).await
    }

    fn books(&self) -> Books {
        Self::books(self)
    }
}

impl fmt::Debug for HttpTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTracker")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
