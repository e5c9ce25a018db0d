//! The store: a handle to the connections of one schema.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use tokio_postgres::Config;
use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, NewRun, OutboxEnd, Page, Position, Purge, Record, SinkClaim, Span, Woken,
};
use workflow_engine::{
    EncodedEvent, Purged, Run, RunFilter, RunKey, Status, Store, StoreError, Timestamp,
};

use crate::db::Db;
use crate::error::{ConnectError, OperationError};
use crate::open::{self, Inner};
use crate::options::{Durability, Options, Time};
use crate::queue::{Call, Write};
use crate::reply::{self, Reply};
use crate::{claims, list, outbox, purge, reads, sinks};

/// A [`Store`] in a schema of a PostgreSQL database, which any number of processes on any machine
/// share.
///
/// A clone is another handle to the same connections, which are closed when the last handle is
/// dropped. The documentation of the crate explains how the store works and what it guarantees.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

impl PostgresStore {
    /// Connects with the defaults, as [`Options::connect`] does.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] as for [`Options::connect`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::options().connect(url).await
    }

    /// Starts the configuration of a store.
    pub fn options() -> Options {
        Options::new()
    }

    /// Returns which failures a commit survives.
    pub fn durability(&self) -> Durability {
        self.inner.durability
    }

    /// Queues a write, and waits until it is durable.
    async fn queue<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        reply::result(|reply| self.inner.writes.send(write(reply)).is_ok()).await
    }

    async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnMut(&'a Db) -> BoxFuture<'a, Result<T, OperationError>> + Send + 'static,
    {
        self.queue(|reply| Write::Other(Box::new(Call { operation, reply })))
            .await
    }
}

impl Options {
    /// Connects, and migrates the schema to the version of this program. Call it on the tokio
    /// runtime that drives the connections.
    ///
    /// `url` is a connection string of libpq:
    /// `postgres://user:password@host/database?sslmode=require`, or `host=/run/postgresql
    /// dbname=shop`. TLS needs the feature `rustls`; with it, a server that offers TLS must have a
    /// certificate that the platform trusts, unless `sslmode=disable` says otherwise.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], which says what is wrong and what to do.
    pub async fn connect(&self, url: &str) -> Result<PostgresStore, ConnectError> {
        self.connect_with(url.parse().map_err(ConnectError::Url)?)
            .await
    }

    /// Connects as [`connect`](Self::connect) does, with a configuration instead of a connection
    /// string.
    ///
    /// Settings that the store depends on and that are unset get a value: a timeout of 10 seconds
    /// for connecting, and keepalives that detect a dead connection within 30 seconds.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] as for [`Options::connect`].
    pub async fn connect_with(&self, config: Config) -> Result<PostgresStore, ConnectError> {
        let inner = open::connect(config, self).await?;
        Ok(PostgresStore {
            inner: Arc::new(inner),
        })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create(&self, new: NewRun) -> Result<Created, StoreError> {
        let due = new.status == Status::Queued;
        let created = self.queue(|reply| Write::Create(new, reply)).await?;
        if due && matches!(created, Created::New(_)) {
            self.inner.own_writes.wake(Woken::Due);
        }
        Ok(created)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.queue(|reply| Write::Commit(commit, reply)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError> {
        self.write(move |db| {
            let request = request.clone();
            async move { db.claim(&request).await }.boxed()
        })
        .await
    }

    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError> {
        self.write(move |db| db.release(claim, due).boxed()).await
    }

    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError> {
        let worker = worker.to_owned();
        self.write(move |db| {
            let worker = worker.clone();
            async move { db.renew(&worker, until).await }.boxed()
        })
        .await
    }

    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError> {
        let worker = worker.to_owned();
        self.write(move |db| {
            let worker = worker.clone();
            async move { db.retire(&worker, now).await }.boxed()
        })
        .await?;
        self.inner.own_writes.wake(Woken::Due);
        Ok(())
    }

    async fn request_cancel(
        &self,
        run: &str,
        request: CancelRequest,
    ) -> Result<CancelReply, StoreError> {
        let run = run.to_owned();
        let reply = self
            .write(move |db| {
                let (run, request) = (run.clone(), request.clone());
                async move { db.request_cancel(&run, &request).await }.boxed()
            })
            .await?;
        if let CancelReply::Accepted(run) = &reply {
            self.inner.own_writes.wake(if run.due_at.is_some() {
                Woken::Due
            } else {
                Woken::Cancel
            });
        }
        Ok(reply)
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        reads::run(&self.inner.reader, id).await
    }

    async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        reads::records(&self.inner.reader, key, span).await
    }

    async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        list::list(&self.inner.reader, filter).await
    }

    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        claims::held(&self.inner.reader, worker).await
    }

    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        outbox::outbox(&self.inner.reader, after, page).await
    }

    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError> {
        outbox::outbox_end(&self.inner.reader).await
    }

    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        if let Some(cursor) = sinks::cursor(&self.inner.reader, sink).await? {
            return Ok(cursor);
        }
        let sink = sink.to_owned();
        self.write(move |db| {
            let sink = sink.clone();
            async move { db.open_cursor(&sink).await }.boxed()
        })
        .await
    }

    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        sinks::cursors(&self.inner.reader).await
    }

    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError> {
        let (sink, worker) = (sink.to_owned(), worker.to_owned());
        self.write(move |db| {
            let (sink, worker) = (sink.clone(), worker.clone());
            async move { db.claim_sink(&sink, &worker, now).await }.boxed()
        })
        .await
    }

    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.write(move |db| {
            let claim = claim.clone();
            async move { db.release_sink(&claim).await }.boxed()
        })
        .await
    }

    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.write(move |db| {
            let claim = claim.clone();
            async move { db.set_cursor(&claim, cursor).await }.boxed()
        })
        .await
    }

    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError> {
        let sink = sink.to_owned();
        self.write(move |db| {
            let sink = sink.clone();
            async move { db.drop_cursor(&sink).await }.boxed()
        })
        .await
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        purge::purge(&self.inner.reader, &purge).await
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        match self.inner.time {
            // The writer reads the clock, because leases must not depend on how busy the readers
            // are.
            Time::Database => self.write(|db| db.now().boxed()).await.map(Some),
            Time::Engine => Ok(None),
        }
    }

    async fn woken(&self) -> Woken {
        match &self.inner.other_writes {
            Some(other_writes) => other_writes.next().await,
            None => pending().await,
        }
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
