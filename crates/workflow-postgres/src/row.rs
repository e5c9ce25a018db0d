//! Rows as values, and the typed error of a row that is damaged.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use workflow_engine::store::{CancelRequest, Cursor, Entry, EntryKind, Position, Record};
use workflow_engine::{EncodedEvent, Payload, Run, RunKey, Status, StoreError, Timestamp};

use crate::error::store::corrupt;
use crate::text::unescape;

/// Returns a column.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index)
        .map_err(|error| corrupt(format!("column {index}: {error}")))
}

/// Returns a column that has no negative number.
pub(crate) fn unsigned(row: &Row, index: usize) -> Result<u64, StoreError> {
    u64::try_from(column::<i64>(row, index)?)
        .map_err(|_| corrupt(format!("column {index} is negative")))
}

/// Returns a number as PostgreSQL keeps it, or the largest one if it is too large.
pub(crate) fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

pub(crate) fn timestamp(
    millis: i64,
    what: impl FnOnce() -> String,
) -> Result<Timestamp, StoreError> {
    Timestamp::from_millis(millis).map_err(|_| corrupt(what()))
}

/// Returns a column with an optional time.
pub(crate) fn optional_timestamp(
    row: &Row,
    index: usize,
    what: impl FnOnce() -> String,
) -> Result<Option<Timestamp>, StoreError> {
    column::<Option<i64>>(row, index)?
        .map(|millis| timestamp(millis, what))
        .transpose()
}

/// The columns of a run, in the order of [`run`].
pub(crate) const RUN: &str = "r.key, r.id, r.workflow, r.execution_id, r.status, r.last_seq, r.created_at, r.ended_at, \
     r.due_at, r.worker, r.recoveries, r.cancel_reason, r.cancel_at_once, r.cancel_at, r.epoch";

/// Reads a run, and the epoch of its last claim.
pub(crate) fn run(row: &Row) -> Result<(Run, u64), StoreError> {
    let key = unsigned(row, 0)?;
    let what = |column: &str| format!("run {key}: {column}");
    let text = |index| column::<Option<String>>(row, index).map(|text| text.map(unescape));
    let run = Run {
        key: RunKey(key),
        id: unescape(column(row, 1)?),
        workflow: unescape(column(row, 2)?),
        execution_id: text(3)?,
        status: Status::from_stored_name(column(row, 4)?).ok_or_else(|| corrupt(what("status")))?,
        last_seq: unsigned(row, 5)?,
        created_at: timestamp(column(row, 6)?, || what("created_at"))?,
        ended_at: optional_timestamp(row, 7, || what("ended_at"))?,
        due_at: optional_timestamp(row, 8, || what("due_at"))?,
        worker: text(9)?,
        recoveries: u32::try_from(unsigned(row, 10)?).map_err(|_| corrupt(what("recoveries")))?,
        cancel: cancel(row, 11)?,
    };
    Ok((run, unsigned(row, 14)?))
}

/// Reads a cancel: its reason, whether it is immediate, and its time.
pub(crate) fn cancel(row: &Row, first: usize) -> Result<Option<CancelRequest>, StoreError> {
    let Some(at) = column::<Option<i64>>(row, first + 2)? else {
        return Ok(None);
    };
    Ok(Some(CancelRequest {
        reason: column::<Option<String>>(row, first)?.map(unescape),
        immediate: column::<Option<bool>>(row, first + 1)?.unwrap_or(false),
        at: timestamp(at, || "a run: cancel_at".into())?,
    }))
}

/// The columns of a record, in the order of [`record`].
pub(crate) const RECORD: &str =
    "position, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at, payload";

/// Reads a record.
pub(crate) fn record(row: &Row) -> Result<Record, StoreError> {
    let position = unsigned(row, 0)?;
    let what = |column: &str| format!("history {position}: {column}");
    let (first_seq, last_seq) = (unsigned(row, 1)?, unsigned(row, 2)?);
    let events = events(column(row, 4)?, position)?;
    if first_seq + events.len() as u64 != last_seq + 1 {
        return Err(corrupt(what("last_seq")));
    }
    let number = |index, name: &str| {
        let number = column::<Option<i64>>(row, index)?.unwrap_or_default();
        u32::try_from(number).map_err(|_| corrupt(what(name)))
    };
    let entry = match column::<Option<&str>>(row, 5)? {
        None => None,
        Some(kind) => Some(Entry {
            kind: EntryKind::from_stored_name(kind).ok_or_else(|| corrupt(what("kind")))?,
            name: column::<Option<String>>(row, 6)?
                .map(unescape)
                .unwrap_or_default(),
            occurrence: number(7, "occurrence")?,
            attempt: number(8, "attempt")?,
            due_at: match column::<Option<i64>>(row, 9)? {
                Some(millis) => Some(timestamp(millis, || what("due_at"))?),
                None => None,
            },
            payload: match column::<Option<String>>(row, 10)? {
                Some(json) => Some(Payload::from_json(json).map_err(|_| corrupt(what("payload")))?),
                None => None,
            },
        }),
    };
    Ok(Record {
        first_seq,
        at: timestamp(column(row, 3)?, || what("at"))?,
        events,
        entry,
    })
}

/// Reads the events of a record with their bytes unchanged.
pub(crate) fn events(json: &str, position: u64) -> Result<Vec<EncodedEvent>, StoreError> {
    Record::events_from_json(json).map_err(|_| corrupt(format!("history {position}: events")))
}

/// Reads a cursor.
pub(crate) fn cursor(row: &Row) -> Result<Cursor, StoreError> {
    Ok(Cursor {
        position: Position(unsigned(row, 0)?),
        delivered: unsigned(row, 1)?,
        rejected: unsigned(row, 2)?,
        missed: unsigned(row, 3)?,
    })
}
