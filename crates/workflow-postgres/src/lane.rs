//! The connection that writes, and what can go wrong on it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use workflow_engine::StoreError;

use crate::connect::Connector;
use crate::error::ConnectError;
use crate::meaning::{Meaning, meaning, said};
use crate::options::Durability;
use crate::schema;
use crate::sql::Sql;

/// How long a write may take before its connection is given up: a lease is renewed well within
/// three of these.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A parameter and its type: statements are sent with them in one round trip, and nothing is
/// prepared, so that any connection of a proxy will do.
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

/// The workers in whose names this store writes: those that have asked it for a lease, or a sink. A
/// claim stands for this store if one of them has it.
#[derive(Debug, Default)]
pub(crate) struct Workers(Mutex<HashSet<String>>);

impl Workers {
    pub(crate) fn add(&self, worker: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(worker.to_owned());
    }

    pub(crate) fn remove(&self, worker: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(worker);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

/// When the connection that writes was opened. One that was opened before may lead to another
/// server, which nothing must be read from any more.
#[derive(Debug)]
pub(crate) struct Opened(Mutex<Instant>);

impl Opened {
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Has every connection that was opened before be closed instead of used again.
    pub(crate) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns whether a connection that was opened then leads to the server that is written to.
    pub(crate) fn is_before(&self, then: Instant) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) <= then
    }
}

/// Why a write was not done.
pub(crate) enum Fault {
    /// It was refused, and nothing was changed.
    Refused(StoreError),
    /// The statement failed, and nothing was changed.
    Statement(tokio_postgres::Error),
    /// The connection failed, or leads to where nothing can be written. What was asked for may have
    /// happened or not.
    Connection(tokio_postgres::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        match meaning(&error) {
            Meaning::Elsewhere => Self::Connection(error),
            Meaning::Later | Meaning::Never | Meaning::Damaged => Self::Statement(error),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Statement(error) | Fault::Connection(error) => said(&error),
        }
    }
}

impl Fault {
    /// Returns whether the same statement may succeed if it is sent again: it met another one.
    pub(crate) fn is_collision(&self) -> bool {
        let met = |state: &SqlState| {
            *state == SqlState::T_R_DEADLOCK_DETECTED
                || *state == SqlState::T_R_SERIALIZATION_FAILURE
        };
        matches!(self, Self::Statement(error) if error.code().is_some_and(met))
    }

    /// Returns whether somebody had locked for too long what was to be written.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Statement(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }
}

/// How a connection that writes is opened.
pub(crate) struct Opening {
    pub(crate) connector: Arc<Connector>,
    pub(crate) sql: Arc<Sql>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) opened: Arc<Opened>,
    /// The schema's name, quoted.
    pub(crate) schema: String,
    pub(crate) durability: Durability,
}

impl Opening {
    /// Opens the connection and takes over from the one before. The server may be another one than
    /// before, so it is looked at as the first one was.
    pub(crate) async fn open(&self) -> Result<Lane, ConnectError> {
        let (client, driver) = self.connector.open(None).await?;
        self.opened.renew();
        let (sql, workers) = (self.sql.clone(), self.workers.clone());
        let lane = Lane {
            client,
            sql,
            session: fastrand::i64(1..),
            workers,
            driver,
        };
        let settle = async {
            schema::check_server(&lane.client, self.durability).await?;
            schema::move_base(&lane.client, &self.schema).await?;
            let names = lane.workers.names();
            if !names.is_empty() {
                lane.query(
                    &lane.sql.take_over,
                    &[(&names, Type::TEXT_ARRAY), (&lane.session, Type::INT8)],
                )
                .await?;
            }
            Ok::<_, ConnectError>(())
        };
        match timeout(PATIENCE, settle).await {
            Ok(settled) => settled.map(|()| lane),
            Err(_) => {
                lane.give_up(&self.connector);
                Err(ConnectError::Silent { within: PATIENCE })
            }
        }
    }
}

impl Lane {
    /// Has the server end what it is still doing on this connection, without waiting for that.
    pub(crate) fn give_up(self, connector: &Arc<Connector>) {
        let (token, connector) = (self.client.cancel_token(), connector.clone());
        tokio::spawn(async move { connector.cancel(token).await });
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
