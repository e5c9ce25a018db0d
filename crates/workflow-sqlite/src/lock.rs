//! One process, one store: the lock beside the file, which says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// Holds the lock; it is released when this is dropped, and when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = path(database);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The lock is taken all the same, should its text be unreadable.
                let _ = file.read_to_string(&mut holder);
                return Err(OpenError::Locked { path: database.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "process {}", std::process::id())?;
        file.flush()?;
        Ok(Self { _file: file })
    }
}

/// Returns the one path of a file, there or not yet, by whatever symbolic links it is reached: it has one lock.
///
/// The file itself is not opened: to close it again would release the locks that SQLite holds on it in this process.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let resolved = path.canonicalize();
    if !resolved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return resolved;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (path.read_link(), path.file_name()) {
        // A link to a file that is not there yet.
        (Ok(target), _) => resolve(&folder.join(target)),
        (Err(_), Some(name)) => Ok(folder.canonicalize()?.join(name)),
        (Err(_), None) => resolved,
    }
}

/// The lock stays beside the database when it is released: to remove it would let two processes lock two files.
fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}
