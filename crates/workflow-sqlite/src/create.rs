//! Creating runs.

use rusqlite::params;
use workflow_engine::store::{Claim, Created, NewRun, Record};
use workflow_engine::{RunKey, Status, StoreError};

use crate::db::{Db, HeldRun};
use crate::error::OperationError;
use crate::reads;

impl Db {
    /// Creates a run with its first record, unless a run with this id exists.
    ///
    /// Every check comes before the first write.
    pub(crate) fn create(&mut self, new: &NewRun) -> Result<Created, OperationError> {
        let NewRun {
            id,
            workflow,
            execution_id,
            status,
            worker,
            record,
        } = new;
        if let Some(existing) = reads::run(&self.connection, id)? {
            return Ok(Created::Exists(Box::new(existing)));
        }
        Status::check(None, *status).map_err(StoreError::from)?;
        let records = std::slice::from_ref(record);
        Record::follow(RunKey(0), 0, records)?;
        let holder = (*status == Status::Running).then_some(worker);
        let epoch = u64::from(holder.is_some());
        let at = record.at.as_millis();
        let due_at = if holder.is_some() { None } else { Some(at) };
        let sql = include_str!("sql/create.sql");
        let values = params![
            id,
            workflow,
            execution_id,
            status.stored_name(),
            epoch,
            at,
            due_at,
            holder
        ];
        self.connection.prepare_cached(sql)?.execute(values)?;
        let key = RunKey(self.connection.last_insert_rowid().unsigned_abs());
        self.append(key, records)?;
        if holder.is_some() {
            let run = HeldRun {
                epoch,
                status: *status,
                last_seq: record.last_seq(),
                recoveries: 0,
                cancel: None,
            };
            self.held.insert(key, run);
        }
        Ok(Created::New(Claim { key, epoch }))
    }
}
