//! The error of a server for tests.

use std::io;

/// A server that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// PostgreSQL is not installed.
    #[error("PostgreSQL is not installed: apt-get install postgresql, or set WF_TEST_PG_URL")]
    NotInstalled,
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program.
        program: String,
        /// What it said.
        output: String,
    },
    /// It does not answer in time.
    #[error("the server does not answer: {0}")]
    Silent(String),
    /// It was not started by this process.
    #[error("the server was there before: it is not stopped")]
    NotOurs,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server refused.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}
