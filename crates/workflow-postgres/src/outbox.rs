//! Reading the outbox, and its end.

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use workflow_engine::store::{OutboxEnd, Page, Position};
use workflow_engine::{EncodedEvent, StoreError};

use crate::reader::Reader;
use crate::row::{self, signed};
/// The most rows of the outbox that are counted at each call; beyond that the count is stored.
const MAX_UNCOUNTED_ROWS: u64 = 1_000;

/// The most bytes of events in one read, unless one record has more.
const MAX_PAGE_BYTES: i64 = 4 << 20;

pub(crate) async fn outbox(
    reader: &Reader,
    after: Position,
    page: Page,
) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
    if page.events == 0 {
        return Ok(Vec::new());
    }
    // Read one row more than there are events, because all events of the first row may be before
    // `after`.
    let rows = signed(page.events).saturating_add(1);
    // Read only the last row in vain, and never too much for one answer.
    let bytes = signed(page.bytes).min(MAX_PAGE_BYTES);
    let parameters = [
        (&signed(after.0) as _, Type::INT8),
        (&rows as _, Type::INT8),
        (&bytes as _, Type::INT8),
    ];
    let rows = reader.read(&reader.sql.outbox, &parameters).await?;
    page.fill(rows.iter().flat_map(|row| behind(row, after)))
}

pub(crate) async fn outbox_end(reader: &Reader) -> Result<OutboxEnd, StoreError> {
    let row = reader.count(&reader.sql.outbox_end).await?;
    let (accepted, position, gate) = (
        row::unsigned(&row, 0)?,
        row::unsigned(&row, 1)?,
        row::unsigned(&row, 2)?,
    );
    if row::unsigned(&row, 3)? > MAX_UNCOUNTED_ROWS {
        // If this fails, the next call does it.
        let _ = reader.count(&reader.sql.count).await;
    }
    Ok(OutboxEnd {
        position: Position(position),
        accepted,
        readable: Position(position.min(gate)),
    })
}

/// Returns the events of a row of the outbox that follow a position, or the error that the row
/// cannot be read.
fn behind(row: &Row, after: Position) -> Vec<Result<(Position, EncodedEvent), StoreError>> {
    let read = || {
        let position = row::unsigned(row, 0)?;
        Ok((position, row::events(row::column(row, 1)?, position)?))
    };
    match read() {
        Ok((first, events)) => (first..)
            .map(Position)
            .zip(events)
            .filter(|(position, _)| *position > after)
            .map(Ok)
            .collect(),
        Err(error) => vec![Err(error)],
    }
}
