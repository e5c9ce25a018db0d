//! The connections of a transport, and what becomes of them when a request on one is given up.

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

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Hands out hyper-util's pooling client, and replaces it when one of its connections may be dead.
///
/// The far end of a connection can vanish without a word (a machine that is gone, a firewall that
/// forgot). Only a request that gets no answer shows that, and it cannot be told from a receiver
/// that is busy. So no connection is cut while somebody waits for an answer on it, however long
/// that takes; but **a request that is given up before its answer, or that fails on a connection,
/// retires the client it used, with all its connections**: requests under way on them go on, later
/// ones use new connections. Else the next attempt could meet the same silence, because HTTP/2
/// shares one connection, and HTTP/1.1 may keep several that died together.
///
/// A retired client's connections are closed once no request uses it, whether the far end reads or
/// not. So there are no more clients than runtimes and requests under way, however many requests
/// are given up.
///
/// Each runtime has a client of its own, because a connection is served by a task, and a task runs
/// only while its runtime does: one that stands still (a current-thread runtime outside of
/// `block_on`) must not hold a request up.
pub(crate) struct Connections {
    connector: Connector,
    http2_only: bool,
    current: Mutex<Vec<Arc<Pool>>>,
}

/// The most runtimes whose clients are kept; the one that began first is given up for another.
const MAX_RUNTIMES: usize = 16;

impl Connections {
    pub(crate) fn new(connector: Connector, http2_only: bool) -> Self {
        Self {
            connector,
            http2_only,
            current: Mutex::default(),
        }
    }

    /// Begins an attempt on the client of this runtime; `None` outside of one.
    pub(crate) fn begin_attempt(&self) -> Option<Attempt<'_>> {
        let runtime = Handle::try_current().ok()?.id();
        let mut current = lock(&self.current);
        if let Some(pool) = current.iter().find(|pool| pool.runtime == runtime) {
            return Some(Attempt {
                connections: self,
                pool: pool.clone(),
                keeps_pool: false,
            });
        }
        let pool = Arc::new(self.pool(runtime));
        current.push(pool.clone());
        let evicted = if current.len() > MAX_RUNTIMES {
            Some(current.remove(0))
        } else {
            None
        };
        drop(current);
        drop(evicted);
        Some(Attempt {
            connections: self,
            pool,
            keeps_pool: false,
        })
    }

    /// A request on a pooled connection that the server had closed before the request was written
    /// is sent again on another one by hyper-util; one that was written may have been read, and is
    /// a matter for the delivery policy.
    fn pool(&self, runtime: runtime::Id) -> Pool {
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
            retired: AtomicBool::new(false),
        }
    }

    /// Retires `pool`, if no other attempt has done so already.
    fn retire(&self, pool: &Arc<Pool>) {
        pool.retired.store(true, Ordering::Relaxed);
        // The attempt has it still, so nothing is closed under the lock.
        lock(&self.current).retain(|current| !Arc::ptr_eq(current, pool));
    }
}

/// One request and its answer; dropped before [`answered`](Self::answered), it retires the client
/// it uses.
pub(crate) struct Attempt<'a> {
    connections: &'a Connections,
    pool: Arc<Pool>,
    keeps_pool: bool,
}

impl Attempt<'_> {
    /// Sends the request, and returns the answer's head.
    ///
    /// The answer's body is only there as long as this attempt is.
    pub(crate) async fn request(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let answer = self.pool.client.request(request).await;
        // A connection that could not be made says nothing about those that are there.
        self.keeps_pool = answer.as_ref().is_err_and(ClientError::is_connect);
        answer
    }

    /// Ends the attempt: its connection has done what it should, and may be used again.
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
    retired: AtomicBool,
}

/// Comes with the last attempt of a retired client; of one that is not retired, the connections end
/// in good order.
impl Drop for Pool {
    fn drop(&mut self) {
        if *self.retired.get_mut() {
            self.tasks.abort();
        }
    }
}

/// Runs the tasks of a client, and ends them all at once.
///
/// A connection whose far end does not read cannot be closed in good order: its task would wait for
/// that for ever.
#[derive(Clone, Default)]
struct ConnectionTasks(Arc<Mutex<Vec<AbortHandle>>>);

impl ConnectionTasks {
    fn abort(&self) {
        let tasks = std::mem::take(&mut *lock(&self.0));
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    /// Drops the future outside of a runtime: a request that is dropped there cannot give its
    /// connection back.
    fn execute(&self, future: F) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // Not under the lock: a runtime that has ended drops the future at once, which may come
        // back here.
        let task = runtime.spawn(while_sending(future)).abort_handle();
        let mut tasks = lock(&self.0);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error and its causes; hyper's own text leaves out what the system said.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
