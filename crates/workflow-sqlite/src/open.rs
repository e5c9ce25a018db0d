//! Opening a store: options, what the file must be, and what its connections are set to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Fault, OpenError};
use crate::lock;
use crate::store::SqliteStore;

/// How long a connection waits for another one; only checkpoints of the same process can be in its
/// way.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// The smallest page of SQLite, and so the smallest database that is not empty, in bytes.
const SMALLEST: u64 = 512;

/// What a commit survives once it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power, and so everything less: each commit is flushed to the disk
    /// (`synchronous=FULL`). The default; commits that come together share one flush.
    #[default]
    PowerLoss,
    /// The end of the process, however it ends. A loss of power, or a crash of the operating
    /// system, may take the last commits, in order, and leaves the file intact
    /// (`synchronous=NORMAL`).
    ProcessCrash,
}

/// How a store is opened.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use workflow_sqlite::{Durability, SqliteStore};
///
/// let folder = tempfile::tempdir()?;
/// let options = SqliteStore::options().durability(Durability::ProcessCrash).lock_timeout(Duration::from_secs(5));
/// let store = options.open(folder.path().join("runs.db"))?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) lock_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            lock_timeout: Duration::from_secs(2),
        }
    }
}

impl Options {
    /// Sets what commits survive; [`Durability::PowerLoss`] unless set.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long [`open`](Self::open) waits for a store that has the file open, and may be
    /// about to close it; 2 s unless set, and zero to be told at once.
    pub fn lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }

    /// Opens the file, and creates it, with its folders, if there is none. It blocks for as long as
    /// that takes.
    ///
    /// The runs that a process held which died with the file are due at once. Symbolic links are
    /// followed; a hard link is to the lock another file, so use one name.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the path: nothing was changed, except for migrations that
    /// succeeded before one that did not. What is no file, or a file that is no database, has no
    /// lock file beside it either.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        let path = path.as_ref();
        SqliteStore::open_with(path, self).map_err(|fault| fault.at(path))
    }
}

/// Finds the file, makes its folders, and refuses what cannot be a database before anything is left
/// beside it.
pub(crate) fn find(path: &Path) -> Result<PathBuf, Fault> {
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
        Ok(found) if !found.is_file() => return Err(Fault::NotAFile),
        Ok(found) if found.len() == 0 => {}
        // SQLite takes what is shorter than a page for an empty database.
        Ok(found) if found.len() < SMALLEST => return Err(Fault::NotADatabase),
        Ok(_) => check_header(&path)?,
    }
    Ok(path)
}

/// Refuses a file that does not begin as a database does. SQLite reads it: were this process to
/// open and close the file, that would release the locks of every connection that it has to it.
fn check_header(path: &Path) -> Result<(), Fault> {
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
        .and_then(|connection| setting(&connection, "schema_version"));
    match read {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(Fault::NotADatabase)
        }
        // Everything else is said by the connection that will write.
        _ => Ok(()),
    }
}

/// Opens the writer's connection.
pub(crate) fn writer(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // SQLite opens a file that it must not write for reading alone.
    if connection.is_readonly("main")? {
        return Err(Fault::ReadOnly);
    }
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Sets what durability depends on, and reads it back: SQLite ignores what it does not understand.
pub(crate) fn make_durable(connection: &Connection, durability: Durability) -> Result<(), Fault> {
    let (level, number) = match durability {
        Durability::PowerLoss => ("FULL", "2"),
        Durability::ProcessCrash => ("NORMAL", "1"),
    };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {level};"
    ))?;
    for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", number)] {
        let found = setting(connection, pragma)?;
        if found != wanted {
            return Err(Fault::Setting {
                pragma,
                found,
                wanted,
            });
        }
    }
    // The checkpoint thread does what autocheckpoint would do inside of commits.
    connection.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(())
}

/// Returns what a pragma is set to.
pub(crate) fn setting(connection: &Connection, pragma: &str) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, pragma, |row| {
        Ok(match row.get(0)? {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        })
    })
}

/// Opens a connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}
