//! The options of a store.

use std::fmt;
use std::time::Duration;

/// Failures that a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of the server's power, and every lesser failure. The default. A server with `fsync`,
    /// `full_page_writes` or `synchronous_commit` off is refused. Whether a commit survives the
    /// loss of the server's disk depends on its replicas: see `synchronous_standby_names`.
    #[default]
    PowerLoss,
    /// The end of every process of this program, for any reason. The server's settings are accepted
    /// as they are.
    ProcessCrash,
}

/// The clock by which runs are due and leases expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Time {
    /// The clock of the database. The default. Differences between the clocks of machines do no
    /// harm.
    #[default]
    Database,
    /// The clock of each engine, for tests with a clock that skips waits.
    Engine,
}

/// The options of a store.
///
/// # Examples
///
/// ```no_run
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use workflow_postgres::PostgresStore;
///
/// let store = PostgresStore::options()
///     .schema("orders")
///     .connect("postgres://app:secret@db.example.com/shop")
///     .await?;
/// # Ok::<(), workflow_postgres::ConnectError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) schema: String,
    pub(crate) durability: Durability,
    pub(crate) time: Time,
    pub(crate) readers: usize,
    pub(crate) wait: Duration,
    pub(crate) listen: bool,
}

impl Options {
    pub(crate) fn new() -> Self {
        Self {
            schema: "workflow".into(),
            durability: Durability::default(),
            time: Time::default(),
            readers: 4,
            wait: Duration::from_secs(10),
            listen: true,
        }
    }

    /// Sets the schema that has the store's tables. The default is `workflow`. Every name that
    /// PostgreSQL accepts is allowed, in any case. A schema that does not exist is created. Several
    /// stores can share a database, each in a schema of its own.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Sets which failures commits survive. The default is [`Durability::PowerLoss`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the clock. The default is [`Time::Database`].
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Sets the most connections on which the store reads. The default is 4, the minimum 1, the
    /// maximum 1,000. The store has two further connections: one writes, and one listens.
    pub fn readers(mut self, connections: usize) -> Self {
        self.readers = connections.clamp(1, 1_000);
        self
    }

    /// Sets how long a read waits for a free connection before it fails. The default is 10 seconds.
    ///
    /// Opening a connection takes at most `connect_timeout` for each host, or three times that if
    /// there are fewer hosts. The read itself takes at most 30 seconds, or 10 minutes if it counts
    /// events.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets whether the store listens for writes of other processes (`LISTEN`). The default is
    /// true. Turn it off behind a proxy that pools transactions, because a connection cannot listen
    /// there. Workers also poll, once a second by default.
    pub fn listen(mut self, listen: bool) -> Self {
        self.listen = listen;
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("schema", &self.schema)
            .field("durability", &self.durability)
            .field("time", &self.time)
            .field("readers", &self.readers)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}
