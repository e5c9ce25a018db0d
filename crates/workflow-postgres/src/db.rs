//! The connection that writes. Every write operation is a method of [`Db`], in the file of its
//! name.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use workflow_engine::StoreError;

use crate::connection::Connector;
use crate::error::ConnectError;
use crate::freshness::Freshness;
use crate::options::Durability;
use crate::schema;
use crate::sql::Sql;
use crate::workers::Workers;

/// How long a write may take before its connection is abandoned. Three of these are shorter than a
/// lease.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most retries of a statement that collides with another one.
pub(crate) const MAX_COLLISION_RETRIES: usize = 5;

/// The result of each write of a group; `None` for a write that must be retried.
pub(crate) type Answers<T> = Vec<Option<Result<T, StoreError>>>;

/// A parameter and its type. A statement is sent with them in one round trip and is not prepared,
/// so that it works on any connection of a proxy.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The connection that writes. There is one at a time, which executes writes in the order of their
/// requests.
pub(crate) struct Db {
    pub(crate) client: Client,
    pub(crate) sql: Arc<Sql>,
    /// The number of this connection, which the rows of its workers have.
    pub(crate) session: i64,
    pub(crate) workers: Arc<Workers>,
    driver: JoinHandle<()>,
}

/// Opens the connection that writes.
pub(crate) struct Opener {
    pub(crate) connector: Arc<Connector>,
    pub(crate) sql: Arc<Sql>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) freshness: Arc<Freshness>,
    /// The schema's name, quoted.
    pub(crate) schema: String,
    pub(crate) durability: Durability,
}

impl Opener {
    /// Opens the connection, and takes over from the one before. The server may be another one, so
    /// it is checked as the first one was.
    pub(crate) async fn open(&self) -> Result<Db, ConnectError> {
        let (client, driver) = self.connector.open(None).await?;
        self.freshness.renew();
        let (sql, workers) = (self.sql.clone(), self.workers.clone());
        let db = Db {
            client,
            sql,
            session: fastrand::i64(1..),
            workers,
            driver,
        };
        let settle = async {
            schema::check_server(&db.client, self.durability).await?;
            schema::move_base(&db.client, &self.schema).await?;
            let names = db.workers.names();
            if !names.is_empty() {
                db.query(
                    &db.sql.take_over,
                    &[(&names, Type::TEXT_ARRAY), (&db.session, Type::INT8)],
                )
                .await?;
            }
            Ok::<_, ConnectError>(())
        };
        match timeout(WRITE_TIMEOUT, settle).await {
            Ok(settled) => settled.map(|()| db),
            Err(_) => {
                db.give_up(&self.connector);
                Err(ConnectError::Silent {
                    within: WRITE_TIMEOUT,
                })
            }
        }
    }
}

impl Db {
    /// Asks the server to cancel the statement of this connection, without waiting for that.
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

/// Does not wait for statements that have no answer yet.
impl Drop for Db {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
