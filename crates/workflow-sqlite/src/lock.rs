//! One store for each file: the lock file beside the database, which names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::FileError;

/// Time between two attempts to take the lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The lock on a database. Dropping it releases the lock, and so does the end of the process.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, and waits up to `timeout` for a holder that may be about to close.
    pub(crate) fn take(database: &Path, timeout: Duration) -> Result<Self, FileError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path(database))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Err(TryLockError::WouldBlock) => {
                    let remaining = timeout.saturating_sub(started.elapsed());
                    if remaining.is_zero() {
                        return Err(FileError::Locked {
                            holder: read_holder(&mut file),
                        });
                    }
                    std::thread::sleep(remaining.min(LOCK_RETRY_INTERVAL));
                }
            }
        }
        let mut lock = Self { file };
        lock.write_holder()?;
        Ok(lock)
    }

    /// Writes the id of this process into the lock file.
    fn write_holder(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "process {}", std::process::id())?;
        self.file.flush()
    }

    /// Returns the lock file as a forked process inherits it.
    #[cfg(test)]
    pub(crate) fn inherited(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough, because a forked process may have it open as well.
        let _ = self.file.unlock();
    }
}

/// Reads the name of the holder.
fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    // The lock is held even if the text cannot be read.
    let _ = file.read_to_string(&mut holder);
    let holder = holder.trim();
    // A holder that has just taken the lock may not have written its name yet.
    if holder.is_empty() {
        "another process".to_owned()
    } else {
        holder.to_owned()
    }
}

/// Follows symbolic links to the one path of a file, whether the file exists or not, so that it has
/// one lock.
///
/// The file itself is not opened, because closing it would release the locks that SQLite holds on
/// it in this process.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let resolved = path.canonicalize();
    if !resolved
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        return resolved;
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match (path.read_link(), path.file_name()) {
        // A link to a file that does not exist yet.
        (Ok(target), _) => resolve(&folder.join(target)),
        (Err(_), Some(name)) => Ok(folder.canonicalize()?.join(name)),
        (Err(_), None) => resolved,
    }
}

/// Returns the path of the lock file.
///
/// The lock file stays when the lock is released: removing it would let two processes lock two
/// different files.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}
