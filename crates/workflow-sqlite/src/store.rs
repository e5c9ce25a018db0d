//! The store: a handle to the threads that own the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use rusqlite::Connection;
use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, NewRun, OutboxEnd, Page, Position, Purge, Record, SinkClaim, Span,
};
use workflow_engine::{EncodedEvent, Purged, Run, RunFilter, RunKey, Store, StoreError, Timestamp};

use crate::db::Db;
use crate::error::{FileError, OpenError, OperationError};
use crate::lock::Lock;
use crate::open::{self, Threads};
use crate::options::{Durability, Options};
use crate::queue::WriteFn;
use crate::reader::Read;
use crate::{claims, connection, list, outbox, reads, reply, sinks};

/// A [`Store`] in one SQLite file.
///
/// A clone is another handle to the same file. When the last handle is dropped, the threads finish
/// the queued operations and end. Dropping a handle never blocks; [`closed`](Self::closed) waits
/// for the end.
///
/// An operation whose future is dropped is executed or not, but never in part.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use workflow_engine::{Context, Engine, Failure, Outcome, Workflow};
/// use workflow_sqlite::SqliteStore;
///
/// const GREET: Workflow<String, String> = Workflow::new("greet");
///
/// async fn greet(ctx: Context, name: String) -> Result<String, Failure> {
///     let greeting = ctx.step("compose", || async { Ok::<_, Failure>(format!("hello, {name}")) });
///     Ok(greeting.await?)
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("runs.db");
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store = Arc::new(SqliteStore::open(path)?);
/// let engine = Engine::builder().store(store).workflow(&GREET, greet).build()?;
/// let outcome = engine.run(&GREET, "greeting-1", "world".to_owned()).await?;
/// assert_eq!(outcome, Outcome::Completed("hello, world".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    path: Arc<PathBuf>,
    durability: Durability,
    threads: Threads,
}

impl SqliteStore {
    /// Opens a file with the default options; see [`Options::open`].
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the file cannot be opened as a store.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Options::default().open(path)
    }

    /// Returns the default options, with which a store can be configured and opened.
    pub fn options() -> Options {
        Options::default()
    }

    /// Returns which failures a commit survives.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Returns the value of a pragma of the writing connection, as SQLite reports it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] if there is no such pragma.
    pub async fn setting(&self, pragma: &str) -> Result<String, StoreError> {
        let pragma = pragma.to_owned();
        self.write(move |db| {
            connection::setting(&db.connection, &pragma).map_err(OperationError::Sqlite)
        })
        .await
    }

    /// Completes when the file is closed and its lock is released.
    ///
    /// This happens after every handle is dropped, this one included. The future holds none.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        // The threads drop the sender when they end, which is no error.
        self.threads.closed.clone().map(drop)
    }

    /// Starts the threads of a store whose file is locked.
    pub(crate) fn start(
        path: &Path,
        lock: Lock,
        durability: Durability,
    ) -> Result<Self, FileError> {
        let threads = open::start(path, lock, durability)?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            durability,
            threads,
        })
    }

    /// Executes an operation on the writer, and waits until it is durable.
    async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Db) -> Result<T, OperationError> + Send + 'static,
    {
        reply::result(|reply| {
            let write = Box::new(WriteFn::new(operation, reply));
            self.threads.writes.send(write).is_ok()
        })
        .await
    }

    /// Executes an operation on a reader.
    async fn read<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, OperationError> + Send + 'static,
    {
        reply::result(|reply| {
            let read: Read = Box::new(move |connection| {
                // The caller may have dropped its future.
                let _ = reply.send(operation(connection).map_err(StoreError::from));
            });
            self.threads.reads.send(read).is_ok()
        })
        .await
    }
}

impl Options {
    /// Opens the file, and creates it and its folders if they do not exist.
    ///
    /// The call blocks until the file is open. Runs that were held when the last process ended are
    /// due at once. Symbolic links are followed. A hard link has a lock of its own, so always use
    /// the same name for a file.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the path. The file is not changed, except by migrations that
    /// succeeded before one that failed. No lock file is created beside a path that is not a file,
    /// or beside a file that is not a database.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        let path = path.as_ref();
        self.open_file(path).map_err(|error| error.at(path))
    }

    fn open_file(&self, path: &Path) -> Result<SqliteStore, FileError> {
        let path = open::locate(path)?;
        let lock = Lock::take(&path, self.lock_timeout)?;
        SqliteStore::start(&path, lock, self.durability)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(&self, new: NewRun) -> Result<Created, StoreError> {
        self.write(move |db| db.create(&new)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.write(move |db| db.commit(&commit)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError> {
        self.write(move |db| db.claim(&request)).await
    }

    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError> {
        self.write(move |db| db.release(claim, due)).await
    }

    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError> {
        let worker = worker.to_owned();
        self.write(move |db| db.renew(&worker, until)).await
    }

    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError> {
        let worker = worker.to_owned();
        self.write(move |db| db.retire(&worker, now)).await
    }

    async fn request_cancel(
        &self,
        run: &str,
        request: CancelRequest,
    ) -> Result<CancelReply, StoreError> {
        let run = run.to_owned();
        self.write(move |db| db.request_cancel(&run, &request))
            .await
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| reads::run(connection, &id))
            .await
    }

    async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        self.read(move |connection| reads::records(connection, key, span))
            .await
    }

    async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let filter = filter.clone();
        self.read(move |connection| list::list(connection, &filter))
            .await
    }

    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        let worker = worker.to_owned();
        self.read(move |connection| claims::held(connection, &worker))
            .await
    }

    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        self.read(move |connection| outbox::outbox(connection, after, page))
            .await
    }

    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError> {
        Ok(outbox::outbox_end(&self.threads.outbox_end))
    }

    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        let name = sink.to_owned();
        if let Some(cursor) = self
            .read(move |connection| sinks::cursor(connection, &name))
            .await?
        {
            return Ok(cursor);
        }
        let name = sink.to_owned();
        self.write(move |db| db.open_cursor(&name)).await
    }

    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        self.read(sinks::cursors).await
    }

    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError> {
        let sink = sink.to_owned();
        let worker = worker.to_owned();
        self.write(move |db| db.claim_sink(&sink, &worker, now))
            .await
    }

    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.write(move |db| {
            db.sinks.release(&claim);
            Ok(())
        })
        .await
    }

    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.write(move |db| db.set_cursor(&claim, cursor)).await
    }

    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError> {
        let sink = sink.to_owned();
        self.write(move |db| db.drop_cursor(&sink)).await
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        self.write(move |db| db.purge(&purge)).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish()
    }
}
