//! Connections: one way to open them all, with TLS or without.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::Connect;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};

use crate::error::ConnectError;

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) config: Config,
    #[cfg(feature = "rustls")]
    tls: tokio_postgres_rustls::MakeRustlsConnect,
}

impl Connector {
    /// Completes a configuration.
    pub(crate) fn new(mut config: Config) -> Result<Self, ConnectError> {
        if config.get_application_name().is_none() {
            config.application_name("workflow-postgres");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        // A server that is gone, or a network that is cut, must be noticed before the lease of the worker is over.
        config.keepalives_idle(config.get_keepalives_idle().min(Duration::from_secs(10)));
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(Duration::from_secs(5));
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(20));
        }
        if !cfg!(feature = "rustls") && config.get_ssl_mode() == SslMode::Require {
            return Err(ConnectError::Tls("sslmode=require needs the feature rustls of workflow-postgres".into()));
        }
        Ok(Self {
            config,
            #[cfg(feature = "rustls")]
            tls: tls()?,
        })
    }

    /// Opens a connection. What the server says unasked goes to `heard`.
    pub(crate) async fn open(
        &self,
        heard: Option<UnboundedSender<String>>,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        #[cfg(feature = "rustls")]
        if self.config.get_ssl_mode() != SslMode::Disable {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            return Ok((client, drive(connection, heard)));
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        Ok((client, drive(connection, heard)))
    }
}

/// Drives a connection until it ends, on a task of its own.
fn drive<S, T>(mut connection: Connection<S, T>, heard: Option<UnboundedSender<String>>) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |poller| connection.poll_message(poller));
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(note)) => {
                    if let Some(heard) = &heard {
                        // Whoever listens may have gone.
                        let _ = heard.send(note.payload().to_owned());
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection to the database has ended");
                    return;
                }
            }
        }
    })
}

#[cfg(feature = "rustls")]
fn tls() -> Result<tokio_postgres_rustls::MakeRustlsConnect, ConnectError> {
    let failed = |error: &dyn fmt::Display| ConnectError::Tls(error.to_string());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

impl Connect for Connector {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        self.open(None).boxed()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration shows no password.
        f.debug_struct("Connector").field("config", &self.config).finish_non_exhaustive()
    }
}
