//! What the tests of the store share: one server per test binary, a database per store.

#![allow(dead_code, clippy::unwrap_used, reason = "every test binary compiles this module and uses a part of it")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Handle, Runtime};
use workflow_engine::Store;
use workflow_postgres::testing::{Server, ServerError};
use workflow_postgres::{Options, PostgresStore, Time};

/// The runtime that drives connections, on threads of its own.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).handle()
}

/// The server of this test binary; `None`, with a word on it, where there is none to be had.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| started(&["autovacuum=off", "max_connections=200"])).as_ref()
}

/// Starts a server with settings.
pub(crate) fn started(settings: &[&str]) -> Option<Server> {
    match wait(Server::start_with(settings)) {
        Ok(server) => Some(server),
        Err(error @ ServerError::NotInstalled) => {
            assert!(std::env::var_os("WF_NO_SKIPS").is_none(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for what needs the runtime.
pub(crate) fn wait<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    // A thread of its own: the caller may be on a runtime, or in the middle of another block_on.
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(future)).join().unwrap())
}

/// How tests connect whose clock skips waits.
pub(crate) fn options() -> Options {
    PostgresStore::options().time(Time::Engine)
}

/// A store in a schema of its own, which is made more quickly than a database.
pub(crate) async fn fresh(server: &Server) -> Arc<dyn Store> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let schema = format!("wf {} {}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
    Arc::new(options().schema(schema).listen(false).connect(&server.url_of("postgres")).await.unwrap())
}
