//! How a store is opened.

use std::time::Duration;

/// What a commit survives once it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power, and so everything less: each commit is flushed to the disk
    /// (`synchronous=FULL`). The default; commits that come together share one flush.
    #[default]
    PowerLoss,
    /// The end of the process, however it ends. A loss of power, or a crash of the operating
    /// system, may take the last commits, in order, and leaves the file intact
    /// (`synchronous=NORMAL`).
    ProcessCrash,
}

/// How a store is opened.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use workflow_sqlite::{Durability, SqliteStore};
///
/// let folder = tempfile::tempdir()?;
/// let options = SqliteStore::options().durability(Durability::ProcessCrash).lock_timeout(Duration::from_secs(5));
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
    /// Sets what commits survive; [`Durability::PowerLoss`] unless set.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long [`open`](Self::open) waits for a store that has the file open, and may be
    /// about to close it; 2 s unless set, and zero to be told at once.
    pub fn lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }
}
