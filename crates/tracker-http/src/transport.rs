//! `HttpTransport`: one hyper client with a keep-alive pool; a batch in, an answer out.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::client::legacy::{Client, Error as ClientError};
use serde::Serialize;
use tracker_core::{Receipt, SendError, SendOptions, Transport};

use crate::answer;
use crate::connect::{self, Connector};
use crate::encode::{self, Enrichment};
use crate::endpoint::Endpoint;
use crate::error::BuildError;
use crate::token::Token;

/// Sends batches of events as JSON by HTTP POST.
///
/// It buffers nothing and retries nothing; [`HttpTracker`](crate::HttpTracker) and the engine do, with
/// tracker-core's policy. Cloning it shares the connection pool. Proxies from the environment are not used.
///
/// # Panics
///
/// `send` panics outside of a tokio runtime.
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
    client: Client<Connector, Full<Bytes>>,
    endpoint: Endpoint,
    headers: HeaderMap,
    token: Option<Token>,
    enrichment: Enrichment,
    #[cfg_attr(not(feature = "gzip"), expect(dead_code, reason = "there is nothing to switch on"))]
    gzip: bool,
}

impl HttpTransport {
    /// Starts the configuration of a transport to `endpoint`, a URL such as `https://host/v1/events`.
    pub fn builder(endpoint: impl Into<String>) -> HttpTransportBuilder {
        HttpTransportBuilder {
            endpoint: endpoint.into(),
            plain_http: false,
            token: None,
            headers: Vec::new(),
            enrichment: Enrichment::default(),
            gzip: false,
            http2_only: false,
            roots: Vec::new(),
        }
    }

    fn request<E: Serialize>(
        &self,
        events: &[E],
        options: SendOptions,
    ) -> Result<(Request<Full<Bytes>>, bool), SendError> {
        let (body, encoded) = self.compress(encode::body(events, &self.enrichment)?, options);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri().clone();
        *request.headers_mut() = self.headers.clone();
        if encoded {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok((request, encoded))
    }

    #[cfg(feature = "gzip")]
    fn compress(&self, body: Vec<u8>, options: SendOptions) -> (Bytes, bool) {
        if self.gzip && !options.plain { encode::gzip(body) } else { (body.into(), false) }
    }

    #[cfg(not(feature = "gzip"))]
    #[expect(clippy::unused_self, reason = "the signature is that of the variant with gzip")]
    fn compress(&self, body: Vec<u8>, _options: SendOptions) -> (Bytes, bool) {
        (body.into(), false)
    }
}

#[async_trait]
impl<E: Serialize + Send + Sync> Transport<E> for HttpTransport {
    async fn send(&self, events: &[E], options: SendOptions) -> Result<Receipt, SendError> {
        let (request, encoded) = self.request(events, options)?;
        match self.client.request(request).await {
            Ok(response) => answer::read(response, encoded, self.token.as_ref()).await,
            Err(error) => Err(SendError::no_answer(chain(&error))),
        }
    }
}

/// The error and its causes; hyper's own text leaves out what the system said.
fn chain(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Shows where it sends to and how; no token, no header value.
impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().map(HeaderName::as_str).collect();
        f.debug_struct("HttpTransport")
            .field("endpoint", &self.endpoint)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// Configures an [`HttpTransport`].
#[derive(Clone)]
#[must_use]
pub struct HttpTransportBuilder {
    endpoint: String,
    plain_http: bool,
    token: Option<String>,
    headers: Vec<(String, String)>,
    enrichment: Enrichment,
    gzip: bool,
    http2_only: bool,
    roots: Vec<Vec<u8>>,
}

impl HttpTransportBuilder {
    /// Sends `Authorization: Bearer <token>`; none unless set.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sends a further header with every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds the field `env` to every event; it wins over a field of the same name.
    pub fn env(mut self, env: impl Into<String>) -> Self {
        self.enrichment.set("env", env.into());
        self
    }

    /// Adds the field `serviceKey` to every event; it wins over a field of the same name.
    pub fn service_key(mut self, key: impl Into<String>) -> Self {
        self.enrichment.set("serviceKey", key.into());
        self
    }

    /// Compresses bodies above 1 KiB with gzip; off unless called. A far end that answers 415 gets them plain.
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Speaks HTTP/2 from the first byte; unless called, https negotiates the version and http is HTTP/1.1.
    pub fn http2_only(mut self) -> Self {
        self.http2_only = true;
        self
    }

    /// Accepts plain `http` to any host, not only on loopback and private networks (see [`Endpoint`]).
    pub fn allow_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Trusts a further root certificate (DER) beside the platform's.
    #[cfg(feature = "tls")]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into());
        self
    }

    /// Checks the configuration and makes the transport; connections are made when they are needed.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that is wrong.
    pub fn build(self) -> Result<HttpTransport, BuildError> {
        let endpoint = if self.plain_http {
            Endpoint::allow_plain_http(&self.endpoint)?
        } else {
            self.endpoint.parse::<Endpoint>()?
        };
        let token = self.token.map(Token::new).transpose()?;
        let headers = headers(self.headers, token.as_ref())?;
        let connector = connect::connector(&endpoint, self.roots)?;
        let client = connect::client(connector, self.http2_only);
        Ok(HttpTransport { client, endpoint, headers, token, enrichment: self.enrichment, gzip: self.gzip })
    }
}

/// The headers of every request.
fn headers(custom: Vec<(String, String)>, token: Option<&Token>) -> Result<HeaderMap, BuildError> {
    const RESERVED: [&str; 8] = [
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "host",
        "connection",
        "user-agent",
        "authorization",
    ];
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tracker-http/", env!("CARGO_PKG_VERSION"))));
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token.header());
    }
    for (name, value) in custom {
        let (Ok(header), Ok(mut value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            return Err(BuildError::Header { name });
        };
        if RESERVED.contains(&header.as_str()) {
            return Err(BuildError::ReservedHeader { name });
        }
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

/// Shows next to nothing: the endpoint is not checked yet and may hold credentials.
impl fmt::Debug for HttpTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransportBuilder").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}
