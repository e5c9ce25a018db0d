//! What is read, and purged: on the connections of the pool.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{Object, PoolError};
use tokio::runtime::Handle;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use workflow_engine::store::{Cursor, OutboxEnd, Page, Position, Purge, Record, Span};
use workflow_engine::{
    EncodedEvent, Purged, Run, RunFilter, RunKey, Status, StoreError, Timestamp,
};

use crate::connect::Connector;
use crate::lane::Parameter;
use crate::meaning::{Meaning, meaning, said};
use crate::row::{self, backend, corrupt, gone, signed};
use crate::store::PostgresStore;
use crate::text::{escape, unescape};

/// How many rows of the outbox are counted each time, at most, before what was counted is written
/// down.
const COUNTED: u64 = 1_000;

/// How many bytes of events are read at once, unless one record has more.
const PAGE: i64 = 4 << 20;

/// How long a read may take before it fails, and its connection is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where events are counted, of which there may be very many that never were.
const COUNTING: Duration = Duration::from_secs(600);

/// A connection of the pool, while somebody reads on it.
struct Reading {
    object: Option<Object>,
    connector: Arc<Connector>,
    runtime: Handle,
}

/// A read that nobody waits for any more must not keep the next one waiting: the connection does
/// not go back to the pool, and the server is asked to end what it does.
impl Drop for Reading {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        let (token, connector) = (object.cancel_token(), self.connector.clone());
        drop(Object::take(object));
        self.runtime
            .spawn(async move { connector.cancel(token).await });
    }
}

/// Why a read came to nothing.
enum Unread {
    /// The connection had ended, or could not be opened: another one may do.
    Lost(StoreError),
    Failed(StoreError),
}

impl From<&tokio_postgres::Error> for Unread {
    fn from(error: &tokio_postgres::Error) -> Self {
        match meaning(error) {
            Meaning::Elsewhere => Self::Lost(said(error)),
            Meaning::Later | Meaning::Never | Meaning::Damaged => Self::Failed(said(error)),
        }
    }
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Lost(error) | Unread::Failed(error) => error,
        }
    }
}

impl PostgresStore {
    async fn read(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        self.read_within(PATIENCE, sql, parameters).await
    }

    /// Reads on a connection of the pool, and once more on a new one where that connection has
    /// died: to read twice does no harm.
    async fn read_within(
        &self,
        patience: Duration,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        match self.read_once(patience, sql, parameters).await {
            Ok(rows) => return Ok(rows),
            Err(Unread::Failed(error)) => return Err(error),
            Err(Unread::Lost(error)) => {
                tracing::debug!(%error, "the connection of a read was lost; it is read again on a new one");
            }
        }
        // What ended one connection may have ended the others as well.
        self.inner.opened.renew();
        self.read_once(patience, sql, parameters)
            .await
            .map_err(StoreError::from)
    }

    async fn read_once(
        &self,
        patience: Duration,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Unread> {
        let mut object = pin!(self.inner.pool.get());
        // The pool has timers, which belong to the runtime that drives the connections; the caller
        // may be elsewhere.
        let entered = poll_fn(|poller| {
            let _entered = self.inner.runtime.enter();
            object.as_mut().poll(poller)
        });
        let object = entered.await.map_err(|error| match error {
            PoolError::Backend(error) => Unread::from(&error),
            PoolError::Timeout(_) => Unread::Failed(backend(
                "no connection to read on was free, or could be opened, in time",
            )),
            error => Unread::Failed(backend(error)),
        })?;
        let (connector, runtime) = (self.inner.connector.clone(), self.inner.runtime.clone());
        let mut reading = Reading {
            object: Some(object),
            connector,
            runtime,
        };
        let outcome = {
            let Some(object) = &reading.object else {
                return Err(Unread::Failed(gone()));
            };
            let mut query = pin!(object.query_typed(sql, parameters));
            let entered = self.inner.runtime.enter();
            let mut late = pin!(tokio::time::sleep(patience));
            drop(entered);
            poll_fn(|poller| match query.as_mut().poll(poller) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => late.as_mut().poll(poller).map(|()| None),
            })
            .await
        };
        match outcome {
            Some(Ok(rows)) => {
                reading.object = None;
                Ok(rows)
            }
            Some(Err(error)) => {
                let unread = Unread::from(&error);
                match reading.object.take() {
                    // It leads nowhere any more, and must not go back to the pool.
                    Some(object) if matches!(unread, Unread::Lost(_)) => drop(Object::take(object)),
                    object => drop(object),
                }
                Err(unread)
            }
            None => Err(Unread::Failed(backend(format!(
                "a read took longer than {} s",
                patience.as_secs()
            )))),
        }
    }

    /// Reads one row, for which many may have to be counted.
    async fn count(&self, sql: &str) -> Result<Row, StoreError> {
        only(self.read_within(COUNTING, sql, &[]).await?)
    }

