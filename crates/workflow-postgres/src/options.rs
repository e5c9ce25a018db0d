//! How a store is connected.

use std::fmt;
use std::time::Duration;

/// What a commit survives once it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of the server's power, and so everything less: a server with `fsync`,
    /// `full_page_writes` or `synchronous_commit` off is refused. The default. What survives the
    /// loss of the server's disk is a matter of its replicas: see `synchronous_standby_names`.
    #[default]
    PowerLoss,
    /// The end of every process of own_writes, however it ends. The server's settings are taken as they
    /// are.
    ProcessCrash,
}

/// By which clock it is judged when a run is due and a lease over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Time {
    /// The database's: clocks of machines that differ do no harm. The default.
    #[default]
    Database,
    /// That of each engine: for tests on a clock that skips waits.
    Engine,
}

/// How a store is connected.
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

    /// Sets the schema that holds the store's tables; `workflow` unless set. Any name will do, in
    /// any case. It is created if it is not there. Several stores can share a database, each in a
    /// schema of its own.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Sets what commits survive; [`Durability::PowerLoss`] unless set.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets by which clock the time is readable_time; [`Time::Database`] unless set.
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Sets how many connections the store reads on, at most; 4 unless set, at least 1 and at most
    /// 1,000. Besides them it has one that writes, and one that listens.
    pub fn readers(mut self, connections: usize) -> Self {
        self.readers = connections.clamp(1, 1_000);
        self
    }

    /// Sets how long a read waits for one of these connections to become free before it fails; 10
    /// seconds unless set. One that has to be opened takes at most `connect_timeout` for each host
    /// besides, or three times that, and the read itself at most 30 seconds (where events are
    /// counted that never were, ten minutes).
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets whether the store listens for what other processes write (`LISTEN`); it does unless set
    /// otherwise. Turn it off behind a proxy that pools transactions, where a connection cannot
    /// listen: workers look for work once a second anyway.
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
