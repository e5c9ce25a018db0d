//! One process, one store: the lock beside the file, which says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::FileError;

/// How long to wait before the lock is tried again.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Holds the lock; it is released when this is dropped, and when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, for which it waits that long: its holder may be about to end.
    pub(crate) fn take(database: &Path, timeout: Duration) -> Result<Self, FileError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path(database))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Err(TryLockError::WouldBlock) => {
                    let remaining = timeout.saturating_sub(begun.elapsed());
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

    fn write_holder(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "process {}", std::process::id())?;
        self.file.flush()
    }

    /// Returns the file, as a process that was forked from this one has it.
    #[cfg(test)]
    pub(crate) fn inherited(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close the file is not enough: a process that was forked from this one may have it open
        // as well.
        let _ = self.file.unlock();
    }
}

/// Reads who holds the lock.
fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    // The lock is taken all the same, should its text be unreadable.
    let _ = file.read_to_string(&mut holder);
    let holder = holder.trim();
    // A holder that has just taken the lock has not signed yet.
    if holder.is_empty() {
        "another process".to_owned()
    } else {
        holder.to_owned()
    }
}

/// Returns the one path of a file, there or not yet, by whatever symbolic links it is reached: it
/// has one lock.
///
/// The file itself is not opened: to close it again would release the locks that SQLite holds on it
/// in this process.
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
        // A link to a file that is not there yet.
        (Ok(target), _) => resolve(&folder.join(target)),
        (Err(_), Some(name)) => Ok(folder.canonicalize()?.join(name)),
        (Err(_), None) => resolved,
    }
}

/// The lock stays beside the database when it is released: to remove it would let two processes
/// lock two files.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}
