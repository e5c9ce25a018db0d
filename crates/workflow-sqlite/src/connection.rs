//! The connections of a store, and what they are set to.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::error::FileError;
use crate::options::Durability;

/// How long a connection waits for another one; only checkpoints of the same process can be in its
/// way.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the writer's connection.
pub(crate) fn writer(path: &Path) -> Result<Connection, FileError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // SQLite opens a file that it must not write for reading alone.
    if connection.is_readonly("main")? {
        return Err(FileError::ReadOnly);
    }
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Sets what durability depends on, and reads it back: SQLite ignores what it does not understand.
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
