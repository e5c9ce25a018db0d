//! Requests to cancel runs.

use rusqlite::params;
use workflow_engine::Timestamp;
use workflow_engine::store::{CancelReply, CancelRequest};

use crate::db::Db;
use crate::error::OperationError;
use crate::reads;

impl Db {
    /// Records a request to cancel a run, and makes the run ready unless a worker holds it.
    ///
    /// A second request keeps the reason and the time of the first; it can only turn the request
    /// into an immediate one.
    pub(crate) fn request_cancel(
        &mut self,
        id: &str,
        request: &CancelRequest,
    ) -> Result<CancelReply, OperationError> {
        let Some(mut run) = reads::run(&self.connection, id)? else {
            return Ok(CancelReply::Unknown);
        };
        if run.status.is_terminal() {
            return Ok(CancelReply::Ended(run.status));
        }
        let cancel = match run.cancel.take() {
            Some(earlier) => CancelRequest {
                immediate: earlier.immediate || request.immediate,
                ..earlier
            },
            None => request.clone(),
        };
        let ready = run.due_at.is_some() || run.worker.is_none();
        if ready {
            run.due_at = Some(
                run.due_at
                    .map_or(request.at, |due_at| due_at.min(request.at)),
            );
        }
        let sql = include_str!("sql/cancel.sql");
        let due_at = run.due_at.map(Timestamp::as_millis);
        let values = params![
            run.key.0,
            cancel.reason,
            cancel.immediate,
            cancel.at.as_millis(),
            due_at
        ];
        self.connection.prepare_cached(sql)?.execute(values)?;
        if let Some(held) = self.held.get_mut(&run.key) {
            held.cancel = Some(cancel.clone());
        }
        run.cancel = Some(cancel);
        Ok(CancelReply::Accepted(Box::new(run)))
    }
}
