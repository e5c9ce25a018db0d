//! What the writer's thread works on: its connection, and what it remembers of the file.

use std::collections::HashMap;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params};
use workflow_engine::{CancelRequest, Run, RunKey, Status};

use crate::error::OperationError;

/// What the writer works on.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    /// The runs that are claimed. The file is ours alone, so what is known of them is true.
    pub(crate) held: HashMap<RunKey, HeldRun>,
    /// Where the outbox ends.
    pub(crate) outbox_end: u64,
    pub(crate) sinks: SinkHolders,
    /// Behind which of the runs that have ended the next purge looks.
    pub(crate) purge_after: Option<IndexKey>,
}

/// What a commit must know of a claimed run.
#[derive(Clone, Debug)]
pub(crate) struct HeldRun {
    pub(crate) epoch: u64,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
    pub(crate) recoveries: u32,
    pub(crate) cancel: Option<CancelRequest>,
}

/// Who has which sink. The file is ours alone, so nobody outside of this process needs to know.
#[derive(Debug, Default)]
pub(crate) struct SinkHolders {
    pub(crate) holders: HashMap<String, (String, u64)>,
    pub(crate) last_epoch: u64,
}

/// A time in milliseconds and the key of a run: the place of a run in an index by time.
pub(crate) type IndexKey = (i64, u64);

impl Db {
    pub(crate) fn new(connection: Connection, outbox_end: u64) -> Self {
        Self {
            connection,
            held: HashMap::new(),
            outbox_end,
            sinks: SinkHolders::default(),
            purge_after: None,
        }
    }

    /// Returns the only column of a query.
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
    /// What a commit must know of a run that is claimed.
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
