//! Looks up names on plain threads, so that neither the end of a runtime nor that of the process
//! waits for a lookup.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::endpoint::host::Host;

#[cfg(test)]
mod tests;

/// The longest time that an answer is kept which came after every caller had stopped waiting.
///
/// Otherwise a lookup that takes longer than an attempt would begin again with every attempt, and
/// never help any.
const LATE_ANSWER_LIFETIME: Duration = Duration::from_secs(10);

/// A lookup in the system's resolver, which may take tens of seconds; tests replace it.
///
/// The ports in the answer have no meaning. The answer is socket addresses, because a link-local
/// address needs its interface.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Finds the addresses of one endpoint.
///
/// `localhost` and addresses need no lookup. At most one lookup is pending; a caller that comes
/// meanwhile joins it.
///
/// `getaddrinfo` blocks and cannot be cancelled. A runtime that is dropped waits for tokio's
/// threads for blocking calls, so a hung lookup on such a thread would delay the end of the process
/// until the system's resolver gives up.
pub(crate) struct Resolver {
    host: Host,
    port: u16,
    lookup: Lookup,
    pending: Mutex<Option<PendingLookup>>,
}

/// The error of a name that could not be looked up.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The resolver returned an error.
    #[error("the lookup of {name} failed: {reason}")]
    Failed { name: String, reason: String },
    /// The resolver knows the name, but no address for it.
    #[error("{name} has no address")]
    NoAddress { name: String },
    /// No thread could be started.
    #[error("no thread for the lookup of {name} could be started: {reason}")]
    NoThread { name: String, reason: String },
    /// The thread ended without an answer.
    #[error("the lookup of {name} ended without an answer")]
    NoAnswer { name: String },
}

type LookupResult = Result<Vec<SocketAddr>, LookupError>;

/// A lookup whose answer no caller has read yet, with the time at which the answer came.
type PendingLookup = watch::Receiver<Option<(Instant, LookupResult)>>;

impl Resolver {
    pub(crate) fn new(host: Host, port: u16, lookup: Lookup) -> Self {
        Self {
            host,
            port,
            lookup,
            pending: Mutex::new(None),
        }
    }

    /// Returns at least one address, the preferred ones first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a pending lookup continues, and serves the next caller.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, LookupError> {
        let with_port = |ip| SocketAddr::new(ip, self.port);
        match &self.host {
            Host::Address(ip) => Ok(vec![with_port(*ip)]),
            // The name means this machine by definition, and must not be looked up (RFC 6761,
            // section 6.3).
            Host::Name(_) if self.host.is_localhost() => Ok(vec![
                with_port(Ipv4Addr::LOCALHOST.into()),
                with_port(Ipv6Addr::LOCALHOST.into()),
            ]),
            Host::Name(name) => {
                let mut addresses = self.look_up(name).await?;
                addresses
                    .iter_mut()
                    .for_each(|address| address.set_port(self.port));
                Ok(addresses)
            }
        }
    }

    async fn look_up(&self, name: &str) -> LookupResult {
        let mut lookup = self.join_or_start(name)?;
        let no_answer = || LookupError::NoAnswer {
            name: name.to_owned(),
        };
        let answer = lookup
            .wait_for(Option::is_some)
            .await
            .map(|answer| answer.clone());
        // The answer was read, or will never come, so the next caller starts another lookup.
        let mut pending = self.lock();
        if pending
            .as_ref()
            .is_some_and(|current| current.same_channel(&lookup))
        {
            *pending = None;
        }
        drop(pending);
        let (_, answer) = answer.ok().flatten().ok_or_else(no_answer)?;
        answer
    }

    /// Joins the pending lookup, or starts one.
    fn join_or_start(&self, name: &str) -> Result<PendingLookup, LookupError> {
        let mut pending = self.lock();
        if let Some(lookup) = pending.as_ref()
            && lookup
                .borrow()
                .as_ref()
                .is_none_or(|(at, _)| at.elapsed() < LATE_ANSWER_LIFETIME)
        {
            return Ok(lookup.clone());
        }
        let (answer, lookup) = watch::channel(None);
        let owned = name.to_owned();
        let look_up = self.lookup.clone();
        let thread = thread::Builder::new().name("tracker-lookup".into());
        let started = thread.spawn(move || {
            answer.send_replace(Some((Instant::now(), run_lookup(&owned, &look_up))))
        });
        started
            .map_err(|error| LookupError::NoThread {
                name: name.to_owned(),
                reason: error.to_string(),
            })
            .map(|_detached| pending.insert(lookup).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<PendingLookup>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run_lookup(name: &str, look_up: &Lookup) -> LookupResult {
    match look_up(name) {
        Ok(addresses) if addresses.is_empty() => Err(LookupError::NoAddress {
            name: name.to_owned(),
        }),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(LookupError::Failed {
            name: name.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Returns the lookup of the system's resolver.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| {
        let mut addresses = Vec::new();
        for address in (name, 0).to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    })
}
