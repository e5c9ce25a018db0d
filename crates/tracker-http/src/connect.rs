//! How connections are made: TCP, TLS with the platform's roots, and the pool that keeps them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::endpoint::Endpoint;
use crate::error::BuildError;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(feature = "tls")]
pub(crate) type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
pub(crate) type Connector = HttpConnector;

/// An HTTP/2 connection on which nothing is heard for this long while a request is under way is asked for a sign of
/// life, and closed if it gives none: else every further request would meet the same silence.
const SILENCE: Duration = Duration::from_secs(3);

/// How long such a connection has for its answer.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// A client that pools connections.
///
/// A request on a pooled connection that the server had closed before the request was written is sent again on
/// another one by hyper-util; one that was written may have been read, and is a matter for the delivery policy.
pub(crate) fn client(connector: Connector, http2_only: bool) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2_only)
        .http2_keep_alive_interval(SILENCE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE)
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .retry_canceled_requests(true)
        .build(connector)
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp
}

#[cfg(not(feature = "tls"))]
pub(crate) fn connector(_endpoint: &Endpoint, _roots: Vec<Vec<u8>>) -> Result<Connector, BuildError> {
    Ok(tcp())
}

#[cfg(feature = "tls")]
pub(crate) fn connector(endpoint: &Endpoint, roots: Vec<Vec<u8>>) -> Result<Connector, BuildError> {
    use std::sync::Arc;

    let tls = |reason: String| BuildError::Tls { reason };
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.into()).map_err(|error| tls(error.to_string()))?;
    }
    if endpoint.is_https() {
        let native = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(native.certs);
        if store.is_empty() {
            return Err(tls(format!("the platform has no usable root certificate {:?}", native.errors)));
        }
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    let mut tcp = tcp();
    tcp.enforce_http(false);
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(builder.enable_all_versions().wrap_connector(tcp))
}
