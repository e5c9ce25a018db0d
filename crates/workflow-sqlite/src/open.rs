//! Opening a file: checks, recovery from the last process, and the threads that own the file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::{fs, io};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::checkpoint::{CheckpointLock, LogWatch};
use crate::db::Db;
use crate::error::FileError;
use crate::lock::{self, Lock};
use crate::options::Durability;
use crate::queue::Write;
use crate::reader::{READER_THREADS, Read};
use crate::{checkpoint, connection, reader, schema, writer};

/// Size of the smallest database that is not empty: one page of the smallest size that SQLite
/// allows.
const MIN_DATABASE_BYTES: u64 = 512;

/// Access to the threads of a store. The threads end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Threads {
    /// Queue of the writer.
    pub(crate) writes: Sender<Box<dyn Write>>,
    /// Queue of the readers.
    pub(crate) reads: Sender<Read>,
    /// Position of the last event that is committed.
    pub(crate) outbox_end: Arc<AtomicU64>,
    /// Completes when the file is closed and its lock is released.
    pub(crate) closed: Shared<oneshot::Receiver<()>>,
}

/// Resolves the path of the file and creates its folders.
///
/// A file that cannot be a database is refused here, before a lock file is created beside it.
pub(crate) fn locate(path: &Path) -> Result<PathBuf, FileError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    let path = lock::resolve(path)?;
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(found) if !found.is_file() => return Err(FileError::NotAFile),
        Ok(found) if found.len() == 0 => {}
        // SQLite would take a file shorter than a page for an empty database.
        Ok(found) if found.len() < MIN_DATABASE_BYTES => return Err(FileError::NotADatabase),
        Ok(_) => check_header(&path)?,
    }
    Ok(path)
}

/// Refuses a file whose header is not that of a database.
///
/// SQLite reads the header. If this process opened and closed the file itself, that would release
/// the locks of all its connections to the file.
fn check_header(path: &Path) -> Result<(), FileError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // A write-ahead log may contain a valid first page, so the header of the file does not decide.
    if !cfg!(unix) || fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                write!(uri, "{}", char::from(*byte))
            }
            byte => write!(uri, "%{byte:02x}"),
        };
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = Connection::open_with_flags(uri, flags)
        .and_then(|connection| connection::setting(&connection, "schema_version"));
    match read {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(FileError::NotADatabase)
        }
        // The connection that will write reports every other error.
        _ => Ok(()),
    }
}

/// Starts the threads of a store whose file is locked.
///
/// The file is checked, migrated and recovered first.
pub(crate) fn start(path: &Path, lock: Lock, durability: Durability) -> Result<Threads, FileError> {
    let mut writing = connection::writer(path)?;
    schema::check(&writing)?;
    connection::make_durable(&writing, durability)?;
    schema::migrate(&mut writing)?;
    let mut db = recover(writing)?;
    let (writes, write_queue) = channel();
    let (reads, read_queue) = channel::<Read>();
    let (checkpoints, checkpoint_requests) = sync_channel(1);
    let (closing, closed) = oneshot::channel();
    let outbox_end = Arc::new(AtomicU64::new(db.outbox_end));
    let checkpoint_lock = CheckpointLock::default();
    let log = LogWatch::new(&mut db.connection, checkpoints, checkpoint_lock.clone())?;
    let mut helpers = Vec::new();
    let checkpointing = connection::writer(path)?;
    checkpointing.execute_batch("PRAGMA cache_size = -512")?;
    helpers.push(spawn("checkpoint", move || {
        checkpoint::run(&checkpointing, &checkpoint_requests, &checkpoint_lock)
    })?);
    let read_queue = Arc::new(Mutex::new(read_queue));
    for _ in 0..READER_THREADS {
        let reading = connection::reader(path)?;
        let queue = read_queue.clone();
        helpers.push(spawn("reader", move || reader::run(&reading, &queue))?);
    }
    let published = outbox_end.clone();
    spawn("writer", move || {
        writer::run(db, &write_queue, &published, log);
        // The helpers have the file open as well, so the lock is released after they have ended.
        helpers.into_iter().for_each(|helper| drop(helper.join()));
        drop(lock);
        drop(closing);
    })?;
    Ok(Threads {
        writes,
        reads,
        outbox_end,
        closed: closed.shared(),
    })
}

/// Makes every held run ready, and returns the state of a new writer.
///
/// The lock is held, so no other process has the file open, and the workers of the last one have
/// ended.
pub(crate) fn recover(connection: Connection) -> Result<Db, FileError> {
    connection.execute_batch(include_str!("sql/recover.sql"))?;
    let sql = include_str!("sql/outbox_end.sql");
    let outbox_end = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(Db::new(connection, outbox_end))
}

/// Starts a named thread.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("sqlite-{name}"))
        .spawn(work)
}
