//! Rows as values: a row with a value that it must not have is a typed error.

use rusqlite::Row;
use workflow_engine::store::{CancelRequest, Entry, EntryKind, Record};
use workflow_engine::{EncodedEvent, Payload, Run, RunKey, Status, Timestamp};

use crate::error::{OperationError, corrupt};

/// Columns of a run, in the order that [`run`] reads.
pub(crate) const RUN_COLUMNS: &str = include_str!("sql/run_columns.sql");

/// Reads a run with the epoch of its last claim.
pub(crate) fn run(row: &Row<'_>) -> Result<(Run, u64), OperationError> {
    let key: u64 = row.get(0)?;
    let what = |column: &str| format!("run {key}: {column}");
    let status: String = row.get(4)?;
    let time = |index, column: &str| timestamp(row.get(index)?, || what(column));
    let optional_time = |index, column: &str| {
        row.get::<_, Option<i64>>(index)?
            .map(|millis| timestamp(millis, || what(column)))
            .transpose()
    };
    let cancel = match optional_time(12, "cancel_at")? {
        Some(at) => Some(CancelRequest {
            reason: row.get(10)?,
            immediate: row.get::<_, Option<bool>>(11)?.unwrap_or(false),
            at,
        }),
        None => None,
    };
    let run = Run {
        key: RunKey(key),
        id: row.get(1)?,
        workflow: row.get(2)?,
        execution_id: row.get(3)?,
        status: Status::from_stored_name(&status).ok_or_else(|| corrupt(what("status")))?,
        created_at: time(5, "created_at")?,
        ended_at: optional_time(6, "ended_at")?,
        due_at: optional_time(7, "due_at")?,
        worker: row.get(8)?,
        recoveries: row.get(9)?,
        cancel,
        last_seq: row.get(14)?,
    };
    Ok((run, row.get(13)?))
}

/// Columns of a record, in the order that [`record`] reads.
pub(crate) const RECORD_COLUMNS: &str =
    "position, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at, payload";

/// Reads a record.
pub(crate) fn record(row: &Row<'_>) -> Result<Record, OperationError> {
    let position: u64 = row.get(0)?;
    let what = |column: &str| format!("history {position}: {column}");
    let first_seq: u64 = row.get(1)?;
    let last_seq: u64 = row.get(2)?;
    let events = events(
        row.get_ref(4)?
            .as_str()
            .map_err(|_| corrupt(what("events")))?,
        position,
    )?;
    if first_seq + events.len() as u64 != last_seq + 1 {
        return Err(corrupt(what("last_seq")));
    }
    let entry = match row.get::<_, Option<String>>(5)? {
        None => None,
        Some(kind) => Some(Entry {
            kind: EntryKind::from_stored_name(&kind).ok_or_else(|| corrupt(what("kind")))?,
            name: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
            occurrence: row.get::<_, Option<u32>>(7)?.unwrap_or_default(),
            attempt: row.get::<_, Option<u32>>(8)?.unwrap_or_default(),
            due_at: match row.get::<_, Option<i64>>(9)? {
                Some(millis) => Some(timestamp(millis, || what("due_at"))?),
                None => None,
            },
            payload: match row.get::<_, Option<String>>(10)? {
                Some(json) => Some(Payload::from_json(json).map_err(|_| corrupt(what("payload")))?),
                None => None,
            },
        }),
    };
    Ok(Record {
        first_seq,
        at: timestamp(row.get(3)?, || what("at"))?,
        events,
        entry,
    })
}

/// Reads the events of a record, byte for byte.
pub(crate) fn events(json: &str, position: u64) -> Result<Vec<EncodedEvent>, OperationError> {
    Record::events_from_json(json).map_err(|_| corrupt(format!("history {position}: events")))
}

/// Reads a time; `what` names the column if the time is out of range.
pub(crate) fn timestamp(
    millis: i64,
    what: impl FnOnce() -> String,
) -> Result<Timestamp, OperationError> {
    Timestamp::from_millis(millis).map_err(|_| corrupt(what()))
}
