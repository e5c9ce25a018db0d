//! The outbox: all events in the order of their commits.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use workflow_engine::EncodedEvent;
use workflow_engine::store::{OutboxEnd, Page, Position};

use crate::error::{OperationError, corrupt};
use crate::row;

/// Returns the events after a position, as many as have room on a page.
pub(crate) fn outbox(
    connection: &Connection,
    after: Position,
    page: Page,
) -> Result<Vec<(Position, EncodedEvent)>, OperationError> {
    let from = i64::try_from(after.0).unwrap_or(i64::MAX);
    let Some(last) = last_of_page(connection, from, page)? else {
        return Ok(Vec::new());
    };
    let mut select = connection.prepare_cached(include_str!("sql/outbox.sql"))?;
    let mut rows = select.query([from, last])?;
    let mut next = || -> Result<Option<Vec<_>>, OperationError> {
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let position: u64 = row.get(0)?;
        let count: usize = row.get(1)?;
        let json = row
            .get_ref(2)?
            .as_str()
            .map_err(|_| corrupt(format!("history {position}: events")))?;
        let events = row::events(json, position)?;
        if events.len() != count {
            return Err(corrupt(format!("history {position}: last_seq")));
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

/// Returns the position of the last record that contributes events to a page.
///
/// Only the lengths of the records are read, not their texts.
fn last_of_page(
    connection: &Connection,
    after: i64,
    page: Page,
) -> Result<Option<i64>, OperationError> {
    let mut select = connection.prepare_cached(include_str!("sql/outbox_lengths.sql"))?;
    let mut rows = select.query([after])?;
    let mut last = None;
    let mut events = 0_u64;
    let mut bytes = 0_u64;
    let max_events = page.events as u64;
    let max_bytes = page.bytes as u64;
    while events < max_events
        && bytes < max_bytes.max(1)
        && let Some(row) = rows.next()?
    {
        // A damaged length is guessed here, and reported when the record itself is read.
        let position: i64 = row.get(0)?;
        let count = row.get(1).unwrap_or(1_u64);
        let length = row.get(2).unwrap_or(0_u64);
        // Without its first bracket, the array is a list of events, each followed by "," or "]".
        let length = length.saturating_sub(1);
        if last.is_some() && count == 1 && bytes + length > max_bytes {
            break;
        }
        last = Some(position);
        // Some events of the record that contains `after` lie before it, so it is not counted.
        if position > after {
            events = events.saturating_add(count);
            bytes = bytes.saturating_add(length);
        }
    }
    Ok(last)
}

/// Returns the end of the outbox, from the position that the writer has published.
pub(crate) fn outbox_end(published: &AtomicU64) -> OutboxEnd {
    // Every event takes one position, so the last position is also the number of events.
    let end = published.load(Ordering::Acquire);
    OutboxEnd {
        position: Position(end),
        accepted: end,
        readable: Position(end),
    }
}
