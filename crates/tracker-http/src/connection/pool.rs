//! The connections of a transport, and their retirement when a request on one of them fails.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioTimer;
use tokio::runtime::{self, Handle};
use tokio::task::AbortHandle;

use crate::connection::connector::Connector;
use crate::sending::while_sending;

/// The longest time that an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Provides hyper-util's pooling client, and replaces it when one of its connections may be dead.
///
/// A server can vanish without closing its connections (the machine is gone, a firewall lost its
/// state). Only a request without an answer shows that, and a busy server looks the same. So no
/// connection is closed while a request waits for an answer on it, however long that takes. But **a
/// request that is dropped before its answer, or that fails on a connection, retires the client
/// that it used, with all connections of this client**: requests in flight on them continue, and
/// later requests use new connections. Otherwise the next attempt could use another dead
/// connection, because HTTP/2 shares one connection, and HTTP/1.1 may keep several that died
/// together.
///
/// The connections of a retired client are closed once no request uses the client, even if the
/// server does not read. So the number of clients is at most the number of runtimes and requests in
/// flight, however many requests are dropped.
///
/// Each runtime has a client of its own, because a connection is served by a task, and a task runs
/// only while its runtime runs. A runtime that does not run (a current-thread runtime outside of
/// `block_on`) must not delay a request on another one.
pub(crate) struct Connections {
    connector: Connector,
    http2_only: bool,
    pools: Mutex<Vec<Arc<Pool>>>,
}

/// The largest number of runtimes whose clients are kept; beyond it, the oldest client is removed.
const MAX_RUNTIMES: usize = 16;

impl Connections {
    pub(crate) fn new(connector: Connector, http2_only: bool) -> Self {
        Self {
            connector,
            http2_only,
            pools: Mutex::default(),
        }
    }

    /// Begins an attempt on the client of the current runtime; `None` outside of a runtime.
    pub(crate) fn begin_attempt(&self) -> Option<Attempt<'_>> {
        let runtime = Handle::try_current().ok()?.id();
        let mut pools = lock(&self.pools);
        if let Some(pool) = pools.iter().find(|pool| pool.runtime == runtime) {
            return Some(Attempt {
                connections: self,
                pool: pool.clone(),
                keeps_pool: false,
            });
        }
        let pool = Arc::new(self.build_pool(runtime));
        pools.push(pool.clone());
        let evicted = if pools.len() > MAX_RUNTIMES {
            Some(pools.remove(0))
        } else {
            None
        };
        drop(pools);
        drop(evicted);
        Some(Attempt {
            connections: self,
            pool,
            keeps_pool: false,
        })
    }

    /// Builds the client of `runtime`.
    ///
    /// If the server has closed a pooled connection before a request was written, hyper-util sends
    /// the request again on another connection. A request that was written may have been read, so
    /// the delivery policy decides about it.
    fn build_pool(&self, runtime: runtime::Id) -> Pool {
        let tasks = ConnectionTasks::default();
        let client = Client::builder(tasks.clone())
            .http2_only(self.http2_only)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .retry_canceled_requests(true)
            .build(self.connector.clone());
        Pool {
            client,
            runtime,
            tasks,
            is_retired: AtomicBool::new(false),
        }
    }

    /// Retires `pool`, unless another attempt has already done so.
    fn retire(&self, pool: &Arc<Pool>) {
        pool.is_retired.store(true, Ordering::Relaxed);
        // The attempt still holds the pool, so no connection is closed under the lock.
        lock(&self.pools).retain(|current| !Arc::ptr_eq(current, pool));
    }
}

/// One request and its answer. An attempt that is dropped before [`answered`](Self::answered)
/// retires its client.
pub(crate) struct Attempt<'a> {
    connections: &'a Connections,
    pool: Arc<Pool>,
    keeps_pool: bool,
}

impl Attempt<'_> {
    /// Sends the request, and returns the head of the answer.
    ///
    /// The body of the answer can be read only while this attempt exists.
    pub(crate) async fn request(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let answer = self.pool.client.request(request).await;
        // A connection that could not be made is no evidence against existing ones.
        self.keeps_pool = answer.as_ref().is_err_and(ClientError::is_connect);
        answer
    }

    /// Ends the attempt with success, so that its connection may be used again.
    pub(crate) fn answered(mut self) {
        self.keeps_pool = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.keeps_pool {
            self.connections.retire(&self.pool);
        }
    }
}

/// A client and the tasks that serve its connections.
struct Pool {
    client: Client<Connector, Full<Bytes>>,
    runtime: runtime::Id,
    tasks: ConnectionTasks,
    is_retired: AtomicBool,
}

/// Runs after the last attempt of a retired client. The connections of a client that is not retired
/// are closed gracefully.
impl Drop for Pool {
    fn drop(&mut self) {
        if *self.is_retired.get_mut() {
            self.tasks.abort();
        }
    }
}

/// Spawns the tasks that serve a client's connections, and aborts them together.
///
/// A connection cannot be closed gracefully if the server does not read: its task would wait for
/// ever.
#[derive(Clone, Default)]
struct ConnectionTasks(Arc<Mutex<Vec<AbortHandle>>>);

impl ConnectionTasks {
    fn abort(&self) {
        let tasks = std::mem::take(&mut *lock(&self.0));
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    /// Spawns the future, or drops it outside of a runtime. A request that is dropped there cannot
    /// return its connection to the pool.
    fn execute(&self, future: F) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // This happens outside the lock, because a runtime that has ended drops the future at once,
        // and that drop may call `execute` again.
        let task = runtime.spawn(while_sending(future)).abort_handle();
        let mut tasks = lock(&self.0);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the error and its causes as one text, because hyper's own text omits the system's error.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
