//! What the tests of the store share: one server per test binary, a database per store.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test binary compiles this module and uses a part of it"
)]

pub(crate) mod hand;
pub(crate) mod pair;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::{Handle, Runtime};
use workflow_engine::Store;
use workflow_postgres::testing::{Server, ServerError};
use workflow_postgres::{Options, PostgresStore, Time};

/// The runtime that drives connections, on separate threads.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).handle()
}

/// The server of this test binary; `None`, with a word on it, where there is none to be had.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER
        .get_or_init(|| started(&["autovacuum=off", "max_connections=200"]))
        .as_ref()
}

/// Has a test run while no other of its binary does: transactions of the whole server delay what is
/// read.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns how much of something is tried: in CI, or in the long form (`cargo xtask postgres
/// --long`).
pub(crate) fn sized<T>(short: T, long: T) -> T {
    if std::env::var_os("WF_LONG").is_some() {
        long
    } else {
        short
    }
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

/// Returns the address of a server that the tests have started; `None`, with a note, for an
/// existing server.
pub(crate) fn address(server: &Server) -> Option<(&'static str, u16)> {
    let address = server.address();
    if address.is_none() {
        eprintln!(
            "skipped: it needs a server that it may configure and stop, and WF_TEST_PG_URL is set"
        );
    }
    address
}

/// Waits for what needs the runtime.
pub(crate) fn wait<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    // A separate thread, because the caller may be on a runtime or inside another block_on.
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(future)).join().unwrap())
}

/// How tests connect whose clock skips waits.
pub(crate) fn options() -> Options {
    PostgresStore::options().time(Time::Engine)
}

/// A store in a new schema, which is created faster than a database.
pub(crate) async fn fresh(server: &Server) -> Arc<dyn Store> {
    Arc::new(fresh_in(server).await.2)
}

/// The same, with where it is: the connection string, and the schema's name as SQL has it.
pub(crate) async fn fresh_in(server: &Server) -> (String, String, PostgresStore) {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let schema = format!(
        "wf {} {}",
        std::process::id(),
        LAST.fetch_add(1, Ordering::Relaxed)
    );
    let url = server.url_of("postgres");
    let store = options()
        .schema(&schema)
        .listen(false)
        .connect(&url)
        .await
        .unwrap();
    (url, format!("\"{schema}\""), store)
}
