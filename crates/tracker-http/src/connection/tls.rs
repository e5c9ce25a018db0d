//! TLS: the trusted roots and the client certificate.

use std::fmt;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::Endpoint;
use crate::endpoint::host::Host;
use crate::error::BuildError;

/// The TLS configuration for one endpoint.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    server: ServerName<'static>,
}

/// A certificate chain and its private key, all in DER; the type has no `Debug` form, so the key is
/// not shown.
#[derive(Clone)]
pub(crate) struct ClientIdentity {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

impl Tls {
    /// Prepares handshakes with `endpoint`. Checks the options in every case; returns `None` for a
    /// plain http endpoint.
    pub(crate) fn new(
        endpoint: &Endpoint,
        roots: Vec<Vec<u8>>,
        identity: Option<ClientIdentity>,
        http2_only: bool,
    ) -> Result<Option<Self>, BuildError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.into()).map_err(tls_error)?;
        }
        if endpoint.is_https() {
            let native = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(native.certs);
            if store.is_empty() {
                return Err(tls_error(format!(
                    "the platform has no usable root certificate {:?}",
                    native.errors
                )));
            }
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(tls_error)?
                .with_root_certificates(store);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.parse()?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(certificate_error)?
            }
        };
        if !endpoint.is_https() {
            return Ok(None);
        }
        config.alpn_protocols.push(b"h2".to_vec());
        if !http2_only {
            config.alpn_protocols.push(b"http/1.1".to_vec());
        }
        let server = server_name(endpoint.host()).map_err(tls_error)?;
        Ok(Some(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server,
        }))
    }

    /// Completes the TLS handshake on `tcp`.
    ///
    /// # Errors
    ///
    /// The error of rustls or the socket, for instance that the certificate is not trusted.
    pub(crate) async fn handshake(
        &self,
        tcp: TokioIo<TcpStream>,
    ) -> io::Result<TlsStream<TokioIo<TokioIo<TcpStream>>>> {
        self.connector
            .connect(self.server.clone(), TokioIo::new(tcp))
            .await
    }
}

impl ClientIdentity {
    fn parse(
        self,
    ) -> Result<
        (
            Vec<rustls::pki_types::CertificateDer<'static>>,
            PrivateKeyDer<'static>,
        ),
        BuildError,
    > {
        if self.chain.is_empty() {
            return Err(certificate_error("it has no certificate"));
        }
        let key = PrivateKeyDer::try_from(self.key)
            .map_err(|_| certificate_error("the key is not PKCS#8, SEC1 or PKCS#1"))?;
        Ok((self.chain.into_iter().map(Into::into).collect(), key))
    }
}

/// Returns the name to verify: without the dot at its end, which certificates do not have.
fn server_name(host: &Host) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match host {
        Host::Address(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => host.bare_name().unwrap_or(name).to_owned().try_into(),
    }
}

fn tls_error(reason: impl fmt::Display) -> BuildError {
    BuildError::Tls {
        reason: reason.to_string(),
    }
}

fn certificate_error(reason: impl fmt::Display) -> BuildError {
    BuildError::ClientCertificate {
        reason: reason.to_string(),
    }
}
