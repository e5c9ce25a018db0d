//! Due runs in order: a claim walks along the index `runs_due`, and reads only the runs it returns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params};
use workflow_engine::store::ClaimRequest;
use workflow_engine::{Run, RunKey, StoreError, Timestamp};

use crate::db::IndexKey;
use crate::error::OperationError;
use crate::reads;

/// Maximum number of unknown workflows that one claim names.
const MAX_UNKNOWN_WORKFLOWS: usize = 16;

/// Maximum number of unreadable runs that one claim postpones.
const MAX_DAMAGED_RUNS: usize = 64;

/// Selects the workflows that have runs without a holder, and whether one of those runs is due.
const WORKFLOWS: &str = include_str!("sql/workflows.sql");

/// Selects the runs of a workflow that are ready, in order.
const DUE_READY: &str = include_str!("sql/due_ready.sql");

/// Selects the runs of a workflow that wait for a time, in order.
const DUE_WAITING: &str = include_str!("sql/due_waiting.sql");

/// Selects the first time that a run of a workflow waits for.
const NEXT_DUE: &str = include_str!("sql/next_due.sql");

/// Name of a workflow as it is stored. Damage may have made it invalid UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkflowName(Vec<u8>);

impl ToSql for WorkflowName {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

/// Workflows that matter to a claim.
#[derive(Debug, Default)]
pub(crate) struct Workflows {
    /// Workflows that the request wants.
    pub(crate) wanted: BTreeSet<WorkflowName>,
    /// Other workflows that have due runs, up to a maximum of 16.
    pub(crate) unknown: Vec<String>,
}

/// Separates the workflows that a request wants from those that it does not know.
pub(crate) fn workflows(
    connection: &Connection,
    request: &ClaimRequest,
) -> Result<Workflows, OperationError> {
    let mut found = Workflows::default();
    if let Some(names) = &request.workflows {
        found.wanted = names
            .iter()
            .map(|name| WorkflowName(name.clone().into_bytes()))
            .collect();
    }
    let mut select = connection.prepare_cached(WORKFLOWS)?;
    let mut rows = select.query([request.now.as_millis()])?;
    while found.unknown.len() < MAX_UNKNOWN_WORKFLOWS
        && let Some(row) = rows.next()?
    {
        let name = WorkflowName(
            row.get_ref(0)?
                .as_bytes()
                .map(<[u8]>::to_vec)
                .unwrap_or_default(),
        );
        if request.workflows.is_none() {
            found.wanted.insert(name);
        } else if row.get(1)? && !found.wanted.contains(&name) {
            found
                .unknown
                .push(String::from_utf8_lossy(&name.0).into_owned());
        }
    }
    Ok(found)
}

/// Runs that a claim has found due.
#[derive(Debug, Default)]
pub(crate) struct DueRuns {
    /// Due runs in order, each with the epoch of its last claim.
    pub(crate) runs: Vec<(Run, u64)>,
    /// Due runs that cannot be read, each with the reason.
    pub(crate) damaged: Vec<(RunKey, StoreError)>,
    /// Due time of the first run that was left, if there are more.
    pub(crate) next_due: Option<Timestamp>,
}

/// Finds due runs, the earliest due time first.
///
/// The walk merges all wanted workflows, and stops at the limit of the request.
pub(crate) fn runs(
    connection: &Connection,
    wanted: &BTreeSet<WorkflowName>,
    request: &ClaimRequest,
) -> Result<DueRuns, OperationError> {
    let now = request.now.as_millis();
    let mut walks = Vec::new();
    for name in wanted {
        walks.push(Walk::new(name, DUE_READY, now, (i64::MIN, 0)));
        walks.push(Walk::new(name, DUE_WAITING, now, (i64::MIN, 0)));
        // A due time out of range is damage; this walk finds such runs so that they are reported.
        walks.push(Walk::new(
            name,
            DUE_WAITING,
            i64::MAX,
            (Timestamp::MAX.as_millis(), u64::MAX >> 1),
        ));
    }
    let mut heads = BTreeMap::new();
    for (index, walk) in walks.iter_mut().enumerate() {
        heads.extend(walk.next(connection)?.map(|place| (place, index)));
    }
    let mut found = DueRuns::default();
    while let Some(((due_at, key), index)) = heads.pop_first() {
        if found.runs.len() >= request.limit || found.damaged.len() >= MAX_DAMAGED_RUNS {
            // The run can be claimed now, even if it became ready at a time that is still to come.
            found.next_due = Some(Timestamp::from_millis(due_at.min(now)).unwrap_or(request.now));
            break;
        }
        match reads::run_by_key(connection, RunKey(key)) {
            // An epoch that cannot be incremented is damage as well.
            Ok(Some((run, epoch))) if epoch < i64::MAX.unsigned_abs() => {
                found.runs.push((run, epoch))
            }
            Ok(_) => found.damaged.push((
                RunKey(key),
                StoreError::Corrupt {
                    what: format!("run {key}: epoch"),
                },
            )),
            Err(OperationError::Refused(error)) => found.damaged.push((RunKey(key), error)),
            Err(error) => return Err(error),
        }
        heads.extend(walks[index].next(connection)?.map(|place| (place, index)));
    }
    Ok(found)
}

/// Walk along the runs of one workflow. The first query reads one run, each further query a page.
struct Walk<'a> {
    name: &'a WorkflowName,
    sql: &'static str,
    /// Latest due time, in milliseconds.
    latest: i64,
    /// Place of the last run that was read.
    after: IndexKey,
    unread: VecDeque<IndexKey>,
    /// Number of runs that the next query reads; zero at the end of the walk.
    page_size: usize,
}

