//! The connections that read: a pool, a time limit, and a second attempt.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use tokio::runtime::Handle;
use tokio_postgres::Row;
use workflow_engine::StoreError;

use crate::connection::Connector;
use crate::db::Parameter;
use crate::error::sqlstate::{Meaning, meaning, store_error};
use crate::error::store::{backend, closed, corrupt};
use crate::freshness::Freshness;
use crate::sql::Sql;
/// How long a read may take before it fails and its connection is closed.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a read that counts events, of which there may be very many.
pub(crate) const COUNT_TIMEOUT: Duration = Duration::from_secs(600);

/// Reads on the connections of a pool.
pub(crate) struct Reader {
    pub(crate) pool: Pool,
    pub(crate) sql: Arc<Sql>,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) connector: Arc<Connector>,
    /// The runtime that drives the connections.
    pub(crate) runtime: Handle,
}

impl Reader {
    pub(crate) async fn read(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.read_within(READ_TIMEOUT, sql, parameters).await
    }

    /// Reads one row, which may require that many events are counted.
    pub(crate) async fn count(&self, sql: &str) -> Result<Row, StoreError> {
        only(self.read_within(COUNT_TIMEOUT, sql, &[]).await?)
    }

    /// Reads on a connection of the pool. If the connection is lost, reads once more on a new one.
    async fn read_within(
        &self,
        limit: Duration,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        match self.read_once(limit, sql, parameters).await {
            Ok(rows) => return Ok(rows),
            Err(ReadError::Failed(error)) => return Err(error),
            Err(ReadError::Lost(error)) => {
                tracing::debug!(%error, "the connection of a read was lost; the read is retried on a new one");
            }
        }
        // The cause may have ended the other connections as well.
        self.freshness.renew();
        self.read_once(limit, sql, parameters)
            .await
            .map_err(StoreError::from)
    }

    pub(crate) async fn read_once(
        &self,
        limit: Duration,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, ReadError> {
        let mut object = pin!(self.pool.get());
        // The timers of the pool need the runtime that drives the connections, and the caller may
        // be on another one.
        let entered = poll_fn(|cx| {
            let _entered = self.runtime.enter();
            object.as_mut().poll(cx)
        });
        let object = entered.await.map_err(|error| match error {
            PoolError::Backend(error) => ReadError::from(&error),
            PoolError::Timeout(_) => ReadError::Failed(backend(
                "no connection for a read was free, or could be opened, in time",
            )),
            error => ReadError::Failed(backend(error)),
        })?;
        let (connector, runtime) = (self.connector.clone(), self.runtime.clone());
        let mut connection = PooledConnection {
            object: Some(object),
            connector,
            runtime,
        };
        let outcome = {
            let Some(object) = &connection.object else {
                return Err(ReadError::Failed(closed()));
            };
            let mut query = pin!(object.query_typed(sql, parameters));
            let entered = self.runtime.enter();
            let mut late = pin!(tokio::time::sleep(limit));
            drop(entered);
            poll_fn(|cx| match query.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => late.as_mut().poll(cx).map(|()| None),
            })
            .await
        };
        match outcome {
            Some(Ok(rows)) => {
                connection.object = None;
                Ok(rows)
            }
            Some(Err(error)) => {
                let error = ReadError::from(&error);
                match connection.object.take() {
                    // The connection is lost, and must not go back to the pool.
                    Some(object) if matches!(error, ReadError::Lost(_)) => {
                        drop(Object::take(object))
                    }
                    object => drop(object),
                }
                Err(error)
            }
            None => Err(ReadError::Failed(backend(format!(
                "a read took longer than {} s",
                limit.as_secs()
            )))),
        }
    }
}

/// A connection of the pool that a read uses.
struct PooledConnection {
    object: Option<Object>,
    connector: Arc<Connector>,
    runtime: Handle,
}

/// A read that was dropped must not delay the next one: its connection does not go back to the
/// pool, and the server is asked to cancel the statement.
impl Drop for PooledConnection {
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

/// Error of one attempt of a read.
pub(crate) enum ReadError {
    /// The connection was lost or could not be opened. Another one may work.
    Lost(StoreError),
    Failed(StoreError),
}

impl From<&tokio_postgres::Error> for ReadError {
    fn from(error: &tokio_postgres::Error) -> Self {
        match meaning(error) {
            Meaning::Elsewhere => Self::Lost(store_error(error)),
            Meaning::Later | Meaning::Never | Meaning::Damaged => Self::Failed(store_error(error)),
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lost(error) | ReadError::Failed(error) => error,
        }
    }
}

/// Returns the row of a statement that always has one.
pub(crate) fn only(rows: Vec<Row>) -> Result<Row, StoreError> {
    rows.into_iter()
        .next()
        .ok_or_else(|| corrupt("a row that is always there is missing".into()))
}
