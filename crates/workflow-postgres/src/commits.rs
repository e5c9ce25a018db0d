//! Creating runs and appending to their histories: many at a time, in one statement.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tokio_postgres::types::Type;
use workflow_engine::store::{Claim, Commit, Committed, Created, Due, NewRun, Record};
use workflow_engine::{Run, RunKey, Status, StoreError, Timestamp};

use crate::group::Answers;
use crate::lane::{Fault, Lane, Parameter};
use crate::meaning::said;
use crate::row::{self, signed};
use crate::text::escape;

/// Records as columns.
#[derive(Default)]
struct Columns<'a> {
    place: Vec<i64>,
    run: Vec<i64>,
    epoch: Vec<i64>,
    seq: Vec<i64>,
    last_seq: Vec<i64>,
    at: Vec<i64>,
    events: Vec<String>,
    kind: Vec<Option<&'static str>>,
    name: Vec<Option<Cow<'a, str>>>,
    occurrence: Vec<Option<i64>>,
    attempt: Vec<Option<i64>>,
    due_at: Vec<Option<i64>>,
    payload: Vec<Option<&'a str>>,
    /// How many events there are, which is where the next one stands.
    next: i64,
}

impl<'a> Columns<'a> {
    fn push(&mut self, claim: Claim, record: &'a Record) {
        let entry = record.entry.as_ref();
        self.place.push(self.next);
        self.run.push(signed(claim.key.0));
        self.epoch.push(signed(claim.epoch));
        self.seq.push(signed(record.first_seq));
        self.last_seq.push(signed(record.last_seq()));
        self.at.push(record.at.as_millis());
        self.events.push(record.events_json());
        self.kind.push(entry.map(|entry| entry.kind.as_str()));
        self.name.push(entry.map(|entry| escape(&entry.name)));
        self.occurrence
            .push(entry.map(|entry| entry.occurrence.into()));
        self.attempt.push(entry.map(|entry| entry.attempt.into()));
        self.due_at.push(
            entry
                .and_then(|entry| entry.due_at)
                .map(Timestamp::as_millis),
        );
        self.payload.push(
            entry
                .and_then(|entry| entry.payload.as_ref())
                .map(|payload| payload.as_str()),
        );
        self.next += signed(record.events.len());
    }

    /// What every record has, in the order in which the functions of the schema take it.
    fn parameters(&self) -> [Parameter<'_>; 10] {
        [
            (&self.at, Type::INT8_ARRAY),
            (&self.last_seq, Type::INT8_ARRAY),
            (&self.events, Type::TEXT_ARRAY),
            (&self.kind, Type::TEXT_ARRAY),
            (&self.name, Type::TEXT_ARRAY),
            (&self.occurrence, Type::INT8_ARRAY),
            (&self.attempt, Type::INT8_ARRAY),
            (&self.due_at, Type::INT8_ARRAY),
            (&self.payload, Type::TEXT_ARRAY),
            (&self.place, Type::INT8_ARRAY),
        ]
    }
}

