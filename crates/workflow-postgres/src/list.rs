//! Listing runs.

use tokio_postgres::types::Type;
use workflow_engine::{Run, RunFilter, StoreError};

use crate::db::Parameter;
use crate::reader::Reader;
use crate::row::{self, signed};
use crate::text::escape;
pub(crate) async fn list(reader: &Reader, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
    let RunFilter {
        statuses,
        workflow,
        id_prefix,
        worker,
        after,
        limit,
    } = filter;
    let after = after.map_or(0, |key| signed(key.0));
    let statuses: Vec<_> = statuses.iter().map(|status| status.stored_name()).collect();
    let statuses = (!statuses.is_empty()).then_some(statuses);
    let escaped = |text: &Option<String>| text.as_deref().map(escape).map(String::from);
    let parameters: [Parameter<'_>; 6] = [
        (&after as _, Type::INT8),
        (&statuses as _, Type::TEXT_ARRAY),
        (&escaped(workflow) as _, Type::TEXT),
        (&escaped(worker) as _, Type::TEXT),
        (&escaped(id_prefix) as _, Type::TEXT),
        (&signed(*limit) as _, Type::INT8),
    ];
    let rows = reader.read(&reader.sql.list, &parameters).await?;
    rows.iter()
        .map(|row| row::run(row).map(|(run, _)| run))
        .collect()
}
