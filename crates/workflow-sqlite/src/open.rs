//! Opening a file: what it must be, what the process before has left, and the threads that own it.

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

/// The smallest page of SQLite, and so the smallest database that is not empty, in bytes.
const MIN_DATABASE_BYTES: u64 = 512;

/// The threads of a store, for its handles.
#[derive(Clone)]
pub(crate) struct Threads {
    pub(crate) writes: Sender<Box<dyn Write>>,
    pub(crate) reads: Sender<Read>,
    /// Where the outbox ends, as of the last commit.
    pub(crate) outbox_end: Arc<AtomicU64>,
    /// Completes when the file is closed and its lock released.
    pub(crate) closed: Shared<oneshot::Receiver<()>>,
}

/// Finds the file, makes its folders, and refuses what cannot be a database before anything is left
/// beside it.
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
        // SQLite takes what is shorter than a page for an empty database.
        Ok(found) if found.len() < MIN_DATABASE_BYTES => return Err(FileError::NotADatabase),
        Ok(_) => check_header(&path)?,
    }
    Ok(path)
}

/// Refuses a file that does not begin as a database does. SQLite reads it: were this process to
/// open and close the file, that would release the locks of every connection that it has to it.
fn check_header(path: &Path) -> Result<(), FileError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // What stands in a log of the file is a better beginning.
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
        // Everything else is said by the connection that will write.
        _ => Ok(()),
    }
}

/// Starts the threads of a store whose file is locked.
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
        // The file is closed when nobody has it open, and only then is it another's turn.
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

/// Takes over what a process has left that is no more: the file is ours alone, so everything that
/// is held is ready.
pub(crate) fn recover(connection: Connection) -> Result<Db, FileError> {
    connection.execute_batch(include_str!("sql/recover.sql"))?;
    let sql = include_str!("sql/outbox_end.sql");
    let outbox_end = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(Db::new(connection, outbox_end))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("sqlite-{name}"))
        .spawn(work)
}
