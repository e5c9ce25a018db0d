//! What can go wrong when a store is connected, and what to do about it.

pub(crate) mod sqlstate;
pub(crate) mod store;

use std::time::Duration;

use sqlstate::{Meaning, meaning, message, store_error};
use tokio_postgres::error::SqlState;
use workflow_engine::StoreError;

/// A database that cannot be used as a store. Nothing was changed, but for migrations that
/// succeeded before one that did not.
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
    /// A server answers, and then no more.
    #[error(
        "the server does not answer within {} s, or another process is at the schema: look at pg_stat_activity",
        .within.as_secs()
    )]
    Silent {
        /// How long was waited.
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
    /// TLS is requested for and cannot be had.
    #[error("TLS: {0}")]
    Tls(String),
    /// The user may not do what the store needs.
    #[error(
        "the user lacks a right: let the schema's owner connect once, and then \
         `GRANT USAGE ON SCHEMA` and `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES` and \
         `USAGE ON ALL SEQUENCES` in it: {}",
        message(.0)
    )]
    Rights(#[source] tokio_postgres::Error),
    /// The server takes no writes.
    #[error(
        "the server is a read-only replica, or read only: connect to the primary (target_session_attrs=read-write)"
    )]
    ReadOnly,
    /// Commits wait for a synchronous standby, and have for more than five seconds.
    #[error(
        "commits wait for a synchronous standby: look at pg_stat_replication and synchronous_standby_names"
    )]
    Standby,
    /// The server is too old.
    #[error("the server has version {found}, and the store needs {needed}")]
    ServerVersion {
        /// The server's version.
        found: String,
        /// The oldest one that will do.
        needed: &'static str,
    },
    /// The database cannot hold every text.
    #[error(
        "the database has the encoding {found}, which cannot hold every text: create it with `ENCODING 'UTF8'`"
    )]
    Encoding {
        /// The database's encoding.
        found: String,
    },
    /// Transactions keep the view that they began with, and fail where they meet: the store's
    /// statements are created to wait instead, and to see what they have waited for.
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
    /// The schema was created by a migration that differs from the one of this program.
    #[error("the migration to version {version} is not the one that the schema was created with")]
    Changed {
        /// The version.
        version: i64,
    },
    /// The schema belongs to something else.
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
        /// What it is.
        found: String,
    },
    /// The server refused otherwise.
    #[error("postgres: {}", message(.0))]
    Postgres(#[source] tokio_postgres::Error),
    /// The pool cannot be created.
    #[error("the pool: {0}")]
    Pool(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ConnectError {
    /// Returns what the server or the client said, if that is what it is.
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

/// Says what went wrong by what the server said.
impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code().cloned() else {
            // What the client found out by itself has no code but its words.
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

/// Why a write was not done.
pub(crate) enum OperationError {
    /// It was refused, and nothing was changed.
    Refused(StoreError),
    /// The statement failed, and nothing was changed.
    Statement(tokio_postgres::Error),
    /// The connection failed, or leads to where nothing can be written. What was requested for may have
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
