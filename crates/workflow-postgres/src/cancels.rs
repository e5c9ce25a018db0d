//! Cancel requests.

use tokio_postgres::types::Type;
use workflow_engine::store::{CancelReply, CancelRequest};

use crate::db::Db;
use crate::error::OperationError;
use crate::row;
use crate::text::escape;
impl Db {
    pub(crate) async fn request_cancel(
        &self,
        id: &str,
        request: &CancelRequest,
    ) -> Result<CancelReply, OperationError> {
        let id = escape(id);
        let reason = request.reason.as_deref().map(escape);
        let parameters = [
            (&id as _, Type::TEXT),
            (&request.at.as_millis() as _, Type::INT8),
            (&reason as _, Type::TEXT),
            (&request.immediate as _, Type::BOOL),
        ];
        // The run is read first, because a run that cannot be read must not be changed.
        if self.run(&id).await?.is_none() {
            return Ok(CancelReply::Unknown);
        }
        if let Some(row) = self.query(&self.sql.cancel, &parameters).await?.first() {
            return Ok(CancelReply::Accepted(Box::new(row::run(row)?.0)));
        }
        Ok(match self.run(&id).await? {
            None => CancelReply::Unknown,
            Some((run, _)) => CancelReply::Ended(run.status),
        })
    }
}
