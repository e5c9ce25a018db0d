//! What is read.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use workflow_engine::{Cursor, EncodedEvent, Page, Position, Record, Run, RunFilter, RunKey, Span};

use crate::row::{self, Failure, RECORD, RUN};

pub(crate) fn run(connection: &Connection, id: &str) -> Result<Option<Run>, Failure> {
    let mut select = connection.prepare_cached(&format!("SELECT {RUN} FROM runs WHERE id = ?1"))?;
    let mut rows = select.query([id])?;
    Ok(rows.next()?.map(row::run).transpose()?.map(|(run, _)| run))
}

pub(crate) fn records(connection: &Connection, key: RunKey, span: Span) -> Result<Vec<Record>, Failure> {
    let order = match span {
        Span::First => "last_seq LIMIT 1",
        Span::Last => "last_seq DESC LIMIT 1",
        _ => "last_seq",
    };
    let sql = format!("SELECT {RECORD} FROM history WHERE run = ?1 ORDER BY {order}");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([key.0])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(row::record(row)?);
    }
    Ok(records)
}

pub(crate) fn list(connection: &Connection, filter: &RunFilter) -> Result<Vec<Run>, Failure> {
    let RunFilter { statuses, workflow, id_prefix, worker, after, limit } = filter;
    let mut sql = format!("SELECT {RUN} FROM runs WHERE key > ?");
    let mut values = vec![Value::from(after.map_or(0, |key| i64::try_from(key.0).unwrap_or(i64::MAX)))];
    if !statuses.is_empty() {
        let marks = vec!["?"; statuses.len()].join(", ");
        sql += &format!(" AND status IN ({marks})");
        values.extend(statuses.iter().map(|status| Value::from(status.as_str().to_owned())));
    }
    if let Some(workflow) = workflow {
        sql += " AND workflow = ?";
        values.push(workflow.clone().into());
    }
    if let Some(worker) = worker {
        sql += " AND worker = ?";
        values.push(worker.clone().into());
    }
    if let Some(prefix) = id_prefix {
        // Not LIKE: every character of a prefix stands for itself.
        sql += " AND substr(id, 1, ?) = ?";
        values.push(i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX).into());
        values.push(prefix.clone().into());
    }
    sql += " ORDER BY key LIMIT ?";
    values.push(i64::try_from(*limit).unwrap_or(i64::MAX).into());
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params_from_iter(values))?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(row::run(row)?.0);
    }
    Ok(runs)
}

pub(crate) fn held(connection: &Connection, worker: &str) -> Result<Vec<String>, Failure> {
    let sql = "SELECT id FROM runs WHERE worker = ?1 AND due_at IS NULL ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_map([worker], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

pub(crate) fn outbox(
    connection: &Connection,
    after: Position,
    page: Page,
) -> Result<Vec<(Position, EncodedEvent)>, Failure> {
    // The row that `after` stands in, if it is not that row's last event, is the last that begins at or before it.
    let sql = "SELECT position, events FROM history WHERE position >= coalesce( \
               (SELECT position FROM history WHERE position <= ?1 ORDER BY position DESC LIMIT 1), 0) ORDER BY position";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([i64::try_from(after.0).unwrap_or(i64::MAX)])?;
    let mut next = || -> Result<Option<Vec<_>>, Failure> {
        let Some(row) = rows.next()? else { return Ok(None) };
        let position: u64 = row.get(0)?;
        let json = row.get_ref(1)?.as_str().map_err(|_| row::corrupt(format!("history {position}: events")))?;
        let events = (position..).map(Position).zip(row::events(json, position)?);
        Ok(Some(events.filter(|(position, _)| *position > after).map(Ok).collect()))
    };
    let rows = std::iter::from_fn(|| next().unwrap_or_else(|error| Some(vec![Err(error)])));
    page.fill(rows.flatten())
}

pub(crate) fn cursors(connection: &Connection) -> Result<Vec<(String, Cursor)>, Failure> {
    let sql = "SELECT position, delivered, rejected, missed, sink FROM cursors ORDER BY sink";
    let mut select = connection.prepare_cached(sql)?;
    let cursors = select.query_map([], |row| Ok((row.get(4)?, read_cursor(row)?)))?;
    Ok(cursors.collect::<Result<_, _>>()?)
}

pub(crate) fn cursor(connection: &Connection, sink: &str) -> Result<Option<Cursor>, Failure> {
    let sql = "SELECT position, delivered, rejected, missed FROM cursors WHERE sink = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([sink], read_cursor).optional()?)
}

fn read_cursor(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    let position = Position(row.get(0)?);
    Ok(Cursor { position, delivered: row.get(1)?, rejected: row.get(2)?, missed: row.get(3)? })
}
