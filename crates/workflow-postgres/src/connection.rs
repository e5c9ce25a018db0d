//! Opening connections, with and without TLS.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures::future::{BoxFuture, join_all, pending};
use futures::{FutureExt, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection, NoTls};

use crate::error::ConnectError;

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) config: Config,
    /// A configuration for each host alone.
    hosts: Vec<Config>,
    /// The host and the address that answered last.
    last: Arc<Mutex<Option<Config>>>,
    #[cfg(feature = "rustls")]
    tls: tokio_postgres_rustls::MakeRustlsConnect,
}

impl Connector {
    /// Completes a configuration with the settings that the store depends on.
    pub(crate) fn new(mut config: Config) -> Result<Self, ConnectError> {
        if config.get_application_name().is_none() {
            config.application_name("workflow-postgres");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        // The loss of the server or the network must be detected before the lease of the worker
        // expires.
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
        // A replica accepts no writes, and its reads may be old.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if !cfg!(feature = "rustls") && config.get_ssl_mode() == SslMode::Require {
            return Err(ConnectError::Tls(
                "sslmode=require needs the feature rustls of workflow-postgres".into(),
            ));
        }
        Ok(Self {
            hosts: hosts(&config),
            last: Arc::default(),
            config,
            #[cfg(feature = "rustls")]
            tls: tls()?,
        })
    }

    /// Returns how long opening a connection may take; a host may have several addresses.
    pub(crate) fn limit(&self) -> Duration {
        timeout_of(&self.config) * u32::try_from(self.hosts.len()).unwrap_or(1).max(3)
    }

    /// Returns a configuration for each address of each host, beginning with the one that answered
    /// last.
    async fn targets(&self) -> Vec<Config> {
        let mut targets: Vec<_> = join_all(self.hosts.iter().map(addresses)).await.concat();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = targets
            .iter()
            .position(|target| Some(target) == last.as_ref())
        {
            targets.rotate_left(first);
        }
        targets
    }

    /// Opens a connection to the host that answered last, or to the next one that answers.
    /// Notifications of the server go to `notifications`.
    pub(crate) async fn open(
        &self,
        notifications: Option<UnboundedSender<String>>,
    ) -> Result<(Client, JoinHandle<()>), ConnectError> {
        let mut failed = None;
        for target in self.targets().await {
            // A host that accepts connections and then is silent must not hide the others.
            let within = timeout_of(&target);
            match timeout(within, self.open_one(&target, notifications.clone())).await {
                Ok(Ok(opened)) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
                    return Ok(opened);
                }
                Ok(Err(error)) => failed = Some(error.into()),
                Err(_) => failed = Some(ConnectError::Silent { within }),
            }
        }
        Err(failed.unwrap_or_else(|| ConnectError::Pool("no host".into())))
    }

    async fn open_one(
        &self,
        host: &Config,
        notifications: Option<UnboundedSender<String>>,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        #[cfg(feature = "rustls")]
        if host.get_ssl_mode() != SslMode::Disable {
            let (client, connection) = host.connect(self.tls.clone()).await?;
            return Ok((client, drive(connection, notifications)));
        }
        let (client, connection) = host.connect(NoTls).await?;
        Ok((client, drive(connection, notifications)))
    }

    /// Asks the server to cancel the statement of a connection whose caller has gone.
    pub(crate) async fn cancel(&self, token: CancelToken) {
        let cancel = async {
            #[cfg(feature = "rustls")]
            if self.config.get_ssl_mode() != SslMode::Disable {
                return token.cancel_query(self.tls.clone()).await;
            }
            token.cancel_query(NoTls).await
        };
        if !matches!(timeout(Duration::from_secs(10), cancel).await, Ok(Ok(()))) {
            tracing::debug!("failed to cancel a statement that takes too long");
        }
    }
}

fn timeout_of(config: &Config) -> Duration {
    config.get_connect_timeout().copied().unwrap_or_default()
}

