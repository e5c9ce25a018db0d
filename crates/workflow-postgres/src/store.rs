//! The store: a handle to the connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts,
};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, pending};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Config;
use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, NewRun, OutboxEnd, Page, Position, Purge, Record, SinkClaim, Span, Woken,
};
use workflow_engine::{
    EncodedEvent, Purged, Run, RunFilter, RunKey, Status, Store, StoreError, Timestamp,
};

use crate::connect::Connector;
use crate::error::ConnectError;
use crate::lane::{Fault, Lane, Opened, Opening, Workers};
use crate::listen::{self, Bells};
use crate::options::{Durability, Options, Time};
use crate::row::gone;
use crate::schema;
use crate::sql::Sql;
use crate::writer::{self, Call, Reply, Write};

/// A [`Store`] in a schema of a PostgreSQL database, which any number of processes on any machine
/// share.
///
/// Cloning it makes another handle to the same connections; they are closed when the last one is
/// dropped. The crate's documentation says how it works and what is guaranteed.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    schema: String,
    durability: Durability,
    time: Time,
    pub(crate) sql: Arc<Sql>,
    pub(crate) pool: Pool,
    pub(crate) opened: Arc<Opened>,
    pub(crate) connector: Arc<Connector>,
    /// What drives the connections.
    pub(crate) runtime: Handle,
    writes: UnboundedSender<Write>,
    /// What was written here, and is to be told.
    ours: Arc<Bells>,
    /// What others have told; `None` if nobody listens.
    theirs: Option<Arc<Bells>>,
    /// Telling and hearing.
    tasks: Vec<JoinHandle<()>>,
}

