//! Commits: records appended to the history of a claimed run, together with its status.

use rusqlite::params;
use workflow_engine::store::{Commit, Committed, Record};
use workflow_engine::{RunKey, Status, StoreError, Timestamp};

use crate::db::{Db, HeldRun};
use crate::error::OperationError;

impl Db {
    /// Appends records to the history of a claimed run, and sets its status.
    ///
    /// Every check comes before the first write.
    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<Committed, OperationError> {
        let Commit {
            claim,
            records,
            status,
            due_at,
        } = commit;
        let held = self.check_claim(*claim)?;
        Record::follow(claim.key, held.last_seq, records)?;
        Status::check(Some(held.status), *status).map_err(StoreError::from)?;
        if let Some(cancel) = &held.cancel
            && status.ends_claim()
            && *status != Status::Cancelled
        {
            return Err(StoreError::CancelRequested(Box::new(cancel.clone())).into());
        }
        self.append(claim.key, records)?;
        let progress = records.iter().any(|record| record.entry.is_some());
        let recoveries = if progress { 0 } else { held.recoveries };
        let last_seq = records.last().map_or(held.last_seq, Record::last_seq);
        if status.ends_claim() {
            let ended_at = records
                .last()
                .map(|record| record.at.as_millis())
                .filter(|_| status.is_terminal());
            let due_at = due_at
                .filter(|_| *status == Status::Suspended)
                .map(Timestamp::as_millis);
            let sql = "UPDATE runs SET status = ?2, ended_at = ?3, due_at = ?4, \
                       worker = NULL, recoveries = ?5 WHERE key = ?1";
            let values = params![
                claim.key.0,
                status.stored_name(),
                ended_at,
                due_at,
                recoveries
            ];
            self.connection.prepare_cached(sql)?.execute(values)?;
            self.held.remove(&claim.key);
            return Ok(Committed {
                cancel: held.cancel,
            });
        }
        // A commit that changes neither status nor recoveries does not write the row of the run.
        if (held.status, held.recoveries) != (*status, recoveries) {
            let sql = "UPDATE runs SET status = ?2, recoveries = ?3 WHERE key = ?1";
            self.connection.prepare_cached(sql)?.execute(params![
                claim.key.0,
                status.stored_name(),
                recoveries
            ])?;
        }
        let cancel = held.cancel.clone();
        self.held.insert(
            claim.key,
            HeldRun {
                status: *status,
                last_seq,
                recoveries,
                ..held
            },
        );
        Ok(Committed { cancel })
    }

    /// Appends records to a history, which is also the outbox: each event takes the next position.
    pub(crate) fn append(&mut self, key: RunKey, records: &[Record]) -> Result<(), OperationError> {
        let sql = include_str!("sql/append.sql");
        let mut insert = self.connection.prepare_cached(sql)?;
        for record in records {
            let entry = record.entry.as_ref();
            let last_seq = record.last_seq();
            insert.execute(params![
                self.outbox_end + 1,
                key.0,
                record.first_seq,
                last_seq,
                record.at.as_millis(),
                record.events_json(),
                entry.map(|entry| entry.kind.stored_name()),
                entry.map(|entry| entry.name.as_str()),
                entry.map(|entry| entry.occurrence),
                entry.map(|entry| entry.attempt),
                entry
                    .and_then(|entry| entry.due_at)
                    .map(Timestamp::as_millis),
                entry
                    .and_then(|entry| entry.payload.as_ref())
                    .map(|payload| payload.as_str()),
            ])?;
            self.outbox_end += record.events.len() as u64;
        }
        Ok(())
    }
}
