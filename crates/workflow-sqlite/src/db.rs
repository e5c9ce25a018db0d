//! State of the writer's thread: its connection, and what it remembers of the file.

use std::collections::HashMap;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params};
use workflow_engine::store::CancelRequest;
use workflow_engine::{Run, RunKey, Status};

use crate::error::OperationError;

/// State of the writer. Every write operation is a method of this type, in the file of its name.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    /// Runs that are held. No other process has the file open, so these copies are current.
    pub(crate) held: HashMap<RunKey, HeldRun>,
    /// Position of the last event.
    pub(crate) outbox_end: u64,
    /// Holders of the sinks.
    pub(crate) sinks: SinkHolders,
    /// Ended run after which the next purge begins its search.
    pub(crate) purge_after: Option<IndexKey>,
}

/// The part of a held run that a commit checks.
#[derive(Clone, Debug)]
pub(crate) struct HeldRun {
    pub(crate) epoch: u64,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
    pub(crate) recoveries: u32,
    pub(crate) cancel: Option<CancelRequest>,
}

/// Holders of the sinks. They are kept in memory, because no other process has the file open.
#[derive(Debug, Default)]
pub(crate) struct SinkHolders {
    /// Worker and epoch of each held sink, by the name of the sink.
    pub(crate) holders: HashMap<String, (String, u64)>,
    /// Epoch of the last claim of any sink.
    pub(crate) last_epoch: u64,
}

/// Place of a run in an index by time: a time in milliseconds, and the key of the run.
pub(crate) type IndexKey = (i64, u64);

impl Db {
    /// Makes the state of a writer that remembers no held run and no sink.
    pub(crate) fn new(connection: Connection, outbox_end: u64) -> Self {
        Self {
            connection,
            held: HashMap::new(),
            outbox_end,
            sinks: SinkHolders::default(),
            purge_after: None,
        }
    }

    /// Returns the values of the only column of a query.
    pub(crate) fn column<T: FromSql>(
        &self,
        sql: &str,
        values: impl Params,
    ) -> Result<Vec<T>, OperationError> {
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(values, |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl HeldRun {
    /// Takes from a run what a commit checks; `epoch` is that of its current claim.
    pub(crate) fn new(run: &Run, epoch: u64) -> Self {
        Self {
            epoch,
            status: run.status,
            last_seq: run.last_seq,
            recoveries: run.recoveries,
            cancel: run.cancel.clone(),
        }
    }
}
