//! The errors of connecting a store, and of its operations.

pub(crate) mod sqlstate;
pub(crate) mod store;

use std::time::Duration;

use sqlstate::{Meaning, meaning, message, store_error};
use tokio_postgres::error::SqlState;
use workflow_engine::StoreError;

/// Error of a database that cannot be used as a store. Nothing was changed, except by migrations
/// that succeeded before one that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The connection string cannot be read.
    #[error("the connection string, or configuration, is wrong: {}", message(.0))]
    Url(#[source] tokio_postgres::Error),
    /// The name cannot be that of a schema.
    #[error(
        "the schema's name must have 1 to 63 bytes, no zero byte, and not begin with pg_: {name:?}"
    )]
    SchemaName {
        /// The name.
        name: String,
    },
    /// No server answers.
    #[error("no server answers: check host, port and firewall, and that PostgreSQL runs: {}", message(.0))]
    Unreachable(#[source] tokio_postgres::Error),
    /// A server accepts the connection, and then does not answer.
    #[error(
        "the server does not answer within {} s, or another process is at the schema: look at pg_stat_activity",
        .within.as_secs()
    )]
    Silent {
        /// How long the client waited.
        within: Duration,
    },
    /// The server does not let this user in.
    #[error("the server refuses the login: check user, password and pg_hba.conf: {}", message(.0))]
    Login(#[source] tokio_postgres::Error),
    /// There is no such database.
    #[error("there is no such database: create it with `createdb`, or check its name: {}", message(.0))]
    NoDatabase(#[source] tokio_postgres::Error),
    /// The server has no more connections.
    #[error("the server has no connection left: raise max_connections, or connect through a pooler: {}", message(.0))]
    TooManyConnections(#[source] tokio_postgres::Error),
    /// TLS is required and not available.
    #[error("TLS: {0}")]
    Tls(String),
    /// The user lacks a right that the store needs.
    #[error(
        "the user lacks a right: let the schema's owner connect once, and then \
         `GRANT USAGE ON SCHEMA` and `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES` and \
         `USAGE ON ALL SEQUENCES` in it: {}",
        message(.0)
    )]
    Rights(#[source] tokio_postgres::Error),
    /// The server accepts no writes.
    #[error(
        "the server is a read-only replica, or read only: connect to the primary (target_session_attrs=read-write)"
    )]
    ReadOnly,
    /// Commits have waited for a synchronous standby for more than five seconds.
    #[error(
        "commits wait for a synchronous standby: look at pg_stat_replication and synchronous_standby_names"
    )]
    Standby,
    /// The server is too old.
    #[error("the server has version {found}, and the store needs {needed}")]
    ServerVersion {
        /// The server's version.
        found: String,
        /// The oldest version that the store supports.
        needed: &'static str,
    },
    /// The database cannot keep every text.
    #[error(
        "the database has the encoding {found}, which cannot hold every text: create it with `ENCODING 'UTF8'`"
    )]
    Encoding {
        /// The database's encoding.
        found: String,
    },
    /// Transactions are not `read committed`. The store's statements wait for locks and must then
    /// see the changes that they waited for; in other isolation levels they would fail.
    #[error(
        "transactions are {found} unless they say otherwise, and the store needs them read committed: \
         `ALTER ROLE ... SET default_transaction_isolation = 'read committed'` for the store's user"
    )]
    Isolation {
        /// The server's default for this user and database.
        found: String,
    },
    /// A newer version of this crate has written the schema.
    #[error(
        "the schema has version {found}, and this program knows versions up to {known}: use a newer one"
    )]
    Newer {
        /// The version of the schema.
        found: i64,
        /// The latest version that is known here.
        known: i64,
    },
    /// The schema was made by a migration that differs from that of this program.
    #[error("the migration to version {version} is not the one that the schema was created with")]
    Changed {
        /// The version.
        version: i64,
    },
    /// The schema has tables of another program.
    #[error("the schema {schema} has tables of something else: give the store a schema of its own")]
    NotOurs {
        /// The schema.
        schema: String,
    },
    /// A setting that durability depends on is off.
    #[error(
        "the server's setting {setting} is {found}, so commits would not be durable: see Durability"
    )]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The value of the setting.
        found: String,
    },
    /// The server returned another error.
    #[error("postgres: {}", message(.0))]
    Postgres(#[source] tokio_postgres::Error),
    /// The pool cannot be created.
    #[error("the pool: {0}")]
    Pool(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ConnectError {
    /// Returns the error of the server or the client, if this has one.
    pub(crate) fn into_postgres(self) -> Option<tokio_postgres::Error> {
        match self {
            Self::Url(error)
            | Self::Unreachable(error)
            | Self::Login(error)
            | Self::NoDatabase(error)
            | Self::TooManyConnections(error)
            | Self::Rights(error)
            | Self::Postgres(error) => Some(error),
            _ => None,
        }
    }
}

/// Classifies an error of the server or the client.
impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code().cloned() else {
            // An error of the client has no code, so its text is used.
            let (kind, said) = (error.to_string(), message(&error));
            return match () {
                () if kind.contains("TLS") => Self::Tls(said),
                () if kind.contains("authentication") => Self::Login(error),
                () if kind.contains("configuration") => Self::Url(error),
                () if said.contains("does not allow writes") => Self::ReadOnly,
                () => Self::Unreachable(error),
            };
        };
        match state {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Self::Login(error)
            }
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase(error),
            SqlState::TOO_MANY_CONNECTIONS => Self::TooManyConnections(error),
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Rights(error),
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            _ => Self::Postgres(error),
        }
    }
}

/// Error of a write operation.
pub(crate) enum OperationError {
    /// The write was refused, and nothing was changed.
    Refused(StoreError),
    /// The statement failed, and nothing was changed.
    Statement(tokio_postgres::Error),
    /// The connection failed, or leads to a server that accepts no writes. The write may have
    /// happened or not.
    Connection(tokio_postgres::Error),
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for OperationError {
    fn from(error: tokio_postgres::Error) -> Self {
        match meaning(&error) {
            Meaning::Elsewhere => Self::Connection(error),
            Meaning::Later | Meaning::Never | Meaning::Damaged => Self::Statement(error),
        }
    }
}

impl From<OperationError> for StoreError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Refused(error) => error,
            OperationError::Statement(error) | OperationError::Connection(error) => {
                store_error(&error)
            }
        }
    }
}

impl OperationError {
    /// Returns whether the statement collided with another one, so that a retry may succeed.
    pub(crate) fn is_collision(&self) -> bool {
        let met = |state: &SqlState| {
            *state == SqlState::T_R_DEADLOCK_DETECTED
                || *state == SqlState::T_R_SERIALIZATION_FAILURE
        };
        matches!(self, Self::Statement(error) if error.code().is_some_and(met))
    }

    /// Returns whether a row of the write was locked for too long.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Statement(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }
}
