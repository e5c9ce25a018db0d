//! The configuration of an `HttpTransport`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::connector::Connector;
use crate::connection::pool::Connections;
use crate::connection::resolver::{self, Lookup, Resolver};
#[cfg(feature = "tls")]
use crate::connection::tls::{ClientIdentity, Tls};
use crate::endpoint::Endpoint;
use crate::error::BuildError;
use crate::request::enrichment::Enrichment;
use crate::request::headers;
use crate::secrets::credentials::Credentials;
use crate::secrets::token::Token;
use crate::transport::HttpTransport;
use crate::transport::exchange::Exchange;

/// Configures an [`HttpTransport`].
#[derive(Clone)]
#[must_use]
pub struct HttpTransportBuilder {
    endpoint: String,
    allows_plain_http: bool,
    token: Option<String>,
    headers: Vec<(String, String)>,
    public_headers: Vec<(String, String)>,
    enrichment: Enrichment,
    gzip: bool,
    http2_only: bool,
    connect_timeout: Duration,
    lookup: Lookup,
    #[cfg(feature = "tls")]
    roots: Vec<Vec<u8>>,
    #[cfg(feature = "tls")]
    identity: Option<ClientIdentity>,
}

/// The default of [`HttpTransportBuilder::connect_timeout`].
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

impl HttpTransport {
    /// Starts the configuration of a transport to `endpoint`, a URL such as
    /// `https://host/v1/events`.
    pub fn builder(endpoint: impl Into<String>) -> HttpTransportBuilder {
        HttpTransportBuilder {
            endpoint: endpoint.into(),
            allows_plain_http: false,
            token: None,
            headers: Vec::new(),
            public_headers: Vec::new(),
            enrichment: Enrichment::default(),
            gzip: false,
            http2_only: false,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            lookup: resolver::system_lookup(),
            #[cfg(feature = "tls")]
            roots: Vec::new(),
            #[cfg(feature = "tls")]
            identity: None,
        }
    }
}

impl HttpTransportBuilder {
    /// Sends `Authorization: Bearer <token>` with every request; no token unless set.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sends an additional header with every request. The value is a secret: no error shows it.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends an additional header with every request. The value is public: an error may show it, if
    /// the server repeats it.
    pub fn public_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.public_headers.push((name.into(), value.into()));
        self
    }

    /// Adds the field `env` to every event; it replaces a field of the same name.
    pub fn env(mut self, env: impl Into<String>) -> Self {
        self.enrichment.set("env", env.into());
        self
    }

    /// Adds the field `serviceKey` to every event; it replaces a field of the same name. The value
    /// is a secret: no error shows it.
    pub fn service_key(mut self, key: impl Into<String>) -> Self {
        self.enrichment.set("serviceKey", key.into());
        self
    }

    /// Compresses bodies above 1 KiB with gzip; off unless called. After the answer 415, bodies are
    /// sent plain.
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Uses HTTP/2 from the first byte. Unless called, https negotiates the version and http uses
    /// HTTP/1.1.
    pub fn http2_only(mut self) -> Self {
        self.http2_only = true;
        self
    }

    /// Allows plain `http` to any host. Unless called, it is allowed on loopback and private
    /// networks only (see [`Endpoint`]).
    pub fn allow_plain_http(mut self) -> Self {
        self.allows_plain_http = true;
        self
    }

    /// Limits how long connecting may take; default: 3 s.
    ///
    /// The limit applies twice: to the lookup of the host's name, and then to the connection, which
    /// is TCP to any of the host's addresses and the TLS handshake. Every address is tried within
    /// the first half of the limit: the next address is tried when one fails, or in parallel after
    /// 250 ms without a response. An attempt that reaches the limit has failed, and its reason says
    /// which part did not finish in time. A lookup continues after the limit, and serves the next
    /// attempt. The limit of the whole attempt, [`Config::request_timeout`](tracker_core::Config),
    /// applies as well.
    ///
    /// [`build`](Self::build) refuses zero.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Presents this certificate to a server that asks for one (mutual TLS); none unless set.
    ///
    /// `chain` is the certificate, followed by its issuers without the root, each in DER. `key` is
    /// the private key of the certificate in DER, as PKCS#8, SEC1 or PKCS#1. No `Debug` form and no
    /// error shows the key. A plain `http` endpoint gets no certificate. [`build`](Self::build)
    /// refuses a certificate or key that cannot be used, with [`BuildError::ClientCertificate`].
    #[cfg(feature = "tls")]
    pub fn client_certificate(mut self, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Self {
        self.identity = Some(ClientIdentity { chain, key });
        self
    }

    /// Replaces the system's resolver.
    #[cfg(test)]
    pub(crate) fn lookup(mut self, lookup: Lookup) -> Self {
        self.lookup = lookup;
        self
    }

    /// Trusts an additional root certificate (DER) besides those of the platform.
    #[cfg(feature = "tls")]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into());
        self
    }

    /// Checks the configuration and builds the transport. Connections are made when they are
    /// needed.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the option that is wrong.
    pub fn build(self) -> Result<HttpTransport, BuildError> {
        let endpoint = if self.allows_plain_http {
            Endpoint::allow_plain_http(&self.endpoint)?
        } else {
            self.endpoint.parse::<Endpoint>()?
        };
        let token = self.token.map(Token::new).transpose()?;
        let secrets = headers::configured_secrets(&endpoint, &self.headers, &self.enrichment);
        let headers = headers::common(self.headers, self.public_headers)?;
        if self.connect_timeout.is_zero() {
            return Err(BuildError::Zero {
                option: "connect_timeout",
            });
        }
        let connector = Connector {
            resolver: Arc::new(Resolver::new(
                endpoint.host().clone(),
                endpoint.port(),
                self.lookup,
            )),
            limit: self.connect_timeout,
            #[cfg(feature = "tls")]
            tls: Tls::new(&endpoint, self.roots, self.identity, self.http2_only)?,
        };
        let connections = Connections::new(connector, self.http2_only);
        let credentials = Credentials::new(token, secrets);
        let exchange = Exchange::new(
            connections,
            endpoint,
            headers,
            credentials,
            self.enrichment,
            self.gzip,
        );
        Ok(HttpTransport {
            exchange: Arc::new(exchange),
        })
    }
}

/// Shows only whether a token is set, because the endpoint is not checked yet and may contain
/// credentials.
impl fmt::Debug for HttpTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransportBuilder")
            .field("token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}
