//! The store: a handle to the threads that own the file.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use rusqlite::Connection;
use workflow_engine::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, EncodedEvent, NewRun, OutboxEnd, Page, Position, Purge, Purged, Record, Run, RunFilter,
    RunKey, SinkClaim, Span, Store, StoreError, Timestamp,
};

use crate::checkpoint::{LogWatch, Turn};
use crate::error::{Fault, OpenError};
use crate::lock::Lock;
use crate::open::{self, Durability, Options};
use crate::reader::{READERS, Read};
use crate::row::Failure;
use crate::sinks::Sinks;
use crate::writer::{Call, Db, Write};
use crate::{checkpoint, list, reads, schema, writer};

/// A [`Store`] in one SQLite file.
///
/// Cloning it makes another handle to the same file; when the last one is dropped, the threads
/// finish what is queued and end by themselves. Dropping never blocks.
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
///     Ok(ctx.step("compose", || async { Ok::<_, Failure>(format!("hello, {name}")) }).await?)
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("runs.db");
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let engine = Engine::builder().store(Arc::new(SqliteStore::open(path)?)).workflow(&GREET, greet).build()?;
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
    writes: Sender<Box<dyn Write>>,
    reads: Sender<Read>,
    /// Where the outbox ends, as of the last commit.
    end: Arc<AtomicU64>,
    closed: Shared<oneshot::Receiver<()>>,
}

impl SqliteStore {
    /// Opens a file with [`Durability::PowerLoss`], as [`Options::open`] does.
    ///
    /// # Errors
    ///
    /// [`OpenError`] as there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Options::default().open(path)
    }

    /// Starts the configuration of a store.
    pub fn options() -> Options {
        Options::default()
    }

    /// Returns what commits survive.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Returns a setting of the connection that writes, as SQLite has it: a pragma's name to its
    /// value.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] if there is no such pragma.
    pub async fn setting(&self, pragma: &str) -> Result<String, StoreError> {
        let pragma = pragma.to_owned();
        self.write(move |db| open::setting(&db.connection, &pragma).map_err(Failure::Sqlite))
            .await
    }

    /// Completes when the file is closed and its lock released: after every handle, this one
    /// included, is dropped.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        // The threads drop the sender when they end.
        self.closed.clone().map(drop)
    }

    pub(crate) fn open_with(path: &Path, options: &Options) -> Result<Self, Fault> {
        let path = open::find(path)?;
        let lock = Lock::take(&path, options.lock_timeout)?;
        Self::start(&path, lock, options.durability)
    }

    /// Starts the threads of a store whose file is locked.
    pub(crate) fn start(path: &Path, lock: Lock, durability: Durability) -> Result<Self, Fault> {
        let mut connection = open::writer(path)?;
        schema::check(&connection)?;
        open::make_durable(&connection, durability)?;
        schema::migrate(&mut connection)?;
        let mut db = take_over(connection)?;
        let (writes, write_queue) = channel();
        let (reads, read_queue) = channel::<Read>();
        let (grown, growths) = sync_channel(1);
        let (closing, closed) = oneshot::channel();
        let end = Arc::new(AtomicU64::new(db.end));
        let turn = Turn::default();
        let log = LogWatch::new(&mut db.connection, grown, turn.clone())?;
        let mut helpers = Vec::new();
        let checkpoints = open::writer(path)?;
        checkpoints.execute_batch("PRAGMA cache_size = -512")?;
        let turns = turn.clone();
        helpers.push(spawn("checkpoint", move || {
            checkpoint::work(&checkpoints, &growths, &turns)
        })?);
        let read_queue = Arc::new(Mutex::new(read_queue));
        for _ in 0..READERS {
            let (connection, queue) = (open::reader(path)?, read_queue.clone());
            helpers.push(spawn("reader", move || {
                crate::reader::work(&connection, &queue)
            })?);
        }
        let ended = end.clone();
        spawn("writer", move || {
            writer::work(db, &write_queue, &ended, log);
            // The file is closed when nobody has it open, and only then is it another's turn.
            helpers.into_iter().for_each(|helper| drop(helper.join()));
            drop(lock);
            drop(closing);
        })?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            durability,
            writes,
            reads,
            end,
            closed: closed.shared(),
        })
    }

    /// Has the writer do something, and waits until it is durable.
    async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Db) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let write = Box::new(Call::new(operation, reply));
        self.writes.send(write).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Has a reader do something.
    async fn read<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // The caller may have gone.
            let _ = reply.send(operation(connection).map_err(StoreError::from));
        });
        self.reads.send(read).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Takes over what a process has left that is no more: the file is ours alone, so everything that
/// is held is ready.
pub(crate) fn take_over(connection: Connection) -> Result<Db, Fault> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         UPDATE runs SET due_at = 0, ready = 1 WHERE worker IS NOT NULL AND due_at IS NULL;
         UPDATE runs SET ready = 1 WHERE status IN ('queued', 'running') AND due_at IS NOT NULL AND ready = 0;
         DELETE FROM workers;
         COMMIT;",
    )?;
    let last = "SELECT position + last_seq - seq FROM history ORDER BY position DESC LIMIT 1";
    let end = connection.query_row(
        &format!("SELECT max(position, coalesce(({last}), 0)) FROM outbox"),
        [],
        |row| row.get(0),
    )?;
    Ok(Db {
        connection,
        held: HashMap::new(),
        end,
        sinks: Sinks::default(),
        purge_from: None,
    })
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("sqlite-{name}"))
        .spawn(work)
}

fn gone() -> StoreError {
    StoreError::Backend("the threads of the store have ended".into())
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
        self.read(move |connection| reads::held(connection, &worker))
            .await
    }

    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        self.read(move |connection| reads::outbox(connection, after, page))
            .await
    }

    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError> {
        // A place for each event there ever was.
        let end = self.end.load(Ordering::Acquire);
        Ok(OutboxEnd {
            position: Position(end),
            accepted: end,
            readable: Position(end),
        })
    }

    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        let name = sink.to_owned();
        if let Some(cursor) = self
            .read(move |connection| reads::cursor(connection, &name))
            .await?
        {
            return Ok(cursor);
        }
        let name = sink.to_owned();
        self.write(move |db| db.open_cursor(&name)).await
    }

    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        self.read(reads::cursors).await
    }

    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError> {
        let (sink, worker) = (sink.to_owned(), worker.to_owned());
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
