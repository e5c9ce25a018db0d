//! Name lookups that nothing waits for: on plain threads, which the end of a runtime or a process
//! leaves behind.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::endpoint::host::Host;

#[cfg(test)]
mod tests;

/// How long an answer that came too late for everybody who waited is kept for the next who asks.
///
/// Without that, a lookup that takes longer than one attempt has would begin again with every
/// attempt, for ever.
const LATE_ANSWER_LIFETIME: Duration = Duration::from_secs(10);

/// A lookup in the system's resolver, which may take tens of seconds; tests put another in its
/// place.
///
/// The ports of the answer mean nothing. It is socket addresses because a link-local one carries
/// its interface.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Finds the addresses of one endpoint.
///
/// `localhost` and addresses need no lookup. There is at most one lookup under way: who asks in the
/// meantime joins it.
///
/// `getaddrinfo` blocks and cannot be cancelled. tokio's threads for blocking calls are waited for
/// when the runtime is dropped, so a hung lookup there would hold a process for as long as the
/// system's resolver tries.
pub(crate) struct Resolver {
    host: Host,
    port: u16,
    lookup: Lookup,
    pending: Mutex<Option<PendingLookup>>,
}

/// A name that could not be looked up.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The resolver said no.
    #[error("the lookup of {name} failed: {reason}")]
    Failed { name: String, reason: String },
    /// The resolver knows the name, and no address of it.
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

/// A lookup whose answer nobody has read yet, and when it came.
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
    /// Cancel safe: a lookup under way goes on, and serves the next who asks.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, LookupError> {
        let with_port = |ip| SocketAddr::new(ip, self.port);
        match &self.host {
            Host::Address(ip) => Ok(vec![with_port(*ip)]),
            // The name is this machine's by definition, and must not be asked for elsewhere (RFC
            // 6761, section 6.3).
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
        // The answer was read, or never comes: the next who asks starts another lookup.
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

    /// Joins the lookup under way, or starts one.
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

/// The system's resolver.
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
