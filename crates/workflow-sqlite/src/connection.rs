//! The connections of a store, and their settings.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::error::FileError;
use crate::options::Durability;

/// Time that a connection waits for the lock of another. Only checkpoints of the same process can
/// hold it.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a connection that can write, and creates the file if there is none.
pub(crate) fn writer(path: &Path) -> Result<Connection, FileError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // SQLite opens a file without write permission read-only, and reports no error.
    if connection.is_readonly("main")? {
        return Err(FileError::ReadOnly);
    }
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Sets the pragmas that durability depends on, and reads them back, because SQLite ignores a value
/// that it does not understand.
pub(crate) fn make_durable(
    connection: &Connection,
    durability: Durability,
) -> Result<(), FileError> {
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
            return Err(FileError::Setting {
                pragma,
                found,
                wanted,
            });
        }
    }
    // The checkpoint thread replaces automatic checkpoints, which would run inside commits.
    connection.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(())
}

/// Returns the value of a pragma.
pub(crate) fn setting(connection: &Connection, pragma: &str) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, pragma, |row| {
        Ok(match row.get(0)? {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        })
    })
}

/// Opens a connection that can only read.
///
/// The file is opened for writing all the same, because a reader writes to the index of the
/// write-ahead log.
pub(crate) fn reader(path: &Path) -> Result<Connection, FileError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(
        "PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}
