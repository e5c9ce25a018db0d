//! Makes a connection: looks up the addresses, connects TCP to the first that answers, and secures
//! it by TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::connection::race;
use crate::connection::resolver::{LookupError, Resolver};
#[cfg(feature = "tls")]
use crate::connection::tls::Tls;

// Other systems have no 127.0.0.2, or no limit on connections that wait to be accepted.
#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(feature = "tls")]
pub(crate) type Stream = hyper_rustls::MaybeHttpsStream<TokioIo<TcpStream>>;
#[cfg(not(feature = "tls"))]
pub(crate) type Stream = TokioIo<TcpStream>;

/// Makes connections to one endpoint; the URI of the request has no influence.
///
/// `limit` applies twice: to the lookup of the addresses, and to the connection, which is TCP to
/// any of the addresses and the TLS handshake. They do not share one limit, because a lookup that
/// took nearly all of it would leave no time for the connection, and the next attempt would begin
/// with the lookup again.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) limit: Duration,
    /// The TLS configuration; `None` for plain http.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// The error of a connection that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the lookup of the host's name takes longer than {limit:?}")]
    LookupTimedOut { limit: Duration },
    #[error("no connection to {}", Failures(.0))]
    Refused(Vec<(SocketAddr, io::Error)>),
    #[error("no connection to {} within {limit:?}", Addresses(.addresses))]
    TimedOut {
        addresses: Vec<SocketAddr>,
        limit: Duration,
    },
    #[cfg(feature = "tls")]
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[cfg(feature = "tls")]
    #[error("the TLS handshake was not completed within the {limit:?} that a connection has")]
    TlsTimedOut { limit: Duration },
}

impl Connector {
    async fn connect(self) -> Result<Stream, ConnectError> {
        let limit = self.limit;
        let addresses = timeout(limit, self.resolver.addresses()).await;
        let addresses = addresses.map_err(|_| ConnectError::LookupTimedOut { limit })??;
        let start = Instant::now();
        let tcp = match timeout(limit, race::connect(&addresses, limit)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(failures)) => return Err(ConnectError::Refused(failures)),
            Err(_) => return Err(ConnectError::TimedOut { addresses, limit }),
        };
        // A request is written as a whole, so Nagle's algorithm only delays it. If the option
        // cannot be set, requests are slower, but correct.
        let _ = tcp.set_nodelay(true);
        self.secure(tcp, limit.saturating_sub(start.elapsed()))
            .await
    }

    #[cfg(feature = "tls")]
    async fn secure(self, tcp: TcpStream, remaining: Duration) -> Result<Stream, ConnectError> {
        let tcp = TokioIo::new(tcp);
        let Some(tls) = self.tls else {
            return Ok(tcp.into());
        };
        match timeout(remaining, tls.handshake(tcp)).await {
            Ok(secured) => Ok(secured.map_err(ConnectError::Tls)?.into()),
            Err(_) => Err(ConnectError::TlsTimedOut { limit: self.limit }),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(self, tcp: TcpStream, _remaining: Duration) -> Result<Stream, ConnectError> {
        Ok(TokioIo::new(tcp))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// The largest number of addresses that a message names.
const MAX_NAMED_ADDRESSES: usize = 4;

struct Addresses<'a>(&'a [SocketAddr]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.0.iter())
    }
}

struct Failures<'a>(&'a [(SocketAddr, io::Error)]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(
            f,
            self.0
                .iter()
                .map(|(address, error)| format!("{address} ({error})")),
        )
    }
}

fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl ExactSizeIterator<Item = T>,
) -> fmt::Result {
    let more = items.len().saturating_sub(MAX_NAMED_ADDRESSES);
    for (index, item) in items.take(MAX_NAMED_ADDRESSES).enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    if more > 0 {
        write!(f, " and {more} more")
    } else {
        Ok(())
    }
}
