//! Errors of opening a file, and of the operations on an open one.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use workflow_engine::StoreError;

/// Reason why a file cannot be opened as a store. `path` is the path that the caller gave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the path is the same in every variant, and documented above"
)]
pub enum OpenError {
    /// Another store, in this or another process, has the file open.
    #[error("{} is in use by {holder}: one process at a time can use it", .path.display())]
    Locked {
        path: PathBuf,
        /// Process that has the file open.
        holder: String,
    },
    /// The path leads to a folder, or to something else that is not a regular file.
    #[error("{} is not a regular file", .path.display())]
    NotAFile { path: PathBuf },
    /// The file is a database of another program.
    #[error(
        "{} is a database of another program: give the store a file of its own",
        .path.display()
    )]
    NotOurs { path: PathBuf },
    /// The file is not a database, or its header is damaged. An empty file counts as a database.
    #[error("{} is not a database, or its header is damaged", .path.display())]
    NotADatabase { path: PathBuf },
    /// The process has no permission to write the file.
    #[error("{} can be read, but not written", .path.display())]
    ReadOnly { path: PathBuf },
    /// A newer version of this crate has migrated the file.
    #[error(
        "{} has version {found}, and this program knows versions up to {known}: use a newer program",
        .path.display()
    )]
    Newer {
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Latest version that this program knows.
        known: i64,
    },
    /// The file was migrated by a migration that differs from this program's.
    #[error(
        "{} was migrated to version {version} by another migration than this program's",
        .path.display()
    )]
    Changed {
        path: PathBuf,
        /// Version to which the migrations lead.
        version: i64,
    },
    /// SQLite did not accept a setting that durability depends on.
    #[error(
        "{}: the setting {pragma} is {found} instead of {wanted}, so commits would not be durable",
        .path.display()
    )]
    Setting {
        path: PathBuf,
        /// Name of the setting.
        pragma: &'static str,
        /// Value of the setting.
        found: String,
        /// Value that durability needs.
        wanted: &'static str,
    },
    /// The operating system reported an error.
    #[error("{} cannot be opened: {source}", .path.display())]
    Io {
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// SQLite reported an error.
    #[error("{} cannot be opened: sqlite: {source}", .path.display())]
    Sqlite {
        path: PathBuf,
        /// Error of SQLite.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An [`OpenError`] without the path.
#[derive(Debug)]
pub(crate) enum FileError {
    Locked {
        holder: String,
    },
    NotAFile,
    NotOurs,
    NotADatabase,
    ReadOnly,
    Newer {
        found: i64,
        known: i64,
    },
    Changed {
        version: i64,
    },
    Setting {
        pragma: &'static str,
        found: String,
        wanted: &'static str,
    },
    Io(io::Error),
    Sqlite(rusqlite::Error),
}

impl FileError {
    /// Adds the path.
    pub(crate) fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Locked { holder } => OpenError::Locked { path, holder },
            Self::NotAFile => OpenError::NotAFile { path },
            Self::NotOurs => OpenError::NotOurs { path },
            Self::NotADatabase => OpenError::NotADatabase { path },
            Self::ReadOnly => OpenError::ReadOnly { path },
            Self::Newer { found, known } => OpenError::Newer { path, found, known },
            Self::Changed { version } => OpenError::Changed { path, version },
            Self::Setting {
                pragma,
                found,
                wanted,
            } => OpenError::Setting {
                path,
                pragma,
                found,
                wanted,
            },
            Self::Io(source) => OpenError::Io { path, source },
            Self::Sqlite(error) => OpenError::Sqlite {
                path,
                source: error.into(),
            },
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotADatabase,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            _ => Self::Sqlite(error),
        }
    }
}

/// Reason why an operation was not done.
#[derive(Debug)]
pub(crate) enum OperationError {
    /// The operation was refused. The writer undoes what the operation has written.
    Refused(StoreError),
    /// SQLite failed, perhaps in the middle of the operation.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for OperationError {
    fn from(error: rusqlite::Error) -> Self {
        // The tables are strict, so a value of a wrong type can only be damage.
        match error {
            rusqlite::Error::InvalidColumnType(_, column, _) => {
                corrupt(format!("column {column} has a wrong type"))
            }
            rusqlite::Error::IntegralValueOutOfRange(column, _) => {
                corrupt(format!("column {column} is out of range"))
            }
            rusqlite::Error::FromSqlConversionFailure(column, ..) => {
                corrupt(format!("column {column} cannot be read"))
            }
            rusqlite::Error::Utf8Error(column, _) => {
                corrupt(format!("column {column} is not UTF-8"))
            }
            error if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                Self::Refused(StoreError::Refused {
                    why: "a row is larger than SQLite allows".into(),
                })
            }
            error => Self::Sqlite(error),
        }
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<OperationError> for StoreError {
    fn from(failure: OperationError) -> Self {
        match failure {
            OperationError::Refused(error) => error,
            OperationError::Sqlite(error) => Self::Backend(error.into()),
        }
    }
}

/// Makes the error for a value that the store cannot have written.
pub(crate) fn corrupt(what: String) -> OperationError {
    OperationError::Refused(StoreError::Corrupt { what })
}

/// Reason why a transaction must not be committed.
#[derive(Debug)]
pub(crate) enum ExecuteError {
    /// A write was refused after it had changed rows.
    Refused,
    /// SQLite failed.
    Sqlite(rusqlite::Error),
}
