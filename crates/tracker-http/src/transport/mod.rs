//! `HttpTransport`: sends a batch as one request, and returns the answer.

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
/// The transport buffers nothing and retries nothing; [`HttpTracker`](crate::HttpTracker) and the
/// engine do, with the policy of tracker-core. Clones share the connections and the token. Each
/// tokio runtime has its own pool of connections, and outside of a runtime `send` fails. Proxies
/// from the environment are not used.
///
/// `send` itself does not limit the wait for the answer, because only time tells a busy server from
/// one that is gone. The policy of tracker-core limits each attempt to
/// [`Config::request_timeout`](tracker_core::Config); without that policy, set a timeout of your
/// own. If a `send` is dropped before its answer, or fails on its connection, the transport retires
/// the connections of the pool: requests in flight on them continue, and later requests use new
/// connections. So a dead connection costs one attempt.
///
/// # Secrets
///
/// Errors and reports contain a reason, which is text from the server or the network. Neither a
/// reason nor a `Debug` form shows these secrets, in any form in which a server may echo them: the
/// token and up to eight replaced tokens, the values of
/// [`header`](crate::HttpTransportBuilder::header)s, the values in the endpoint's query, and the
/// service key. Eight consecutive characters of a secret are already hidden. Values of fewer than
/// four characters are not searched for.
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
    /// Replaces the bearer token of this transport and its clones; attempts that begin after the
    /// call use the new token.
    ///
    /// Events that are pending because the server refused the old token are sent with the new one
    /// at the next flush, or by the background task at its next attempt. The old token stays hidden
    /// in reasons.
    ///
    /// # Errors
    ///
    /// [`TokenError`] if the text cannot be a token; the current token stays in use.
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

/// Shows the endpoint and the names of the headers; no token, no header value.
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
