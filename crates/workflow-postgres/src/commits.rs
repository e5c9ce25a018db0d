//! Appending to histories: many at a time, in one statement.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::Type;
use workflow_engine::store::{Claim, Commit, Committed, Record};
use workflow_engine::{Run, RunKey, Status, StoreError, Timestamp};

use crate::columns::Columns;
use crate::db::{Answers, Db, Parameter};
use crate::error::OperationError;
use crate::error::sqlstate::store_error;
use crate::row::{self, signed};
use crate::text::escape;

impl Db {
    pub(crate) async fn commit(
        &self,
        group: &[Commit],
    ) -> Result<Answers<Committed>, OperationError> {
        let mut columns = Columns::default();
        let mut rows = Rows::default();
        // Every writer locks rows in the same order, so that two writers of the same rows do not
        // deadlock.
        let mut sorted: Vec<_> = group.iter().filter(|commit| is_whole(commit)).collect();
        sorted.sort_by_key(|commit| commit.claim.key);
        for commit in sorted {
            rows.push(commit);
            commit
                .records
                .iter()
                .for_each(|record| columns.push(commit.claim, record));
        }
        let names = self.workers.names();
        let mut done = HashMap::new();
        if !rows.key.is_empty() {
            let mut parameters: Vec<Parameter<'_>> = vec![
                (&rows.key, Type::INT8_ARRAY),
                (&rows.epoch, Type::INT8_ARRAY),
                (&rows.first_seq, Type::INT8_ARRAY),
                (&rows.last_seq, Type::INT8_ARRAY),
                (&rows.status, Type::TEXT_ARRAY),
                (&rows.befores, Type::TEXT_ARRAY),
                (&rows.ends, Type::BOOL_ARRAY),
                (&rows.progress, Type::BOOL_ARRAY),
                (&rows.ended_at, Type::INT8_ARRAY),
                (&rows.due_at, Type::INT8_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&columns.run, Type::INT8_ARRAY),
                (&columns.epoch, Type::INT8_ARRAY),
                (&columns.seq, Type::INT8_ARRAY),
            ];
            parameters.extend(columns.parameters());
            for row in self.query(&self.sql.commit, &parameters).await? {
                // The commits stand, even if the cancel of one run cannot be read.
                let cancel = row::cancel(&row, 1).unwrap_or_else(|error| {
                    tracing::error!(%error, "failed to read a cancel; the run continues without it");
                    None
                });
                done.extend(
                    row::unsigned(&row, 0)
                        .ok()
                        .map(|key| (RunKey(key), Committed { cancel })),
                );
            }
        }
        let refused: Vec<_> = group
            .iter()
            .map(|commit| commit.claim.key)
            .filter(|key| !done.contains_key(key))
            .collect();
        let mut current = self.current(&refused).await;
        let answer = |commit: &Commit| match (done.remove(&commit.claim.key), &mut current) {
            (Some(committed), _) => Some(Ok(committed)),
            (None, Ok(current)) => {
                refusal(commit, current.remove(&commit.claim.key), &names).map(Err)
            }
            // The commits stand; only those that were refused fail.
            (None, Err(error)) => Some(Err(store_error(error))),
        };
        Ok(group.iter().map(answer).collect())
    }

    /// Returns the keys of the runs that are not locked.
    pub(crate) async fn unlocked(
        &self,
        group: &[Commit],
    ) -> Result<HashSet<RunKey>, OperationError> {
        let keys: Vec<_> = group
            .iter()
            .map(|commit| signed(commit.claim.key.0))
            .collect();
        match self
            .query(&self.sql.unlocked, &[(&keys, Type::INT8_ARRAY)])
            .await
            .map_err(OperationError::from)
        {
            Ok(rows) => Ok(rows
                .iter()
                .map(|row| row::unsigned(row, 0).map(RunKey))
                .collect::<Result<_, _>>()?),
            // The whole table is locked.
            Err(error) if error.is_locked() => Ok(HashSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads the current state of runs, with the epochs of their claims.
    pub(crate) async fn current(
        &self,
        keys: &[RunKey],
    ) -> Result<HashMap<RunKey, Result<(Run, u64), StoreError>>, tokio_postgres::Error> {
        let keys: Vec<_> = keys.iter().map(|key| signed(key.0)).collect();
        let rows = match &keys[..] {
            [] => Vec::new(),
            keys => {
                self.query(&self.sql.runs_by_key, &[(&keys, Type::INT8_ARRAY)])
                    .await?
            }
        };
        Ok(rows
            .iter()
            .filter_map(|row| Some((RunKey(row::unsigned(row, 0).ok()?), row::run(row))))
            .collect())
    }
}

/// Commits as columns.
#[derive(Default)]
struct Rows {
    key: Vec<i64>,
    epoch: Vec<i64>,
    first_seq: Vec<i64>,
    last_seq: Vec<i64>,
    status: Vec<&'static str>,
    befores: Vec<String>,
    ends: Vec<bool>,
    progress: Vec<bool>,
    ended_at: Vec<Option<i64>>,
    due_at: Vec<Option<i64>>,
}

impl Rows {
    fn push(&mut self, commit: &Commit) {
        let Commit {
            claim,
            records,
            status,
            due_at,
        } = commit;
        let befores = Status::ALL
            .into_iter()
            .filter(|before| Status::check(Some(*before), *status).is_ok());
        let last = records.last();
        self.key.push(signed(claim.key.0));
        self.epoch.push(signed(claim.epoch));
        self.first_seq
            .push(records.first().map_or(0, |record| signed(record.first_seq)));
        self.last_seq
            .push(last.map_or(0, |record| signed(record.last_seq())));
        self.status.push(status.stored_name());
        self.befores.push(
            befores
                .map(Status::stored_name)
                .collect::<Vec<_>>()
                .join(" "),
        );
        self.ends.push(status.ends_claim());
        self.progress
            .push(records.iter().any(|record| record.entry.is_some()));
        self.ended_at.push(
            last.map(|record| record.at.as_millis())
                .filter(|_| status.is_terminal()),
        );
        self.due_at.push(
            due_at
                .filter(|_| *status == Status::Suspended)
                .map(Timestamp::as_millis),
        );
    }
}

/// Returns whether each record follows the one before. The statement checks that the first one
/// follows the history.
fn is_whole(commit: &Commit) -> bool {
    let first_seq = commit.records.first().map_or(0, |record| record.first_seq);
    first_seq > 0 && Record::follow(commit.claim.key, first_seq - 1, &commit.records).is_ok()
}

/// Returns why a commit was refused; `None` if the reason does not exist any more.
fn refusal(
    commit: &Commit,
    current: Option<Result<(Run, u64), StoreError>>,
    names: &[String],
) -> Option<StoreError> {
    let Claim { key, epoch } = commit.claim;
    let (run, last) = match current {
        None => return Some(StoreError::UnknownRun { key }),
        Some(Err(unreadable)) => return Some(unreadable),
        Some(Ok(current)) => current,
    };
    let is_own = run
        .worker
        .as_deref()
        .is_some_and(|worker| names.iter().any(|name| *name == escape(worker)));
    if run.due_at.is_some() || !is_own || last != epoch {
        return Some(StoreError::Fenced { key, epoch });
    }
    if let Err(behind) = Record::follow(key, run.last_seq, &commit.records) {
        return Some(behind);
    }
    if let Err(illegal) = Status::check(Some(run.status), commit.status) {
        return Some(illegal.into());
    }
    let ends = commit.status.ends_claim() && commit.status != Status::Cancelled;
    run.cancel
        .clone()
        .filter(|_| ends)
        .map(|cancel| StoreError::CancelRequested(Box::new(cancel)))
}
