//! What is read.

use rusqlite::{Connection, OptionalExtension, Row};
use workflow_engine::{Cursor, EncodedEvent, Page, Position, Record, Run, RunKey, Span};

use crate::row::{self, Failure, RECORD, RUN};

pub(crate) fn run(connection: &Connection, id: &str) -> Result<Option<Run>, Failure> {
    Ok(run_by_id(connection, id)?.map(|(run, _)| run))
}

/// Returns a run with the epoch of its last claim.
pub(crate) fn run_by_id(connection: &Connection, id: &str) -> Result<Option<(Run, u64)>, Failure> {
    let mut select = connection.prepare_cached(&format!("SELECT {RUN} FROM runs WHERE id = ?1"))?;
    let mut rows = select.query([id])?;
    rows.next()?.map(row::run).transpose()
}

/// The same, by its key.
pub(crate) fn run_by_key(
    connection: &Connection,
    key: RunKey,
) -> Result<Option<(Run, u64)>, Failure> {
    let mut select =
        connection.prepare_cached(&format!("SELECT {RUN} FROM runs WHERE key = ?1"))?;
    let mut rows = select.query([key.0])?;
    rows.next()?.map(row::run).transpose()
}

pub(crate) fn records(
    connection: &Connection,
    key: RunKey,
    span: Span,
) -> Result<Vec<Record>, Failure> {
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

pub(crate) fn held(connection: &Connection, worker: &str) -> Result<Vec<String>, Failure> {
    let sql = "SELECT id FROM runs WHERE worker = ?1 AND due_at IS NULL ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([worker])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        match row.get(0) {
            Ok(id) => ids.push(id),
            // One that is damaged must not hide the others.
            Err(error) => tracing::error!(%error, "the id of a run cannot be read"),
        }
    }
    Ok(ids)
}

pub(crate) fn outbox(
    connection: &Connection,
    after: Position,
    page: Page,
) -> Result<Vec<(Position, EncodedEvent)>, Failure> {
    let from = i64::try_from(after.0).unwrap_or(i64::MAX);
    let Some(last) = last_of_page(connection, from, page)? else {
        return Ok(Vec::new());
    };
    let sql = format!(
        "SELECT position, last_seq - seq + 1, events FROM history WHERE {BEHIND} AND position <= ?2"
    );
    let mut select = connection.prepare_cached(&format!("{sql} ORDER BY position"))?;
    let mut rows = select.query([from, last])?;
    let mut next = || -> Result<Option<Vec<_>>, Failure> {
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let (position, count): (u64, usize) = (row.get(0)?, row.get(1)?);
        let json = row
            .get_ref(2)?
            .as_str()
            .map_err(|_| row::corrupt(format!("history {position}: events")))?;
        let events = row::events(json, position)?;
        if events.len() != count {
            return Err(row::corrupt(format!("history {position}: last_seq")));
        }
        let events = (position..).map(Position).zip(events);
        Ok(Some(
            events
                .filter(|(position, _)| *position > after)
                .map(Ok)
                .collect(),
        ))
    };
    let rows = std::iter::from_fn(|| next().unwrap_or_else(|error| Some(vec![Err(error)])));
    page.fill(rows.flatten())
}

/// The records with events behind `?1`. The one that `?1` stands in, if it is not its last event,
/// is the last that begins at or before it.
const BEHIND: &str = "position >= coalesce( \
     (SELECT position FROM history WHERE position <= ?1 ORDER BY position DESC LIMIT 1), 0) \
     AND (position > ?1 OR position + last_seq - seq > ?1)";

/// Finds the last record from which events have room on a page, by their lengths: the texts are not
/// read.
fn last_of_page(connection: &Connection, after: i64, page: Page) -> Result<Option<i64>, Failure> {
    let sql = "SELECT position, last_seq - seq + 1, octet_length(events) FROM history";
    let mut select =
        connection.prepare_cached(&format!("{sql} WHERE {BEHIND} ORDER BY position"))?;
    let mut rows = select.query([after])?;
    let (mut last, mut events, mut bytes) = (None, 0_u64, 0_u64);
    let (most_events, most_bytes) = (page.events as u64, page.bytes as u64);
    while events < most_events
        && bytes < most_bytes.max(1)
        && let Some(row) = rows.next()?
    {
        // What is damaged is said when it is read.
        let position: i64 = row.get(0)?;
        let (count, length) = (row.get(1).unwrap_or(1_u64), row.get(2).unwrap_or(0_u64));
        // An array is a bracket longer than its events, of which each is followed by a comma or the
        // other bracket.
        let length = length.saturating_sub(1);
        if last.is_some() && count == 1 && bytes + length > most_bytes {
            break;
        }
        last = Some(position);
        // Of the record that the page begins in some events are known.
        if position > after {
            events = events.saturating_add(count);
            bytes = bytes.saturating_add(length);
        }
    }
    Ok(last)
}

pub(crate) fn cursors(connection: &Connection) -> Result<Vec<(String, Cursor)>, Failure> {
    let sql = "SELECT position, delivered, rejected, missed, sink FROM cursors ORDER BY sink";
    let mut select = connection.prepare_cached(sql)?;
    let cursors = select.query_map([], |row| Ok((row.get(4)?, read_cursor(row)?)))?;
    Ok(cursors.collect::<Result<_, _>>()?)
}

pub(crate) fn cursor(connection: &Connection, sink: &str) -> Result<Option<Cursor>, Failure> {
    let sql = "SELECT position, delivered, rejected, missed FROM cursors WHERE sink = ?1";
    Ok(connection
        .prepare_cached(sql)?
        .query_row([sink], read_cursor)
        .optional()?)
}

fn read_cursor(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    let position = Position(row.get(0)?);
    Ok(Cursor {
        position,
        delivered: row.get(1)?,
        rejected: row.get(2)?,
        missed: row.get(3)?,
    })
}
