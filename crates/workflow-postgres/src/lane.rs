//! The connection that writes, and what can go wrong on it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use workflow_engine::StoreError;

use crate::connect::Connector;
use crate::sql::Sql;

/// A parameter and its type: statements are sent with them in one round trip, and nothing is prepared, so that any
/// connection of a proxy will do.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The connection that writes. There is one at a time, and what is asked for first is done first.
pub(crate) struct Lane {
    pub(crate) client: Client,
    pub(crate) sql: Arc<Sql>,
    /// Which connection this is, in the rows of the workers that write on it.
    pub(crate) session: i64,
    pub(crate) workers: Arc<Workers>,
    driver: JoinHandle<()>,
}

/// The workers in whose names this store writes: those that have asked it for a lease, or a sink. A claim stands for
/// this store if one of them has it.
#[derive(Debug, Default)]
pub(crate) struct Workers(Mutex<HashSet<String>>);

impl Workers {
    pub(crate) fn add(&self, worker: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker.to_owned());
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Why a write was not done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It was refused, and nothing was changed.
    Refused(StoreError),
    /// The statement failed, and nothing was changed.
    Statement(tokio_postgres::Error),
    /// The connection failed. What was asked for may have happened or not.
    Connection(tokio_postgres::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        // The server is being shut down, or has lost the connection: classes 57P and 08.
        let going = |state: &SqlState| state.code().starts_with("57P") || state.code().starts_with("08");
        if error.code().is_none_or(going) { Self::Connection(error) } else { Self::Statement(error) }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Statement(error) | Fault::Connection(error) => Self::Backend(error.into()),
        }
    }
}

impl Fault {
    /// Returns whether the same statement may succeed if it is sent again: it met another one.
    pub(crate) fn is_collision(&self) -> bool {
        let met = |state: &SqlState| {
            *state == SqlState::T_R_DEADLOCK_DETECTED || *state == SqlState::T_R_SERIALIZATION_FAILURE
        };
        matches!(self, Self::Statement(error) if error.code().is_some_and(met))
    }
}

impl Lane {
    /// Opens the connection and takes over from the one before.
    pub(crate) async fn open(
        connector: &Connector,
        sql: Arc<Sql>,
        workers: Arc<Workers>,
    ) -> Result<Self, tokio_postgres::Error> {
        let (client, driver) = connector.open(None).await?;
        let session = fastrand::i64(1..);
        let lane = Self { client, sql, session, workers, driver };
        let names = lane.workers.names();
        if !names.is_empty() {
            lane.query(&lane.sql.take_over, &[(&names, Type::TEXT_ARRAY), (&session, Type::INT8)]).await?;
        }
        Ok(lane)
    }

    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query_typed(sql, parameters).await
    }
}

/// What was sent and not answered is not waited for.
impl Drop for Lane {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