    pub(crate) async fn read_run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let rows = self
            .read(&self.inner.sql.run, &[(&escape(id), Type::TEXT)])
            .await?;
        Ok(rows.first().map(row::run).transpose()?.map(|(run, _)| run))
    }

    pub(crate) async fn read_records(
        &self,
        key: RunKey,
        span: Span,
    ) -> Result<Vec<Record>, StoreError> {
        let sql = match span {
            Span::First => &self.inner.sql.first_record,
            Span::Last => &self.inner.sql.last_record,
            _ => &self.inner.sql.records,
        };
        let rows = self.read(sql, &[(&signed(key.0), Type::INT8)]).await?;
        rows.iter().map(row::record).collect()
    }

    pub(crate) async fn read_list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let RunFilter {
            statuses,
            workflow,
            id_prefix,
            worker,
            after,
            limit,
        } = filter;
        let after = after.map_or(0, |key| signed(key.0));
        let statuses: Vec<_> = statuses.iter().map(|status| status.as_str()).collect();
        let statuses = (!statuses.is_empty()).then_some(statuses);
        let escaped = |text: &Option<String>| text.as_deref().map(escape).map(String::from);
        let parameters: [Parameter<'_>; 6] = [
            (&after as _, Type::INT8),
            (&statuses as _, Type::TEXT_ARRAY),
            (&escaped(workflow) as _, Type::TEXT),
            (&escaped(worker) as _, Type::TEXT),
            (&escaped(id_prefix) as _, Type::TEXT),
            (&signed(*limit) as _, Type::INT8),
        ];
        let rows = self.read(&self.inner.sql.list, &parameters).await?;
        rows.iter()
            .map(|row| row::run(row).map(|(run, _)| run))
            .collect()
    }

    pub(crate) async fn read_held(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        let rows = self
            .read(&self.inner.sql.held, &[(&escape(worker), Type::TEXT)])
            .await?;
        rows.iter()
            .map(|row| Ok(unescape(row::column(row, 0)?)))
            .collect()
    }

    pub(crate) async fn read_outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        if page.events == 0 {
            return Ok(Vec::new());
        }
        // One row more than there are events: of the first one all may be known already.
        let rows = signed(page.events).saturating_add(1);
        // No more is read than is returned, but for the last row; and never too much for one
        // answer.
        let bytes = signed(page.bytes).min(PAGE);
        let parameters = [
            (&signed(after.0) as _, Type::INT8),
            (&rows as _, Type::INT8),
            (&bytes as _, Type::INT8),
        ];
        let rows = self.read(&self.inner.sql.outbox, &parameters).await?;
        page.fill(rows.iter().flat_map(|row| behind(row, after)))
    }

    pub(crate) async fn read_end(&self) -> Result<OutboxEnd, StoreError> {
        let row = self.count(&self.inner.sql.outbox_end).await?;
        let (accepted, position, gate) = (
            row::unsigned(&row, 0)?,
            row::unsigned(&row, 1)?,
            row::unsigned(&row, 2)?,
        );
        if row::unsigned(&row, 3)? > COUNTED {
            // Should it fail, the next one does it.
            let _ = self.count(&self.inner.sql.count).await;
        }
        Ok(OutboxEnd {
            position: Position(position),
            accepted,
            readable: Position(position.min(gate)),
        })
    }

    pub(crate) async fn read_cursor(&self, sink: &str) -> Result<Option<Cursor>, StoreError> {
        let rows = self
            .read(&self.inner.sql.cursor, &[(&escape(sink), Type::TEXT)])
            .await?;
        rows.first().map(row::cursor).transpose()
    }

    pub(crate) async fn read_cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        let rows = self.read(&self.inner.sql.cursors, &[]).await?;
        let mut cursors = rows
            .iter()
            .map(|row| Ok((unescape(row::column(row, 4)?), row::cursor(row)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        // The order of the names as they are stored is another one.
        cursors.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(cursors)
    }

    pub(crate) async fn remove(&self, purge: &Purge) -> Result<Purged, StoreError> {
        let before = |status| purge.before(status).map(Timestamp::as_millis);
        let parameters = [
            (&before(Status::Completed) as _, Type::INT8),
            (&before(Status::Failed) as _, Type::INT8),
            (&before(Status::Cancelled) as _, Type::INT8),
            (&signed(purge.limit) as _, Type::INT8),
        ];
        // Not again if it fails: what it has removed would be told to nobody.
        let rows = self
            .read_once(COUNTING, &self.inner.sql.purge, &parameters)
            .await
            .map_err(StoreError::from)?;
        let row = only(rows)?;
        Ok(Purged {
            runs: row::unsigned(&row, 0)?,
            events: row::unsigned(&row, 1)?,
        })
    }
}

/// Returns the events of a row of the outbox that stand behind a place, or the one error that they
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

/// Returns the row of what always has one.
fn only(rows: Vec<Row>) -> Result<Row, StoreError> {
    rows.into_iter()
        .next()
        .ok_or_else(|| corrupt("a row that is always there is missing".into()))
}
