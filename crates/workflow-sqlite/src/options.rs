//! Options of a store.

use std::time::Duration;

/// The failures that an acknowledged commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Commits survive a loss of power, and every lesser failure. The default.
    ///
    /// Each commit is flushed to the disk (`synchronous=FULL`); commits that arrive together share
    /// one flush.
    #[default]
    PowerLoss,
    /// Commits survive the end of the process, for any reason (`synchronous=NORMAL`).
    ///
    /// A loss of power or a crash of the operating system may lose the latest commits, but none
    /// that came before a commit that is kept. The file stays intact.
    ProcessCrash,
}

/// Options of a store, and the way to open it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use workflow_sqlite::{Durability, SqliteStore};
///
/// let folder = tempfile::tempdir()?;
/// let options = SqliteStore::options()
///     .durability(Durability::ProcessCrash)
///     .lock_timeout(Duration::from_secs(5));
/// let store = options.open(folder.path().join("runs.db"))?;
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) lock_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            lock_timeout: Duration::from_secs(2),
        }
    }
}

impl Options {
    /// Sets which failures a commit survives; the default is [`Durability::PowerLoss`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long [`open`](Self::open) waits for another store to close the file; the default is
    /// 2 s. With zero, `open` fails at once if the file is in use.
    pub fn lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }
}
