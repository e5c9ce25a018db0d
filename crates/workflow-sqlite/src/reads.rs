//! Reads of a run and of its history.

use rusqlite::Connection;
use workflow_engine::store::{Record, Span};
use workflow_engine::{Run, RunKey};

use crate::error::OperationError;
use crate::row::{self, RECORD_COLUMNS, RUN_COLUMNS};

/// Returns a run by its id.
pub(crate) fn run(connection: &Connection, id: &str) -> Result<Option<Run>, OperationError> {
    Ok(run_by_id(connection, id)?.map(|(run, _)| run))
}

/// Returns a run by its id, with the epoch of its last claim.
pub(crate) fn run_by_id(
    connection: &Connection,
    id: &str,
) -> Result<Option<(Run, u64)>, OperationError> {
    let mut select =
        connection.prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE id = ?1"))?;
    let mut rows = select.query([id])?;
    rows.next()?.map(row::run).transpose()
}

/// Returns a run by its key, with the epoch of its last claim.
pub(crate) fn run_by_key(
    connection: &Connection,
    key: RunKey,
) -> Result<Option<(Run, u64)>, OperationError> {
    let mut select =
        connection.prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE key = ?1"))?;
    let mut rows = select.query([key.0])?;
    rows.next()?.map(row::run).transpose()
}

/// Returns records of a history, in order.
pub(crate) fn records(
    connection: &Connection,
    key: RunKey,
    span: Span,
) -> Result<Vec<Record>, OperationError> {
    let order = match span {
        Span::First => "last_seq LIMIT 1",
        Span::Last => "last_seq DESC LIMIT 1",
        _ => "last_seq",
    };
    let sql = format!("SELECT {RECORD_COLUMNS} FROM history WHERE run = ?1 ORDER BY {order}");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([key.0])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(row::record(row)?);
    }
    Ok(records)
}