/// Returns a configuration for each address that a host has now.
async fn addresses(host: &Config) -> Vec<Config> {
    let one = || vec![host.clone()];
    let ([Host::Tcp(name)], [], &[] | &[_]) =
        (host.get_hosts(), host.get_hostaddrs(), host.get_ports())
    else {
        return one();
    };
    let port = host.get_ports().first().copied().unwrap_or(5432);
    match timeout(timeout_of(host), lookup_host((name.as_str(), port))).await {
        Ok(Ok(found)) => found
            .map(|address| {
                let mut target = host.clone();
                target.hostaddr(address.ip());
                target
            })
            .collect(),
        // An error of this configuration is reported when it is used.
        Ok(Err(_)) | Err(_) => one(),
    }
}

/// Returns a configuration for each host, in the order in which they are tried.
fn hosts(config: &Config) -> Vec<Config> {
    let (names, addresses, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let count = names.len().max(addresses.len());
    let fits = |given: usize| given == 0 || given == count;
    if count < 2
        || !fits(names.len())
        || !fits(addresses.len())
        || ports.len() > 1 && ports.len() != count
    {
        // An error of this configuration is reported when it is used.
        return vec![config.clone()];
    }
    let mut each: Vec<_> = (0..count)
        .map(|index| {
            let mut one = without_hosts(config);
            match names.get(index) {
                Some(Host::Tcp(name)) => one.host(name),
                Some(Host::Unix(path)) => one.host_path(path),
                None => &mut one,
            };
            if let Some(address) = addresses.get(index) {
                one.hostaddr(*address);
            }
            if let Some(port) = ports.get(index).or(ports.first()) {
                one.port(*port);
            }
            one
        })
        .collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        fastrand::shuffle(&mut each);
    }
    each
}

/// Returns a configuration without its hosts and ports.
fn without_hosts(config: &Config) -> Config {
    let mut one = Config::new();
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation());
    one.channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs());
    one.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle());
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one
}

/// Drives a connection until it ends, on a task of its own.
fn drive<S, T>(
    mut connection: Connection<S, T>,
    notifications: Option<UnboundedSender<String>>,
) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(note)) => {
                    if let Some(notifications) = &notifications {
                        // The receiver may have been dropped.
                        let _ = notifications.send(note.payload().to_owned());
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
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "failed to read a certificate of the platform");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let opener = async {
            match self.open(None).await {
                Ok(opened) => Ok(opened),
                Err(error) => match error.into_postgres() {
                    Some(error) => Err(error),
                    // The pool accepts errors of one type only. It gives up by itself after its
                    // timeout.
                    None => pending().await,
                },
            }
        };
        opener.boxed()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration shows no password.
        f.debug_struct("Connector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    /// A server may answer at one address and not at another, and its certificate is for the name.
    #[tokio::test]
    async fn a_name_is_tried_at_each_of_its_addresses() {
        let connector =
            Connector::new("host=localhost,127.0.0.2 port=1,2 user=x".parse().unwrap()).unwrap();
        let mut expected: Vec<_> = lookup_host(("localhost", 1))
            .await
            .unwrap()
            .map(|found| (1, found.ip()))
            .collect();
        expected.push((2, "127.0.0.2".parse().unwrap()));
        let targets = connector.targets().await;
        let each = |target: &Config| (target.get_ports()[0], target.get_hostaddrs()[0]);
        assert_eq!(targets.iter().map(each).collect::<Vec<_>>(), expected);
        assert_eq!(targets[0].get_hosts(), [Host::Tcp("localhost".into())]);
        // The target that answered last comes first, and the others keep their order.
        *connector.last.lock().unwrap() = targets.last().cloned();
        let rotated = connector.targets().await;
        assert_eq!(rotated[0], targets[targets.len() - 1]);
        assert_eq!(rotated[1..], targets[..targets.len() - 1]);
    }
}
