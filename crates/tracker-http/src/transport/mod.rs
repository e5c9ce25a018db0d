//! `HttpTransport`: one hyper client with a keep-alive pool; a batch in, an answer out.

pub(crate) mod builder;

pub(crate) mod exchange;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::header::HeaderName;
use serde::Serialize;
use tracker_core::{Receipt, SendError, SendOptions, Transport};

use crate::event::JsonEvent;
use crate::request::enrichment::UnfitEventError;
use crate::secrets::token::{Token, TokenError};
use crate::sending::while_sending;
use crate::transport::exchange::Exchange;

/// Sends batches of events as JSON by HTTP POST.
///
/// It buffers nothing and retries nothing; [`HttpTracker`](crate::HttpTracker) and the engine do,
/// with tracker-core's policy. Clones share the connections and the token. Connections are pooled
/// for each runtime on its own, and outside of a tokio runtime nothing can be sent. Proxies from
/// the environment are not used.
///
/// `send` has no limit for the far end's answer: a receiver may be busy, and nothing but the time
/// tells it from one that is gone. The policy gives each attempt
/// [`Config::request_timeout`](tracker_core::Config); give it one of yours otherwise. A `send` that
/// is dropped before its answer, or that fails on its connection, retires the connections of the
/// pool: requests under way on them go on, later ones use new connections, so a dead connection
/// costs one attempt.
///
/// What a far end or the network says becomes a reason in errors and reports. Neither there nor in
/// a `Debug` form are these shown, in whatever form they are echoed: the token and up to eight that
/// it has replaced, the values of [`header`](crate::HttpTransportBuilder::header)s, the values in the
/// endpoint's query, and the service key. Eight characters of one in a row are enough to be hidden.
/// Values of fewer than four characters are not searched for.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use tracker_core::{SendOptions, Transport};
/// use tracker_http::HttpTransport;
/// use tracker_http::testing::FaultServer;
///
/// let server = FaultServer::start().await?;
/// let transport = HttpTransport::builder(server.url()).token("s3cret").build()?;
/// let receipt = transport.send(&[serde_json::json!({"eventId": "1"})], SendOptions::default()).await?;
/// assert!(receipt.rejected.is_empty());
/// assert_eq!(server.events(), [serde_json::json!({"eventId": "1"})]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HttpTransport {
    pub(crate) exchange: Arc<Exchange>,
}

impl HttpTransport {
    /// Replaces the bearer token, for this transport and its clones; attempts that begin after the
    /// call have it.
    ///
    /// Events that a refused token has kept back are sent with the new one at the next flush, or by
    /// the background task at its next attempt. The token that was replaced stays hidden in what a
    /// far end says.
    ///
    /// # Errors
    ///
    /// [`TokenError`] if the text cannot be a token; the one before it stays in use.
    pub fn set_token(&self, token: impl Into<String>) -> Result<(), TokenError> {
        self.exchange.credentials.set_token(Token::new(token)?);
        Ok(())
    }

    /// Checks that `event` can be part of a request.
    pub(crate) fn check(&self, event: &JsonEvent) -> Result<(), UnfitEventError> {
        self.exchange.enrichment.check(event)
    }
}

#[async_trait]
impl<E: Serialize + Send + Sync> Transport<E> for HttpTransport {
    async fn send(&self, events: &[E], options: SendOptions) -> Result<Receipt, SendError> {
        while_sending(self.exchange.send(events, options)).await
    }
}

/// Shows where it sends to and how; no token, no header value.
impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self
            .exchange
            .headers
            .keys()
            .map(HeaderName::as_str)
            .collect();
        f.debug_struct("HttpTransport")
            .field("endpoint", &self.exchange.endpoint)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}