impl PostgresStore {
    /// Connects with the defaults, as [`Options::connect`] does.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] as there.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::options().connect(url).await
    }

    /// Starts the configuration of a store.
    pub fn options() -> Options {
        Options::new()
    }

    /// Returns what commits survive.
    pub fn durability(&self) -> Durability {
        self.inner.durability
    }

    pub(crate) async fn connect_with(
        config: Config,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        let Options {
            schema: name,
            durability,
            time,
            readers,
            wait,
            listen,
        } = options.clone();
        let schema = schema::quoted(&name)?;
        let connector = Arc::new(Connector::new(config)?);
        let (mut client, driver) = connector.open(None).await?;
        let prepare = async {
            schema::check_server(&client, durability).await?;
            schema::migrate(&mut client, &name).await
        };
        let within = Duration::from_secs(60);
        timeout(within, prepare)
            .await
            .map_err(|_| ConnectError::Silent { within })??;
        drop(client);
        // It ends by itself when nobody has the client any more.
        drop(driver);

        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager =
            Manager::from_connect(connector.config.clone(), (*connector).clone(), recycling);
        let create = connector.patience() + Duration::from_secs(1);
        let timeouts = Timeouts {
            wait: Some(wait),
            create: Some(create),
            recycle: Some(wait),
        };
        let opened = Arc::new(Opened::now());
        let is_current = {
            let opened = opened.clone();
            Hook::sync_fn(move |_, metrics| match opened.is_before(metrics.created) {
                true => Ok(()),
                false => Err(HookError::message(
                    "it was opened before the connection that writes",
                )),
            })
        };
        let pool = Pool::builder(manager)
            .max_size(readers)
            .runtime(Runtime::Tokio1)
            .timeouts(timeouts);
        let pool = pool.pre_recycle(is_current);
        let pool = pool
            .build()
            .map_err(|error| ConnectError::Pool(error.into()))?;

        let (sql, workers) = (
            Arc::new(Sql::new(&schema, time)),
            Arc::new(Workers::default()),
        );
        let opening = Opening {
            connector: connector.clone(),
            sql: sql.clone(),
            workers,
            opened: opened.clone(),
            schema,
            durability,
        };
        let lane = opening.open().await?;
        let (writes, queue) = unbounded_channel();
        let session = lane.session;
        tokio::spawn(writer::work(opening, lane, queue));

        let (ours, theirs) = (Arc::<Bells>::default(), listen.then(Arc::<Bells>::default));
        let channel = listen::channel(&name);
        let mut tasks = vec![tokio::spawn(listen::tell(
            pool.clone(),
            channel.clone(),
            ours.clone(),
            session,
        ))];
        if let Some(theirs) = theirs.clone() {
            tasks.push(tokio::spawn(listen::hear(
                connector.clone(),
                channel,
                theirs,
                session,
            )));
        }
        let runtime = Handle::current();
        let inner = Inner {
            schema: name,
            durability,
            time,
            sql,
            pool,
            opened,
            connector,
            runtime,
            writes,
            ours,
            theirs,
            tasks,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Has the writer do something, and waits until it is durable.
    async fn ask<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inner.writes.send(write(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnMut(&'a Lane) -> BoxFuture<'a, Result<T, Fault>> + Send + 'static,
    {
        self.ask(|reply| Write::Other(Box::new(Call { operation, reply })))
            .await
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create(&self, new: NewRun) -> Result<Created, StoreError> {
        let due = new.status == Status::Queued;
        let created = self.ask(|reply| Write::Create(new, reply)).await?;
        if due && matches!(created, Created::New(_)) {
            self.inner.ours.ring(Woken::Due);
        }
        Ok(created)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.ask(|reply| Write::Commit(commit, reply)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError> {
        self.write(move |lane| {
            let request = request.clone();
            async move { lane.claim(&request).await }.boxed()
        })
        .await
    }

    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError> {
        self.write(move |lane| lane.release(claim, due).boxed())
            .await
    }

    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError> {
        let worker = worker.to_owned();
        self.write(move |lane| {
            let worker = worker.clone();
            async move { lane.renew(&worker, until).await }.boxed()
        })
        .await
    }

    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError> {
        let worker = worker.to_owned();
        self.write(move |lane| {
            let worker = worker.clone();
            async move { lane.retire(&worker, now).await }.boxed()
        })
        .await?;
        self.inner.ours.ring(Woken::Due);
        Ok(())
    }

    async fn request_cancel(
        &self,
        run: &str,
        request: CancelRequest,
    ) -> Result<CancelReply, StoreError> {
        let run = run.to_owned();
        let reply = self
            .write(move |lane| {
                let (run, request) = (run.clone(), request.clone());
                async move { lane.request_cancel(&run, &request).await }.boxed()
            })
            .await?;
        if let CancelReply::Accepted(run) = &reply {
            self.inner.ours.ring(if run.due_at.is_some() {
                Woken::Due
            } else {
                Woken::Cancel
            });
        }
        Ok(reply)
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        self.read_run(id).await
    }

    async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        self.read_records(key, span).await
    }

    async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        self.read_list(filter).await
    }

    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        self.read_held(worker).await
    }

    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        self.read_outbox(after, page).await
    }

    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError> {
        self.read_end().await
    }

    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        if let Some(cursor) = self.read_cursor(sink).await? {
            return Ok(cursor);
        }
        let sink = sink.to_owned();
        self.write(move |lane| {
            let sink = sink.clone();
            async move { lane.open_cursor(&sink).await }.boxed()
        })
        .await
    }

    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        self.read_cursors().await
    }

    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError> {
        let (sink, worker) = (sink.to_owned(), worker.to_owned());
        self.write(move |lane| {
            let (sink, worker) = (sink.clone(), worker.clone());
            async move { lane.claim_sink(&sink, &worker, now).await }.boxed()
        })
        .await
    }

    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.write(move |lane| {
            let claim = claim.clone();
            async move { lane.release_sink(&claim).await }.boxed()
        })
        .await
    }

    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.write(move |lane| {
            let claim = claim.clone();
            async move { lane.set_cursor(&claim, cursor).await }.boxed()
        })
        .await
    }

    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError> {
        let sink = sink.to_owned();
        self.write(move |lane| {
            let sink = sink.clone();
            async move { lane.drop_cursor(&sink).await }.boxed()
        })
        .await
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        self.remove(&purge).await
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        match self.inner.time {
            // Leases depend on it as on what is written, and not on how busy the readers are.
            Time::Database => self.write(|lane| lane.now().boxed()).await.map(Some),
            Time::Engine => Ok(None),
        }
    }

    async fn woken(&self) -> Woken {
        match &self.inner.theirs {
            Some(theirs) => theirs.rung().await,
            None => pending().await,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.inner.schema)
            .field("durability", &self.inner.durability)
            .field("time", &self.inner.time)
            .finish_non_exhaustive()
    }
}