impl Lane {
    pub(crate) async fn create(&self, group: &[NewRun]) -> Result<Answers<Created>, Fault> {
        let check = |new: &NewRun| {
            Status::check(None, new.status).map_err(StoreError::from)?;
            Record::follow(RunKey(0), 0, std::slice::from_ref(&new.record))
        };
        let checks: Vec<_> = group.iter().map(check).collect();
        let good: Vec<_> = group
            .iter()
            .zip(&checks)
            .filter(|(_, check)| check.is_ok())
            .map(|(new, _)| new)
            .collect();
        // In one order, whoever creates, so that two who create the same do not wait in a circle.
        let mut good = good;
        good.sort_by_key(|new| &new.id);
        let mut columns = Columns::default();
        let unknown = Claim {
            key: RunKey(0),
            epoch: 0,
        };
        good.iter()
            .for_each(|new| columns.push(unknown, &new.record));
        let id: Vec<_> = group.iter().map(|new| escape(&new.id)).collect();
        let mut made = HashMap::new();
        if !good.is_empty() {
            let ids: Vec<_> = good.iter().map(|new| escape(&new.id)).collect();
            let workflow: Vec<_> = good.iter().map(|new| escape(&new.workflow)).collect();
            let execution: Vec<_> = good
                .iter()
                .map(|new| new.execution_id.as_deref().map(escape))
                .collect();
            let status: Vec<_> = good.iter().map(|new| new.status.as_str()).collect();
            let holder = |new: &&NewRun| {
                (new.status == Status::Running).then(|| escape(&new.worker).into_owned())
            };
            let worker: Vec<_> = good.iter().map(holder).collect();
            let mut parameters: Vec<Parameter<'_>> = vec![
                (&ids, Type::TEXT_ARRAY),
                (&workflow, Type::TEXT_ARRAY),
                (&execution, Type::TEXT_ARRAY),
                (&status, Type::TEXT_ARRAY),
                (&worker, Type::TEXT_ARRAY),
                (&self.session, Type::INT8),
            ];
            parameters.extend(columns.parameters());
            for row in self.query(&self.sql.create, &parameters).await? {
                let claim = Claim {
                    key: RunKey(row::unsigned(&row, 1)?),
                    epoch: row::unsigned(&row, 2)?,
                };
                made.insert(row::column::<String>(&row, 0)?, claim);
            }
        }
        let taken: Vec<_> = id.iter().filter(|id| !made.contains_key(&***id)).collect();
        let mut existing = HashMap::new();
        if !taken.is_empty() {
            match self
                .query(&self.sql.runs_by_id, &[(&taken, Type::TEXT_ARRAY)])
                .await
            {
                Ok(rows) => {
                    for row in rows {
                        existing.insert(
                            row::column::<String>(&row, 1)?,
                            row::run(&row).map(|(run, _)| run),
                        );
                    }
                }
                // What was created is created: only those fail that were not.
                Err(error) => {
                    existing.extend(taken.iter().map(|id| (id.to_string(), Err(said(&error)))))
                }
            }
        }
        // An id that is taken is told first, also of a run that could not be created.
        let answer = |(id, check): (&Cow<'_, str>, Result<(), StoreError>)| {
            let exists = existing
                .remove(&**id)
                .map(|run| run.map(|run| Created::Exists(Box::new(run))));
            match (made.get(&**id), exists, check) {
                (Some(claim), ..) => Some(Ok(Created::New(*claim))),
                (None, Some(exists), _) => Some(exists),
                (None, None, Err(error)) => Some(Err(error)),
                // It was taken, and purged before it was read.
                (None, None, Ok(())) => None,
            }
        };
        Ok(id.iter().zip(checks).map(answer).collect())
    }

    pub(crate) async fn commit(&self, group: &[Commit]) -> Result<Answers<Committed>, Fault> {
        let mut columns = Columns::default();
        let mut rows = Rows::default();
        // Rows are locked in one order, whoever writes, so that two workers who want the same do
        // not wait in a circle.
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
                // They are committed, whatever cannot be read of one of them.
                let cancel = row::cancel(&row, 1).unwrap_or_else(|error| {
                    tracing::error!(%error, "a cancel cannot be read; the run goes on without it");
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
        let mut standing = self.standing(&refused).await;
        let answer = |commit: &Commit| match (done.remove(&commit.claim.key), &mut standing) {
            (Some(committed), _) => Some(Ok(committed)),
            (None, Ok(standing)) => {
                refusal(commit, standing.remove(&commit.claim.key), &names).map(Err)
            }
            // What was committed is committed: only those fail that were refused.
            (None, Err(error)) => Some(Err(said(error))),
        };
        Ok(group.iter().map(answer).collect())
    }

    /// Returns the keys of the runs that nobody has locked.
    pub(crate) async fn unlocked(&self, group: &[Commit]) -> Result<HashSet<RunKey>, Fault> {
        let keys: Vec<_> = group
            .iter()
            .map(|commit| signed(commit.claim.key.0))
            .collect();
        match self
            .query(&self.sql.unlocked, &[(&keys, Type::INT8_ARRAY)])
            .await
            .map_err(Fault::from)
        {
            Ok(rows) => Ok(rows
                .iter()
                .map(|row| row::unsigned(row, 0).map(RunKey))
                .collect::<Result<_, _>>()?),
            // The whole table is.
            Err(fault) if fault.is_locked() => Ok(HashSet::new()),
            Err(fault) => Err(fault),
        }
    }

    /// Reads runs as they stand now, with the epochs of their claims.
    async fn standing(
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

    /// Ends a claim.
    pub(crate) async fn release(&self, claim: Claim, due: Due) -> Result<(), Fault> {
        let Claim { key, epoch } = claim;
        let parameters = [
            (&signed(key.0) as _, Type::INT8),
            (&signed(epoch) as _, Type::INT8),
            (&due.time().as_millis() as _, Type::INT8),
            (&self.workers.names() as _, Type::TEXT_ARRAY),
            (&matches!(due, Due::Now(_)) as _, Type::BOOL),
        ];
        if self
            .client
            .execute_typed(&self.sql.release, &parameters)
            .await?
            > 0
        {
            return Ok(());
        }
        let there = self.standing(&[key]).await?.contains_key(&key);
        Err(if there {
            StoreError::Fenced { key, epoch }
        } else {
            StoreError::UnknownRun { key }
        }
        .into())
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
        self.status.push(status.as_str());
        self.befores
            .push(befores.map(Status::as_str).collect::<Vec<_>>().join(" "));
        self.ends.push(status.ends_claim());
        self.progress
            .push(records.iter().any(|record| record.entry.is_some()));
        self.ended_at.push(
            last.map(|record| record.at.as_millis())
                .filter(|_| status.is_terminal()),
        );
        self.due_at.push(
            due_at
                .filter(|_| *status == Status::Paused)
                .map(Timestamp::as_millis),
        );
    }
}

/// Returns whether the records follow on each other; on what they follow the statement checks.
fn is_whole(commit: &Commit) -> bool {
    let first_seq = commit.records.first().map_or(0, |record| record.first_seq);
    first_seq > 0 && Record::follow(commit.claim.key, first_seq - 1, &commit.records).is_ok()
}

/// Says why a commit was refused; `None` if by now there is no reason any more.
fn refusal(
    commit: &Commit,
    standing: Option<Result<(Run, u64), StoreError>>,
    names: &[String],
) -> Option<StoreError> {
    let Claim { key, epoch } = commit.claim;
    let (run, last) = match standing {
        None => return Some(StoreError::UnknownRun { key }),
        Some(Err(unreadable)) => return Some(unreadable),
        Some(Ok(standing)) => standing,
    };
    let ours = run
        .worker
        .as_deref()
        .is_some_and(|worker| names.iter().any(|name| *name == escape(worker)));
    if run.due_at.is_some() || !ours || last != epoch {
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