impl<'a> Walk<'a> {
    /// Number of runs that each query but the first reads.
    const PAGE_RUNS: usize = 32;

    fn new(name: &'a WorkflowName, sql: &'static str, latest: i64, after: IndexKey) -> Self {
        Self {
            name,
            sql,
            latest,
            after,
            unread: VecDeque::new(),
            page_size: 1,
        }
    }

    /// Returns the place of the next run.
    fn next(&mut self, connection: &Connection) -> Result<Option<IndexKey>, OperationError> {
        if self.unread.is_empty() && self.page_size > 0 {
            let mut select = connection.prepare_cached(self.sql)?;
            let values = params![
                self.name,
                self.latest,
                self.after.0,
                self.after.1,
                self.page_size
            ];
            for place in select.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))? {
                self.unread.push_back(place?);
            }
            // A page that is not full is the last one.
            self.page_size = if self.unread.len() < self.page_size {
                0
            } else {
                Self::PAGE_RUNS
            };
            self.after = self.unread.back().copied().unwrap_or(self.after);
        }
        Ok(self.unread.pop_front())
    }
}

/// Returns the first time after `now` that a wanted run waits for.
pub(crate) fn next_due(
    connection: &Connection,
    wanted: &BTreeSet<WorkflowName>,
    now: Timestamp,
) -> Result<Option<Timestamp>, OperationError> {
    let mut select = connection.prepare_cached(NEXT_DUE)?;
    let mut next: Option<Timestamp> = None;
    for name in wanted {
        let mut rows = select.query(params![name, now.as_millis()])?;
        if let Some(row) = rows.next()? {
            // A time out of range is damage, and a claim postpones its run.
            let time = Timestamp::from_millis(row.get(0)?).ok();
            next = next.into_iter().chain(time).min();
        }
    }
    Ok(next)
}

/// Returns whether a worker holds a run of a wanted workflow.
///
/// The answer is true without further reading if the first 1,000 runs of the worker do not decide.
pub(crate) fn holds_wanted(
    connection: &Connection,
    worker: &str,
    request: &ClaimRequest,
) -> Result<bool, OperationError> {
    /// Maximum number of runs that are read.
    const MAX_HELD_RUNS_READ: usize = 1_000;
    let sql = "SELECT workflow FROM runs INDEXED BY runs_worker WHERE worker = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([worker])?;
    for _ in 0..MAX_HELD_RUNS_READ {
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        let workflow = row.get_ref(0)?.as_bytes().unwrap_or_default();
        let wanted = |names: &Vec<String>| names.iter().any(|name| name.as_bytes() == workflow);
        if request.workflows.as_ref().is_none_or(wanted) {
            return Ok(true);
        }
    }
    Ok(true)
}
