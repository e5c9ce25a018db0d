//! What can be wrong with a file that is to be opened.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use workflow_engine::StoreError;

/// A file that cannot be opened as a store. `path` is the file, as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the path is the same in all of them, and documented above"
)]
pub enum OpenError {
    /// Another store, in this or another process, has the file open.
    #[error("{} is in use by {holder}: one process at a time can use it", .path.display())]
    Locked {
        path: PathBuf,
        /// Who has it open.
        holder: String,
    },
    /// A folder, or something else that is no file.
    #[error("{} is no file", .path.display())]
    NotAFile { path: PathBuf },
    /// The file is a database of another program.
    #[error("{} is a database of another program: give the store a file of its own", .path.display())]
    NotOurs { path: PathBuf },
    /// The file is no database, or its beginning is damaged. An empty file is one.
    #[error("{} is no database, or its beginning is damaged", .path.display())]
    NotADatabase { path: PathBuf },
    /// The file must not be written.
    #[error("{} can only be read", .path.display())]
    ReadOnly { path: PathBuf },
    /// A newer version of this crate has written the file.
    #[error("{} has version {found}, and this program knows versions up to {known}: use a newer one", .path.display())]
    Newer {
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The latest version that is known here.
        known: i64,
    },
    /// The file was made by a migration that differs from the one of this program.
    #[error("{} was made with another migration to version {version} than this program's", .path.display())]
    Changed {
        path: PathBuf,
        /// The version.
        version: i64,
    },
    /// A setting that durability depends on was not taken.
    #[error("{}: the setting {pragma} is {found} instead of {wanted}, so commits would not be durable", .path.display())]
    Setting {
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The operating system refused.
    #[error("{} cannot be opened: {source}", .path.display())]
    Io {
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("{} cannot be opened: sqlite: {source}", .path.display())]
    Sqlite {
        path: PathBuf,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An [`OpenError`] where the path is not known.
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
    /// Names the file.
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

/// Why an operation was not done.
#[derive(Debug)]
pub(crate) enum OperationError {
    /// It was refused. The writer sees to it that it has then written nothing.
    Refused(StoreError),
    /// SQLite failed, perhaps in the middle of it.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for OperationError {
    fn from(error: rusqlite::Error) -> Self {
        // A value of another type than the column's can only be damage: the tables are strict.
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
                corrupt(format!("column {column} is no UTF-8"))
            }
            error if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                Self::Refused(StoreError::Refused {
                    why: "a row is larger than SQLite keeps".into(),
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

pub(crate) fn corrupt(what: String) -> OperationError {
    OperationError::Refused(StoreError::Corrupt { what })
}

/// Why a transaction must not be committed.
#[derive(Debug)]
pub(crate) enum ExecuteError {
    /// A write was refused after it had written something.
    Refused,
    /// SQLite failed.
    Sqlite(rusqlite::Error),
}
