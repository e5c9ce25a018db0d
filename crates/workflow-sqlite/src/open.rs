//! Opening a store: options, and what can be wrong with the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::SqliteStore;

/// How long a connection waits for another one; only checkpoints of the same process can be in its way.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// What a commit survives once it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power, and so everything less: each commit is flushed to the disk (`synchronous=FULL`). The default;
    /// commits that come together share one flush.
    #[default]
    PowerLoss,
    /// The end of the process, however it ends. A loss of power, or a crash of the operating system, may take the
    /// last commits, in order, and leaves the file intact (`synchronous=NORMAL`).
    ProcessCrash,
}

/// How a store is opened.
///
/// # Examples
///
/// ```
/// use workflow_sqlite::{Durability, SqliteStore};
///
/// let folder = tempfile::tempdir()?;
/// let store = SqliteStore::options().durability(Durability::ProcessCrash).open(folder.path().join("runs.db"))?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Options {
    durability: Durability,
}

impl Options {
    /// Sets what commits survive; [`Durability::PowerLoss`] unless set.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Opens the file, and creates it, with its folders, if there is none. It blocks for as long as that takes.
    ///
    /// The runs that a process held which died with the file are due at once. Symbolic links are followed; a hard
    /// link is to the lock another file, so use one name.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing was changed, but for migrations that succeeded before one that did not.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        SqliteStore::open_with(path.as_ref(), self.durability)
    }
}

/// A file that cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store, in this or another process, has the file open.
    #[error("{} is in use by {holder}: one process at a time can use it", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who has it open.
        holder: String,
    },
    /// The file is a database of another program.
    #[error("the file is a database of another program: give the store a file of its own")]
    NotOurs,
    /// The file is no database, or its beginning is damaged.
    #[error("the file is no database, or its beginning is damaged")]
    NotADatabase,
    /// A newer version of this crate has written the file.
    #[error("the file has version {found}, and this program knows versions up to {known}: use a newer one")]
    Newer {
        /// The version of the file.
        found: i64,
        /// The latest version that is known here.
        known: i64,
    },
    /// The file was made by a migration that differs from the one of this program.
    #[error("the migration to version {version} is not the one that the file was made with")]
    Changed {
        /// The version.
        version: i64,
    },
    /// A setting that durability depends on was not taken.
    #[error("the setting {pragma} is {found} instead of {wanted}, so commits would not be durable")]
    Setting {
        /// The setting.
        pragma: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// SQLite refused.
    #[error("sqlite: {0}")]
    Sqlite(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotADatabase,
            _ => Self::Sqlite(error.into()),
        }
    }
}

/// Opens the writer's connection.
pub(crate) fn writer(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Sets what durability depends on, and reads it back: SQLite ignores what it does not understand.
pub(crate) fn make_durable(connection: &Connection, durability: Durability) -> Result<(), OpenError> {
    let (level, number) = match durability {
        Durability::PowerLoss => ("FULL", "2"),
        Durability::ProcessCrash => ("NORMAL", "1"),
    };
    connection.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {level};"))?;
    for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", number)] {
        let found = setting(connection, pragma)?;
        if found != wanted {
            return Err(OpenError::Setting { pragma, found, wanted });
        }
    }
    // The checkpoint thread does what autocheckpoint would do inside of commits.
    connection
        .execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;")?;
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
pub(crate) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}
